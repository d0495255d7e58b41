package sim

import (
	"cmp"
	"slices"

	"github.com/roomring/roomring/proto"
)

// ledger is the truth: what every log of every room holds, read out of the
// owners' cores right after each frame that could have changed them.
type ledger struct {
	w        *World
	epochs   []*epoch                // in the order in which they were first seen
	byEpoch  map[proto.Epoch]*epoch  // only looked up
	messages map[string]*publication // by payload; only looked up
	news     []*publication          // of one audit
	hazy     bool                    // something was trimmed before anybody saw it
}

// epoch is one life of a room's log.
type epoch struct {
	number int // in the order in which they were first seen
	name   proto.Epoch
	room   string
	tenure *tenure
	log    []*publication // log[i] has offset i+1; nil: trimmed before anybody saw it
	floor  proto.Offset   // all up to here was trimmed
	latest map[*router]proto.Seq
}

// later says whether e came behind f: an owner may begin before the one ahead
// of it in the Table does. Where two owned a partition in one term, one of them
// may be the next owner too, and members come back to what it had.
func (e *epoch) later(f *epoch) bool {
	if e.tenure == f.tenure {
		return e.number > f.number
	}
	return e.tenure.term > f.tenure.term || e.tenure.shard.w.table.torn[e.tenure.part]
}

func (e *epoch) head() proto.Offset { return proto.Offset(len(e.log)) }

// tenure is the time from a shard's gaining a partition to its losing it. While
// it lasts, nothing is lost and nothing is doubled.
type tenure struct {
	shard *shard
	part  proto.Partition
	term  proto.Term // the first
	over  bool
	hazy  bool // something was trimmed before anybody saw it
	seqs  []*span
}

func (t *tenure) end() {
	if t != nil {
		t.over = true
	}
}

// span is what a tenure has of a router's publishes.
type span struct {
	router      *router
	first, last proto.Seq
	acked       proto.Seq
}

// publication is a message from its client on.
type publication struct {
	payload string
	kind    proto.Kind
	room    string
	conn    *conn
	number  int // of the conn's messages, from 1
	router  *router
	seq     proto.Seq // 0: the hub has not sent it yet
	voided  bool      // the hub gave it up
	tooBig  bool      // the owner refuses it
	tenures []*tenure // that have it in a log
	spots   []spot    // where it is in logs
}

func newLedger(w *World) *ledger {
	return &ledger{w: w, byEpoch: map[proto.Epoch]*epoch{}, messages: map[string]*publication{}}
}

// epochsOf are the lives of a room so far, oldest first.
func (g *ledger) epochsOf(room string) (all []*epoch) {
	for _, e := range g.epochs {
		if e.room == room {
			all = append(all, e)
		}
	}
	return all
}

// open finds the log of an epoch.
func (g *ledger) open(room string, name proto.Epoch, t *tenure) *epoch {
	e := g.byEpoch[name]
	if e == nil {
		if t == nil {
			g.w.fail("room %s has epoch %s, and nobody owns it", room, name)
		}
		e = &epoch{number: len(g.epochs), name: name, room: room, tenure: t, latest: map[*router]proto.Seq{}}
		g.byEpoch[name] = e
		g.epochs = append(g.epochs, e)
		g.w.trace("%s begins epoch %s of %s", t.shard.name, name, room)
	}
	if e.room != room {
		g.w.fail("epoch %s is one of room %s and of room %s", name, room, e.room)
	}
	return e
}

// audit reads what is new in a partition's logs. It reports whether something
// was.
func (l *shardLane) audit(p proto.Partition) (grew bool) {
	w := l.shard.w
	w.ledger.news = w.ledger.news[:0]
	for _, room := range w.shape.roomsOf(p) {
		info, ok := l.core.Room(room)
		if !ok {
			continue
		}
		e := w.ledger.open(room, info.Epoch, l.shard.reign[p])
		if info.Offset < e.head() {
			w.fail("%s: room %s went back from %d to %d", l.shard.name, room, e.head(), info.Offset)
		}
		e.floor = max(e.floor, info.First-1)
		if !w.shape.tight && e.floor > 0 {
			w.fail("%s: room %s trimmed up to %d, which was not to happen in this run", l.shard.name, room, e.floor)
		}
		if info.Offset > e.head() {
			grew = true
			l.copy(e, p, info.Offset)
		}
	}
	// Frames that were held come at once: what they added to several rooms is in
	// the order of its seqs.
	slices.SortStableFunc(w.ledger.news, func(a, b *publication) int { return cmp.Compare(a.seq, b.seq) })
	for _, x := range w.ledger.news {
		w.ledger.inOrder(l.shard.reign[p], x)
	}
	return grew
}

// copy fetches a log's news as a router would.
func (l *shardLane) copy(e *epoch, p proto.Partition, upto proto.Offset) {
	w := l.shard.w
	ask := proto.Fetch{Partition: p, Term: l.shard.known.rows[p].Term, Room: []byte(e.room), Epoch: e.name, After: e.head(), Upto: upto}
	frame := proto.AppendFetch(nil, &ask)
	if err := l.core.Frame(l.auditor, proto.FrameFetch, frame[proto.HeaderSize:], w.time()); err != nil {
		w.fail("%s does not accept the auditor's fetch: %v", l.shard.name, err)
	}
	for b := l.core.Fill(l.auditor, nil, 64<<20); len(b) > 0; {
		_, size, _ := proto.ParseHeader(b)
		x, err := proto.ParseFetched(b[proto.HeaderSize:size])
		if err != nil {
			w.fail("%s: %v", l.shard.name, err)
		}
		for e.head() < x.After {
			e.log = append(e.log, nil)
			e.tenure.hazy, w.ledger.hazy = true, true
		}
		for m, ok := x.Messages.Next(); ok; m, ok = x.Messages.Next() {
			w.ledger.enter(e, &m)
		}
		b = b[size:]
	}
	if e.head() != upto {
		w.fail("%s: the auditor read room %s up to %d of %d", l.shard.name, e.room, e.head(), upto)
	}
}

// enter takes a message that an owner has appended.
func (g *ledger) enter(e *epoch, m *proto.Message) {
	x := g.messages[string(m.Payload)]
	switch {
	case x == nil:
		g.w.fail("room %s has %.40q, which nobody published", e.room, m.Payload)
	case x.room != e.room || x.kind != m.Kind:
		g.w.fail("%.40q was published in %s as kind %d, and is in %s as %d", x.payload, x.room, x.kind, e.room, m.Kind)
	}
	for _, t := range x.tenures {
		if t == e.tenure {
			g.w.fail("%s appended %.40q twice, now in room %s at %d", t.shard.name, x.payload, e.room, e.head()+1)
		}
	}
	x.tenures = append(x.tenures, e.tenure)
	e.log = append(e.log, x)
	x.spots = append(x.spots, spot{e, e.head()})
	g.w.trace("%s: %s %s.%d is %.24q", e.tenure.shard.name, e.room, e.name, e.head(), m.Payload)
	if before := e.latest[x.router]; x.seq <= before {
		g.w.fail("%s appended %.40q with seq %d of %s behind %d in room %s", e.tenure.shard.name, x.payload, x.seq, x.router.name, before, e.room)
	}
	e.latest[x.router] = x.seq
	g.news = append(g.news, x)
}

// inOrder holds a tenure against rule R8: of each router's publishes it has a
// stretch without holes that begins with the lowest unacknowledged one.
func (g *ledger) inOrder(t *tenure, x *publication) {
	s := t.span(x.router)
	settled := x.router.seqs[t.part].settled
	from := s.last + 1
	if s.last == 0 {
		s.first, from = x.seq, settled+1
	}
	if x.seq < from && s.last > 0 {
		g.w.fail("%s appended %.40q with seq %d of %s behind %d", t.shard.name, x.payload, x.seq, x.router.name, s.last)
	}
	if g.missing(x.router, t, from, x.seq-1) {
		g.w.fail("%s appended %.40q with seq %d of %s, but had none of those from %d on, and %d are settled", t.shard.name, x.payload, x.seq, x.router.name, from, settled)
	}
	s.last = x.seq
}

func (t *tenure) span(r *router) *span {
	for _, s := range t.seqs {
		if s.router == r {
			return s
		}
	}
	s := &span{router: r}
	t.seqs = append(t.seqs, s)
	return s
}

// missing reports whether a publish between two seqs ought to be in a log of
// the tenure and is not.
func (g *ledger) missing(r *router, t *tenure, from, to proto.Seq) bool {
	if t.hazy {
		return false
	}
	for seq := from; seq <= to; seq++ {
		x := r.seqs[t.part].sent[seq-1]
		elsewhere := g.w.table.torn[t.part] && len(x.tenures) > 0
		if !x.voided && !x.tooBig && !x.in(t) && !elsewhere {
			return true
		}
	}
	return false
}

func (x *publication) in(t *tenure) bool {
	for _, k := range x.tenures {
		if k == t {
			return true
		}
	}
	return false
}

// sent notes that a hub gave a publish its seq, or sends it again.
func (g *ledger) sent(r *router, x *proto.Publish) {
	q := &r.seqs[x.Partition]
	switch n := proto.Seq(len(q.sent)); {
	case x.Base > q.settled+1:
		g.w.fail("%s says that all below %d is acknowledged in partition %d, but that is so up to %d", r.name, x.Base, x.Partition, q.settled)
	case x.Seq > n+1:
		g.w.fail("%s goes on from seq %d to %d in partition %d", r.name, n, x.Seq, x.Partition)
	case x.Seq == n+1:
		g.first(r, x)
		return
	}
	was := q.sent[x.Seq-1]
	if x.Kind == proto.KindVoid {
		was.voided = true
	} else if was.payload != string(x.Payload) {
		g.w.fail("%s: seq %d in partition %d is %.40q and %.40q", r.name, x.Seq, x.Partition, was.payload, x.Payload)
	}
}

func (g *ledger) first(r *router, x *proto.Publish) {
	q := &r.seqs[x.Partition]
	if x.Kind == proto.KindVoid { // given up before it was ever sent: which one it was does not matter
		q.sent = append(q.sent, &publication{router: r, seq: x.Seq, voided: true})
		return
	}
	m := g.messages[string(x.Payload)]
	if m == nil || m.seq != 0 || m.router != r || m.room != string(x.Room) || m.conn.id != x.Conn {
		g.w.fail("%s sends %.40q in room %s for conn %d, which is not what was published", r.name, x.Payload, x.Room, x.Conn)
	}
	// Where publishes are given up, the hub may never send one.
	if before := m.conn.sent; m.number <= before || m.number > before+1 && g.w.shape.publishTimeout == patience {
		g.w.fail("%s sends message %d of a conn behind its %d", r.name, m.number, before)
	}
	m.conn.sent = m.number
	m.seq = x.Seq
	q.sent = append(q.sent, m)
}

// acked holds an owner's Ack against its logs: what it says is settled it has,
// unless another owner said so before.
func (g *ledger) acked(r *router, s *shard, x *proto.Ack) {
	t, q := s.reign[x.Partition], &r.seqs[x.Partition]
	if x.Upto > proto.Seq(len(q.sent)) {
		g.w.fail("%s acknowledges seq %d of %s, which has sent up to %d", s.name, x.Upto, r.name, len(q.sent))
	}
	if t == nil {
		return // it says so, and owns nothing any more: the term tells the router
	}
	if n := t.span(r); x.Upto > n.acked {
		if g.missing(r, t, max(n.acked, q.settled)+1, x.Upto) {
			g.w.fail("%s acknowledges up to %d of %s in partition %d and does not have all of them", s.name, x.Upto, r.name, x.Partition)
		}
		n.acked = x.Upto
	}
}

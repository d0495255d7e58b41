package sim

import (
	"cmp"
	"slices"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// ledger is the truth: what every log of every room holds, read out of the
// owners' cores right after everything that could have changed them, and what
// the Table has said.
type ledger struct {
	w        *World
	epochs   []*epoch                // in the order in which they were first seen
	byEpoch  map[proto.Epoch]*epoch  // only looked up
	messages map[string]*publication // by payload; only looked up
	news     []*publication          // of one audit
	hazy     bool                    // something was trimmed before anybody saw it

	lives     map[rowKey]*life          // by the term in which they began; only looked up
	rows      map[rowKey]plan.Row       // that were ever committed; only looked up
	wishes    map[rowKey]uint8          // by the row that they would change: kinds, as bits
	asked     map[rowKey]proto.NodeName // who was wished to be added; the last one
	promised  map[pledge]proto.Term     // only looked up
	forgotten map[proto.NodeName]bool   // by an operator
}

type rowKey struct {
	part proto.Partition
	term proto.Term
}

// pledge is whose promise it is, and about what.
type pledge struct {
	node proto.NodeName
	part proto.Partition
}

// epoch is one life of a room's log.
type epoch struct {
	number int // in the order in which they were first seen
	name   proto.Epoch
	room   string
	life   *life
	log    []*publication // log[i] has offset i+1; nil: trimmed before anybody saw it
	floor  proto.Offset   // all up to here was trimmed
	latest map[*router]proto.Seq
	told   bool // to a router
}

// later says whether e came behind f.
func (e *epoch) later(f *epoch) bool { return e.life.since > f.life.since }

func (e *epoch) head() proto.Offset { return proto.Offset(len(e.log)) }

// life is that of a partition's log: whoever owns it, while it lasts nothing is
// lost and nothing is doubled. It ends with the last copy.
type life struct {
	part  proto.Partition
	since proto.Term
	hazy  bool // something was trimmed before anybody saw it
	seqs  []*span
}

// reign is the time in which a shard is the owner without a break.
type reign struct {
	read map[string]proto.Offset // by room: how far the auditor has read
}

// span is what a life has of a router's publishes.
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
	lives   []*life   // that have it in a log
	spots   []spot    // where it is in logs
}

func newLedger(w *World) *ledger {
	return &ledger{
		w: w, byEpoch: map[proto.Epoch]*epoch{}, messages: map[string]*publication{},
		lives: map[rowKey]*life{}, rows: map[rowKey]plan.Row{}, forgotten: map[proto.NodeName]bool{}, promised: map[pledge]proto.Term{},
		wishes: map[rowKey]uint8{}, asked: map[rowKey]proto.NodeName{},
	}
}

func (g *ledger) life(p proto.Partition, since proto.Term) *life {
	key := rowKey{p, since}
	if g.lives[key] == nil {
		g.lives[key] = &life{part: p, since: since}
	}
	return g.lives[key]
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

// open finds the log of an epoch. A life has one of a room, until all have left.
func (g *ledger) open(room string, name proto.Epoch, t *life, by proto.NodeName) *epoch {
	e := g.byEpoch[name]
	if e == nil {
		for _, old := range g.epochsOf(room) {
			if old.life == t && (old.told || old.head() > 0) && !g.w.deserted() {
				g.w.Fail("%s begins epoch %s of room %s, which has epoch %s since term %d", by, name, room, old.name, t.since)
			}
		}
		e = &epoch{number: len(g.epochs), name: name, room: room, life: t, latest: map[*router]proto.Seq{}}
		g.byEpoch[name] = e
		g.epochs = append(g.epochs, e)
		g.w.Trace("%s begins epoch %s of %s", by, name, room)
	}
	if e.room != room || e.life != t {
		g.w.Fail("%s has epoch %s of room %s since term %d in room %s since term %d", by, name, e.room, e.life.since, room, t.since)
	}
	return e
}

// auditAll audits what the lane owns, if something happened.
func (l *shardLane) auditAll() {
	now, was := l.core.Stats(), &l.seen
	if now.Published == was.Published && now.Created == was.Created && now.Forgotten == was.Forgotten && !l.w().shape.tight {
		return
	}
	l.seen = now
	for p := l.number; p < len(l.rows); p += len(l.shard.lanes) {
		l.audit(proto.Partition(p))
	}
}

// audit reads what is new in a partition's logs, if they are the lane's.
func (l *shardLane) audit(p proto.Partition) {
	w, row := l.w(), &l.rows[p]
	if row.Owner != l.shard.name {
		return
	}
	w.ledger.news = w.ledger.news[:0]
	t := w.ledger.life(p, row.Since)
	for _, room := range w.shape.roomsOf(p) {
		info, ok := l.core.Room(room)
		if !ok {
			continue
		}
		e := w.ledger.open(room, info.Epoch, t, l.shard.name)
		reign := &l.reigns[p]
		if reign.read == nil {
			reign.read = map[string]proto.Offset{}
		}
		read := reign.read[room]
		if info.Offset < read {
			w.Fail("%s: room %s went back from %d to %d", l.shard.name, room, read, info.Offset)
		}
		e.floor = max(e.floor, info.First-1)
		if !w.shape.tight && e.floor > 0 && !w.deserted() {
			w.Fail("%s: room %s trimmed up to %d, which was not to happen in this run", l.shard.name, room, e.floor)
		}
		if info.Offset > read {
			l.copy(e, p, read, info.Offset)
			reign.read[room] = info.Offset
		}
	}
	// Frames that were held come at once: what they added to several rooms is in
	// the order of its seqs.
	slices.SortStableFunc(w.ledger.news, func(a, b *publication) int { return cmp.Compare(a.seq, b.seq) })
	for _, x := range w.ledger.news {
		w.ledger.inOrder(t, x)
	}
}

// copy fetches a log's news as a router would. What another owner had before is
// the same here.
func (l *shardLane) copy(e *epoch, p proto.Partition, read, upto proto.Offset) {
	w := l.w()
	ask := proto.Fetch{Partition: p, Term: l.rows[p].Term, Room: []byte(e.room), Epoch: e.name, After: read, Upto: upto}
	frame := proto.AppendFetch(nil, &ask)
	if err := l.core.Frame(l.auditor, proto.FrameFetch, frame[proto.HeaderSize:], w.Time()); err != nil {
		w.Fail("%s does not accept the auditor's fetch: %v", l.shard.name, err)
	}
	for b := l.core.Fill(l.auditor, nil, 64<<20); len(b) > 0; {
		_, size, _ := proto.ParseHeader(b)
		x, err := proto.ParseFetched(b[proto.HeaderSize:size])
		if err != nil {
			w.Fail("%s: %v", l.shard.name, err)
		}
		for e.head() < x.After {
			e.log = append(e.log, nil)
			e.life.hazy, w.ledger.hazy = true, true
		}
		read = x.After
		for m, ok := x.Messages.Next(); ok; m, ok = x.Messages.Next() {
			read++
			if read > e.head() {
				w.ledger.enter(l, p, e, &m)
			} else if y := e.log[read-1]; y == nil {
				w.ledger.recall(l, e, read, &m)
			} else if y.payload != string(m.Payload) || y.kind != m.Kind {
				w.Fail("%s has %.40q as %s %s.%d, which was %.40q", l.shard.name, m.Payload, e.room, e.name, read, y.payload)
			}
		}
		b = b[size:]
	}
	if read != upto {
		w.Fail("%s: the auditor read room %s up to %d of %d", l.shard.name, e.room, read, upto)
	}
}

// enter takes a message that an owner has committed. There is one owner for each
// term.
func (g *ledger) enter(l *shardLane, p proto.Partition, e *epoch, m *proto.Message) {
	by, row := l.shard.name, g.rows[rowKey{p, l.rows[p].Term}]
	if row.Owner != by {
		g.w.Fail("%s commits in partition %d in term %d, which is %q's", by, p, l.rows[p].Term, row.Owner)
	}
	if copies := 1 + len(row.Followers); copies < g.w.shape.minCopies {
		g.w.Fail("%s commits in partition %d with %d copies", by, p, copies)
	}
	e.log = append(e.log, nil)
	x := g.place(by, e, e.head(), m)
	if before := e.latest[x.router]; x.seq <= before {
		g.w.Fail("%s has %.40q with seq %d of %s behind %d in room %s", by, x.payload, x.seq, x.router.name, before, e.room)
	}
	e.latest[x.router] = x.seq
	g.news = append(g.news, x)
}

// recall takes a message that an owner had trimmed before anybody saw it. The next one commits the log
// again, a part at a time, and shows what was there.
func (g *ledger) recall(l *shardLane, e *epoch, at proto.Offset, m *proto.Message) {
	x := g.place(l.shard.name, e, at, m)
	for i, y := range e.log {
		if y != nil && y.router == x.router && cmp.Compare(y.seq, x.seq) != cmp.Compare(proto.Offset(i+1), at) {
			g.w.Fail("%s has %.40q with seq %d of %s at %d in room %s, and seq %d at %d", l.shard.name, x.payload, x.seq, x.router.name, at, e.room, y.seq, i+1)
		}
	}
}

// place notes where a message is.
func (g *ledger) place(by proto.NodeName, e *epoch, at proto.Offset, m *proto.Message) *publication {
	x := g.messages[string(m.Payload)]
	switch {
	case x == nil:
		g.w.Fail("room %s has %.40q, which nobody published", e.room, m.Payload)
	case x.room != e.room || x.kind != m.Kind:
		g.w.Fail("%.40q was published in %s as kind %d, and is in %s as %d", x.payload, x.room, x.kind, e.room, m.Kind)
	case slices.Contains(x.lives, e.life):
		g.w.Fail("%s has %.40q twice, now in room %s at %d", by, x.payload, e.room, at)
	}
	x.lives = append(x.lives, e.life)
	x.spots = append(x.spots, spot{e, at})
	e.log[at-1] = x
	g.w.Trace("%s: %s %s.%d is %.24q", by, e.room, e.name, at, m.Payload)
	return x
}

// inOrder holds a life against rule R8: of each router's publishes it has a
// stretch without holes that begins with the lowest unacknowledged one.
func (g *ledger) inOrder(t *life, x *publication) {
	s := t.span(x.router)
	settled := x.router.seqs[t.part].settled
	from := s.last + 1
	if s.last == 0 {
		s.first, from = x.seq, settled+1
	}
	if x.seq < from && s.last > 0 {
		g.w.Fail("partition %d has %.40q with seq %d of %s behind %d", t.part, x.payload, x.seq, x.router.name, s.last)
	}
	if g.missing(x.router, t, from, x.seq-1) {
		g.w.Fail("partition %d has %.40q with seq %d of %s, but none of those from %d on, and %d are settled", t.part, x.payload, x.seq, x.router.name, from, settled)
	}
	s.last = x.seq
}

func (t *life) span(r *router) *span {
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
// the life and is not.
func (g *ledger) missing(r *router, t *life, from, to proto.Seq) bool {
	if t.hazy {
		return false
	}
	for seq := from; seq <= to; seq++ {
		x := r.seqs[t.part].sent[seq-1]
		if !x.voided && !x.tooBig && !slices.Contains(x.lives, t) {
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
		g.w.Fail("%s says that all below %d is acknowledged in partition %d, but that is so up to %d", r.name, x.Base, x.Partition, q.settled)
	case x.Seq > n+1:
		g.w.Fail("%s goes on from seq %d to %d in partition %d", r.name, n, x.Seq, x.Partition)
	case x.Seq == n+1:
		g.first(r, x)
		return
	}
	was := q.sent[x.Seq-1]
	if x.Kind == proto.KindVoid {
		was.voided = true
	} else if was.payload != string(x.Payload) {
		g.w.Fail("%s: seq %d in partition %d is %.40q and %.40q", r.name, x.Seq, x.Partition, was.payload, x.Payload)
	}
}

func (g *ledger) first(r *router, x *proto.Publish) {
	q := &r.seqs[x.Partition]
	if x.Kind == proto.KindVoid { // given up before it was ever sent: which one it was does not matter
		q.sent = append(q.sent, &publication{router: r, seq: x.Seq, voided: true})
		return
	}
	m := g.messages[string(x.Payload)]
	if m == nil || m.seq != 0 || m.router != r || m.room != string(x.Room) || m.conn.id != x.Conn&^proto.TimedConn {
		g.w.Fail("%s sends %.40q in room %s for conn %d, which is not what was published", r.name, x.Payload, x.Room, x.Conn)
	}
	// Where publishes are given up, the hub may never send one.
	if before := m.conn.sent; m.number <= before || m.number > before+1 && g.w.shape.publishTimeout == patience {
		g.w.Fail("%s sends message %d of a conn behind its %d", r.name, m.number, before)
	}
	m.conn.sent = m.number
	m.seq = x.Seq
	q.sent = append(q.sent, m)
}

// acked holds an owner's Ack against its logs: what it says is settled it has,
// unless that was so in a life before.
func (g *ledger) acked(r *router, s *shard, x *proto.Ack) {
	q := &r.seqs[x.Partition]
	if x.Upto > proto.Seq(len(q.sent)) {
		g.w.Fail("%s acknowledges seq %d of %s, which has sent up to %d", s.name, x.Upto, r.name, len(q.sent))
	}
	row := &s.lane(x.Partition).rows[x.Partition]
	if row.Owner != s.name {
		return // it says so, and owns nothing any more: the term tells the router
	}
	t := g.life(x.Partition, row.Since)
	if n := t.span(r); x.Upto > n.acked {
		if g.missing(r, t, max(n.acked, q.settled)+1, x.Upto) {
			g.w.Fail("%s acknowledges up to %d of %s in partition %d and does not have all of them", s.name, x.Upto, r.name, x.Partition)
		}
		n.acked = x.Upto
	}
}

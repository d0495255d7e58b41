package sim

import (
	"slices"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
)

// router is one run of a router's process.
type router struct {
	*node
	lanes []*routerLane
	ids   uint64         // of conns
	sent  []*publication // of all partitions; see ledger.go
	seqs  []sequence     // by partition
	early []earlyAck     // of terms that the lane has no row of
}

// routerLane is what a lane of package router does, without sockets.
type routerLane struct {
	router *router
	number int
	hub    *hub.Hub
	links  []*end     // up here
	conns  []*conn    // members and those that join
	turns  bool       // a turn is on its way
	rows   []plan.Row // as the hub was told; by partition, those of other lanes are unused
}

// earlyAck is an Ack of the owner in a higher term than that of the lane's row.
type earlyAck struct {
	from proto.NodeName
	part proto.Partition
	term proto.Term
	upto proto.Seq
}

// sequence is what is known of a router's publishes in a partition.
type sequence struct {
	sent    []*publication // sent[i] has seq i+1
	settled proto.Seq      // the hub was told that all up to here are
}

func (w *World) startRouter(n *node) {
	r := &router{node: n, seqs: make([]sequence, w.shape.partitions)}
	for i := range w.shape.routerLanes {
		l := &routerLane{router: r, number: i, rows: make([]plan.Row, w.shape.partitions)}
		tail, bytes := 512<<20, 1<<10
		if w.shape.narrow {
			tail = 4 << 10
		}
		if w.shape.bulky {
			bytes = 1 << 20
		}
		l.hub = hub.New(hub.Config{
			Partitions: w.shape.partitions, Lane: i, Lanes: w.shape.routerLanes,
			MemberMessages: 8, MemberBytes: bytes, Unacknowledged: 32 * bytes,
			RoomTail: tail, Tails: 1 << 30, Window: time.Second, Stall: 2 * time.Second, JoinTimeout: w.shape.joinTimeout,
			PublishTimeout: w.shape.publishTimeout, Break: w.opt.Hub,
		}, l)
		r.lanes = append(r.lanes, l)
		n.lanes = append(n.lanes, l)
	}
	w.routers = append(w.routers, r)
}

func (r *router) lane(p proto.Partition) *routerLane { return r.lanes[int(p)%len(r.lanes)] }

func (l *routerLane) w() *World       { return l.router.w }
func (l *routerLane) time() time.Time { return l.router.w.Time() }
func (l *routerLane) isAlive() bool   { return l.router.alive }

func (l *routerLane) tick() {
	l.hub.Tick(l.time())
	l.wake()
}

// lost ends the sockets of a router that is no more.
func (l *routerLane) lost() {
	conns := l.conns
	l.conns, l.links = nil, nil
	for _, k := range conns {
		k.lost()
	}
}

// learn takes what is new in the Table.
func (l *routerLane) learn() {
	t := l.router.table
	if t == nil {
		return
	}
	for i := l.number; i < len(l.rows); i += len(l.router.lanes) {
		p, row, was := proto.Partition(i), t.Row(proto.Partition(i)), l.rows[i]
		if row.Term == was.Term {
			continue
		}
		l.w().Trace("%s learns: partition %d is %s's, term %d", l.router.name, p, row.Owner, row.Term)
		l.rows[p] = row
		same := row.Owner == was.Owner
		l.router.catchUp(p, row, same)
		before := l.belief()
		l.hub.SetRow(p, row.Owner, row.Term, l.time())
		if !same && l.belief() != before {
			l.w().Fail("%s believed what %s said in a term in which %s is the owner of partition %d", l.router.name, was.Owner, row.Owner, p)
		}
	}
	l.wake()
}

// see takes the node's view, which does not matter to a router.
func (l *routerLane) see() {}

// promise is a shard's.
func (l *routerLane) promise(list []proto.Promise) []proto.Promise {
	l.w().Fail("%s is asked to promise", l.router.name)
	return list
}

func (l *routerLane) conn(m *hub.Member) *conn {
	for _, c := range l.conns {
		if &c.member == m {
			return c
		}
	}
	l.w().Fail("%s: the hub speaks of a member that nobody is", l.router.name)
	return nil
}

// wake has a turn happen soon: what comes until then is handled in one batch.
func (l *routerLane) wake() {
	if l.turns {
		return
	}
	l.turns = true
	l.w().After(time.Duration(l.w().Rand.Int64N(int64(300*time.Microsecond))), func() { l.router.do(l.turn) })
}

// turn is the end of a wake-up, in the order of package router.
func (l *routerLane) turn() {
	l.turns = false
	l.flush()
	l.hub.FanOut(l.time())
	l.flush()
	if p, term, need := l.hub.NeedTable(); need {
		l.router.needTable(p, term)
	}
}

func (l *routerLane) flush() {
	l.hub.Work(func(node proto.NodeName, index int) {
		e := l.link(node, index)
		if e == nil {
			return
		}
		e.out.send(control, l.hub.Control(node, index, nil, 4<<10))
		if space := e.out.space(); space > 0 {
			e.out.send(data, l.hub.Fill(node, index, nil, space))
		}
	})
}

func (l *routerLane) link(node proto.NodeName, index int) *end {
	for _, e := range l.links {
		if e.far().node.name == node && e.link.pair.index == index {
			return e
		}
	}
	return nil
}

// linkUp and linkDown are what the mesh tells a lane. Other routers are nothing
// to it.
func (l *routerLane) linkUp(e *end) {
	if e.toRouter() {
		return
	}
	for _, old := range l.links {
		if old.link.pair == e.link.pair {
			l.linkDown(old)
			break
		}
	}
	l.links = append(l.links, e)
	l.router.forget(e)
	l.hub.LinkUp(e.far().node.name, e.link.pair.index, e.link.pair.count, l.time())
	l.wake()
}

func (l *routerLane) linkDown(e *end) {
	if !slices.Contains(l.links, e) {
		return
	}
	l.links = without(l.links, e)
	l.router.forget(e)
	l.hub.LinkDown(e.far().node.name, e.link.pair.index, l.time())
	l.wake()
}

// frame hands a frame of a shard in.
func (l *routerLane) frame(e *end, typ proto.FrameType, body []byte) {
	from := e.far().node.name
	l.settle(from, typ, body)
	before := l.belief()
	if err := l.hub.Frame(from, typ, body, l.time()); err != nil {
		l.w().Fail("%s does not accept a frame: %v", l.router.name, err)
	}
	if p, term, _ := proto.ParseHead(body); term != l.rows[p].Term && l.belief() != before {
		l.w().Fail("%s knows term %d of partition %d and believed a frame of term %d", l.router.name, l.rows[p].Term, p, term)
	}
	l.wake()
}

// belief is what a hub took from owners, as far as it can be seen.
type belief struct {
	delivered, duplicates, gaps uint64
	members, unacknowledged     int
}

func (l *routerLane) belief() belief {
	s := l.hub.Stats()
	return belief{s.Delivered, s.Duplicates, s.Gaps, s.Members, s.Unacknowledged}
}

// settle notes what the hub takes as acknowledged.
func (l *routerLane) settle(from proto.NodeName, typ proto.FrameType, body []byte) {
	if typ != proto.FrameAck {
		return
	}
	x, err := proto.ParseAck(body)
	r, row := l.router, l.rows[x.Partition]
	switch {
	case err != nil || row.Owner != from:
	case row.Term == x.Term:
		q := &r.seqs[x.Partition]
		q.settled = max(q.settled, x.Upto)
	case row.Term < x.Term:
		r.early = append(r.early, earlyAck{from, x.Partition, x.Term, x.Upto})
	}
}

// catchUp notes what the hub takes as acknowledged, now that it has the row for
// it. It may have dropped an Ack for lack of room, and then believes less.
func (r *router) catchUp(p proto.Partition, row plan.Row, same bool) {
	r.early = slices.DeleteFunc(r.early, func(x earlyAck) bool {
		if x.part == p && same && x.term == row.Term {
			q := &r.seqs[p]
			q.settled = max(q.settled, x.upto)
		}
		return x.part == p && (!same || x.term <= row.Term)
	})
}

// forget: what came early on a link is not believed once that is down.
func (r *router) forget(e *end) {
	r.early = slices.DeleteFunc(r.early, func(x earlyAck) bool {
		return x.from == e.far().node.name && int(x.part)%e.link.pair.count == e.link.pair.index
	})
}

// without takes x out of the list and keeps the order.
func without[T comparable](list []T, x T) []T {
	for i := range list {
		if list[i] == x {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

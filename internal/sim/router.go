package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
)

// router is one run of a router's process.
type router struct {
	w     *World
	place int // which of the routers; a restarted one has the same
	name  proto.NodeName
	alive bool
	lanes []*routerLane
	known knowledge
	ids   uint64         // of conns
	sent  []*publication // of all partitions; see ledger.go
	seqs  []sequence     // by partition
	early []earlyAck     // of terms that the router has no row of
}

// routerLane is what a lane of package router does, without sockets.
type routerLane struct {
	router *router
	number int
	hub    *hub.Hub
	links  []*link // up here
	conns  []*conn // members and those that join
	turns  bool    // a turn is on its way
}

// earlyAck is an Ack of the owner in a higher term than that of the router's row.
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

func (w *World) startRouter(place int) *router {
	r := &router{w: w, place: place, alive: true, name: w.name("r", place), seqs: make([]sequence, w.shape.partitions)}
	r.known.rows = make([]plan.Row, w.shape.partitions)
	for i := range w.shape.routerLanes {
		l := &routerLane{router: r, number: i}
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
		w.ticks(func() bool { return r.alive }, func() { l.hub.Tick(w.time()); l.wake() })
	}
	w.routers = append(w.routers, r)
	w.trace("%s starts", r.name)
	for _, s := range w.shards {
		if s.alive {
			w.meet(r, s)
		}
	}
	w.table.tell(r)
	return r
}

// name makes the name of the next run of a node.
func (w *World) name(kind string, place int) proto.NodeName {
	w.incarnations++
	return proto.MakeNodeName(proto.NodeID(fmt.Sprintf("%s%d", kind, place)), proto.Incarnation(w.incarnations))
}

const (
	tickEvery = 50 * time.Millisecond
	slowTick  = time.Second // once everybody has left
)

// ticks calls f every 50 ms, as the loop of a lane does, while the node lives.
func (w *World) ticks(alive func() bool, f func()) {
	var tick func()
	every := func() time.Duration {
		if len(w.clients) == 0 && w.calm {
			return slowTick
		}
		return tickEvery
	}
	tick = func() {
		if alive() {
			f()
			w.after(every(), tick)
		}
	}
	w.after(time.Duration(w.rnd.Int64N(int64(tickEvery))), tick)
}

// crash ends the process: its sockets and links break.
func (r *router) crash() {
	w := r.w
	w.trace("%s dies", r.name)
	r.alive = false
	for _, l := range r.lanes {
		for _, c := range l.conns {
			c.lost()
		}
		l.conns, l.links = nil, nil
	}
	w.part(r, nil)
	w.after(w.between(300*time.Millisecond, 3*time.Second), func() {
		for _, s := range w.shards {
			s.setRouters()
		}
	})
}

// learn takes rows of the Table.
func (r *router) learn(p proto.Partition, row plan.Row) {
	was := r.known.rows[p].Owner
	if !r.alive || !r.known.take(p, row) {
		return
	}
	same := row.Owner == was
	r.catchUp(p, row, same)
	l := r.lane(p)
	before := l.belief()
	l.hub.SetRow(p, row.Owner, row.Term, r.w.time())
	if !same && l.belief() != before {
		r.w.fail("%s believed what %s said in a term in which %s is the owner of partition %d", r.name, was, row.Owner, p)
	}
	l.wake()
}

func (r *router) lane(p proto.Partition) *routerLane { return r.lanes[int(p)%len(r.lanes)] }

func (r *router) isAlive() bool        { return r.alive }
func (r *router) self() proto.NodeName { return r.name }
func (r *router) knows() *knowledge    { return &r.known }
func (l *routerLane) time() time.Time  { return l.router.w.time() }
func (l *routerLane) world() *World    { return l.router.w }
func (l *routerLane) isAlive() bool    { return l.router.alive }
func (l *routerLane) conn(m *hub.Member) *conn {
	for _, c := range l.conns {
		if &c.member == m {
			return c
		}
	}
	l.world().fail("%s: the hub speaks of a member that nobody is", l.router.name)
	return nil
}

// wake has a turn happen soon: what comes until then is handled in one batch.
func (l *routerLane) wake() {
	if l.turns {
		return
	}
	l.turns = true
	l.world().after(time.Duration(l.world().rnd.Int64N(int64(300*time.Microsecond))), l.turn)
}

// turn is the end of a wake-up, in the order of package router.
func (l *routerLane) turn() {
	l.turns = false
	if !l.isAlive() {
		return
	}
	l.flush()
	l.hub.FanOut(l.time())
	l.flush()
	if _, _, need := l.hub.NeedTable(); need {
		l.world().table.fetch(l.router)
	}
}

func (l *routerLane) flush() {
	l.hub.Work(func(node proto.NodeName, index int) {
		k := l.link(node, index)
		if k == nil {
			return
		}
		k.up.control(l.hub.Control(node, index, nil, 4<<10))
		if space := k.up.space(); space > 0 {
			k.up.data(l.hub.Fill(node, index, nil, space))
		}
	})
}

func (l *routerLane) link(node proto.NodeName, index int) *link {
	for _, k := range l.links {
		if k.pair.shard.name == node && k.pair.index == index {
			return k
		}
	}
	return nil
}

// linkUp and linkDown are what the mesh tells a lane.
func (l *routerLane) linkUp(k *link) {
	l.world().trace("%s: link %s up", l.router.name, k)
	l.links = append(l.links, k)
	l.router.forget(k)
	l.hub.LinkUp(k.pair.shard.name, k.pair.index, k.pair.count, l.time())
	l.wake()
}

func (l *routerLane) linkDown(k *link) {
	l.world().trace("%s: link %s down", l.router.name, k)
	l.links = without(l.links, k)
	l.router.forget(k)
	l.hub.LinkDown(k.pair.shard.name, k.pair.index, l.time())
	l.wake()
}

// frame hands a frame of a shard in.
func (l *routerLane) frame(k *link, typ proto.FrameType, body []byte) {
	l.router.settle(k.pair.shard.name, typ, body)
	before := l.belief()
	if err := l.hub.Frame(k.pair.shard.name, typ, body, l.time()); err != nil {
		l.world().fail("%s does not accept a frame: %v", l.router.name, err)
	}
	if p, term, _ := proto.ParseHead(body); term != l.router.known.rows[p].Term && l.belief() != before {
		l.world().fail("%s knows term %d of partition %d and believed a frame of term %d", l.router.name, l.router.known.rows[p].Term, p, term)
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
func (r *router) settle(from proto.NodeName, typ proto.FrameType, body []byte) {
	if typ != proto.FrameAck {
		return
	}
	x, err := proto.ParseAck(body)
	row := r.known.rows[x.Partition]
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
func (r *router) forget(k *link) {
	r.early = slices.DeleteFunc(r.early, func(x earlyAck) bool {
		return x.from == k.pair.shard.name && int(x.part)%k.pair.count == k.pair.index
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

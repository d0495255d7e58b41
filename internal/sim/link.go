package sim

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// pair is what connects two nodes: the links of one number, one after the other.
type pair struct {
	w            *World
	nodes        [2]*node // who dials first
	index, count int
	now          *link // the present or the last one
	links        int   // that there were
}

// The sides of a pair.
const (
	dialer   = 0
	acceptor = 1
)

// link is one connection. What is under way on it is lost when it breaks, and
// each end learns of that at a time of its own.
type link struct {
	pair   *pair
	number int
	dead   bool
	ends   [2]*end
	talk   *conversation // between a router and a shard, else nil
}

// end is one side of a link.
type end struct {
	link *link
	side int
	node *node
	lane lane
	up   bool
	over bool            // closed here
	peer *partition.Peer // the far node, at a shard
	out  flow            // what this side sends
}

func (k *link) String() string {
	return fmt.Sprintf("%s-%s#%d.%d", k.pair.nodes[dialer].host.id, k.pair.nodes[acceptor].host.id, k.pair.index, k.number)
}

// far is the other side.
func (e *end) far() *end { return e.link.ends[1-e.side] }

// toRouter reports whether a router is on the other side.
func (e *end) toRouter() bool { return e.far().node.host.role == proto.RoleRouter }

// flow is one direction of a link. Data frames stay in order; control frames
// stay in order among themselves and may pass data that was sent before them.
type flow struct {
	end      *end             // that sends
	waiting  [2][][]byte      // frames under way: control, data
	latest   [2]time.Duration // when the last of them arrives
	missed   [2]int           // arrivals that a cut has put off
	unstored int              // bytes of data frames that the far side has not stored, as far as we know
	owed     int              // bytes of data frames that came here and were stored, and not told
}

const (
	control = 0
	data    = 1
)

// silence is how long a link bears to hear nothing.
const silence = 1500 * time.Millisecond

// meet connects two nodes once they have heard of each other.
func (w *World) meet(a, b *node) {
	if a.host.role == proto.RoleShard && b.host.role == proto.RoleRouter {
		a, b = b, a // routers dial
	}
	count := max(len(a.lanes), len(b.lanes))
	for i := range count {
		p := &pair{w: w, nodes: [2]*node{a, b}, index: i, count: count}
		w.pairs = append(w.pairs, p)
		w.After(w.Between(time.Millisecond, 300*time.Millisecond), p.dial)
	}
}

func (p *pair) ends(n *node) bool { return p.nodes[0] == n || p.nodes[1] == n }

// dial opens a link. Who accepts has it first, since it answers.
func (p *pair) dial() {
	w, a, b := p.w, p.nodes[dialer], p.nodes[acceptor]
	if !a.alive || !b.alive {
		return
	}
	if a.frozen || b.frozen || !a.host.meets(b.host) {
		w.After(w.Between(50*time.Millisecond, 500*time.Millisecond), p.dial)
		return
	}
	p.links++
	k := &link{pair: p, number: p.links}
	for side, n := range p.nodes {
		k.ends[side] = &end{link: k, side: side, node: n, lane: n.lanes[p.index%len(n.lanes)]}
		k.ends[side].out.end = k.ends[side]
	}
	k.talk = newConversation(k)
	p.now = k
	there := w.flight()
	back := there + w.flight()
	k.ends[acceptor].out.latest = [2]time.Duration{w.Now + back, w.Now + back}
	w.After(there, func() { b.do(k.ends[acceptor].open) })
	w.After(back, func() { a.do(k.ends[dialer].open) })
}

// open tells the node of a link, and before that of the end of the one that it
// replaces.
func (e *end) open() {
	if e.link.dead || e.over {
		return
	}
	n, far := e.node, e.far().node.name
	n.w.Trace("%s: link %s up", n.name, e.link)
	e.up = true
	e.lane.linkUp(e)
	if e.link.pair.index == 0 {
		if old := n.first[far]; old != nil {
			old.close(cluster.EndClosed)
		}
		n.first[far] = e
		n.call(func() { n.keeper.LinkUp(n.w.Time(), far) })
	}
}

// close tells the node that a link is down.
func (e *end) close(how cluster.LinkEnd) {
	if e.over {
		return
	}
	e.over = true
	if !e.up {
		return
	}
	e.up = false
	n, far := e.node, e.far().node.name
	n.w.Trace("%s: link %s down, %d", n.name, e.link, how)
	e.lane.linkDown(e)
	if n.first[far] == e {
		delete(n.first, far)
		n.call(func() { n.keeper.LinkDown(n.w.Time(), far, how) })
	}
}

// snap breaks a link. The dialer dials again as soon as it has noticed.
func (k *link) snap(how cluster.LinkEnd) {
	if k == nil || k.dead {
		return
	}
	p, w := k.pair, k.pair.w
	w.Trace("link %s breaks", k)
	k.dead = true
	for _, e := range k.ends {
		e.out.waiting = [2][][]byte{}
		late := w.Between(time.Millisecond, 1500*time.Millisecond)
		if how == cluster.EndLeft {
			late = w.flight()
		}
		w.After(late, func() {
			e.node.do(func() {
				e.close(how)
				if e.side == dialer {
					w.After(w.Between(5*time.Millisecond, 500*time.Millisecond), p.dial)
				}
			})
		})
	}
}

// snapBetween breaks all links between two hosts.
func (w *World) snapBetween(a, b *host, how cluster.LinkEnd) {
	for _, p := range w.pairs {
		if x, y := p.nodes[0].host, p.nodes[1].host; x == a && y == b || x == b && y == a {
			p.now.snap(how)
		}
	}
}

// part ends all links of a node that is no more.
func (w *World) part(n *node, how cluster.LinkEnd) {
	kept := w.pairs[:0:0]
	for _, p := range w.pairs {
		switch {
		case !p.ends(n):
			kept = append(kept, p)
		case how == cluster.EndSilent:
			w.After(silence+w.Between(time.Millisecond, 300*time.Millisecond), func() { p.now.snap(how) })
		default:
			p.now.snap(how)
		}
	}
	w.pairs = kept
}

// space is how many bytes of data frames may be sent now.
func (f *flow) space() int {
	if f.end.link.dead {
		return 1 << 20 // nobody has noticed: the kernel still takes it
	}
	return f.end.node.w.shape.credit - f.unstored
}

// send takes the frames in b apart and on their way.
func (f *flow) send(class int, b []byte) {
	for len(b) > 0 {
		typ, size, err := proto.ParseHeader(b)
		if err != nil || size == 0 || size > len(b) || typ.Data() != (class == data) {
			f.end.node.w.Fail("link %s: broken frame %v of %d in %d bytes: %v", f.end.link, typ, size, len(b), err)
		}
		if t := f.end.link.talk; t != nil {
			t.said(f.end, typ, b[proto.HeaderSize:size])
		}
		if typ == proto.FrameStored {
			f.end.node.w.ledger.stored(f.end.node, b[proto.HeaderSize:size])
		}
		f.dispatch(class, b[:size:size])
		b = b[size:]
	}
}

func (f *flow) dispatch(class int, frame []byte) {
	w := f.end.node.w
	if f.end.link.dead {
		return
	}
	due := max(w.Now+w.flight(), f.latest[control])
	if class == data || !w.Chance(w.shape.overtake) {
		due = max(due, f.latest[data])
	}
	f.latest[class] = due
	f.waiting[class] = append(f.waiting[class], frame)
	if class == data {
		f.unstored += len(frame)
	}
	w.After(due-w.Now, func() { f.arrive(class) })
}

// arrive hands the next frame of a class to the far end, unless a cut keeps it.
func (f *flow) arrive(class int) {
	to := f.end.far()
	switch {
	case f.end.link.dead:
	case !f.end.node.host.passes(to.node.host):
		f.missed[class]++
	default:
		to.node.do(func() { f.take(class) })
	}
}

// release lets arrive what a cut has put off.
func (f *flow) release() {
	for class := range f.missed {
		for range f.missed[class] {
			f.end.node.w.After(0, func() { f.arrive(class) })
		}
		f.missed[class] = 0
	}
}

// take is the arrival of a frame at a process that reads.
func (f *flow) take(class int) {
	if f.end.link.dead {
		return
	}
	w, to := f.end.node.w, f.end.far()
	frame := f.waiting[class][0]
	f.waiting[class] = f.waiting[class][1:]
	typ, size, _ := proto.ParseHeader(frame)
	body := frame[proto.HeaderSize:]
	w.report.Frames[typ]++
	if !to.up {
		return // it hung up
	}
	if w.IsRead() {
		w.Trace("%s to %s %v %s", f.end.link, to.node.host.id, typ, sketch(typ, body))
	} else {
		w.Mix(frame)
	}
	switch {
	case typ == proto.FrameCredit:
		n, _ := proto.ParseCredit(body)
		to.out.unstored -= int(n)
		to.lane.wake()
	case typ >= proto.FramePublish && typ < proto.FramePing:
		if typ == proto.FrameFenced && f.end.node.host.role == proto.RoleRouter {
			w.report.Fenced++
		}
		to.lane.frame(to, typ, body)
	default:
		to.node.hear(f.end.node.name, typ, body)
	}
	if class == data {
		to.out.repay(size)
	}
}

// repay tells the far side of the space that a stored frame has made.
func (f *flow) repay(size int) {
	f.owed += size
	if f.owed >= f.end.node.w.shape.credit/4 {
		f.dispatch(control, proto.AppendCredit(nil, uint64(f.owed)))
		f.owed = 0
	}
}

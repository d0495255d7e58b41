package sim

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// pair is what connects a router to a shard: the links of one number, one after
// the other. The router dials.
type pair struct {
	w            *World
	router       *router
	shard        *shard
	index, count int
	cut          [2]time.Duration // by direction: since when nothing passes; 0: it does
	now          *link            // the present or the last one
	links        int              // that there were
}

// The directions of a link.
const (
	upward   = 0 // to the shard
	downward = 1 // to the router
)

// link is one connection. What is under way on it is lost when it breaks, and
// each end learns of that at a time of its own.
type link struct {
	pair   *pair
	number int
	dead   bool
	met    bool // the router was told that it is up
	up     *flow
	down   *flow
	peer   *partition.Peer // the router, at the shard; nil until it is up there
	talk   conversation
}

func (k *link) String() string {
	return fmt.Sprintf("%s-%s#%d.%d", k.pair.router.name.ID(), k.pair.shard.name.ID(), k.pair.index, k.number)
}

// flow is one direction of a link. Data frames stay in order; control frames
// stay in order among themselves and may pass data that was sent before them.
type flow struct {
	link      *link
	direction int
	waiting   [2][][]byte      // frames under way: control, data
	latest    [2]time.Duration // when the last of them arrives
	missed    [2]int           // arrivals that a cut has put off
	unstored  int              // bytes of data frames that the far side has not stored, as far as we know
	owed      int              // bytes of data frames that were stored and not told
}

const (
	control = 0
	data    = 1
)

// meet connects a router and a shard once the router has heard of it.
func (w *World) meet(r *router, s *shard) {
	count := max(len(r.lanes), len(s.lanes))
	for i := range count {
		p := &pair{w: w, router: r, shard: s, index: i, count: count}
		w.pairs = append(w.pairs, p)
		w.after(w.between(time.Millisecond, 300*time.Millisecond), p.dial)
	}
}

func (p *pair) alive() bool { return p.router.alive && p.shard.alive }
func (p *pair) isCut() bool { return p.cut[upward] != 0 || p.cut[downward] != 0 }

func (p *pair) routerLane() *routerLane { return p.router.lanes[p.index%len(p.router.lanes)] }
func (p *pair) shardLane() *shardLane   { return p.shard.lanes[p.index%len(p.shard.lanes)] }

// dial opens a link. The shard has it first, since it answers.
func (p *pair) dial() {
	w := p.w
	if !p.alive() {
		return
	}
	if p.isCut() {
		w.after(w.between(50*time.Millisecond, 500*time.Millisecond), p.dial)
		return
	}
	p.links++
	k := &link{pair: p, number: p.links}
	k.up, k.down = &flow{link: k, direction: upward}, &flow{link: k, direction: downward}
	k.talk = newConversation(k)
	p.now = k
	there := w.between(w.shape.delay, w.shape.delay+w.shape.jitter)
	back := there + w.between(w.shape.delay, w.shape.delay+w.shape.jitter)
	k.down.latest = [2]time.Duration{w.now + back, w.now + back}
	w.after(there, func() {
		if !k.dead {
			p.shardLane().linkUp(k)
		}
	})
	w.after(back, func() {
		if !k.dead {
			k.met = true
			p.routerLane().linkUp(k)
		}
	})
}

// snap breaks a link. The router dials again as soon as it has noticed.
func (k *link) snap() {
	if k == nil || k.dead {
		return
	}
	p, w := k.pair, k.pair.w
	w.trace("link %s breaks, %d and %d frames are lost", k, k.up.underWay(), k.down.underWay())
	k.dead = true
	k.up.waiting, k.down.waiting = [2][][]byte{}, [2][][]byte{}
	w.after(w.between(time.Millisecond, 1500*time.Millisecond), func() {
		if k.met && p.router.alive {
			p.routerLane().linkDown(k)
		}
		w.after(w.between(5*time.Millisecond, 500*time.Millisecond), p.dial)
	})
	w.after(w.between(time.Millisecond, 1500*time.Millisecond), func() {
		if k.peer != nil && p.shard.alive {
			p.shardLane().unlink(k)
		}
	})
}

// unlink ends a link unless a newer one did that already.
func (l *shardLane) unlink(k *link) {
	for _, x := range l.links {
		if x == k {
			l.linkDown(k)
			return
		}
	}
}

// part breaks all links of a node that died.
func (w *World) part(r *router, s *shard) {
	kept := w.pairs[:0:0]
	for _, p := range w.pairs {
		if p.router == r || p.shard == s {
			p.now.snap()
		} else {
			kept = append(kept, p)
		}
	}
	w.pairs = kept
}

// silence is how long a link bears to hear nothing.
const silence = 1500 * time.Millisecond

// sever lets nothing pass in a direction for a time. Frames wait; a link that
// is silent for too long breaks.
func (p *pair) sever(direction int, d time.Duration) {
	if p.cut[direction] != 0 {
		return
	}
	w := p.w
	since := w.now
	p.cut[direction] = since
	w.after(d, func() { p.mend(direction, since) })
	w.after(silence+w.between(time.Millisecond, 500*time.Millisecond), func() {
		if p.cut[direction] == since {
			p.now.snap()
		}
	})
}

func (p *pair) mend(direction int, since time.Duration) {
	if p.cut[direction] != since {
		return
	}
	p.cut[direction] = 0
	if k := p.now; k != nil && !k.dead {
		f := k.up
		if direction == downward {
			f = k.down
		}
		for class := range f.missed {
			for range f.missed[class] {
				p.w.after(0, func() { f.arrive(class) })
			}
			f.missed[class] = 0
		}
	}
}

// space is how many bytes of data frames may be sent now.
func (f *flow) space() int {
	if f.link.dead {
		return 1 << 20 // nobody has noticed: the kernel still takes it
	}
	return f.link.pair.w.shape.credit - f.unstored
}

func (f *flow) control(b []byte) { f.send(control, b) }
func (f *flow) data(b []byte)    { f.send(data, b) }

// send takes the frames in b apart and on their way.
func (f *flow) send(class int, b []byte) {
	for len(b) > 0 {
		typ, size, err := proto.ParseHeader(b)
		if err != nil || size == 0 || size > len(b) || typ.Data() != (class == data) {
			f.link.pair.w.fail("link %s: broken frame %v of %d in %d bytes: %v", f.link, typ, size, len(b), err)
		}
		f.link.talk.said(f.direction, typ, b[proto.HeaderSize:size])
		f.dispatch(class, b[:size:size])
		b = b[size:]
	}
}

func (f *flow) dispatch(class int, frame []byte) {
	w := f.link.pair.w
	if f.link.dead {
		return
	}
	due := w.now + w.shape.delay + time.Duration(w.rnd.Int64N(int64(w.shape.jitter)))
	due = max(due, f.latest[control])
	if class == data || !w.chance(w.shape.overtake) {
		due = max(due, f.latest[data])
	}
	f.latest[class] = due
	f.waiting[class] = append(f.waiting[class], frame)
	if class == data {
		f.unstored += len(frame)
	}
	w.after(due-w.now, func() { f.arrive(class) })
}

// arrive hands the next frame of a class to the far end.
func (f *flow) arrive(class int) {
	p := f.link.pair
	if f.link.dead || !p.alive() {
		return
	}
	if p.cut[f.direction] != 0 {
		f.missed[class]++
		return
	}
	frame := f.waiting[class][0]
	f.waiting[class] = f.waiting[class][1:]
	typ, size, _ := proto.ParseHeader(frame)
	body := frame[proto.HeaderSize:]
	p.w.report.Frames[typ]++
	p.w.trace("%s %s %v %s", f.link, [2]string{"up", "down"}[f.direction], typ, sketch(typ, body))
	switch {
	case typ == proto.FrameCredit:
		n, _ := proto.ParseCredit(body)
		f.other().unstored -= int(n)
		f.wake()
	case f.direction == upward:
		if typ == proto.FrameFenced {
			p.w.report.Fenced++
		}
		p.shardLane().frame(f.link, typ, body)
	default:
		p.routerLane().frame(f.link, typ, body)
	}
	if class == data {
		f.repay(size)
	}
}

// repay tells the sender of the space that a stored frame has made.
func (f *flow) repay(size int) {
	f.owed += size
	if f.owed >= f.link.pair.w.shape.credit/4 {
		f.other().dispatch(control, proto.AppendCredit(nil, uint64(f.owed)))
		f.owed = 0
	}
}

func (f *flow) other() *flow {
	if f.direction == upward {
		return f.link.down
	}
	return f.link.up
}

// wake has the end that f leads to write again.
func (f *flow) wake() {
	if f.direction == upward {
		f.link.pair.shardLane().wake()
	} else {
		f.link.pair.routerLane().wake()
	}
}

func (f *flow) underWay() int { return len(f.waiting[control]) + len(f.waiting[data]) }

// sketch is a frame in a transcript.
func sketch(typ proto.FrameType, body []byte) string {
	p, term, _ := proto.ParseHead(body)
	head := fmt.Sprintf("p%d t%d", p, term)
	switch typ {
	case proto.FramePublish:
		x, _ := proto.ParsePublish(body)
		return fmt.Sprintf("%s seq %d base %d %s kind %d %.24q", head, x.Seq, x.Base, x.Room, x.Kind, x.Payload)
	case proto.FrameAck:
		x, _ := proto.ParseAck(body)
		return fmt.Sprintf("%s upto %d", head, x.Upto)
	case proto.FrameExpect, proto.FrameHold:
		x, _ := proto.ParseSignal(typ, body)
		return fmt.Sprintf("%s seq %d", head, x.Seq)
	case proto.FrameAttach:
		x, _ := proto.ParseBatch(body)
		for e, ok := x.NextAttach(); ok; e, ok = x.NextAttach() {
			head += fmt.Sprintf(" %s %s", e.Room, proto.Position{Epoch: e.Epoch, Offset: e.Offset})
		}
	case proto.FrameAttached:
		x, _ := proto.ParseBatch(body)
		for e, ok := x.NextAttached(); ok; e, ok = x.NextAttached() {
			head += fmt.Sprintf(" %s %s first %d status %d", e.Room, proto.Position{Epoch: e.Epoch, Offset: e.Offset}, e.First, e.Status)
		}
	case proto.FrameDetach:
		x, _ := proto.ParseBatch(body)
		for room, ok := x.NextDetach(); ok; room, ok = x.NextDetach() {
			head += " " + string(room)
		}
	case proto.FrameDeliver:
		x, _ := proto.ParseDeliver(body)
		head += fmt.Sprintf(" %s %s", x.Room, proto.Position{Epoch: x.Epoch, Offset: x.Offset})
		for m, ok := x.Messages.Next(); ok; m, ok = x.Messages.Next() {
			head += fmt.Sprintf(" %.12q", m.Payload)
		}
	case proto.FrameFetch:
		x, _ := proto.ParseFetch(body)
		return fmt.Sprintf("%s %s %s (%d, %d]", head, x.Room, x.Epoch, x.After, x.Upto)
	case proto.FrameFetched:
		x, _ := proto.ParseFetched(body)
		head += fmt.Sprintf(" %s %s after %d last %v", x.Room, x.Epoch, x.After, x.Last)
	case proto.FrameCredit:
		return fmt.Sprintf("%x", body)
	}
	return head
}

package council

import (
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

const (
	pulseEvery = 500 * time.Millisecond
	silence    = 1500 * time.Millisecond
)

// link is one connection between two processes. Each end learns in its own time how it ended.
type link struct {
	w      *World
	number int
	ends   [2]*end // who dialed first
}

// end is one side of a link.
type end struct {
	link   *link
	p      *process
	peer   *end
	up     bool          // the keeper was told
	over   bool          // closed here
	heard  time.Duration // when something last arrived
	latest time.Duration // when the last frame that is under way arrives here
	held   []func()      // what a cut holds back
}

// dial opens a link to a run of a node, if it is there and willing.
func (p *process) dial(name proto.NodeName) {
	w := p.w
	q := w.byName[name]
	p.dialing[name] = true
	w.After(w.flight(), func() {
		ok := q.alive && !q.frozen && p.alive && p.host.meets(q.host) && compatible(p, q) && !q.dialing[p.name]
		if !ok {
			w.After(w.Between(50*time.Millisecond, 500*time.Millisecond), func() { delete(p.dialing, name) })
			return
		}
		w.linkCount++
		k := &link{w: w, number: w.linkCount}
		mine, theirs := &end{link: k, p: p, heard: w.Now}, &end{link: k, p: q, heard: w.Now}
		mine.peer, theirs.peer = theirs, mine
		k.ends = [2]*end{mine, theirs}
		w.links = append(w.links, k)
		theirs.open()
		w.After(w.flight(), func() {
			delete(p.dialing, name)
			p.do(mine.open)
		})
		w.After(pulseEvery, k.pulse)
	})
}

// compatible is what a hello judges.
func compatible(p, q *process) bool {
	a, b := p.keeper.Instance(), q.keeper.Instance()
	return a.IsZero() || b.IsZero() || a == b
}

// open tells the keeper of a link. A newer link takes the place of one whose end was not noticed.
func (e *end) open() {
	p, peer := e.p, e.peer.p
	if e.over {
		return
	}
	old := p.ends[peer.name]
	p.ends[peer.name] = e
	e.up, e.heard = true, p.w.Now
	p.w.Trace("%s links to %s", p.name, peer.name)
	delete(p.broke, peer.name)
	p.call(func() { p.keeper.LinkUp(p.w.Time(), peer.name) })
	if old != nil {
		old.close(cluster.EndClosed)
	}
	e.release()
}

// close ends the link at this end, and tells the keeper how.
func (e *end) close(how cluster.LinkEnd) {
	if e.over {
		return
	}
	e.over, e.held = true, nil
	e.down(how)
	e.hangUp(how)
}

func (e *end) down(how cluster.LinkEnd) {
	p, peer := e.p, e.peer.p.name
	if p.ends[peer] == e {
		delete(p.ends, peer)
	}
	if !e.up {
		return
	}
	e.up = false
	p.w.Trace("%s loses its link to %s: %d", p.name, peer, how)
	p.broke[peer] = how == cluster.EndBroken
	p.call(func() { p.keeper.LinkDown(p.w.Time(), peer, how) })
}

// hangUp tells the other end, behind all that is under way: with a word, or a reset.
func (e *end) hangUp(how cluster.LinkEnd) {
	if how == cluster.EndSilent {
		how = cluster.EndBroken
	}
	e.carry(func(far *end) { far.hearEnd(how) })
}

// hearEnd: the other side has hung up.
func (e *end) hearEnd(how cluster.LinkEnd) {
	if e.over {
		return
	}
	e.over, e.held = true, nil
	if how == cluster.EndLeft {
		e.p.w.Trace("%s hears %s say goodbye", e.p.name, e.peer.p.name)
	}
	e.down(how)
}

// send has a frame travel to the other end.
func (e *end) send(frame []byte) {
	w := e.link.w
	if !w.calm && w.Chance(w.shape.dropped) {
		return
	}
	from := e.p.name
	e.carry(func(far *end) {
		if far.up {
			far.p.frame(from, frame)
		}
	})
}

// carry has something happen at the other end, in the order in which it was sent, or nearly.
func (e *end) carry(f func(far *end)) {
	w, far := e.link.w, e.peer
	at := w.Now + w.flight()
	if w.calm || !w.Chance(w.shape.overtake) {
		at = max(at, far.latest)
		far.latest = at
	}
	w.After(at-w.Now, func() { far.arrive(func() { f(far) }) })
}

// arrive takes what came, or leaves it behind the cut that holds it back.
func (e *end) arrive(f func()) {
	if e.over || !e.p.alive {
		return
	}
	if !e.peer.p.host.passes(e.p.host) || !e.up {
		e.held = append(e.held, f)
		return
	}
	e.heard = e.link.w.Now
	e.p.do(f)
}

// release lets what was held back arrive.
func (e *end) release() {
	held := e.held
	e.held = nil
	for _, f := range held {
		e.arrive(f)
	}
}

// pulse is both ends' heartbeat, and what they do about a missing one.
func (k *link) pulse() {
	w := k.w
	for _, e := range k.ends {
		e.beat()
	}
	for _, e := range k.ends {
		if !e.over && e.up && w.Now-e.heard >= silence {
			e.p.do(func() {
				// Who was stopped itself reads first what came meanwhile.
				if !e.over && e.up && w.Now-e.heard >= silence {
					e.close(cluster.EndSilent)
				}
			})
		}
	}
	if (k.ends[0].over || !k.ends[0].p.alive) && (k.ends[1].over || !k.ends[1].p.alive) {
		w.links = without(w.links, k)
		return
	}
	w.After(pulseEvery, k.pulse)
}

// beat: what the other side's heartbeat, or its kernel's answer to ours, says here.
func (e *end) beat() {
	far := e.peer
	if e.over || !e.p.alive || !far.p.host.passes(e.p.host) {
		return
	}
	switch {
	case far.p.alive && !far.over:
		if !far.p.frozen {
			e.heard = e.link.w.Now
		}
	case e.p.host.meets(far.p.host) && e.up && !e.p.frozen:
		e.p.do(func() { e.hearEnd(cluster.EndBroken) }) // nobody knows that connection there
	}
}

func without[T comparable](list []T, x T) []T {
	kept := list[:0:0]
	for _, y := range list {
		if y != x {
			kept = append(kept, y)
		}
	}
	return kept
}

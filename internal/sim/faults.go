package sim

import (
	"time"

	"github.com/roomring/roomring/proto"
)

// fault is a kind of what goes wrong. A seed has some of them.
type fault uint8

const (
	faultReset   fault = iota // a link breaks
	faultStall                // nothing passes between two nodes, one way or both, for a short time
	faultCut                  // the same, for long enough to be noticed
	faultShard                // a shard's process dies and is started again
	faultRouter               // a router's
	faultTerm                 // a partition gets a new term and keeps its owner
	faultVerdict              // a living shard is taken for dead
	faultMove                 // a partition moves to another shard
	faultFlap                 // and soon moves back
	faultSplit                // two coordinators give it to two shards
	faultDeaf                 // a node hears nothing of the Table
	faultSlow                 // a client does not read
	faultLeave                // a client leaves and comes back
	faultKinds
)

func (f fault) String() string {
	return [...]string{"reset", "stall", "cut", "shard", "router", "term", "verdict", "move", "flap", "split", "deaf", "slow", "leave"}[f]
}

// plague lets faults happen until the trouble is over.
func (w *World) plague() {
	next := w.between(10*time.Millisecond, 2*w.shape.faultEvery)
	if w.now+next >= w.shape.trouble {
		return
	}
	w.after(next, func() {
		w.strike()
		w.plague()
	})
}

// strike has one fault of the seed's kinds happen.
func (w *World) strike() {
	kind := fault(w.rnd.IntN(int(faultKinds)))
	if !w.shape.faults[kind] {
		return
	}
	w.report.Faults[kind]++
	w.trace("fault: %v", kind)
	p := proto.Partition(w.rnd.IntN(w.shape.partitions))
	switch kind {
	case faultReset, faultStall, faultCut:
		w.disturb(kind)
	case faultShard, faultRouter:
		w.kill(kind)
	case faultTerm:
		if owner := w.table.rows[p].Owner; owner != "" {
			w.table.give(p, owner)
		}
	case faultVerdict:
		if s := w.livingShard(); s != nil {
			w.table.see(s, false)
			w.after(w.between(50*time.Millisecond, 3*time.Second), func() { w.table.see(s, true) })
		}
	case faultMove, faultFlap:
		w.move(p, kind == faultFlap)
	case faultSplit:
		w.table.split(p)
	case faultDeaf:
		all := w.nodes()
		if len(all) > 0 {
			all[w.rnd.IntN(len(all))].knows().deaf = w.now + w.between(100*time.Millisecond, 3*time.Second)
		}
	case faultSlow:
		c := w.clients[w.rnd.IntN(len(w.clients))]
		c.stalled = max(c.stalled, w.now+w.between(50*time.Millisecond, 4*time.Second))
		w.trace("client %d reads nothing until %v", c.number, c.stalled)
	case faultLeave:
		w.clients[w.rnd.IntN(len(w.clients))].leave()
	}
}

func (w *World) disturb(kind fault) {
	if len(w.pairs) == 0 {
		return
	}
	p := w.pairs[w.rnd.IntN(len(w.pairs))]
	if kind == faultReset {
		p.now.snap()
		return
	}
	d := w.between(10*time.Millisecond, silence)
	if kind == faultCut {
		d = w.between(silence, 3*silence)
	}
	switch w.rnd.IntN(3) {
	case upward:
		p.sever(upward, d)
	case downward:
		p.sever(downward, d)
	default:
		p.sever(upward, d)
		p.sever(downward, d)
	}
}

// kill ends a process; another run of the node follows, sometimes at once.
func (w *World) kill(kind fault) {
	back := w.between(time.Millisecond, 3*time.Second)
	if kind == faultShard {
		if s := w.livingShard(); s != nil {
			s.crash()
			w.after(back, func() { w.startShard(s.place) })
		}
		return
	}
	var up []*router
	for _, r := range w.routers {
		if r.alive {
			up = append(up, r)
		}
	}
	if len(up) > 0 {
		r := up[w.rnd.IntN(len(up))]
		r.crash()
		w.after(back, func() { w.startRouter(r.place) })
	}
}

func (w *World) livingShard() *shard {
	var up []*shard
	for _, s := range w.shards {
		if s.alive {
			up = append(up, s)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[w.rnd.IntN(len(up))]
}

// move gives a partition to another shard, and perhaps soon back.
func (w *World) move(p proto.Partition, back bool) {
	from := w.table.rows[p].Owner
	to := w.table.someone(from)
	if from == "" || to == "" {
		return
	}
	w.table.give(p, to)
	if !back {
		return
	}
	w.after(w.between(time.Millisecond, 500*time.Millisecond), func() {
		for _, s := range w.table.alive {
			if s.name == from && w.table.rows[p].Owner != from {
				w.table.give(p, from)
				return
			}
		}
	})
}

// heal ends what would last, and stops new faults.
func (w *World) heal() {
	w.trace("the faults are over")
	w.calm = true
	for _, p := range w.pairs {
		for d, since := range p.cut {
			if since != 0 {
				p.mend(d, since)
			}
		}
	}
	for _, n := range w.nodes() {
		n.knows().deaf = 0
	}
}

// empty: everybody leaves for good.
func (w *World) empty() {
	w.trace("everybody leaves")
	for _, c := range w.clients {
		c.gone = true
		c.leave()
	}
	w.clients = nil
}

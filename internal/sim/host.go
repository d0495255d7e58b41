package sim

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// host is a machine and an address: one process at a time, a disk for the
// register, a place in the network.
type host struct {
	w     *World
	place int
	id    proto.NodeID
	role  proto.Role
	zone  string
	off   bool  // without power: it answers nobody, and no connection is reset
	now   *node // nil while none runs
	runs  proto.Incarnation
	seat  seat // in the register; on the disk

	cuts  []int           // by place: how many cuts keep what is sent from here from arriving there
	since []time.Duration // by place: since when the first of them does
}

func (h *host) address() string { return string(h.id) + ":7400" }

// build makes the hosts and starts all but the late ones.
func (w *World) build() {
	s := &w.shape
	for i := range s.shards + s.routers {
		h := &host{w: w, place: i, id: proto.NodeID(fmt.Sprintf("s%d", i)), role: proto.RoleShard}
		if h.zone = fmt.Sprintf("z%d", i%s.zones); s.zones == 1 {
			h.zone = ""
		}
		if i >= s.shards {
			h.id, h.role = proto.NodeID(fmt.Sprintf("r%d", i-s.shards)), proto.RoleRouter
		}
		h.cuts = make([]int, s.shards+s.routers)
		h.since = make([]time.Duration, s.shards+s.routers)
		h.seat.host = h
		w.hosts = append(w.hosts, h)
	}
	for _, h := range w.hosts {
		if h.role == proto.RoleShard && h.place >= s.shards-s.late {
			h.off = true
			continue
		}
		w.After(w.Between(time.Millisecond, 300*time.Millisecond), h.start)
	}
}

// start begins a run, unless one is there.
func (h *host) start() {
	if h.off {
		h.off = false
		for _, o := range h.w.hosts {
			h.w.freshen(h, o)
			h.w.freshen(o, h)
		}
	}
	if h.now == nil {
		h.w.startNode(h)
	}
}

// passes reports whether what is sent from here arrives there.
func (h *host) passes(to *host) bool { return h == to || h.cuts[to.place] == 0 && !h.off && !to.off }

// meets reports whether both hear each other.
func (h *host) meets(o *host) bool { return h.passes(o) && o.passes(h) }

// cut lets nothing pass from one host to another for a time. Frames wait; a
// link that is silent for too long ends.
func (w *World) cut(from, to *host, d time.Duration) {
	if from == to {
		return
	}
	if from.cuts[to.place]++; from.cuts[to.place] == 1 {
		since := w.Now
		from.since[to.place] = since
		w.After(silence+w.Between(time.Millisecond, 500*time.Millisecond), func() {
			if from.cuts[to.place] > 0 && from.since[to.place] == since {
				w.snapBetween(from, to, cluster.EndSilent)
			}
		})
	}
	w.After(d, func() { w.mend(from, to) })
}

func (w *World) mend(from, to *host) {
	if from.cuts[to.place] == 0 {
		return
	}
	if from.cuts[to.place]--; from.cuts[to.place] == 0 {
		w.freshen(from, to)
	}
}

// clear ends all cuts from one host to another.
func (w *World) clear(from, to *host) {
	if from.cuts[to.place] > 0 {
		from.cuts[to.place] = 0
		w.freshen(from, to)
	}
}

// split lets nothing pass between two groups for a time.
func (w *World) split(a, b []*host, d time.Duration) {
	for _, x := range a {
		for _, y := range b {
			w.cut(x, y, d)
			w.cut(y, x, d)
		}
	}
}

// freshen lets arrive what waited for a way from one host to another.
func (w *World) freshen(from, to *host) {
	if !from.passes(to) {
		return
	}
	for _, p := range w.pairs {
		if k := p.now; k != nil && !k.dead {
			for _, e := range k.ends {
				if e.node.host == from && e.far().node.host == to {
					e.out.release()
				}
			}
		}
	}
}

// living are the nodes that run, by place.
func (w *World) living() (all []*node) {
	for _, h := range w.hosts {
		if h.now != nil && !h.off {
			all = append(all, h.now)
		}
	}
	return all
}

// flight is how long a packet takes.
func (w *World) flight() time.Duration {
	return w.shape.delay + time.Duration(w.Rand.Int64N(int64(w.shape.jitter)))
}

// ask is what a probe of an address finds.
func (h *host) ask(at *host, name proto.NodeName) cluster.Fate {
	switch {
	case !h.meets(at):
		return cluster.FateUnknown
	case at.now == nil:
		return cluster.FateRefused
	case at.now.frozen:
		return cluster.FateUnknown
	case at.now.name == name:
		return cluster.FateAlive
	}
	return cluster.FateReplaced
}

func (w *World) hostAt(address string) *host {
	for _, h := range w.hosts {
		if h.address() == address {
			return h
		}
	}
	w.Fail("address %q is nobody's", address)
	return nil
}

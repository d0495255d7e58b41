package council

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/proto"
)

// host is a machine and an address: one process at a time, a data directory, a
// place in the network.
type host struct {
	w      *World
	place  int
	id     proto.NodeID
	role   proto.Role
	off    bool     // without power: it answers nobody, and no connection is reset
	now    *process // nil while none runs
	runs   proto.Incarnation
	memory *memory // the data directory; nil without one, and before the first run

	cuts []int           // by place: how many cuts keep what is sent from here from arriving there
	seen []time.Duration // by place: since when both hear each other
}

func (h *host) address() string { return string(h.id) + ":7400" }

// build starts the hosts.
func (w *World) build() {
	s := &w.shape
	for i := range s.shards + s.routers {
		h := &host{w: w, place: i, id: proto.NodeID(fmt.Sprintf("s%d", i+1)), role: proto.RoleShard}
		if i >= s.shards {
			h.id, h.role = proto.NodeID(fmt.Sprintf("r%d", i-s.shards+1)), proto.RoleRouter
		}
		h.cuts = make([]int, s.shards+s.routers)
		h.seen = make([]time.Duration, s.shards+s.routers)
		w.hosts = append(w.hosts, h)
	}
	// The last are late: shards, after all routers.
	for _, h := range w.hosts {
		at := w.Between(time.Millisecond, time.Second)
		if late := w.rank(h) >= len(w.hosts)-s.late; late {
			at += w.Between(time.Second, s.trouble)
			if !s.badFounding {
				h.off = true // until the trouble begins
				continue
			}
		}
		w.After(at, h.start)
	}
}

// rank orders hosts by who starts first: first the shards that found, then the others.
func (w *World) rank(h *host) int {
	founders := w.shape.founders()
	switch {
	case h.role == proto.RoleRouter:
		return founders + h.place - w.shape.shards
	case h.place < founders:
		return h.place
	}
	return h.place + w.shape.routers
}

// expects is how many shards the node is told to wait for before it founds, and whether it is told of
// others.
func (h *host) expects() (shards int, seeded bool) {
	s := &h.w.shape
	switch {
	case s.founders() > 1:
		return s.expect, true
	case h.place == 0:
		return 1, false
	}
	return s.shards, true
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
		startProcess(h)
	}
}

// passes reports whether what is sent from here arrives there.
func (h *host) passes(to *host) bool { return h == to || h.cuts[to.place] == 0 && !h.off && !to.off }

// meets reports whether both hear each other.
func (h *host) meets(o *host) bool { return h.passes(o) && o.passes(h) }

// cut lets nothing pass from one host to another for a time.
func (w *World) cut(from, to *host, d time.Duration) {
	from.cuts[to.place]++
	w.After(d, func() { w.mend(from, to) })
}

func (w *World) mend(from, to *host) {
	if from.cuts[to.place] == 0 {
		return
	}
	from.cuts[to.place]--
	w.freshen(from, to)
}

// freshen is called when a connection may have come back.
func (w *World) freshen(a, b *host) {
	if a.cuts[b.place] > 0 {
		return
	}
	a.seen[b.place], b.seen[a.place] = w.Now, w.Now
	for _, k := range w.links {
		for _, e := range k.ends {
			if e.p.host == b && e.peer.p.host == a {
				e.release()
			}
		}
	}
}

// living are the processes that run, by place.
func (w *World) living() (all []*process) {
	for _, h := range w.hosts {
		if h.now != nil && !h.off {
			all = append(all, h.now)
		}
	}
	return all
}

func (w *World) livingShards() (all []*process) {
	for _, p := range w.living() {
		if p.host.role == proto.RoleShard {
			all = append(all, p)
		}
	}
	return all
}

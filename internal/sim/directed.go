package sim

import (
	"time"

	"github.com/roomring/roomring/proto"
)

// Directed is a schedule that dice would hardly throw.
type Directed uint8

// The schedules.
const (
	// DirectedLearner: an owner teaches a learner and wishes it to be added. From
	// that moment nothing of the owner reaches it. What is published until the
	// Table names it is not there, and then the owner dies (rule R4).
	DirectedLearner Directed = iota + 1

	// DirectedFence: the leader, a router, loses sight of an owner and of another
	// router, which go on as before with the follower, and hear nothing of the
	// Table. The follower becomes the owner (rule R2).
	DirectedFence
)

// direct sets the stage for a schedule and begins it.
func (w *World) direct() {
	switch w.opt.Directed {
	case DirectedLearner:
		w.directLearner()
	case DirectedFence:
		w.directFence()
	default:
		w.Fail("schedule %d is unknown", w.opt.Directed)
	}
}

// directed is a small cluster in which nothing happens by itself.
func (s *shape) directed() {
	s.shards, s.late, s.routers, s.partitions, s.clients = 2, 0, 2, 1, 6
	s.zones, s.shardLanes, s.routerLanes, s.followers, s.minCopies, s.snapshotRate = 1, 1, 1, 1, 1, -1
	s.tight, s.narrow, s.bulky, s.maxMessage, s.credit, s.socket = false, false, false, 160, 64<<10, 16<<10
	s.delay, s.jitter, s.overtake, s.talk = 5*time.Millisecond, time.Millisecond, 0, 20*time.Millisecond
	s.publishTimeout, s.joinTimeout, s.trouble = patience, 5*time.Second, 8*time.Second
	s.faults = [faultKinds]bool{}
}

// when has something happen as soon as something else is so.
func (w *World) when(so func() bool, f func()) {
	if so() {
		f()
	} else if !w.calm {
		w.After(time.Millisecond, func() { w.when(so, f) })
	}
}

func (w *World) directLearner() {
	row := func() (proto.NodeName, []proto.NodeName, rowKey) {
		r := w.registers[len(w.registers)-1].last().table.Row(0)
		return r.Owner, r.Followers, rowKey{0, r.Term}
	}
	committed := func() (n proto.Offset) {
		for _, e := range w.ledger.epochs {
			n += e.head()
		}
		return n
	}
	owner, followers := w.keepers(0)
	follower := followers[0].host
	w.After(time.Second, func() {
		followers[0].die(true)
		w.After(200*time.Millisecond, follower.start)
	})
	w.After(1500*time.Millisecond, func() {
		w.when(func() bool { _, _, key := row(); return w.ledger.wishes[key]&(1<<proto.WishAdd) != 0 }, func() {
			w.cut(owner.host, follower, silence)
			before := committed()
			end := w.Now + silence/2
			w.when(func() bool {
				_, with, _ := row()
				return len(with) > 0 && (committed() > before || w.Now >= end)
			}, func() { w.kill(owner, true) })
		})
	})
}

func (w *World) directFence() {
	w.when(func() bool {
		l := w.leader()
		if l != nil && l.host.role == proto.RoleShard {
			w.depose()
			return false
		}
		return l != nil && w.Now > 2*time.Second
	}, func() {
		owner, _ := w.keepers(0)
		w.blind(owner, 4*time.Second)
	})
}

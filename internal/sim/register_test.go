package sim

import (
	"testing"
	"time"

	"github.com/roomring/roomring/internal/sim/timeline"
	"github.com/roomring/roomring/proto"
)

// TestOtherLogFirstForgotten: a host that keeps the log of another founding is given nothing before it has
// forgotten that, as package register has it. Else its own order to forget would throw away what it was
// just given.
func TestOtherLogFirstForgotten(t *testing.T) {
	w := &World{Timeline: timeline.New(1, 0, nil), opt: Options{Directed: DirectedFence}, byName: map[proto.NodeName]*node{}}
	w.ledger, w.circle = newLedger(w), w.newCircle()
	err := w.Play(func() {
		w.shape = drawShape(w)
		w.build()
		w.settle(foundingTime, time.Second, w.unfounded)
		r := w.registers[0]
		n := r.voters()[0].now
		if n == r.leader {
			n = r.voters()[1].now
		}
		other := proto.Founding{Instance: proto.Instance{1}}
		n.host.seat.founding = other
		w.Run(w.Now + 4*raftTick)
		if f := n.host.seat.founding; f != other {
			t.Errorf("it is given the log of %v beside that of %v", f, other)
		}
		n.forgetRegister()
		w.Run(w.Now + 4*raftTick)
		if f := n.host.seat.founding; f != r.founding {
			t.Errorf("it keeps the log of %v, and %v is the present one", f, r.founding)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

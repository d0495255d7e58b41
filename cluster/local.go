package cluster

import (
	"context"
	"fmt"
	"sync"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Local is a Register in this process's memory, with this node as its only voter for ever. It serves
// tests and simulation: nothing of it outlives the process or is known to another.
type Local struct {
	self    proto.NodeName
	changed chan struct{} // one slot

	mu     sync.Mutex // guards status
	status Status
}

var _ Register = (*Local)(nil)

// NewLocal returns a Register that nothing is founded in.
func NewLocal(self proto.NodeName) *Local {
	return &Local{self: self, changed: make(chan struct{}, 1), status: Status{Voter: self}}
}

// Run waits for the end of ctx.
func (l *Local) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Changed receives a value after Status changed.
func (l *Local) Changed() <-chan struct{} { return l.changed }

// Status returns what is held.
func (l *Local) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// Do carries out an order at once. Other voters are refused.
func (l *Local) Do(o Order, done func(error)) {
	l.mu.Lock()
	err := l.do(o)
	l.mu.Unlock()
	signal(l.changed)
	done(err)
}

func (l *Local) do(o Order) error {
	s := &l.status
	switch o.Kind {
	case OrderFound:
		*s = Status{Voter: l.self, Founding: o.Founding, Term: 1, Leader: l.self, Servers: []plan.Server{{Name: l.self, Voter: true}}}
		s.Table = o.Command.Found.WithVoters([]proto.NodeName{l.self})
	case OrderPropose:
		next, err := s.Table.Execute(o.Command, s.Term)
		if err != nil {
			return err
		}
		s.Table = next
	case OrderReset:
		*s = Status{Voter: l.self}
	case OrderQuicken:
	default:
		return fmt.Errorf("%w: a local register has one voter", ErrRefused)
	}
	s.Applied++
	return nil
}

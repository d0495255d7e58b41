package register

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

const (
	// maxOrders is how many orders may be under way; more are refused. It also bounds what a leader
	// that is cut off can have in its log that nobody else has.
	maxOrders = 32

	// startWithin is how long an order may wait for raft to begin with it, and foundWithin for the
	// only voter of a new founding to lead.
	startWithin = time.Second
	foundWithin = 5 * time.Second
)

// Errors of orders that were not begun. They wrap ErrNotLeading, because it is as certain that
// nothing happens.
var (
	errBusy = fmt.Errorf("%w: %d orders are under way", cluster.ErrNotLeading, maxOrders)
	errIdle = fmt.Errorf("%w: it is not running", cluster.ErrNotLeading)
)

// Do implements cluster.Register.
func (r *Register) Do(order cluster.Order, done func(error)) {
	if err := r.begin(); err != nil {
		done(err)
		return
	}
	go func() {
		defer r.orders.done()
		done(r.carryOut(&order))
	}()
}

func (r *Register) begin() error {
	if r.now().ctx == nil {
		return errIdle
	}
	return r.orders.add()
}

func (r *Register) carryOut(order *cluster.Order) error {
	switch order.Kind {
	case cluster.OrderFound:
		return r.found(order.Founding, order.Command)
	case cluster.OrderReset:
		return r.reset()
	}
	l := r.now().life
	if l == nil {
		return cluster.ErrNotLeading
	}
	if err := l.orders.add(); err != nil {
		return err
	}
	defer l.orders.done()
	switch order.Kind {
	case cluster.OrderPropose:
		return l.propose(order.Command)
	case cluster.OrderQuicken:
		return l.hurry()
	default:
		return l.reconfigure(order.Kind, raft.ServerID(order.Voter))
	}
}

// propose appends a Command, if we lead in the term in which it was decided. In which term it will be
// appended is not certain here; the state machine judges that (Command.Term).
func (l *life) propose(c *cluster.Command) error {
	if l.leads() != c.Term || c.Term == 0 {
		return cluster.ErrNotLeading
	}
	f := l.raft.Apply(cluster.AppendCommand(nil, c), startWithin)
	if err := l.await(f); err != nil {
		return verdict(err)
	}
	if err, failed := f.Response().(error); failed {
		return err
	}
	return nil
}

func (l *life) reconfigure(kind cluster.OrderKind, id raft.ServerID) error {
	if l.leads() == 0 {
		return cluster.ErrNotLeading
	}
	at := raft.ServerAddress(id)
	var f raft.Future
	switch {
	case kind == cluster.OrderAddLearner:
		f = l.raft.AddNonvoter(id, at, 0, startWithin)
	case kind == cluster.OrderPromote:
		f = l.raft.AddVoter(id, at, 0, startWithin)
	case kind == cluster.OrderRemove:
		f = l.raft.RemoveServer(id, 0, startWithin)
	case kind == cluster.OrderTransfer && id == "":
		f = l.raft.LeadershipTransfer()
	case kind == cluster.OrderTransfer:
		f = l.raft.LeadershipTransferToServer(id, at)
	default:
		return fmt.Errorf("%w: order %d is unknown", cluster.ErrRefused, kind)
	}
	return verdict(l.await(f))
}

// verdict says what raft's answer means: whether it is certain that nothing happens.
func verdict(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", cluster.ErrNotLeading, err)
	}
	return err
}

// found forgets everything and begins a log whose only voter is this node.
func (r *Register) found(founding proto.Founding, c *cluster.Command) error {
	if founding == (proto.Founding{}) || c == nil || c.Found == nil || c.Found.Founding() != founding || c.Found.Partitions() != r.cfg.Partitions {
		return fmt.Errorf("%w: a founding without a table that fits", cluster.ErrRefused)
	}
	release, err := r.change()
	if err != nil {
		return err
	}
	defer release()
	if err := r.wipe(); err != nil {
		return err
	}
	if err := r.home.begin(founding, true); err != nil {
		return err
	}
	l, err := r.start()
	if err != nil {
		r.fail(err)
		return err
	}
	term, err := l.waitLead(r.now().ctx)
	if err != nil {
		return err
	}
	first := *c
	first.Term = term
	return l.propose(&first)
}

// waitLead waits until we lead for the first time, and returns our term.
func (l *life) waitLead(ctx context.Context) (uint64, error) {
	l.pace(quick) // which wakes raft; there is nobody whose heartbeat it could wait for
	defer l.pace(heartbeat)
	ctx, cancel := context.WithTimeout(ctx, foundWithin)
	defer cancel()
	select {
	case <-l.led:
		return l.leads(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the only voter of a new founding to lead: %w", ctx.Err())
	}
}

// reset forgets everything.
func (r *Register) reset() error {
	release, err := r.change()
	if err != nil {
		return err
	}
	defer release()
	return r.wipe()
}

// orders counts what is under way, up to maxOrders.
type orders struct {
	mu   sync.Mutex
	n    int
	over bool
	idle chan struct{} // closed when over and none is left
}

func newOrders() *orders { return &orders{idle: make(chan struct{})} }

// add counts one more, until end.
func (o *orders) add() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.over:
		return errIdle
	case o.n == maxOrders:
		return errBusy
	}
	o.n++
	return nil
}

func (o *orders) done() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n--; o.over && o.n == 0 {
		close(o.idle)
	}
}

// end lets no more in, and returns a channel that is closed when none is left.
func (o *orders) end() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.over {
		o.over = true
		if o.n == 0 {
			close(o.idle)
		}
	}
	return o.idle
}

package cluster

import (
	"context"
	"errors"
	"net"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Register is where the Table is kept and changed: one truth for all nodes. Package
// cluster/register keeps it in raft; Local, in memory, serves tests.
//
// Its methods may be called by several goroutines, and none of them waits for others.
type Register interface {
	// Run takes part until ctx ends. When it returns, everything that it started has ended.
	Run(ctx context.Context) error

	// Changed receives a value after Status changed; several changes may be one value.
	Changed() <-chan struct{}

	// Status returns what this node knows of the register now.
	Status() Status

	// Do starts an order. done is called once, from any goroutine, perhaps before Do returns:
	// with nil when all voters will come to see it done, else with what is known. An order that
	// failed may still take effect, later, if its error is not one of ErrRefused and ErrNotLeading.
	Do(order Order, done func(error))
}

// Status is what a node knows of the register.
type Status struct {
	// Voter is the name under which this node votes: that of this run, or of the first run that
	// used its data directory.
	Voter proto.NodeName

	// Founding is what this node's log belongs to; zero while it has none.
	Founding proto.Founding

	// Former are earlier runs of this node, at most 16, that have ended for certain: they had its data
	// directory, which is locked while a process lives that uses it.
	Former []proto.NodeName

	// Term is the raft term in which this node leads, once it knows everything that was
	// committed before (rule R10). 0: it does not lead.
	Term uint64

	Leader  proto.NodeName // the voter that leads, as far as is known here; "" for none
	Table   *Table         // the last that is committed and applied here; nil before the first
	Applied uint64         // raft index up to which Table is applied
	Servers []plan.Server  // the configuration, sorted by name; CaughtUp is not filled in
}

// Order is something that a node wants of the register.
type Order struct {
	Kind     OrderKind
	Command  *Command       // of OrderFound and OrderPropose
	Voter    proto.NodeName // of OrderAddLearner, OrderPromote, OrderRemove and OrderTransfer; "" there: to anyone
	Founding proto.Founding // of OrderFound
}

// OrderKind says what is wanted.
type OrderKind uint8

// The orders.
const (
	OrderFound      OrderKind = iota + 1 // begin a founding with this node as its only voter and Command.Found as its first Table; whatever was before is forgotten
	OrderPropose                         // append Command; done when it is applied here, with ErrRefused if the Table refused it
	OrderAddLearner                      // copy the log to Voter, without a vote
	OrderPromote                         // give Voter its vote
	OrderRemove                          // take Voter out
	OrderTransfer                        // hand the lead to Voter
	OrderQuicken                         // the leader is dead for certain: elect at once
	OrderReset                           // forget everything, on disk too: another founding holds
)

// What an order fails with when it is certain that nothing happens.
var (
	ErrNotLeading = errors.New("this node does not lead the register")
	ErrRefused    = errors.New("the table refused the change")
)

// Streams connects a register to those of other nodes; links carry them.
type Streams interface {
	// Dial opens a stream to the node that votes under the name now. It fails when nobody is
	// known to, when another incarnation answers, or when that node's register belongs to
	// another founding.
	Dial(ctx context.Context, voter proto.NodeName, founding proto.Founding) (net.Conn, error)
}

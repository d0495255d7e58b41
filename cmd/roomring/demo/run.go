package demo

import "context"

// State is what became of a run of a node.
type State string

// The states. A run that is not Running or Draining has ended, or is about to.
const (
	Running  State = "running"
	Draining State = "draining" // it was asked to leave, and hands over what it has
	Killed   State = "killed"   // it ended at once, and handed nothing over
	Left     State = "left"     // it drained, and said goodbye
	Failed   State = "failed"   // it ended by itself, with an error
)

// run is one run of a node. It begins as Running, and never comes back to that.
type run struct {
	// Set by newRun, then only read.
	node  Node
	drain chan struct{} // closed by an action, once, to have it leave
	ended chan struct{} // closed when the node's Run has returned

	// Guarded by the mutex of the Cluster.
	kill  context.CancelFunc // set before anybody can act
	state State
	err   error // why it Failed
}

func newRun(n Node) *run {
	return &run{node: n, state: Running, drain: make(chan struct{}), ended: make(chan struct{})}
}

// lives tells whether the node still serves. The Cluster's mutex is held, as for end.
func (r *run) lives() bool { return r.state == Running || r.state == Draining }

// end notes that the node's Run returned err; all says that everything is about to end.
func (r *run) end(err error, all bool) {
	switch {
	case r.state == Killed:
	case all: // cut short: its error says no more than that
		r.state = Killed
	case err != nil:
		r.state, r.err = Failed, err
	default: // drained: by an action here, or by a word at its admin port
		r.state = Left
	}
}

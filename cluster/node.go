package cluster

import (
	"cmp"
	"fmt"

	"github.com/roomring/roomring/proto"
)

// State is what is thought of a node.
type State uint8

// The states. A suspect or draining node still counts as living: what it owns stays with it.
const (
	Alive    State = iota
	Suspect        // gossip has not judged yet, but our link to it is gone
	Draining       // it said that it is about to leave: it is given nothing new
	Dead           // it left, or gossip's verdict is that it died
)

func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Draining:
		return "draining"
	case Dead:
		return "dead"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Addresses are where a node listens, each as host:port, "" where it does not.
type Addresses struct {
	Link   string `json:"link"`
	Gossip string `json:"gossip"`
	Admin  string `json:"admin"`
	Listen string `json:"listen"`
}

// Protocols is the range of link protocol versions that a node speaks.
type Protocols struct {
	Min, Max uint16
}

// Node is one run of a process in the cluster, as the others see it.
type Node struct {
	Name      proto.NodeName
	Role      proto.Role
	State     State
	Zone      string // failure domain, "" when none was given
	Addresses Addresses
	Instance  proto.Instance // the cluster that the node belongs to, zero until it knows
	Voter     proto.NodeName // the name under which it votes, "" until it knows
	Left      bool           // it said itself that it leaves for good; State is Dead then
	Lanes     int            // how many loops carry its links, 1 to 255
	Protocols Protocols
	Version   string // of the program, for display
	Started   int64  // wall time in Unix milliseconds; only orders the runs of one id
}

// ID returns the operator's name of the node.
func (n *Node) ID() proto.NodeID { return n.Name.ID() }

// Incarnation returns which run of the node this is.
func (n *Node) Incarnation() proto.Incarnation { return n.Name.Incarnation() }

// Lives reports whether the node is not known to be dead.
func (n *Node) Lives() bool { return n.State != Dead }

// LiveShard reports whether the node is a shard that is not known to be dead.
func (n *Node) LiveShard() bool { return n.Role == proto.RoleShard && n.Lives() }

// laterRun orders two runs of one id: the one that started later is greater.
func laterRun(a, b *Node) int {
	return cmp.Or(cmp.Compare(a.Started, b.Started), cmp.Compare(a.Name, b.Name))
}

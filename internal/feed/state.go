package feed

import (
	"slices"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// State is the cluster as a node sees it at one moment. The zero State sees
// nobody.
type State struct {
	View    *cluster.View  // nil: nobody
	Table   *cluster.Table // nil: not known yet
	Leader  proto.NodeName // of the register, "" for none
	Term    uint64         // of the leader, in the register
	Settled bool

	// Fates say what proved the deaths of nodes. Who is dead and not in it, is
	// so by gossip's verdict or on an operator's word.
	Fates map[proto.NodeName]cluster.Fate
}

// nodes are all that are seen.
func (s *State) nodes() []cluster.Node {
	if s.View == nil {
		return nil
	}
	return s.View.Nodes()
}

// node is one of them.
func (s *State) node(name proto.NodeName) (cluster.Node, bool) {
	if s.View == nil {
		return cluster.Node{}, false
	}
	return s.View.Node(name)
}

// lives reports whether the node is seen and not dead.
func (s *State) lives(name proto.NodeName) bool {
	n, seen := s.node(name)
	return seen && n.Lives()
}

// left reports whether the node said that it leaves for good: to gossip, or on a
// link, which is often sooner.
func (s *State) left(n *cluster.Node) bool { return n.Left || s.Fates[n.Name] == cluster.FateLeft }

// another returns a living run of the same id.
func (s *State) another(name proto.NodeName) bool {
	return s.View != nil && slices.ContainsFunc(s.View.Runs(name.ID()), func(n cluster.Node) bool { return n.Name != name && n.Lives() })
}

// forgot reports whether an operator called the node dead.
func (s *State) forgot(name proto.NodeName) bool {
	return s.Table != nil && slices.Contains(s.Table.Forgotten, name)
}

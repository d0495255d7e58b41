package node

import "github.com/roomring/roomring/cluster"

// Table is this node's copy, nil while it has none.
func (n *Node) Table() *cluster.Table { return n.cluster.Table() }

// View is whom this node sees.
func (n *Node) View() *cluster.View { return n.cluster.View() }

// Stance is where this node stands towards the register.
func (n *Node) Stance() cluster.Stance { return n.cluster.Stance() }

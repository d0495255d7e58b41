package node

import (
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/feed"
	"github.com/roomring/roomring/proto"
)

// Table is this node's copy, nil while it has none.
func (n *Node) Table() *cluster.Table { return n.cluster.Table() }

// View is whom this node sees.
func (n *Node) View() *cluster.View { return n.cluster.View() }

// Stance is where this node stands towards the register.
func (n *Node) Stance() cluster.Stance { return n.cluster.Stance() }

// Ring is where this node wants partitions to be.
func (n *Node) Ring() *cluster.Ring { return n.cluster.Ring() }

// Settled is what the admin port says.
func (n *Node) Settled() bool { return n.cluster.Settled() }

// SingleCopy is how many partitions have one copy.
func (n *Node) SingleCopy() int { return n.cluster.SingleCopy() }

// Watch tells of changes of any of these.
func (n *Node) Watch() (<-chan struct{}, func()) { return n.cluster.Watch() }

// Source is what the admin port asks.
func (n *Node) Source() admin.Source { return (*source)(n) }

// Asked is how many questions this node has put to others, and Answered how many of theirs it answered.
func (n *Node) Asked() uint64    { return n.control.stats.Asked.Load() }
func (n *Node) Answered() uint64 { return n.control.stats.Answered.Load() }

// Happen has the node note so many changes of who leads.
func (n *Node) Happen(times int) {
	c := &n.chronicle
	c.mu.Lock()
	for i := range times {
		c.journal.Note(time.Now(), feed.State{View: n.cluster.View(), Table: n.cluster.Table(), Settled: true, Leader: proto.MakeNodeName("s1", proto.Incarnation(1+i%2))})
	}
	c.mu.Unlock()
	c.news.ring()
}

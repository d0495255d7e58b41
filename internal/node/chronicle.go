package node

import (
	"sync"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/feed"
)

// chronicle is what this node has seen happen in the cluster since it started.
type chronicle struct {
	news bell // rings when there are further events

	mu      sync.Mutex // guards what is below
	journal feed.Journal
	view    *cluster.View // as they were noted last
	ring    *cluster.Ring
	table   *cluster.Table
	stance  cluster.Stance
}

// note writes down what has happened, and returns when it wants to be called
// again even if nothing does; zero: never.
func (n *Node) note(now time.Time) time.Time {
	view, ring, table, stance := n.cluster.View(), n.cluster.Ring(), n.cluster.Table(), n.cluster.Stance()
	c := &n.chronicle
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.journal.Last()
	if view == c.view && ring == c.ring && table == c.table && stance == c.stance {
		c.journal.Tick(now)
	} else {
		c.view, c.ring, c.table, c.stance = view, ring, table, stance
		c.journal.Note(now, feed.State{
			View: view, Table: table, Leader: stance.Leader, Term: stance.Term, Fates: n.cluster.Fates(),
			Settled: cluster.Settled(view, ring, table),
		})
	}
	if c.journal.Last() != before {
		c.news.ring()
	}
	return c.journal.Wake()
}

// after returns the kept events above seq, and how many are not kept any more.
func (c *chronicle) after(seq uint64) (events []admin.FeedEvent, lost uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.journal.After(nil, seq)
}

func (c *chronicle) stats() feed.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.journal.Stats()
}

package node_test

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

var figures = flag.Bool("figures", false, "run thirty nodes in one process, and say how long they take for what")

// crowd is many nodes with real sockets, gossip and Tables in one process.
type crowd struct {
	t     *testing.T
	seeds []string
	nodes []*one
}

type one struct {
	*node.Node
	drain chan struct{}
	stop  context.CancelFunc
	ended chan struct{}
	err   error
}

func (c *crowd) shard(i, expect int) *one {
	n, err := node.OpenShard(c.config(fmt.Sprintf("s%02d", i), expect), shard.Config{Lanes: 1})
	return c.run(n, err)
}

func (c *crowd) router(i int) *one {
	n, err := node.OpenRouter(c.config(fmt.Sprintf("r%02d", i), 0), "", router.Config{Lanes: 1})
	return c.run(n, err)
}

func (c *crowd) config(id string, expect int) node.Config {
	return node.Config{
		ID: proto.NodeID(id), Join: c.seeds, BootstrapExpect: expect,
		Logger: zaptest.NewLogger(c.t, zaptest.Level(zap.ErrorLevel)).Named(id),
	}
}

func (c *crowd) run(n *node.Node, err error) *one {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	if len(c.seeds) < 2 {
		c.seeds = append(c.seeds, n.Addresses().Gossip)
	}
	ctx, stop := context.WithCancel(context.Background())
	o := &one{Node: n, drain: make(chan struct{}), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(o.ended)
		o.err = n.Run(ctx, o.drain)
	}()
	c.nodes = append(c.nodes, o)
	c.t.Cleanup(func() {
		stop()
		if <-o.ended; o.err != nil {
			c.t.Errorf("run %s: %v", n.Name(), o.err)
		}
	})
	return o
}

// lose takes a node off the list of those that are looked at.
func (c *crowd) lose(o *one) {
	c.nodes = slices.DeleteFunc(c.nodes, func(x *one) bool { return x == o })
}

// until waits until done says so of every node, and returns how long that took.
func (c *crowd) until(what string, done func(*one) bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		at := slices.IndexFunc(c.nodes, func(o *one) bool { return !done(o) })
		took := time.Since(began)
		if at < 0 {
			return took
		}
		if took > patience {
			for _, o := range c.nodes {
				t := o.Table()
				c.t.Logf("%s: version %d, voters %v, stance %+v", o.Name(), t.Mark().Version, voters(t), o.Stance())
			}
			c.t.Fatalf("%s: not within %v at %s", what, patience, c.nodes[at].Name())
		}
		<-look.C
	}
}

func voters(t *cluster.Table) []proto.NodeName {
	if t == nil {
		return nil
	}
	return t.Voters
}

// same says whether a node holds the Table of the first.
func (c *crowd) same(o *one) bool {
	t, first := o.Table(), c.nodes[0].Table()
	return t != nil && first != nil && t.Mark() == first.Mark() && o.Stance().Leader != "" && o.Stance().Leader == c.nodes[0].Stance().Leader
}

// hasVoters says whether a node's Table is whole: five voters, all of them here.
func (c *crowd) hasVoters(o *one) bool {
	for _, v := range o.Table().Voters {
		if !slices.ContainsFunc(c.nodes, func(x *one) bool { return x.Name() == v }) {
			return false
		}
	}
	return len(o.Table().Voters) == 5 && c.same(o)
}

// without says whether a node's Table names another owner for all that a node had.
func (c *crowd) without(gone *one) func(*one) bool {
	return func(o *one) bool {
		for _, row := range o.Table().Rows() {
			if row.Owner == gone.Name() || row.Owner == "" {
				return false
			}
		}
		return true
	}
}

// Thirty real nodes in one process: founding, a join, a death and a drain, with times.
func TestThirtyNodes(t *testing.T) {
	if !*figures {
		t.Skip("thirty nodes take their time: -figures runs them")
	}
	c := &crowd{t: t}
	const shards, routers = 20, 10
	began := time.Now()
	for i := range shards {
		c.shard(i+1, shards)
	}
	for i := range routers {
		c.router(i + 1)
	}
	t.Logf("%d nodes are open after %v", shards+routers, time.Since(began))
	t.Logf("founding: all hold one Table %v later", c.until("one Table", c.same))
	t.Logf("founding: five voters %v later", c.until("five voters", c.hasVoters))
	owners := map[proto.NodeName]int{}
	for _, row := range c.nodes[0].Table().Rows() {
		owners[row.Owner]++
	}
	if len(owners) != shards {
		t.Errorf("%d shards own something, want %d", len(owners), shards)
	}

	joined := c.shard(shards+1, 0)
	t.Logf("join: it holds the Table and all see it after %v", c.until("the join", func(o *one) bool {
		return c.same(o) && o.View().State(joined.Name()) == 0 && len(o.View().Nodes()) >= shards+routers+1
	}))

	used, from := cpuTime(), time.Now()
	<-time.After(3 * time.Second)
	wall := time.Since(from)
	t.Logf("idle: %.1f %% of a core and %d goroutines for %d nodes", 100*float64(cpuTime()-used)/float64(wall), runtime.NumGoroutine(), len(c.nodes))

	dead := c.find(false)
	c.lose(dead)
	dead.stop()
	t.Logf("death: its partitions have owners on all after %v", c.until("new owners", c.without(dead)))
	t.Logf("death: all hold one Table %v later", c.until("one Table", c.hasVoters))
	<-dead.ended

	leads := c.find(true)
	c.lose(leads)
	from = time.Now()
	close(leads.drain)
	t.Logf("drain of the leader: its partitions have owners on all after %v", c.until("new owners", c.without(leads)))
	<-leads.ended
	t.Logf("drain of the leader: it ended after %v", time.Since(from))
	t.Logf("drain of the leader: one Table and five voters %v later", c.until("one Table", c.hasVoters))
}

// find waits for a shard with partitions that leads, or does not.
func (c *crowd) find(leads bool) (found *one) {
	c.t.Helper()
	c.until("a shard to lose", func(*one) bool {
		for _, o := range c.nodes {
			if o.Stance().Leading == leads && !c.without(o)(c.nodes[0]) {
				found = o
			}
		}
		return found != nil
	})
	return found
}

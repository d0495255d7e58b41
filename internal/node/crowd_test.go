package node_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

var crowds = flag.Bool("crowds", false, "run up to 200 nodes in fake time, and say what processor time each virtual second takes")

// TestCrowds is what grows, and how: clusters of whole nodes with a Table of full size, in a bubble of fake time.
// So the machine may be as slow as it likes: nobody loses patience, and the processor time is that of the nodes
// (with a poller and a network that cost more than real ones).
func TestCrowds(t *testing.T) {
	sizes := []int{10, 30, 60, 100, 200}
	if !*crowds {
		sizes = []int{10}
	}
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) { inWorldAgain(t, func(t *testing.T, w *world) { w.grow(n*2/5, n-n*2/5) }) })
	}
}

// grow founds a cluster, leaves it alone for a while, has a shard join and another one die.
func (w *world) grow(shards, routers int) {
	t := w.t
	w.config = func(c *node.Config) { c.Partitions, c.MaxMoves, c.Logger = proto.Partitions, 0, zap.NewNop() }
	spent := w.meter("founding")
	w.cluster(shards, routers)
	spent(w.within(time.Minute, settledAlike))
	spent = w.meter("idle")
	time.Sleep(10 * time.Second)
	spent(10 * time.Second)
	spent = w.meter("a shard joins")
	w.shard("joins", 0, shard.Config{})
	spent(w.within(2*time.Minute, func(all []*running) bool { return len(all[0].Ring().Shards()) == shards+1 && settledAlike(all) }))
	spent = w.meter("a shard dies")
	name := w.running["s2"].Name()
	from, killed := time.Now(), make(chan struct{})
	go func() { w.kill("s2"); close(killed) }()
	w.within(time.Minute, func(all []*running) bool {
		return !slices.ContainsFunc(all, func(r *running) bool {
			owned, _ := r.Table().Has(name)
			return owned > 0
		})
	})
	took := time.Since(from)
	<-killed // gossip, too, has heard of it then
	spent(took)
	t.Logf("%d + %d nodes, a shard dies: all know the new owners after %v", shards, routers, took)
	if took > time.Second {
		t.Errorf("fail-over took %v", took)
	}
	w.within(2*time.Minute, settledAlike)
	w.router("late", router.Config{})
	w.within(time.Minute, settledAlike)
}

// settledAlike reports whether all nodes hold one settled Table.
func settledAlike(all []*running) bool {
	return !slices.ContainsFunc(all, func(r *running) bool {
		return r.Table() == nil || !r.Settled() || r.Table().Mark() != all[0].Table().Mark()
	})
}

// within waits until done says so of the nodes that run, and returns how long that took.
func (w *world) within(d time.Duration, done func([]*running) bool) time.Duration {
	w.t.Helper()
	from := time.Now()
	for {
		var all []*running
		for _, id := range w.living() {
			all = append(all, w.running[id])
		}
		if done(all) {
			return time.Since(from)
		}
		if time.Since(from) > d {
			w.t.Fatalf("not within %v", d)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// meter begins to count processor time; what it returns says how much that was, in some virtual time.
func (w *world) meter(what string) func(took time.Duration) {
	from := cpuTime()
	return func(took time.Duration) {
		n := len(w.living())
		used := cpuTime() - from
		w.t.Logf("%d nodes, %s: %v of virtual time, %v of processor time; per node and virtual second %v", n, what, took.Round(time.Millisecond), used.Round(time.Millisecond),
			(time.Duration(float64(used) / max(took.Seconds(), 0.1) / float64(n))).Round(time.Microsecond))
	}
}

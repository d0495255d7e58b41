package node_test

import (
	"runtime"
	"testing"
	"time"
)

// What it takes to hand a share of all partitions to a shard that joins, and back: the time and the processors of
// three shards, two routers and the newcomer, all in this process.
func TestJoinFigures(t *testing.T) {
	if !*figures {
		t.Skip("a join of a whole Table takes its time: -figures runs it")
	}
	c := &crowd{t: t}
	for i := range 3 {
		c.shard(i+1, 3)
	}
	c.router(1)
	c.router(2)
	settled := func(o *one) bool { return o.Settled() && c.same(o) }
	t.Logf("founding: settled after %v", c.until("settled", settled))
	idle := c.spent(t, "idle", 0, func() { <-time.After(2 * time.Second) })
	var joined *one
	c.spent(t, "join", idle, func() {
		joined = c.shard(4, 3)
		c.until("the join", func(o *one) bool { return settled(o) && len(o.Ring().Shards()) == 4 })
	})
	c.spent(t, "drain", idle, func() {
		close(joined.drain)
		<-joined.ended
		c.lose(joined)
		c.until("the drain", func(o *one) bool { return settled(o) && len(o.Ring().Shards()) == 3 })
	})
}

// spent says what f takes, and returns the share of a core; idle is what would be used anyway.
func (c *crowd) spent(t *testing.T, what string, idle float64, f func()) float64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	used, from, version := cpuTime(), time.Now(), c.nodes[0].Table().Version
	f()
	took, cpu := time.Since(from), cpuTime()-used
	runtime.ReadMemStats(&after)
	cpu -= time.Duration(idle * float64(took))
	t.Logf("%s: %v, %v of a core's time, %d MB allocated, %d versions", what, took.Round(time.Millisecond), cpu.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, c.nodes[0].Table().Version-version)
	return float64(cpu) / float64(took)
}

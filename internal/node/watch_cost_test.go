package node_test

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
)

// What it costs to watch a settled cluster, at the node that is watched and at all others: real nodes, and a
// reader that writes all that it is told as JSON, now and then not there.
func TestWatchCost(t *testing.T) {
	if !*figures {
		t.Skip("it takes a minute: -figures runs it")
	}
	c := &crowd{t: t}
	const shards, routers, rounds = 3, 3, 8
	for i := range shards {
		c.shard(i+1, shards)
	}
	for i := range routers {
		c.router(i + 1)
	}
	c.until("settled", func(o *one) bool { return c.same(o) && o.Settled() })
	cost := func(watched bool) float64 {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		if watched {
			go c.nodes[shards].Source().Watch(ctx, false, func(e admin.Event) error { return json.NewEncoder(io.Discard).Encode(e.Data) })
		}
		used, from := cpuTime(), time.Now()
		<-time.After(4 * time.Second)
		return 100 * float64(cpuTime()-used) / float64(time.Since(from))
	}
	cost(true)
	var more []float64
	for range rounds {
		more = append(more, cost(true)-cost(false))
	}
	slices.Sort(more)
	t.Logf("one who watches costs %.2f %% of a core at %d nodes together (median of %d; %.2f to %.2f)", more[rounds/2], len(c.nodes), rounds, more[0], more[rounds-1])
}

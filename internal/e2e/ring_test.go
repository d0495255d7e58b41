//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestOneRing starts five nodes in any order, then has clients talk through them.
func TestOneRing(t *testing.T) {
	t.Parallel()
	ids := shuffled(t, "s1", "s2", "s3", "r1", "r2")
	c := newCluster(t, 3, ids...)
	var started []*process
	for _, id := range ids {
		started = append(started, start(t, program(id), c.args(id)...))
	}
	last := time.Now()
	for i, p := range started {
		c.add(ids[i], p)
	}
	r := c.waitOneRing(patience)
	t.Logf("order %v: one ring %.2f s after the last start (promised: 3 s)", ids, time.Since(last).Seconds())
	owned := 0
	for _, n := range r.Nodes {
		owned += n.Owned
		if n.Role == "shard" && n.Owned < partitions/5 {
			t.Errorf("%s owns %d partitions: not balanced", n.ID, n.Owned)
		}
	}
	if owned != partitions {
		t.Errorf("%d partitions owned", owned)
	}
	t.Run("one order", func(t *testing.T) { testOneOrder(t, c) })
}

// testOneOrder has several clients of both routers publish in one room at once.
func testOneOrder(t *testing.T, c *cluster) {
	const publishers, each = 3, 100
	var members []*client
	for _, router := range []string{"r1", "r2"} {
		for range publishers {
			members = append(members, dial(t, c.nodes[router].listen, "lobby"))
		}
	}
	stranger := dial(t, c.nodes["r2"].listen, "elsewhere")
	var group sync.WaitGroup
	for i, m := range members {
		group.Go(func() {
			for k := range each {
				m.say(fmt.Sprintf("%d:%d", i, k))
			}
		})
	}
	group.Wait()
	for _, m := range members {
		m.waitHeard(len(members)*each, patience)
	}
	order := texts(members[0].messages())
	for i, m := range members[1:] {
		if !slices.Equal(texts(m.messages()), order) {
			t.Errorf("member %d saw another order than member 0", i+1)
		}
	}
	checkPublishers(t, order, len(members), each)
	stranger.echo("alone", patience)
	if heard := texts(stranger.messages()); !slices.Equal(heard, []string{"alone"}) {
		t.Errorf("another room heard %q", heard)
	}
}

// checkPublishers checks that each publisher's messages are there once, in its order.
func checkPublishers(t *testing.T, order []string, publishers, each int) {
	t.Helper()
	next := make([]int, publishers)
	for _, text := range order {
		var i, k int
		if _, err := fmt.Sscanf(text, "%d:%d", &i, &k); err != nil || i >= publishers {
			t.Fatalf("message %q", text)
		}
		if k != next[i] {
			t.Fatalf("message %d of publisher %d, want %d", k, i, next[i])
		}
		next[i]++
	}
	for i, n := range next {
		if n != each {
			t.Errorf("%d messages of publisher %d, want %d", n, i, each)
		}
	}
}

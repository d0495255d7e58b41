//go:build linux

package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestHardening runs the rows of the hardening table that take time or many processes. Each prints
// its figure. What a row bounds by a unit test alone is not here.
func TestHardening(t *testing.T) {
	if !*hardening {
		t.Skip("needs -hardening: it takes minutes")
	}
	began := time.Now()
	// Those that mostly wait go together, beside nothing that measures time.
	t.Run("waits", func(t *testing.T) {
		for _, row := range []struct {
			name string
			test func(*testing.T)
		}{
			{"black-holed client", testBlackHole},
			{"reader that takes nothing", testTakesNothing},
			{"message without an end", testEndlessMessage},
			{"frozen shard wakes", testFrozenShard},
			{"unseen shard wakes", testUnseenShard},
			{"forgotten shard wakes", testForgottenShard},
			{"frozen shard alone", testFrozenAlone},
			{"256 descriptors", testDescriptors},
			{"gossip of random packets", testRandomGossip},
			{"garbage at link and admin", testGarbage},
			{"wrong admin requests", testAdminRequests},
			{"conns in all", testMaxConns},
			{"conns per address", testConnsPerAddress},
			{"accepts per address", testAcceptsPerAddress},
		} {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				row.test(t)
			})
		}
	})
	for _, row := range []struct {
		name string
		test func(*testing.T)
	}{
		{"endless header line", testEndlessHeader},
		{"slow handshakes", testSlowHandshakes},
		{"a million empty fragments", testEmptyFragments},
		{"one stalled reader in a thousand", testOneStalled},
		{"stalled readers in many rooms", testManyStalled},
		{"publishers that never read", testPublishFlood},
		{"flood of rooms", testRoomFlood},
		{"panic", func(t *testing.T) {
			t.Skip("nothing outside can bring one about; internal/poll, link, router and admin inject them in their tests")
		}},
	} {
		t.Run(row.name, row.test)
	}
	t.Logf("all rows: %.0f s", time.Since(began).Seconds())
}

// pair starts a shard and a router.
func pair(t *testing.T, routerFlags, shardFlags []string) (r, s *node) {
	t.Helper()
	c := newCluster(t, 1, "s1", "r1")
	s = c.start("s1", shardFlags...)
	r = c.start("r1", routerFlags...)
	c.waitOneRing(20 * time.Second)
	return r, s
}

// heap is what a node's heap holds after a collection, and what it ever allocated, in bytes.
func (n *node) heap(t *testing.T) (live, total int64) {
	t.Helper()
	status, body, err := n.ask("/debug/pprof/heap?gc=1&debug=1")
	if err != nil || status != 200 {
		t.Fatalf("heap of %s: %d %v", n.id, status, err)
	}
	find := func(name string) int64 {
		m := regexp.MustCompile(`# ` + name + ` = (\d+)`).FindSubmatch(body)
		if m == nil {
			t.Fatalf("no %s in the heap profile", name)
		}
		v, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return v
	}
	return find("HeapAlloc"), find("TotalAlloc")
}

// watch samples a node's memory until stop is called, which returns the most there was.
func (n *node) watch(t *testing.T) (stop func() int64) {
	t.Helper()
	done, most := make(chan struct{}), n.memory(t)
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if !n.ended() {
					most = max(most, n.memory(t))
				}
			case <-done:
				return
			}
		}
	})
	return func() int64 {
		close(done)
		group.Wait()
		return most
	}
}

func mega(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20)) }

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

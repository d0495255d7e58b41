package node_test

import (
	"testing"
	"time"
)

// When a split in one direction is over all rooms go on within two seconds, though gossip does not notice
// that it is: it may have nothing left to say, and try the other side again only seconds later.
func TestHealedBeforeGossipKnows(t *testing.T) {
	for _, cut := range []struct {
		name     string
		from, to []string
	}{
		{"routers and a shard are not heard", []string{"r1", "r2", "s1"}, []string{"s2", "s3"}},
		{"two shards are not heard", []string{"s2", "s3"}, []string{"r1", "r2", "s1"}},
		{"a shard and a router are not heard", []string{"r1", "s3"}, []string{"r2", "s1", "s2"}},
		{"one shard hears nobody", []string{"r1", "r2", "s1", "s2"}, []string{"s3"}},
	} {
		t.Run(cut.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.five()
				w.keepArchive()
				c := w.sing(6, "r1", "r2")
				time.Sleep(time.Second)
				each := func(do func(from, to string)) {
					for _, a := range cut.from {
						for _, b := range cut.to {
							do(w.running[a].ip, w.running[b].ip)
						}
					}
				}
				each(w.net.Cut)
				time.Sleep(1200 * time.Millisecond)
				w.hearsay(cut.from, cut.to, true)
				time.Sleep(5 * time.Second)
				each(w.net.Heal)
				took := w.agree(1500 * time.Millisecond)
				t.Logf("one Table %v after the healing", took)
				time.Sleep(2*time.Second - took)
				c.flows(func() { time.Sleep(5 * time.Second) }, func(string, string) bool { return true })
				w.hearsay(cut.from, cut.to, false)
				c.whole(never)
			})
		})
	}
}

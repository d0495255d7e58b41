//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStrangers has nodes of another key and of another cluster name knock at a running cluster.
func TestStrangers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(home, away *cluster)
	}{
		{"wrong key", func(home, away *cluster) { away.name = home.name }},
		{"wrong name", func(home, away *cluster) { away.key = home.key }},
	} {
		t.Run(test.name, func(t *testing.T) {
			home := newCluster(t, 1, "s1", "r1")
			away := newCluster(t, 1, "s9")
			test.change(home, away)
			away.seeds = home.seeds
			home.startAll("s1", "r1")
			m := dial(t, home.nodes["r1"].listen, "lobby")
			before := home.waitOneRing(patience)
			began := time.Now()
			stranger := away.start("s9")
			told := func(n *node) []string { // not of its own, that a busy machine makes late
				return slices.DeleteFunc(complaints(t, n), func(line string) bool {
					return slices.ContainsFunc([]string{"ping", "probes", "suspect"}, func(word string) bool { return strings.Contains(line, word) })
				})
			}
			eventually(t, "the stranger says that it is refused", patience, func() bool {
				return strings.Contains(strings.Join(told(stranger), "\n"), "its cluster name or key may be another")
			})
			eventually(t, "a node says that it refused somebody", patience, func() bool {
				return len(told(home.nodes["s1"]))+len(told(home.nodes["r1"])) > 0
			})
			m.echo("still here", patience)
			if after := home.waitOneRing(patience); after.text != before.text {
				t.Error("the ring changed")
			}
			if r, err := stranger.ring(); err == nil && len(r.Nodes) > 1 {
				t.Errorf("the stranger knows %v", r.Nodes)
			}
			for _, n := range []*node{stranger, home.nodes["s1"], home.nodes["r1"]} {
				list := told(n)
				t.Logf("%s: %d lines; %s", n.id, len(list), strings.Join(list[:min(len(list), 2)], "\n"))
				if len(list) > tooOften(5, began) {
					t.Errorf("%s says it %d times", n.id, len(list))
				}
			}
		})
	}
}

// tooOften is how many complaints since then are still few: so many, and as many again every 10 seconds,
// after which a node repeats what has not changed.
func tooOften(few int, since time.Time) int {
	return few * (1 + int(time.Since(since)/(10*time.Second)))
}

// complaints are what a node logged as a warning or an error.
func complaints(t *testing.T, n *node) (list []string) {
	for _, e := range n.entries(t) {
		if e.Level == "warn" || e.Level == "error" {
			list = append(list, fmt.Sprint(e.line))
		}
	}
	return list
}

//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTwoClusters founds two clusters of one name, whose seeds do not meet, and then starts a router
// that knows both. They see each other, say so, and keep apart.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	large := newCluster(t, 2, "s1", "s2", "r1", "r2")
	small := newCluster(t, 1, "s8", "r8")
	small.name, small.key = large.name, large.key
	large.startAll("s1", "s2", "r1", "r2")
	small.startAll("s8", "r8")
	before := [2]ring{large.waitVoters(3), small.waitVoters(1)}
	if before[0].Instance == before[1].Instance {
		t.Fatal("one instance")
	}
	loads := []*load{newLoad(t, 6, 2, large.nodes["r1"], large.nodes["r2"]), newLoad(t, 6, 2, small.nodes["r8"])}
	for _, l := range loads {
		l.run(40 * time.Millisecond)
	}

	bridge := newCluster(t, 1, "r9")
	bridge.name, bridge.key, bridge.token = large.name, large.key, large.token
	bridge.seeds = large.seeds + "," + small.seeds
	joined := time.Now()
	bridge.start("r9")
	const why = "nodes of another cluster instance are seen"
	for _, c := range []*cluster{large, small} {
		for _, n := range c.running() {
			eventually(t, n.id+" says that it sees the other", patience, func() bool { return strings.Contains(n.log.String(), why) })
		}
	}
	t.Logf("all nodes say that they see another instance %s after somebody joined both", millis(time.Since(joined)))
	for _, n := range small.running() {
		eventually(t, n.id+" is not ready", patience, func() bool { return n.says("other_instance") })
	}
	for _, l := range loads {
		l.waitAfter(time.Now().Add(time.Second), patience)
	}
	for _, n := range large.running() {
		if !n.ready() {
			t.Errorf("%s of the larger cluster is not ready", n.id)
		}
	}
	for i, c := range []*cluster{large, small} {
		strangers := []string{"s1", "s2", "r1", "r2"}
		if c == large {
			strangers = []string{"s8", "r8"}
		}
		for _, n := range c.running() {
			if r, err := n.ring(); err != nil || r.Instance != before[i].Instance || !slices.Equal(owners(&r), owners(&before[i])) {
				t.Errorf("%s: instance %s, version %d, %v", n.id, r.Instance, r.Version, err)
			}
			for _, e := range n.entries(t) {
				id, _, _ := strings.Cut(e.Node, "/")
				if e.Message == "link up" && slices.Contains(strangers, id) {
					t.Errorf("%s has a link to the other cluster: %s", n.id, e.line)
				}
			}
		}
	}
	for _, l := range loads {
		l.finish()
		l.waitLast(patience)
		for _, r := range l.rooms {
			for _, m := range r.members {
				r.checkWhole(t, m)
				if m.ending() != nil {
					t.Errorf("a socket closed: %s", m.ending())
				}
			}
		}
	}
	for _, n := range []*node{large.nodes["s1"], small.nodes["s8"]} {
		for _, line := range complaints(t, n) {
			t.Logf("%s: %s", n.id, line)
		}
	}
}

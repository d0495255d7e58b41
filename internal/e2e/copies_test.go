//go:build linux

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBothCopiesKilled kills two of three shards at once. Rooms that have no other copy begin anew, and
// it is said so; the others go on.
func TestBothCopiesKilled(t *testing.T) {
	t.Parallel()
	c := five(t)
	l := newLoad(t, 24, 3, c.nodes["r1"], c.nodes["r2"])
	l.run(40 * time.Millisecond)
	l.waitAfter(time.Now(), patience)
	docs := map[*loadRoom]roomDocument{}
	for _, r := range l.rooms {
		docs[r] = c.nodes["r1"].room(t, r.name)
	}
	first := docs[l.rooms[0]]
	pair := first.copies()
	if len(pair) != 2 {
		t.Fatalf("%s has copies at %v", l.rooms[0].name, pair)
	}
	lost := map[*loadRoom]bool{}
	for r, d := range docs {
		lost[r] = slices.Equal(d.copies(), pair)
	}
	killed := c.killAtOnce(pair...)
	dead := time.Now()
	l.waitAfter(dead, patience)
	slowest := time.Duration(0)
	for _, r := range l.rooms {
		d := c.nodes["r1"].room(t, r.name)
		if (d.Epoch != docs[r].Epoch) != lost[r] {
			t.Errorf("%s: epoch %s, was %s; copies were at %v", r.name, d.Epoch, docs[r].Epoch, docs[r].Followers)
		}
		for _, m := range r.members {
			if lines := m.positions(); lost[r] && len(lines) > 1 {
				slowest = max(slowest, lines[1].when.Sub(killed))
			}
		}
	}
	said := false
	for _, n := range c.running() {
		said = said || slices.ContainsFunc(complaints(t, n), func(line string) bool { return strings.Contains(line, "lost") })
	}
	if !said {
		t.Error("nobody's log says that rooms were lost")
	}
	for _, id := range pair {
		c.start(id)
	}
	c.waitVoters(5)
	l.finish()
	l.waitLast(patience)
	pause := l.checkLost(t, dead, lost)
	t.Logf("owner and follower %v killed: members heard of it within %s, their rooms went on within %s (promised: 1 s)", pair, millis(slowest), millis(pause))
}

// TestMinCopies leaves one shard of two, which must not acknowledge alone: publishers wait, and go on
// where they were when there is a second one again.
func TestMinCopies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, "s1", "s2", "r1")
	c.shardFlags = []string{"--min-copies", "2"}
	c.startAll("s1", "s2", "r1")
	l := newLoad(t, 8, 3, c.nodes["r1"])
	l.run(40 * time.Millisecond)
	l.waitAfter(time.Now(), patience)
	killed := c.killAtOnce("s2")
	dead := time.Now()
	eventually(t, "s1 is alone", patience, func() bool {
		r, err := c.nodes["r1"].summary()
		return err == nil && r.SingleCopy == partitions && r.owned("s1") == partitions
	})
	l.waitSent(10)
	for _, r := range l.rooms {
		for _, m := range r.members {
			if heard := m.messages(); number(heard[len(heard)-1].text) >= r.firstAfter(dead) {
				t.Fatalf("%s: message %s was delivered, with one copy", r.name, heard[len(heard)-1].text)
			}
		}
	}
	back := time.Now()
	c.start("s2")
	l.waitAfter(time.Now(), patience)
	t.Logf("one shard for %s: publishers waited, and went on %s after the second one was back", millis(back.Sub(killed)), millis(time.Since(back)))
	c.waitVoters(3)
	l.check()
}

// waitSent waits until so many more messages were sent in each room.
func (l *load) waitSent(n int) {
	l.t.Helper()
	for _, r := range l.rooms {
		first := r.firstAfter(time.Now())
		eventually(l.t, "more messages are sent", patience, func() bool { return r.firstAfter(time.Now()) >= first+n })
	}
}

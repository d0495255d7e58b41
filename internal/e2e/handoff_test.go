//go:build linux

package e2e

import (
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// moves notes who owned each partition, one after the other, as a node says.
type moves struct {
	n    *node
	stop chan struct{}

	group sync.WaitGroup
	seen  [partitions][]string // owned by run until it has ended
	err   error                // the same
}

// watchMoves begins with the owners of now.
func watchMoves(t *testing.T, n *node) *moves {
	t.Helper()
	m := &moves{n: n, stop: make(chan struct{})}
	if m.look(); m.err != nil {
		t.Fatal(m.err)
	}
	m.group.Go(m.run)
	return m
}

func (m *moves) run() {
	again := time.NewTicker(250 * time.Millisecond) // the rows cost the node some milliseconds
	defer again.Stop()
	version := uint64(0)
	for {
		if r, err := m.n.summary(); err != nil || r.Version != version {
			version = r.Version
			m.look()
		}
		select {
		case <-again.C:
		case <-m.stop:
			m.look()
			return
		}
	}
}

func (m *moves) look() {
	r, err := m.n.ring()
	if err != nil {
		m.err = err
		return
	}
	for p, row := range r.Table {
		if seen := m.seen[p]; len(seen) == 0 || seen[len(seen)-1] != row.Owner {
			m.seen[p] = append(seen, row.Owner)
		}
	}
}

// check ends it, and checks that each partition of which another owner is wanted than before moved once,
// and no other one.
func (m *moves) check(t *testing.T, before, after *ring) {
	t.Helper()
	close(m.stop)
	m.group.Wait()
	if m.err != nil {
		t.Errorf("look at the owners: %v", m.err)
	}
	moved, wrong, terms := 0, 0, uint64(0)
	for p, seen := range m.seen {
		want := []string{before.Table[p].Owner}
		if to := after.Table[p].Wanted; to != want[0] {
			want = append(want, to)
			moved++
		}
		if !slices.Equal(seen, want) {
			if wrong++; wrong <= 3 {
				t.Errorf("partition %d was owned by %v, want %v", p, seen, want)
			}
		}
		terms = max(terms, after.Table[p].Term-before.Table[p].Term)
	}
	if wrong > 0 {
		t.Errorf("%d partitions moved without a cause, not at all, or twice", wrong)
	}
	t.Logf("%d partitions moved once each; a row changed %d times at most", moved, terms)
	checkTerms(t, before, after)
}

// TestDrainAndJoin has one of three shards leave politely under load and another one join: each
// partition moves once, if it has to, and nobody misses a message.
func TestDrainAndJoin(t *testing.T) {
	t.Parallel()
	rooms, members, rate, times := 60, 4, 1500.0, 1
	if *figures {
		rooms, members, rate, times = 100, 10, 10_000, 10
	}
	c := newCluster(t, 3, "s1", "s2", "s3", "s4", "r1", "r2")
	c.moves = 32 // the default
	c.startAll("s1", "s2", "s3", "r1", "r2")
	before := c.waitVoters(5)
	r1 := c.nodes["r1"]
	f := newTraffic(t, rooms, members, rate, r1, c.nodes["r2"])
	l := newLoad(t, 8, 4, r1, c.nodes["r2"])
	l.run(40 * time.Millisecond)
	leaves, joins := "s2", "s4"
	var drained, joined []time.Duration // p99 of each
	for range times {
		m := watchMoves(t, r1)
		var after ring
		pauses := f.during(leaves+" drains", func() {
			n := c.nodes[leaves]
			n.signal(syscall.SIGTERM)
			if code := n.exit(t, patience); code != 0 {
				t.Errorf("%s: exit code %d, %v", leaves, code, complaints(t, n))
			}
			after = c.waitOneRing(patience)
		})
		drained = append(drained, pauses[len(pauses)*99/100])
		m.check(t, &before, &after)

		before, m = after, watchMoves(t, r1)
		pauses = f.during(joins+" joins", func() {
			c.start(joins)
			after = c.waitVoters(5)
		})
		joined = append(joined, pauses[len(pauses)*99/100])
		m.check(t, &before, &after)
		before, leaves, joins = after, joins, leaves
	}
	f.check()
	l.check()
	slices.Sort(drained)
	slices.Sort(joined)
	t.Logf("%d drains and joins: p99 of the pauses was %s (drain) and %s (join) in the median, %s and %s at worst (promised: under 50 ms)", times,
		millis(drained[times/2]), millis(joined[times/2]), millis(drained[times-1]), millis(joined[times-1]))
}

package node_test

import (
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
)

// five is the cluster of most of these tests: s1, s2, s3, r1 and r2, all of which vote. What they say
// to each other takes from one to four milliseconds.
func (w *world) five() (all []string, leader, other string) {
	w.t.Helper()
	w.cluster(3, 2)
	w.agree(10 * time.Second)
	all = w.living()
	for i, a := range all {
		for j, b := range all {
			w.net.Delay(w.running[a].ip, w.running[b].ip, time.Duration(1+(2*i+3*j)%4)*time.Millisecond)
		}
	}
	leader = w.leader("r1")
	other = without([]string{"s1", "s2", "s3"}, leader)[0]
	return all, leader, other
}

// A split makes no second owner and loses nothing. Rooms go on where a router reaches their owner,
// whichever side the majority is on; the other side says that it has none; and when the split is over
// all hold one Table at once.
func TestSplit(t *testing.T) {
	for _, split := range []struct {
		name string
		away func(leader, other string) []string // who is in the minority
		mute bool                                // gossip notices nothing
	}{
		{"leader alone", func(l, _ string) []string { return []string{l} }, false},
		{"leader in the minority", func(l, _ string) []string { return []string{l, "r1"} }, false},
		{"leader in the minority, gossip mute", func(l, _ string) []string { return []string{l, "r1"} }, true},
		{"leader in the majority", func(_, o string) []string { return []string{o, "r2"} }, false},
		{"leader in the majority, gossip mute", func(_, o string) []string { return []string{o, "r2"} }, true},
		{"routers away", func(_, _ string) []string { return []string{"r1", "r2"} }, false},
		{"two shards away", func(l, o string) []string { return []string{l, o} }, false},
		{"router alone", func(_, _ string) []string { return []string{"r1"} }, false},
	} {
		t.Run(split.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				all, leader, other := w.five()
				w.keepArchive()
				minority := split.away(leader, other)
				majority := without(all, minority...)
				together := func(a, b string) bool { return slices.Contains(minority, a) == slices.Contains(minority, b) }
				c := w.sing(4, "r1", "r2")
				time.Sleep(time.Second)
				owners := c.owners("r1")

				if split.mute {
					w.cross(minority, majority, w.net.Cut)
				} else {
					w.split(minority, majority)
				}
				c.flows(func() { time.Sleep(5 * time.Second) }, func(room, router string) bool { return together(router, owners[room]) })
				for _, id := range all {
					lost := slices.Contains(w.reasons(id), admin.ReasonNoMajority)
					if lost != slices.Contains(minority, id) {
						t.Errorf("%s of the minority %v: reasons %v", id, minority, w.reasons(id))
					}
				}
				time.Sleep(15 * time.Second)
				if !split.mute {
					w.agree(0, majority...)
				}

				if split.mute {
					w.cross(minority, majority, w.net.Heal)
				} else {
					w.unsplit(minority, majority)
				}
				took := w.agree(10 * time.Second)
				t.Logf("one Table %v after the end of the split", took)
				c.flows(func() { time.Sleep(2 * time.Second) }, func(string, string) bool { return true })
				c.whole(never)
			})
		})
	}
}

// So does a network that is silent in one direction only.
func TestOneWayCut(t *testing.T) {
	for _, cut := range []struct {
		name     string
		from, to func(all []string, leader, other string) []string
	}{
		{"from the leader", func(_ []string, l, _ string) []string { return []string{l} }, func(all []string, _, _ string) []string { return all }},
		{"to the leader", func(all []string, _, _ string) []string { return all }, func(_ []string, l, _ string) []string { return []string{l} }},
		{"from another shard", func(_ []string, _, o string) []string { return []string{o} }, func(all []string, _, _ string) []string { return all }},
		{"to another shard", func(all []string, _, _ string) []string { return all }, func(_ []string, _, o string) []string { return []string{o} }},
		{"leader to a router", func(_ []string, l, _ string) []string { return []string{l} }, func([]string, string, string) []string { return []string{"r1"} }},
		{"router to the leader", func([]string, string, string) []string { return []string{"r1"} }, func(_ []string, l, _ string) []string { return []string{l} }},
		{"shard to the leader", func(_ []string, _, o string) []string { return []string{o} }, func(_ []string, l, _ string) []string { return []string{l} }},
	} {
		t.Run(cut.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				all, leader, other := w.five()
				w.keepArchive()
				c := w.sing(4, "r1", "r2")
				time.Sleep(time.Second)
				each := func(do func(from, to string)) {
					for _, a := range cut.from(all, leader, other) {
						for _, b := range cut.to(all, leader, other) {
							if a != b {
								do(w.running[a].ip, w.running[b].ip)
							}
						}
					}
				}
				each(w.net.Cut)
				time.Sleep(15 * time.Second)
				each(w.net.Heal)
				t.Logf("one Table %v after the end of the cut", w.agree(10*time.Second))
				c.flows(func() { time.Sleep(2 * time.Second) }, func(string, string) bool { return true })
				c.whole(never)
			})
		})
	}
}

// What gossip thinks of a node whose links work changes nothing.
func TestFalseVerdict(t *testing.T) {
	for _, verdict := range []struct {
		name   string
		mutual bool // the node thinks the same of the others
		who    func(leader, other string) string
	}{
		{"of the leader", false, func(l, _ string) string { return l }},
		{"of the leader and by it", true, func(l, _ string) string { return l }},
		{"of another shard", false, func(_, o string) string { return o }},
		{"of another shard and by it", true, func(_, o string) string { return o }},
		{"of a router and by it", true, func(_, _ string) string { return "r1" }},
	} {
		t.Run(verdict.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				all, leader, other := w.five()
				w.keepArchive()
				c := w.sing(4, "r1", "r2")
				time.Sleep(time.Second)
				accused := verdict.who(leader, other)
				name, before := w.running[accused].Name(), w.running["r1"].Table()
				call := func(dead bool) {
					state := cluster.Alive
					if dead {
						state = cluster.Dead
					}
					if verdict.mutual {
						w.hearsay([]string{accused}, without(all, accused), dead)
					} else {
						w.directory.Set(name, state)
					}
				}
				c.flows(func() {
					call(true)
					time.Sleep(10 * time.Second)
					for _, id := range without(all, accused) {
						if s := w.running[id].View().State(name); s != cluster.Suspect {
							t.Errorf("%s takes it for %v, want suspect", id, s)
						}
					}
					call(false)
					time.Sleep(2 * time.Second)
				}, func(string, string) bool { return true })
				w.agree(0)
				for _, id := range all {
					if s := w.running[id].View().State(name); s != cluster.Alive {
						t.Errorf("in the end %s takes it for %v", id, s)
					}
				}
				if after := w.running["r1"].Table(); after.Mark() != before.Mark() {
					t.Errorf("the Table went from version %d to %d", before.Version, after.Version)
				}
				c.whole(never)
			})
		})
	}
}

package plan

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// world is a cluster as a coordinator sees it: which shards live, in which run.
type world struct {
	partitions int
	run        map[proto.NodeID]proto.Incarnation // living shards
	next       proto.Incarnation
}

func (w *world) start(id proto.NodeID) {
	w.next++
	w.run[id] = w.next
}

func (w *world) ids() []proto.NodeID {
	var ids []proto.NodeID
	for id := range w.run {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (w *world) alive(name proto.NodeName) bool {
	inc, ok := w.run[name.ID()]
	return ok && inc == name.Incarnation()
}

// ring returns wanted for the shards that live now.
func (w *world) ring() func(proto.Partition) proto.NodeName {
	ids := w.ids()
	placed := Place(ids, w.partitions)
	return func(p proto.Partition) proto.NodeName {
		if len(ids) == 0 {
			return ""
		}
		id := ids[placed[p]]
		return proto.MakeNodeName(id, w.run[id])
	}
}

var drawID = rapid.Custom(func(t *rapid.T) proto.NodeID {
	return proto.NodeID(fmt.Sprintf("s%d", rapid.IntRange(1, 7).Draw(t, "id")))
})

// TestDecideHistories lets shards come, die and restart in any order and holds every decision
// against the promises: one owner per partition and term, terms that only grow, no change without
// a dead owner, and everything owned by the living as long as somebody lives.
func TestDecideHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{partitions: 61, run: make(map[proto.NodeID]proto.Incarnation)}
		rows := make([]Row, w.partitions)
		type reign struct {
			partition proto.Partition
			term      proto.Term
		}
		owners := make(map[reign]proto.NodeName)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			id := drawID.Draw(t, "shard")
			if rapid.Bool().Draw(t, "starts") {
				w.start(id)
			} else {
				delete(w.run, id)
			}
			changes := Decide(rows, w.alive, w.ring())
			if again := Decide(rows, w.alive, w.ring()); !slices.EqualFunc(changes, again, sameChange) {
				t.Fatalf("the same question got two answers")
			}
			for _, c := range changes {
				if old := rows[c.Partition].Owner; old != "" && w.alive(old) {
					t.Fatalf("partition %d was taken from %s, who lives", c.Partition, old)
				}
				if c.Row.Term != c.Replaces+1 {
					t.Fatalf("partition %d went from term %d to %d", c.Partition, c.Replaces, c.Row.Term)
				}
			}
			next, err := Apply(rows, changes)
			if err != nil {
				t.Fatal(err)
			}
			for p, r := range next {
				if r.Term < rows[p].Term {
					t.Fatalf("partition %d went back from term %d to %d", p, rows[p].Term, r.Term)
				}
				if len(w.run) > 0 && !w.alive(r.Owner) {
					t.Fatalf("partition %d is owned by %q while %v live", p, r.Owner, w.ids())
				}
				at := reign{proto.Partition(p), r.Term}
				if who, ok := owners[at]; ok && who != r.Owner {
					t.Fatalf("partition %d had owners %s and %s in term %d", p, who, r.Owner, r.Term)
				}
				owners[at] = r.Owner
			}
			if len(Decide(next, w.alive, w.ring())) > 0 {
				t.Fatalf("nothing happened, and there was something to decide")
			}
			rows = next
		}
	})
}

func sameChange(a, b Change) bool {
	return a.Partition == b.Partition && a.Replaces == b.Replaces && a.Row.Equal(b.Row)
}

func TestFirstTableIsBalanced(t *testing.T) {
	w := &world{partitions: proto.Partitions, run: make(map[proto.NodeID]proto.Incarnation)}
	for n := 1; n <= 12; n++ {
		w.start(proto.NodeID(fmt.Sprintf("shard-%d", n)))
		rows, err := Apply(make([]Row, w.partitions), Decide(make([]Row, w.partitions), w.alive, w.ring()))
		if err != nil {
			t.Fatal(err)
		}
		owned := make(map[proto.NodeName]int)
		for _, r := range rows {
			owned[r.Owner]++
		}
		if len(owned) != n {
			t.Errorf("%d of %d shards own something", len(owned), n)
		}
		for name, count := range owned {
			if bound := int(math.Ceil(float64(w.partitions) / float64(n) * Load)); count > bound {
				t.Errorf("%s owns %d of %d partitions among %d shards, more than %d", name, count, w.partitions, n, bound)
			}
		}
	}
}

func TestPlaceGoesByID(t *testing.T) {
	ids := []proto.NodeID{"shard-1", "shard-11", "shard-2"}
	before := Place(ids, proto.Partitions)
	without := Place([]proto.NodeID{"shard-1", "shard-2"}, proto.Partitions)
	back := Place(ids, proto.Partitions)
	if !slices.Equal(before, back) {
		t.Error("a shard that left and came back has another place")
	}
	moved := 0
	for p := range before {
		was, is := ids[before[p]], []proto.NodeID{"shard-1", "shard-2"}[without[p]]
		if was != "shard-11" && was != is {
			moved++
		}
	}
	if moved > proto.Partitions/4 {
		t.Errorf("%d of %d partitions moved between the two that stayed", moved, proto.Partitions)
	}
	if Place(nil, proto.Partitions) != nil {
		t.Error("without shards there are places")
	}
}

func TestApplyRefuses(t *testing.T) {
	rows := []Row{{Owner: "a/1", Term: 3}}
	for name, c := range map[string]Change{
		"a partition that is not there": {Partition: 1, Replaces: 3, Row: Row{Owner: "b/1", Term: 4}},
		"an old term":                   {Partition: 0, Replaces: 2, Row: Row{Owner: "b/1", Term: 4}},
		"a term that does not grow":     {Partition: 0, Replaces: 3, Row: Row{Owner: "b/1", Term: 3}},
	} {
		if _, err := Apply(rows, []Change{c}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if rows[0].Owner != "a/1" {
		t.Error("a refused change was made")
	}
}

var drawRows = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Row {
	return Row{
		Owner: proto.MakeNodeName(drawID.Draw(t, "owner"), 1),
		Term:  proto.Term(rapid.IntRange(0, 3).Draw(t, "term")),
	}
}), 20, 20)

// TestMerge: the order does not matter, no term is lost, and where two owners shared a term nobody
// goes on under it.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRows.Draw(t, "a"), drawRows.Draw(t, "b")
		wanted := func(proto.Partition) proto.NodeName { return "s9/0000000000001" }
		if rapid.Bool().Draw(t, "nobody there") {
			wanted = func(proto.Partition) proto.NodeName { return "" }
		}
		merged := Merge(a, b, wanted)
		if !slices.EqualFunc(merged, Merge(b, a, wanted), Row.Equal) {
			t.Fatal("the order of the tables matters")
		}
		for p, r := range merged {
			switch {
			case a[p].Equal(b[p]):
				if !r.Equal(a[p]) {
					t.Fatalf("partition %d changed without a cause", p)
				}
			case a[p].Term == b[p].Term:
				if r.Term != a[p].Term+1 {
					t.Fatalf("partition %d: two owners in term %d, merged in term %d", p, a[p].Term, r.Term)
				}
			case r.Term != max(a[p].Term, b[p].Term):
				t.Fatalf("partition %d: terms %d and %d became %d", p, a[p].Term, b[p].Term, r.Term)
			}
		}
		if again := Merge(merged, a, wanted); !slices.EqualFunc(again, merged, Row.Equal) {
			t.Fatal("merging what is already in changes something")
		}
	})
}

func TestNewer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		own, other := drawRows.Draw(t, "own"), drawRows.Draw(t, "other")
		before := slices.Clone(own)
		rows, changed := Newer(own, other)
		if !slices.EqualFunc(before, own, Row.Equal) {
			t.Fatal("the node's own rows were written to")
		}
		if changed == slices.EqualFunc(rows, own, Row.Equal) {
			t.Fatalf("changed is %v, and the rows say otherwise", changed)
		}
		for p, r := range rows {
			if want := own[p]; other[p].Term > own[p].Term {
				if !r.Equal(other[p]) {
					t.Fatalf("partition %d: a higher term was not taken", p)
				}
			} else if !r.Equal(want) {
				t.Fatalf("partition %d: changed under term %d", p, want.Term)
			}
		}
	})
}

func BenchmarkPlace(b *testing.B) {
	for _, n := range []int{3, 10, 30, 100} {
		var ids []proto.NodeID
		for i := range n {
			ids = append(ids, proto.NodeID(fmt.Sprintf("s%03d", i)))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				Place(ids, proto.Partitions)
			}
		})
	}
}

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
	run        map[proto.NodeID]proto.Incarnation // shards that are not proved dead
	silent     map[proto.NodeID]bool
	draining   map[proto.NodeID]bool
	next       proto.Incarnation
}

func newWorld(partitions int) *world {
	return &world{
		partitions: partitions,
		run:        make(map[proto.NodeID]proto.Incarnation),
		silent:     make(map[proto.NodeID]bool),
		draining:   make(map[proto.NodeID]bool),
	}
}

func (w *world) start(id proto.NodeID) {
	w.next++
	w.kill(id)
	w.run[id] = w.next
}

func (w *world) kill(id proto.NodeID) {
	delete(w.run, id)
	delete(w.silent, id)
	delete(w.draining, id)
}

// ids are the shards of the ring: draining ones only if all are.
func (w *world) ids() (ids []proto.NodeID) {
	for id := range w.run {
		if len(w.draining) == len(w.run) || !w.draining[id] {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (w *world) verdict(name proto.NodeName) Verdict {
	switch inc, ok := w.run[name.ID()]; {
	case !ok || inc != name.Incarnation():
		return Proved
	case w.silent[name.ID()]:
		return Silent
	}
	return Lives
}

func (w *world) lives(name proto.NodeName) bool { return w.verdict(name) == Lives }

// ring returns wanted for the shards that are there now.
func (w *world) ring() func(proto.Partition) proto.NodeName {
	ids := w.ids()
	names := make([]proto.NodeName, len(ids))
	for i, id := range ids {
		names[i] = proto.MakeNodeName(id, w.run[id])
	}
	placed := Owners(DefaultSettings(), ids, w.partitions)
	return func(p proto.Partition) proto.NodeName {
		if len(names) == 0 {
			return ""
		}
		return names[placed[p]]
	}
}

var drawID = rapid.Custom(func(t *rapid.T) proto.NodeID {
	return proto.NodeID(fmt.Sprintf("s%d", rapid.IntRange(1, 7).Draw(t, "id")))
})

// reigns remembers who was the owner in which term.
type reigns map[reign]proto.NodeName

type reign struct {
	partition proto.Partition
	term      proto.Term
}

// note fails if a partition had another owner in the same term, or a term that is lower than before.
func (r reigns) note(t *rapid.T, before, rows []Row) {
	for p, row := range rows {
		at := reign{proto.Partition(p), row.Term}
		if who, ok := r[at]; ok && who != row.Owner {
			t.Fatalf("partition %d had owners %s and %s in term %d", p, who, row.Owner, row.Term)
		}
		r[at] = row.Owner
		if row.Term < before[p].Term || row.Since > row.Term {
			t.Fatalf("partition %d went from term %d to %d, since %d", p, before[p].Term, row.Term, row.Since)
		}
	}
}

// TestDecideHistories lets shards come, fall silent, wake, die and restart in any order, gives them
// followers and loses the register, and holds every decision against the promises: one owner per
// partition and term, terms that only grow, a new owner only where every copy is proved dead, and
// then everywhere as long as somebody lives.
func TestDecideHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(61)
		rows := make([]Row, w.partitions)
		owners, generation := make(reigns), uint32(0)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			id := drawID.Draw(t, "shard")
			before := rows
			switch rapid.SampledFrom([]string{"starts", "starts", "dies", "is silent", "wakes", "follows", "recover"}).Draw(t, "event") {
			case "starts":
				w.start(id)
			case "dies":
				w.kill(id)
			case "is silent":
				w.silent[id] = w.run[id] != 0
			case "wakes":
				w.silent[id] = false
			case "follows":
				rows = follow(t, w, rows, id, generation)
			case "recover":
				generation++
				rows = Recover(generation, []Rows{MakeRows(rows)}, w.lives, w.ring())
			}
			owners.note(t, before, rows)
			changes := Decide(generation, MakeRows(rows), w.verdict, w.ring())
			if again := Decide(generation, MakeRows(rows), w.verdict, w.ring()); !slices.EqualFunc(changes, again, sameChange) {
				t.Fatalf("the same question got two answers")
			}
			for _, c := range changes {
				checkChange(t, w, rows[c.Partition], c, generation)
			}
			next, err := apply(rows, changes)
			if err != nil {
				t.Fatal(err)
			}
			owners.note(t, rows, next)
			ring := w.ring()
			for p, r := range next {
				if to := ring(proto.Partition(p)); lost(&r, w.verdict) && to != "" && w.lives(to) {
					t.Fatalf("partition %d is owned by %q while %v live", p, r.Owner, w.ids())
				}
			}
			if len(Decide(generation, MakeRows(next), w.verdict, w.ring())) > 0 {
				t.Fatalf("nothing happened, and there was something to decide")
			}
			rows = next
		}
	})
}

// apply returns rows with changes made.
func apply(rows []Row, changes []Change) ([]Row, error) {
	next, err := MakeRows(rows).Apply(changes)
	return list(next), err
}

func list(rows Rows) (all []Row) {
	for _, r := range rows.All() {
		all = append(all, *r)
	}
	return all
}

// follow makes the shard a follower of every third partition.
func follow(t *rapid.T, w *world, rows []Row, id proto.NodeID, generation uint32) []Row {
	if w.run[id] == 0 {
		return rows
	}
	name := proto.MakeNodeName(id, w.run[id])
	rows = slices.Clone(rows)
	for p := rapid.IntRange(0, 2).Draw(t, "first"); p < len(rows); p += 3 {
		if r := &rows[p]; r.Owner != "" && r.Owner != name {
			r.Followers, r.Term = []proto.NodeName{name}, next(r.Term, generation)
		}
	}
	return rows
}

func checkChange(t *rapid.T, w *world, old Row, c Change, generation uint32) {
	for _, copy := range append([]proto.NodeName{old.Owner}, old.Followers...) {
		if copy != "" && w.verdict(copy) != Proved {
			t.Fatalf("partition %d was taken from %s, who is not proved dead", c.Partition, copy)
		}
	}
	if c.Replaces != old.Term || c.Row.Term <= old.Term || c.Row.Term.Generation() != generation || uint32(c.Row.Term) != uint32(old.Term)+1 {
		t.Fatalf("partition %d went from term %x to %x in generation %d", c.Partition, c.Replaces, c.Row.Term, generation)
	}
	if c.Row.Since != c.Row.Term || len(c.Row.Followers) > 0 || !w.lives(c.Row.Owner) {
		t.Fatalf("partition %d begins anew as %+v", c.Partition, c.Row)
	}
}

func sameChange(a, b Change) bool {
	return a.Partition == b.Partition && a.Replaces == b.Replaces && a.Row.Equal(b.Row)
}

func TestFirstTableIsBalanced(t *testing.T) {
	w := newWorld(proto.Partitions)
	for n := 1; n <= 12; n++ {
		w.start(proto.NodeID(fmt.Sprintf("shard-%d", n)))
		none := make([]Row, w.partitions)
		rows, err := apply(none, Decide(0, MakeRows(none), w.verdict, w.ring()))
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
		checkBalance(t, rows, n)
	}
}

// checkBalance: nobody owns more than the ring allows.
func checkBalance(t interface{ Fatalf(string, ...any) }, rows []Row, shards int) {
	bound := int(math.Ceil(float64(len(rows)) / float64(shards) * float64(DefaultSettings().Load) / 100))
	owned := make(map[proto.NodeName]int)
	for _, r := range rows {
		if owned[r.Owner]++; owned[r.Owner] > bound {
			t.Fatalf("%s owns more than %d of %d partitions among %d shards", r.Owner, bound, len(rows), shards)
		}
	}
}

func TestOwnersGoByID(t *testing.T) {
	ids := []proto.NodeID{"shard-1", "shard-11", "shard-2"}
	before := Owners(DefaultSettings(), ids, proto.Partitions)
	without := Owners(DefaultSettings(), []proto.NodeID{"shard-1", "shard-2"}, proto.Partitions)
	back := Owners(DefaultSettings(), ids, proto.Partitions)
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
	if Owners(DefaultSettings(), nil, proto.Partitions) != nil {
		t.Error("without shards there are places")
	}
}

func TestSettingsCheck(t *testing.T) {
	good := DefaultSettings()
	for _, s := range []Settings{good, {1, 1, 100, 0}, {1, 1000, 1000, 1}} {
		if err := s.Check(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
		if placed := Owners(s, []proto.NodeID{"a", "b", "c"}, 61); len(placed) != 61 {
			t.Errorf("%+v: %d places", s, len(placed))
		}
	}
	for _, s := range []Settings{{}, {0, 100, 125, 1}, {2, 100, 125, 1}, {1, 0, 125, 1}, {1, 1001, 125, 1}, {1, 100, 99, 1}, {1, 100, 1001, 1}, {1, 100, 125, 2}} {
		if s.Check() == nil {
			t.Errorf("%+v passes", s)
		}
	}
}

func BenchmarkOwners(b *testing.B) {
	for _, n := range []int{3, 10, 32, 33, 100, 300, 1000} {
		var ids []proto.NodeID
		for i := range n {
			ids = append(ids, proto.NodeID(fmt.Sprintf("s%03d", i)))
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				Owners(DefaultSettings(), ids, proto.Partitions)
			}
		})
	}
}

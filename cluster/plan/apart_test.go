package plan

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// estrange draws pairs of dancers that do not reach each other.
func (b *ballet) estrange() {
	var pairs []Pair
	for i := range dancers {
		for j := range i {
			if rapid.IntRange(0, 3).Draw(b.t, "apart") == 0 {
				pairs = append(pairs, MakePair(dancer(i), dancer(j)))
			}
		}
	}
	slices.SortFunc(pairs, Pair.Compare)
	b.scene.Apart = pairs
}

// part has owners drop the followers that they do not reach, as they do.
func (b *ballet) part() {
	for p, r := range b.rows.All() {
		for _, f := range r.Followers {
			if b.scene.apart(r.Owner, f) {
				a, ok := Grant(&proto.Wish{Partition: p, Kind: proto.WishOverdue, Node: f}, b.rows.At(p), b.moveOf(p), b.scene)
				if !ok {
					b.t.Fatalf("%s does not drop %s", r.Owner, f)
				}
				if b.change(p, a.Row); a.Ends {
					b.end(p)
				}
			}
		}
	}
}

// moveOf is the partition's move, zero if it has none.
func (b *ballet) moveOf(p proto.Partition) (move Move) {
	if i := slices.IndexFunc(b.moves, func(m Move) bool { return m.Partition == p }); i >= 0 {
		move = b.moves[i]
	}
	return move
}

// play lets all moves come to an end.
func (b *ballet) play() {
	turns := 0
	for b.turn() {
		for _, m := range b.moves {
			if b.scene.apart(b.rows.At(m.Partition).Owner, m.To) {
				b.t.Fatalf("%+v, but the two do not reach each other", m)
			}
		}
		if turns++; turns > 6*b.rows.Len()+10 {
			b.t.Fatalf("no end: %+v", b.moves)
		}
	}
	for b.turnTrims() {
	}
}

// TestMovesAroundRifts: whoever does not reach whom, and whatever is under way when that begins, moves come to an end, none is between two that are apart, and
// in the end every partition has a follower that its owner reaches, if there is one: the wanted one, if it is
// that. When all reach each other again copies come to where they are wanted, and no owner moves twice.
func TestMovesAroundRifts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBallet(t)
		for range rapid.IntRange(0, 3).Draw(t, "under way") {
			b.turn()
		}
		b.estrange()
		b.part()
		b.play()
		w := b.scene.Wanted
		for p, r := range b.rows.All() {
			near := func(run proto.NodeName) bool { return run != r.Owner && !b.scene.apart(r.Owner, run) }
			if r.Owner != w.Owner(p) && !b.scene.apart(r.Owner, w.Owner(p)) {
				t.Fatalf("partition %d stays at %s, wanted at %s, which it reaches", p, r.Owner, w.Owner(p))
			}
			if want := w.Follower(p); r.Owner == w.Owner(p) && want != "" && near(want) && !slices.Equal(r.Followers, []proto.NodeName{want}) {
				t.Fatalf("partition %d has come to %+v, wanted at %s, which it reaches", p, r, want)
			}
			if b.scene.Followers > 0 && slices.ContainsFunc(w.Runs, near) && len(r.Followers) == 0 {
				t.Fatalf("partition %d has come to %+v, and %v are there", p, r, w.Runs)
			}
			if slices.ContainsFunc(r.Followers, func(f proto.NodeName) bool { return !near(f) }) {
				t.Fatalf("partition %d has come to %+v, which do not reach each other", p, r)
			}
		}
		b.scene.Apart = nil
		b.play()
		for p, r := range b.rows.All() {
			if r.Owner != w.Owner(p) || w.Follower(p) != "" && !slices.Equal(r.Followers, []proto.NodeName{w.Follower(p)}) {
				t.Fatalf("partition %d has come back to %+v, wanted at %s, %s", p, r, w.Owner(p), w.Follower(p))
			}
		}
	})
}

// TestInstead: who follows in place of the wanted one is spread over all others, is in another zone if it
// can be, and is the same whatever else happens.
func TestInstead(t *testing.T) {
	const partitions = 4093
	var shards []Shard
	var runs []proto.NodeName
	for i := range dancers {
		zone := "x"
		if i >= dancers/2 {
			zone = "y"
		}
		shards, runs = append(shards, Shard{dancer(i).ID(), zone}), append(runs, dancer(i))
	}
	s := &Scene{
		Followers: 1, Fit: func(proto.NodeName) bool { return true },
		Wanted: &Wanted{Place(nil, DefaultSettings(), shards, partitions), runs},
	}
	near, far := runs[0], runs[dancers-1]
	s.Apart = []Pair{MakePair(near, far)}
	has := make(map[proto.NodeName]int)
	for p := range proto.Partition(partitions) {
		owner, wanted, follower := s.Wanted.Owner(p), s.Wanted.Follower(p), s.follower(p, s.Wanted.Owner(p))
		if !s.apart(owner, wanted) {
			if follower != wanted {
				t.Fatalf("partition %d: %s follows in place of %s, which %s reaches", p, follower, wanted, owner)
			}
			continue
		}
		has[follower]++
		if s.apart(owner, follower) || follower == owner || shards[slices.Index(runs, owner)].Zone == shards[slices.Index(runs, follower)].Zone {
			t.Fatalf("partition %d: %s follows %s in place of %s", p, follower, owner, wanted)
		}
	}
	if len(has) != dancers-2 { // of each zone those that are not apart
		t.Errorf("in place of the wanted ones follow %v", has)
	}
	s.Fit = func(name proto.NodeName) bool { return name == near || name == far || name == runs[1] }
	for p := range proto.Partition(partitions) {
		if f := s.instead(p, near); f != runs[1] {
			t.Fatalf("partition %d: %q follows where only one can", p, f)
		}
	}
}

// TestRiftRules: partition 0 is wanted at c, followed by d, whom c does not reach. Of the others b scores highest.
func TestRiftRules(t *testing.T) {
	s := stage(1, "", "")
	s.Apart = []Pair{MakePair("c", "d")}
	if f := s.follower(0, "c"); f != "b" {
		t.Fatalf("in place of d follows %s", f)
	}
	for _, tt := range []struct {
		row  Row
		move Move
		over bool
	}{
		{row("c", ""), Move{To: "b", State: Learning}, false},
		{row("c", ""), Move{To: "d", State: Learning}, true},
		{row("c", ""), Move{To: "e", State: Learning}, true},
		{row("a", ""), Move{To: "d", State: Learning}, false},
		{row("d", ""), Move{From: "d", To: "c", State: Learning}, true},
		{row("d", "c"), Move{From: "d", To: "c", State: Freezing}, true},
		{row("d", ""), Move{To: "b", State: Learning}, false},
	} {
		if _, ended := Upkeep(MakeRows([]Row{tt.row}), []Move{tt.move}, s); (len(ended) == 1) != tt.over {
			t.Errorf("%s: %+v is over: %v", short(tt.row), tt.move, ended)
		}
	}
	never := func(proto.Partition) bool { return false }
	for _, tt := range []struct {
		row  Row
		want []Move
	}{
		{row("c", ""), []Move{{To: "b", State: Learning}}},
		{row("c", "b"), nil},
		{row("c", "e"), []Move{{To: "b", State: Learning}}},
		{row("d", ""), []Move{{To: "b", State: Learning}}}, // it stays there meanwhile
		{row("d", "c"), nil}, // which d gives up, and wishes so
		{row("a", ""), []Move{{From: "a", To: "c", State: Learning}}},
	} {
		if have := survey(s, tt.row).Begin(nil, never, 9); !slices.Equal(have, tt.want) {
			t.Errorf("%s: %+v begin, want %+v", short(tt.row), have, tt.want)
		}
	}
	for _, tt := range []struct {
		row  Row
		want string
	}{{row("c", "ab"), "c b 6"}, {row("c", "ad"), ""}, {row("d", "bc"), ""}} {
		have := ""
		for _, c := range survey(s, tt.row).Trim(nil, 1) {
			have = short(c.Row)
		}
		if have != tt.want {
			t.Errorf("%s is trimmed to %q, want %q", short(tt.row), have, tt.want)
		}
	}
	ready := row("a", "dcb")
	if a, ok := Grant(&proto.Wish{Kind: proto.WishReady, Node: "c"}, &ready, Move{From: "a", To: "c", State: Freezing}, s); !ok || short(a.Row) != "c b 6" {
		t.Errorf("handed over it is %s", short(a.Row))
	}
	if r := Begun(0, row("c", ""), s); short(r) != "c b 5" {
		t.Errorf("begun anew it is %s", short(r))
	}
}

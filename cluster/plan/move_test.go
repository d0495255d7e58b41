package plan

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// ballet is a Table in the making: moves begin, get on and end, in any order.
type ballet struct {
	t      *rapid.T
	rows   Rows
	moves  []Move
	scene  *Scene
	survey Survey
	most   int
	moved  []int // how often each partition's owner changed
}

const dancers = 6

func dancer(i int) proto.NodeName { return proto.MakeNodeName(proto.NodeID(fmt.Sprintf("s%d", i)), 1) }

// drawBallet draws rows of six shards, and where some of them should have copies.
func drawBallet(t *rapid.T) *ballet {
	rows := make([]Row, 2*chunkSize+3)
	for p := range rows {
		r := &rows[p]
		r.Owner, r.Term, r.Since = dancer(rapid.IntRange(0, dancers-1).Draw(t, "owner")), 3, 2
		for _, f := range rapid.SliceOfNDistinct(rapid.IntRange(0, dancers-1), 0, 2, rapid.ID).Draw(t, "followers") {
			if f := dancer(f); f != r.Owner {
				r.Followers = append(r.Followers, f)
			}
		}
	}
	b := &ballet{t: t, rows: MakeRows(rows), moved: make([]int, len(rows)), most: rapid.IntRange(1, 80).Draw(t, "most")}
	b.scene = &Scene{
		Verdict: func(proto.NodeName) Verdict { return Lives },
		Fit:     func(proto.NodeName) bool { return true },
		Missed:  func(proto.NodeName) bool { return false },
	}
	b.want(rapid.SliceOfNDistinct(rapid.IntRange(0, dancers-1), 1, dancers, rapid.ID).Draw(t, "stay"), rapid.IntRange(0, 1).Draw(t, "number"))
	return b
}

// want says which of the shards should have copies.
func (b *ballet) want(stay []int, followers int) {
	slices.Sort(stay)
	s := DefaultSettings()
	s.Followers = uint8(followers)
	var shards []Shard
	var runs []proto.NodeName
	for _, i := range stay {
		shards, runs = append(shards, Shard{ID: dancer(i).ID()}), append(runs, dancer(i))
	}
	b.scene.Wanted = &Wanted{Place(nil, s, shards, b.rows.Len()), runs}
	b.scene.Followers = min(followers, len(shards)-1)
}

// look surveys the rows, and holds what was remembered against what is found anew.
func (b *ballet) look() {
	var anew Survey
	for _, v := range []*Survey{&b.survey, &anew} {
		v.Look(b.rows, func(yield func(proto.NodeName) bool) {
			for i := 0; i < dancers && yield(dancer(i)); i++ {
			}
		}, b.scene)
	}
	if !reflect.DeepEqual(b.survey.found, anew.found) {
		b.t.Fatalf("a look at what has changed finds\n%+v\na look at all\n%+v", b.survey.found, anew.found)
	}
}

// turn begins what should begin, and lets some of the moves get on. It is false when there is nothing to do.
func (b *ballet) turn() bool {
	on, ended := Upkeep(b.rows, b.moves, b.scene)
	for _, m := range on {
		b.set(m)
	}
	for _, p := range ended {
		b.end(p)
	}
	free := b.most - len(b.moves)
	b.look()
	for _, c := range b.survey.Trim(b.moves, free) {
		b.change(c.Partition, c.Row)
	}
	b.look()
	begun := b.survey.Begin(b.moves, func(proto.Partition) bool { return false }, free)
	for _, m := range begun {
		if m.State == Freezing && !slices.Contains(b.rows.At(m.Partition).Followers, m.To) {
			b.t.Fatalf("%+v of %+v", m, b.rows.At(m.Partition))
		}
		b.set(m)
	}
	if len(b.moves) > b.most || !slices.IsSortedFunc(b.moves, func(x, y Move) int { return int(x.Partition) - int(y.Partition) }) {
		b.t.Fatalf("%d of %d moves: %+v", len(b.moves), b.most, b.moves)
	}
	if len(b.moves) == 0 {
		return false
	}
	some := rapid.Permutation(b.moves).Draw(b.t, "order")[:rapid.IntRange(1, len(b.moves)).Draw(b.t, "some")]
	for _, m := range some {
		b.get(m)
	}
	return true
}

// get has the owner of a move's partition wish what comes next.
func (b *ballet) get(m Move) {
	kind := proto.WishAdd
	if m.State == Freezing {
		kind = proto.WishReady
	}
	a, ok := Grant(&proto.Wish{Partition: m.Partition, Kind: kind, Node: m.To}, b.rows.At(m.Partition), m, b.scene)
	if !ok || a.Row.Term == 0 {
		b.t.Fatalf("%+v of %+v: %v is not granted", m, b.rows.At(m.Partition), kind)
	}
	b.change(m.Partition, a.Row)
	if a.Freezes {
		m.State = Freezing
		b.set(m)
	}
	if a.Ends {
		b.end(m.Partition)
	}
}

func (b *ballet) change(p proto.Partition, row Row) {
	if was := b.rows.At(p).Owner; was != row.Owner {
		if b.moved[p]++; b.moved[p] > 1 || row.Owner != b.scene.Wanted.Owner(p) {
			b.t.Fatalf("partition %d goes from %s to %s, its owner number %d", p, was, row.Owner, b.moved[p])
		}
	}
	rows, err := b.rows.Apply([]Change{{p, b.rows.At(p).Term, row}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.rows = rows
}

func (b *ballet) set(m Move) {
	b.end(m.Partition)
	at, _ := slices.BinarySearchFunc(b.moves, m.Partition, func(m Move, p proto.Partition) int { return int(m.Partition) - int(p) })
	b.moves = slices.Insert(b.moves, at, m)
}

func (b *ballet) end(p proto.Partition) {
	b.moves = slices.DeleteFunc(b.moves, func(m Move) bool { return m.Partition == p })
}

// TestMovesEnd: from any Table to any Placement the moves come to an end, each partition's owner changes once
// at most, and to where it is wanted, and at last all copies are where they should be. Another
// Placement in the middle makes no difference.
func TestMovesEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBallet(t)
		if rapid.Bool().Draw(t, "changes its mind") {
			for range rapid.IntRange(0, 5).Draw(t, "after") {
				b.turn()
			}
			b.want(rapid.SliceOfNDistinct(rapid.IntRange(0, dancers-1), 1, dancers, rapid.ID).Draw(t, "then"), rapid.IntRange(0, 1).Draw(t, "number"))
			clear(b.moved)
		}
		turns := 0
		for b.turn() {
			if turns++; turns > 6*b.rows.Len()+10 {
				t.Fatalf("no end: %+v", b.moves)
			}
		}
		for b.turnTrims() {
		}
		w := b.scene.Wanted
		for p, r := range b.rows.All() {
			var followers []proto.NodeName
			if f := w.Follower(p); f != "" {
				followers = []proto.NodeName{f}
			}
			if r.Owner != w.Owner(p) || !slices.Equal(r.Followers, followers) {
				t.Fatalf("partition %d has come to %+v, wanted at %s, %s", p, r, w.Owner(p), w.Follower(p))
			}
		}
	})
}

// turnTrims is for the rows that are left with too many followers when no move is.
func (b *ballet) turnTrims() bool {
	b.look()
	changes := b.survey.Trim(nil, b.most)
	for _, c := range changes {
		b.change(c.Partition, c.Row)
	}
	return len(changes) > 0
}

func survey(s *Scene, rows ...Row) *Survey {
	named := make(map[proto.NodeName]bool)
	for _, r := range rows {
		named[r.Owner] = true
		for _, f := range r.Followers {
			named[f] = true
		}
	}
	v := new(Survey)
	v.Look(MakeRows(rows), maps.Keys(named), s)
	return v
}

// TestTrim: followers that are too many go, but for those that we merely do not hear: fewer are wanted then
// only because of that.
func TestTrim(t *testing.T) {
	for _, tt := range []struct {
		followers    int
		silent, dead string
		row          Row
		want         string // "" for no change
	}{
		{1, "", "", row("c", "bd"), "c d 6"},
		{0, "", "", row("c", "d"), "c  6"},
		{1, "", "", row("c", "d"), ""},
		{1, "", "", row("c", "be"), ""},  // a move will see to it
		{1, "", "", row("a", "bd"), ""},  // likewise
		{1, "c", "", row("c", "bd"), ""}, // an heir will see to it
		{0, "d", "", row("c", "d"), ""},
		{1, "d", "", row("c", "bd"), ""},
		{1, "", "b", row("c", "bd"), ""},
	} {
		have := ""
		for _, c := range survey(stage(tt.followers, tt.silent, tt.dead), tt.row).Trim(nil, 1) {
			have = short(c.Row)
		}
		if have != tt.want {
			t.Errorf("%s, %s silent, %s dead: %q, want %q", short(tt.row), tt.silent, tt.dead, have, tt.want)
		}
	}
}

// TestWhatBeginsFirst: away from a draining node, then what lacks a copy, then hand-offs, then followers.
func TestWhatBeginsFirst(t *testing.T) {
	s := stage(1, "", "")
	s.Wanted.Placement = &Placement{
		settings: DefaultSettings(), shards: []Shard{{ID: "a"}, {ID: "b"}, {ID: "c"}},
		owners: []int32{0, 0, 0, 0, 0, 0}, followers: []int32{1, 1, 1, 1, 1, 1},
	}
	s.Wanted.Runs = []proto.NodeName{"a", "b", "c"}
	rows := []Row{row("a", "c"), row("b", "a"), row("c", ""), row("a", ""), row("a", "d"), row("e", "a")}
	want := []Move{
		{4, "", "b", Learning},  // d drains
		{5, "e", "a", Freezing}, // e drains, and a follows it
		{2, "c", "a", Learning}, // it has no copy, and the first is made where it is wanted
		{3, "", "b", Learning},  // it has no copy
		{1, "b", "a", Freezing}, // a is wanted, and follows it
		{0, "", "b", Learning},  // the follower is in the wrong place
	}
	never := func(proto.Partition) bool { return false }
	for most := range len(want) + 2 {
		first := slices.Clone(want[:min(most, len(want))])
		slices.SortFunc(first, func(a, b Move) int { return int(a.Partition) - int(b.Partition) })
		if have := survey(s, rows...).Begin(nil, never, most); !slices.Equal(have, first) {
			t.Errorf("of %d: %+v, want %+v", most, have, first)
		}
	}
	rests := func(p proto.Partition) bool { return p == 4 }
	if have := survey(s, rows...).Begin([]Move{{Partition: 5, From: "e", To: "a", State: Freezing}}, rests, 1); len(have) != 1 || have[0] != want[2] {
		t.Errorf("with one under way and one that rests: %+v", have)
	}
	s.Wanted = nil
	if have := survey(s, rows...).Begin(nil, never, 9); len(have) != 0 {
		t.Errorf("while nobody knows where: %+v", have)
	}
}

// TestUpkeep: which moves are over, and which get on.
func TestUpkeep(t *testing.T) {
	const gone, goes = "over", "gets on"
	for _, tt := range []struct {
		name         string
		silent, dead string
		row          Row
		move         Move
		want         string
	}{
		{"a hand-off", "", "", row("a", "b"), Move{From: "a", To: "c", State: Learning}, ""},
		{"a hand-off to one in sync", "", "", row("a", "c"), Move{From: "a", To: "c", State: Learning}, goes},
		{"a hand-off that freezes", "", "", row("a", "c"), Move{From: "a", To: "c", State: Freezing}, ""},
		{"one that freezes, and the target fell out", "", "", row("a", ""), Move{From: "a", To: "c", State: Freezing}, gone},
		{"another owner", "", "", row("b", "c"), Move{From: "a", To: "c", State: Learning}, gone},
		{"the target owns it", "", "", row("c", ""), Move{From: "a", To: "c", State: Learning}, gone},
		{"the target is silent", "c", "", row("a", "b"), Move{From: "a", To: "c", State: Learning}, gone},
		{"the target is dead", "", "c", row("a", "b"), Move{From: "a", To: "c", State: Learning}, gone},
		{"the owner is silent", "a", "", row("a", "b"), Move{From: "a", To: "c", State: Learning}, gone},
		{"nobody wants it there any more", "", "", row("a", "c"), Move{From: "a", To: "b", State: Learning}, gone},
		{"nor hands off to the wanted follower", "", "", row("a", "c"), Move{From: "a", To: "d", State: Learning}, gone},
		{"a refill", "", "", row("a", "b"), Move{To: "d", State: Learning}, ""},
		{"a refill with the wanted owner", "", "", row("a", "b"), Move{To: "c", State: Learning}, ""},
		{"a refill that is done", "", "", row("a", "d"), Move{To: "d", State: Learning}, gone},
		{"a refill in the wrong place", "", "", row("a", "d"), Move{To: "e", State: Learning}, gone},
		{"a row without an owner", "", "", row("", ""), Move{To: "d", State: Learning}, gone},
	} {
		on, ended := Upkeep(MakeRows([]Row{tt.row}), []Move{tt.move}, stage(1, tt.silent, tt.dead))
		have := ""
		switch {
		case len(ended) == 1 && len(on) == 0:
			have = gone
		case len(on) == 1 && on[0].State == Freezing && on[0].To == tt.move.To:
			have = goes
		}
		if have != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, have, tt.want)
		}
	}
	if _, ended := Upkeep(MakeRows([]Row{row("a", "d")}), []Move{{From: "a", To: "b", State: Learning}}, &Scene{Verdict: stage(1, "", "").Verdict, Fit: func(proto.NodeName) bool { return true }}); len(ended) > 0 {
		t.Error("while nobody knows where copies are wanted, moves go on")
	}
	s := stage(0, "", "")
	if _, ended := Upkeep(MakeRows([]Row{row("a", "")}), []Move{{To: "d", State: Learning}}, s); len(ended) != 1 {
		t.Error("a refill goes on though no followers are wanted any more")
	}
}

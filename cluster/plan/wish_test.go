package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// stage sets a Scene of the shards a to e, but for those in silent and dead all alive. Partition 0 is
// wanted at c, followed by d. The names are short so that tables stay readable.
func stage(followers int, silent, dead string) *Scene {
	verdict := func(n proto.NodeName) Verdict {
		switch {
		case strings.Contains(dead, string(n)):
			return Proved
		case strings.Contains(silent, string(n)):
			return Silent
		}
		return Lives
	}
	lives := func(n proto.NodeName) bool { return verdict(n) == Lives }
	shards := []Shard{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}, {ID: "e"}}
	p := &Placement{settings: DefaultSettings(), shards: shards, owners: []int32{2}, followers: []int32{3}}
	return &Scene{
		Generation: 1, Followers: followers, Verdict: verdict, Fit: lives,
		Missed: func(n proto.NodeName) bool { return !lives(n) },
		Wanted: &Wanted{p, []proto.NodeName{"a", "b", "c", "d", "e"}},
	}
}

// short writes a row as "a bd 5": owner, followers, count of the term.
func short(r Row) string {
	var followers string
	for _, f := range r.Followers {
		followers += string(f)
	}
	return fmt.Sprintf("%s %s %d", r.Owner, followers, uint32(r.Term))
}

func row(owner proto.NodeName, followers string) Row {
	r := Row{Owner: owner, Term: 1<<32 | 5, Since: 1<<32 | 2}
	for _, f := range followers {
		r.Followers = append(r.Followers, proto.NodeName(f))
	}
	return r
}

func TestGrant(t *testing.T) {
	const term = proto.Term(1<<32 | 5)
	handOff := func(to proto.NodeName, s MoveState) Move { return Move{From: "a", To: to, State: s} }
	refill := func(to proto.NodeName) Move { return Move{To: to, State: Learning} }
	for _, tt := range []struct {
		name         string
		followers    int
		silent, dead string
		row          Row
		move         Move
		wish         proto.Wish
		want         string // the row; "" for no answer, "=" for the same row
		ends, freeze bool
	}{
		{"drop one that we hear", 1, "", "", row("a", "b"), Move{}, proto.Wish{Kind: proto.WishDrop, Node: "b"}, "", false, false},
		{"drop one that is silent", 1, "b", "", row("a", "b"), Move{}, proto.Wish{Kind: proto.WishDrop, Node: "b"}, "a  6", false, false},
		{"drop one of two", 1, "", "b", row("a", "bc"), Move{}, proto.Wish{Kind: proto.WishDrop, Node: "b"}, "a c 6", false, false},
		{"drop who does not follow", 1, "b", "", row("a", "c"), Move{}, proto.Wish{Kind: proto.WishDrop, Node: "b"}, "", false, false},
		{"drop the owner", 1, "", "", row("a", "c"), Move{}, proto.Wish{Kind: proto.WishOverdue, Node: "a"}, "", false, false},
		{"drop the target of a hand-off", 1, "", "c", row("a", "cd"), handOff("c", Freezing), proto.Wish{Kind: proto.WishDrop, Node: "c"}, "a d 6", true, false},
		{"overdue", 1, "", "", row("a", "b"), Move{}, proto.Wish{Kind: proto.WishOverdue, Node: "b"}, "a  6", false, false},
		{"add", 1, "", "", row("a", ""), refill("d"), proto.Wish{Kind: proto.WishAdd, Node: "d"}, "a d 6", true, false},
		{"add in the place of another", 1, "", "", row("a", "b"), refill("d"), proto.Wish{Kind: proto.WishAdd, Node: "d"}, "a d 6", true, false},
		{"add without a move", 1, "", "", row("a", ""), Move{}, proto.Wish{Kind: proto.WishAdd, Node: "d"}, "", false, false},
		{"add another than the move's", 1, "", "", row("a", ""), refill("d"), proto.Wish{Kind: proto.WishAdd, Node: "e"}, "", false, false},
		{"add the owner", 1, "", "", row("a", ""), refill("a"), proto.Wish{Kind: proto.WishAdd, Node: "a"}, "", false, false},
		{"add the dead", 1, "", "d", row("a", "b"), refill("d"), proto.Wish{Kind: proto.WishAdd, Node: "d"}, "a b 6", true, false},
		{"add the target of a hand-off", 1, "", "", row("a", "b"), handOff("c", Learning), proto.Wish{Kind: proto.WishAdd, Node: "c"}, "a cb 6", false, true},
		{"add it, and keep who is wanted to follow", 1, "", "", row("a", "bd"), handOff("c", Learning), proto.Wish{Kind: proto.WishAdd, Node: "c"}, "a cd 6", false, true},
		{"add it where nobody should follow", 0, "", "", row("a", ""), handOff("c", Learning), proto.Wish{Kind: proto.WishAdd, Node: "c"}, "a c 6", false, true},
		{"ready", 1, "", "", row("a", "cb"), handOff("c", Freezing), proto.Wish{Kind: proto.WishReady, Node: "c"}, "c a 6", true, false},
		{"ready, with the wanted follower", 1, "", "", row("a", "cd"), handOff("c", Freezing), proto.Wish{Kind: proto.WishReady, Node: "c"}, "c d 6", true, false},
		{"ready, with the wanted follower dead", 1, "", "d", row("a", "cd"), handOff("c", Freezing), proto.Wish{Kind: proto.WishReady, Node: "c"}, "c a 6", true, false},
		{"ready, with the wanted follower lost", 1, "d", "", row("a", "cd"), handOff("c", Freezing), proto.Wish{Kind: proto.WishReady, Node: "c"}, "c a 6", true, false},
		{"ready where nobody should follow", 0, "", "", row("a", "c"), handOff("c", Freezing), proto.Wish{Kind: proto.WishReady, Node: "c"}, "c  6", true, false},
		{"ready before it freezes", 1, "", "", row("a", "c"), handOff("c", Learning), proto.Wish{Kind: proto.WishReady, Node: "c"}, "", false, false},
		{"ready with one that is not in sync", 1, "", "", row("a", "b"), handOff("c", Freezing), proto.Wish{Kind: proto.WishReady, Node: "c"}, "", false, false},
		{"ready without a move", 1, "", "", row("a", "c"), Move{}, proto.Wish{Kind: proto.WishReady, Node: "c"}, "", false, false},
		{"ready of a refill", 1, "", "", row("a", "c"), refill("c"), proto.Wish{Kind: proto.WishReady, Node: "c"}, "", false, false},
		{"ready for another", 1, "", "", row("a", "cd"), handOff("c", Freezing), proto.Wish{Kind: proto.WishReady, Node: "d"}, "", false, false},
		{"ready for the dead", 1, "c", "", row("a", "c"), handOff("c", Freezing), proto.Wish{Kind: proto.WishReady, Node: "c"}, "=", true, false},
		{"undo", 1, "", "", row("a", "c"), handOff("c", Freezing), proto.Wish{Kind: proto.WishUndo, Node: "c"}, "=", true, false},
		{"undo what is over", 1, "", "", row("a", "c"), Move{}, proto.Wish{Kind: proto.WishUndo, Node: "c"}, "", false, false},
		{"undo a refill", 1, "", "", row("a", ""), refill("d"), proto.Wish{Kind: proto.WishUndo, Node: "d"}, "", false, false},
		{"renew", 1, "", "", row("a", "b"), handOff("c", Learning), proto.Wish{Kind: proto.WishRenew, Above: term + 3}, "a b 9", false, false},
		{"renew above a lower term", 1, "", "", row("a", "b"), Move{}, proto.Wish{Kind: proto.WishRenew, Above: 7}, "a b 6", false, false},
		{"renew above a term of the next generation", 1, "", "", row("a", "b"), Move{}, proto.Wish{Kind: proto.WishRenew, Above: 2<<32 | 1}, "", false, false},
		{"renew far away", 1, "", "", row("a", "b"), Move{}, proto.Wish{Kind: proto.WishRenew, Above: term + maxJump + 1}, "", false, false},
		{"nothing that is known", 1, "", "", row("a", "b"), Move{}, proto.Wish{Kind: 99, Node: "b"}, "", false, false},
	} {
		s := stage(tt.followers, tt.silent, tt.dead)
		a, ok := Grant(&tt.wish, &tt.row, tt.move, s)
		have := ""
		switch {
		case ok && a.Row.Term == 0:
			have = "="
		case ok:
			have = short(a.Row)
			if a.Row.Since != tt.row.Since || a.Row.Term.Generation() != 1 {
				t.Errorf("%s: %+v", tt.name, a.Row)
			}
		}
		if have != tt.want || a.Ends != tt.ends || a.Freezes != tt.freeze {
			t.Errorf("%s: %q, ends %v, freezes %v; want %q", tt.name, have, a.Ends, a.Freezes, tt.want)
		}
	}
}

// TestGrantKeepsCopies: no wish takes the owner's copy, names one that has none, or keeps a term.
func TestGrantKeepsCopies(t *testing.T) {
	names := []proto.NodeName{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(t *rapid.T) {
		drawName := rapid.SampledFrom(names)
		s := stage(rapid.IntRange(0, 1).Draw(t, "followers"), rapid.StringMatching("[b-e]?").Draw(t, "silent"), rapid.StringMatching("[b-e]?").Draw(t, "dead"))
		if rapid.Bool().Draw(t, "unplaced") {
			s.Wanted = nil
		}
		r := row("a", rapid.SampledFrom([]string{"", "b", "c", "bc", "cd", "de"}).Draw(t, "row"))
		m := Move{From: rapid.SampledFrom([]proto.NodeName{"", "a"}).Draw(t, "from"), To: drawName.Draw(t, "to"), State: MoveState(rapid.IntRange(0, 2).Draw(t, "state"))}
		x := proto.Wish{Kind: proto.WishKind(rapid.IntRange(1, 6).Draw(t, "kind")), Node: drawName.Draw(t, "node"), Above: proto.Term(rapid.Uint64Max(3<<32).Draw(t, "above"))}
		before := short(r)
		a, ok := Grant(&x, &r, m, s)
		if short(r) != before {
			t.Fatal("the row was written to")
		}
		if !ok || a.Row.Term == 0 {
			return
		}
		if a.Row.Term <= r.Term || a.Row.Term.Generation() != s.Generation || a.Row.Since != r.Since || slices.Contains(a.Row.Followers, a.Row.Owner) {
			t.Fatalf("%+v of %+v: %+v", x, r, a.Row)
		}
		if a.Row.Owner != "a" && (x.Kind != proto.WishReady || !slices.Contains(r.Followers, a.Row.Owner) || s.Verdict(a.Row.Owner) != Lives) {
			t.Fatalf("%+v of %+v: %+v", x, r, a.Row)
		}
		for _, f := range a.Row.Followers {
			if f != "a" && !slices.Contains(r.Followers, f) && (x.Kind != proto.WishAdd || f != x.Node || m.To != f || s.Verdict(f) != Lives) {
				t.Fatalf("%+v of %+v: %+v", x, r, a.Row)
			}
		}
	})
}

// TestHeirs: who is asked to take over, and what the row is then.
func TestHeirs(t *testing.T) {
	for _, tt := range []struct {
		row          Row
		silent, dead string
		heirs, then  string
	}{
		{row("a", "b"), "a", "", "b", "b  6"},
		{row("a", "bc"), "a", "", "cb", "c b 6"},
		{row("a", "bc"), "ab", "", "c", "c  6"},
		{row("a", "bcd"), "b", "a", "cd", "c d 6"},
		{row("a", "b"), "ab", "", "", ""},
		{row("a", ""), "a", "", "", ""},
	} {
		s := stage(1, tt.silent, tt.dead)
		var heirs, then string
		list := Heirs(0, &tt.row, s)
		for _, h := range list {
			heirs += string(h)
		}
		if len(list) > 0 {
			next := Succeed(&tt.row, list[0], Ask(&tt.row, 0, s), s)
			if then = short(next); next.Since != tt.row.Since {
				t.Errorf("%+v begins anew: %+v", tt.row, next)
			}
		}
		if heirs != tt.heirs || then != tt.then {
			t.Errorf("%s with %s silent and %s dead: heirs %q, then %q; want %q, %q", short(tt.row), tt.silent, tt.dead, heirs, then, tt.heirs, tt.then)
		}
	}
}

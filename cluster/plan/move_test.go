package plan

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// moved counts what histories of joins, deaths and drains cost.
type moved struct {
	events  int
	changes int // partitions that got another owner
	share   int // those that had to: what a newcomer is wanted for, or one that left had
}

// TestMovesHistories lets shards join, die, restart and drain, one at a time, and rebalances after
// each. The moves that are planned are then exactly the partitions that two Rings want in different
// places and whose owner lives: each once, and none back while they are made in any order. What is
// owned in the end is balanced as the ring promises.
func TestMovesHistories(t *testing.T) {
	cost := make(map[string]*moved)
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(211)
		w.start("s1")
		rows := make([]Row, w.partitions)
		rows, owners := decideAll(t, w, rows), make(reigns)
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			before, was := rows, w.ring()
			event, id := w.befall(t)
			is := w.ring()
			rows = decideAll(t, w, rows)
			moves := Moves(rows, w.verdict, is)
			checkMoves(t, w, moves, before, was, is)
			rows = makeMoves(t, w, rows, moves)
			owners.note(t, before, rows)
			checkBalance(t, rows, len(w.ids()))
			cost[event] = cost[event].add(before, rows, id)
		}
	})
	for _, event := range []string{"joins", "restarts", "dies", "drains"} {
		if c := cost[event]; c != nil {
			t.Logf("a shard %s: %d times, %d partitions changed hands, %d beyond those that had to", event, c.events, c.changes, c.changes-c.share)
		}
	}
}

func (m *moved) add(before, after []Row, id proto.NodeID) *moved {
	if m == nil {
		m = &moved{}
	}
	m.events++
	for p := range after {
		if from, to := before[p].Owner, after[p].Owner; from != to {
			m.changes++
			if from.ID() == id || to.ID() == id {
				m.share++
			}
		}
	}
	return m
}

// befall lets something happen to a shard, and says what. One that lives and does not drain is left.
func (w *world) befall(t *rapid.T) (event string, id proto.NodeID) {
	id = drawID.Draw(t, "shard")
	ids := w.ids()
	last := len(ids) == 1 && ids[0] == id
	switch rapid.SampledFrom([]string{"starts", "starts", "dies", "drains"}).Draw(t, "event") {
	case "dies":
		if !last {
			w.kill(id)
			return "dies", id
		}
	case "drains":
		if w.run[id] != 0 && !last {
			w.draining[id] = true
			return "drains", id
		}
	case "starts":
		if event = "restarts"; w.run[id] == 0 {
			event = "joins"
		}
		w.start(id)
		return event, id
	}
	return "nothing", id
}

func decideAll(t *rapid.T, w *world, rows []Row) []Row {
	next, err := Apply(rows, Decide(0, rows, w.verdict, w.ring()))
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// checkMoves holds the moves against the two Rings. The Table was settled in the first.
func checkMoves(t *rapid.T, w *world, moves []Move, before []Row, was, is func(proto.Partition) proto.NodeName) {
	planned := make(map[proto.Partition]Move)
	for _, m := range moves {
		if _, twice := planned[m.Partition]; twice || m.State != 0 {
			t.Fatalf("%+v is planned twice or has begun", m)
		}
		planned[m.Partition] = m
	}
	for i := range before {
		p := proto.Partition(i)
		from, to := was(p), is(p)
		m, ok := planned[p]
		if want := from != to && w.lives(from); ok != want {
			t.Fatalf("partition %d is wanted by %s, then by %s: planned %v", p, from, to, ok)
		}
		if ok && (m.From != from || m.To != to) {
			t.Fatalf("partition %d is wanted by %s, then by %s: planned %+v", p, from, to, m)
		}
	}
}

// makeMoves hands over partition by partition, in any order, some at a time.
func makeMoves(t *rapid.T, w *world, rows []Row, moves []Move) []Row {
	rows, ring := slices.Clone(rows), w.ring()
	for len(moves) > 0 {
		some := rapid.Permutation(moves).Draw(t, "order")[:rapid.IntRange(1, len(moves)).Draw(t, "some")]
		for _, m := range some {
			r := &rows[m.Partition]
			*r = Row{Owner: m.To, Term: r.Term + 1, Since: r.Term + 1}
		}
		left := Moves(rows, w.verdict, ring)
		want := slices.DeleteFunc(moves, func(m Move) bool { return slices.Contains(some, m) })
		if !slices.Equal(left, want) {
			t.Fatalf("after some of the moves there are others left: %v, want %v", left, want)
		}
		moves = left
	}
	return rows
}

// TestMovesNeedTwoThatLive: a hand-off takes two.
func TestMovesNeedTwoThatLive(t *testing.T) {
	verdict := func(n proto.NodeName) Verdict {
		return map[proto.NodeName]Verdict{"a/1": Lives, "b/1": Lives, "silent/1": Silent, "dead/1": Proved}[n]
	}
	for _, tt := range []struct {
		owner, wanted proto.NodeName
		planned       bool
	}{
		{"a/1", "b/1", true},
		{"a/1", "a/1", false},
		{"a/1", "silent/1", false},
		{"a/1", "dead/1", false},
		{"a/1", "", false},
		{"silent/1", "b/1", false},
		{"dead/1", "b/1", false},
		{"", "b/1", false},
	} {
		moves := Moves([]Row{{Owner: tt.owner, Term: 1}}, verdict, func(proto.Partition) proto.NodeName { return tt.wanted })
		if planned := len(moves) == 1; planned != tt.planned {
			t.Errorf("from %q to %q: %s", tt.owner, tt.wanted, fmt.Sprint(moves))
		}
	}
}

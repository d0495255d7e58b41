package plan

import (
	"cmp"
	"slices"

	"github.com/roomring/roomring/proto"
)

// MoveState is how far a planned move is. The zero MoveState has not begun.
type MoveState uint8

// The states of a move that is under way.
const (
	Learning MoveState = iota + 1 // the target copies the partition
	Freezing                      // the target is in sync; the owner has stopped sequencing and drains to it
)

// String names the state as documents do; the zero MoveState is "none".
func (s MoveState) String() string {
	switch s {
	case Learning:
		return "learning"
	case Freezing:
		return "freezing"
	}
	return "none"
}

// Move is something that was planned for a partition: a hand-off to another owner, or, where From is
// "", a refill: the owner stays, and has To copy the partition.
type Move struct {
	Partition proto.Partition
	From, To  proto.NodeName
	State     MoveState
}

// Scene is what moves and wishes are judged by. All functions are asked as often as it takes and must
// not change their minds meanwhile.
type Scene struct {
	Generation uint32
	Followers  int // in-sync copies beside the owner's that a row should have
	Verdict    func(proto.NodeName) Verdict

	// Missed reports whether the coordinator, too, has lost the node: it need not be sure yet.
	Missed func(proto.NodeName) bool

	// Fit reports whether the node lives and is in reach, so that it can be given something.
	Fit func(proto.NodeName) bool

	// Wanted is where the shards that are there now should have copies; nil while that is not known.
	Wanted *Wanted

	// Apart are the shards that live and do not reach each other, sorted. Nothing is moved from one to the
	// other, and neither is to follow the other.
	Apart []Pair
}

// Upkeep says what has become of the moves that are under way: some are over because they are moot (the
// owner or the target is lost, or is not meant any more), and some get on because the target is in sync
// already. A move is always that of its row: who changes an owner ends the partition's move.
func Upkeep(rows Rows, moves []Move, s *Scene) (on []Move, ended []proto.Partition) {
	for _, m := range moves {
		row := rows.At(m.Partition)
		switch in := slices.Contains(row.Followers, m.To); {
		case !m.meant(row, in, s):
			ended = append(ended, m.Partition)
		case in && m.State == Learning:
			m.State = Freezing
			on = append(on, m)
		}
	}
	return on, ended
}

// meant reports whether the move still makes sense; in: its target is in sync.
func (m *Move) meant(row *Row, in bool, s *Scene) bool {
	refill := m.From == ""
	switch {
	case row.Owner == m.To || row.Owner == "" || !refill && row.Owner != m.From || refill && in:
		return false
	case s.Verdict(row.Owner) != Lives || !s.Fit(m.To):
		return false
	case !in && m.State == Freezing, s.apart(row.Owner, m.To):
		return false
	case s.Wanted == nil:
		return true
	}
	owner := s.Wanted.Owner(m.Partition)
	return owner == m.To || refill && s.Followers > 0 && s.follower(m.Partition, row.Owner) == m.To
}

// urgency orders what is to begin; the first goes first.
type urgency uint8

const (
	leaves    urgency = iota // a copy is where no copy should be: its node drains
	lacks                    // too few are in sync
	handsOff                 // another shard is the wanted owner
	misplaced                // the follower is in the wrong place
	urgencies
)

// toward is what brings the row nearer to where it is wanted.
func toward(p proto.Partition, row *Row, s *Scene) (m Move, urgent urgency, ok bool) {
	owner, follower := s.Wanted.Owner(p), s.follower(p, row.Owner)
	if row.Owner == "" || owner == "" {
		return Move{}, 0, false
	}
	if row.Owner != owner && s.Fit(owner) && !s.apart(row.Owner, owner) {
		m = Move{Partition: p, From: row.Owner, To: owner, State: Learning}
		if slices.Contains(row.Followers, owner) {
			m.State = Freezing
		}
		switch {
		case !s.Wanted.stays(row.Owner):
			return m, leaves, true
		case lacking(row, s):
			return m, lacks, true
		}
		return m, handsOff, true
	}
	if s.Followers == 0 || follower == "" || follower == row.Owner || slices.Contains(row.Followers, follower) {
		return Move{}, 0, false
	}
	m = Move{Partition: p, To: follower, State: Learning}
	drains := func(f proto.NodeName) bool { return s.Verdict(f) == Lives && !s.Wanted.stays(f) }
	switch {
	case slices.ContainsFunc(row.Followers, drains):
		return m, leaves, true
	case lacking(row, s):
		return m, lacks, true
	}
	return m, misplaced, row.Owner == owner // else the hand-off to come may want another
}

// lacking reports whether the row has fewer living followers than it should.
func lacking(row *Row, s *Scene) bool {
	alive := 0
	for _, f := range row.Followers {
		if s.Verdict(f) == Lives {
			alive++
		}
	}
	return alive < s.Followers
}

// under reports whether the partition has one of the moves, which are sorted by partition.
func under(moves []Move, p proto.Partition) bool {
	_, ok := slices.BinarySearchFunc(moves, Move{Partition: p}, byPartition)
	return ok
}

func byPartition(a, b Move) int { return cmp.Compare(a.Partition, b.Partition) }

// stays reports whether the node is one of those that copies are wanted on.
func (w *Wanted) stays(name proto.NodeName) bool { return slices.Contains(w.Runs, name) }

// trim is the change of a row that has more followers than wanted, unless one of them is missed.
func trim(p proto.Partition, row *Row, s *Scene) (Change, bool) {
	if len(row.Followers) <= s.Followers || slices.ContainsFunc(row.Followers, s.Missed) {
		return Change{}, false
	}
	first := s.follower(p, row.Owner)
	if s.Wanted.Owner(p) != row.Owner || s.Followers > 0 && !slices.Contains(row.Followers, first) {
		return Change{}, false // a move will see to it
	}
	return Change{p, row.Term, row.then(keep(row.Followers, first, s.Followers), s)}, true
}

// keep returns n of the followers at most: first, if it is one of them, and then as they come.
func keep(followers []proto.NodeName, first proto.NodeName, n int) []proto.NodeName {
	var kept []proto.NodeName
	if slices.Contains(followers, first) {
		kept = append(kept, first)
	}
	for _, f := range followers {
		if f != first {
			kept = append(kept, f)
		}
	}
	return kept[:min(n, len(kept)):min(n, len(kept))]
}

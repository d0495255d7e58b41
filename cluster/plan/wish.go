package plan

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// maxJump bounds by how much one wish can raise a term: terms must not run out by a mistake.
const maxJump = 1 << 16

// Answer is what a wish leads to.
type Answer struct {
	Row     Row  // what the row becomes; with Term 0 it stays
	Ends    bool // the partition's move is over
	Freezes bool // its move gets on to Freezing
}

// Grant answers a wish of the row's owner, made in the row's term; move is that of the partition, zero
// if it has none. It is false when there is nothing to be done about the wish, now or ever: who has
// a reason repeats it.
//
// None of the answers takes the owner's copy away: only Ready makes another the owner, who is in sync.
func Grant(x *proto.Wish, row *Row, move Move, s *Scene) (Answer, bool) {
	switch x.Kind {
	case proto.WishDrop:
		return drop(x.Node, row, move, s.Missed(x.Node), s)
	case proto.WishOverdue:
		return drop(x.Node, row, move, true, s)
	case proto.WishAdd:
		return add(x.Node, row, move, s)
	case proto.WishReady:
		return ready(x.Node, row, move, s)
	case proto.WishUndo:
		if move.State == 0 || move.From == "" || move.To != x.Node {
			return Answer{}, false
		}
		return Answer{Ends: true}, true
	case proto.WishRenew:
		return renew(x.Above, row, s)
	}
	return Answer{}, false
}

// then is the row under its next term, with other followers.
func (r *Row) then(followers []proto.NodeName, s *Scene) Row {
	return Row{Owner: r.Owner, Followers: followers, Term: next(r.Term, s.Generation), Since: r.Since}
}

// Again is the row under its next term, with all that it says. It is how a move ends whose target is not in
// sync: the owner may have asked to add it, and waits for it until a newer term (rule R4).
func Again(row *Row, s *Scene) Row { return row.then(row.Followers, s) }

// Begun gives a row that begins anew a follower where there is one: its log is empty, and so is a whole
// copy of it.
func Begun(p proto.Partition, row Row, s *Scene) Row {
	for _, f := range []proto.NodeName{s.follower(p, row.Owner), s.Wanted.Owner(p)} {
		if len(row.Followers) < s.Followers && f != "" && f != row.Owner && s.Fit(f) && !s.apart(row.Owner, f) {
			row.Followers = append(row.Followers, f)
		}
	}
	return row
}

func drop(node proto.NodeName, row *Row, move Move, lost bool, s *Scene) (Answer, bool) {
	if !lost || !slices.Contains(row.Followers, node) {
		return Answer{}, false
	}
	others := slices.DeleteFunc(slices.Clone(row.Followers), func(f proto.NodeName) bool { return f == node })
	return Answer{Row: row.then(others, s), Ends: move.State != 0 && move.To == node}, true
}

// add: who learned is a follower, and the others that are too many are none any more. The target of a
// hand-off is one more than wanted, since the owner is about to go.
func add(node proto.NodeName, row *Row, move Move, s *Scene) (Answer, bool) {
	if move.State == 0 || move.To != node || node == row.Owner || slices.Contains(row.Followers, node) {
		return Answer{}, false
	}
	if s.Missed(node) {
		return Answer{Row: Again(row, s), Ends: true}, true // the owner must stop waiting for it
	}
	if move.From != "" {
		others := keep(row.Followers, s.follower(move.Partition, node), s.Followers)
		return Answer{Row: row.then(append([]proto.NodeName{node}, others...), s), Freezes: true}, true
	}
	others := keep(row.Followers, s.follower(move.Partition, row.Owner), max(0, s.Followers-1))
	return Answer{Row: row.then(append([]proto.NodeName{node}, others...), s), Ends: true}, true
}

// ready: the target is the owner. Of those in sync it keeps the wanted follower, else the old owner.
func ready(node proto.NodeName, row *Row, move Move, s *Scene) (Answer, bool) {
	if move.State != Freezing || move.To != node || move.From != row.Owner || !slices.Contains(row.Followers, node) {
		return Answer{}, false
	}
	if !s.Fit(node) {
		return Answer{Ends: true}, true
	}
	lost := func(f proto.NodeName) bool { return f == node || s.Missed(f) } // the old owner's copy is worth more than one that may be gone
	others := append([]proto.NodeName{row.Owner}, slices.DeleteFunc(slices.Clone(row.Followers), lost)...)
	r := row.then(keep(others, s.follower(move.Partition, node), s.Followers), s)
	r.Owner = node
	return Answer{Row: r, Ends: true}, true
}

// renew says the row again above a term that a follower promised, to a coordinator that died, or that
// heard of the owner after all. A term of a later generation is not ours to give.
func renew(above proto.Term, row *Row, s *Scene) (Answer, bool) {
	if above.Generation() > s.Generation || above > row.Term && uint32(above)-uint32(row.Term) > maxJump && above.Generation() == row.Term.Generation() {
		return Answer{}, false
	}
	r := *row
	r.Term = next(max(row.Term, above), s.Generation)
	return Answer{Row: r}, true
}

// Heirs returns the row's followers in the order in which they are asked to promise a term when the owner
// is lost: first who is wanted as the owner, so that no second move follows. With s.Fit false for one
// it is left out.
func Heirs(p proto.Partition, row *Row, s *Scene) []proto.NodeName {
	heirs := keep(row.Followers, s.Wanted.Owner(p), len(row.Followers))
	return slices.DeleteFunc(heirs, func(f proto.NodeName) bool { return !s.Fit(f) })
}

// Ask returns the term that an heir is asked to promise: above the row's, and above all that it is
// known to know.
func Ask(row *Row, above proto.Term, s *Scene) proto.Term {
	return next(max(row.Term, above), s.Generation)
}

// Succeed is the row of an heir that has promised the term. The other followers stay if they live.
// Since is kept: the heir has all that was committed.
func Succeed(row *Row, heir proto.NodeName, term proto.Term, s *Scene) Row {
	var others []proto.NodeName
	for _, f := range row.Followers {
		if f != heir && s.Verdict(f) == Lives {
			others = append(others, f)
		}
	}
	return Row{Owner: heir, Followers: others, Term: term, Since: row.Since}
}

// Package plan holds the coordinator's decisions: where copies of partitions should be (Place), which
// partitions begin anew now (Decide), who takes over from a lost owner (Heirs, Succeed), what an owner's
// wish leads to (Grant), what is moved (Upkeep, Survey), who keeps the register (Voters), what is left
// after the register was lost (Recover), and what all that would come to with other shards (WhatIf).
//
// It is pure: no goroutine, lock, clock or socket, and the same arguments give the same answer on
// every node. It does not know how a Table travels, who the coordinator is, or how a node is found
// to be dead; package cluster does, and gives its Verdict.
//
// Read place.go with circle.go, verdict.go, then this file and rows.go, then move.go with apart.go and survey.go, wish.go,
// voters.go, recover.go and whatif.go.
package plan

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// Row is what a Table says about one partition. The zero Row has no owner and has never had one.
//
// Invariant, where one coordinator acts at a time: for a partition and a term there is one Row.
type Row struct {
	Owner     proto.NodeName   // the shard that decides; "" means none
	Followers []proto.NodeName // in-sync copies, in the order of the Table; never changed in place
	Term      proto.Term       // counts the changes of this Row; 0 only before the first owner

	// Since is the Term in which the partition's log began: a reset, and nothing else, changes it.
	// Whom the Row names, and who has held a whole copy in a term not below Since, still has it.
	Since proto.Term
}

// Equal reports whether two Rows say the same.
func (r Row) Equal(o Row) bool {
	return r.Owner == o.Owner && r.Term == o.Term && r.Since == o.Since && slices.Equal(r.Followers, o.Followers)
}

// Change replaces one Row of the Table.
type Change struct {
	Partition proto.Partition
	Replaces  proto.Term // the term that the Table must have; with another the Change is refused
	Row       Row        // Term is above Replaces
}

// Decide returns the changes that the Table needs now, in the order of partitions: a partition
// without an owner, or whose owner and all of whose followers are proved dead, goes to where wanted
// puts it, under the next term of the generation. Nobody is left to ask for what the owner knew, so
// the new one mints new epochs (Since is the new term), and that takes proof (rule R9): a silent
// owner keeps everything. While wanted names nobody, or one that does not live, nothing changes.
//
// A partition with a follower that is not proved dead is left alone: in a fail-over the follower promises
// the next term first (Heirs, Succeed). A partition whose owner lives stays, wherever the ring would
// have it: planned moves are hand-offs (Survey.Begin).
func Decide(generation uint32, rows Rows, verdict func(proto.NodeName) Verdict, wanted func(proto.Partition) proto.NodeName) []Change {
	var changes []Change
	for p, row := range rows.All() {
		if !lost(row, verdict) {
			continue
		}
		owner := wanted(p)
		if owner == "" || verdict(owner) != Lives {
			continue
		}
		changes = append(changes, Change{Partition: p, Replaces: row.Term, Row: reset(owner, row.Term, generation)})
	}
	return changes
}

// lost reports whether every copy that the Table knows is proved dead.
func lost(row *Row, verdict func(proto.NodeName) Verdict) bool {
	if row.Owner != "" && verdict(row.Owner) != Proved {
		return false
	}
	return !slices.ContainsFunc(row.Followers, func(f proto.NodeName) bool { return verdict(f) != Proved })
}

// reset is the Row of an owner that begins anew after the term.
func reset(owner proto.NodeName, after proto.Term, generation uint32) Row {
	term := next(after, generation)
	return Row{Owner: owner, Term: term, Since: term}
}

// next returns the term that follows t while the register is in the generation. The maximum only
// matters for a generation that is behind t's: a term never goes back, whoever asks.
func next(t proto.Term, generation uint32) proto.Term { return max(t+1, t.In(generation)) }

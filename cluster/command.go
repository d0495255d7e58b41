package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Command is one entry of the register's log. It is small: many changes travel in one.
type Command struct {
	// Term is the raft term in which the coordinator decided. The entry is refused when it was
	// appended in another one: what it was decided on may be history (rule R10).
	Term uint64

	// Found, if not nil, is the first Table of a founding; all else is empty then.
	Found *Table

	Changes   []plan.Change
	Addresses []Address         // of nodes that rows name
	Forget    []proto.NodeName  // an operator's word that these runs are dead
	Moves     []plan.Move       // hand-offs that begin, or get on
	Ended     []proto.Partition // whose hand-off is over, one way or the other
	Settings  *plan.Settings    // nil: they stay
}

// Address is where a run of a node accepts links: whoever answers there proves the fate of that run.
type Address struct {
	Name proto.NodeName
	Link string // host:port
}

// Empty reports whether the Command would change nothing. Addresses alone are no reason for an entry:
// they travel with the change that names their node.
func (c *Command) Empty() bool {
	return c.Found == nil && len(c.Changes) == 0 && len(c.Forget) == 0 && len(c.Moves) == 0 && len(c.Ended) == 0 && c.Settings == nil
}

// Execute returns the Table that a committed Command leads to; raftTerm is the term in which it was
// appended. It is the same on every voter. It fails with ErrRefused, and nothing is changed, when the
// Command was decided in another term, founds what is founded, changes what is not, or does not
// replace the terms that the rows have, or moves what cannot be. t may be nil.
func (t *Table) Execute(c *Command, raftTerm uint64) (*Table, error) {
	switch {
	case c.Term != raftTerm:
		return nil, fmt.Errorf("%w: decided in raft term %d, appended in %d", ErrRefused, c.Term, raftTerm)
	case c.Found != nil && t != nil:
		return nil, fmt.Errorf("%w: there is a table already", ErrRefused)
	case c.Found != nil:
		return c.Found, nil
	case t == nil:
		return nil, fmt.Errorf("%w: there is no table yet", ErrRefused)
	}
	rows, err := t.rows.Apply(c.Changes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	next := t.Head
	next.Version++
	if next.Moves = moves(t.Moves, c.Moves, c.Ended); !fit(next.Moves, rows.Len()) {
		return nil, fmt.Errorf("%w: moves of no partition, or in no state: %v", ErrRefused, c.Moves)
	}
	if c.Settings != nil {
		next.Settings = *c.Settings
	}
	after := t.with(next, rows, c.Changes)
	after.Addresses = addresses(after.named, t.Addresses, c.Addresses)
	after.Forgotten = forgotten(after.named, t.Forgotten, c.Forget)
	return after, nil
}

// WithVoters returns the Table after the register's configuration changed. It is the same on every
// voter.
func (t *Table) WithVoters(voters []proto.NodeName) *Table {
	next := t.Head
	next.Version++
	next.Voters = slices.Sorted(slices.Values(voters))
	return &Table{Head: next, rows: t.rows, named: t.named, print: t.print}
}

// addresses keeps those of named nodes; of two for a node the newer counts.
func addresses(named census, old, fresh []Address) []Address {
	at := make(map[proto.NodeName]string)
	for _, list := range [][]Address{old, fresh} {
		for _, a := range list {
			if named.names(a.Name) {
				at[a.Name] = a.Link
			}
		}
	}
	kept := make([]Address, 0, len(at))
	for name, link := range at {
		kept = append(kept, Address{name, link})
	}
	slices.SortFunc(kept, func(a, b Address) int { return cmp.Compare(a.Name, b.Name) })
	return kept
}

// forgotten keeps those who are still named: once their partitions have other owners there is nothing
// left to forget.
func forgotten(named census, old, fresh []proto.NodeName) (kept []proto.NodeName) {
	for _, name := range slices.Concat(old, fresh) {
		if named.names(name) {
			kept = append(kept, name)
		}
	}
	slices.Sort(kept)
	return slices.Compact(kept)
}

// moves replaces those of the same partition.
func moves(old, fresh []plan.Move, ended []proto.Partition) (kept []plan.Move) {
	gone := make(map[proto.Partition]bool, len(fresh)+len(ended))
	for _, p := range ended {
		gone[p] = true
	}
	for _, m := range fresh {
		gone[m.Partition] = true
	}
	kept = append(slices.DeleteFunc(slices.Clone(old), func(m plan.Move) bool { return gone[m.Partition] }), fresh...)
	slices.SortFunc(kept, func(a, b plan.Move) int { return cmp.Compare(a.Partition, b.Partition) })
	return kept
}

package plan

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// Merge makes one Table of two that grew apart while two coordinators acted, in a split or while
// one did not yet know of the other. Per partition the higher term wins. Where equal terms differ,
// two shards may have acted under that term, so neither Row can stand: the partition gets a new
// term, and the owner that wanted says; when it says none ("") the lower name of the two keeps it.
//
// Merge does not depend on the order of a and b. Both have the same length.
func Merge(a, b []Row, wanted func(proto.Partition) proto.NodeName) []Row {
	merged := slices.Clone(a)
	for i := range merged {
		p := proto.Partition(i)
		switch {
		case b[i].Term > a[i].Term:
			merged[i] = b[i]
		case b[i].Term == a[i].Term && !b[i].Equal(a[i]):
			merged[i] = resolve(a[i], b[i], wanted(p))
		}
	}
	return merged
}

// Newer returns own with every Row of other that has a higher term, and whether there was one. It
// is what a node that is not the coordinator does: it never goes back to a lower term, and leaves
// equal terms that differ for the coordinator to resolve. Both have the same length.
func Newer(own, other []Row) (rows []Row, changed bool) {
	rows = own
	for i := range other {
		if other[i].Term <= own[i].Term {
			continue
		}
		if !changed {
			rows, changed = slices.Clone(own), true
		}
		rows[i] = other[i]
	}
	return rows, changed
}

func resolve(a, b Row, wanted proto.NodeName) Row {
	if wanted == "" {
		wanted = min(a.Owner, b.Owner)
	}
	return Row{Owner: wanted, Term: a.Term + 1}
}

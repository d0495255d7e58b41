// Package plan holds the coordinator's decisions: where partitions should live (Place), which of
// them need a new owner now (Decide), and what two Tables that grew apart become (Merge).
//
// It is pure: no goroutine, lock, clock or socket, and the same arguments give the same answer on
// every node. It does not know how a Table travels or who the coordinator is; package cluster does.
//
// Read place.go, then this file, then merge.go.
package plan

import (
	"fmt"
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
}

// Equal reports whether two Rows say the same.
func (r Row) Equal(o Row) bool {
	return r.Owner == o.Owner && r.Term == o.Term && slices.Equal(r.Followers, o.Followers)
}

// Change replaces one Row of the Table.
type Change struct {
	Partition proto.Partition
	Replaces  proto.Term // the term that the Table must have; with another the Change is refused
	Row       Row        // Term is above Replaces
}

// Decide returns the changes that the Table needs now, in the order of partitions: a partition
// without a living owner goes to where wanted puts it, under the next term. A partition whose owner
// lives stays, wherever the ring would have it: planned moves are hand-offs, not decisions of this
// kind. While wanted has no answer ("", no shard is there), nothing changes.
//
// The new owner of a partition mints new epochs for its rooms, because nobody is asked for what the
// old owner knew.
func Decide(rows []Row, alive func(proto.NodeName) bool, wanted func(proto.Partition) proto.NodeName) []Change {
	var changes []Change
	for i, row := range rows {
		if row.Owner != "" && alive(row.Owner) {
			continue
		}
		p := proto.Partition(i)
		owner := wanted(p)
		if owner == "" || !alive(owner) {
			continue
		}
		changes = append(changes, Change{
			Partition: p,
			Replaces:  row.Term,
			Row:       Row{Owner: owner, Term: row.Term + 1},
		})
	}
	return changes
}

// Apply returns rows with the changes made; rows stays as it was. It fails, and changes nothing,
// when a Change names a partition that does not exist, replaces another term than the Row has, or
// does not raise the term.
func Apply(rows []Row, changes []Change) ([]Row, error) {
	next := slices.Clone(rows)
	for _, c := range changes {
		if int(c.Partition) >= len(next) {
			return nil, fmt.Errorf("change partition %d: there are only %d", c.Partition, len(next))
		}
		row := &next[c.Partition]
		if row.Term != c.Replaces {
			return nil, fmt.Errorf("change partition %d: replaces term %d, but it has term %d", c.Partition, c.Replaces, row.Term)
		}
		if c.Row.Term <= c.Replaces {
			return nil, fmt.Errorf("change partition %d: term %d does not follow term %d", c.Partition, c.Row.Term, c.Replaces)
		}
		*row = c.Row
	}
	return next, nil
}

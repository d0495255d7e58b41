package plan

import (
	"iter"
	"maps"
	"slices"

	"github.com/roomring/roomring/proto"
)

// Survey is what is out of place in Rows: partitions whose owner is lost, moves that could begin, followers
// that are too many. It remembers what it found in each chunk, and looks again only where rows have changed:
// a coordinator asks after every Table, and most of them differ in a few rows.
//
// The zero Survey has seen nothing. Its methods but Look answer for what was looked at last.
type Survey struct {
	rows  Rows
	scene Scene
	nodes map[proto.NodeName]standing // as they were in the Scene
	found []finding                   // by chunk
}

// standing is what a Scene says of a node.
type standing struct {
	verdict     Verdict
	missed, fit bool
}

// finding is what is out of place in a chunk.
type finding struct {
	orphans []proto.Partition
	moves   [urgencies][]Move
	trims   []Change
}

// Look takes Rows and a Scene. names are all nodes that the rows name, and perhaps others.
func (v *Survey) Look(rows Rows, names iter.Seq[proto.NodeName], s *Scene) {
	if v.stirred(names, s) || rows.count != v.rows.count {
		v.rows, v.found = Rows{chunks: make([]*chunk, len(rows.chunks))}, make([]finding, len(rows.chunks))
	}
	for i, c := range rows.chunks {
		if c != v.rows.chunks[i] {
			v.found[i] = look(c, proto.Partition(i*chunkSize), s)
		}
	}
	v.rows = rows
}

// stirred reports whether the Scene is another one than at the last Look, and remembers it.
func (v *Survey) stirred(names iter.Seq[proto.NodeName], s *Scene) bool {
	nodes := make(map[proto.NodeName]standing)
	see := func(name proto.NodeName) { nodes[name] = standing{s.Verdict(name), s.Missed(name), s.Fit(name)} }
	names(func(name proto.NodeName) bool { see(name); return true })
	if s.Wanted != nil {
		for _, name := range s.Wanted.Runs {
			see(name)
		}
	}
	same := s.Generation == v.scene.Generation && s.Followers == v.scene.Followers && s.Wanted.same(v.scene.Wanted) && slices.Equal(s.Apart, v.scene.Apart) && maps.Equal(nodes, v.nodes)
	v.scene, v.nodes = *s, nodes
	return !same
}

func look(c *chunk, first proto.Partition, s *Scene) (f finding) {
	for i := range c.rows {
		p, row := first+proto.Partition(i), &c.rows[i]
		switch {
		case row.Owner == "":
		case s.Verdict(row.Owner) != Lives:
			f.orphans = append(f.orphans, p)
		case s.Wanted == nil:
		default:
			if m, urgent, ok := toward(p, row, s); ok && s.Fit(m.To) {
				f.moves[urgent] = append(f.moves[urgent], m)
			}
			if x, ok := trim(p, row, s); ok {
				f.trims = append(f.trims, x)
			}
		}
	}
	return f
}

// Orphans are the partitions whose owner does not live.
func (v *Survey) Orphans() iter.Seq[proto.Partition] {
	return func(yield func(proto.Partition) bool) {
		for i := range v.found {
			for _, p := range v.found[i].orphans {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// Begin returns the moves that should begin now, most at most, by partition: none for a partition that
// has one already, or that rests. It takes those first that bring a partition away from a draining
// node, then those that make a missing copy, then hand-offs, then followers in the wrong place. A
// target that follows already begins as Freezing.
//
// For one Wanted every partition's owner moves once at most, and to where it is wanted: a hand-off has
// no other target, and no move but a hand-off changes an owner.
func (v *Survey) Begin(moves []Move, rests func(proto.Partition) bool, most int) (begun []Move) {
	for urgent := range urgencies {
		for i := range v.found {
			for _, m := range v.found[i].moves[urgent] {
				switch {
				case len(begun) >= most:
					slices.SortFunc(begun, byPartition)
					return begun
				case !under(moves, m.Partition) && !rests(m.Partition):
					begun = append(begun, m)
				}
			}
		}
	}
	slices.SortFunc(begun, byPartition)
	return begun
}

// Trim returns the changes of rows that have more followers than wanted, and no move, most at most: when
// the wanted number is lowered, or a hand-off was given up half-way. A row is left alone as long as one of
// its followers is not heard of: it may be well, and fewer are wanted only because we do not hear it.
// To drop it is its owner's wish.
func (v *Survey) Trim(moves []Move, most int) (changes []Change) {
	for i := range v.found {
		for _, x := range v.found[i].trims {
			if len(changes) < most && !under(moves, x.Partition) {
				changes = append(changes, x)
			}
		}
	}
	return changes
}

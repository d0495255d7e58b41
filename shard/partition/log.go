package partition

import (
	"fmt"
	"math/bits"

	"github.com/roomring/roomring/internal/spare"
	"github.com/roomring/roomring/proto"
)

// log is the part of a partition's replication log (rule R1) that is still
// needed: entries as they travel, one behind the other, and where each ends. An
// empty log holds no memory: a partition where nothing happens costs nothing.
//
// Invariant: it has the entries first to last, first being at least 1; entry i
// is number i - first of those behind skip in metas, and ends there.
type log struct {
	first  proto.Index
	before proto.Term // in which the entry before first was appended

	buf   []byte
	base  uint64 // where buf begins, counted from the log's beginning
	head  uint64 // where entry first begins, counted alike
	metas []meta
	skip  int // metas of entries that were dropped
}

// meta is what there is to know of an entry beside its bytes.
type meta struct {
	end  uint64
	term proto.Term
}

// last is the index of the last entry, first - 1 when there is none.
func (g *log) last() proto.Index { return g.first + proto.Index(len(g.metas)-g.skip) - 1 }

// end is where entry i ends; i is at least first - 1.
func (g *log) end(i proto.Index) uint64 {
	if i < g.first {
		return g.head
	}
	return g.metas[g.skip+int(i-g.first)].end
}

// term is the term of entry i, which is there or the one before first.
func (g *log) term(i proto.Index) proto.Term {
	if i < g.first {
		return g.before
	}
	return g.metas[g.skip+int(i-g.first)].term
}

// bytes are the entries behind after up to upto.
func (g *log) bytes(after, upto proto.Index) []byte {
	return g.buf[g.end(after)-g.base : g.end(upto)-g.base]
}

// size is how many bytes the entries behind after take.
func (g *log) size(after proto.Index) int { return int(g.end(g.last()) - g.end(after)) }

// grow makes space for an entry of n bytes.
func (s *shelves) grow(g *log, n int) {
	if cap(g.buf)-len(g.buf) < n {
		g.buf = s.bytes.grow(g.buf, int(g.head-g.base), n)
		g.base = g.head
	}
	if len(g.metas) == cap(g.metas) {
		g.metas = s.metas.grow(g.metas, g.skip, 1)
		g.skip = 0
	}
}

// put appends an entry as it travels.
func (s *shelves) put(g *log, term proto.Term, raw []byte) {
	s.grow(g, len(raw))
	g.buf = append(g.buf, raw...)
	g.metas = append(g.metas, meta{end: g.base + uint64(len(g.buf)), term: term})
}

// encode appends an entry.
func (s *shelves) encode(g *log, term proto.Term, e *proto.Entry) {
	s.grow(g, proto.EntrySize(e))
	g.buf = proto.AppendEntry(g.buf, e)
	g.metas = append(g.metas, meta{end: g.base + uint64(len(g.buf)), term: term})
}

// cut takes away the entries from i on.
func (s *shelves) cut(g *log, i proto.Index) {
	if i < g.first || i > g.last()+1 {
		panic(fmt.Sprintf("partition: cut at %d of a log from %d to %d", i, g.first, g.last()))
	}
	g.buf = g.buf[:g.end(i-1)-g.base]
	g.metas = g.metas[:g.skip+int(i-g.first)]
	s.tidy(g)
}

// drop takes away the entries up to i.
func (s *shelves) drop(g *log, i proto.Index) {
	if i < g.first {
		return
	}
	g.head, g.before = g.end(i), g.term(i)
	g.skip += int(i - g.first + 1)
	g.first = i + 1
	s.tidy(g)
}

// tidy gives the memory of an empty log back, and does not let what is dropped
// outweigh what is there.
func (s *shelves) tidy(g *log) {
	live := len(g.metas) - g.skip
	switch {
	case live == 0:
		s.bytes.give(g.buf)
		s.metas.give(g.metas)
		g.buf, g.metas, g.skip, g.base = nil, nil, 0, g.head
	case g.skip > 2*live+64:
		g.metas = g.metas[:copy(g.metas, g.metas[g.skip:])]
		g.skip = 0
	}
}

// reset empties a log: it goes on with entry first.
func (s *shelves) reset(g *log, first proto.Index) {
	s.bytes.give(g.buf)
	s.metas.give(g.metas)
	*g = log{first: first}
}

// shelves are where the logs of a lane take their memory from.
type shelves struct {
	bytes shelf[byte]
	metas shelf[meta]
}

// newShelves makes shelves that hold some 30 MiB at most. The smallest slices are
// for a few entries: under load every partition has a log, and thousands of them
// should fit into the cache of a processor. There are enough for all of a lane.
func newShelves() shelves {
	return shelves{bytes: shelf[byte]{least: 512, most: 2 << 20}, metas: shelf[meta]{least: 8, most: 1 << 15}}
}

// shelf has slices that nobody uses, by their size: powers of two times least.
type shelf[T any] struct {
	least int // the smallest, in elements
	most  int // so many elements of one size are kept, and one slice at least if it is not bigger
	free  [20]spare.List[[]T]
}

// take returns an empty slice for n elements or more.
func (s *shelf[T]) take(n int) []T {
	k := s.class(n)
	if k >= len(s.free) {
		return make([]T, 0, n)
	}
	if b, ok := s.free[k].Take(); ok {
		return b
	}
	return make([]T, 0, s.least<<k)
}

// grow makes space for n elements behind those of b, of which the first skip are
// not needed any more: by moving the others down, if that is enough and they are
// no more than those, else with a longer slice.
func (s *shelf[T]) grow(b []T, skip, n int) []T {
	live := b[skip:]
	if len(live) <= skip && len(live)+n <= cap(b) {
		return b[:copy(b, live)]
	}
	longer := append(s.take(max(2*len(live), len(live)+n)), live...)
	s.give(b)
	return longer
}

// give takes a slice back that take made.
func (s *shelf[T]) give(b []T) {
	k := s.class(cap(b))
	if cap(b) == 0 || k >= len(s.free) || (s.free[k].Len()+1)*cap(b) > s.most {
		return
	}
	s.free[k].Put(b[:0])
}

// tidy lets go of slices that nobody needed for a while.
func (s *shelf[T]) tidy() {
	for k := range s.free {
		s.free[k].Tidy(nil)
	}
}

// class is the smallest for n elements.
func (s *shelf[T]) class(n int) int {
	return bits.Len(uint(max(n-1, 0)) / uint(s.least))
}

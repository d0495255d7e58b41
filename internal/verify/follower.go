package verify

import "slices"

// follower is a member of a room, as the judge knows it: how far it is, and what it went past.
type follower struct {
	open    bool // it has a socket
	opening bool // and has not heard its first line on it
	resumed bool // which continues from pos
	left    bool // it has none and will not come back

	ledger int    // number of the epoch in which it is, -1 before the first line
	pos    uint64 // the last offset that it heard, or was told of
	high   uint64 // up to here it was before it was told to go back within the epoch

	joined int64 // when its first line of all came
	told   int64 // when it was last told of a gap or reset, -1 if never

	holes     []hole   // at most maxHoles
	excused   []hole   // those that it was told of; at most maxHoles, the latest
	beyond    uint64   // offsets in holes beyond those
	wrong     []uint64 // offsets in this ledger at which it heard nothing good; at most maxWrong, the latest
	disagrees bool

	streams []int32 // of its sockets, in the judge's list
}

// hole is a stretch of offsets that a member went past.
type hole struct {
	ledger   int
	from, to uint64
	noticed  int64
}

const (
	maxHoles = 4096
	maxWrong = 64
)

// step is what an offset means to a member.
type step uint8

const (
	next  step = iota
	late       // it had gone past it
	again      // it had it
)

// advance takes the member to an offset.
func (f *follower) advance(offset uint64, now int64) step {
	if offset <= f.high { // it was told to go back, and hears what it was told it would not
		f.excused, _ = without(f.excused, f.ledger, offset)
	}
	switch {
	case offset > f.pos:
		if offset > f.pos+1 {
			f.skip(hole{f.ledger, f.pos + 1, offset - 1, now})
		}
		f.pos = offset
		return next
	case f.fill(offset):
		return late
	case f.correct(offset):
		return next
	}
	return again
}

// skip notes a hole, as far as there is room.
func (f *follower) skip(h hole) {
	if len(f.holes) == maxHoles {
		if h.to != endless {
			f.beyond += h.to - h.from + 1
		}
		return
	}
	f.holes = append(f.holes, h)
}

// fill takes an offset out of the holes; false when it is in none.
func (f *follower) fill(offset uint64) (was bool) {
	f.holes, was = without(f.holes, f.ledger, offset)
	return was
}

// without takes an offset of a ledger out of a list of holes; false when it is in none.
func without(list []hole, ledger int, offset uint64) ([]hole, bool) {
	for i := len(list) - 1; i >= 0; i-- {
		h := &list[i]
		if h.ledger != ledger || offset < h.from || offset > h.to {
			continue
		}
		switch {
		case h.from == h.to:
			list = slices.Delete(list, i, i+1)
		case offset == h.from:
			h.from++
		case offset == h.to:
			h.to--
		default:
			upper := hole{h.ledger, offset + 1, h.to, h.noticed}
			h.to = offset - 1
			list = slices.Insert(list, i+1, upper)
		}
		return list, true
	}
	return list, false
}

// mistake notes that what it heard at an offset was nothing good.
func (f *follower) mistake(offset uint64) {
	if len(f.wrong) == maxWrong {
		f.wrong = append(f.wrong[:0], f.wrong[1:]...)
	}
	f.wrong = append(f.wrong, offset)
}

// correct takes a mistake back; false when there was none.
func (f *follower) correct(offset uint64) bool {
	for i, o := range f.wrong {
		if o == offset {
			f.wrong = append(f.wrong[:i], f.wrong[i+1:]...)
			return true
		}
	}
	return false
}

// move takes the member elsewhere, because it was told so. What it will hear again is no hole.
func (f *follower) move(ledger int, pos uint64) {
	if ledger == f.ledger {
		keep := f.holes[:0]
		for _, h := range f.holes {
			if h.ledger == ledger && h.from > pos {
				continue
			}
			if h.ledger == ledger && h.to > pos {
				h.to = pos
			}
			keep = append(keep, h)
		}
		f.holes = keep
		f.high = max(f.high, f.pos)
	} else {
		f.high = 0
	}
	f.wrong = f.wrong[:0]
	f.ledger, f.pos = ledger, pos
}

// missing is how many offsets it went past in holes that have an end.
func (f *follower) missing() (n uint64) {
	for _, h := range f.holes {
		if h.to != endless {
			n += h.to - h.from + 1
		}
	}
	return n + f.beyond
}

// endless is the end of a hole that reaches as far as the epoch does.
const endless = ^uint64(0)

// Package spare keeps what is not in use for the next who needs it, and lets go of
// what nobody missed for a while.
//
// A list of free things without the second half keeps a process at the size of its
// last burst: ten thousand conns that publish once leave megabytes of free buffers,
// and then are idle for hours. A bound alone must be large enough for the burst, so
// it is no help.
//
// It has no clock: its owner says when a while is over.
package spare

import "time"

// While is how long a while is to be. Half of what was not needed goes with each, so
// a burst is forgotten within seconds, and a load that needs all of it twice a second
// finds all of it.
const While = 500 * time.Millisecond

// tidyMost bounds what one Tidy lets go of.
const tidyMost = 16 << 10

// List is a stack of free things. The zero value is empty. Who puts something in
// bounds how much there is.
type List[T any] struct {
	free []T
	low  int // the fewest since the last Tidy: so many were not needed
	high int // and the most
}

// Len is how many there are.
func (l *List[T]) Len() int { return len(l.free) }

// Put adds one.
func (l *List[T]) Put(v T) {
	l.free = append(l.free, v)
	l.high = max(l.high, len(l.free))
}

// Take removes the one that was put last; ok is false when there is none.
func (l *List[T]) Take() (v T, ok bool) {
	last := len(l.free) - 1
	if last < 0 {
		return v, false
	}
	v, l.free[last] = l.free[last], v
	l.free = l.free[:last]
	l.low = min(l.low, last)
	return v, true
}

// Tidy ends a while: half of those that were there all the time go. It calls gone
// for each of them, if that is not nil.
func (l *List[T]) Tidy(gone func(T)) {
	n := min((l.low+1)/2, tidyMost)
	for range n {
		v, _ := l.Take()
		if gone != nil {
			gone(v)
		}
	}
	if l.high < cap(l.free)/4 {
		l.free = append([]T(nil), l.free...) // the list itself was large, too
	}
	l.low, l.high = len(l.free), len(l.free)
}

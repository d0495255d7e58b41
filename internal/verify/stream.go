package verify

import "slices"

// stream is what one socket published in its room: numbers from 1.
type stream struct {
	sender
	closed bool
	sent   uint32 // last number

	// Invariant: ascending; what nobody saw is here. Seen ones in the middle have at < 0.
	unseen []sending
	gaps   int // seen ones among unseen

	tracks []track // what the ledgers have, one per epoch
}

// sender is a socket of a member.
type sender struct {
	member uint32
	conn   uint16 // counts them, from 0
}

// sending is a message on its way.
type sending struct {
	seq uint32
	at  int64
}

// track is which of a stream's messages stand in one epoch.
type track struct {
	ledger int
	last   uint32 // the highest so far
	seen   ranges
}

// send numbers the next message.
func (s *stream) send(at int64) (seq uint32) {
	s.sent++
	s.unseen = append(s.unseen, sending{s.sent, at})
	return s.sent
}

// saw notes that a member got seq, sent at a time. first tells that nobody had before; ok is false when
// it was never sent so.
func (s *stream) saw(seq uint32, at int64) (first, ok bool) {
	if seq == 0 || seq > s.sent {
		return false, false
	}
	i, found := slices.BinarySearchFunc(s.unseen, seq, func(e sending, seq uint32) int {
		return int(int64(e.seq) - int64(seq))
	})
	if !found || s.unseen[i].at < 0 {
		return false, true
	}
	if s.unseen[i].at != at {
		return false, false
	}
	s.unseen[i].at = -1
	s.gaps++
	s.shrink()
	return true, true
}

// shrink drops what was seen: at the front at once, in the middle when that is most of it.
func (s *stream) shrink() {
	n := 0
	for n < len(s.unseen) && s.unseen[n].at < 0 {
		n++
	}
	s.gaps -= n
	s.unseen = s.unseen[n:]
	if s.gaps > 64 && s.gaps > len(s.unseen)/2 {
		s.unseen = slices.DeleteFunc(s.unseen, func(e sending) bool { return e.at < 0 })
		s.gaps = 0
	}
}

// waiting is how many messages nobody saw.
func (s *stream) waiting() int { return len(s.unseen) - s.gaps }

// in returns the track of a ledger.
func (s *stream) in(ledger int) *track {
	for i := len(s.tracks) - 1; i >= 0; i-- {
		if s.tracks[i].ledger == ledger {
			return &s.tracks[i]
		}
	}
	s.tracks = append(s.tracks, track{ledger: ledger})
	return &s.tracks[len(s.tracks)-1]
}

// ranges is a set of numbers that mostly follow one another.
//
// Invariant: ascending, with a hole between two neighbours.
type ranges [][2]uint32

// maxRanges bounds a set that is full of holes: beyond it, it forgets the lowest numbers.
const maxRanges = 4096

func (r ranges) has(n uint32) bool {
	i := r.find(n)
	return i < len(r) && r[i][0] <= n
}

// find returns the first range that ends at n or above.
func (r ranges) find(n uint32) int {
	if k := len(r); k == 0 || r[k-1][1] < n {
		return k
	}
	i, _ := slices.BinarySearchFunc(r, n, func(e [2]uint32, n uint32) int { return int(int64(e[1]) - int64(n)) })
	return i
}

// add returns the set with n, which it did not have.
func (r ranges) add(n uint32) ranges {
	i := r.find(n)
	below, above := i > 0 && r[i-1][1]+1 == n, i < len(r) && n+1 == r[i][0]
	switch {
	case below && above:
		r[i-1][1] = r[i][1]
		return slices.Delete(r, i, i+1)
	case below:
		r[i-1][1] = n
	case above:
		r[i][0] = n
	default:
		if len(r) == maxRanges {
			r, i = slices.Delete(r, 0, 1), max(i-1, 0)
		}
		r = slices.Insert(r, i, [2]uint32{n, n})
	}
	return r
}

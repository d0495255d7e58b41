package verify

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// ledger is what stands at each offset of a room in one epoch, as members told.
//
// Invariant: slots[i] is offset base + i. What is below base is forgotten, unless it is in kept.
type ledger struct {
	epoch     proto.Epoch
	announced bool   // somebody was told that the room began anew with it
	forgot    bool   // something was
	first     uint64 // the lowest that anybody heard of
	base      uint64
	slots     []slot

	// kept are forgotten slots that a member still lacks, by offset. At most maxKept.
	kept map[uint64]slot

	// others are the members who heard something else than the first one, by offset, until the slot is
	// forgotten. At most maxOthers offsets.
	others map[uint64][]int32
}

// slot is one offset.
type slot struct {
	hash   uint64 // what the first one heard there; 0 when nobody heard anything good
	sent   int64
	came   int64 // when the first one heard it
	seq    uint32
	stream int32
	first  int32  // who that is
	heard  uint16 // how many heard the same, up to its bound
	flags  flags
}

// flags keep a fault from counting again for each member.
type flags uint8

const (
	wasDoubled flags = 1 << iota
	wasReordered
	wasAltered
	wasInvented
	wasConflict
	wasTaken
)

// raise sets a flag and tells whether it was not set.
func (s *slot) raise(f flags) bool {
	is := s.flags&f == 0
	s.flags |= f
	return is
}

const (
	maxKept    = 1 << 16
	maxOthers  = 1 << 12
	maxJump    = 1 << 20 // that an offset may leap: one that is further is none
	maxPrepend = 1 << 12 // slots before the first that anybody heard of
)

// top is the highest offset that anybody heard, or base - 1.
func (l *ledger) top() uint64 { return l.base + uint64(len(l.slots)) - 1 }

// at returns the slot of an offset, nil when it is forgotten. The pointer is valid until the next call.
func (l *ledger) at(offset uint64) *slot {
	switch {
	case offset > l.top():
		l.slots = append(l.slots, make([]slot, offset-l.top())...)
	case offset < l.base && !l.forgot && l.base-offset <= maxPrepend:
		l.slots = slices.Insert(l.slots, 0, make([]slot, l.base-offset)...)
		l.base, l.first = offset, offset
	case offset < l.base:
		return nil
	}
	return &l.slots[offset-l.base]
}

// look returns what is known of an offset; known is false when it was forgotten.
func (l *ledger) look(offset uint64) (s slot, known bool) {
	if offset >= l.base {
		if offset > l.top() {
			return s, true
		}
		return l.slots[offset-l.base], true
	}
	s, known = l.kept[offset]
	return s, known
}

// forget drops the lowest n slots.
func (l *ledger) forget(n int) {
	l.slots = l.slots[n:]
	l.base += uint64(n)
	l.forgot = l.forgot || n > 0
}

// keep remembers a slot that is about to be forgotten.
func (l *ledger) keep(offset uint64, s slot) {
	if len(l.kept) >= maxKept {
		return
	}
	if l.kept == nil {
		l.kept = map[uint64]slot{}
	}
	l.kept[offset] = s
}

// other notes that a member heard something else at an offset than the first one.
func (l *ledger) other(offset uint64, member int) {
	if l.others == nil {
		l.others = map[uint64][]int32{}
	}
	if list, ok := l.others[offset]; ok || len(l.others) < maxOthers {
		l.others[offset] = append(list, int32(member))
	}
}

package loadgen

import (
	"slices"
	"sync/atomic"
	"time"
)

// Pauses tells how long each room's messages took at most, from when they were sent, or due, to their
// delivery. While nodes come and go that is how long the room stood still. It may be read at any time
// while a run writes it.
type Pauses struct {
	rooms []way
}

// way is what a room's deliveries took.
type way struct {
	longest atomic.Int64 // nanoseconds, of those that came since the last Lap
	newest  atomic.Int64 // when the last message was sent of those that came, in nanoseconds of wall time
}

// NewPauses is for a run with so many rooms.
func NewPauses(rooms int) *Pauses { return &Pauses{rooms: make([]way, rooms)} }

// Lap returns the longest way in each room since the last Lap, ascending, and begins anew. A message
// counts when it comes: wait with HeardSince for what is still under way. A room without a delivery is
// left out.
func (p *Pauses) Lap() []time.Duration {
	list := make([]time.Duration, 0, len(p.rooms))
	for i := range p.rooms {
		if d := p.rooms[i].longest.Swap(0); d > 0 {
			list = append(list, time.Duration(d))
		}
	}
	slices.Sort(list)
	return list
}

// HeardSince counts the rooms in which a message arrived that was sent, or due, after a time.
func (p *Pauses) HeardSince(when time.Time) (n int) {
	for i := range p.rooms {
		if p.rooms[i].newest.Load() > when.UnixNano() {
			n++
		}
	}
	return n
}

func (w *way) add(sent, took int64) {
	raise(&w.longest, max(took, 1))
	raise(&w.newest, sent)
}

// raise makes v at least n.
func raise(v *atomic.Int64, n int64) {
	for {
		is := v.Load()
		if n <= is || v.CompareAndSwap(is, n) {
			return
		}
	}
}

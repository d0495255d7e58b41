package partition

import (
	"time"

	"github.com/roomring/roomring/proto"
)

// How many messages per second a room has is counted while somebody watches, and
// only then: a room with news is put on a list, once, with the offset it had; what
// it has when it is looked at again says the rest. So a message costs a branch, and
// while somebody watches, one more for all but the first of a room.

const (
	// watchAge is how long a question keeps the counting going.
	watchAge = 10 * time.Second
	// paceAge is over how long messages are counted at least.
	paceAge = time.Second
	// tickPaces bounds how much of the list one Tick gives up: each is a room that
	// has to be fetched from memory.
	tickPaces = 1024
)

// pace is a room that has, or had, messages lately.
type pace struct {
	room *roomState // has paced set
	from proto.Offset
	at   time.Duration // lane time at which the room was at from
	rate float64       // messages per second before that; 0 is not known yet
}

// Watch has messages counted for the next 10 seconds. A walk in the order of
// SortMessages is worth it after wait: 0 unless nobody watched.
func (l *Lane) Watch(now time.Time) (wait time.Duration) {
	l.advance(now)
	if !l.watching {
		l.watching, l.sampled, l.sampledAt = true, false, l.now
	}
	l.watchedUntil = l.now + watchAge
	if l.sampled {
		return 0
	}
	return max(l.sampledAt+paceAge-l.now, 0)
}

// pace begins to count a room's messages, with the one it got now. There are never
// more of them than rooms that may be owned.
func (l *Lane) pace(rm *roomState) {
	if len(l.paces) < l.maxRooms {
		rm.paced = true
		l.paces = append(l.paces, pace{room: rm, from: rm.log.Head() - 1, at: l.sampledAt})
	}
}

// takeSample reports whether it is time to look at all that is counted. What is
// put on the list from now on is counted from now on.
func (l *Lane) takeSample() bool {
	if !l.watching || l.now-l.sampledAt < paceAge {
		return false
	}
	l.sampled, l.sampledAt = true, l.now
	return true
}

// sample looks at a room on the list, if that is due: what had no message goes off
// it, and so does what is not here any more. It reports whether the room stays. Only
// the last of the list takes its place, so who goes downwards misses none.
func (l *Lane) sample(i int, due bool) bool {
	x := &l.paces[i]
	rm := x.room
	gone := rm.gone || !rm.part.owned
	if due && !gone && l.now > x.at {
		head := rm.log.Head()
		x.rate = float64(head-x.from) / (l.now - x.at).Seconds()
		x.from, x.at = head, l.now
		gone = x.rate == 0
	}
	if !gone {
		return true
	}
	rm.paced = false
	last := len(l.paces) - 1
	l.paces[i] = l.paces[last]
	l.paces[last] = pace{}
	l.paces = l.paces[:last]
	return false
}

// endWatch stops the counting when nobody asks any more, and gives up the list, a
// bounded number per Tick.
func (l *Lane) endWatch() {
	if l.watching && l.now >= l.watchedUntil {
		l.watching = false
	}
	if l.watching || l.paces == nil {
		return
	}
	keep := max(len(l.paces)-tickPaces, 0)
	for i := range l.paces[keep:] {
		l.paces[keep+i].room.paced = false
	}
	clear(l.paces[keep:])
	if l.paces = l.paces[:keep]; keep == 0 {
		l.paces = nil
	}
}

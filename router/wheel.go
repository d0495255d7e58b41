package router

import "time"

const (
	wheelTick  = 250 * time.Millisecond
	wheelSlots = 512 // 128 s: above every time that is waited for
	wheelLate  = 8   // ticks at once that show that our own loop was held up
)

// wheel holds when each conn is to be looked at next: one timer for all of
// them. Times are rounded up to a quarter of a second.
//
// Invariant: a conn whose due is not zero is in the slot of that tick. It may
// be in others too, from times that were given up; they are passed over.
type wheel struct {
	began time.Time
	now   uint32 // ticks since began; handled up to here
	slots [wheelSlots][]*conn
}

func (w *wheel) start(now time.Time) { w.began = now.Add(-wheelTick) }

// set has c looked at in d from the last tick, and at no other time.
func (w *wheel) set(c *conn, d time.Duration) {
	ticks := uint32((d + wheelTick - 1) / wheelTick)
	due := w.now + min(max(ticks, 1), wheelSlots-1)
	if c.due == due {
		return
	}
	c.due = due
	slot := &w.slots[due%wheelSlots]
	*slot = append(*slot, c)
}

// advance calls f for each conn whose time has come.
func (w *wheel) advance(now time.Time, f func(*conn)) {
	until := uint32(now.Sub(w.began) / wheelTick)
	if held := until - w.now; held > wheelLate {
		// What clients said meanwhile may not be read yet: that time counts as
		// nobody's silence.
		w.began = w.began.Add(time.Duration(held-1) * wheelTick)
		until = w.now + 1
	}
	for w.now < until {
		w.now++
		slot := &w.slots[w.now%wheelSlots]
		list := *slot
		*slot = nil
		for i, c := range list {
			list[i] = nil
			if c.due == w.now {
				c.due = 0
				f(c)
			}
		}
		if len(*slot) == 0 && cap(list) <= 1024 {
			*slot = list[:0] // small ones are used again
		}
	}
}

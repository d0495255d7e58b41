package partition

import (
	"time"

	"github.com/roomring/roomring/internal/spare"
	"github.com/roomring/roomring/proto"
)

const buckets = 512

// wheel has the rooms with which time will have something to do: messages that
// age, or a room to forget. An idle room with a router attached is in no bucket
// and costs nothing.
//
// Invariant: a room due at time n * step or before is in bucket n % buckets or
// in an earlier one, not yet passed.
type wheel struct {
	step    time.Duration
	passed  int64 // the number of the last bucket that is done
	buckets [buckets]*roomState
}

// newWheel makes a wheel that reaches twice as far as age.
func newWheel(age time.Duration) wheel {
	return wheel{step: max(age/(buckets/2), 10*time.Millisecond)}
}

// add puts a room that is in no bucket into that of its due time.
func (w *wheel) add(rm *roomState, due time.Duration) {
	n := int64((due + w.step - 1) / w.step)
	n = min(max(n, w.passed+1), w.passed+buckets-1)
	i := int16(n % buckets)
	rm.bucket = i + 1
	rm.later = w.buckets[i]
	if rm.later != nil {
		rm.later.earlier = rm
	}
	w.buckets[i] = rm
}

func (w *wheel) remove(rm *roomState) {
	if rm.bucket == 0 {
		return
	}
	if rm.earlier != nil {
		rm.earlier.later = rm.later
	} else {
		w.buckets[rm.bucket-1] = rm.later
	}
	if rm.later != nil {
		rm.later.earlier = rm.earlier
	}
	rm.earlier, rm.later, rm.bucket = nil, nil, 0
}

// next takes a room that is due at now out of the wheel; nil when there is none.
func (w *wheel) next(now time.Duration) *roomState {
	target := int64(now / w.step)
	w.passed = max(w.passed, target-buckets) // one round finds them all
	for w.passed < target {
		if rm := w.buckets[(w.passed+1)%buckets]; rm != nil {
			w.remove(rm)
			return rm
		}
		w.passed++
	}
	return nil
}

// Tick lets time pass: it trims logs, forgets rooms and routers, drops the
// cursors of links that are down, and sees who is late; a bounded number of each
// per call. Call it every 50 ms or so.
func (l *Lane) Tick(now time.Time) {
	l.advance(now)
	l.ticks++
	l.reap()
	l.forgetRouters()
	l.scanPublishers()
	l.tell()
	l.watch()
	l.teachOn()
	l.tidy()
	l.endWatch()
	for range tickRooms {
		rm := l.wheel.next(l.now)
		if rm == nil {
			return
		}
		l.age(rm)
	}
}

// tidy lets go of memory that logs needed in a burst, and not since.
func (l *Lane) tidy() {
	if l.now-l.tidied >= spare.While {
		l.tidied = l.now
		l.store.Tidy()
		l.shelves.bytes.tidy()
		l.shelves.metas.tidy()
	}
}

// age does with a room what its time demands, by entries: so all copies do it.
func (l *Lane) age(rm *roomState) {
	p := rm.part
	if p.stalled() || len(p.dying) >= maxDying {
		l.wheel.add(rm, l.now+l.wheel.step)
		return
	}
	if l.store.Due(&rm.log, l.logTime(p)) {
		l.appendAbout(rm, proto.EntryTrimmed)
		if p.applied < p.log.last() {
			return // once it is committed, the room is looked at again
		}
	}
	if l.forgettable(rm) {
		l.appendAbout(rm, proto.EntryForgotten)
		return
	}
	if rm.bucket == 0 {
		l.schedule(rm)
	}
}

func (l *Lane) appendAbout(rm *roomState, kind proto.EntryKind) {
	l.out = proto.Entry{Kind: kind, Room: append(l.name[:0], rm.name...)}
	l.append(rm.part)
}

// forgettable reports whether nothing is left of a room that anybody wants.
func (l *Lane) forgettable(rm *roomState) bool {
	return rm.cursors == nil && rm.log.Kept() == 0 && rm.head == rm.log.Head() && !rm.pending && l.now >= l.forgetAt(rm)
}

// schedule puts a room into the wheel, if time will have to do with it.
func (l *Lane) schedule(rm *roomState) {
	if rm.dying {
		return
	}
	rm.relaxed = !rm.log.Windowed()
	if at, ok := l.store.NextTrim(&rm.log); ok {
		l.wheel.add(rm, max(rm.part.lead.start+at, l.now+1))
	} else if rm.cursors == nil {
		l.wheel.add(rm, max(l.forgetAt(rm), l.now+1))
	}
}

// forgetAt is when a room may be forgotten if nothing happens: what was said
// in it has aged, and routers had the time to attach after a change of term.
func (l *Lane) forgetAt(rm *roomState) time.Duration {
	return max(rm.part.lead.start+rm.touched+l.cfg.HistoryAge, rm.part.lead.settled)
}

// reap drops cursors of links that are down.
func (l *Lane) reap() {
	for n := 0; len(l.reaping) > 0; {
		r := l.reaping[0]
		for ; r.cursors != nil; n++ {
			if n == tickCursors {
				return
			}
			l.removeCursor(r.cursors)
		}
		l.reaping = l.reaping[1:]
	}
}

// forgetRouters drops routers that left long ago.
func (l *Lane) forgetRouters() {
	for i := len(l.all) - 1; i >= 0; i-- {
		if r := l.all[i]; r.gone && len(r.peers) == 0 && l.now-r.goneAt >= publisherAge {
			l.unmeet(i)
		}
	}
}

package partition

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Sort is an order of rooms.
type Sort string

// The orders. Those that are alike are in the order of their names.
const (
	SortName     Sort = "name"
	SortMembers  Sort = "members"  // the fullest first
	SortMessages Sort = "messages" // the busiest first, see Watch
)

// MaxRooms bounds RoomsQuery.Limit.
const MaxRooms = 1000

// RoomsQuery asks for rooms of owned partitions.
type RoomsQuery struct {
	Prefix string // of their names; "" is all
	After  string // only names above it, with SortName alone
	Limit  int    // at most so many, 1 to MaxRooms; what is beyond is taken as the bound
	Sort   Sort   // if "", SortName
}

// RoomList is the answer to a RoomsQuery.
type RoomList struct {
	Rooms []Info // in their order, no name twice
	More  bool   // others that were asked for are left out because of Limit
}

// Walk is the making of a RoomList: a walk over all rooms of some lanes, one lane
// after the other, in steps between which the rooms may come and go. It holds no
// more than the best so far. Whatever was there all the time is looked at; of what
// came or went meanwhile, some.
type Walk struct {
	query RoomsQuery
	best  []*Info          // a heap: none is worse than the first
	named map[string]*Info // the same
	more  bool

	// Of the lane in which it is.
	lane *Lane // nil: in none
	leg  leg
	at   int        // of legs over paces: those below it are still to come
	due  bool       // they are to be sampled
	part int        // of the leg over rooms
	next *roomState // the room of part that is looked at next; nil: on to the next part
}

// leg is a part of a Walk through a lane.
type leg uint8

const (
	legBusy  leg = iota // over paces, for SortMessages
	legRooms            // over all rooms
	legRates            // over paces, for what else is listed
)

// NewWalk begins nothing yet.
func NewWalk(q RoomsQuery) *Walk {
	q.Limit = min(max(q.Limit, 1), MaxRooms)
	if q.Sort != SortMembers && q.Sort != SortMessages {
		q.Sort = SortName
	} else {
		q.After = ""
	}
	return &Walk{query: q, named: make(map[string]*Info)}
}

// List ends a walk that has been through all lanes.
func (w *Walk) List() RoomList {
	slices.SortFunc(w.best, w.compare)
	list := RoomList{More: w.more}
	for _, i := range w.best {
		list.Rooms = append(list.Rooms, *i)
	}
	return list
}

// Walk looks at some n rooms, and reports whether that were the last ones of the
// lane. Then another lane may have its turn. A walk that is given up is to Leave.
func (l *Lane) Walk(w *Walk, n int, now time.Time) (done bool) {
	l.advance(now)
	if w.lane != l {
		l.enter(w)
	}
	for range n {
		if !l.walkOn(w) {
			l.Leave(w)
			return true
		}
	}
	return false
}

func (l *Lane) enter(w *Walk) {
	l.walks = append(l.walks, w)
	w.lane, w.leg, w.part, w.next = l, legRooms, -1, nil
	if w.query.Sort == SortMessages {
		w.leg, w.at, w.due = legBusy, len(l.paces), l.takeSample()
	}
}

// Leave ends a walk through this lane, if it is there.
func (l *Lane) Leave(w *Walk) {
	if w.lane == l {
		w.lane, w.next = nil, nil
		l.walks = slices.DeleteFunc(l.walks, func(o *Walk) bool { return o == w })
	}
}

// walkOn looks at what comes next; it reports false when there is nothing.
func (l *Lane) walkOn(w *Walk) bool {
	if w.leg != legRooms {
		return l.walkPaces(w)
	}
	rm := w.next
	if rm == nil {
		return l.walkInto(w)
	}
	w.next = rm.next
	if rm.part.owned && !rm.pending && !rm.dying {
		w.see(rm, 0)
	}
	return true
}

// walkInto goes on to the next partition.
func (l *Lane) walkInto(w *Walk) bool {
	if w.part++; w.part < len(l.parts) {
		if p := &l.parts[w.part]; p.owned {
			w.next = p.first
		}
		return true
	}
	w.leg, w.at = legRates, len(l.paces)
	return w.query.Sort != SortMessages && w.at > 0
}

// walkPaces looks at the next of the rooms that messages are counted of.
func (l *Lane) walkPaces(w *Walk) bool {
	w.at = min(w.at, len(l.paces)) - 1
	switch {
	case w.at < 0 && w.leg == legRates:
		return false
	case w.at < 0:
		w.leg = legRooms
		if w.full() && w.best[0].MessagesPerSecond > 0 {
			w.more = true // rooms in which nothing is said, if there are
			return false
		}
		return true
	}
	x := &l.paces[w.at]
	if w.leg == legRates {
		if i := w.named[x.room.name]; i != nil && !x.room.gone {
			i.MessagesPerSecond = x.rate
		}
	} else if l.sample(w.at, w.due) && x.rate > 0 {
		w.see(x.room, x.rate)
	}
	return true
}

// skip has a walk go on without a room that goes.
func (w *Walk) skip(rm *roomState) {
	if w.next == rm {
		w.next = rm.next
	}
}

// see takes a room among the best if it is one of them. A name that is there is
// that of an earlier life, or was seen by its rate.
func (w *Walk) see(rm *roomState, rate float64) {
	q := &w.query
	if !strings.HasPrefix(rm.name, q.Prefix) || q.After != "" && rm.name <= q.After {
		return
	}
	x := Info{Room: rm.name, MessagesPerSecond: rate}
	if q.Sort == SortMembers {
		x.Members = rm.members()
	}
	if w.full() && w.compare(&x, w.best[0]) >= 0 {
		w.more = w.more || w.named[rm.name] == nil
		return
	}
	if old := w.named[rm.name]; old != nil {
		if q.Sort != SortMessages {
			*old = rm.info()
			w.fix(slices.Index(w.best, old))
		}
		return
	}
	at := 0 // where the worst is
	if w.full() {
		w.more = true
		delete(w.named, w.best[0].Room)
	} else {
		at = len(w.best)
		w.best = append(w.best, new(Info))
	}
	i := w.best[at]
	*i = rm.info()
	i.MessagesPerSecond = rate
	w.named[i.Room] = i
	w.fix(at)
}

func (w *Walk) full() bool { return len(w.best) >= w.query.Limit }

// compare is below zero if a comes before b.
func (w *Walk) compare(a, b *Info) int {
	c := 0
	switch w.query.Sort {
	case SortMembers:
		c = cmp.Compare(b.Members, a.Members)
	case SortMessages:
		c = cmp.Compare(b.MessagesPerSecond, a.MessagesPerSecond)
	}
	return cmp.Or(c, strings.Compare(a.Room, b.Room))
}

// fix puts one of the heap where it belongs.
func (w *Walk) fix(i int) {
	h := w.best
	for i > 0 && w.compare(h[i], h[(i-1)/2]) > 0 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		i = (i - 1) / 2
	}
	for {
		worst := i
		for c := 2*i + 1; c < len(h) && c <= 2*i+2; c++ {
			if w.compare(h[c], h[worst]) > 0 {
				worst = c
			}
		}
		if worst == i {
			return
		}
		h[i], h[worst] = h[worst], h[i]
		i = worst
	}
}

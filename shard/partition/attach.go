package partition

import (
	"math"
	"slices"

	"github.com/roomring/roomring/proto"
)

// cursor is how far a peer got in a room's log. There is at most one live
// cursor per room and peer: one copy of a message, however many members the
// router has. A fetch is a cursor too, over the part that was asked for; it
// ends there.
type cursor struct {
	room *roomState
	peer *Peer
	at   proto.Offset // all up to here was sent
	upto proto.Offset // of a fetch: its end; live: no end
	sure proto.Index  // of a fetch: it waits until all up to here is committed

	later              *cursor // next of the room
	peerPrev, peerNext *cursor // all of the peer
	prev, next         *cursor // of the peer's ready ones, while queued

	members uint32
	status  proto.Status // what the due Attached says
	due     bool         // an Attached must be sent before anything else
	queued  bool
	fetch   bool
}

// answer is a reply about a room that the lane does not have.
type answer struct {
	part   *part
	room   string
	fetch  bool
	epoch  proto.Epoch
	offset proto.Offset // of a fetch
	code   proto.Code   // of an attach
}

func (l *Lane) attach(p *part, r *Peer, body []byte) error {
	x, err := proto.ParseBatch(body)
	if err != nil {
		return err
	}
	l.recall(p, r)
	for e, ok := x.NextAttach(); ok; e, ok = x.NextAttach() {
		rm, code, err := l.findOrCreate(p, e.Room)
		if err != nil {
			return err
		}
		if rm == nil {
			err = l.answer(r, answer{part: p, room: string(e.Room), code: code})
		} else {
			l.attachRoom(rm, r, e.Epoch, e.Offset)
		}
		if err != nil {
			return err
		}
	}
	return x.Err()
}

// attachRoom sets the peer's live cursor to where the router left off. The
// Attached is due with it, and is sent before any Deliver.
func (l *Lane) attachRoom(rm *roomState, r *Peer, e proto.Epoch, after proto.Offset) {
	l.stats.Attaches++
	c := rm.cursorOf(r)
	if c == nil {
		c = l.addCursor(rm, r)
		c.upto = math.MaxUint64
		l.setMembers(c, r.early[rm.name])
		delete(r.early, rm.name)
	}
	c.at, c.status = rm.resume(e, after)
	c.due = true
	if !rm.pending { // else once its creation is committed
		l.ready(c)
	}
}

// resume decides where a cursor begins: such that the router's members hear
// all that is kept and that they have not heard, and nothing twice.
func (rm *roomState) resume(e proto.Epoch, after proto.Offset) (proto.Offset, proto.Status) {
	head, first := rm.log.Head(), rm.log.First()
	switch {
	case e.IsZero():
		return head, proto.StatusWhole
	case e != rm.log.Epoch():
		return first - 1, proto.StatusReset // of this life they heard nothing
	case after > rm.head:
		return head, proto.StatusReset // never given out: only the present is certain
	case after < first-1:
		return first - 1, proto.StatusGap
	}
	return after, proto.StatusWhole // above the head it waits for the commit
}

func (l *Lane) detach(p *part, r *Peer, body []byte) error {
	x, err := proto.ParseBatch(body)
	if err != nil {
		return err
	}
	for name, ok := x.NextDetach(); ok; name, ok = x.NextDetach() {
		rm, err := l.find(p, name)
		if err != nil {
			return err
		}
		if rm != nil {
			l.leave(rm, r)
		}
	}
	return x.Err()
}

// leave removes all cursors of a peer in a room, its fetches as well: if it
// comes back, it asks again, and could not tell two answers apart.
func (l *Lane) leave(rm *roomState, r *Peer) {
	for c := rm.cursors; c != nil; {
		next := c.later
		if c.peer == r {
			l.removeCursor(c)
		}
		c = next
	}
}

// fetch begins a cursor over a part of the history. It waits for what is not
// committed yet. One over nothing asks whether a place exists: the answer begins
// there, or where the room ends.
func (l *Lane) fetch(p *part, r *Peer, body []byte) error {
	x, err := proto.ParseFetch(body)
	if err != nil {
		return err
	}
	rm, err := l.find(p, x.Room)
	if err != nil {
		return err
	}
	l.stats.Fetches++
	if rm == nil || x.Epoch != rm.log.Epoch() {
		return l.answer(r, answer{part: p, room: string(x.Room), fetch: true, epoch: x.Epoch, offset: x.Upto})
	}
	if r.fetches >= maxFetches {
		return errFetches
	}
	c := l.addCursor(rm, r)
	r.fetches++
	c.fetch = true
	c.at = min(x.After, rm.head)
	c.upto = max(c.at, min(x.Upto, rm.head))
	l.recall(p, r)
	if x.After > rm.head {
		l.makeSure(c)
	}
	if !c.waits() {
		l.ready(c)
	}
	return nil
}

// members takes how many conns of the router are in its rooms. The frame needs
// no credit, so it may come before the Attach that it is about.
func (l *Lane) members(p *part, r *Peer, body []byte) error {
	x, err := proto.ParseBatch(body)
	if err != nil {
		return err
	}
	for name, count, ok := x.NextMembers(); ok; name, count, ok = x.NextMembers() {
		rm, err := l.find(p, name)
		if err != nil {
			return err
		}
		if rm != nil {
			if c := rm.cursorOf(r); c != nil {
				l.setMembers(c, count)
				continue
			}
		}
		r.countEarly(name, count)
	}
	return x.Err()
}

// setMembers keeps the sums of members with a cursor's own.
func (l *Lane) setMembers(c *cursor, n uint32) {
	more := int(n) - int(c.members)
	c.members = n
	if r := c.peer; !r.down { // else it has gone with all of them
		r.members += more
		l.audience += more
	}
}

func (r *Peer) countEarly(name []byte, count uint32) {
	if count == 0 {
		delete(r.early, string(name))
		return
	}
	if r.early == nil {
		r.early = make(map[string]uint32)
	}
	if len(r.early) < maxEarly {
		r.early[string(name)] = count
	}
}

// waits reports whether a fetch is about what is not committed yet.
func (c *cursor) waits() bool {
	return c.fetch && (c.at < c.upto && c.upto > c.room.log.Head() || c.sure > c.room.part.applied)
}

func (l *Lane) answer(r *Peer, a answer) error {
	if len(r.answers) >= maxAnswers {
		return errAnswers
	}
	r.answers = append(r.answers, a)
	l.list(r)
	return nil
}

// cursorOf is the live cursor of a peer.
func (rm *roomState) cursorOf(r *Peer) *cursor {
	for c := rm.cursors; c != nil; c = c.later {
		if c.peer == r && !c.fetch {
			return c
		}
	}
	return nil
}

func (l *Lane) addCursor(rm *roomState, r *Peer) *cursor {
	c := &cursor{room: rm, peer: r, peerNext: r.cursors}
	if r.cursors != nil {
		r.cursors.peerPrev = c
	}
	r.cursors = c
	at := &rm.cursors
	for *at != nil {
		at = &(*at).later
	}
	*at = c
	return c
}

// removeCursor takes a cursor away from its room and its peer.
func (l *Lane) removeCursor(c *cursor) {
	l.unready(c)
	l.setMembers(c, 0)
	r, rm := c.peer, c.room
	if c.fetch {
		r.fetches--
	}
	if c.sure > 0 {
		lead := &rm.part.lead
		lead.unsure = slices.DeleteFunc(lead.unsure, func(o *cursor) bool { return o == c })
	}
	if c.peerPrev != nil {
		c.peerPrev.peerNext = c.peerNext
	} else {
		r.cursors = c.peerNext
	}
	if c.peerNext != nil {
		c.peerNext.peerPrev = c.peerPrev
	}
	at := &rm.cursors
	for *at != c {
		at = &(*at).later
	}
	*at = c.later
	if rm.cursors == nil {
		if rm.part.owned {
			rm.touched = l.logTime(rm.part)
			l.reschedule(rm)
		}
	}
}

// ready puts a cursor at the end of those that its peer is to be served.
func (l *Lane) ready(c *cursor) {
	r := c.peer
	if c.queued || r.down {
		return
	}
	c.queued = true
	c.prev = r.last
	if r.last != nil {
		r.last.next = c
	} else {
		r.first = c
	}
	r.last = c
	l.list(r)
}

func (l *Lane) unready(c *cursor) {
	r := c.peer
	if !c.queued || r.down {
		return
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		r.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		r.last = c.prev
	}
	c.prev, c.next, c.queued = nil, nil, false
}

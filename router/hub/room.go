package hub

import (
	"fmt"

	"github.com/roomring/roomring/proto"
)

// room is a room with somebody of this lane in it. It is made by its first
// Join and goes at the end of the turn in which it is empty.
type room struct {
	name    string
	part    *partition
	at      int32 // its place in part.rooms
	state   state
	queued  bool // in part.attach
	dirty   bool // has news that were not fanned out
	listed  bool // in hub.dirty
	counted bool // in part.counts
	doomed  bool // in hub.doomed
	gone    bool // not in hub.rooms any more
	asked   bool // in part.fetches
	resting bool // in hub.idle
	current bool // the last Attach named the present epoch
	tries   uint8

	// What its owner said last; all zero before the first Attached.
	epoch proto.Epoch
	last  proto.Offset // of the message we have last; the next is last+1
	floor proto.Offset // nothing at or below it is kept anywhere
	seen  proto.Offset // the log reaches at least so far; not below last

	soiled int64 // when the oldest of its news came

	chains   [2]*chain // by dialect; nil while nobody reads it
	tail     int       // bytes held by the chains
	waiting  []*Member // not joined yet, in no order
	receipts []*Member
	fetch    *fetch // the one that runs
	stale    int32  // answers on their way to fetches that were dropped
}

// state is where a room is in becoming attached.
type state uint8

const (
	stateNew      state = iota // the owner was not asked yet
	stateAsked                 // an Attach is on its way
	stateAttached              // the owner answered: joining is possible
)

// retry is a room to attach again at a time.
type retry struct {
	room *room
	at   int64
}

func (r *room) empty() bool {
	return r.members() == 0 && len(r.waiting) == 0 && len(r.receipts) == 0
}

// members is how many joined.
func (r *room) members() int {
	n := 0
	for _, c := range r.chains {
		if c != nil {
			n += len(c.readers)
		}
	}
	return n
}

// expects reports whether somebody waits to read the dialect.
func (r *room) expects(dialect int) bool {
	for _, m := range r.waiting {
		if m.flags&flagReceipts == 0 && m.dialect() == dialect {
			return true
		}
	}
	return false
}

// open makes a room and asks its owner for it.
func (h *Hub) open(name string) *room {
	p := h.partition(proto.PartitionOfString(name, h.cfg.Partitions))
	r := &room{name: name, part: p, at: int32(len(p.rooms))}
	p.rooms = append(p.rooms, r)
	h.rooms[name] = r
	h.attach(r)
	return r
}

// close forgets a room that is still empty at the end of the turn.
func (h *Hub) close(r *room) {
	r.doomed = false
	if !r.empty() || r.gone {
		return
	}
	r.gone = true
	for d, c := range r.chains {
		if c != nil {
			h.dropChain(c)
			r.chains[d] = nil
		}
	}
	h.dropFetch(r)
	h.dropSamples(func(s sample) bool { return s.room == r })
	delete(h.rooms, r.name)
	p := r.part
	if p.recent == r {
		p.recent = nil
	}
	last := len(p.rooms) - 1
	p.rooms[r.at] = p.rooms[last]
	p.rooms[r.at].at = r.at
	p.rooms[last] = nil
	p.rooms = p.rooms[:last]
	if last == 0 {
		p.pause = pause{}
	}
	if r.state != stateNew {
		p.detach = append(p.detach, r.name)
		h.offer(p)
	}
}

// attach asks the owner for a room: for all above what we have, or, when we
// have nothing, for what comes.
func (h *Hub) attach(r *room) {
	if !r.queued {
		r.queued = true
		r.part.attach = append(r.part.attach, r)
		h.offer(r.part)
	}
}

// repair asks for a room again because messages are missing. If that does not
// help twice in a row, it waits a little before the next attempt.
func (h *Hub) repair(r *room) {
	if r.queued || r.state != stateAttached {
		return
	}
	h.stats.Repairs++
	r.state = stateAsked
	if r.tries++; r.tries <= 2 {
		h.attach(r)
		return
	}
	h.later(r, repairAfter)
}

// later attaches a room again after a time; the list is in order of time.
func (h *Hub) later(r *room, after int64) {
	k := retry{r, h.now + after}
	i := len(h.again)
	h.again = append(h.again, k)
	for ; i > 0 && h.again[i-1].at > k.at; i-- {
		h.again[i] = h.again[i-1]
	}
	h.again[i] = k
}

// maxTries is how often a hole is asked for again before it is a gap.
const maxTries = 5

// attached takes the owner's answer to an Attach.
func (h *Hub) attached(r *room, e *proto.AttachedEntry) {
	if r.state == stateNew {
		return // an answer to an attachment that we ended since
	}
	if e.Status == proto.StatusRefused {
		h.refused(r, proto.Code(e.Offset))
		return
	}
	if e.Epoch.IsZero() {
		return
	}
	floor := min(max(e.First, 1)-1, e.Offset)
	switch {
	case r.epoch.IsZero():
		r.epoch, r.last, r.floor, r.seen = e.Epoch, e.Offset, floor, e.Offset
	case e.Epoch != r.epoch:
		h.restartLog(r, e.Epoch, floor)
	case e.Status == proto.StatusReset && r.current && e.Offset < r.last:
		h.restartLog(r, e.Epoch, e.Offset) // we had more than there is
		r.floor = floor
	case e.Status == proto.StatusGap && e.Offset > r.last && floor > r.last:
		h.gap(r, floor)
	default:
		r.floor = max(r.floor, min(floor, r.last))
	}
	if e.Offset > r.last && r.tries >= maxTries {
		h.gap(r, e.Offset)
	}
	r.state = stateAttached
	h.served(r.part)
	h.wake(r)
	h.count(r)
	if e.Offset > r.last {
		h.repair(r)
		return
	}
	r.tries = 0
	h.settle(r)
}

// wake makes the chains that somebody waits for.
func (h *Hub) wake(r *room) {
	for d := range r.chains {
		if r.chains[d] == nil && r.expects(d) {
			r.chains[d] = &chain{room: r, numbered: d == numbered, idleSince: h.now}
			h.rest(r) // until it has a reader
		}
	}
}

// refused takes the owner's no: who waits is refused; who is here stays, and
// the owner is asked again.
func (h *Hub) refused(r *room, code proto.Code) {
	for len(r.waiting) > 0 {
		h.refuse(r.waiting[0], code)
	}
	r.state = stateNew
	h.dropFetch(r)
	if !r.empty() {
		h.later(r, refuseAfter)
	}
}

// restartLog begins a room's log anew behind offset o of an epoch.
func (h *Hub) restartLog(r *room, e proto.Epoch, o proto.Offset) {
	h.stats.Resets++
	h.dropFetch(r)
	for i := len(r.receipts) - 1; i >= 0; i-- {
		if m := r.receipts[i]; m.count == 0 { // else it is published again in the new one
			h.unplaced(m)
		}
	}
	r.current = r.current && e == r.epoch
	r.epoch, r.last, r.floor, r.seen = e, o, o, o
	for _, m := range r.waiting {
		m.wait.above = false
	}
	h.tell(r, fresh)
}

// gap goes on behind offset o: what is between is lost to everybody here.
// Numbered members are told so in their order. Plain ones cannot be, and stay:
// that they listen on is worth more to them than a close that brings nothing
// back.
func (h *Hub) gap(r *room, o proto.Offset) {
	h.stats.Gaps++
	h.dropFetch(r)
	for i := len(r.receipts) - 1; i >= 0; i-- {
		m := r.receipts[i]
		m.flags |= flagUnsure
		if m.count == 0 {
			h.unplaced(m)
		}
	}
	r.last, r.floor, r.seen = o, o, max(r.seen, o)
	h.tell(r, gapped)
}

// tell puts a line into the numbered chain, so that all its cursors pass it in
// order.
func (h *Hub) tell(r *room, suffix string) {
	if c := r.chains[numbered]; c != nil {
		h.told(suffix, len(c.readers))
		h.mark(c, r.last, suffix)
		h.soil(r)
	}
}

// told counts members that a line is for.
func (h *Hub) told(suffix string, members int) {
	switch suffix {
	case gapped:
		h.stats.GapsTold += uint64(members)
	case fresh:
		h.stats.ResetsTold += uint64(members)
	}
}

func (h *Hub) soil(r *room) {
	if !r.dirty {
		r.dirty, r.soiled = true, h.now
	}
	if !r.listed {
		r.listed = true
		h.dirty = append(h.dirty, r)
	}
}

// deliver takes messages from the owner. Only last+1 is ever taken: what is
// known is passed over, and a hole makes the room attach again.
func (h *Hub) deliver(r *room, x *proto.Deliver) error {
	if r.state == stateNew || r.epoch.IsZero() {
		return nil
	}
	if x.Epoch != r.epoch || x.Offset > r.last+1 {
		h.repair(r)
		return nil
	}
	text, nums := r.chains[plain], r.chains[numbered]
	for o := x.Offset; ; o++ {
		m, ok := x.Messages.Next()
		if !ok {
			break
		}
		if o <= r.last && h.cfg.Break != BreakDouble {
			h.stats.Duplicates++
			continue
		}
		h.stats.Delivered++
		if m.Conn&proto.TimedConn != 0 {
			m.Conn = h.sampleDelivered(m.Conn)
		}
		if text != nil {
			h.message(text, o, &m)
		}
		if nums != nil {
			h.message(nums, o, &m)
		}
		r.last = o
		if m.Conn != 0 && len(r.receipts) > 0 {
			h.placed(r, m.Conn, o)
		}
	}
	r.seen, r.tries = max(r.seen, r.last), 0
	h.soil(r)
	h.bound(r)
	h.settle(r)
	if err := x.Messages.Err(); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	return nil
}

// placed tells a member with receipts where its message is.
func (h *Hub) placed(r *room, conn uint64, o proto.Offset) {
	for _, m := range r.receipts {
		if m.ID == conn {
			m.flags &^= flagUnplaced
			h.sink.Placed(m, proto.Position{Epoch: r.epoch, Offset: o}, proto.OK)
			return
		}
	}
}

// unplaced tells a member with receipts, all of whose publishes are
// acknowledged, if nothing will tell where one of them is.
func (h *Hub) unplaced(m *Member) {
	if m.flags&flagUnplaced != 0 {
		m.flags &^= flagUnplaced
		h.sink.Placed(m, proto.Position{}, proto.OK)
	}
}

// count remembers that the owner has to hear of another number of members.
func (h *Hub) count(r *room) {
	if !r.counted && !r.gone {
		r.counted = true
		r.part.counts = append(r.part.counts, r)
		h.counts(r.part)
	}
}

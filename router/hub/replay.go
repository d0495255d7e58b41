package hub

import (
	"fmt"

	"github.com/roomring/roomring/proto"
)

// A member joins when its room is attached and all it asked for is in the
// tail: then its cursor is a place in the chain, and nothing that comes
// meanwhile is lost or doubled. What the tail lacks is fetched, once for all
// who wait, and put in front of it.

// fetch is one question to the owner about its history.
type fetch struct {
	after, upto proto.Offset
	probe       bool // asks for nothing, only whether there is its place: after is upto
	sent        bool
	begun       bool
	ended       bool // its last frame came
	odd         bool // an answer was not the one to this question
	tries       uint8
	from        proto.Offset // before the first message of the answer
	reach       proto.Offset // the last message of the answer so far
	chain       *chain       // the answer, encoded
	held        int          // its bytes
}

// settle lets every member join that can, and asks the owner for what the
// others need.
func (h *Hub) settle(r *room) {
	if r.state != stateAttached || len(r.waiting) == 0 {
		return
	}
	h.wake(r)
	if r.dirty {
		h.flush(r) // who joins now is not to hear what was there before
	}
	for i := 0; i < len(r.waiting); {
		if !h.place(r, r.waiting[i]) {
			i++ // else another one has its place now
		}
	}
	h.ask(r)
}

// place joins m if what it asked for is at hand. The rules are those of the
// first line: see JoinOptions.
func (h *Hub) place(r *room, m *Member) bool {
	w := m.wait
	at, line := r.last, whole
	switch o := &w.opt; {
	case m.flags&flagNumbered == 0 || m.flags&flagReceipts != 0:
	case o.All:
		at = r.floor
	case !o.Resume:
	case o.Since.Epoch != r.epoch:
		at, line = r.floor, fresh
	case w.above || o.Since.Offset > offsetMax:
		line = fresh
	case o.Since.Offset > r.seen:
		w.need = needProbe
		return false
	case o.Since.Offset > r.last:
		w.need = needLive
		return false
	case o.Since.Offset < r.floor:
		at, line = r.floor, gapped
	default:
		at = o.Since.Offset
	}
	if at < r.last && at < r.chains[numbered].from() {
		w.need, w.at = needHistory, at
		return false
	}
	h.joined(r, m, at, line)
	return true
}

// joined makes a waiting member a reader of its chain behind offset at.
func (h *Hub) joined(r *room, m *Member, at proto.Offset, line string) {
	r.waiting = without(r.waiting, m)
	h.freeWait(m.wait)
	m.wait = nil
	if m.flags&flagReceipts != 0 {
		m.at = int32(len(r.receipts))
		r.receipts = append(r.receipts, m)
		h.sink.Joined(m, nil)
		return
	}
	c := r.chains[m.dialect()]
	m.at = int32(len(c.readers))
	c.readers = append(c.readers, m)
	h.members++
	h.count(r)
	if !c.numbered {
		h.sink.Joined(m, nil)
		return
	}
	if at < r.last {
		s, pos := c.seek(at)
		h.lag(m, c, s, pos)
		m.cursor.ready = true
		h.ready = append(h.ready, m)
	}
	h.told(line, 1)
	h.sink.Joined(m, h.firstLine(proto.Position{Epoch: r.epoch, Offset: at}, line))
}

// ask starts the one fetch that helps most of those who wait: history for the
// one furthest back, else whether the positions we have not seen exist.
func (h *Hub) ask(r *room) {
	if r.fetch != nil || len(r.waiting) == 0 {
		return
	}
	f := fetch{}
	for _, m := range r.waiting {
		switch w := m.wait; {
		case w.need == needHistory && (!f.wants() || f.probe || w.at < f.after):
			f = fetch{after: w.at, upto: r.chains[numbered].from()}
		case w.need == needProbe && (!f.wants() || f.probe && w.opt.Since.Offset > f.after):
			f = fetch{after: w.opt.Since.Offset, upto: w.opt.Since.Offset, probe: true}
		}
	}
	if !f.wants() {
		return
	}
	for _, m := range r.waiting {
		m.wait.asked = f.probe // who comes later may know of more than the answer does
	}
	f.tries = 1
	r.fetch = &f
	h.queueFetch(r)
}

func (f *fetch) wants() bool { return f.probe || f.upto > f.after }

func (h *Hub) queueFetch(r *room) {
	if !r.asked {
		r.asked = true
		r.part.fetches = append(r.part.fetches, r)
	}
	h.offer(r.part)
}

// dropFetch forgets the running fetch and what came of it. Its answer is still
// on its way: answers come in order and name no question, so that many are
// passed over.
func (h *Hub) dropFetch(r *room) {
	if f := r.fetch; f != nil {
		if f.sent && !f.ended {
			r.stale++
		}
		if f.chain != nil {
			h.dropChain(f.chain)
		}
		r.fetch = nil
	}
}

// fetched takes a part of the answer to the room's fetch.
func (h *Hub) fetched(r *room, x *proto.Fetched) error {
	if r.stale > 0 {
		if x.Last {
			r.stale--
		}
		return nil
	}
	f := r.fetch
	if f == nil || !f.sent || x.Epoch != r.epoch {
		return nil
	}
	f.ended = x.Last
	if r.chains[numbered] == nil { // all who wanted it left
		h.dropFetch(r)
		return nil
	}
	if !f.begun {
		f.begun, f.from, f.reach = true, x.After, x.After
		f.odd = x.After < f.after && !f.probe // the log may end below a probe
	} else if x.After != f.reach {
		f.odd = true
	}
	for {
		m, ok := x.Messages.Next()
		if !ok {
			break
		}
		f.reach++
		m.Conn &^= proto.TimedConn
		if !f.odd && !f.probe && f.reach <= f.upto {
			h.build(r, f, &m)
		}
	}
	if err := x.Messages.Err(); err != nil {
		return fmt.Errorf("fetched: %w", err)
	}
	if !f.probe && h.tails+h.building > h.cfg.Tails {
		h.noHistory(r)
	} else if x.Last && f.probe {
		h.probed(r, f)
	} else if x.Last {
		h.splice(r, f)
	}
	return nil
}

func (h *Hub) build(r *room, f *fetch, m *proto.Message) {
	if f.chain == nil {
		f.chain = &chain{room: r, numbered: true, building: true}
	}
	h.message(f.chain, f.reach, m)
	// What an owner keeps of a room may be a little more than a tail may hold,
	// for here each message has its header. Of still more the newest part serves.
	for f.held > h.cfg.RoomTail+h.cfg.RoomTail/4 && f.chain.first != f.chain.last {
		f.from += proto.Offset(len(f.chain.first.index))
		h.dropFirst(f.chain)
	}
}

// noHistory gives up on the running fetch: who needs it is told of a gap.
func (h *Hub) noHistory(r *room) {
	from := r.chains[numbered].from()
	h.dropFetch(r)
	r.floor = max(r.floor, from)
	h.settle(r)
}

// probed learns whether the log reaches to where it was asked, for nothing: the
// answer begins there, or at the log's end. Who asked for more is above it. An
// owner may answer when what was asked for is committed, or at once.
func (h *Hub) probed(r *room, f *fetch) {
	if !f.odd {
		r.seen = max(r.seen, f.reach)
		for _, m := range r.waiting {
			if w := m.wait; w.asked && w.need == needProbe && w.opt.Since.Offset > r.seen && w.opt.Since.Offset <= f.after {
				w.above = true
			}
		}
	}
	h.dropFetch(r)
	h.settle(r)
}

// splice puts the fetched history in front of the tail. The room may be above
// its bound then, at most twice, until the next message: so those who waited
// have a turn to read before it is cut. If the two do not
// meet, because the tail was cut meanwhile or the answer was cut short, the
// fetch is made again; after the third time the members are told of a gap.
func (h *Hub) splice(r *room, f *fetch) {
	c := r.chains[numbered]
	from := c.from()
	if f.odd || max(f.reach, f.from) < f.upto || f.upto != from || c.line != nil {
		if tries := f.tries + 1; tries > 3 {
			h.noHistory(r)
		} else {
			h.dropFetch(r)
			if h.settle(r); r.fetch != nil {
				r.fetch.tries = tries
			}
		}
		return
	}
	if f.from > f.after {
		r.floor = max(r.floor, min(f.from, from))
	}
	if b := f.chain; b != nil {
		h.adopt(c, b)
	}
	r.fetch = nil
	h.settle(r)
}

// adopt moves the segments of b in front of those of c.
func (h *Hub) adopt(c, b *chain) {
	held := 0
	for s := b.first; s != nil; s = s.next {
		s.chain = c
		h.youngest(s)
		held += s.size()
	}
	h.hold(b, -held)
	h.hold(c, held)
	if c.sent == nil {
		c.sent, c.sentAt = b.last, uint32(len(b.last.buf))
	}
	b.last.next = c.first
	c.first = b.first
	if c.last == nil {
		c.last = b.last
	}
}

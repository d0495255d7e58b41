package hub

import "time"

// cursor is the place in a chain of a member that is not at its live end.
type cursor struct {
	seg   *segment
	pos   uint32
	ready bool  // in hub.ready: its socket takes more
	moved int64 // when it last took something
}

// FanOut ends a turn: every live member of a room with news gets them, in one
// write where the news are one piece; then those that lag and can go on do so.
func (h *Hub) FanOut(now time.Time) {
	h.clock(now)
	kept := h.dirty[:0]
	for _, r := range h.dirty {
		if r.dirty && h.defers(r) {
			kept = append(kept, r)
			continue
		}
		r.listed = false
		if r.dirty {
			h.flush(r)
		}
	}
	clear(h.dirty[len(kept):])
	h.dirty = kept
	for _, m := range h.ready {
		if m.cursor != nil && m.cursor.ready {
			h.proceed(m)
		}
	}
	clear(h.ready)
	h.ready = h.ready[:0]
	for _, r := range h.doomed {
		h.close(r)
	}
	clear(h.doomed)
	h.doomed = h.doomed[:0]
}

// writeCost is what one write to a member costs, in nanoseconds: 4.5 to 6 µs on
// the machine it was measured on, however many messages it carries.
const writeCost = 5000

// defers reports whether a room's news are to wait for more that is sure to
// come: messages of our own members that are on their way to the owner. A
// fan-out costs its writes and not its messages, so waiting pays as long as it
// takes no longer than the fan-out itself would; by that bound it is at most
// twice as slow as knowing the future (the argument of renting or buying skis).
// A room with few members, or whose members say nothing, never waits.
func (h *Hub) defers(r *room) bool {
	if q := &r.part.pub; q.sent == q.base {
		return false
	}
	n := r.members()
	return n >= h.cfg.Patience && h.now-r.soiled < int64(n)*writeCost
}

// Writable says that the member's socket takes more: the rest follows at the
// end of the turn.
func (h *Hub) Writable(m *Member) {
	if m.cursor != nil && !m.cursor.ready {
		m.cursor.ready = true
		h.ready = append(h.ready, m)
	}
}

// Lagging reports whether m's socket is full, or was when it was last tried:
// then the stall bound watches over it.
func (h *Hub) Lagging(m *Member) bool { return m.cursor != nil }

// Rest is what is missing of the frame inside which the last write to m ended:
// nothing else may be written before it. It is nil at a frame's boundary, and
// valid until the next call of the hub: who wants to close m behind it copies
// it before Leave.
func (h *Hub) Rest(m *Member) []byte {
	c := m.cursor
	if c == nil || int(c.pos) == len(c.seg.buf) {
		return nil
	}
	i, start := c.seg.frameAt(c.pos)
	if c.pos == start {
		return nil
	}
	return c.seg.buf[c.pos:c.seg.index[i].end]
}

// flush writes a room's news to its live members.
func (h *Hub) flush(r *room) {
	r.dirty = false
	for _, c := range r.chains {
		if c != nil && c.first != nil {
			h.flushChain(c)
		}
	}
}

func (h *Hub) flushChain(c *chain) {
	s, pos := c.unsent()
	if int(pos) == len(s.buf) {
		return
	}
	c.sent, c.sentAt = c.last, uint32(len(c.last.buf))
	piece := s.buf[pos:]
	c.batch = uint32(min(len(piece), segmentMax))
	one := s.next == nil
	own := c.own // zero for most: then nobody has to look for its own messages
	c.own = 0
	for _, m := range c.readers {
		switch {
		case m.cursor != nil:
		case one && (m.flags&flagNoEcho == 0 || own&(1<<(m.ID%64)) == 0):
			h.stats.Writes++
			if n := h.sink.Write(m, piece); n < len(piece) {
				h.fallShort(m, c, s, pos, n)
			}
		default:
			if at, n := h.push(m, c, s, pos); at != nil {
				h.lag(m, c, at, n)
			} else {
				h.stats.Deliveries -= uint64(c.fresh) // it is counted already
			}
		}
	}
	h.stats.Deliveries += uint64(len(c.readers)-int(c.lagging)) * uint64(c.fresh)
	c.fresh = 0
	h.trim(c)
}

// fallShort gives a cursor to a member whose socket took n bytes of what is behind
// pos, and not all.
func (h *Hub) fallShort(m *Member, c *chain, s *segment, pos uint32, n int) {
	to := pos + uint32(max(n, 0))
	h.stats.Deliveries += uint64(s.messages(pos, to))
	h.lag(m, c, s, to)
}

// push writes from a place on up to where the chain was fanned out. If the
// socket takes less, it returns the place that was reached, else nil. What is
// not fanned out yet is for the fan-out: whoever is at its beginning is live.
func (h *Hub) push(m *Member, c *chain, s *segment, pos uint32) (*segment, uint32) {
	for {
		all := uint32(len(s.buf))
		if s == c.sent {
			all = c.sentAt
		}
		if pos == all {
			if s == c.sent || s.next == nil {
				return nil, 0
			}
			s, pos = s.next, 0
			continue
		}
		end := all
		if m.flags&flagNoEcho != 0 {
			if pos, end = s.others(pos, m.ID); pos >= all {
				pos = all
				continue
			}
			if end = min(end, all); pos == end {
				continue
			}
		}
		h.stats.Writes++
		n := uint32(max(h.sink.Write(m, s.buf[pos:end]), 0))
		h.stats.Deliveries += uint64(s.messages(pos, pos+n))
		if pos += n; pos < end {
			return s, pos
		}
	}
}

// others is the first stretch from pos on without messages of conn. A frame
// that was begun is finished.
func (s *segment) others(pos uint32, conn uint64) (from, end uint32) {
	i, start := s.frameAt(pos)
	if pos == start {
		for i < len(s.index) && s.index[i].conn == conn {
			pos = s.index[i].end
			i++
		}
	} else {
		i++
	}
	for i < len(s.index) && s.index[i].conn != conn {
		i++
	}
	if i == 0 {
		return pos, pos
	}
	return pos, max(pos, s.index[i-1].end)
}

// lag gives a member a cursor of its own.
func (h *Hub) lag(m *Member, c *chain, s *segment, pos uint32) {
	k, ok := h.cursors.Take()
	if !ok {
		k = new(cursor)
	}
	*k = cursor{seg: s, pos: pos, moved: h.now}
	m.cursor = k
	s.refs++
	c.lagging++
	m.lagAt = int32(len(h.lagging))
	h.lagging = append(h.lagging, m)
}

// proceed writes to a lagging member what its socket takes.
func (h *Hub) proceed(m *Member) {
	k := m.cursor
	k.ready = false
	c := m.room.chains[m.dialect()]
	s, pos := h.push(m, c, k.seg, k.pos)
	if s == nil {
		h.caughtUp(m)
		return
	}
	if s != k.seg || pos != k.pos {
		k.moved = h.now
	}
	if s != k.seg {
		k.seg.refs--
		s.refs++
		k.seg = s
	}
	k.pos = pos
	h.trim(c)
}

// caughtUp takes a member's cursor away: it is at the live end, or leaves.
func (h *Hub) caughtUp(m *Member) {
	k := m.cursor
	if k == nil {
		return
	}
	last := len(h.lagging) - 1
	h.lagging[m.lagAt] = h.lagging[last]
	h.lagging[m.lagAt].lagAt = m.lagAt
	h.lagging[last] = nil
	h.lagging = h.lagging[:last]
	c := m.room.chains[m.dialect()]
	k.seg.refs--
	c.lagging--
	m.cursor = nil
	*k = cursor{}
	if h.cursors.Len() < spareStructs {
		h.cursors.Put(k)
	}
	h.trim(c)
}

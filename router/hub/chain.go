package hub

import (
	"math/bits"
	"sort"
	"time"

	"github.com/roomring/roomring/internal/spare"
	"github.com/roomring/roomring/proto"
)

// The dialects: a room has a chain of its own for each that somebody reads.
const (
	plain    = 0
	numbered = 1
)

const (
	segmentMin = 256
	segmentMax = 64 << 10 // of the usual growth; a larger message gets its own
	classes    = 9        // 256 B to 64 KiB
	// oversize is the class of a segment for one message of its own size: it is
	// not used again, because no two of them are alike.
	oversize = classes
	// A segment takes no message this long after its first, so that a quiet
	// room's old messages do not stay because of a young one.
	sealAfter = int64(2 * time.Second)
)

// chain is a room's tail in one dialect: encoded WebSocket frames in a list of
// segments, and who reads them.
//
// Invariants: bytes up to sent/sentAt are immutable; every cursor is at or
// before that place; live readers have been handed all up to there. Messages
// are in order and, behind the last line, without gaps.
type chain struct {
	room        *room
	numbered    bool
	readers     []*Member // joined: live, or lagging with a cursor
	first, last *segment
	sent        *segment // nil: nothing of first was handed out yet
	sentAt      uint32
	line        *segment // the last one that begins with a line, while it is kept
	own         uint64   // of the conns whose messages are not sent yet: bit conn % 64
	fresh       uint32   // messages not sent yet
	lagging     int32    // readers with a cursor
	batch       uint32   // bytes of the last fan-out: the size to begin with
	idleSince   int64    // when the last reader left
	building    bool     // fetched history: not in the hub's list of ages yet
}

// segment is a piece of a chain.
type segment struct {
	buf          []byte  // whole frames; never grows beyond its capacity
	index        []entry // one per frame
	first        proto.Offset
	chain        *chain
	next         *segment
	older, newer *segment // in the hub's list of ages
	opened       int64
	newest       int64
	refs         int32 // cursors in it
	line         bool  // the first frame is a line, which has no offset
}

// entry is a frame in a segment: where it ends, and whose message it is.
type entry struct {
	conn uint64
	end  uint32
}

const entrySize = 16

func (s *segment) size() int { return cap(s.buf) + entrySize*cap(s.index) }

// frameAt is the number of the frame that the byte at pos belongs to, and where
// that frame starts.
func (s *segment) frameAt(pos uint32) (i int, start uint32) {
	i = sort.Search(len(s.index), func(i int) bool { return s.index[i].end > pos })
	if i > 0 {
		start = s.index[i-1].end
	}
	return i, start
}

// messages is how many messages end behind from and not behind to.
func (s *segment) messages(from, to uint32) int {
	i, _ := s.frameAt(from)
	j, _ := s.frameAt(to)
	if s.line && i == 0 && j > 0 {
		i++ // that frame is none
	}
	return j - i
}

// after is the place behind the message with offset o, which is in s or the
// one before its first.
func (s *segment) after(o proto.Offset) uint32 {
	n := int(o + 1 - s.first) // messages up to o
	if s.line {
		n++
	}
	if n == 0 {
		return 0
	}
	return s.index[n-1].end
}

// from is the offset before the first message that can be read without a gap
// up to the room's last.
func (c *chain) from() proto.Offset {
	switch {
	case c.line != nil:
		return c.line.first - 1
	case c.first != nil:
		return c.first.first - 1
	}
	return c.room.last
}

// seek is the place behind offset o: from() <= o < room.last.
func (c *chain) seek(o proto.Offset) (*segment, uint32) {
	s := c.line
	if s == nil {
		s = c.first
	}
	for s.next != nil && s.next.first <= o+1 {
		s = s.next
	}
	return s, s.after(o)
}

// unsent is the place from which live readers have to be written.
func (c *chain) unsent() (*segment, uint32) {
	s, pos := c.sent, c.sentAt
	if s == nil {
		s, pos = c.first, 0
	}
	for s != nil && int(pos) == len(s.buf) && s.next != nil {
		s, pos = s.next, 0
	}
	return s, pos
}

func (c *chain) hasUnsent() bool {
	s, pos := c.unsent()
	return s != nil && int(pos) < len(s.buf)
}

// message appends the message with offset o, encoded.
func (h *Hub) message(c *chain, o proto.Offset, m *proto.Message) {
	n := len(m.Payload)
	if c.numbered {
		n += prefixSize(m.Kind, o)
	}
	s := h.extend(c, headerSize(n)+n, o, false)
	s.buf = appendHeader(s.buf, opcode(m.Kind), n)
	if c.numbered {
		s.buf = appendPrefix(s.buf, m.Kind, o)
	}
	s.buf = append(s.buf, m.Payload...)
	h.indexed(s, entry{m.Conn, uint32(len(s.buf))})
	s.newest = h.now
	c.fresh++
	if m.Conn != 0 {
		c.own |= 1 << (m.Conn % 64)
	}
}

// mark appends the line that says where a numbered reader is now; the next
// message is o+1.
func (h *Hub) mark(c *chain, o proto.Offset, suffix string) {
	line := h.firstLine(proto.Position{Epoch: c.room.epoch, Offset: o}, suffix)
	s := h.extend(c, len(line), o+1, true)
	s.line = true
	s.buf = append(s.buf, line...)
	h.indexed(s, entry{0, uint32(len(s.buf))})
	s.newest = h.now
	c.line = s
}

func (h *Hub) indexed(s *segment, e entry) {
	before := cap(s.index)
	s.index = append(s.index, e)
	if grown := cap(s.index) - before; grown > 0 {
		h.hold(s.chain, entrySize*grown)
	}
}

// hold counts bytes of a chain, negative ones when they go.
func (h *Hub) hold(c *chain, n int) {
	if c.building {
		h.building += n
		c.room.fetch.held += n
		return
	}
	h.tails += n
	c.room.tail += n
}

// extend gives a segment with space for a frame of need bytes; a fresh one
// starts with the message first.
func (h *Hub) extend(c *chain, need int, first proto.Offset, fresh bool) *segment {
	s := c.last
	if s != nil && !fresh && cap(s.buf)-len(s.buf) >= need && h.now-s.opened < sealAfter {
		return s
	}
	size := max(segmentMin, int(c.batch))
	if s != nil && h.now-s.opened < sealAfter {
		size = 2 * cap(s.buf)
	}
	keep, kept := c.carried(s, fresh)
	n := h.buffers.get(max(min(size, segmentMax), need+kept))
	n.chain, n.first, n.opened, n.newest = c, first, h.now, h.now
	h.hold(c, n.size())
	if c.last == nil {
		c.first, c.last = n, n
	} else {
		c.last.next, c.last = n, n
	}
	if !c.building {
		h.youngest(n)
	}
	if kept > 0 {
		h.carry(c, s, n, keep)
	}
	return n
}

// carried says what of s no reader was handed yet and may move to the next
// segment, so that a fan-out stays one piece: from which byte, how many.
func (c *chain) carried(s *segment, fresh bool) (from uint32, n int) {
	if s == nil || fresh || c.building {
		return 0, 0
	}
	if c.sent == s {
		from = c.sentAt
	} else if c.sent != nil || s != c.first {
		return 0, 0 // not worth it: the batch spans segments already
	}
	if n = len(s.buf) - int(from); n > segmentMax/2 {
		return 0, 0
	}
	return from, n
}

// carry moves the frames of s from byte keep on to the empty segment n.
func (h *Hub) carry(c *chain, s, n *segment, keep uint32) {
	i := 0
	if keep > 0 {
		i, _ = s.frameAt(keep)
	}
	n.first = s.first + proto.Offset(i)
	if s.line && i > 0 {
		n.first--
	}
	if s.line && i == 0 {
		n.line, s.line = true, false
		c.line = n
	}
	n.buf = append(n.buf, s.buf[keep:]...)
	for _, e := range s.index[i:] {
		h.indexed(n, entry{e.conn, e.end - keep})
	}
	n.opened = s.opened
	s.buf, s.index = s.buf[:keep], s.index[:i]
	if len(s.buf) == 0 && s == c.first && s.refs == 0 {
		h.dropFirst(c)
	}
}

// dropFirst gives the first segment back. No cursor is in it.
func (h *Hub) dropFirst(c *chain) {
	s := c.first
	if s.refs != 0 {
		panic("hub: segment dropped under a cursor")
	}
	c.first = s.next
	if c.first == nil {
		c.last = nil
	}
	if c.sent == s {
		c.sent, c.sentAt = nil, 0
	}
	if c.line == s {
		c.line = nil
	}
	if !c.building {
		h.forget(s)
	}
	h.hold(c, -s.size())
	h.buffers.put(s)
}

// trim drops what a chain need not keep: a plain one all that no cursor is
// behind of, since nobody comes back to it.
func (h *Hub) trim(c *chain) {
	if c.numbered {
		return
	}
	for c.first != nil && c.first.refs == 0 {
		if c.sent == nil || c.first == c.sent && int(c.sentAt) < len(c.first.buf) || c.first == c.sent && c.lagging > 0 {
			return
		}
		h.dropFirst(c)
	}
}

// dropChain gives all of a chain without cursors back.
func (h *Hub) dropChain(c *chain) {
	for c.first != nil {
		h.dropFirst(c)
	}
}

// bound cuts tails that are above their bounds, also under cursors.
func (h *Hub) bound(r *room) {
	for r.tail > h.cfg.RoomTail {
		c := r.chains[plain]
		if n := r.chains[numbered]; c == nil || c.first == nil || n != nil && n.first != nil && n.first.opened < c.first.opened {
			c = n
		}
		h.cut(c)
	}
	for h.tails > h.cfg.Tails && h.oldest != nil {
		h.cut(h.oldest.chain)
	}
}

// cut drops at least the first segment of a chain. Who still needed it is slow.
func (h *Hub) cut(c *chain) {
	if c.hasUnsent() {
		h.flush(c.room)
		if c.first == nil {
			return
		}
	}
	s := c.first
	for i := len(c.readers) - 1; i >= 0 && s.refs > 0; i-- {
		if m := c.readers[i]; m.cursor != nil && m.cursor.seg == s {
			h.slow(m)
		}
	}
	if c.first == s { // else the last slow member took it along
		h.dropFirst(c)
	}
}

// dropOld drops what is older than the window and needed by no cursor.
func (h *Hub) dropOld(t int64) {
	old := t - int64(h.cfg.Window)
	for s := h.oldest; s != nil && s.opened <= old; {
		next := s.newer
		c := s.chain
		if s == c.first && s.refs == 0 && s.newest <= old && len(c.room.waiting) == 0 && !c.hasUnsent() {
			h.dropFirst(c)
		}
		s = next
	}
}

// rest remembers that a chain of r has no readers.
func (h *Hub) rest(r *room) {
	if !r.resting {
		r.resting = true
		h.idle = append(h.idle, r)
	}
}

// dropIdle drops chains that nobody read for a while: a plain one at once, a
// numbered one when nobody came back within the window.
func (h *Hub) dropIdle(t int64) {
	kept := h.idle[:0]
	for _, r := range h.idle {
		wanted := false
		for d, c := range r.chains {
			switch {
			case c == nil || len(c.readers) > 0 || r.gone:
			case r.expects(d) || d == numbered && t-c.idleSince < int64(h.cfg.Window):
				wanted = true
			default:
				h.dropChain(c)
				r.chains[d] = nil
			}
		}
		if r.resting = wanted && !r.gone; r.resting {
			kept = append(kept, r)
		}
	}
	clear(h.idle[len(kept):])
	h.idle = kept
}

// youngest puts s at the young end of the list of ages.
func (h *Hub) youngest(s *segment) {
	s.older, s.newer = h.newest, nil
	if h.newest != nil {
		h.newest.newer = s
	} else {
		h.oldest = s
	}
	h.newest = s
}

// forget takes s out of the list of ages.
func (h *Hub) forget(s *segment) {
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		h.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		h.newest = s.older
	}
	s.older, s.newer = nil, nil
}

// buffers are segments for reuse, by size class. What would take them above
// limit bytes is left to the garbage collector, and so is what nobody missed for a
// while.
type buffers struct {
	free  [classes]spare.List[*segment]
	held  int
	limit int
}

func class(n int) int {
	switch {
	case n <= segmentMin:
		return 0
	case n > segmentMax:
		return oversize
	}
	return bits.Len(uint(n-1)) - 8
}

// get gives an empty segment with space for n bytes.
func (b *buffers) get(n int) *segment {
	k := class(n)
	if k == oversize {
		return &segment{buf: make([]byte, 0, n)}
	}
	if s, ok := b.free[k].Take(); ok {
		b.held -= s.size()
		return s
	}
	return &segment{buf: make([]byte, 0, segmentMin<<k), index: make([]entry, 0, 1)}
}

func (b *buffers) put(s *segment) {
	*s = segment{buf: s.buf[:0], index: s.index[:0]}
	k := class(cap(s.buf))
	if k == oversize || b.held+s.size() > b.limit {
		return
	}
	b.held += s.size()
	b.free[k].Put(s)
}

func (b *buffers) tidy() {
	gone := func(s *segment) { b.held -= s.size() }
	for k := range b.free {
		b.free[k].Tidy(gone)
	}
}

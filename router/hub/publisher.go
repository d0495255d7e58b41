package hub

import (
	"fmt"
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// publisher numbers the publishes of this router in one partition and keeps the
// unacknowledged ones in order (rule R8).
//
// Invariants: base <= sent <= next; pending[head+i] has seq base+i; everything
// below base is settled; nothing at or above sent is on its way.
type publisher struct {
	base proto.Seq // lowest unacknowledged
	next proto.Seq // of the next publish
	sent proto.Seq // next to send
	high proto.Seq // highest ever sent, plus one

	pending []pending
	head    int
	voided  int // of the oldest pending ones, so many are void

	chunks     []chunk // payload bytes in order
	firstChunk uint32  // number of chunks[0]

	held   bool // the owner cannot take more: wait for Go
	heldAt int64

	expected   proto.Seq // what the last Expect that was followed asked for
	expectedAt int64
	expectMore bool // it was asked again since
}

// pending is one unacknowledged publish. Its payload is in a chunk.
type pending struct {
	m     *Member // may have left: compare conn with its ID
	conn  uint64
	room  string
	at    int64
	chunk uint32
	pos   uint32
	size  uint32
	kind  proto.Kind
	done  bool // a member's account has it no more
	timed bool // see sample.go
}

// pendingCost is what a publish counts beside its payload, in bytes.
const pendingCost = 128

// chunk holds payloads; it goes back when none of them is wanted.
type chunk struct {
	seg  *segment
	live int
}

const (
	chunkMin = segmentMin
	chunkMax = 64 << 10
	// An Expect that asks for the same again is followed after this time only:
	// each frame that was on its way causes one.
	expectAgain = int64(100 * time.Millisecond)
	// A Hold without a Go is tried again after this time.
	holdAgain = int64(time.Second)
	// fewPending is the size of a new list of pendings.
	fewPending = 4
	// sparePending bounds the size of a list of pendings that is kept for reuse,
	// sparePendings that of all of them. Most are for one or two, and under load
	// there are as many as partitions.
	sparePending  = 256
	sparePendings = 64 * sparePending
)

func (q *publisher) hasWork() bool { return !q.held && q.sent < q.next }

func (q *publisher) empty() bool { return q.head == len(q.pending) }

func (q *publisher) payload(p *pending) []byte {
	if p.size == 0 {
		return nil
	}
	return q.chunks[p.chunk-q.firstChunk].seg.buf[p.pos : p.pos+p.size]
}

// Publish takes a message of m for its room; the payload is copied, and has at
// most proto.MaxFrame less 512 bytes, so that it fits into a frame with its
// room's name and into a Deliver on its way back. If ok is
// false the message was taken too, but m, or everybody, is above a bound now:
// the caller does not read m's socket until Resume.
func (h *Hub) Publish(m *Member, kind proto.Kind, payload []byte, now time.Time) (ok bool) {
	t := h.clock(now)
	r := m.room
	if r == nil {
		return true
	}
	if len(payload) > proto.MaxFrame-512 {
		panic(fmt.Sprintf("hub: publish of %d bytes", len(payload)))
	}
	p := r.part
	x := pending{m: m, conn: m.ID, room: r.name, at: t, kind: kind}
	if h.unsampled++; h.unsampled >= sampleEvery || t >= h.sampleAt {
		x.timed = h.sample(m, t)
	}
	p.pub.push(h, x, payload)
	h.stats.Published++
	h.unacked += len(payload) + pendingCost
	if m.flags&flagReceipts != 0 {
		m.flags |= flagUnplaced
	}
	m.count++
	m.bytes += int32(len(payload))
	if len(p.attach) > 0 {
		h.hurry(p)
	}
	h.offer(p)
	if h.unacked > h.cfg.Unacknowledged {
		h.full = true
	}
	if h.full {
		h.park(m)
	} else if int(m.count) < h.cfg.MemberMessages && int(m.bytes) < h.cfg.MemberBytes {
		return true
	}
	m.flags |= flagPaused
	return false
}

func (q *publisher) push(h *Hub, p pending, payload []byte) {
	if n := len(payload); n > 0 {
		c := len(q.chunks) - 1
		if c < 0 || q.chunks[c].seg == nil || cap(q.chunks[c].seg.buf)-len(q.chunks[c].seg.buf) < n {
			size := chunkMin
			if c >= 0 && q.chunks[c].seg != nil {
				size = min(2*cap(q.chunks[c].seg.buf), chunkMax)
			}
			q.chunks = append(q.chunks, chunk{seg: h.buffers.get(max(size, n))})
			c++
		}
		k := &q.chunks[c]
		p.chunk, p.pos, p.size = q.firstChunk+uint32(c), uint32(len(k.seg.buf)), uint32(n)
		k.seg.buf = append(k.seg.buf, payload...)
		k.live++
	}
	if len(q.pending) == cap(q.pending) {
		q.makeSpace(h)
	}
	q.pending = append(q.pending, p)
	q.next++
}

// makeSpace moves the pending ones down where that frees a quarter, else grows.
func (q *publisher) makeSpace(h *Hub) {
	if q.pending == nil {
		var ok bool
		if q.pending, ok = h.pendings.Take(); !ok {
			q.pending = make([]pending, 0, fewPending)
			return
		}
		h.spared -= cap(q.pending)
		return
	}
	if q.head > 0 && q.head >= cap(q.pending)/4 {
		n := copy(q.pending, q.pending[q.head:])
		clear(q.pending[n:])
		q.pending, q.head = q.pending[:n], 0
	}
}

// forgetPayload gives up the bytes of p.
func (q *publisher) forgetPayload(h *Hub, p *pending) {
	if p.size == 0 {
		return
	}
	p.size = 0
	k := &q.chunks[p.chunk-q.firstChunk]
	if k.live--; k.live > 0 {
		return
	}
	h.buffers.put(k.seg)
	k.seg = nil
	n := 0
	for n < len(q.chunks) && q.chunks[n].seg == nil {
		n++
	}
	if n > 0 {
		q.firstChunk += uint32(n)
		q.chunks = slices.Delete(q.chunks, 0, n) // which wipes what is behind the end, too
	}
}

// ack settles all publishes up to upto.
func (q *publisher) ack(h *Hub, upto proto.Seq) {
	for q.base <= upto {
		p := &q.pending[q.head]
		size := int(p.size)
		q.forgetPayload(h, p)
		h.unacked -= size + pendingCost
		if p.timed {
			h.sampleSettled(p.conn)
		}
		m, done, conn := p.m, p.done, p.conn
		*p = pending{}
		q.head++
		q.base++
		q.voided = max(q.voided-1, 0)
		if !done {
			h.settled(m, conn, size)
		}
	}
	q.sent = max(q.sent, q.base)
	if q.empty() {
		q.release(h)
	}
	h.drained()
}

// release gives the lists back: an idle partition holds nothing.
func (q *publisher) release(h *Hub) {
	if n := cap(q.pending); n <= sparePending && h.spared+n <= sparePendings {
		h.pendings.Put(q.pending[:0])
		h.spared += n
	}
	q.pending, q.head = nil, 0
	if cap(q.chunks) > 8 {
		q.chunks = nil
	}
}

// settled takes a publish off its member's account.
func (h *Hub) settled(m *Member, conn uint64, size int) {
	if m.ID != conn || m.room == nil {
		return
	}
	m.count--
	m.bytes -= int32(size)
	if m.flags&flagPaused != 0 && h.half(m) {
		if h.full {
			h.park(m)
		} else {
			h.resume(m)
		}
	}
	if m.flags&flagUnsure != 0 && m.count == 0 {
		h.unplaced(m)
	}
}

// half reports whether m is at or below half of its bounds.
func (h *Hub) half(m *Member) bool {
	return int(m.count) <= h.cfg.MemberMessages/2 && int(m.bytes) <= h.cfg.MemberBytes/2
}

func (h *Hub) resume(m *Member) {
	m.flags &^= flagPaused
	h.sink.Resume(m)
}

func (h *Hub) park(m *Member) {
	if m.parked == 0 {
		h.parked = append(h.parked, m)
		m.parked = int32(len(h.parked))
	}
}

func (h *Hub) unpark(m *Member) {
	last := len(h.parked) - 1
	h.parked[m.parked-1] = h.parked[last]
	h.parked[m.parked-1].parked = m.parked
	h.parked[last] = nil
	h.parked = h.parked[:last]
	m.parked = 0
}

// drained lets everybody go on once the sum of all is at half of its bound.
func (h *Hub) drained() {
	if !h.full || h.unacked > h.cfg.Unacknowledged/2 {
		return
	}
	h.full = false
	for !h.full && len(h.parked) > 0 { // who goes on may fill it again
		m := h.parked[len(h.parked)-1]
		h.unpark(m)
		if m.flags&flagPaused != 0 && h.half(m) {
			h.resume(m)
		}
	}
}

// rewind sends everything again that is not settled.
func (q *publisher) rewind(h *Hub) {
	q.held, q.expectMore, q.expected = false, false, 0
	if h.cfg.Break != BreakResend {
		q.sent = q.base
	}
}

// expect sends again from seq, or from base when that is settled.
func (q *publisher) expect(h *Hub, seq proto.Seq) {
	if seq >= q.sent {
		return
	}
	seq = max(seq, q.base)
	if seq == q.expected && h.now-q.expectedAt < expectAgain {
		q.expectMore = true
		return
	}
	q.expected, q.expectedAt, q.expectMore = seq, h.now, false
	q.sent = seq
}

// hold keeps seq and what is above it. An owner that knows nothing of us may
// name a seq below base; should it be an old Hold, holdAgain ends it.
func (q *publisher) hold(h *Hub, seq proto.Seq) {
	if seq = max(seq, q.base); seq >= q.next {
		return
	}
	q.sent = min(q.sent, seq)
	q.held, q.heldAt = true, h.now
}

func (q *publisher) tick(h *Hub, p *partition, t int64) {
	if q.empty() {
		return
	}
	if q.held && t-q.heldAt >= holdAgain {
		q.held = false
		p.goesOn()
		h.offer(p)
	}
	if q.expectMore && t-q.expectedAt >= expectAgain {
		q.expectMore = false
		if q.expected == q.base {
			q.expectedAt = t
			q.sent = q.base
			h.offer(p)
		}
	}
}

// expire turns publishes that could not be placed in time into voids: their
// conns are told that their fate is unknown, and their seqs live on.
func (q *publisher) expire(h *Hub, t int64) {
	for q.head+q.voided < len(q.pending) {
		p := &q.pending[q.head+q.voided]
		if at := p.at + int64(h.cfg.PublishTimeout); t < at {
			h.expiry = min(h.expiry, at)
			return
		}
		h.unacked -= int(p.size)
		q.forgetPayload(h, p)
		if p.timed {
			p.timed = false
			h.dropSample(p.conn)
		}
		p.kind, p.done = proto.KindVoid, true
		m := p.m
		p.m = nil
		q.voided++
		h.stats.Expired++
		if m.ID == p.conn && m.room != nil {
			h.sink.Expired(m)
			h.leave(m)
		}
	}
}

// refusals tells members with receipts of publishes that the owner refused.
func (q *publisher) refusals(h *Hub, x *proto.Ack) {
	for {
		res, ok := x.Results.Next()
		if !ok {
			return
		}
		if res.Code == proto.OK || res.Seq < q.base || res.Seq >= q.next {
			continue
		}
		h.stats.Refused++
		p := &q.pending[q.head+int(res.Seq-q.base)]
		if p.timed {
			p.timed = false
			h.dropSample(p.conn)
		}
		if m := p.m; m != nil && m.ID == p.conn && m.room != nil && m.flags&flagReceipts != 0 {
			m.flags &^= flagUnplaced
			h.sink.Placed(m, proto.Position{}, res.Code)
		}
	}
}

package hub

import (
	"github.com/roomring/roomring/proto"
)

// batchMax bounds a frame about many rooms, in bytes: far below
// proto.MaxFrame, so that a link with little credit can have one.
const batchMax = 32 << 10

// entryMax is the longest entry of such a frame: a name, an epoch, two offsets.
const entryMax = 1 + proto.MaxRoom + 13 + 8 + 8

// maxAsking bounds the unanswered fetches of a partition, so that a storm of
// resumes stays below what an owner takes from a link.
const maxAsking = 2

// Work calls f for each link that has something to send, data or control
// frames. f calls Fill and Control as the link has space; what is left is
// offered by the next Work again.
func (h *Hub) Work(f func(node proto.NodeName, index int)) {
	kept := h.active[:0]
	for _, o := range h.active {
		if o.busy() {
			f(o.peer.name, o.index)
		}
		if o.busy() {
			kept = append(kept, o)
		} else {
			o.inActive = false
		}
	}
	clear(h.active[len(kept):])
	h.active = kept
}

func (o *outbox) busy() bool {
	return o.up && (o.waits() || len(o.counts) > 0 || len(o.fences) > 0)
}

func (h *Hub) outbox(node proto.NodeName, index int) *outbox {
	n := h.peers[node]
	if n == nil || index < 0 || index >= len(n.links) || !n.links[index].up {
		return nil
	}
	return &n.links[index]
}

// Fill appends data frames for a link to b until about limit bytes were
// appended: it stops behind the frame that reaches the limit. Call it when the
// link has space.
func (h *Hub) Fill(node proto.NodeName, index int, b []byte, limit int) []byte {
	o := h.outbox(node, index)
	if o == nil {
		return b
	}
	end := len(b) + limit
	for o.waits() && len(b) < end {
		p := o.pop()
		b = h.fillPartition(p, b, end)
		h.offer(p)
	}
	return b
}

// fillPartition sends in the order that makes a restart safe and short: no
// message is published before its room is attached, and those that wait go
// before the rooms in which nothing does.
func (h *Hub) fillPartition(p *partition, b []byte, end int) []byte {
	if p.blocked {
		return b
	}
	for len(p.detach) > 0 && len(b) < end {
		b = h.fillDetach(p, b)
	}
	if p.yields && len(p.attach) > 0 && len(b) < end {
		b = h.fillAttach(p, b)
	}
	for p.isUrgent() && len(b) < end {
		b = h.fillUrgent(p, b, end)
	}
	p.yields = p.isUrgent()
	for len(p.attach) > 0 && len(b) < end {
		b = h.fillAttach(p, b)
	}
	for len(p.fetches) > 0 && p.asking < maxAsking && len(b) < end {
		b = h.fillFetch(p, b)
	}
	if len(p.attach) == 0 {
		b = h.fillPublishes(p, b, p.pub.next, end)
	}
	return b
}

// fillUrgent attaches the rooms of some of the urgent publishes, then sends
// those.
func (h *Hub) fillUrgent(p *partition, b []byte, end int) []byte {
	q := &p.pub
	b, start := proto.BeginBatch(b, proto.FrameAttach, p.id, p.term)
	empty, upto := len(b), q.sent
	for upto < min(p.urgent, q.next) && len(b)-start < batchMax-entryMax {
		k := &q.pending[q.head+int(upto-q.base)]
		if r := h.rooms[k.room]; r != nil && r.queued && k.kind != proto.KindVoid {
			r.queued = false // fillAttach passes it over
			b = h.fillAttachEntry(r, b)
		}
		upto++
	}
	if len(b) == empty {
		b = b[:start]
	} else {
		b = proto.End(b, start)
	}
	return h.fillPublishes(p, b, upto, end)
}

func (h *Hub) fillDetach(p *partition, b []byte) []byte {
	b, start := proto.BeginBatch(b, proto.FrameDetach, p.id, p.term)
	n := 0
	for n < len(p.detach) && len(b)-start < batchMax-entryMax {
		b = proto.AppendDetachEntry(b, p.detach[n])
		n++
	}
	if p.detach = p.detach[n:]; len(p.detach) == 0 {
		p.detach = nil
	}
	return proto.End(b, start)
}

func (h *Hub) fillAttach(p *partition, b []byte) []byte {
	b, start := proto.BeginBatch(b, proto.FrameAttach, p.id, p.term)
	empty := len(b)
	n := 0
	for n < len(p.attach) && len(b)-start < batchMax-entryMax {
		r := p.attach[n]
		n++
		if r.gone || !r.queued {
			continue
		}
		r.queued = false
		b = h.fillAttachEntry(r, b)
	}
	clear(p.attach[:n])
	if p.attach = p.attach[n:]; len(p.attach) == 0 {
		p.attach = nil
	}
	if len(b) == empty {
		return b[:start]
	}
	return proto.End(b, start)
}

func (h *Hub) fillAttachEntry(r *room, b []byte) []byte {
	r.state, r.current = stateAsked, true
	if h.cfg.Break == BreakReplay {
		return proto.AppendAttachEntry(b, r.name, proto.Epoch{}, 0)
	}
	return proto.AppendAttachEntry(b, r.name, r.epoch, r.last)
}

func (h *Hub) fillFetch(p *partition, b []byte) []byte {
	r := p.fetches[0]
	p.fetches[0] = nil
	if p.fetches = p.fetches[1:]; len(p.fetches) == 0 {
		p.fetches = nil
	}
	r.asked = false
	f := r.fetch
	if f == nil || f.sent || r.gone || r.state != stateAttached {
		return b // settle asks again once the room is attached
	}
	f.sent = true
	p.asking++
	h.stats.Fetches++
	h.name = append(h.name[:0], r.name...)
	return proto.AppendFetch(b, &proto.Fetch{Partition: p.id, Term: p.term, Room: h.name, Epoch: r.epoch, After: f.after, Upto: f.upto})
}

// fillPublishes sends what is not sent below seq upto.
func (h *Hub) fillPublishes(p *partition, b []byte, upto proto.Seq, end int) []byte {
	q := &p.pub
	for q.hasWork() && q.sent < upto && len(b) < end {
		k := &q.pending[q.head+int(q.sent-q.base)]
		h.name = append(h.name[:0], k.room...)
		conn := k.conn
		if k.timed {
			conn |= proto.TimedConn
		}
		b = proto.AppendPublish(b, &proto.Publish{
			Partition: p.id, Term: p.term, Seq: q.sent, Base: q.base,
			Kind: k.kind, Conn: conn, Room: h.name, Payload: q.payload(k),
		})
		if q.sent < q.high {
			h.stats.Resent++
		}
		q.sent++
		q.high = max(q.high, q.sent)
	}
	return b
}

// Control appends control frames for a link to b, as Fill does: Fenced for who
// spoke in an old term, and the member counts that are due. Only rooms that are
// attached are announced, since control frames may pass an Attach; the others
// are when they are.
func (h *Hub) Control(node proto.NodeName, index int, b []byte, limit int) []byte {
	o := h.outbox(node, index)
	if o == nil {
		return b
	}
	end := len(b) + limit
	b = o.fillFences(b, end)
	n := 0
	for n < len(o.counts) && len(b) < end {
		p := o.counts[n]
		for len(p.counts) > 0 && len(b) < end {
			b = h.fillCounts(p, b)
		}
		if len(p.counts) == 0 {
			p.inCounts = false
			n++
		}
	}
	o.counts = append(o.counts[:0], o.counts[n:]...)
	return b
}

func (h *Hub) fillCounts(p *partition, b []byte) []byte {
	b, start := proto.BeginBatch(b, proto.FrameMembers, p.id, p.term)
	empty := len(b)
	n := 0
	for n < len(p.counts) && len(b)-start < batchMax-entryMax {
		r := p.counts[n]
		n++
		r.counted = false
		if !r.gone && r.state == stateAttached {
			b = proto.AppendMembersEntry(b, r.name, uint32(r.members()))
		}
	}
	clear(p.counts[:n])
	if p.counts = p.counts[n:]; len(p.counts) == 0 {
		p.counts = nil
	}
	if len(b) == empty {
		return b[:start]
	}
	return proto.End(b, start)
}

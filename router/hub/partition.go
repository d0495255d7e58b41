package hub

import (
	"fmt"
	"slices"
	"time"

	"github.com/roomring/roomring/proto"
)

// partition is what this lane does at the owner of a partition: the Table's
// row, the rooms that are heard there, and the publisher.
//
// After each new row, and each time the link was down, everything starts again:
// rooms are attached from what we have last, those with waiting publishes first,
// and what is unacknowledged is sent again behind its rooms. So frames may be
// lost, ignored or dropped at any such change without harm.
type partition struct {
	id    proto.Partition
	term  proto.Term
	peer  *peer // the owner; nil while there is none
	rooms []*room
	pub   publisher

	recent *room // the one that was heard of last; nil for none

	// Work for the owner, in the order in which it is sent.
	detach  []string
	attach  []*room
	fetches []*room
	asking  int     // fetches sent and not answered
	counts  []*room // their number of members changed

	line       *queue     // the one of its link that it is in; nil: none
	next, prev *partition // in line
	inCounts   bool       // in outbox.counts
	counting   bool       // in hub.counted
	delayed    bool       // in hub.delayed

	// Publishes below urgent go before the rooms that nobody waits for: they
	// were there when everything started again, or their members would wait for
	// rooms that are none of theirs.
	urgent proto.Seq
	yields bool // urgent ones filled a link: some rooms go before the next of them

	pause   pause
	blocked bool  // the owner said it is not: nothing is sent
	retryAt int64 // until then, or until a new row

	// Other terms than the row's: see term.go.
	told      proto.Term       // the highest that a frame named
	behind    bool             // in hub.behind
	lossy     bool             // a frame did not fit: none behind it is held
	held      []heldFrame      // of the owner, in terms above ours, in the order they came
	heldBytes int              // of held
	broken    error            // a held frame broke the protocol: the owner's next frame ends the link
	fenced    []proto.NodeName // were told, in this term, that theirs is old
}

// peer is another node: an owner, a node with a link, or both.
type peer struct {
	name  proto.NodeName
	rows  int // partitions it owns
	links []outbox
}

// outbox is what waits for one link.
type outbox struct {
	peer     *peer
	index    int
	up       bool
	inActive bool
	turn     uint8          // counts the partitions served
	first    queue          // have urgent publishes
	data     queue          // have other data frames to send
	counts   []*partition   // have member counts that are due
	fences   []proto.Signal // Fenced frames to send: at most one per partition and term
}

// queue is a list of partitions, each in one at most, linked in the partitions:
// those served go to its end, so all have their turn.
type queue struct{ head, tail *partition }

// otherEvery is how many partitions are served until one is that has nothing
// urgent: so nothing that is urgent, however much, keeps all else waiting.
const otherEvery = 4

func (h *Hub) partition(id proto.Partition) *partition {
	if int(id)%h.cfg.Lanes != h.cfg.Lane || int(id) >= h.cfg.Partitions {
		panic(fmt.Sprintf("hub: partition %d on lane %d of %d", id, h.cfg.Lane, h.cfg.Lanes))
	}
	p := h.parts[int(id)/h.cfg.Lanes]
	if p == nil {
		p = &partition{id: id, pub: publisher{base: 1, next: 1, sent: 1}}
		h.parts[int(id)/h.cfg.Lanes] = p
	}
	return p
}

// SetRow says who owns a partition of this lane, in which term; owner "" means
// nobody. Rows older than the known one are passed over, so that the caller may
// hand over all rows of a Table, or only the changed ones, in any order. What the
// owner said in that term before we knew of it is taken now, so members may be
// told things within SetRow, as within Frame.
func (h *Hub) SetRow(id proto.Partition, owner proto.NodeName, term proto.Term, now time.Time) {
	h.clock(now)
	p := h.partition(id)
	if term < p.term || term == p.term && p.owner() == owner {
		return
	}
	same := p.owner() == owner
	if !same {
		h.interrupt(p, causeRow)
	}
	if old := p.peer; old != nil {
		h.withdraw(p)
		old.rows--
		p.peer = nil
		h.release(old)
	}
	p.term, p.fenced, p.broken = term, nil, nil
	if owner != "" {
		p.peer = h.peer(owner)
		p.peer.rows++
	}
	if !same {
		h.dropHeld(p)
	}
	h.catchUp(p)
	h.restart(p)
}

func (p *partition) owner() proto.NodeName {
	if p.peer == nil {
		return ""
	}
	return p.peer.name
}

func (h *Hub) peer(name proto.NodeName) *peer {
	n := h.peers[name]
	if n == nil {
		n = &peer{name: name}
		h.peers[name] = n
	}
	return n
}

// release forgets a node that owns nothing and has no link.
func (h *Hub) release(n *peer) {
	if n.rows > 0 {
		return
	}
	for i := range n.links {
		if n.links[i].up {
			return
		}
	}
	delete(h.peers, n.name)
}

// LinkUp says that link index of count to a node is open; count is the same for
// all links of the node. All rooms whose partition uses it are attached again.
func (h *Hub) LinkUp(node proto.NodeName, index, count int, now time.Time) {
	h.clock(now)
	if index < 0 || index >= count {
		panic(fmt.Sprintf("hub: link %d of %d", index, count))
	}
	n := h.peer(node)
	if len(n.links) != count {
		h.unlink(n)
		n.links = make([]outbox, count)
		for i := range n.links {
			n.links[i] = outbox{peer: n, index: i}
		}
	}
	n.links[index].up = true
	for _, p := range h.parts {
		if p != nil && p.peer == n && int(p.id)%count == index {
			h.dropHeld(p)
			h.restart(p)
		}
	}
}

// LinkDown says that a link is closed: nothing more comes from it, and Fill
// will not be called for it.
func (h *Hub) LinkDown(node proto.NodeName, index int, now time.Time) {
	h.clock(now)
	n := h.peers[node]
	if n == nil || index < 0 || index >= len(n.links) {
		return
	}
	n.links[index].clear()
	for _, p := range h.parts {
		if p != nil && p.peer == n && int(p.id)%len(n.links) == index {
			h.interrupt(p, causeLink)
			h.dropHeld(p)
		}
	}
	h.release(n)
}

func (h *Hub) unlink(n *peer) {
	for i := range n.links {
		n.links[i].clear()
	}
}

func (o *outbox) clear() {
	o.up = false
	for o.waits() {
		o.pop()
	}
	for _, p := range o.counts {
		p.inCounts = false
	}
	o.counts, o.fences = nil, nil
}

// link is the way to the owner, nil while there is none.
func (p *partition) link() *outbox {
	if p.peer == nil || len(p.peer.links) == 0 {
		return nil
	}
	o := &p.peer.links[int(p.id)%len(p.peer.links)]
	if !o.up {
		return nil
	}
	return o
}

// restart begins everything about a partition again.
func (h *Hub) restart(p *partition) {
	p.blocked, p.asking = false, 0
	p.detach, p.fetches = nil, nil
	clear(p.attach)
	p.attach = p.attach[:0]
	for _, r := range p.rooms {
		r.state, r.queued, r.asked, r.tries = stateNew, true, false, 0
		h.dropFetch(r)
		r.stale = 0     // what is on its way does not come, or is of an older term
		r.seen = r.last // what an owner had in its log and nobody committed, the next may not have
		p.attach = append(p.attach, r)
	}
	p.pub.rewind(h)
	h.hurry(p)
	h.offer(p)
}

// hurry has what is to be published now go before all rooms but its own.
func (h *Hub) hurry(p *partition) {
	p.urgent = p.pub.next
	if o := p.link(); o != nil && p.line == &o.data && p.isUrgent() {
		o.data.remove(p) // it is offered again, in front
	}
}

// isUrgent reports whether p has an urgent publish to send. Without rooms to
// attach all go in their order, and nothing is urgent.
func (p *partition) isUrgent() bool {
	return len(p.attach) > 0 && p.pub.hasWork() && p.pub.sent < p.urgent
}

// block stops sending to an owner that says it is none. After a time, or with
// the next row, everything starts again.
func (h *Hub) block(p *partition, after time.Duration) {
	if !p.blocked {
		h.interrupt(p, causeWord)
		p.blocked = true
		p.retryAt = h.now + int64(after)
		h.delay(p)
	}
}

// offer puts a partition with work into the queue of its link.
func (h *Hub) offer(p *partition) {
	if p.line != nil || p.blocked || !p.hasWork() {
		return
	}
	if o := p.link(); o != nil {
		if p.isUrgent() {
			o.first.push(p)
		} else {
			o.data.push(p)
		}
		h.activate(o)
	}
}

func (p *partition) hasWork() bool {
	return len(p.attach) > 0 || len(p.detach) > 0 || len(p.fetches) > 0 && p.asking < maxAsking || p.pub.hasWork()
}

// withdraw takes a partition out of the queues of its link.
func (h *Hub) withdraw(p *partition) {
	if len(p.peer.links) == 0 {
		return
	}
	o := &p.peer.links[int(p.id)%len(p.peer.links)]
	if p.line != nil {
		p.line.remove(p)
	}
	if p.inCounts {
		p.inCounts = false
		o.counts = slices.DeleteFunc(o.counts, func(k *partition) bool { return k == p })
	}
}

func (h *Hub) activate(o *outbox) {
	if !o.inActive {
		o.inActive = true
		h.active = append(h.active, o)
	}
}

// delay has Tick look at a partition as long as something of it is to be tried
// again.
func (h *Hub) delay(p *partition) {
	if !p.delayed && p.waitsForTime() {
		p.delayed = true
		h.delayed = append(h.delayed, p)
	}
}

func (p *partition) waitsForTime() bool { return p.blocked || p.pub.held || p.pub.expectMore }

func (h *Hub) tickDelayed(t int64) {
	h.delayed = slices.DeleteFunc(h.delayed, func(p *partition) bool {
		if p.blocked && p.retryAt <= t {
			h.restart(p)
		}
		p.pub.tick(h, p, t)
		p.delayed = p.waitsForTime()
		return !p.delayed
	})
}

// expire looks for publishes that could not be placed in time, in all partitions,
// but only when the oldest of those seen last may be one: what came since is
// younger.
func (h *Hub) expire(t int64) {
	if t < h.expiry {
		return
	}
	h.expiry = t + int64(h.cfg.PublishTimeout)
	for _, p := range h.parts {
		if p != nil {
			p.pub.expire(h, t)
		}
	}
	h.drained()
}

// counts has announce look at a partition whose rooms' members changed.
func (h *Hub) counts(p *partition) {
	if !p.counting {
		p.counting = true
		h.counted = append(h.counted, p)
	}
}

// announce makes member counts that changed due.
func (h *Hub) announce() {
	h.counted = slices.DeleteFunc(h.counted, func(p *partition) bool {
		if o := p.link(); o != nil && len(p.counts) > 0 && !p.inCounts {
			p.inCounts = true
			o.counts = append(o.counts, p)
			h.activate(o)
		}
		p.counting = len(p.counts) > 0
		return !p.counting
	})
}

// waits reports whether a partition has data frames for the link.
func (o *outbox) waits() bool { return o.first.head != nil || o.data.head != nil }

// pop takes the partition that is served next.
func (o *outbox) pop() *partition {
	o.turn++
	q := &o.first
	if q.head == nil || o.turn%otherEvery == 0 && o.data.head != nil {
		q = &o.data
	}
	p := q.head
	q.remove(p)
	return p
}

func (q *queue) push(p *partition) {
	p.line, p.next, p.prev = q, nil, q.tail
	if q.tail != nil {
		q.tail.next = p
	} else {
		q.head = p
	}
	q.tail = p
}

func (q *queue) remove(p *partition) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		q.head = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		q.tail = p.prev
	}
	p.line, p.next, p.prev = nil, nil, nil
}

package loadgen

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// room is a set of members, some of which publish, in turn.
type room struct {
	run     *run
	id      int
	name    string
	members []*member
	pubs    []*member

	alive atomic.Int64  // members whose conn is open
	owed  atomic.Int64  // deliveries still to come of messages already published
	came  atomic.Uint64 // deliveries so far
	wake  chan struct{} // the window has room, or something is due

	mu  sync.Mutex
	due []int64 // open loop: when the messages not yet sent were due; at most maxDue

	// Owned by publish.
	next    int
	payload []byte
	dirty   []*member
}

// maxDue bounds what a room holds back when the server pushes back.
const maxDue = 4096

func (r *room) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// delivered counts n arrivals, and wakes the publisher when the window has room again.
func (r *room) delivered(n int) {
	if n == 0 {
		return
	}
	r.run.delivered.Add(uint64(n))
	r.came.Add(uint64(n))
	if left := r.owed.Add(int64(-n)); r.run.paced() || left > r.full() {
		return
	}
	r.poke()
}

// perMessage is how many deliveries one message makes.
func (r *room) perMessage() int64 {
	n := r.alive.Load()
	if r.run.cfg.OthersOnly {
		n--
	}
	return max(n, 0)
}

// full is how much may be owed while there is room for one more message in the window.
func (r *room) full() int64 { return int64(r.run.cfg.Window-1) * r.perMessage() }

// publish keeps the window full, or sends what is due, until ctx ends.
func (r *room) publish(ctx context.Context) {
	r.payload = make([]byte, r.run.cfg.Size)
	for i := range r.payload {
		r.payload[i] = 'x'
	}
	stall := time.NewTicker(r.run.cfg.Quiet)
	defer stall.Stop()
	before := uint64(0)
	for ctx.Err() == nil {
		if r.run.paced() {
			r.sendDue()
		} else {
			r.topUp()
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		case <-stall.C:
			before = r.unstall(before)
		}
	}
}

// unstall forgets what is owed when nothing came since before: it was lost, and without this a closed
// loop would stand for ever. It returns what to compare with the next time.
func (r *room) unstall(before uint64) uint64 {
	came := r.came.Load()
	if !r.run.paced() && came == before && r.owed.Load() > r.full() {
		r.run.stalls.Add(1)
		r.owed.Store(0)
	}
	return came
}

func (r *room) topUp() {
	for r.owed.Load() <= r.full() {
		if !r.encode(r.run.now()) {
			return // no publisher is left
		}
		if r.perMessage() == 0 {
			break // nobody listens: one at a time, paced by the stall timer
		}
	}
	r.flush()
}

func (r *room) sendDue() {
	r.mu.Lock()
	due := r.due
	r.due = nil
	r.mu.Unlock()
	for _, at := range due {
		if !r.encode(at) {
			return
		}
	}
	r.flush()
}

// schedule makes a message due at the given time.
func (r *room) schedule(at int64) {
	r.mu.Lock()
	full := len(r.due) >= maxDue
	if !full {
		r.due = append(r.due, at)
	}
	r.mu.Unlock()
	if full {
		r.run.unsent.Add(1)
		return
	}
	r.poke()
}

// encode adds the next message to its publisher's buffer. It returns false when nobody can publish.
func (r *room) encode(at int64) bool {
	for range r.pubs {
		m := r.pubs[r.next]
		r.next = (r.next + 1) % len(r.pubs)
		if m.gone.Load() {
			continue
		}
		stamp{r.run.id, uint32(r.id), uint16(m.pub), m.sent.Add(1), at}.put(r.payload)
		if len(m.out) == 0 {
			r.dirty = append(r.dirty, m)
		}
		m.out = m.conn.AppendMessage(m.out, r.run.cfg.Binary, r.payload)
		r.owed.Add(r.perMessage())
		r.run.published.Add(1)
		return true
	}
	return false
}

// flush writes each publisher's messages at once. A failed write shows in the reader, too.
func (r *room) flush() {
	for _, m := range r.dirty {
		if err := m.conn.Write(m.out, writeTimeout); err != nil {
			m.conn.Abort()
		}
		m.out = m.out[:0]
	}
	r.dirty = r.dirty[:0]
}

// lost counts the deliveries that never came. Members that left are not asked; of a publisher that
// left, only messages before one that came count, because nobody knows whether the rest was sent.
func (r *room) lost() uint64 {
	var n uint64
	for _, m := range r.members {
		if m.conn == nil || m.left {
			continue
		}
		for k := range m.from {
			switch pub := r.pubs[k]; {
			case pub == m && r.run.cfg.OthersOnly:
			case pub.left:
				n += m.from[k].lost(0)
			default:
				n += m.from[k].lost(pub.sent.Load())
			}
		}
	}
	return n
}

// disagree tells whether members that got everything got it in different orders. It takes at least
// two publishers and members that hear all of them.
func (r *room) disagree() bool {
	if r.run.cfg.OthersOnly || r.lost() > 0 {
		return false
	}
	var first *member
	for _, m := range r.members {
		if m.conn == nil || m.left {
			continue
		}
		if first == nil {
			first = m
		}
		if m.seen != first.seen {
			return true
		}
	}
	return false
}

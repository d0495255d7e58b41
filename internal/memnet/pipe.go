package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// capacity is how many bytes one direction of a connection holds: both socket
// buffers and what is on its way.
const capacity = 64 << 10

// pipe is one direction of a connection.
//
// Invariant: chunks arrive in the order of writing, at times that never go
// back, and size is the sum of their lengths, at most capacity.
type pipe struct {
	route  *route
	writer *Conn

	mu              sync.Mutex
	changed         chan struct{} // closed when anything here or on the route changes; nil when nobody waits
	chunks          []chunk
	size            int
	last            time.Time // arrival of the newest chunk, and of the end
	finished        error     // the writer has closed its direction; what its writes get
	left            bool      // the reader has closed
	broken          error     // what both sides get
	readBy, writeBy time.Time
}

// chunk is what arrives at one moment.
type chunk struct {
	at time.Time
	b  []byte
}

func newPipe(r *route, writer *Conn) *pipe { return &pipe{route: r, writer: writer} }

// read waits for bytes that have arrived.
func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		n, until, err := p.tryRead(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		p.wait(until)
	}
}

// tryRead returns what there is, and when there is nothing, when to look again
// at the latest (zero: when something changes).
func (p *pipe) tryRead(b []byte) (n int, until time.Time, err error) {
	now := time.Now()
	switch {
	case p.left:
		return 0, until, net.ErrClosed
	case p.broken != nil:
		return 0, until, p.broken
	case expired(p.readBy, now):
		return 0, until, os.ErrDeadlineExceeded
	case p.route.cut.Load():
		return 0, p.readBy, nil
	case len(p.chunks) > 0 && !p.chunks[0].at.After(now):
		return p.take(b, now), until, nil
	case len(p.chunks) > 0:
		return 0, sooner(p.readBy, p.chunks[0].at), nil
	case p.finished == nil:
		return 0, p.readBy, nil
	case p.last.After(now):
		return 0, sooner(p.readBy, p.last), nil
	}
	return 0, until, io.EOF
}

// take moves arrived bytes into b.
func (p *pipe) take(b []byte, now time.Time) (n int) {
	for n < len(b) && len(p.chunks) > 0 && !p.chunks[0].at.After(now) {
		first := &p.chunks[0]
		k := copy(b[n:], first.b)
		n += k
		if first.b = first.b[k:]; len(first.b) == 0 {
			p.chunks[0] = chunk{}
			p.chunks = p.chunks[1:]
		}
	}
	p.size -= n
	p.wakeAll()
	return n
}

// write waits until all of b is in the pipe.
func (p *pipe) write(b []byte) (done int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		n, err := p.tryWrite(b[done:])
		done += n
		if err != nil || done == len(b) {
			return done, err
		}
		if n == 0 {
			p.wait(p.writeBy)
		}
	}
}

func (p *pipe) tryWrite(b []byte) (int, error) {
	now := time.Now()
	cut := p.route.cut.Load() || p.writer.in.route.cut.Load()
	switch {
	case p.finished != nil:
		return 0, p.finished
	case p.broken != nil:
		return 0, p.broken
	case expired(p.writeBy, now):
		return 0, os.ErrDeadlineExceeded
	case p.left && !cut:
		return 0, syscall.EPIPE
	}
	n := min(len(b), capacity-p.size)
	if n > 0 {
		p.put(append([]byte(nil), b[:n]...), now)
	}
	return n, nil
}

// put appends a chunk that was written now.
func (p *pipe) put(b []byte, now time.Time) {
	p.chunks = append(p.chunks, chunk{at: p.arrival(now), b: b})
	p.size += len(b)
	p.wakeAll()
}

// arrival returns when what is written now arrives.
func (p *pipe) arrival(now time.Time) time.Time {
	if at := now.Add(time.Duration(p.route.delay.Load())); at.After(p.last) {
		p.last = at
	}
	return p.last
}

// finish closes the writer's direction; its writes get err.
func (p *pipe) finish(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished == nil {
		p.arrival(time.Now())
	}
	p.finished = err
	p.wakeAll()
}

// leave closes the reader's side: what is on its way is of no use any more.
func (p *pipe) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.chunks, p.size = true, nil, 0
	p.wakeAll()
}

// breakOff ends the pipe with an error for both sides.
func (p *pipe) breakOff(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken, p.chunks, p.size = err, nil, 0
	}
	p.wakeAll()
}

// set sets one of the deadlines.
func (p *pipe) set(deadline *time.Time, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*deadline = t
	p.wakeAll()
}

// notify wakes who waits, from outside.
func (p *pipe) notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wakeAll()
}

// wakeAll wakes who waits. mu is held.
func (p *pipe) wakeAll() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// wait waits for a change, or until a time if it is not zero. mu is held, but
// not while waiting.
func (p *pipe) wait(until time.Time) {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	if until.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	}
}

func expired(deadline, now time.Time) bool { return !deadline.IsZero() && !deadline.After(now) }

// sooner returns the earlier of a deadline, which may be none, and a time.
func sooner(deadline, t time.Time) time.Time {
	if !deadline.IsZero() && deadline.Before(t) {
		return deadline
	}
	return t
}

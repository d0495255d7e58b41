package poll

import (
	"io"
	"net"
	"sync"
	"time"
)

const (
	// streamRead is the size of a stream's read buffer. Each stream has one,
	// since a blocking read must be given its buffer before bytes are there.
	streamRead = 4 << 10

	// streamWrite bounds what a stream holds between Write and the network.
	streamWrite = 64 << 10

	// flushTime bounds how long a closed stream may take to send what Write
	// had taken, and to close (TLS sends an alert).
	flushTime = time.Second
)

// stream is the portable twin of a descriptor in epoll: a net.Conn, a
// goroutine that reads from it and, from the first Write on, one that writes.
// They never call handlers; they raise events, and the loop comes to fetch
// what they have. It moves between loops with its goroutines running.
//
// The reader hands over one buffer and waits for the loop to be done with it:
// a paused connection reads no further, which is the back-pressure.
type stream struct {
	conn net.Conn
	more chan struct{} // one token: the reader may use buf again
	gone chan struct{} // closed by close: the reader must not wait any more
	buf  []byte        // the reader's, made by attach

	// Owned by the reader until it raises eventRead, then by the loop until it
	// gives the token, for ever when end is set.
	in  []byte // the part of buf that was read
	end error  // why there will be no more

	// Owned by the goroutine of the loop that it is on. True from when in and
	// end were fetched until the token is given; in is nil once handed over.
	ready bool

	mu      sync.Mutex
	kick    sync.Cond // the writer waits here
	loop    *Loop     // nil: on no loop
	owner   *Conn
	home    *Loop // waits for our goroutines; outlives a Close
	running int   // goroutines
	writing bool  // the writer is one of them
	raised  event // what the loop has not seen
	out     []byte
	flight  int   // bytes that the writer is writing
	want    bool  // raise eventSpace when there is some
	fin     bool  // close this direction when all is written
	sent    bool  // ... which was done
	closed  bool  // write what there is, then close
	broken  error // a write failed with it
	timer   *time.Timer
}

// An event is something that the loop must come for.
type event uint8

const (
	eventRead  event = 1 << iota // in or end is set
	eventSpace                   // out takes more
	eventWrite                   // broken is set
	eventFin                     // sent is set
)

func newStream(c net.Conn) *stream {
	s := &stream{conn: c, more: make(chan struct{}, 1), gone: make(chan struct{})}
	s.kick.L = &s.mu
	return s
}

// attach puts the stream on a loop. What was raised meanwhile is told, and so
// is again what the last loop knew and lasts. What that loop had fetched from
// the reader and not finished is up to the caller.
func (s *stream) attach(l *Loop, c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loop, s.owner, s.home = l, c, l
	l.streams[s] = struct{}{}
	l.goroutines.Add(s.running)
	if s.buf == nil {
		s.buf = make([]byte, streamRead)
		s.start(s.reads)
	}
	if s.broken != nil {
		s.raised |= eventWrite
	}
	if s.sent {
		s.raised |= eventFin
	}
	if s.raised != 0 {
		l.enqueue(s)
	}
}

// detach takes the stream off its loop.
func (s *stream) detach(l *Loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(l.streams, s)
	s.loop, s.owner = nil, nil
}

// leave ends the loop's duty to wait for the goroutines.
func (s *stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.home.goroutines.Add(-s.running)
	s.home = nil
}

// start runs f as one of our goroutines. mu is held.
func (s *stream) start(f func()) {
	s.running++
	if s.home != nil {
		s.home.goroutines.Add(1)
	}
	go func() {
		defer s.stopped()
		f()
	}()
}

func (s *stream) stopped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.home != nil {
		s.home.goroutines.Done()
	}
}

// ownedBy returns the Conn that drives the stream on l, nil if none does.
func (s *stream) ownedBy(l *Loop) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loop != l {
		return nil
	}
	return s.owner
}

// raise tells the loop, if there is one, to come. mu is held.
func (s *stream) raise(e event) {
	told := s.raised != 0
	s.raised |= e
	if s.loop != nil && !told {
		s.loop.enqueue(s)
	}
}

// fetch returns what was raised since the last time.
func (s *stream) fetch(l *Loop) (*Conn, event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loop != l {
		return nil, 0, nil
	}
	e := s.raised
	s.raised = 0
	s.ready = s.ready || e&eventRead != 0
	return s.owner, e, s.broken
}

// reads is the reader.
func (s *stream) reads() {
	for {
		n, err := s.conn.Read(s.buf)
		if n == 0 && err == nil {
			continue
		}
		s.in, s.end = s.buf[:n], err
		s.mu.Lock()
		s.raise(eventRead)
		s.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case <-s.more:
		case <-s.gone:
			return
		}
	}
}

// write takes what fits of b; the writer sends it.
func (s *stream) write(b []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return 0
	}
	n := min(len(b), streamWrite-len(s.out)-s.flight)
	s.out = append(s.out, b[:n]...)
	s.want = n < len(b)
	s.startWriter()
	return n
}

// startWriter starts the writer, or wakes it. mu is held.
func (s *stream) startWriter() {
	if !s.writing {
		s.writing = true
		s.start(s.writes)
	}
	s.kick.Signal()
}

// writes is the writer. It ends when the stream is closed, and closes the
// connection itself, which may wait too (TLS).
func (s *stream) writes() {
	var spare []byte
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.broken == nil && len(s.out) > 0:
			spare = s.writeSome(spare)
		case s.closed:
			s.mu.Unlock()
			_ = s.conn.Close()
			s.mu.Lock()
			s.timer.Stop()
			return
		case s.broken == nil && s.fin && !s.sent:
			s.sendFin()
		default:
			s.kick.Wait()
		}
	}
}

// writeSome writes all that is in out and returns a buffer to use next, nil
// when the stream has nothing more: an idle one keeps no large buffers.
func (s *stream) writeSome(spare []byte) []byte {
	b := s.out
	s.out, s.flight = spare[:0], len(b)
	s.mu.Unlock()
	_, err := s.conn.Write(b)
	s.mu.Lock()
	s.flight = 0
	switch {
	case err != nil:
		s.broken, s.out = err, nil
		s.raise(eventWrite)
	case s.want:
		s.want = false
		s.raise(eventSpace)
	}
	if len(s.out) == 0 && cap(b)+cap(s.out) > 2*streamRead {
		s.out, b = nil, nil
	}
	return b
}

// sendFin closes this direction.
func (s *stream) sendFin() {
	s.mu.Unlock()
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	s.mu.Lock()
	s.sent = true
	s.raise(eventFin)
}

func (s *stream) closeWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fin = true
	s.startWriter()
}

// hasSent reports whether this direction is closed.
func (s *stream) hasSent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// close sends what was taken and closes the connection, all in the writer.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.gone)
	s.timer = time.AfterFunc(flushTime, s.force)
	s.startWriter()
}

// force ends a close that takes too long, below TLS if there is some.
func (s *stream) force() {
	c := s.conn
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}

// dispatchStream handles what a stream has raised.
func (l *Loop) dispatchStream(s *stream) {
	c, events, broken := s.fetch(l)
	if c == nil {
		return
	}
	defer l.contain()
	l.current = c
	if events&eventWrite != 0 {
		l.fail(c, broken)
		return
	}
	if events&eventSpace != 0 && c.flags&short != 0 {
		c.flags &^= short
		c.handler.Writable()
		if l.current != c {
			return
		}
	}
	if events&eventRead != 0 {
		l.readStream(c)
	}
	if l.current == c && events&eventFin != 0 && c.flags&ended != 0 {
		l.fail(c, ErrFinished)
	}
}

// readStream hands over what the reader has brought. Then the reader may go
// on, unless the handler has paused or there is no more.
func (l *Loop) readStream(c *Conn) {
	s := c.stream
	if c.flags&ended != 0 {
		return
	}
	if in := s.in; len(in) > 0 && c.flags&paused == 0 {
		s.in = nil
		if !l.deliverChunk(c, in) {
			return
		}
	}
	switch {
	case s.end != nil && s.end != io.EOF:
		l.fail(c, s.end)
	case c.flags&paused != 0: // the rest of this at Resume
	case s.end == nil:
		s.ready = false
		s.more <- struct{}{}
	default:
		c.flags |= ended
		c.handler.EOF()
		if l.current == c && s.hasSent() {
			l.fail(c, ErrFinished)
		}
	}
}

// deliverChunk hands over one chunk behind what is left over.
func (l *Loop) deliverChunk(c *Conn, in []byte) bool {
	l.stats.Reads++
	l.stats.BytesIn += uint64(len(in))
	if len(c.rest)+len(in) > maxRest {
		l.fail(c, ErrRest)
		return false
	}
	if len(c.rest) > 0 {
		c.rest = append(c.rest, in...)
		in = c.rest
	}
	return l.deliver(c, in)
}

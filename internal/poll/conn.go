package poll

// Conn is one connection on a Loop. The zero value is a closed connection;
// Loop.Open opens it. It is small, meant to be embedded by value in whatever
// owns it, and must not be copied or moved while it is open.
//
// All methods must be called on the loop's goroutine. On a closed Conn they do
// nothing.
type Conn struct {
	loop    *Loop // nil: closed
	handler Handler
	rest    []byte  // what the handler left over; nil when it is nothing
	stream  *stream // set: driven by the portable twin
	fd      int32   // else by epoll
	born    uint32  // the wake-up in which it was opened, see epoll.dispatch
	flags   flags
}

type flags uint16

const (
	paused    flags = 1 << iota // reading is stopped by the handler
	ended                       // the peer has closed its direction and EOF was called
	short                       // the last Write was short: Writable is owed
	failed                      // a write failed: Broken is owed, nothing more is written
	queued                      // is in Loop.later to have left-over bytes handed over
	finished                    // this side has closed its direction
	inData                      // Data is running
	armedIn                     // epoll tells us about bytes
	armedOut                    // epoll tells us about space
	unwatched                   // not in the epoll set at all, see epoll.hangUp
	sips                        // reads little at once, see Sip
)

// Open drives s by this loop from now on: h is told what happens on it. If
// there is an error, s is still the caller's.
func (l *Loop) Open(c *Conn, s Socket, h Handler) error { return l.OpenWith(c, s, h, nil) }

// OpenWith is Open with bytes that were read from s before, as Release
// returned them. They are handed over in this wake-up, or the next one when
// called from Turn. rest belongs to the Conn from here on.
func (l *Loop) OpenWith(c *Conn, s Socket, h Handler, rest []byte) error {
	if c.loop != nil {
		panic("poll: open of a connection that is open")
	}
	if !s.valid() {
		return ErrClosed
	}
	if s.fd != 0 && l.ep == nil {
		var err error
		if s, err = portable(s); err != nil {
			return err
		}
	}
	*c = Conn{loop: l, handler: h, rest: rest, stream: s.stream, fd: s.fd}
	if s.stream != nil {
		s.stream.attach(l, c)
	} else if err := l.ep.add(c); err != nil {
		*c = Conn{}
		return err
	}
	l.stats.Conns++
	if len(rest) > 0 || s.stream != nil && s.stream.ready {
		c.defers(nil)
	}
	return nil
}

// Write sends what it can of b and returns how much that was. It never waits.
// If it is less than len(b), the connection is full: Writable will be called,
// once, when it takes more, and until then Write takes nothing. Or it is
// broken: then Broken follows from the loop, never from inside Write. b is not
// kept.
func (c *Conn) Write(b []byte) int {
	if c.loop == nil || c.flags&(failed|finished|short) != 0 || len(b) == 0 {
		return 0
	}
	var n int
	var err error
	if c.stream != nil {
		n = c.stream.write(b)
	} else {
		n, err = writeFD(c.fd, b)
	}
	c.wrote(n, len(b), err)
	return n
}

// wrote accounts for a write and arranges what it owes the handler.
func (c *Conn) wrote(n, wanted int, err error) {
	s := &c.loop.stats
	if n > 0 {
		s.Writes++
		s.BytesOut += uint64(n)
	}
	if err != nil {
		c.flags |= failed
		c.defers(err)
		return
	}
	if n < wanted {
		s.ShortWrites++
		c.flags |= short
		c.rearm()
	}
}

// Pause stops reading: what the peer sends stays in the network, which then
// slows the peer down. Data and EOF are not called before Resume. A broken
// connection is still reported, with two limits: after a CloseWrite, and in
// the portable twin while it already holds bytes, only a Write or the Resume
// may find out.
func (c *Conn) Pause() {
	if c.loop == nil || c.flags&paused != 0 {
		return
	}
	c.flags |= paused
	c.rearm()
}

// Resume goes on reading, and first hands over again what is left over: in
// this wake-up, or the next one when called from there or from Turn.
func (c *Conn) Resume() {
	if c.loop == nil || c.flags&paused == 0 {
		return
	}
	c.flags &^= paused
	c.defers(nil)
}

// Sip has at most 16 KiB read at once, from now until the connection leaves
// this loop. It is for peers in great numbers that may be paused in the middle
// of what a read brought: that is what each of them can make us keep.
func (c *Conn) Sip() { c.flags |= sips }

// Close ends the connection at once. No method of the handler is called
// afterwards. Bytes that Write has taken are still sent; what arrives is not
// read, and the peer may see a reset for it.
func (c *Conn) Close() {
	if c.loop == nil {
		return
	}
	s, _ := c.leave()
	s.Close()
}

// CloseWrite closes this side's direction after the bytes that Write has
// taken; the peer sees an end of file. Write takes nothing any more. A
// net.Conn that cannot do it (no CloseWrite method) is left as it is.
func (c *Conn) CloseWrite() {
	if c.loop == nil || c.flags&(finished|failed) != 0 {
		return
	}
	c.flags = c.flags&^short | finished
	if c.stream != nil {
		c.stream.closeWrite()
		return
	}
	shutFD(c.fd)
	c.rearm()
}

// Release takes the connection off this loop without closing it and returns
// its socket, to be opened on another loop with OpenWith, and the bytes that
// the handler has left over. Inside Data those are the handler's own matter:
// Release then returns none, and the handler keeps a copy of what it has not
// consumed; what Data returns is ignored. Bytes in neither place are not lost:
// they are still in the socket. After an EOF the next loop will say EOF again.
//
// When Release has returned, this loop does not touch c any more, so c itself
// may be opened on the other loop.
func (c *Conn) Release() (Socket, []byte) {
	if c.loop == nil {
		return Socket{}, nil
	}
	s, rest := c.leave()
	if s.stream != nil {
		s.stream.leave()
	}
	return s, rest
}

// leave takes the connection off the loop. The loop still waits for the
// goroutines of a stream before Run returns.
func (c *Conn) leave() (Socket, []byte) {
	l := c.loop
	s, rest := Socket{fd: c.fd, stream: c.stream}, c.rest
	if c.stream != nil {
		c.stream.detach(l)
	} else {
		l.ep.remove(c)
	}
	if l.current == c {
		l.current = nil
		if c.flags&inData != 0 {
			rest = nil
		}
	}
	l.stats.Conns--
	*c = Conn{}
	return s, rest
}

// Closed reports whether c is not open on any loop.
func (c *Conn) Closed() bool { return c.loop == nil }

// keep remembers what the handler left over. b may lie inside c.rest. The
// slice is used again while it fits, given back when it is far too large.
func (c *Conn) keep(b []byte) {
	switch {
	case len(b) == 0:
		c.rest = nil
	case len(c.rest) > 0 && &b[0] == &c.rest[0]: // nothing was consumed: it is in place
		c.rest = b
	case len(b) <= cap(c.rest) && cap(c.rest) <= 4*len(b)+64:
		c.rest = c.rest[:copy(c.rest[:len(b)], b)]
	default:
		c.rest = append([]byte(nil), b...)
	}
}

// defers has the loop see to c outside of any event.
func (c *Conn) defers(err error) {
	if err == nil {
		if c.flags&queued != 0 {
			return
		}
		c.flags |= queued
	}
	c.loop.later = append(c.loop.later, deferred{fd: c.fd, s: c.stream, err: err})
}

// rearm tells epoll what c waits for, if that has changed. While a callback of
// c runs it does nothing: who called it does so at its end, so that a handler
// that empties and fills a socket costs no system call.
func (c *Conn) rearm() {
	if c.stream == nil && c.loop.current != c {
		c.loop.ep.rearm(c)
	}
}

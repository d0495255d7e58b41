package admin

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// limited is a listener of which at most cap(slots) conns are served. For the next
// one the conn is closed that has been idle longest; browsers keep theirs for as
// long as they may, and must not keep out who asks whether the node is well. When
// none is idle it waits until one is or closes; the server's timeouts see to it.
type limited struct {
	net.Listener
	slots chan struct{} // one token per open conn
	ended chan struct{} // closed by Close
	once  sync.Once

	mu    sync.Mutex
	idle  []*limitedConn // longest first
	wants bool           // Accept waits for a slot
}

func limit(ln net.Listener, conns int) *limited {
	return &limited{Listener: ln, slots: make(chan struct{}, conns), ended: make(chan struct{})}
}

// Accept waits for a conn, then for a slot. So only somebody who is there has an
// idle conn closed.
func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if err := l.slot(); err != nil {
		c.Close()
		return nil, err
	}
	giveUp(c)
	return &limitedConn{Conn: c, from: l}, nil
}

func (l *limited) slot() error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	l.want(true)
	defer l.want(false)
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-l.ended:
		return net.ErrClosed
	}
}

// want says whether an idle conn shall be closed, the next one if there is none.
func (l *limited) want(one bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wants = one && len(l.idle) == 0
	if one && len(l.idle) > 0 {
		l.idle[0].Close()
		l.idle = slices.Delete(l.idle, 0, 1)
	}
}

// rest notes that c is idle, or is not any more.
func (l *limited) rest(c *limitedConn, idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !idle:
		if i := slices.Index(l.idle, c); i >= 0 {
			l.idle = slices.Delete(l.idle, i, i+1)
		}
	case l.wants:
		l.wants = false
		c.Close()
	default:
		l.idle = append(l.idle, c)
	}
}

// Close ends an Accept that waits for a slot as well.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.ended) })
	return l.Listener.Close()
}

// limitedConn gives its slot back when it is closed, once.
type limitedConn struct {
	net.Conn
	from *limited
	once sync.Once

	// Of the goroutine of net/http that serves the conn, and of those that a
	// handler starts and waits for. What is no request, too large or too slow
	// is refused by net/http itself, which tells nobody: it shows as bytes that
	// became no request, or as an answer to none.
	serving bool // a request, until its answer is out
	odd     bool // bytes came that are not a request yet
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.from.slots })
	return err
}

// Write notes an answer that no handler gave.
func (c *limitedConn) Write(b []byte) (int, error) {
	if !c.serving {
		c.odd = true
	}
	return c.Conn.Write(b)
}

// become follows the states that net/http tells of.
func (c *limitedConn) become(state http.ConnState) {
	switch state {
	case http.StateActive:
		c.odd = true
	case http.StateIdle:
		c.serving = false
	}
	c.from.rest(c, state == http.StateIdle)
}

// connKey is under which a request's context has its conn.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// noteServed notes that what came became the request r.
func noteServed(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*limitedConn); ok {
		c.serving, c.odd = true, false
	}
}

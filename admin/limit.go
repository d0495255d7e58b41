package admin

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// limited is a listener that has at most cap(slots) conns open. The next one
// waits in the kernel's backlog until one closes; the server's timeouts see to
// it that one does.
type limited struct {
	net.Listener
	slots chan struct{} // one token per open conn
	ended chan struct{} // closed by Close
	once  sync.Once
}

func limit(ln net.Listener, conns int) *limited {
	return &limited{Listener: ln, slots: make(chan struct{}, conns), ended: make(chan struct{})}
}

// Accept waits for a free slot, then for a conn.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.ended:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, slots: l.slots}, nil
}

// Close ends an Accept that waits for a slot as well.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.ended) })
	return l.Listener.Close()
}

// limitedConn gives its slot back when it is closed, once.
type limitedConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once

	// Of the goroutine of net/http that serves the conn, and of those that a
	// handler starts and waits for. What is no request, too large or too slow
	// is refused by net/http itself, which tells nobody: it shows as bytes that
	// became no request, or as an answer to none.
	serving bool // a request, until its answer is out
	odd     bool // bytes came that are not a request yet
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
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

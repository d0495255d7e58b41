package admin

import (
	"net"
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
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
	return err
}

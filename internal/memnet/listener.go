package memnet

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// backlog is how many connections wait for Accept before diallers have to.
const backlog = 128

// Listener accepts connections at one address.
type Listener struct {
	network *Network
	addr    netip.AddrPort
	queue   chan *Conn
	closed  chan struct{}
	once    sync.Once
}

func newListener(n *Network, at netip.AddrPort) *Listener {
	return &Listener{network: n, addr: at, queue: make(chan *Conn, backlog), closed: make(chan struct{})}
}

// Accept waits for the next connection, until Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, l.error()
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, l.error()
	}
}

// Close stops listening. Connections that nobody has accepted are reset.
func (l *Listener) Close() error {
	err := l.error()
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, l.addr)
		l.network.mu.Unlock()
		close(l.closed)
		l.refuse()
		err = nil
	})
	return err
}

// Addr returns the *net.TCPAddr listened on.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// offer puts a connection into the backlog.
func (l *Listener) offer(ctx context.Context, c *Conn) error {
	select {
	case l.queue <- c:
	case <-l.closed:
		return syscall.ECONNREFUSED
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-l.closed: // Close may have emptied the backlog before we came
		l.refuse()
	default:
	}
	return nil
}

// refuse resets what waits in the backlog.
func (l *Listener) refuse() {
	for {
		select {
		case c := <-l.queue:
			c.Reset()
		default:
			return
		}
	}
}

func (l *Listener) error() error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
}

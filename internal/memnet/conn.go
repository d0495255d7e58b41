package memnet

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is one side of a connection. Its methods may be called from any
// goroutine.
type Conn struct {
	network       *Network
	local, remote netip.AddrPort
	peer          *Conn
	in, out       *pipe
	closed        atomic.Bool
}

// Read waits for bytes. It returns io.EOF after the last byte of a peer that
// closed its direction, and ECONNRESET after a reset.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	return n, c.wrap("read", err)
}

// Write waits until all of b is in the buffer between the two sides (64 KiB,
// bytes on their way included). A peer that closed answers with EPIPE, unless
// the network between is cut.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.wrap("write", err)
}

// CloseWrite closes this direction: the peer reads what was written, then
// io.EOF.
func (c *Conn) CloseWrite() error {
	c.out.finish(syscall.EPIPE)
	return nil
}

// Close closes both directions. The peer still reads what was written, then
// io.EOF; what it writes from now on is answered with EPIPE.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.finish(net.ErrClosed)
	c.in.leave()
	if c.peer.closed.Load() {
		c.network.forget(c)
	}
	return nil
}

// Reset breaks the connection: both sides get ECONNRESET from now on, and
// bytes on their way are lost.
func (c *Conn) Reset() {
	c.in.breakOff(syscall.ECONNRESET)
	c.out.breakOff(syscall.ECONNRESET)
	c.network.forget(c)
}

// LocalAddr returns this side's *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns the peer's *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline sets both deadlines. As with every net.Conn, a deadline in the
// past ends a Read or Write that waits, and the zero time is none.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.set(&c.in.readBy, t)
	return nil
}

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.set(&c.out.writeBy, t)
	return nil
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

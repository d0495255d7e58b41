package poll

import (
	"net"
	"net/netip"
)

// Socket is a connected stream that no loop drives yet: what Take and Listen
// bring and Release gives back. It is a value; of its copies one may be used,
// once, to Open or to Close.
type Socket struct {
	fd     int32   // a nonblocking TCP socket of our own; 0 if it is none (0 is the standard input)
	stream *stream // else a net.Conn

	// peer is who connected, as accept said. Who is gone by the time that it is
	// asked for would be nobody else. Zero: ask the descriptor.
	peer netip.AddrPort
}

// Take makes a Socket of c, which belongs to it from then on: the caller must
// not use c any more, not even to close it. On Linux a *net.TCPConn becomes a
// raw descriptor with TCP_NODELAY; anything else stays a net.Conn and will be
// driven by goroutines. If there is an error, c is still the caller's.
func Take(c net.Conn) (Socket, error) {
	if t, ok := c.(*net.TCPConn); ok && haveEpoll {
		return takeTCP(t)
	}
	return Socket{stream: newStream(c)}, nil
}

// portable turns a raw descriptor back into a net.Conn, for a portable loop.
func portable(s Socket) (Socket, error) {
	c, err := netConn(s.fd)
	if err != nil {
		return Socket{}, err
	}
	return Socket{stream: newStream(c)}, nil
}

func (s Socket) valid() bool { return s.fd != 0 || s.stream != nil }

// RemoteAddr returns the peer's address, IPv4 in IPv6 as plain IPv4. It is the
// zero AddrPort when the address is no IP address or the peer is gone already.
func (s Socket) RemoteAddr() netip.AddrPort {
	switch {
	case s.stream != nil:
		return addrPort(s.stream.conn.RemoteAddr())
	case s.peer.IsValid():
		return s.peer
	case s.fd != 0:
		return peerName(s.fd)
	}
	return netip.AddrPort{}
}

// NetConn returns the net.Conn that Take or Listen made the socket of, nil for a
// raw descriptor. It may be asked what it is, and not be read or written.
func (s Socket) NetConn() net.Conn {
	if s.stream == nil {
		return nil
	}
	return s.stream.conn
}

// Close closes the socket. Bytes that were written to it are still sent.
func (s Socket) Close() {
	switch {
	case s.stream != nil:
		s.stream.close()
	case s.fd != 0:
		closeFD(s.fd)
	}
}

// CloseWith writes last, as far as it can be sent at once, and closes the socket.
// What came meanwhile is read and dropped, up to 8 KiB: closing over it would reset
// the connection, and the peer might never read the answer. A net.Conn is closed
// without a word, since its Write may block.
func (s Socket) CloseWith(last []byte) {
	if s.fd != 0 {
		writeLast(s.fd, last)
	}
	s.Close()
}

// addrPort returns the address of a network address, whatever its type.
func addrPort(a net.Addr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if t, ok := a.(*net.TCPAddr); ok {
		ap, err = t.AddrPort(), nil
	}
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

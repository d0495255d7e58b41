//go:build !linux

package poll

import (
	"net"
	"net/netip"
)

// None of these is called: there are no raw descriptors on this system.

func takeTCP(c *net.TCPConn) (Socket, error) { return Socket{stream: newStream(c)}, nil }
func netConn(int32) (net.Conn, error)        { return nil, ErrClosed }
func peerName(int32) netip.AddrPort          { return netip.AddrPort{} }
func writeLast(int32, []byte)                {}
func closeFD(int32)                          {}

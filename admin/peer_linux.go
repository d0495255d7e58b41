package admin

import (
	"net"

	"golang.org/x/sys/unix"
)

// giveUp has the kernel end a conn whose peer acknowledges nothing for
// PeerTimeout. By itself it goes on for a quarter of an hour, and a stream's
// heartbeats would fill its buffer for as long: a laptop that was shut would keep
// its place.
func giveUp(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// Without it the conn still ends, later.
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(PeerTimeout.Milliseconds()))
	})
}

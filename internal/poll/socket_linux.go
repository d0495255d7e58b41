package poll

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// takeTCP duplicates the descriptor and closes the original, which takes it
// out of Go's poller; the connection itself stays.
func takeTCP(c *net.TCPConn) (Socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Socket{}, fmt.Errorf("take connection: %w", err)
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return Socket{}, fmt.Errorf("take connection: %w", err)
	}
	if dupErr != nil {
		return Socket{}, fmt.Errorf("take connection: %w", os.NewSyscallError("dup", dupErr))
	}
	_ = unix.SetNonblock(fd, true) // it is already: the two share the flag
	noDelay(fd)
	_ = c.Close()
	return Socket{fd: int32(fd)}, nil
}

func noDelay(fd int) { _ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

// netConn makes a net.Conn of a descriptor, which it closes on success.
func netConn(fd int32) (net.Conn, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	f := os.NewFile(uintptr(dup), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	closeFD(fd)
	return c, nil
}

func peerName(fd int32) netip.AddrPort {
	sa, err := unix.Getpeername(int(fd))
	if err != nil {
		return netip.AddrPort{}
	}
	return netAddr(sa)
}

func netAddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func writeLast(fd int32, last []byte) {
	_, _ = unix.Write(int(fd), last)
	var drop [8 << 10]byte
	_, _ = unix.Read(int(fd), drop[:])
}

func closeFD(fd int32) { _ = unix.Close(int(fd)) }

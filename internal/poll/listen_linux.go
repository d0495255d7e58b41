package poll

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// rawListener is the descriptor of a listener that its owner may close at any
// time, from any goroutine. So it is only used inside conn.Control, which
// fails on a closed listener and keeps the number from being used again
// meanwhile. Closing also takes it out of the epoll set.
type rawListener struct {
	conn  syscall.RawConn // nil: not watched by epoll
	fd    int32
	batch []Socket
}

// watch adds the listener to the epoll set. EPOLLEXCLUSIVE: of several loops
// that wait, a new connection wakes one.
func (a *listening) watch(ln *net.TCPListener) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	a.raw.conn = raw
	err = a.control(func(fd int) error {
		a.raw.fd = int32(fd)
		return a.loop.ep.ctl(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE)
	})
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// unwatch takes the listener out of the epoll set. It reports whether epoll
// drives it at all.
func (a *listening) unwatch() bool {
	if a.raw.conn == nil {
		return false
	}
	_ = a.control(func(fd int) error { return a.loop.ep.ctl(unix.EPOLL_CTL_DEL, fd, 0) })
	return true
}

func (a *listening) control(f func(fd int) error) error {
	var err error
	if closed := a.raw.conn.Control(func(fd uintptr) { err = f(int(fd)) }); closed != nil {
		return closed
	}
	return err
}

// acceptable is called for events of descriptors that are no connection.
func (l *Loop) acceptable(fd int32) {
	a := l.listen
	if a == nil || a.raw.conn == nil || a.raw.fd != fd {
		return // of a connection or listener that was closed in this wake-up
	}
	a.raw.batch = a.raw.batch[:0]
	err := a.control(a.acceptSome)
	for i, s := range a.raw.batch { // outside of control: accept may close the listener
		a.raw.batch[i] = Socket{}
		a.take(s)
	}
	if err != nil && l.listen == a && !errors.Is(err, net.ErrClosed) {
		a.backOff(err)
	}
}

// acceptSome accepts into the batch until there is nothing more to accept, or
// enough for this wake-up.
func (a *listening) acceptSome(ln int) error {
	for len(a.raw.batch) < acceptsPerWake {
		fd, from, err := unix.Accept4(ln, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			noDelay(fd)
			a.raw.batch = append(a.raw.batch, Socket{fd: int32(fd), peer: netAddr(from)})
		case unix.EAGAIN:
			return nil
		case unix.EINTR, unix.ECONNABORTED: // gone before we came
		default:
			return os.NewSyscallError("accept", err)
		}
	}
	return nil
}

// backOff takes the listener out of the epoll set for a while: it would report
// itself for ever.
func (a *listening) backOff(err error) {
	a.unwatch()
	l := a.loop
	a.retry = time.AfterFunc(a.next(err), func() {
		l.Post(func() {
			if l.listen != a {
				return
			}
			if err := a.watch(a.ln.(*net.TCPListener)); err != nil && !errors.Is(err, net.ErrClosed) {
				a.backOff(err)
			}
		})
	})
}

package poll

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const haveEpoll = true

// epoll is the Linux backend of a Loop: level-triggered, without a goroutine.
//
// It never waits in a system call. With one processor a goroutine inside
// epoll_wait would keep all others from running until the scheduler notices,
// up to 10 ms later. Instead the epoll descriptor itself, which is readable
// when it has events, is registered with Go's own poller: the loop asks with a
// timeout of zero, and when nothing is there parks like any goroutine that
// reads from a socket.
//
// Why no wake-up is lost, although Go's poller is edge-triggered: RawConn.Read
// clears its readiness before it calls ready. An event that comes before the
// epoll_wait in there is returned by it; one that comes after makes the
// descriptor readable again, which sets the readiness, even before the
// goroutine has parked.
type epoll struct {
	loop     *Loop
	file     *os.File // owns the epoll descriptor
	raw      syscall.RawConn
	fd       int
	waker    int // eventfd, written by Post
	timer    int // timerfd, 0 without Tick
	ready    func(uintptr) bool
	conns    []*Conn // by descriptor
	buf      []byte  // what is being read, whoever it is for
	events   []unix.EpollEvent
	n        int    // how many of events the last epoll_wait filled
	batch    uint32 // counts wake-ups; wrapping does no harm, see dispatch
	polls    int    // calls of ready within one wait
	yielding bool   // this wait has begun by letting others run
}

// eventsPerWake bounds one wake-up; the kernel hands out the rest in turn.
const eventsPerWake = 1024

func newEpoll(l *Loop, tick time.Duration) (_ *epoll, err error) {
	e := &epoll{loop: l, buf: make([]byte, bufferSize), events: make([]unix.EpollEvent, eventsPerWake)}
	e.ready = e.poll
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	defer func() {
		if err != nil {
			e.closeFDs()
		}
	}()
	if err = unix.SetNonblock(fd, true); err != nil { // else os.NewFile does not register it
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	e.fd, e.file = fd, os.NewFile(uintptr(fd), "epoll")
	if e.raw, err = e.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if e.waker, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	if err = e.ctl(unix.EPOLL_CTL_ADD, e.waker, unix.EPOLLIN); err != nil {
		return nil, fmt.Errorf("watch eventfd: %w", err)
	}
	if tick > 0 {
		err = e.startTimer(tick)
	}
	return e, err
}

func (e *epoll) startTimer(every time.Duration) (err error) {
	e.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create timerfd: %w", err)
	}
	ts := unix.NsecToTimespec(int64(every))
	if err := unix.TimerfdSettime(e.timer, 0, &unix.ItimerSpec{Interval: ts, Value: ts}, nil); err != nil {
		return fmt.Errorf("set timerfd: %w", err)
	}
	if err := e.ctl(unix.EPOLL_CTL_ADD, e.timer, unix.EPOLLIN); err != nil {
		return fmt.Errorf("watch timerfd: %w", err)
	}
	return nil
}

// wait fills events, or returns without any when other work is there.
func (e *epoll) wait() error {
	e.polls, e.yielding = 0, false
	err := e.raw.Read(e.ready)
	if e.polls > 1 {
		e.loop.yielded = time.Now()
		if !e.yielding {
			e.loop.stats.Parks++
		}
	}
	if err != nil {
		return fmt.Errorf("wait for events: %w", err)
	}
	return nil
}

// poll reports whether there is something to do. Go's poller calls it again
// when the epoll descriptor has become readable.
//
// A loop that must yield makes the descriptor readable itself and parks. With
// runtime.Gosched it would be found runnable before the scheduler asks its
// poller for others: goroutines that wait for sockets would then be found only
// every 10 ms, by the system monitor.
func (e *epoll) poll(fd uintptr) bool {
	e.polls++
	if e.polls == 1 && e.loop.mustYield() {
		e.wake()
		e.yielding = true
		return false
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd,
		uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), 0, 0, 0)
	e.n = int(n)
	if errno != 0 { // EINTR: with a timeout of zero it does not happen; ask again
		e.n = 0
		return true
	}
	return e.n > 0 || !e.loop.park()
}

// dispatch handles what wait has brought.
//
// A handler may close any connection and open another one that gets the same
// descriptor, so events that are still to come may be about a connection that
// is gone. One that was opened in this wake-up cannot have events in it: those
// are skipped. Should one be skipped wrongly (batch has wrapped) it comes again,
// since epoll is level-triggered.
func (e *epoll) dispatch() {
	e.batch++
	for i := range e.events[:e.n] {
		ev := &e.events[i]
		switch fd := int(ev.Fd); {
		case fd == e.waker:
			drain(fd)
		case fd == e.timer:
			drain(fd)
			e.loop.tick = true
		default:
			if c := e.find(ev.Fd); c == nil {
				e.loop.acceptable(ev.Fd)
			} else if c.born != e.batch {
				e.handle(c, ev.Events)
			}
		}
	}
	e.n = 0
}

// handle handles the event of one connection.
func (e *epoll) handle(c *Conn, events uint32) {
	l := e.loop
	defer l.contain()
	l.current = c
	if events&unix.EPOLLOUT != 0 && c.flags&short != 0 {
		c.flags &^= short
		c.handler.Writable()
		if l.current != c {
			return
		}
	}
	const gone = unix.EPOLLERR | unix.EPOLLHUP
	switch {
	case c.flags&(paused|ended) != 0:
		if events&gone != 0 {
			e.hangUp(c, events)
		}
	case events&(unix.EPOLLIN|gone) != 0:
		e.read(c, events&gone != 0)
	}
	if l.current == c {
		l.current = nil
		c.rearm()
	}
}

// read reads once. When the connection is gone (reset), what arrived before is
// handed over first, wake-up by wake-up, and the read after it fails.
func (e *epoll) read(c *Conn, gone bool) {
	l, have := e.loop, len(c.rest)
	buf := e.buf
	switch {
	case have >= maxRest:
		l.fail(c, ErrRest)
		return
	case have >= directRest:
		if cap(c.rest)-have < directRest {
			c.rest = slices.Grow(c.rest, have)
		}
		buf = c.rest[:min(cap(c.rest), maxRest)]
	default:
		copy(buf, c.rest)
	}
	into := buf[have:]
	if c.flags&sips != 0 && len(into) > sipSize {
		into = into[:sipSize]
	}
	n, errno := readFD(c.fd, into)
	switch {
	case n > 0:
		l.stats.Reads++
		l.stats.BytesIn += uint64(n)
		l.deliver(c, buf[:have+n])
	case errno == 0:
		c.flags |= ended
		c.handler.EOF()
	case errno != unix.EAGAIN:
		l.fail(c, os.NewSyscallError("read", errno))
	case gone:
		e.hangUp(c, unix.EPOLLERR)
	}
}

// hangUp handles the end of a connection that is not being read. When both
// sides have merely closed in order, and the handler still pauses, there may
// be bytes to read later: the connection leaves the epoll set until then,
// because it would report itself for ever.
func (e *epoll) hangUp(c *Conn, events uint32) {
	errno, _ := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case errno != 0:
		e.loop.fail(c, os.NewSyscallError("socket", syscall.Errno(errno)))
	case c.flags&ended != 0:
		e.loop.fail(c, ErrFinished)
	case events&unix.EPOLLERR != 0:
		e.loop.fail(c, os.NewSyscallError("socket", unix.ECONNRESET))
	default:
		_ = e.ctl(unix.EPOLL_CTL_DEL, int(c.fd), 0)
		c.flags = c.flags&^(armedIn|armedOut) | unwatched
	}
}

// add starts to watch a connection.
func (e *epoll) add(c *Conn) error {
	if err := e.ctl(unix.EPOLL_CTL_ADD, int(c.fd), unix.EPOLLIN); err != nil {
		return fmt.Errorf("watch socket: %w", err)
	}
	c.flags |= armedIn
	c.born = e.batch
	if n := int(c.fd) + 1; n > len(e.conns) {
		e.conns = slices.Grow(e.conns, n-len(e.conns))[:n]
	}
	e.conns[c.fd] = c
	return nil
}

// remove stops watching a connection.
func (e *epoll) remove(c *Conn) {
	if c.flags&unwatched == 0 {
		_ = e.ctl(unix.EPOLL_CTL_DEL, int(c.fd), 0)
	}
	e.conns[c.fd] = nil
}

// rearm changes what a connection waits for, if it has changed.
func (e *epoll) rearm(c *Conn) {
	var want flags
	var events uint32
	if c.flags&(paused|ended) == 0 {
		want, events = armedIn, unix.EPOLLIN
	}
	if c.flags&short != 0 {
		want, events = want|armedOut, events|unix.EPOLLOUT
	}
	if want == c.flags&(armedIn|armedOut) {
		return
	}
	op := unix.EPOLL_CTL_MOD
	if c.flags&unwatched != 0 {
		op = unix.EPOLL_CTL_ADD
	}
	if err := e.ctl(op, int(c.fd), events); err != nil { // out of memory: it would hang for ever
		c.flags |= failed
		c.defers(fmt.Errorf("watch socket: %w", err))
		return
	}
	c.flags = c.flags&^(armedIn|armedOut|unwatched) | want
}

func (e *epoll) ctl(op, fd int, events uint32) error {
	return unix.EpollCtl(e.fd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

func (e *epoll) find(fd int32) *Conn {
	if int(fd) < len(e.conns) {
		return e.conns[fd]
	}
	return nil
}

// wake makes the epoll descriptor readable.
func (e *epoll) wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = writeFD(int32(e.waker), one[:])
}

// close closes all connections and the backend itself.
func (e *epoll) close() {
	for _, c := range e.conns {
		if c != nil {
			c.Close()
		}
	}
	e.conns = nil
	e.closeFDs()
}

func (e *epoll) closeFDs() {
	if e.file != nil {
		_ = e.file.Close()
	}
	for _, fd := range []int{e.waker, e.timer} {
		if fd > 0 {
			_ = unix.Close(fd)
		}
	}
}

// readFD reads without telling the scheduler: it does not wait. Nothing else
// than EINTR is retried.
func readFD(fd int32, b []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// writeFD writes without telling the scheduler. A full socket is no error.
func writeFD(fd int32, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("write", errno)
		}
	}
}

// drain empties an eventfd or a timerfd.
func drain(fd int) {
	var b [8]byte
	_, _ = readFD(int32(fd), b[:])
}

func shutFD(fd int32) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) }

//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// load is all clients of a run: one thread and one epoll set, without a goroutine, buffer or timer per
// client. So it costs less than what it measures, and a server's core is full before the load's is.
//
// It counts what should not be: a message that is not its publisher's next one, or of another room.
type load struct {
	target  netip.AddrPort
	path    string // of the URL; the room's name is put behind it
	run     uint32 // marks this run's messages
	epoll   int
	events  []unix.EpollEvent
	buf     []byte // what is being read, whoever it is for
	message []byte // a frame; its stamp is written anew for each message
	rooms   []*room
	clients []*client
	touched []*room // those that got something in this wake-up
	began   time.Time
	now     int64 // nanoseconds since began, as of the last look at the clock

	joined    int // clients that may publish
	delivered uint64
	owed      int // deliveries still to come
	faults    uint64
	err       error // why the first client ended

	timing    bool
	latencies []int64 // nanoseconds from due to received, while timing
}

type room struct {
	number     uint32
	members    []*client
	publishers []*client
	next       int // who publishes next
	owed       int // deliveries still to come
	touched    bool
}

type client struct {
	fd        int
	number    int32 // among the load's clients
	publisher uint32
	room      *room
	state     clientState
	sent      uint32   // messages
	seen      []uint32 // the next number that is due from each publisher of the room
	rest      []byte   // of what was read: the beginning of a frame
	unsent    []byte   // what the kernel did not take yet
}

type clientState uint8

const (
	connecting clientState = iota
	shaking                // the request is on its way
	member
)

const (
	dialing       = 128  // handshakes under way at once
	perSource     = 5000 // clients with one address of their own: ports are few
	connectWithin = 60 * time.Second
	standstill    = 10 * time.Second // nothing comes although something is owed
)

// The key and the answer are those of RFC 6455, section 1.3.
const (
	handshakeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	handshakeAnswer = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// newLoad makes the rooms and their members, and opens nothing but its epoll set. It must be closed.
func newLoad(target netip.AddrPort, path string, sc *scenario) (*load, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	var mark [4]byte
	rand.Read(mark[:]) // never fails
	l := &load{target: target, path: path, run: binary.BigEndian.Uint32(mark[:]), epoll: epoll, began: time.Now(),
		events: make([]unix.EpollEvent, 1024), buf: make([]byte, 256<<10),
		message: appendMasked(nil, opBinary, bytes.Repeat([]byte{'x'}, messageSize))}
	for i := range sc.rooms {
		r := &room{number: uint32(i)}
		for k := range sc.members {
			c := &client{fd: -1, number: int32(len(l.clients)), room: r, seen: make([]uint32, sc.publishers)}
			r.members, l.clients = append(r.members, c), append(l.clients, c)
			if k < sc.publishers {
				c.publisher = uint32(k)
				r.publishers = append(r.publishers, c)
			}
		}
		l.rooms = append(l.rooms, r)
	}
	return l, nil
}

// close ends all clients.
func (l *load) close() {
	for _, c := range l.clients {
		if c.fd >= 0 {
			_ = unix.Close(c.fd)
		}
	}
	_ = unix.Close(l.epoll)
}

func (l *load) look() int64 {
	l.now = int64(time.Since(l.began))
	return l.now
}

// connect opens all clients and returns when every one is a member.
func (l *load) connect(ctx context.Context) error {
	until := l.look() + int64(connectWithin)
	for next := 0; l.joined < len(l.clients); {
		for ; next < len(l.clients) && next-l.joined < dialing; next++ {
			if err := l.dial(l.clients[next]); err != nil {
				return fmt.Errorf("connect to %s: %w", l.target, err)
			}
		}
		if err := l.poll(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("connect to %s: %w", l.target, err)
		}
		if l.now > until {
			return fmt.Errorf("only %d of %d clients joined within %s", l.joined, len(l.clients), connectWithin)
		}
	}
	return nil
}

func (l *load) dial(c *client) (err error) {
	if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	source := [4]byte{127, 0, 0, byte(2 + c.number/perSource)}
	if err := unix.Bind(c.fd, &unix.SockaddrInet4{Addr: source}); err != nil {
		return err
	}
	err = unix.Connect(c.fd, &unix.SockaddrInet4{Port: int(l.target.Port()), Addr: l.target.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return l.watch(unix.EPOLL_CTL_ADD, c, unix.EPOLLIN|unix.EPOLLOUT)
}

func (l *load) watch(op int, c *client, events uint32) error {
	return unix.EpollCtl(l.epoll, op, c.fd, &unix.EpollEvent{Events: events, Fd: c.number})
}

// poll handles what has come, or comes within the time. It fails when a client ended, or ctx did.
func (l *load) poll(ctx context.Context, wait time.Duration) error {
	n, err := waitEpoll(l.epoll, l.events, max(int64(wait), 0))
	if err != nil {
		return err
	}
	l.look()
	for i := range l.events[:n] {
		e := &l.events[i]
		c := l.clients[e.Fd]
		if e.Events&(unix.EPOLLOUT|unix.EPOLLERR) != 0 {
			l.writable(c)
		}
		if e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			l.readable(c)
		}
	}
	if l.err != nil {
		return l.err
	}
	return ctx.Err()
}

// fail notes why a client cannot go on. One is enough to spoil a run.
func (l *load) fail(c *client, err error) {
	if l.err == nil {
		l.err = fmt.Errorf("client %d in room %d: %w", c.number, c.room.number, err)
	}
}

func (l *load) writable(c *client) {
	if c.state == connecting {
		if errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
			l.fail(c, fmt.Errorf("connect: %w", unix.Errno(errno)))
			return
		}
		c.state = shaking
		l.write(c, fmt.Appendf(nil, "GET %s%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", l.path, c.room.name(l.run), l.target, handshakeKey))
	} else if len(c.unsent) > 0 {
		b := c.unsent
		c.unsent = nil
		l.write(c, b)
	}
	if len(c.unsent) == 0 {
		if err := l.watch(unix.EPOLL_CTL_MOD, c, unix.EPOLLIN); err != nil {
			l.fail(c, err)
		}
	}
}

func (r *room) name(run uint32) string { return fmt.Sprintf("compare-%08x-%d", run, r.number) }

func (l *load) write(c *client, b []byte) {
	if len(c.unsent) > 0 {
		c.unsent = append(c.unsent, b...)
		return
	}
	n, errno := writeFD(int32(c.fd), b)
	if errno != 0 && errno != unix.EAGAIN {
		l.fail(c, fmt.Errorf("write: %w", errno))
		return
	}
	if n < len(b) {
		c.unsent = append([]byte(nil), b[n:]...)
		if err := l.watch(unix.EPOLL_CTL_MOD, c, unix.EPOLLIN|unix.EPOLLOUT); err != nil {
			l.fail(c, err)
		}
	}
}

// readable reads once; what is left makes the next event.
func (l *load) readable(c *client) {
	if c.state == connecting {
		return
	}
	have := copy(l.buf, c.rest)
	n, errno := readFD(int32(c.fd), l.buf[have:])
	switch {
	case errno == unix.EAGAIN:
		return
	case errno != 0:
		l.fail(c, fmt.Errorf("read: %w", errno))
		return
	case n == 0:
		l.fail(c, io.EOF)
		return
	}
	if l.timing {
		l.look()
	}
	rest, err := l.take(c, l.buf[:have+n])
	if err != nil {
		l.fail(c, err)
	}
	c.rest = append(c.rest[:0], rest...)
}

// take handles what has come and returns the beginning of a frame at its end.
func (l *load) take(c *client, b []byte) (rest []byte, err error) {
	if c.state == shaking {
		head, behind, whole := bytes.Cut(b, []byte("\r\n\r\n"))
		if !whole {
			return b, nil
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, []byte(handshakeAnswer)) {
			return nil, fmt.Errorf("handshake answered with %.200q", head)
		}
		c.state, b = member, behind
		l.joined++
	}
	for {
		op, payload, size, err := readFrame(b)
		switch {
		case err != nil:
			return nil, err
		case size == 0:
			return b, nil
		case op == opPing:
			l.write(c, appendMasked(nil, opPing+1, payload))
		case op == opClose:
			return nil, fmt.Errorf("closed by the server: %.100q", payload)
		case op <= opBinary:
			l.receive(c, payload)
		}
		b = b[size:]
	}
}

// receive counts a message.
func (l *load) receive(c *client, payload []byte) {
	if len(payload) != messageSize {
		l.faults++
		return
	}
	s, r := readStamp(payload), c.room
	if s.run != l.run || s.room != r.number || s.publisher >= uint32(len(c.seen)) {
		l.faults++
		return
	}
	if s.number != c.seen[s.publisher] { // lost, doubled or reordered
		l.faults++
	}
	c.seen[s.publisher] = s.number + 1
	l.delivered++
	l.owed--
	r.owed--
	if !r.touched {
		r.touched = true
		l.touched = append(l.touched, r)
	}
	if l.timing {
		l.latencies = append(l.latencies, l.now-s.due)
	}
}

// publish lets the room's next publisher send a message that was due then.
func (l *load) publish(r *room, due int64) {
	c := r.publishers[r.next]
	r.next = (r.next + 1) % len(r.publishers)
	s := stamp{run: l.run, room: r.number, publisher: c.publisher, number: c.sent, due: due}
	at := l.message[len(l.message)-messageSize:][:stampSize]
	s.put(at)
	for i := range at {
		at[i] ^= maskKey[i&3]
	}
	c.sent++
	r.owed += len(r.members)
	l.owed += len(r.members)
	l.write(c, l.message)
}

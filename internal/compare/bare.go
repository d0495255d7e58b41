//go:build linux

package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sys/unix"
)

// bareLoop is the limit that others are measured against: one thread and one epoll set. A frame is
// encoded once and appended to its room; at the end of a wake-up every member of a room with news gets
// them in one write. There is nothing else: no history, owner, copy, ping, right, timeout or bound.
type bareLoop struct {
	epoll, listener int
	conns           []*bareConn // by descriptor
	rooms           map[string]*bareRoom
	dirty           []*bareRoom // those with frames
	events          []unix.EpollEvent
	buf             []byte // what is being read, whoever it is from
}

type bareConn struct {
	fd     int32
	place  int32     // among the room's members
	room   *bareRoom // nil until the handshake is answered
	rest   []byte    // of what was read: the beginning of a frame
	behind []byte    // what the kernel did not take yet
}

type bareRoom struct {
	members []*bareConn
	frames  []byte // of this wake-up
}

// serveBare runs a bare loop at the address for ever. It returns when it cannot start, or when epoll
// fails.
func serveBare(address string) error {
	runtime.LockOSThread()
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Is4() {
		return fmt.Errorf("%q is no IPv4 address and port", address)
	}
	s := &bareLoop{conns: make([]*bareConn, 1024), rooms: map[string]*bareRoom{},
		events: make([]unix.EpollEvent, 1024), buf: make([]byte, 256<<10)}
	if err := s.listen(at); err != nil {
		return fmt.Errorf("listen on %s: %w", at, err)
	}
	for {
		n, err := waitEpoll(s.epoll, s.events, -1)
		if err != nil {
			return err
		}
		for i := range s.events[:n] {
			if e := &s.events[i]; int(e.Fd) == s.listener {
				s.accept()
			} else {
				s.event(s.conns[e.Fd], e.Events)
			}
		}
		for _, r := range s.dirty {
			for _, m := range r.members {
				s.write(m, r.frames)
			}
			r.frames = r.frames[:0]
		}
		s.dirty = s.dirty[:0]
	}
}

func (s *bareLoop) listen(at netip.AddrPort) (err error) {
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if s.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	err = unix.SetsockoptInt(s.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(s.listener, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	}
	if err == nil {
		err = unix.Listen(s.listener, 4096)
	}
	if err == nil {
		err = s.watch(unix.EPOLL_CTL_ADD, s.listener, unix.EPOLLIN)
	}
	return err
}

func (s *bareLoop) watch(op, fd int, events uint32) error {
	return unix.EpollCtl(s.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// accept takes all clients that wait. Out of descriptors it spins, which whoever measures will see.
func (s *bareLoop) accept() {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for fd >= len(s.conns) {
			s.conns = append(s.conns, nil)
		}
		s.conns[fd] = &bareConn{fd: int32(fd)}
		if s.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN) != nil {
			s.drop(s.conns[fd])
		}
	}
}

func (s *bareLoop) event(c *bareConn, events uint32) {
	if events&unix.EPOLLOUT != 0 && len(c.behind) > 0 {
		b := c.behind
		c.behind = nil
		s.write(c, b)
		if len(c.behind) == 0 {
			_ = s.watch(unix.EPOLL_CTL_MOD, int(c.fd), unix.EPOLLIN)
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 && !s.read(c) {
		s.drop(c)
	}
}

// drop forgets a conn. Nobody else has events for it in this wake-up: a descriptor has one event.
func (s *bareLoop) drop(c *bareConn) {
	if r := c.room; r != nil {
		last := r.members[len(r.members)-1]
		r.members[c.place], last.place = last, c.place
		r.members = r.members[:len(r.members)-1]
	}
	_ = unix.Close(int(c.fd))
	s.conns[c.fd] = nil
}

// write keeps what the kernel does not take. A conn that is broken is dropped when it is read.
func (s *bareLoop) write(c *bareConn, b []byte) {
	if len(c.behind) > 0 {
		c.behind = append(c.behind, b...)
		return
	}
	n, errno := writeFD(c.fd, b)
	if n == len(b) || errno != 0 && errno != unix.EAGAIN {
		return
	}
	c.behind = append([]byte(nil), b[n:]...)
	_ = s.watch(unix.EPOLL_CTL_MOD, int(c.fd), unix.EPOLLIN|unix.EPOLLOUT)
}

// read reads once and handles what is whole. It reports whether the conn goes on.
func (s *bareLoop) read(c *bareConn) bool {
	have := copy(s.buf, c.rest)
	n, errno := readFD(c.fd, s.buf[have:])
	if errno == unix.EAGAIN {
		return true
	}
	b, ok := s.buf[:have+n], errno == 0 && n > 0
	if ok && c.room == nil {
		b, ok = s.handshake(c, b)
	}
	for ok && c.room != nil && len(b) > 0 {
		var size int
		if size, ok = s.frame(c.room, b); size == 0 {
			break
		}
		b = b[size:]
	}
	if len(b) == 0 {
		c.rest = nil
		return ok
	}
	c.rest = append(c.rest[:0], b...)
	return ok && len(b) < len(s.buf)
}

// frame takes the frame at the head of b, appends it to the room and returns its size, or 0 while it is
// not whole. ok is false when the conn is at its end.
func (s *bareLoop) frame(r *bareRoom, b []byte) (size int, ok bool) {
	if len(b) < 6 {
		return 0, true
	}
	length, head := int(b[1]&127), 2
	switch length {
	case 126:
		length, head = int(binary.BigEndian.Uint16(b[2:])), 4
	case 127: // 64 KiB and more
		return 0, false
	}
	size = head + 4 + length
	if len(b) < size {
		return 0, true
	}
	op, mask, payload := b[0]&15, b[head:head+4], b[head+4:size]
	if op == 8 || b[1]&0x80 == 0 { // a close, or not masked
		return 0, false
	}
	if op > 2 { // ping and pong
		return size, true
	}
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	if len(r.frames) == 0 {
		s.dirty = append(s.dirty, r)
	}
	r.frames = append(r.frames, b[0])
	if head == 2 {
		r.frames = append(r.frames, byte(length))
	} else {
		r.frames = append(r.frames, 126, byte(length>>8), byte(length))
	}
	r.frames = append(r.frames, payload...)
	return size, true
}

// handshake answers a whole request, makes the conn a member and returns what is behind it.
func (s *bareLoop) handshake(c *bareConn, b []byte) (rest []byte, ok bool) {
	_, rest, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	if !whole {
		return b, len(b) < 8<<10
	}
	name, key := between(b, "room=", " &\r"), between(b, "sec-websocket-key: ", "\r")
	sum := sha1.Sum([]byte(string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	s.write(c, []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n"))
	r := s.rooms[string(name)]
	if r == nil {
		r = &bareRoom{}
		s.rooms[string(name)] = r
	}
	c.room, c.place = r, int32(len(r.members))
	r.members = append(r.members, c)
	return rest, true
}

// between returns what stands in b behind the words and before the first of the stops. Proxies change
// capitals of header names.
func between(b []byte, words, stops string) []byte {
	at := bytes.Index(bytes.ToLower(b), []byte(words))
	if at < 0 {
		return nil
	}
	b = b[at+len(words):]
	return b[:max(0, bytes.IndexAny(b, stops))]
}

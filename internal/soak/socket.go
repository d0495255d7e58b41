package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

const (
	openWithin  = 20 * time.Second
	writeWithin = 90 * time.Second // a router that can place nothing says so after 60
	maxPayload  = 1 << 20
)

// socket is a WebSocket to a router.
type socket struct {
	conn net.Conn
	in   *bufio.Reader
	buf  []byte // of the last payload

	writing sync.Mutex // guards writes to conn
}

// closed is the end of a socket by a close frame.
type closed struct {
	code   ws.StatusCode
	reason string
}

func (c *closed) Error() string { return fmt.Sprintf("closed with %d %q", c.code, c.reason) }

// join opens a socket in a room. narrow says that it shall hold little of what it does not read.
func join(ctx context.Context, router *node, room string, narrow bool, more ...string) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	d := ws.Dialer{ReadBufferSize: 512, WriteBufferSize: 512, NetDial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if t, ok := conn.(*net.TCPConn); ok && narrow {
			err = t.SetReadBuffer(64 << 10) // one segment of loopback: with less it waits for timers
		}
		return conn, err
	}}
	conn, ahead, _, err := d.Dial(ctx, "ws://"+router.listen+"/ws?"+strings.Join(append([]string{"room=" + room}, more...), "&"))
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn}
	var from io.Reader = conn
	if ahead != nil {
		from = io.MultiReader(io.LimitReader(ahead, int64(ahead.Buffered())), conn)
	}
	s.in = bufio.NewReaderSize(from, 1<<10)
	return s, nil
}

// until ends reading and writing when ctx ends. The caller calls the result when it is done with both.
func (s *socket) until(ctx context.Context) (forget func() bool) {
	return context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) }) // it may be closed
}

// next returns the next message; it is valid until the call after. It answers pings.
func (s *socket) next() (string, error) {
	for {
		h, err := ws.ReadHeader(s.in)
		if err != nil {
			return "", err
		}
		if h.Length > maxPayload {
			return "", fmt.Errorf("a frame of %d bytes", h.Length)
		}
		if int(h.Length) > cap(s.buf) {
			s.buf = make([]byte, h.Length)
		}
		payload := s.buf[:h.Length]
		if _, err := io.ReadFull(s.in, payload); err != nil {
			return "", err
		}
		switch h.OpCode {
		case ws.OpText:
			return string(payload), nil
		case ws.OpPing:
			_ = s.write(ws.NewPongFrame(payload)) // how it ended, reading says
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			return "", &closed{code, reason}
		default:
			return "", fmt.Errorf("unexpected frame %v", h.OpCode)
		}
	}
}

func (s *socket) say(text string) error { return s.write(ws.NewTextFrame([]byte(text))) }

func (s *socket) write(f ws.Frame) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return err
	}
	return ws.WriteFrame(s.conn, ws.MaskFrameInPlace(f))
}

// leave ends the socket, with a goodbye if polite, else by a reset.
func (s *socket) leave(polite bool) {
	if polite {
		_ = s.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))) // it may be gone
	} else if t, ok := s.conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	s.conn.Close()
}

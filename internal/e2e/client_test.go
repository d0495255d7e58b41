//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// client is a numbered conn in a room, and what it heard.
type client struct {
	t    *testing.T
	room string
	conn net.Conn

	writing sync.Mutex // guards writes to conn

	mu      sync.Mutex // guards what is below
	heard   []message
	lines   []line // the first one, and those of gaps and resets
	at      uint64 // offset of the last message or line
	end     *ending
	changed chan struct{} // closed at the next change
}

// message is one of the room.
type message struct {
	epoch  string
	offset uint64
	text   string
	when   time.Time
}

// line is what a numbered conn is told of its position.
type line struct {
	epoch  string
	offset uint64
	suffix string // "", "gap" or "reset"
	when   time.Time
}

func (l line) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s.%d %s", l.epoch, l.offset, l.suffix))
}

// ending is how a conn ended.
type ending struct {
	code   ws.StatusCode // 0 without a close frame
	reason string
	err    error
	when   time.Time
}

func (e *ending) String() string {
	if e == nil {
		return "open"
	}
	return fmt.Sprintf("code %d, %q, %v", e.code, e.reason, e.err)
}

// dial opens a numbered conn and reads it until it ends.
func dial(t *testing.T, address, room string, more ...string) *client {
	t.Helper()
	c := open(t, address, room, more...)
	t.Cleanup(func() { c.conn.Close() })
	go c.read(bufio.NewReader(c.conn))
	c.wait("its first line", patience, func() bool { return len(c.lines) > 0 })
	return c
}

// open opens a numbered conn and does not read from it.
func open(t *testing.T, address, room string, more ...string) *client {
	t.Helper()
	conn, err := handshake(address, query(room, more...))
	if err != nil {
		t.Fatalf("join %s at %s: %v", room, address, err)
	}
	return &client{t: t, room: room, conn: conn, changed: make(chan struct{})}
}

func query(room string, more ...string) string {
	return "room=" + room + "&num=1&token=" + clientToken + strings.Join(append([]string{""}, more...), "&")
}

// clientToken goes with every handshake; it must not show in any log.
var clientToken = secret("e2e-client-token-5c1f")

// handshake opens a WebSocket.
func handshake(address, query string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, ahead, _, err := ws.Dial(ctx, "ws://"+address+"/ws?"+query)
	if err != nil {
		return nil, err
	}
	if ahead != nil {
		return &prefixed{conn, io.MultiReader(io.LimitReader(ahead, int64(ahead.Buffered())), conn)}, nil
	}
	return conn, nil
}

// prefixed is a conn of which some was read already.
type prefixed struct {
	net.Conn
	r io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) { return p.r.Read(b) }

// read takes in everything until the conn ends.
func (c *client) read(in *bufio.Reader) {
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			c.finish(&ending{err: err})
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			c.finish(&ending{err: err})
			return
		}
		switch h.OpCode {
		case ws.OpPing:
			c.write(ws.NewPongFrame(payload)) // the end comes by reading, if there is one
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			c.write(ws.NewCloseFrame(ws.NewCloseFrameBody(code, "")))
			c.finish(&ending{code: code, reason: reason})
			io.Copy(io.Discard, in) // the server hangs up first
			c.conn.Close()
			return
		case ws.OpText:
			c.take(string(payload))
		default:
			c.finish(&ending{err: fmt.Errorf("unexpected frame %v of %d bytes", h.OpCode, h.Length)})
			return
		}
	}
}

// take notes a line or a message.
func (c *client) take(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if rest, ok := strings.CutPrefix(text, "!"); ok {
		position, suffix, _ := strings.Cut(rest, " ")
		epoch, offset, _ := strings.Cut(position, ".")
		n, err := strconv.ParseUint(offset, 10, 64)
		if err != nil || len(epoch) != 13 {
			c.t.Errorf("line %q", text)
		}
		c.lines = append(c.lines, line{epoch, n, suffix, now})
		c.at = n
	} else {
		number, body, _ := strings.Cut(text, " ")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || len(c.lines) == 0 {
			c.t.Errorf("message %.40q", text)
			return
		}
		if n != c.at+1 {
			c.t.Errorf("%s: offset %d after %d, without a line between them", c.room, n, c.at)
		}
		c.at = n
		c.heard = append(c.heard, message{c.lines[len(c.lines)-1].epoch, n, body, now})
	}
	c.change()
}

func (c *client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *client) finish(e *ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.when = time.Now()
	c.end = e
	c.change()
}

func (c *client) write(f ws.Frame) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
	return ws.WriteFrame(c.conn, ws.MaskFrameInPlace(f))
}

// say publishes.
func (c *client) say(text string) {
	if err := c.write(ws.NewTextFrame([]byte(text))); err != nil {
		c.t.Errorf("publish in %s: %v", c.room, err)
	}
}

// wait waits until f, which may look at everything, reports true.
func (c *client) wait(what string, within time.Duration, f func() bool) {
	c.t.Helper()
	timeout := time.After(within)
	for {
		c.mu.Lock()
		ok, changed, end, heard := f(), c.changed, c.end, len(c.heard)
		c.mu.Unlock()
		if ok {
			return
		}
		if end != nil {
			c.t.Fatalf("%s: ended (%s) before %s", c.room, end, what)
		}
		select {
		case <-changed:
		case <-timeout:
			c.t.Fatalf("%s: no %s within %s; %d messages heard", c.room, what, within, heard)
		}
	}
}

// waitHeard waits until n messages came.
func (c *client) waitHeard(n int, within time.Duration) {
	c.t.Helper()
	c.wait(fmt.Sprintf("%d messages", n), within, func() bool { return len(c.heard) >= n })
}

// waitEnd waits until the conn has ended.
func (c *client) waitEnd(within time.Duration) *ending {
	c.t.Helper()
	c.wait("end", within, func() bool { return c.end != nil })
	return c.ending()
}

func (c *client) ending() *ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// messages is what came so far.
func (c *client) messages() []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard[:len(c.heard):len(c.heard)]
}

func (c *client) positions() []line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines[:len(c.lines):len(c.lines)]
}

// checkResets checks that the conn lives and that its room began anew so many times.
func (c *client) checkResets(t *testing.T, want int) {
	t.Helper()
	if e := c.ending(); e != nil {
		t.Errorf("%s: the socket closed: %s", c.room, e)
	}
	lines := c.positions()
	if len(lines) != want+1 || slices.ContainsFunc(lines[1:], func(l line) bool { return l.suffix != "reset" }) {
		t.Errorf("%s: lines %v, want %d resets", c.room, lines, want)
	}
}

// position is where the conn would resume.
func (c *client) position() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%s.%d", c.lines[len(c.lines)-1].epoch, c.at)
}

// texts are the messages' texts.
func texts(list []message) []string {
	all := make([]string, len(list))
	for i, m := range list {
		all[i] = m.text
	}
	return all
}

// reset says whether a conn ended by the other side without a word.
func (e *ending) reset() bool {
	return errors.Is(e.err, syscall.ECONNRESET) || errors.Is(e.err, io.EOF) || errors.Is(e.err, io.ErrUnexpectedEOF)
}

// echo publishes and waits until the message has come back: the room works.
func (c *client) echo(text string, within time.Duration) {
	c.t.Helper()
	c.say(text)
	c.wait("own message", within, func() bool {
		for i := len(c.heard) - 1; i >= 0; i-- {
			if c.heard[i].text == text {
				return true
			}
		}
		return false
	})
}

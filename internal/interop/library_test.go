package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// library is a WebSocket client library.
type library struct {
	name string
	dial func(ctx context.Context, url string, o options) (wire, *http.Response, error)

	// shared says that several goroutines may write to one conn.
	shared bool
}

var libraries = []library{
	{"coder", dialCoder, true},
	{"gorilla", dialGorilla, false},
}

// options of a dial.
type options struct {
	subprotocols []string
	origin       string
	deflate      bool // offer permessage-deflate
	fragment     int  // bytes per fragment of what write sends; 0 is as the library likes
}

// wire is a conn as all libraries have it. Read is called by one goroutine, the
// others by another.
type wire interface {
	write(m message) error
	read() (message, error)                                   // a *closed when the server said goodbye
	ping(ctx context.Context) error                           // returns when the pong came
	close(ctx context.Context, code int, reason string) error // returns when the server has echoed the code
	abort()
}

type message struct {
	binary bool
	body   string
}

func text(body string) message   { return message{false, body} }
func binary(body string) message { return message{true, body} }

func (m message) String() string {
	kind := "text"
	if m.binary {
		kind = "binary"
	}
	return fmt.Sprintf("%s %.60q (%d bytes)", kind, m.body, len(m.body))
}

// closed is the close frame that ended a conn.
type closed struct {
	code   int
	reason string
}

func (c *closed) Error() string { return fmt.Sprintf("closed %d %q", c.code, c.reason) }

// each runs f once per library, all at the same time.
func each(t *testing.T, f func(t *testing.T, lib library)) {
	t.Parallel()
	for _, lib := range libraries {
		t.Run(lib.name, func(t *testing.T) {
			t.Parallel()
			f(t, lib)
		})
	}
}

// conn is a wire whose messages are read as they come, so that pings and closes
// are handled whatever the test does.
type conn struct {
	wire
	t     *testing.T
	heard chan message // closed when the wire ended
	end   error        // why, once heard is closed
}

// maxHeard bounds what waits for the test in a conn; more stays in the socket.
const maxHeard = 1 << 12

// join opens a conn at router i; it ends with the test.
func (l library) join(t *testing.T, i int, room, query string) *conn {
	t.Helper()
	return l.joinWith(t, address(i, room, query), options{})
}

func (l library) joinWith(t *testing.T, url string, o options) *conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, resp, err := l.dial(ctx, url, o)
	if err != nil {
		t.Fatalf("%s: dial %s: %v", l.name, url, err)
	}
	if e := resp.Header.Values("Sec-WebSocket-Extensions"); len(e) > 0 {
		t.Fatalf("%s: extensions %q were accepted", l.name, e)
	}
	c := &conn{wire: w, t: t, heard: make(chan message, maxHeard)}
	stop := make(chan struct{})
	go c.listen(stop)
	t.Cleanup(func() {
		close(stop)
		c.abort()
		for range c.heard { // until listen has ended
		}
	})
	return c
}

func (c *conn) listen(stop <-chan struct{}) {
	defer close(c.heard)
	for {
		m, err := c.read()
		if err != nil {
			c.end = err
			return
		}
		select {
		case c.heard <- m:
		case <-stop:
		}
	}
}

// refused is a handshake that must be answered with status. It returns the error code of the body.
func (l library) refused(t *testing.T, url string, o options, status int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, resp, err := l.dial(ctx, url, o)
	if err == nil {
		w.abort()
		t.Fatalf("%s: dial %s with %+v: got in, want %d", l.name, url, o, status)
	}
	if resp == nil || resp.StatusCode != status {
		t.Fatalf("%s: dial %s with %+v: %v, want %d", l.name, url, o, err, status)
	}
	return errorCode(t, resp)
}

// errorCode is the code in the body of a refusal.
func errorCode(t *testing.T, resp *http.Response) string {
	t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatalf("body of status %d: %v", resp.StatusCode, err)
	}
	if body.Error.Message == "" {
		t.Errorf("status %d has no message", resp.StatusCode)
	}
	return body.Error.Code
}

func (c *conn) say(m message) {
	c.t.Helper()
	if err := c.write(m); err != nil {
		c.t.Fatalf("write %v: %v", m, err)
	}
}

// leave closes the conn politely.
func (c *conn) leave(code int, reason string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.close(ctx, code, reason); err != nil {
		c.t.Errorf("close %d: %v", code, err)
	}
}

// next is the next message.
func (c *conn) next() message {
	c.t.Helper()
	select {
	case m, ok := <-c.heard:
		if !ok {
			c.t.Fatalf("waiting for a message: %v", c.end)
		}
		return m
	case <-time.After(patience):
		c.t.Fatalf("no message after %s", patience)
	}
	panic("not reached")
}

func (c *conn) want(list ...message) {
	c.t.Helper()
	for _, want := range list {
		if got := c.next(); got != want {
			c.t.Fatalf("heard %v, want %v", got, want)
		}
	}
}

// wantClose waits for the server's close frame. No message may come before it.
func (c *conn) wantClose(code int) *closed {
	c.t.Helper()
	select {
	case m, ok := <-c.heard:
		if ok {
			c.t.Fatalf("heard %v, want a close %d", m, code)
		}
	case <-time.After(patience):
		c.t.Fatalf("no close %d after %s", code, patience)
	}
	var got *closed
	if !errors.As(c.end, &got) || got.code != code {
		c.t.Fatalf("ended with %v, want a close %d", c.end, code)
	}
	return got
}

// alive shows that the conn still works: a message goes around.
func (c *conn) alive() {
	c.t.Helper()
	m := text("are we still here?")
	c.say(m)
	c.want(m)
}

var positionLine = regexp.MustCompile(`^!([0-9a-z]{13})\.(0|[1-9][0-9]*)(| gap| reset)$`)

// position is a line of a numbered conn.
type position struct {
	epoch  string
	offset int
	ending string // "", " gap" or " reset"
}

func (p position) since() string { return fmt.Sprintf("since=%s.%d", p.epoch, p.offset) }

// line is the next message, which must be a line.
func (c *conn) line() position {
	c.t.Helper()
	m := c.next()
	part := positionLine.FindStringSubmatch(m.body)
	if m.binary || part == nil {
		c.t.Fatalf("heard %v, want a line", m)
	}
	offset, err := strconv.Atoi(part[2])
	if err != nil {
		c.t.Fatal(err)
	}
	return position{part[1], offset, part[3]}
}

// numbered is what a numbered conn hears of m.
func numbered(offset int, m message) message {
	if m.binary {
		prefix := make([]byte, 8)
		for i := range prefix {
			prefix[i] = byte(offset >> (8 * (7 - i)))
		}
		return binary(string(prefix) + m.body)
	}
	return text(strconv.Itoa(offset) + " " + m.body)
}

// counting is n messages that are all different.
func counting(name string, n int) []message {
	list := make([]message, n)
	for i := range list {
		list[i] = message{i%3 == 2, fmt.Sprintf("%s %d%s", name, i, strings.Repeat(".", i%50))}
	}
	return list
}

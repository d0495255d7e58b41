package node_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// The table of RFC 6455, against a whole router over real sockets and both
// pollers, under cuts of the byte stream. Between two pieces another conn of
// the same lane does a round trip, so that the router has read the first piece
// before the second is sent.
func TestConformance(t *testing.T) {
	for _, portable := range []bool{false, true} {
		t.Run(fmt.Sprintf("portable=%v", portable), func(t *testing.T) {
			s, err := node.OpenShard(node.Config{ID: "s1"}, shard.Config{})
			start(t, s, err)
			r, err := node.OpenRouter(node.Config{ID: "r1", Join: []string{s.Addresses().Gossip}}, "",
				router.Config{Lanes: 1, Portable: portable})
			start(t, r, err)
			awaitReady(t, r)
			rig := &rig{t: t, addr: r.Addresses().Listen}
			rig.barrier = rig.open("room=barrier")
			t.Run("handshakes", func(t *testing.T) { rig.on(t).handshakes() })
			t.Run("streams", func(t *testing.T) { rig.on(t).streams() })
		})
	}
}

type rig struct {
	t       *testing.T
	addr    string
	barrier *client
}

func (r *rig) on(t *testing.T) *rig { return &rig{t, r.addr, r.barrier} }

// client is a socket with what was read ahead of it.
type client struct {
	net.Conn
	in *bufio.Reader
}

func (r *rig) dial() *client {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return &client{c, bufio.NewReader(c)}
}

func (r *rig) open(query string) *client {
	r.t.Helper()
	c := r.dial()
	fmt.Fprint(c, rfc6455.Request("/ws?"+query))
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil || resp.StatusCode != 101 {
		r.t.Fatalf("open %s: %v, %v", query, resp, err)
	}
	return c
}

// settle returns when the router has read all that was sent before.
func (r *rig) settle() {
	r.t.Helper()
	r.barrier.SetDeadline(time.Now().Add(patience))
	r.barrier.Write(rfc6455.Frame(0x89, "b"))
	if h, p := r.frame(r.barrier); h.OpCode != ws.OpPong || string(p) != "b" {
		r.t.Fatalf("barrier heard %v %q", h, p)
	}
}

func (r *rig) frame(c *client) (ws.Header, []byte) {
	r.t.Helper()
	h, err := ws.ReadHeader(c.in)
	if err != nil {
		r.t.Fatalf("read frame: %v", err)
	}
	p := make([]byte, h.Length)
	if _, err := io.ReadFull(c.in, p); err != nil {
		r.t.Fatalf("read frame: %v", err)
	}
	return h, p
}

// send writes b cut at the given place: 0 is whole, -1 byte by byte. What the
// router has closed meanwhile takes no more; that is fine.
func (r *rig) send(c *client, b []byte, cut int) {
	switch {
	case cut < 0:
		for i := range b {
			c.Write(b[i : i+1])
		}
	case cut == 0:
		c.Write(b)
	default:
		c.Write(b[:cut])
		r.settle()
		c.Write(b[cut:])
	}
}

// cuts are places to cut n bytes: all of a short stream, the first frame's
// header and a share of the rest of a long one. Package websocket tests its
// parsers under every cut; here it is about what lies between them and sockets.
func cuts(n int) []int {
	list := []int{0}
	if n <= 512 {
		list = append(list, -1)
	}
	for at := 1; at < n; {
		list = append(list, at)
		if at < 14 {
			at++
		} else {
			at += max(1, n/16)
		}
	}
	return list
}

func (r *rig) handshakes() {
	for _, h := range rfc6455.Handshakes() {
		for _, cut := range cuts(len(h.Request)) {
			c := r.dial()
			r.send(c, []byte(h.Request), cut)
			resp, err := http.ReadResponse(c.in, nil)
			if err != nil {
				r.t.Fatalf("%s, cut at %d: %v", h.Name, cut, err)
			}
			if resp.StatusCode != h.Status {
				r.t.Fatalf("%s, cut at %d: status %d, want %d", h.Name, cut, resp.StatusCode, h.Status)
			}
			if h.Status != 101 {
				r.checkError(h, resp)
			}
			c.Close()
		}
	}
}

func (r *rig) checkError(h rfc6455.Handshake, resp *http.Response) {
	r.t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		r.t.Fatalf("%s: body: %v", h.Name, err)
	}
	if body.Error.Code != h.Code || body.Error.Message == "" {
		r.t.Fatalf("%s: error %+v, want code %s", h.Name, body.Error, h.Code)
	}
	if resp.Header.Get("Content-Type") != "application/json" || !resp.Close && h.Status != 426 {
		r.t.Fatalf("%s: header %v", h.Name, resp.Header)
	}
}

func (r *rig) streams() {
	for i, s := range rfc6455.Streams() {
		room := fmt.Sprintf("room=stream-%d", i)
		witness := r.open(room)
		for _, cut := range cuts(len(s.Bytes)) {
			r.stream(s, room, witness, cut)
		}
		witness.Close()
	}
}

// stream replays one case. The messages that count are those that another
// member of the room hears.
func (r *rig) stream(s rfc6455.Stream, room string, witness *client, cut int) {
	r.t.Helper()
	fail := func(format string, args ...any) {
		r.t.Helper()
		r.t.Fatalf("%s, cut at %d: %s", s.Name, cut, fmt.Sprintf(format, args...))
	}
	c := r.open(room + "&echo=0")
	defer c.Close()
	r.send(c, s.Bytes, cut)
	witness.SetDeadline(time.Now().Add(patience))
	for _, e := range s.Events {
		switch e.Kind {
		case rfc6455.Text, rfc6455.Binary:
			h, p := r.frame(witness)
			want := ws.OpText
			if e.Kind == rfc6455.Binary {
				want = ws.OpBinary
			}
			if h.OpCode != want || string(p) != e.Payload {
				fail("published %v %.40q, want %v %.40q", h.OpCode, p, want, e.Payload)
			}
		case rfc6455.Ping:
			if h, p := r.frame(c); h.OpCode != ws.OpPong || string(p) != e.Payload {
				fail("heard %v %q, want a pong %q", h.OpCode, p, e.Payload)
			}
		}
	}
	if s.Close == 0 {
		return
	}
	h, p := r.frame(c)
	code := uint16(1005)
	if len(p) >= 2 {
		code = binary.BigEndian.Uint16(p)
	}
	if h.OpCode != ws.OpClose || code != s.Close {
		fail("heard %v % x, want close %d", h.OpCode, p, s.Close)
	}
	if !s.ByClient && len(p) <= 2 {
		fail("close %d has no reason", code)
	}
	if rest, err := io.ReadAll(c.in); err != nil || len(bytes.TrimSpace(rest)) > 0 {
		fail("after the close: %q, %v", rest, err)
	}
}

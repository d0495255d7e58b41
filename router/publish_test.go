package router

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/proto"
)

const (
	apiKey  = "0123456789abcdef"
	apiNext = "fedcba9876543210"
	ownerID = proto.NodeName("s1/0000000000001")
)

// desk is a router in a bubble, with an owner of all rooms that is played by
// the test: it takes what the lanes have for it, and answers.
type desk struct {
	t       *testing.T
	r       *Router
	network *memnet.Network
	epoch   proto.Epoch
	logs    map[string]proto.Offset
	parts   map[proto.Partition]proto.Seq // the last publish of each
	took    []string                      // the messages that were published, in order

	mu      sync.Mutex // for what the owner reads and the test changes
	deaf    bool       // it takes nothing
	silent  bool       // it appends, and acknowledges nothing
	gap     bool       // it acknowledges, and does not deliver
	refuses proto.Code // what it says to every publish
}

func inDesk(t *testing.T, cfg Config, f func(d *desk)) {
	synctest.Test(t, func(t *testing.T) {
		cfg.Self, cfg.Lanes, cfg.Partitions, cfg.Portable = "r1/0000000000001", 2, 32, true
		if cfg.APIKeys == nil {
			cfg.APIKeys = []string{apiKey, apiNext}
		}
		r, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d := &desk{t: t, r: r, network: memnet.New(), epoch: proto.MintEpoch(7), logs: map[string]proto.Offset{}, parts: map[proto.Partition]proto.Seq{}}
		ln, err := d.network.Listen("10.0.0.1:8000")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.Run(ctx, ln)
		}()
		owns := make(chan struct{})
		go func() {
			defer close(owns)
			d.own(ctx)
		}()
		f(d)
		stop()
		<-ended
		<-owns
	})
}

// own plays the owner until ctx ends.
func (d *desk) own(ctx context.Context) {
	for _, l := range d.r.lanes {
		l.ask(ctx, func() {
			for p := range 32 {
				if p%2 == l.number {
					l.hub.SetRow(proto.Partition(p), ownerID, 1, l.loop.Now())
				}
			}
			l.hub.LinkUp(ownerID, l.number, 2, l.loop.Now())
		})
	}
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
		for _, l := range d.r.lanes {
			l.ask(ctx, func() { d.serve(l) })
		}
	}
}

// serve answers what one lane has to say. It runs on that lane, and never on
// two at once.
func (d *desk) serve(l *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deaf {
		return
	}
	b := l.hub.Control(ownerID, l.number, nil, 1<<20)
	b = l.hub.Fill(ownerID, l.number, b, 1<<20)
	for len(b) > 0 {
		typ, size, err := proto.ParseHeader(b)
		if err != nil {
			d.t.Error(err)
			return
		}
		d.frame(l, typ, b[proto.HeaderSize:size])
		b = b[size:]
	}
}

func (d *desk) frame(l *lane, typ proto.FrameType, body []byte) {
	id, _, _ := proto.ParseHead(body)
	say := func(f []byte) {
		typ, _, _ := proto.ParseHeader(f)
		if err := l.hub.Frame(ownerID, typ, f[proto.HeaderSize:], l.loop.Now()); err != nil {
			d.t.Error(err)
		}
	}
	switch typ {
	case proto.FrameAttach:
		x, _ := proto.ParseBatch(body)
		for e, ok := x.NextAttach(); ok; e, ok = x.NextAttach() {
			f, start := proto.BeginBatch(nil, proto.FrameAttached, id, 1)
			say(proto.End(proto.AppendAttachedEntry(f, &proto.AttachedEntry{Room: e.Room, Epoch: d.epoch, Offset: d.logs[string(e.Room)], First: 1}), start))
		}
	case proto.FramePublish:
		x, _ := proto.ParsePublish(body)
		d.parts[id] = x.Seq
		room := string(x.Room)
		if d.refuses != proto.OK {
			say(proto.AppendAck(nil, id, 1, x.Seq, []proto.Result{{Seq: x.Seq, Code: d.refuses}}))
			return
		}
		if x.Kind == proto.KindVoid {
			return
		}
		d.took = append(d.took, fmt.Sprintf("%s %d %s", room, x.Kind, x.Payload))
		d.logs[room]++
		if d.silent {
			return
		}
		say(proto.AppendAck(nil, id, 1, x.Seq, nil)) // it may come first
		f, start := proto.BeginDeliver(nil, id, 1, room, d.epoch, d.logs[room])
		if f = proto.End(proto.AppendMessage(f, x.Kind, x.Conn, x.Payload), start); d.gap {
			f, start = proto.BeginBatch(nil, proto.FrameAttached, id, 1)
			f = proto.End(proto.AppendAttachedEntry(f, &proto.AttachedEntry{Room: x.Room, Epoch: d.epoch, Offset: d.logs[room], First: d.logs[room] + 1, Status: proto.StatusGap}), start)
		}
		say(f)
	}
}

// change changes how the owner behaves.
func (d *desk) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// taken is what the owner took, in order.
func (d *desk) taken() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.took)
}

// head is the head of a publish with a valid key.
func head(room string, lines ...string) string {
	return "POST /v1/rooms/" + room + "/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + apiKey + "\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

func message(room, body string, lines ...string) string {
	return head(room, append(lines, fmt.Sprint("Content-Length: ", len(body)))...) + body
}

func (d *desk) dial() net.Conn {
	c, err := d.network.Host("10.9.9.9").DialContext(d.t.Context(), "10.0.0.1:8000")
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// send says something and returns the connection.
func (d *desk) send(text string) net.Conn {
	c := d.dial()
	if _, err := io.WriteString(c, text); err != nil {
		d.t.Error(err)
	}
	return c
}

// answer reads a whole answer, behind which the connection must end.
func (d *desk) answer(c net.Conn) (status string, header http.Header) {
	d.t.Helper()
	defer c.Close()
	from := bufio.NewReader(c)
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		return err.Error(), nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Error(err)
	}
	if rest, err := io.ReadAll(from); len(rest) > 0 || err != nil {
		d.t.Errorf("behind the answer: %q, %v", rest, err)
	}
	text := strings.TrimSpace(string(body))
	if _, code, ok := strings.Cut(text, `"code":"`); ok {
		text = code[:strings.IndexByte(code, '"')]
	}
	return fmt.Sprint(resp.StatusCode, " ", text), resp.Header
}

func (d *desk) want(text, want string) {
	d.t.Helper()
	if got, _ := d.answer(d.send(text)); got != want {
		d.t.Errorf("%.200q: %s, want %s", text, got, want)
	}
}

func (d *desk) placed(offset int) string {
	return fmt.Sprintf(`200 {"epoch":"%s","offset":%d}`, d.epoch, offset)
}

// idle wants everything given back, at the latest when a client that takes no answer has had its time.
func (d *desk) idle() {
	d.t.Helper()
	time.Sleep(d.r.cfg.CloseTime + time.Second)
	for _, l := range d.r.lanes {
		l.ask(d.t.Context(), func() {
			if l.bodies != 0 || len(l.posts) != 0 || len(l.conns) != 0 {
				d.t.Errorf("lane %d: %d bytes of bodies, %d posts, %d conns", l.number, l.bodies, len(l.posts), len(l.conns))
			}
			if s := l.hub.Stats(); s.Rooms != 0 || s.Members != 0 {
				d.t.Errorf("lane %d: %+v", l.number, s)
			}
		})
	}
	if n := d.r.Conns(); n != 0 {
		d.t.Errorf("%d conns are counted", n)
	}
}

func TestPublishOverHTTP(t *testing.T) {
	inDesk(t, Config{MaxMessage: 1000}, func(d *desk) {
		for i := range 8 { // rooms on both lanes
			d.want(message(fmt.Sprint("room-", i), "hello"), d.placed(1))
			d.want(message(fmt.Sprint("room-", i), "again"), d.placed(2))
		}
		d.change(func() { d.took = nil })
		d.want(message("a%20b%2Fc", "é"), d.placed(1))
		d.want(message("a", "\xff\x00", "Content-Type: application/octet-stream"), d.placed(1))
		d.want(message("a", `{"x":1}`, "Content-Type: application/json"), d.placed(2))
		d.want(message("a", strings.Repeat("x", 1000)), d.placed(3))
		d.want(head("a", "Transfer-Encoding: chunked")+"3\r\nhel\r\n2;x\r\nlo\r\n0\r\nX: y\r\n\r\n", d.placed(4))
		d.want(message("a", ""), d.placed(5))
		d.want(head("a"), d.placed(6))
		d.want(strings.Replace(message("a", "rotated"), apiKey, apiNext, 1), d.placed(7))
		d.want(message("a", "and more")+"GET /healthz HTTP/1.1\r\n", d.placed(8))
		want := []string{"a b/c 0 é", "a 1 \xff\x00", `a 0 {"x":1}`, "a 0 " + strings.Repeat("x", 1000), "a 0 hello", "a 0 ", "a 0 ", "a 0 rotated", "a 0 and more"}
		if got := strings.Join(d.taken(), "\n"); got != strings.Join(want, "\n") {
			t.Errorf("the owner got %q, want %q", d.taken(), want)
		}
		d.idle()
	})
}

// The same over real sockets, with a client that is not ours.
func TestPublishOverSockets(t *testing.T) {
	r, err := New(Config{Self: "r1/0000000000001", Lanes: 2, Partitions: 32, APIKeys: []string{apiKey}})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, r: r, epoch: proto.MintEpoch(7), logs: map[string]proto.Offset{}, parts: map[proto.Partition]proto.Seq{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { r.Run(ctx, ln) })
	ended.Go(func() { d.own(ctx) })
	defer ended.Wait()
	defer stop()
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	for i := range 40 {
		var body io.Reader = strings.NewReader(strings.Repeat("x", 1+i*1600))
		if i%2 == 0 {
			body = io.MultiReader(body) // of no known length: it comes in chunks
		}
		req, err := http.NewRequestWithContext(ctx, "POST", fmt.Sprintf("http://%s/v1/rooms/room%%20%d/messages", ln.Addr(), i%4), body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+apiKey)
		if i%3 == 0 {
			req.Header.Set("Expect", "100-continue")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf(`{"epoch":"%s","offset":%d}`+"\n", d.epoch, i/4+1); resp.StatusCode != 200 || string(got) != want {
			t.Errorf("%d: %s %s, want %s", i, resp.Status, got, want)
		}
	}
}

// The body may come in any pieces.
func TestPublishInPieces(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		for _, text := range []string{message("a", "hello", "Content-Type: text/plain"), head("b", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n"} {
			c := d.dial()
			for i := range len(text) {
				io.WriteString(c, text[i:i+1])
				synctest.Wait()
			}
			if got, _ := d.answer(c); got != d.placed(1) {
				t.Errorf("%q: %s", text, got)
			}
		}
		d.idle()
	})
}

func TestPublishIsRefused(t *testing.T) {
	inDesk(t, Config{MaxMessage: 1000}, func(d *desk) {
		text := message("a", "hello")
		for _, c := range []struct{ text, want string }{
			{strings.Replace(text, apiKey, apiKey+"0", 1), "401 unauthorized"},
			{strings.Replace(text, apiKey, apiKey[1:], 1), "401 unauthorized"},
			{strings.Replace(text, "Bearer "+apiKey, "Basic "+apiKey, 1), "401 unauthorized"},
			{strings.Replace(text, "Authorization: Bearer "+apiKey+"\r\n", "", 1), "401 unauthorized"},
			{strings.Replace(text, "POST", "GET", 1), "405 method_not_allowed"},
			{message("%00", "x"), "400 bad_room"},
			{message("a", "x", "Idempotency-Key: a b"), "400 bad_request"},
			{message("a", "x", "Origin: http://evil.example"), "403 forbidden_origin"},
			{message("a", "\xff"), "400 bad_request"},
			{message("a", strings.Repeat("x", 1001)), "413 too_big"},
			{head("a", "Transfer-Encoding: chunked") + "3e9\r\n", "413 too_big"},
			{head("a", "Transfer-Encoding: chunked") + "x", "400 bad_request"},
			{message("a", "x", "Transfer-Encoding: chunked"), "400 bad_request"},
		} {
			d.want(c.text, c.want)
		}
		if _, header := d.answer(d.send(strings.Replace(text, apiKey, "x", 1))); header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("401 without a challenge: %v", header)
		}
		d.want(message("a", "x", "Origin: http://x"), d.placed(1))
		for code, want := range map[proto.Code]string{
			proto.TooBig: "413 too_big", proto.BadRoom: "400 bad_room", proto.Full: "503 full", proto.Denied: "403 forbidden",
		} {
			d.change(func() { d.refuses = code })
			d.want(text, want)
		}
		if len(d.taken()) != 1 {
			t.Errorf("the owner got %q", d.taken())
		}
		d.idle()
	})
}

func TestPublishIsOffWithoutAKey(t *testing.T) {
	inDesk(t, Config{APIKeys: []string{}}, func(d *desk) {
		d.want(message("a", "hello"), "404 not_found")
		d.want(strings.Replace(message("a", "hello"), "Bearer "+apiKey, "Bearer ", 1), "404 not_found")
	})
	if _, err := New(Config{Self: "r1/0000000000001", APIKeys: []string{""}}); err == nil {
		t.Error("an empty key is taken")
	}
}

func TestPublishWaitsForAWordFirst(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		for _, room := range []string{"a", "b", "c", "d"} { // on both lanes
			c := d.send(head(room, "Content-Length: 5", "Expect: 100-continue"))
			from := make([]byte, 25)
			if _, err := io.ReadFull(c, from); string(from) != "HTTP/1.1 100 Continue\r\n\r\n" || err != nil {
				t.Fatalf("%q, %v", from, err)
			}
			io.WriteString(c, "hello")
			if got, _ := d.answer(c); got != d.placed(1) {
				t.Error(got)
			}
		}
		d.want(strings.Replace(head("a", "Content-Length: 5", "Expect: 100-continue"), apiKey, "x", 1), "401 unauthorized")
	})
}

// TestSlowBodies: a body has its time, whatever trickles in.
func TestSlowBodies(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		began := time.Now()
		c := d.send(head("a", "Content-Length: 60000"))
		go func() {
			for {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		if got, _ := d.answer(c); got != "408 timeout" {
			t.Error(got)
		}
		if took := time.Since(began); took < messageTime-wheelTick || took > messageTime+5*time.Second {
			t.Errorf("answered after %v", took)
		}
		d.send(head("a", "Content-Length: 5") + "hel").Close() // it never comes back
		d.idle()
	})
}

// TestUnplaced: what the client is told when the owner says nothing, and when.
func TestUnplaced(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		began := time.Now()
		d.change(func() { d.silent = true })
		d.want(message("a", "hello", "Idempotency-Key: k"), "504 unacknowledged")
		if took := time.Since(began); took < postTime || took > postTime+time.Second {
			t.Errorf("answered after %v", took)
		}
		d.change(func() { d.silent = false })
		d.want(message("a", "hello", "Idempotency-Key: k"), "504 unacknowledged") // not published twice
		d.change(func() { d.deaf = true })
		d.want(message("b", "hello", "Idempotency-Key: k"), "503 unavailable") // never published
		d.change(func() { d.deaf = false })
		d.want(message("b", "hello", "Idempotency-Key: k"), d.placed(1))
		d.change(func() { d.gap = true })
		if want := `200 {"epoch":"","offset":0}`; true {
			d.want(message("c", "hello", "Idempotency-Key: k"), want) // acknowledged, and missed here
			d.want(message("c", "hello", "Idempotency-Key: k"), want)
		}
		if got := strings.Join(d.taken(), ", "); got != "a 0 hello, b 0 hello, c 0 hello" {
			t.Errorf("the owner got %s", got)
		}
	})
}

func TestIdempotencyKeys(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		key := "Idempotency-Key: order-1"
		d.want(message("a", "hello", key), d.placed(1))
		d.want(message("a", "hello", key), d.placed(1))
		d.want(message("a", "other", key), "422 key_reused")
		d.want(message("a", "hello", key, "Content-Type: application/octet-stream"), "422 key_reused")
		d.want(message("b", "hello", key), d.placed(1))
		d.want(message("a", "hello", "Idempotency-Key: order-2"), d.placed(2))
		d.change(func() { d.refuses = proto.TooBig })
		d.want(message("c", "hello", key), "413 too_big")
		d.change(func() { d.refuses = proto.OK })
		d.want(message("c", "hello", key), "413 too_big")
		time.Sleep(keyTime)
		d.want(message("a", "hello", key), d.placed(3))
		d.want(message("c", "hello", key), d.placed(1))
		d.idle()
	})
}

// Who asks again while the first is under way waits for it.
func TestIdempotencyKeyUnderWay(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		d.change(func() { d.deaf = true })
		text := message("a", "hello", "Idempotency-Key: k")
		var conns []net.Conn
		for range maxWaiting + 1 {
			conns = append(conns, d.send(text))
			synctest.Wait()
		}
		if got, _ := d.answer(conns[maxWaiting]); got != "429 rate_limited" {
			t.Errorf("one too many: %s", got)
		}
		d.want(message("a", "other", "Idempotency-Key: k"), "422 key_reused")
		d.breaks(0)  // the first, and one in the middle
		d.breaks(30) // another one
		conns = append(conns[:maxWaiting], d.send(text), d.send(text))
		synctest.Wait()
		d.change(func() { d.deaf = false })
		answered := 0
		for i, c := range conns {
			switch got, _ := d.answer(c); got {
			case d.placed(1):
				answered++
			case "EOF", "unexpected EOF", io.ErrClosedPipe.Error():
			default:
				t.Errorf("%d: %s", i, got)
			}
		}
		if answered != maxWaiting || len(d.taken()) != 1 {
			t.Errorf("%d were answered; the owner got %q", answered, d.taken())
		}
		d.idle()
	})
}

// breaks has the router find one of its conns that wait for an answer broken.
func (d *desk) breaks(n int) {
	for _, l := range d.r.lanes {
		l.ask(d.t.Context(), func() {
			for _, c := range l.conns {
				if c.state == stateWaiting && c.opening.posting.at == n {
					c.Broken(io.ErrUnexpectedEOF)
					return
				}
			}
		})
	}
}

// A client that is gone takes along what was not published yet, unless it can
// ask for it by a key, and nothing else.
func TestPublisherIsGone(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		d.change(func() { d.deaf = true })
		d.send(message("a", "one"))
		d.send(message("b", "two", "Idempotency-Key: k"))
		synctest.Wait()
		d.breaks(0)
		d.breaks(0)
		d.change(func() { d.deaf = false })
		d.idle()
		d.change(func() { d.silent = true })
		d.send(message("a", "three"))
		time.Sleep(time.Second)
		d.breaks(0)
		d.want(message("b", "two", "Idempotency-Key: k"), d.placed(1))
		if got := strings.Join(d.taken(), ", "); got != "b 0 two, a 0 three" {
			t.Errorf("the owner got %s", got)
		}
		d.idle()
	})
}

// TestPublishBounds: memory, conns and addresses are bounded as for WebSockets.
func TestPublishBounds(t *testing.T) {
	t.Run("unacknowledged", func(t *testing.T) {
		inDesk(t, Config{MemoryLimit: 8 << 18}, func(d *desk) { // 128 KiB per lane
			d.change(func() { d.silent = true })
			full := 0
			for range 5 {
				c := d.send(message("a", strings.Repeat("x", 60_000)))
				time.Sleep(10 * time.Millisecond)
				c.SetReadDeadline(time.Now().Add(time.Second))
				if got, _ := d.answer(c); got == "503 full" {
					full++
				}
			}
			if full != 2 {
				t.Errorf("%d of 5 were refused", full)
			}
		})
	})
	t.Run("bodies", func(t *testing.T) {
		inDesk(t, Config{MaxMessage: 10_000, MemoryLimit: 1 << 20}, func(d *desk) { // 40,000 per lane
			var conns []net.Conn
			for range 8 {
				conns = append(conns, d.send(head("a", "Content-Length: 10000")+strings.Repeat("x", 9_000)))
			}
			synctest.Wait()
			for _, l := range d.r.lanes {
				l.ask(d.t.Context(), func() {
					if l.bodies > l.maxBodies {
						t.Errorf("%d bytes of %d", l.bodies, l.maxBodies)
					}
				})
			}
			full := 0
			for _, c := range conns {
				io.WriteString(c, strings.Repeat("x", 1_000))
				if got, _ := d.answer(c); got == "503 full" {
					full++
				}
			}
			if full == 0 || full == 8 {
				t.Errorf("%d of 8 were refused", full)
			}
			d.idle()
		})
	})
	t.Run("conns", func(t *testing.T) {
		inDesk(t, Config{MaxConns: 1}, func(d *desk) {
			d.change(func() { d.deaf = true })
			first := d.send(message("a", "hello"))
			synctest.Wait()
			d.want(message("a", "hello"), "503 full")
			d.change(func() { d.deaf = false })
			if got, _ := d.answer(first); got != d.placed(1) {
				t.Error(got)
			}
			d.idle()
		})
	})
	t.Run("per address", func(t *testing.T) {
		inDesk(t, Config{MaxConnsPerIP: 1}, func(d *desk) {
			d.change(func() { d.deaf = true })
			first := d.send(message("a", "hello"))
			synctest.Wait()
			d.want(message("a", "hello"), "429 rate_limited")
			d.change(func() { d.deaf = false })
			if got, _ := d.answer(first); got != d.placed(1) {
				t.Error(got)
			}
			synctest.Wait() // an address is counted until its conn is gone
			d.want(message("a", "hello"), d.placed(2))
		})
	})
}

// A router that drains takes no message, and answers those under way.
func TestPublishWhileDraining(t *testing.T) {
	inDesk(t, Config{DrainTime: -1}, func(d *desk) {
		stays := d.send(rfc6455.Request("/ws?room=a")) // has the drain last
		d.change(func() { d.silent = true })
		under := d.send(message("a", "hello"))
		half := d.send(head("a", "Content-Length: 5") + "hel")
		time.Sleep(time.Second)
		drained := make(chan error)
		go func() { drained <- d.r.Drain(d.t.Context()) }()
		if got, _ := d.answer(half); got != "503 draining" {
			t.Errorf("half a body: %s", got)
		}
		d.want(message("a", "hello"), "503 draining")
		stays.Close()
		if got, _ := d.answer(under); got != "504 unacknowledged" {
			t.Errorf("under way: %s", got)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// A position that is in the owner's log and not committed in time is answered
// with an open WebSocket and a close that says to come back.
func TestComeBackForAPosition(t *testing.T) {
	inDesk(t, Config{}, func(d *desk) {
		d.change(func() { d.logs["a"] = 5 })
		d.change(func() { d.deaf = true })
		c := d.send(rfc6455.Request("/ws?room=a&since=" + d.epoch.String() + ".7"))
		defer c.Close()
		synctest.Wait()
		l := d.r.lanes[int(proto.PartitionOfString("a", 32))%2]
		l.ask(d.t.Context(), func() {
			id := proto.PartitionOfString("a", 32)
			l.hub.Fill(ownerID, l.number, nil, 1<<20)
			f, start := proto.BeginBatch(nil, proto.FrameAttached, id, 1)
			f = proto.End(proto.AppendAttachedEntry(f, &proto.AttachedEntry{Room: []byte("a"), Epoch: d.epoch, Offset: 5, First: 1}), start)
			l.hub.Frame(ownerID, proto.FrameAttached, f[proto.HeaderSize:], l.loop.Now())
			l.hub.Fill(ownerID, l.number, nil, 1<<20)
			f, start = proto.BeginFetched(nil, id, 1, []byte("a"), d.epoch, 7, true)
			l.hub.Frame(ownerID, proto.FrameFetched, proto.End(f, start)[proto.HeaderSize:], l.loop.Now())
		})
		began := time.Now()
		all, err := io.ReadAll(c)
		if took := time.Since(began); err != nil || took < 59*time.Second || took > 65*time.Second {
			t.Errorf("answered after %v, %v", took, err)
		}
		if !bytes.HasPrefix(all, []byte("HTTP/1.1 101 ")) || !bytes.Contains(all, []byte("\x03\xf5")) {
			t.Errorf("answer %q, want 101 and a close with 1013", all)
		}
	})
}

// Keys are replaced while the router runs: what was let in is finished.
func TestAPIKeysAreReplaced(t *testing.T) {
	inDesk(t, Config{APIKeys: []string{apiKey}}, func(d *desk) {
		next := func(text string) string { return strings.Replace(text, apiKey, apiNext, 1) }
		d.want(message("a", "one"), d.placed(1))
		d.want(next(message("a", "two")), "401 unauthorized")
		slow := d.send(message("a", "slow")[:len(message("a", "slow"))-1])
		time.Sleep(time.Second)
		if err := d.r.SetAPIKeys([]string{apiNext}); err != nil || d.r.APIKeys() != 1 {
			t.Error(err)
		}
		io.WriteString(slow, "w")
		if got, _ := d.answer(slow); got != d.placed(2) {
			t.Errorf("what was let in: %s", got)
		}
		d.want(message("a", "one"), "401 unauthorized")
		d.want(next(message("a", "three")), d.placed(3))
		if err := d.r.SetAPIKeys([]string{apiKey, ""}); err == nil {
			t.Error("an empty key was taken")
		}
		d.want(next(message("a", "four")), d.placed(4))
		if err := d.r.SetAPIKeys(nil); err != nil {
			t.Error(err)
		}
		d.want(next(message("a", "five")), "404 not_found")
	})
}

package websocket_test

import (
	"bufio"
	"bytes"
	"cmp"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/router/websocket"
)

var standard = &websocket.Limits{}

// TestHandshakes replays the table: every prefix of a request, which is every
// way that its bytes can arrive, must be undecided or have the final outcome.
func TestHandshakes(t *testing.T) {
	bad := 0
	for _, h := range rfc6455.Handshakes() {
		if h.Status != 101 {
			bad++
		}
		t.Run(h.Name, func(t *testing.T) {
			b := []byte(h.Request)
			req, n, err := websocket.ParseRequest(b, standard)
			checkHandshake(t, &h, &req, n, err)
			for i := range b {
				r, m, e := websocket.ParseRequest(b[:i], standard)
				if m == 0 && e == nil {
					continue
				}
				if m != n || !sameError(e, err) || !reflect.DeepEqual(r, req) {
					t.Fatalf("with %d of %d bytes: %+v, %d, %v; whole: %+v, %d, %v", i, len(b), r, m, e, req, n, err)
				}
			}
			r, m, e := websocket.ParseRequest(append(b, "\x81\x80abcd\r\n\r\n"...), standard)
			if m != n || !sameError(e, err) || !reflect.DeepEqual(r, req) {
				t.Fatalf("with bytes behind it: %+v, %d, %v; without: %+v, %d, %v", r, m, e, req, n, err)
			}
		})
	}
	if bad < 40 {
		t.Errorf("the table has %d bad handshakes, want 40 or more", bad)
	}
}

func checkHandshake(t *testing.T, h *rfc6455.Handshake, req *websocket.Request, n int, err *websocket.HTTPError) {
	t.Helper()
	if h.Status != 101 {
		if err == nil || err.Status != h.Status || err.Code != h.Code {
			t.Fatalf("got %d, %v; want %d %s", n, err, h.Status, h.Code)
		}
		return
	}
	if err != nil || n != len(h.Request) {
		t.Fatalf("got %d, %v; want %d bytes accepted", n, err, len(h.Request))
	}
	since := ""
	if req.Resume {
		since = "0"
		if !req.Since.Epoch.IsZero() {
			since = req.Since.String()
		}
	}
	got := rfc6455.Handshake{Name: h.Name, Request: h.Request, Status: 101, Room: req.Room, Token: req.Token, Since: since, Num: req.Num, NoEcho: !req.Echo}
	if got != *h {
		t.Errorf("got %+v, want %+v", got, *h)
	}
	if req.Route != websocket.RouteUpgrade || req.Key != rfc6455.Key {
		t.Errorf("route %d, key %q", req.Route, req.Key)
	}
}

func sameError(a, b *websocket.HTTPError) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func TestRequestFields(t *testing.T) {
	req, _, err := websocket.ParseRequest([]byte(rfc6455.Request("/ws?room=r",
		"Host: router.example:8000", "+Origin: https://page.example", "+Authorization: bearer  abc.def",
		"+X-Forwarded-For: 1.2.3.4", "+x-forwarded-for: 5.6.7.8, 9.9.9.9", "+X-Forwarded-Proto: https",
		"+Sec-WebSocket-Protocol: unknown, b", "+Sec-WebSocket-Protocol: a")), &websocket.Limits{Subprotocols: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	want := websocket.Request{
		Route: websocket.RouteUpgrade, Method: "GET", Path: "/ws", RawQuery: "room=r", Room: "r", Echo: true,
		Host: "router.example:8000", Origin: "https://page.example", Bearer: "abc.def",
		ForwardedFor: "1.2.3.4,5.6.7.8, 9.9.9.9", ForwardedProto: "https", Key: rfc6455.Key, Subprotocol: "b", ContentLength: -1,
	}
	if req != want {
		t.Errorf("got  %+v\nwant %+v", req, want)
	}
}

// TestAuthority: what an absolute target says counts, not the Host header.
func TestAuthority(t *testing.T) {
	req, _, err := websocket.ParseRequest([]byte(rfc6455.Request("HTTPS://proxied.example:9?room=r")), standard)
	if err != nil || req.Host != "proxied.example:9" || req.Path != "/" || req.RawQuery != "room=r" {
		t.Errorf("got %+v, %v", req, err)
	}
}

// TestRoomStandsAlone: who keeps a room's name does not keep the request.
func TestRoomStandsAlone(t *testing.T) {
	req, _, err := websocket.ParseRequest([]byte(rfc6455.Request("/ws?room=lobby")), standard)
	if err != nil {
		t.Fatal(err)
	}
	in := strings.Index(req.RawQuery, req.Room)
	if unsafe.StringData(req.Room) == unsafe.StringData(req.RawQuery[in:]) {
		t.Error("the room's name is a part of the head's copy")
	}
}

func TestPlainRequests(t *testing.T) {
	for _, c := range []struct {
		line   string
		route  websocket.Route
		method string
		path   string
	}{
		{"GET /healthz HTTP/1.1", websocket.RouteHealth, "GET", "/healthz"},
		{"POST /healthz?x=1 HTTP/1.1", websocket.RouteHealth, "POST", "/healthz"},
		{"GET / HTTP/1.1", websocket.RouteRoot, "GET", "/"},
		{"GET http://h HTTP/1.1", websocket.RouteRoot, "GET", "/"},
		{"GET /ws/ HTTP/1.1", websocket.RouteOther, "GET", "/ws/"},
		{"GET /v1/rooms//messages HTTP/1.1", websocket.RouteOther, "GET", "/v1/rooms//messages"},
		{"GET /v1/rooms/a/b/messages HTTP/1.1", websocket.RouteOther, "GET", "/v1/rooms/a/b/messages"},
		{"POST /v1/rooms/a%2Fb+c/messages HTTP/1.1", websocket.RoutePublish, "POST", "/v1/rooms/a%2Fb+c/messages"},
	} {
		head := c.line + "\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
		req, n, err := websocket.ParseRequest([]byte(head+"hello"), standard)
		if err != nil || n != len(head) || req.Route != c.route || req.Method != c.method || req.Path != c.path || req.ContentLength != 5 || !req.Expect {
			t.Errorf("%s: got %+v, %d, %v", c.line, req, n, err)
		}
	}
}

func TestPublishRoom(t *testing.T) {
	for path, want := range map[string]string{
		"a": "a", "a+b": "a+b", "a%2Fb": "a/b", "%C3%A9": "é", "%FF": "", "%00": "", strings.Repeat("n", 256): "",
	} {
		req := websocket.Request{Method: "POST", Path: "/v1/rooms/" + path + "/messages"}
		p, err := req.Publish(standard)
		if room := p.Room; room != want || (err == nil) != (want != "") || err != nil && err.Code != "bad_room" {
			t.Errorf("%s: got %q, %v; want %q", path, p.Room, err, want)
		}
	}
}

// TestEndlessHeader hands over ever more of a header line of 64 MiB, as a loop
// that keeps what is not used up would.
func TestEndlessHeader(t *testing.T) {
	b := []byte(rfc6455.Request("/ws?room=r"))
	b = append(b[:len(b)-2], "X-Endless: "...)
	b = append(b, bytes.Repeat([]byte("x"), 64<<20)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var err *websocket.HTTPError
	size := 0
	for err == nil && size < len(b) {
		size++
		_, _, err = websocket.ParseRequest(b[:size], standard)
	}
	_, _, whole := websocket.ParseRequest(b, standard)
	runtime.ReadMemStats(&after)
	if err == nil || err.Status != 431 || size != 8<<10 || !sameError(err, whole) {
		t.Errorf("refused after %d bytes with %v, whole with %v; want 431 after 8192", size, err, whole)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
		t.Errorf("allocated %d bytes, want under 64 KiB", grown)
	}
}

func TestUpgradeAllocations(t *testing.T) {
	b := []byte(rfc6455.Request("/ws?room=lobby&num=1", browserHeaders...))
	out := make([]byte, 0, 512)
	allocs := testing.AllocsPerRun(100, func() {
		req, _, err := websocket.ParseRequest(b, standard)
		if err != nil {
			t.Fatal(err)
		}
		out = websocket.AppendSwitching(out[:0], req.Key, req.Subprotocol)
	})
	if allocs > 2 { // the head, and the room's name
		t.Errorf("an upgrade allocates %v times, want 2", allocs)
	}
}

var browserHeaders = []string{
	"Host: localhost:8000", "+Pragma: no-cache", "+Cache-Control: no-cache",
	"+User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
	"+Origin: http://localhost:8000", "+Accept-Encoding: gzip, deflate, br, zstd", "+Accept-Language: en-US,en;q=0.9",
	"+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
}

// FuzzHandshake holds the parser against itself under every cut, and against
// net/http, which must not read another request out of what we accept.
func FuzzHandshake(f *testing.F) {
	for _, h := range rfc6455.Handshakes() {
		if len(h.Request) < 2<<10 {
			f.Add([]byte(h.Request))
		}
	}
	f.Add([]byte("POST /v1/rooms/a%20b/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("POST /v1/rooms/a/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nIdempotency-Key: k\r\n\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		original := bytes.Clone(b)
		req, n, err := websocket.ParseRequest(b, standard)
		if !bytes.Equal(b, original) {
			t.Fatal("the bytes were changed")
		}
		for i := range min(len(b), 1<<10) {
			r, m, e := websocket.ParseRequest(b[:i], standard)
			if (m > 0 || e != nil) && (m != n || !sameError(e, err) || r != req) {
				t.Fatalf("with %d of %d bytes: %+v, %d, %v; whole: %+v, %d, %v", i, len(b), r, m, e, req, n, err)
			}
		}
		switch {
		case err != nil:
			checkAnswer(t, websocket.AppendError(nil, err), err.Status)
		case n > 8<<10:
			t.Fatalf("a head of %d bytes was accepted", n)
		case n > 0:
			compareWithNetHTTP(t, b, n, &req)
		}
	})
}

func compareWithNetHTTP(t *testing.T, b []byte, n int, req *websocket.Request) {
	theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[:n])))
	if err != nil {
		// net/url is stricter about signs in a host; all else is our mistake.
		if strings.Contains(err.Error(), "host") || strings.Contains(err.Error(), "port") || strings.Contains(err.Error(), "authority") || strings.Contains(err.Error(), "invalid URI") {
			return
		}
		t.Fatalf("accepted what net/http refuses: %v", err)
	}
	// An absolute target without a path means the root.
	if theirs.Method != req.Method || cmp.Or(theirs.URL.Path, "/") != unescape(t, req.Path) || theirs.URL.RawQuery != req.RawQuery {
		t.Fatalf("%q: net/http has %s %s ? %s, we %s %s ? %s", b[:n], theirs.Method, theirs.URL.Path, theirs.URL.RawQuery, req.Method, req.Path, req.RawQuery)
	}
	if length := max(req.ContentLength, 0); theirs.ContentLength != length && !req.Chunked || req.Chunked != (theirs.ContentLength == -1) {
		t.Fatalf("%q: net/http has length %d, we %d", b[:n], theirs.ContentLength, req.ContentLength)
	}
	if req.Route != websocket.RouteUpgrade || strings.Contains(req.RawQuery, ";") {
		return // net/url refuses semicolons; to us they are signs like others
	}
	values, err := url.ParseQuery(req.RawQuery)
	if err != nil || values.Get("room") != req.Room || values.Get("token") != req.Token {
		t.Fatalf("%q: net/url has %v, %v; we room %q, token %q", b[:n], values, err, req.Room, req.Token)
	}
}

func unescape(t *testing.T, s string) string {
	s, err := url.PathUnescape(s)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkAnswer reads an answer as a client would.
func checkAnswer(t *testing.T, b []byte, status int) (*http.Response, string) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(b))
	resp, err := http.ReadResponse(r, &http.Request{Method: "GET"})
	if err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || r.Buffered() > 0 || !resp.Close && status != 101 {
		t.Fatalf("%q: status %d, %d bytes behind it, close %v, %v", b, resp.StatusCode, r.Buffered(), resp.Close, err)
	}
	return resp, string(body)
}

func BenchmarkUpgrade(b *testing.B) {
	head := []byte(rfc6455.Request("/ws?room=lobby&num=1", browserHeaders...))
	out := make([]byte, 0, 512)
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		req, _, err := websocket.ParseRequest(head, standard)
		if err != nil {
			b.Fatal(err)
		}
		out = websocket.AppendSwitching(out[:0], req.Key, req.Subprotocol)
	}
}

// BenchmarkIncompleteHead is what each further byte of a slow head costs.
func BenchmarkIncompleteHead(b *testing.B) {
	head := []byte(rfc6455.Request("/ws?room=lobby&num=1", browserHeaders...))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := websocket.ParseRequest(head[:len(head)-1], standard); err != nil {
			b.Fatal(err)
		}
	}
}

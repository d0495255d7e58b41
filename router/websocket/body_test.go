package websocket_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/roomring/roomring/router/websocket"
)

// small has messages of 16 bytes.
var small = &websocket.Limits{Message: 16}

func publishHead(lines ...string) string {
	return "POST /v1/rooms/a%20b/messages HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

// TestPublishRequests: what a head may say of a message, and what not.
func TestPublishRequests(t *testing.T) {
	for _, c := range []struct {
		head   string
		status int // 0: fine
		code   string
		binary bool
		key    string
	}{
		{head: publishHead("Content-Length: 5")},
		{head: publishHead("Transfer-Encoding: chunked")},
		{head: publishHead("Transfer-Encoding: CHUNKED")},
		{head: publishHead()},
		{head: publishHead("Content-Length: 16")},
		{head: publishHead("Content-Length: 1", "Content-Type: application/octet-stream"), binary: true},
		{head: publishHead("Content-Length: 1", "Content-Type: Application/Octet-Stream ; x=y"), binary: true},
		{head: publishHead("Content-Length: 1", "Content-Type: application/json")},
		{head: publishHead("Content-Length: 1", "Content-Type: text/plain; charset=utf-8")},
		{head: publishHead("Content-Length: 1", "Content-Type: application/octet-streams")},
		{head: publishHead("Content-Length: 1", "Idempotency-Key: order-17"), key: "order-17"},
		{head: publishHead("Content-Length: 1", "Idempotency-Key: "+strings.Repeat("k", 128)), key: strings.Repeat("k", 128)},
		{publishHead("Content-Length: 17"), 413, "too_big", false, ""},
		{publishHead("Content-Length: 999999999999999999"), 413, "too_big", false, ""},
		{publishHead("Content-Length: -1"), 400, "bad_request", false, ""},
		{publishHead("Content-Length: 5", "Content-Length: 6"), 400, "bad_request", false, ""},
		{publishHead("Content-Length: 5", "Transfer-Encoding: chunked"), 400, "bad_request", false, ""},
		{publishHead("Transfer-Encoding: gzip, chunked"), 400, "bad_request", false, ""},
		{publishHead("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400, "bad_request", false, ""},
		{publishHead("Transfer-Encoding: identity"), 400, "bad_request", false, ""},
		{publishHead("Transfer-Encoding:"), 400, "bad_request", false, ""},
		{publishHead("Idempotency-Key:"), 400, "bad_request", false, ""},
		{publishHead("Idempotency-Key: a b"), 400, "bad_request", false, ""},
		{publishHead("Idempotency-Key: \xc3\xa9"), 400, "bad_request", false, ""},
		{publishHead("Idempotency-Key: a", "Idempotency-Key: a"), 400, "bad_request", false, ""},
		{publishHead("Idempotency-Key: " + strings.Repeat("k", 129)), 400, "bad_request", false, ""},
		{strings.Replace(publishHead(), "POST", "PUT", 1), 405, "method_not_allowed", false, ""},
		{strings.Replace(publishHead(), "a%20b", "%0A", 1), 400, "bad_room", false, ""},
		{strings.Replace(publishHead("Transfer-Encoding: chunked"), "/messages", "/message", 1), 400, "bad_request", false, ""},
	} {
		var p websocket.Publish
		req, n, err := websocket.ParseRequest([]byte(c.head), small)
		if err == nil {
			p, err = req.Publish(small)
		}
		switch {
		case err != nil && (err.Status != c.status || err.Code != c.code):
			t.Errorf("%q: %v, want %d %s", c.head, err, c.status, c.code)
		case err == nil && (c.status != 0 || n != len(c.head) || p.Room != "a b" || p.Binary != c.binary || p.Key != c.key):
			t.Errorf("%q: %+v, want %+v", c.head, p, c)
		}
	}
}

// read hands a body over in pieces of n bytes.
func read(d websocket.Body, b []byte, n int) (data []byte, used int, done bool, err *websocket.HTTPError) {
	for at := 0; ; {
		used, done, err = d.Next(b[at:min(at+n, len(b))])
		if at += used; done || err != nil || at == len(b) {
			return d.Data(), at, done, err
		}
	}
}

func bodyOf(t testing.TB, l *websocket.Limits, lines ...string) websocket.Body {
	req, _, err := websocket.ParseRequest([]byte(publishHead(lines...)), l)
	if err != nil {
		t.Fatal(err)
	}
	p, err := req.Publish(l)
	if err != nil {
		t.Fatal(err)
	}
	return p.Body
}

func TestBodies(t *testing.T) {
	for _, c := range []struct {
		chunks string
		data   string
		rest   int // bytes behind the end
		code   string
	}{
		{"0\r\n\r\n", "", 0, ""},
		{"5\r\nhello\r\n0\r\n\r\n", "hello", 0, ""},
		{"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", "hello world", 3, ""},
		{"0005;a=b;c=\"d\"\r\nhello\r\n00 \r\nX-Sum: 1\r\nY: 2\r\n\r\n", "hello", 0, ""},
		{"a\r\n0123456789\r\n6\r\nabcdef\r\n0\r\n\r\n", "0123456789abcdef", 0, ""},
		{"A\r\n0123456789\r\n7\r\n", "", 0, "too_big"},
		{"11\r\n", "", 0, "too_big"},
		{"ffffffff\r\n", "", 0, "too_big"},
		{"000000001\r\n", "", 0, "bad_request"},
		{"\r\n", "", 0, "bad_request"},
		{";a\r\n", "", 0, "bad_request"},
		{" 1\r\n", "", 0, "bad_request"},
		{"g\r\n", "", 0, "bad_request"},
		{"-1\r\n", "", 0, "bad_request"},
		{"0x1\r\n", "", 0, "bad_request"},
		{"1\na\r\n", "", 0, "bad_request"},
		{"1\r\r\na", "", 0, "bad_request"},
		{"1\r\nab\r\n", "", 0, "bad_request"},
		{"1\r\na\n", "", 0, "bad_request"},
		{"1\r\na\r\r", "", 0, "bad_request"},
		{"1;\x00\r\n", "", 0, "bad_request"},
		{"0 0\r\n\r\n", "", 0, "bad_request"},
		{"1 a\r\na\r\n0\r\n\r\n", "", 0, "bad_request"},
		{"0\r\n folded\r\n\r\n", "", 0, "bad_request"},
		{"0\r\nX: 1\n\r\n", "", 0, "bad_request"},
		{"0\r\n\r\r", "", 0, "bad_request"},
	} {
		for n := 1; n <= len(c.chunks); n++ {
			data, used, done, err := read(bodyOf(t, small, "Transfer-Encoding: chunked"), []byte(c.chunks), n)
			switch {
			case err != nil && err.Code != c.code, err == nil && c.code != "":
				t.Errorf("%q by %d: %v, want %q", c.chunks, n, err, c.code)
			case err == nil && (!done || string(data) != c.data || len(c.chunks)-used != c.rest):
				t.Errorf("%q by %d: %q, %d used, done: %v", c.chunks, n, data, used, done)
			}
		}
	}
}

func TestBodyOfALength(t *testing.T) {
	for n := 1; n < 12; n++ {
		data, used, done, err := read(bodyOf(t, small, "Content-Length: 5"), []byte("hello GET /"), n)
		if string(data) != "hello" || used != 5 || !done || err != nil {
			t.Errorf("by %d: %q, %d used, %v, %v", n, data, used, done, err)
		}
	}
	if _, used, done, err := read(bodyOf(t, small), []byte("GET /"), 5); used != 0 || !done || err != nil {
		t.Errorf("no body: %d used, %v, %v", used, done, err)
	}
}

// TestBodyKeepsWhatCame: what a client says that it will send takes no memory,
// and it cannot have us read framing for ever.
func TestBodyKeepsWhatCame(t *testing.T) {
	big := &websocket.Limits{Message: 1 << 20}
	d := bodyOf(t, big, "Content-Length: 1000000")
	d.Next([]byte("x"))
	if d.Held() > 1024 {
		t.Errorf("one byte takes %d", d.Held())
	}
	for _, endless := range []string{"1;" + strings.Repeat("x", 1<<20), "0\r\n" + strings.Repeat("X: y\r\n", 1<<18)} {
		_, used, _, err := read(bodyOf(t, big, "Transfer-Encoding: chunked"), []byte(endless), 4096)
		if err == nil || used > 4<<10 {
			t.Errorf("%.10q…: %d bytes were read, %v", endless, used, err)
		}
	}
	// Chunks of one byte are bad manners, and allowed.
	ones := strings.Repeat("1\r\nx\r\n", 1<<16) + "0\r\n\r\n"
	if data, _, done, err := read(bodyOf(t, big, "Transfer-Encoding: chunked"), []byte(ones), 1000); len(data) != 1<<16 || !done || err != nil {
		t.Errorf("%d bytes, %v, %v", len(data), done, err)
	}
}

// stricter reports whether net/http may refuse with e what we accept: it judges
// trailers, which we pass over; it bounds framing by other figures; and it
// knows no space before an extension, which RFC 9112, section 7.1.1, allows.
func stricter(e error, chunks []byte) bool {
	if bytes.Contains(chunks, []byte(":")) {
		return true
	}
	for _, reason := range []string{"malformed MIME", "malformed chunked", "too much non-data", "header line too long"} {
		if strings.Contains(e.Error(), reason) {
			return true
		}
	}
	return strings.Contains(e.Error(), "invalid byte in chunk length") && spaceBeforeExtension.Match(chunks)
}

var spaceBeforeExtension = regexp.MustCompile("[0-9A-Fa-f][ \t]+;")

// FuzzBody holds the reader against itself under cuts, and against net/http,
// which must find the same end in what we accept.
func FuzzBody(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), 3)
	f.Add([]byte("5;a=b\r\nhello\r\n1 \r\n!\r\n0\r\nX: 1\r\n\r\nGET /"), 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		big := &websocket.Limits{Message: 4096}
		head := publishHead("Transfer-Encoding: chunked")
		data, used, done, err := read(bodyOf(t, big, "Transfer-Encoding: chunked"), b, len(b)+1)
		again, usedAgain, doneAgain, errAgain := read(bodyOf(t, big, "Transfer-Encoding: chunked"), b, min(max(piece, 1), len(b)+1))
		if !bytes.Equal(data, again) || used != usedAgain || done != doneAgain || err != errAgain {
			t.Fatalf("whole: %q %d %v %v; by %d: %q %d %v %v", data, used, done, err, piece, again, usedAgain, doneAgain, errAgain)
		}
		if len(data) > 4096 {
			t.Fatalf("%d bytes", len(data))
		}
		if !done {
			return
		}
		from := bufio.NewReader(strings.NewReader(head + string(b)))
		theirs, e := http.ReadRequest(from)
		if e != nil {
			t.Fatal(e)
		}
		body, e := io.ReadAll(theirs.Body)
		if e != nil && stricter(e, b[:used]) {
			return
		}
		if e != nil || !bytes.Equal(body, data) {
			t.Fatalf("%q: net/http reads %q, %v; we %q", b, body, e, data)
		}
		if left, _ := io.ReadAll(from); !bytes.Equal(left, b[used:]) {
			t.Fatalf("%q: net/http leaves %q, we %q", b, left, b[used:])
		}
	})
}

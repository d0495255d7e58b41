package websocket_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/gobwas/ws"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/router/websocket"
)

var start = time.Unix(1_000_000, 0)

// outcome is all that came of a stream.
type outcome struct {
	events []rfc6455.Event
	close  uint16
	client bool // it was the client that closed
	reason string
}

func (o *outcome) String() string { return fmt.Sprintf("%+v", *o) }

func (o *outcome) equal(p *outcome) bool {
	return slices.Equal(o.events, p.events) && o.close == p.close && o.client == p.client && o.reason == p.reason
}

// listener is a Reader and what it heard.
type listener struct {
	reader websocket.Reader
	limits *websocket.Limits
	heard  outcome
	most   int // bytes that the reader held, at most
}

// hear hands over a piece, and reports whether the connection goes on. The
// piece is copied, so that the reader cannot keep what is not its own.
func (l *listener) hear(t *testing.T, piece []byte) bool {
	b := bytes.Clone(piece)
	defer func() {
		for i := range b {
			b[i] = 0xAA // what the loop's buffer holds next
		}
	}()
	for at := 0; l.heard.close == 0; {
		ev, n, err := l.reader.Next(b[at:], l.limits, start)
		if at += n; n < 0 || at > len(b) {
			t.Fatalf("used %d of %d bytes", at, len(b))
		}
		l.most = max(l.most, l.reader.Buffered())
		if err != nil {
			l.heard.close, l.heard.reason = err.Code, err.Reason
			return false
		}
		switch ev.Type {
		case websocket.EventNone:
			if at != len(b) {
				t.Fatalf("nothing complete, but %d of %d bytes used", at, len(b))
			}
			return true
		case websocket.EventClose:
			l.heard.close, l.heard.client, l.heard.reason = ev.Code, true, string(ev.Payload)
			return false
		}
		l.heard.events = append(l.heard.events, rfc6455.Event{Kind: kinds[ev.Type], Payload: string(ev.Payload)})
	}
	return false
}

var kinds = map[websocket.EventType]rfc6455.Kind{
	websocket.EventText: rfc6455.Text, websocket.EventBinary: rfc6455.Binary,
	websocket.EventPing: rfc6455.Ping, websocket.EventPong: rfc6455.Pong,
}

// replay hands over b, cut at the given places.
func replay(t *testing.T, l *websocket.Limits, b []byte, cuts ...int) *outcome {
	c := listener{limits: l}
	at := 0
	for _, cut := range append(cuts, len(b)) {
		if !c.hear(t, b[at:cut]) {
			break
		}
		at = cut
	}
	return &c.heard
}

// bytewise hands over b a byte at a time.
func bytewise(t *testing.T, l *websocket.Limits, b []byte) *outcome {
	c := listener{limits: l}
	for i := range b {
		if !c.hear(t, b[i:i+1]) {
			break
		}
	}
	return &c.heard
}

func TestStreams(t *testing.T) {
	for _, s := range rfc6455.Streams() {
		t.Run(s.Name, func(t *testing.T) {
			got := replay(t, standard, s.Bytes)
			if !slices.Equal(got.events, s.Events) || got.close != s.Close || got.client != s.ByClient {
				t.Fatalf("whole: got %s\nwant %+v, close %d by client %v", short(got), s.Events, s.Close, s.ByClient)
			}
			if again := bytewise(t, standard, s.Bytes); !again.equal(got) {
				t.Fatalf("a byte at a time: got %s\nwant %s", short(again), short(got))
			}
			for _, cut := range cuts(len(s.Bytes)) {
				if again := replay(t, standard, s.Bytes, cut); !again.equal(got) {
					t.Fatalf("cut at %d: got %s\nwant %s", cut, short(again), short(got))
				}
			}
		})
	}
}

// cuts returns every place to cut n bytes in two; of a long stream, those near
// its ends and some between, because the middle of a payload is all alike.
func cuts(n int) (all []int) {
	for i := 1; i < n; i++ {
		if n < 8<<10 || i < 64 || i > n-64 || i%509 == 0 {
			all = append(all, i)
		}
	}
	return all
}

func short(o *outcome) string {
	s := o.String()
	return s[:min(len(s), 400)]
}

// TestThreePieces cuts short streams in three, at every pair of places.
func TestThreePieces(t *testing.T) {
	for _, s := range rfc6455.Streams() {
		if len(s.Bytes) > 40 {
			continue
		}
		want := replay(t, standard, s.Bytes)
		for i := range len(s.Bytes) {
			for j := i; j < len(s.Bytes); j++ {
				if got := replay(t, standard, s.Bytes, i, j); !got.equal(want) {
					t.Fatalf("%s, cut at %d and %d: got %s, want %s", s.Name, i, j, got, want)
				}
			}
		}
	}
}

func TestReaderIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(websocket.Reader{}); size > 24 {
		t.Errorf("a reader has %d bytes, want at most 24", size)
	}
	var r websocket.Reader
	whole := rfc6455.Frame(rfc6455.Fin|rfc6455.OText, "a")
	pieces := rfc6455.Frame(rfc6455.Fin|rfc6455.OText, "b")
	for _, piece := range [][]byte{whole, pieces[:1], pieces[1:4], pieces[4:]} {
		if _, _, err := r.Next(piece, standard, start); err != nil {
			t.Fatal(err)
		}
	}
	if _, unfinished := r.Started(); unfinished || r.Buffered() != 0 {
		t.Errorf("between messages it holds %d bytes", r.Buffered())
	}
}

// TestPayloadInPlace: the common case copies nothing and allocates nothing.
func TestPayloadInPlace(t *testing.T) {
	var r websocket.Reader
	frame := rfc6455.Frame(rfc6455.Fin|rfc6455.OText, strings.Repeat("x", 128))
	b := make([]byte, len(frame))
	allocs := testing.AllocsPerRun(100, func() {
		copy(b, frame)
		ev, n, err := r.Next(b, standard, start)
		if err != nil || n != len(b) || &ev.Payload[0] != &b[len(b)-128] {
			t.Fatal(ev, n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("a whole frame allocates %v times", allocs)
	}
}

// TestMemoryFollowsBytes: a header that promises 64 KiB costs little until they
// come, and no message costs more than twice what came.
func TestMemoryFollowsBytes(t *testing.T) {
	c := listener{limits: standard}
	b := rfc6455.Frame(rfc6455.Fin|rfc6455.OBin, strings.Repeat("x", 64<<10))
	for i := range b {
		c.hear(t, b[i:i+1])
		if most := 2*i + 1024; c.most > most {
			t.Fatalf("holds %d bytes after %d, want at most %d", c.most, i+1, most)
		}
	}
	if c.most > 64<<10+512 {
		t.Errorf("held %d bytes for a message of 64 KiB", c.most)
	}
}

// TestBufferDoubles: a byte at a time is not quadratic.
func TestBufferDoubles(t *testing.T) {
	b := rfc6455.Frame(rfc6455.Fin|rfc6455.OBin, strings.Repeat("x", 64<<10))
	var r websocket.Reader
	allocs := testing.AllocsPerRun(3, func() {
		for i := range b {
			r.Next(b[i:i+1], standard, start)
		}
	})
	if allocs > 9 { // 512 bytes to 64 KiB, and the rest of the state
		t.Errorf("64 KiB in pieces allocate %v times", allocs)
	}
}

// TestEmptyFragments sends a million empty fragments, a few bytes at a time.
func TestEmptyFragments(t *testing.T) {
	b := rfc6455.Frame(rfc6455.OBin, "")
	b = append(b, bytes.Repeat(rfc6455.Frame(rfc6455.Cont, ""), 1_000_000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, size := range []int{1, 5, 6, 7, 4096, len(b)} {
		var r websocket.Reader
		used := 0
		var err *websocket.CloseError
		for at := 0; at < len(b) && err == nil; at += size {
			for piece := b[at:min(at+size, len(b))]; err == nil; {
				var n int
				var ev websocket.Event
				ev, n, err = r.Next(piece, standard, start)
				used, piece = used+n, piece[n:]
				if ev.Type == websocket.EventNone {
					break
				}
			}
		}
		if err == nil || err.Code != websocket.ClosePolicy || used > 6*129 {
			t.Errorf("pieces of %d: got %v after %d bytes, want 1008 at the 129th frame", size, err, used)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
		t.Errorf("allocated %d bytes", grown)
	}
}

func TestMessageTime(t *testing.T) {
	const late = 10*time.Second + 1
	frame := rfc6455.Frame(rfc6455.Fin|rfc6455.OText, "hello")
	ping := rfc6455.Frame(rfc6455.Fin|rfc6455.OPing, "")
	for name, pieces := range map[string][][]byte{
		"a header":          {frame[:1], frame[1:]},
		"a payload":         {frame[:8], frame[8:]},
		"fragments":         {rfc6455.Frame(rfc6455.OText, "a"), rfc6455.Frame(rfc6455.Fin|rfc6455.Cont, "b")},
		"fragments, pinged": {rfc6455.Frame(rfc6455.OText, "a"), ping},
		"a ping":            {ping[:3], ping[3:]},
	} {
		for _, wait := range []time.Duration{late, late - 1} {
			var r websocket.Reader
			if _, _, err := r.Next(pieces[0], standard, start); err != nil {
				t.Fatal(name, err)
			}
			if at, ok := r.Started(); !ok || at != start {
				t.Errorf("%s: started %v, %v", name, at, ok)
			}
			swept := r.Overdue(standard, start.Add(wait))
			_, _, err := r.Next(pieces[1], standard, start.Add(wait))
			if refused := err != nil && err.Code == websocket.ClosePolicy; refused != (wait == late) || err != swept {
				t.Errorf("%s after %v: got %v, sweep %v", name, wait, err, swept)
			}
		}
	}
}

// TestTimeStartsAnew: each message has its own time, however they overlap in
// pieces.
func TestTimeStartsAnew(t *testing.T) {
	frame := rfc6455.Frame(rfc6455.Fin|rfc6455.OText, "hello")
	var r websocket.Reader
	now := start
	r.Next(frame[:5], standard, now)
	for range 10 {
		now = now.Add(9 * time.Second)
		piece := slices.Concat(frame[5:], frame[:5])
		ev, n, err := r.Next(piece, standard, now)
		if err != nil || ev.Type != websocket.EventText {
			t.Fatal(ev, err)
		}
		if ev, _, err = r.Next(piece[n:], standard, now); err != nil || ev.Type != websocket.EventNone {
			t.Fatal(ev, err)
		}
	}
}

func TestSmallMessageLimit(t *testing.T) {
	limits := &websocket.Limits{Message: 10, Fragments: 2}
	ping := rfc6455.Frame(rfc6455.Fin|rfc6455.OPing, strings.Repeat("p", 125))
	got := replay(t, limits, slices.Concat(rfc6455.Frame(rfc6455.OText, "12345"), ping, rfc6455.Frame(rfc6455.Fin|rfc6455.Cont, "67890"), ping,
		rfc6455.Frame(rfc6455.Fin|rfc6455.OText, "12345678901")))
	if len(got.events) != 3 || got.events[1].Payload != "1234567890" || got.close != websocket.CloseTooBig {
		t.Errorf("got %s", got)
	}
}

// FuzzFrames: no cut changes the outcome, no bytes make it panic or hold more
// than the limit, and what gobwas/ws calls valid is read as gobwas/ws reads it.
func FuzzFrames(f *testing.F) {
	for _, s := range rfc6455.Streams() {
		if len(s.Bytes) < 2<<10 {
			f.Add(s.Bytes, uint16(len(s.Bytes)/2))
		}
	}
	limits := &websocket.Limits{Message: 1 << 10, Fragments: 8}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		want := replay(t, limits, b)
		at := int(cut) % (len(b) + 1)
		if got := replay(t, limits, b, at); !got.equal(want) {
			t.Fatalf("cut at %d: got %s, want %s", at, got, want)
		}
		c := listener{limits: limits}
		for i := range b {
			if !c.hear(t, b[i:i+1]) {
				break
			}
		}
		if !c.heard.equal(want) {
			t.Fatalf("bytewise: got %s, want %s", &c.heard, want)
		}
		if c.most > 2<<10 {
			t.Fatalf("held %d bytes", c.most)
		}
		compareWithGobwas(t, b, want)
	})
}

// compareWithGobwas reads b with gobwas/ws for as long as it finds it valid:
// all that it read we must have heard.
func compareWithGobwas(t *testing.T, b []byte, got *outcome) {
	var theirs []rfc6455.Event
	var message []byte
	var op ws.OpCode
	state := ws.StateServerSide
	r := bytes.NewReader(b)
	for fragments := 0; ; {
		h, err := ws.ReadHeader(r)
		if err != nil || ws.CheckHeader(h, state) != nil || h.Length > int64(r.Len()) {
			break
		}
		payload := make([]byte, h.Length)
		r.Read(payload)
		ws.Cipher(payload, h.Mask, 0)
		if h.OpCode.IsControl() {
			if h.OpCode == ws.OpClose {
				break
			}
			theirs = append(theirs, rfc6455.Event{Kind: gobwasKinds[h.OpCode], Payload: string(payload)})
			continue
		}
		if h.OpCode != ws.OpContinuation {
			op, message, fragments = h.OpCode, nil, 0
		}
		message = append(message, payload...)
		if fragments++; fragments > 8 || len(message) > 1<<10 {
			break
		}
		if !h.Fin {
			state = state.Set(ws.StateFragmented)
			continue
		}
		state = state.Clear(ws.StateFragmented)
		if op == ws.OpText && !utf8.Valid(message) {
			break
		}
		theirs = append(theirs, rfc6455.Event{Kind: gobwasKinds[op], Payload: string(message)})
	}
	n := min(len(theirs), len(got.events))
	if !slices.Equal(theirs[:n], got.events[:n]) {
		t.Fatalf("gobwas heard %+v, we %+v", theirs, got.events)
	}
	// It takes lengths that are not minimal, and judges UTF-8 late.
	if len(got.events) > len(theirs) || len(got.events) < len(theirs) && got.close == 0 {
		t.Fatalf("gobwas heard %+v, we %s", theirs, got)
	}
}

var gobwasKinds = map[ws.OpCode]rfc6455.Kind{
	ws.OpText: rfc6455.Text, ws.OpBinary: rfc6455.Binary, ws.OpPing: rfc6455.Ping, ws.OpPong: rfc6455.Pong,
}

func BenchmarkFrame128(b *testing.B) { benchmarkFrame(b, strings.Repeat("x", 128)) }

func BenchmarkFrame128Unicode(b *testing.B) { benchmarkFrame(b, strings.Repeat("é", 64)) }

func BenchmarkFrame16K(b *testing.B) { benchmarkFrame(b, strings.Repeat("x", 16<<10)) }

func benchmarkFrame(b *testing.B, payload string) {
	frame := rfc6455.Frame(rfc6455.Fin|rfc6455.OText, payload)
	buf := make([]byte, len(frame))
	var r websocket.Reader
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		copy(buf, frame)
		if ev, _, err := r.Next(buf, standard, start); err != nil || len(ev.Payload) != len(payload) {
			b.Fatal(ev, err)
		}
	}
}

// BenchmarkBytewise16K is a message of 16 KiB a byte at a time.
func BenchmarkBytewise16K(b *testing.B) {
	frame := rfc6455.Frame(rfc6455.Fin|rfc6455.OText, strings.Repeat("é", 8<<10))
	var r websocket.Reader
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		for i := range frame {
			if _, _, err := r.Next(frame[i:i+1], standard, start); err != nil {
				b.Fatal(err)
			}
		}
	}
}

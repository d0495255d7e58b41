package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/admin/inspector"
	"github.com/roomring/roomring/proto"
)

const streamRequest = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"

// open sends the request of a stream and returns its answer.
func (p *port) open(c net.Conn, request string) *http.Response {
	p.t.Helper()
	io.WriteString(c, request)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		p.t.Fatalf("%.40q: %v", request, err)
	}
	return res
}

// line reads one line of a stream, "" at its end.
func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil && err != io.EOF {
		t.Errorf("after %q: %v", s, err)
	}
	return s
}

// forever is a watch that tells one event and then waits for its end.
func forever(ctx context.Context, tell func(Event) error) error {
	if err := tell(Event{EventRing, RingEvent{Asked: "s1"}}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := make(chan Event)
		p := start(t, Config{Source: &source{watch: func(ctx context.Context, tell func(Event) error) error {
			for e := range next {
				if err := tell(e); err != nil {
					return err
				}
			}
			return nil
		}}})
		c := p.dial()
		go func() { next <- Event{EventFeed, FeedEvent{Seq: 1, Kind: FeedJoin, Node: "s1"}} }()
		res := p.open(c, streamRequest)
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Accel-Buffering") != "no" || !res.Close || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
		body := bufio.NewReader(res.Body)
		if have := line(t, body) + line(t, body) + line(t, body); have != "event: feed\n"+
			`data: {"seq":1,"at":0,"kind":"join","node":"s1","from":"","to":"","partitions":0,"some":[],"reason":""}`+"\n\n" {
			t.Errorf("the first event is %q", have)
		}

		// While nothing happens, a comment comes every 10 s, for longer than any other answer may take.
		began := time.Now()
		for range 10 {
			if have := line(t, body) + line(t, body); have != ":\n\n" {
				t.Errorf("after %v: %q", time.Since(began), have)
			}
		}
		if took := time.Since(began); took != 10*StreamHeartbeat {
			t.Errorf("ten comments came in %v", took)
		}

		// An event moves the next comment.
		<-time.After(7 * time.Second)
		next <- Event{EventLost, LostEvent{3}}
		if have := line(t, body) + line(t, body) + line(t, body); have != "event: lost\ndata: {\"events\":3}\n\n" {
			t.Errorf("%q", have)
		}
		began = time.Now()
		line(t, body)
		if took := time.Since(began); took != StreamHeartbeat {
			t.Errorf("the comment came %v after the event", took)
		}
		line(t, body)

		close(next) // the source has no more to tell
		if rest, err := io.ReadAll(body); err != nil || len(rest) > 0 {
			t.Errorf("at the end %q, %v", rest, err)
		}
		p.end()
	})
}

// TestStreamErrors: an error before the first event is an answer like any other, a later one the last event.
func TestStreamErrors(t *testing.T) {
	tests := []struct {
		path   string
		err    error
		status int
		code   string
		logged int
	}{
		{"/v1/tail?room=r", fmt.Errorf("ask: %w", &proto.Error{Code: proto.NotFound, Op: "tail"}), 404, "not_found", 0},
		{"/v1/tail?room=r", &proto.Error{Code: proto.Full}, 503, "full", 0},
		{"/v1/events", &proto.Error{Code: proto.Unavailable}, 503, "unavailable", 0},
		{"/v1/events", context.DeadlineExceeded, 503, "unavailable", 0},
		{"/v1/events", NoMajority(), 503, "no_majority", 0},
		{"/v1/events", errors.New("secret detail"), 500, "internal", 1},
	}
	for _, tt := range tests {
		for _, late := range []bool{false, true} {
			core, logs := observer.New(zap.DebugLevel)
			h := newTest(t, Config{Logger: zap.New(core), Source: &source{watch: func(_ context.Context, tell func(Event) error) error {
				if late {
					tell(Event{EventLost, LostEvent{1}})
				}
				return tt.err
			}}})
			w := ask(h, "GET", tt.path)
			if logs.Len() != tt.logged || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%s, %v: %s, logged %v", tt.path, tt.err, w.Body, logs.All())
			}
			if !late {
				if w.Code != tt.status || code(t, w) != tt.code {
					t.Errorf("%s, %v: %d %s", tt.path, tt.err, w.Code, w.Body)
				}
				continue
			}
			if w.Code != 200 || !strings.HasPrefix(w.Body.String(), "event: lost\ndata: {\"events\":1}\n\nevent: error\ndata: {\"code\":\""+tt.code+"\",\"message\":\"") || !strings.HasSuffix(w.Body.String(), "\"}\n\n") {
				t.Errorf("%s, %v later: %d %s", tt.path, tt.err, w.Code, w.Body)
			}
		}
	}
	empty := &source{watch: func(context.Context, func(Event) error) error { return nil }}
	if w := ask(newTest(t, Config{Source: empty}), "GET", "/v1/events"); w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("a stream of nothing: %d %v %q", w.Code, w.Header(), w.Body)
	}
	odd := &source{watch: func(_ context.Context, tell func(Event) error) error { return tell(Event{EventLost, func() {}}) }}
	if w := ask(newTest(t, Config{Source: odd}), "GET", "/v1/events"); w.Code != 500 || code(t, w) != "internal" {
		t.Errorf("an event that is no json: %d %q", w.Code, w.Body)
	}
}

// TestStreamBeginsWithoutEvents: who waits for the head of an answer gets it although nothing happens, but
// not before an owner had time to refuse.
func TestStreamBeginsWithoutEvents(t *testing.T) {
	for path, patience := range map[string]time.Duration{"/v1/events?only=feed": watchPatience, "/v1/tail?room=r": tailPatience} {
		synctest.Test(t, func(t *testing.T) {
			p := start(t, Config{Source: &source{watch: func(ctx context.Context, tell func(Event) error) error {
				select {
				case <-time.After(time.Minute):
					return &proto.Error{Code: proto.NotFound}
				case <-ctx.Done():
					return ctx.Err()
				}
			}}})
			began := time.Now()
			res := p.open(p.dial(), "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if took := time.Since(began); res.StatusCode != 200 || took != patience {
				t.Errorf("%s: %d after %v", path, res.StatusCode, took)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || !strings.HasSuffix(string(body), ":\n\nevent: error\ndata: {\"code\":\"not_found\",\"message\":\"no such room\"}\n\n") {
				t.Errorf("%s: %q, %v", path, body, err)
			}
			p.end()
		})
	}
	if tailPatience < RoomTimeout {
		t.Error("an owner that is silent is told by a status too")
	}
}

// TestStreamsAreBounded: the 17th is refused, the port serves everything else meanwhile, and a place that is
// free is given away.
func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{Source: &source{watch: forever, rooms: map[string]RoomDocument{"r": {}}}})
		conns := make([]net.Conn, MaxStreams)
		for i := range conns {
			conns[i] = p.dial()
			request := streamRequest
			if i%2 == 1 {
				request = "GET /v1/tail?room=r HTTP/1.1\r\nHost: localhost\r\n\r\n"
			}
			if res := p.open(conns[i], request); res.StatusCode != 200 {
				t.Errorf("stream %d: %d", i, res.StatusCode)
			}
		}
		began := time.Now()
		for range MaxConns {
			res := p.open(p.dial(), streamRequest)
			body, err := io.ReadAll(res.Body)
			if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" || !res.Close || !strings.Contains(string(body), `"code":"full"`) || err != nil {
				t.Fatalf("stream %d: %d %v %s, %v", MaxStreams+1, res.StatusCode, res.Header, body, err)
			}
		}
		for _, path := range []string{"/healthz", "/v1/room?room=r", "/"} {
			if status, _ := p.say(p.dial(), "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); status != 200 {
				t.Errorf("%s beside %d streams: %d", path, MaxStreams, status)
			}
		}
		if res := p.open(p.dial(), "HEAD"+streamRequest[3:]); res.StatusCode != 200 {
			t.Errorf("HEAD of a stream takes no place: %d", res.StatusCode)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("beside the streams, the port took %v", took)
		}
		checkRefused(t, p.Server, slices.Repeat([]string{"full"}, MaxConns)...)
		if n := p.stats.Streams.Load(); n != MaxStreams {
			t.Errorf("%d streams counted", n)
		}
		conns[3].Close()
		synctest.Wait()
		if res := p.open(p.dial(), streamRequest); res.StatusCode != 200 {
			t.Errorf("after one has gone: %d", res.StatusCode)
		}
		p.end()
	})
}

// TestStreamEndsWithItsReader: the source is told at once, also by a reader that sent a body.
func TestStreamEndsWithItsReader(t *testing.T) {
	for _, request := range []string{streamRequest, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"} {
		synctest.Test(t, func(t *testing.T) {
			ended := make(chan error, 1)
			p := start(t, Config{Source: &source{watch: func(ctx context.Context, tell func(Event) error) error {
				err := forever(ctx, tell)
				ended <- err
				return err
			}}})
			c := p.dial()
			p.open(c, request)
			began := time.Now()
			c.Close()
			if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(began) > 0 {
				t.Errorf("it ended %v later: %v", time.Since(began), err)
			}
			p.end()
		})
	}
}

// TestStreamNoticesAReaderThatIsGone: by its heartbeat, when nothing else tells: net/http does not look for the end
// of a conn on which the next request has begun.
func TestStreamNoticesAReaderThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		p := start(t, Config{Source: &source{watch: func(ctx context.Context, tell func(Event) error) error {
			err := forever(ctx, tell)
			ended <- err
			return err
		}}})
		c := p.dial()
		p.open(c, streamRequest+"G")
		began := time.Now()
		c.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(began) > 2*StreamHeartbeat {
			t.Errorf("it ended %v later: %v", time.Since(began), err)
		}
		p.end()
	})
}

// TestStreamBodyTooSlow: a body that never comes does not hold a stream's place, or its conn.
func TestStreamBodyTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{Source: &source{watch: forever}})
		for range MaxStreams {
			io.WriteString(p.dial(), "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na")
		}
		synctest.Wait()
		if res := p.open(p.dial(), streamRequest); res.StatusCode != 200 {
			t.Errorf("beside streams that have not begun: %d", res.StatusCode)
		}
		c := p.dial()
		io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na")
		if took := closedAfter(c); took > ReadTimeout+time.Second {
			t.Errorf("it was closed after %v", took)
		}
		p.end()
	})
}

// TestStreamReaderThatStalls: a reader that takes nothing is closed after WriteTimeout, one that is slow is not.
func TestStreamReaderThatStalls(t *testing.T) {
	huge := LostEvent{Events: 1}
	flood := func(ended chan<- time.Duration) func(context.Context, func(Event) error) error {
		return func(_ context.Context, tell func(Event) error) error {
			for {
				began := time.Now()
				if err := tell(Event{strings.Repeat("x", 1<<20), huge}); err != nil {
					ended <- time.Since(began)
					return err
				}
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		p := start(t, Config{Source: &source{watch: flood(ended)}})
		c := p.dial()
		io.WriteString(c, streamRequest)
		if took := <-ended; took != WriteTimeout {
			t.Errorf("the stalled reader was closed after %v", took)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Log(err)
		}
		p.end()
		checkRefused(t, p.Server) // nobody was refused anything
	})
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		p := start(t, Config{Source: &source{watch: flood(ended)}})
		c := p.dial()
		io.WriteString(c, streamRequest)
		for took := time.Duration(0); took < 5*time.Minute; took += 10 * time.Second {
			<-time.After(10 * time.Second)
			if _, err := io.CopyN(io.Discard, c, 32<<10); err != nil {
				t.Fatalf("the slow reader was closed after %v: %v", took, err)
			}
		}
		if len(ended) > 0 {
			t.Error("the source was told that the slow reader is gone")
		}
		c.Close()
		p.end()
	})
}

// TestStopWhileStreaming: Run ends promptly, whatever the readers do, and readers see a whole end.
func TestStopWhileStreaming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{Source: &source{watch: forever}})
		bodies := make([]io.Reader, MaxStreams)
		for i := range bodies {
			bodies[i] = p.open(p.dial(), streamRequest).Body
		}
		p.end()
		for _, b := range bodies {
			if text, err := io.ReadAll(b); err != nil || !strings.HasPrefix(string(text), "event: ring\n") || strings.Contains(string(text), "error") {
				t.Errorf("%q, %v", text, err)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) { // with a reader that takes nothing
		p := start(t, Config{Source: &source{watch: func(_ context.Context, tell func(Event) error) error {
			return tell(Event{strings.Repeat("x", 16<<20), nil})
		}}})
		io.WriteString(p.dial(), streamRequest)
		synctest.Wait()
		p.end()
	})
}

// TestStreamPanics: the stream is cut, so that nobody takes it for a whole one, its place is free again, and
// the node lives.
func TestStreamPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		p := start(t, Config{Logger: zap.New(core), Source: &source{watch: func(_ context.Context, tell func(Event) error) error {
			tell(Event{EventLost, LostEvent{}})
			panic("a broken invariant")
		}}})
		for range MaxStreams + 1 {
			res := p.open(p.dial(), streamRequest)
			if text, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(text) != "event: lost\ndata: {\"events\":0}\n\n" || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d %q, %v", res.StatusCode, text, err)
			}
		}
		if logs.FilterMessage("admin request panicked").Len() != MaxStreams+1 || logs.Len() != MaxStreams+1 {
			t.Errorf("logged: %v", logs.All())
		}
		p.end()
	})
}

func TestWhoMayStream(t *testing.T) {
	h := newTest(t, Config{Token: "full-token", ReadToken: "read-token"})
	tests := []struct {
		path, token string
		status      int
		code        string
	}{
		{"/v1/events", "", 401, "unauthorized"},
		{"/v1/events", "nothing", 401, "unauthorized"},
		{"/v1/events", "read-token", 200, ""},
		{"/v1/events", "full-token", 200, ""},
		{"/v1/tail?room=r", "read-token", 200, ""},
		{"/v1/tail?room=r&payload=0", "read-token", 200, ""},
		{"/v1/tail?room=r&payload=1", "", 401, "unauthorized"},
		{"/v1/tail?room=r&payload=1", "read-token", 403, "forbidden"},
		{"/v1/tail?room=r&payload=1", "full-token", 200, ""},
	}
	for _, tt := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			if w := ask(h, method, tt.path, "Authorization", "Bearer "+tt.token); w.Code != tt.status || code(t, w) != tt.code {
				t.Errorf("%s %s with %q: %d %s", method, tt.path, tt.token, w.Code, w.Body)
			}
		}
	}
	readOnly := newTest(t, Config{ReadToken: "read-token"})
	if w := ask(readOnly, "GET", "/v1/tail?room=r&payload=1", "Authorization", "Bearer read-token"); code(t, w) != "forbidden" {
		t.Errorf("where there is no full token: %d %s", w.Code, w.Body)
	}
	if w := ask(newTest(t, Config{}), "GET", "/v1/tail?room=r&payload=1"); w.Code != 200 {
		t.Errorf("where no token is needed: %d %s", w.Code, w.Body)
	}
}

// TestPage: every file is open to all who may reach the port, and to nobody else.
func TestPage(t *testing.T) {
	h := newTest(t, Config{Token: "full"})
	for _, f := range inspector.Files() {
		w := ask(h, "GET", f.Path)
		if w.Code != 200 || w.Body.String() != string(f.Body) || w.Header().Get("Content-Type") != f.Type || w.Header().Get("Content-Length") != fmt.Sprint(len(f.Body)) {
			t.Errorf("%s: %d %v", f.Path, w.Code, w.Header())
		}
		for name, want := range map[string]string{"Content-Security-Policy": inspector.Policy, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if have := w.Header().Values(name); len(have) != 1 || have[0] != want {
				t.Errorf("%s: %s %q", f.Path, name, have)
			}
		}
		if w := ask(h, "HEAD", f.Path); w.Code != 200 {
			t.Errorf("HEAD %s: %d", f.Path, w.Code)
		}
		if w := ask(h, "POST", f.Path); w.Code != 405 {
			t.Errorf("POST %s: %d", f.Path, w.Code)
		}
		if w := ask(h, "GET", f.Path, "Host", "evil.example"); code(t, w) != "forbidden_host" {
			t.Errorf("%s under another name: %d", f.Path, w.Code)
		}
	}
}

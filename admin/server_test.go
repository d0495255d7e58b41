package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/memnet"
)

// port is a running server on a network in memory, inside a synctest bubble:
// the end of the test fails if Run leaves a goroutine behind.
type port struct {
	*Server
	t    *testing.T
	net  *memnet.Network
	addr string
	stop func()
	done chan error
}

func start(t *testing.T, c Config) *port {
	t.Helper()
	if c.Source == nil {
		c.Source = &source{}
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	n := memnet.New()
	ln, err := n.Listen("127.0.0.1:8001")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	p := &port{Server: s, t: t, net: n, addr: "127.0.0.1:8001", stop: stop, done: make(chan error, 1)}
	go func() { p.done <- s.Run(ctx, ln) }()
	return p
}

// end stops the server and checks how Run ended, and that it took less than a
// second.
func (p *port) end() {
	p.t.Helper()
	p.stop()
	began := time.Now()
	if err := <-p.done; err != nil {
		p.t.Errorf("run: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		p.t.Errorf("it took %v to stop", took)
	}
}

func (p *port) dial() net.Conn {
	p.t.Helper()
	c, err := p.net.DialContext(p.t.Context(), p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// say sends a request and returns the status and body of the answer.
func (p *port) say(c net.Conn, request string) (status int, body string) {
	p.t.Helper()
	go io.WriteString(c, request)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		p.t.Errorf("%.40q: %v", request, err)
		return 0, ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Errorf("%.40q: %v", request, err)
	}
	return res.StatusCode, string(b)
}

const simple = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

// closedAfter reads until the far side closes and returns how long that took.
func closedAfter(c net.Conn) time.Duration {
	began := time.Now()
	io.Copy(io.Discard, c)
	return time.Since(began)
}

// drip sends the first bytes at once and then one byte per second of fake time,
// until the conn is closed.
func drip(c net.Conn, first string) (ended chan struct{}) {
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_, err := io.WriteString(c, first)
		for err == nil {
			<-time.After(time.Second)
			_, err = io.WriteString(c, "x")
		}
	}()
	return ended
}

func TestSlowHeadIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		for _, first := range []string{"G", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "} {
			c := p.dial()
			ended := drip(c, first)
			if took := closedAfter(c); took < HeadTimeout || took > HeadTimeout+time.Second {
				t.Errorf("a slow head was closed after %v, want %v", took, HeadTimeout)
			}
			<-ended
		}
		p.end()
		checkRefused(t, p.Server, "malformed", "malformed")
	})
}

func TestSlowBodyIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		for _, method := range []string{"GET", "POST"} {
			c := p.dial()
			ended := drip(c, method+" /v1/ring HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
			if took := closedAfter(c); took > ReadTimeout+time.Second {
				t.Errorf("a slow body was closed after %v", took)
			}
			c.Close()
			<-ended
		}
		p.end()
	})
}

func TestSilentAndIdleAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		if took := closedAfter(p.dial()); took < HeadTimeout || took > HeadTimeout+time.Second {
			t.Errorf("a conn that says nothing was closed after %v", took)
		}
		c := p.dial()
		if status, _ := p.say(c, simple); status != 200 {
			t.Errorf("status %d", status)
		}
		if took := closedAfter(c); took < IdleTimeout || took > IdleTimeout+time.Second {
			t.Errorf("an idle conn was closed after %v", took)
		}
		p.end()
		checkRefused(t, p.Server)
	})
}

// TestReaderThatStalls: an answer that nobody takes is given up.
func TestReaderThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{Source: &source{ring: func(bool) any { return strings.Repeat("x", 16<<20) }}})
		c := p.dial()
		io.WriteString(c, "GET /v1/ring HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-time.After(WriteTimeout + time.Second) // fake time: the answer's deadline passes
		synctest.Wait()
		n, _ := io.Copy(io.Discard, c)
		if n == 0 || n >= 16<<20 {
			t.Errorf("%d bytes of the answer came", n)
		}
		p.end()
	})
}

func TestMalformedAndOversized(t *testing.T) {
	tests := []struct {
		name, request string
		status        int
		counted       string // the reason, "" when it is served
	}{
		{"fine", simple, 200, ""},
		{"absolute form", "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, ""},
		{"absolute form of another host", "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, "host"},
		{"no Host", "GET /healthz HTTP/1.1\r\n\r\n", 400, "malformed"},
		{"two Hosts", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400, "malformed"},
		{"HTTP/1.0 without Host", "GET /healthz HTTP/1.0\r\n\r\n", 403, "host"},
		{"not HTTP", "hello\r\n\r\n", 400, "malformed"},
		{"HTTP/2 preface, which names no host", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403, "host"},
		{"bad percent", "GET /v1/rooms/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed"},
		{"space in a header's name", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX Y: z\r\n\r\n", 400, "malformed"},
		{"length and chunks", "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 405, "method"},
		{"bad length", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400, "malformed"},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "path"},
		{"OPTIONS * of another host", "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "host"},
		{"CONNECT", "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n", 404, "path"},
		{"body at the bound", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n" + strings.Repeat("x", 65536), 200, ""},
		{"body above the bound", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n", 413, "body"},
		{"huge body", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n", 413, "body"},
		{"long line", "GET /" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431, "malformed"},
		{"long header", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431, "malformed"},
		{"a Hello of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed"},
		{"an expectation", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: 7\r\n\r\n", 417, "malformed"},
		{"two requests, the second of which is none", simple + "hello\r\n\r\n", 200, "malformed"},
		{"long query", "GET /v1/rooms?prefix=" + strings.Repeat("x", 20<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431, "malformed"},
		{"many parameters", "GET /v1/rooms?" + strings.Repeat("a&", 2000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "query"},
		{"body of a stream above the bound", "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n", 413, "body"},
		{"endless body of a stream", "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("2000\r\n"+strings.Repeat("x", 0x2000)+"\r\n", 9), 413, "body"},
		{"a stream's body that is no chunk", "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n", 400, "body"},
		{"a drain without a type", "POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 415, "body"},
		{"a drain above the bound", "POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n", 413, "body"},
		{"many headers", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 5000) + "\r\n", 431, "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, Config{})
				if status, body := p.say(p.dial(), tt.request); status != tt.status {
					t.Errorf("status %d, want %d: %s", status, tt.status, body)
				}
				synctest.Wait()
				p.end()
				checkRefused(t, p.Server, tt.counted)
			})
		})
	}
}

// TestEndlessHeaderLine: what it may cost is bounded by MaxHead, not by the
// attacker's patience.
func TestEndlessHeaderLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		c := p.dial()
		sent := make(chan int, 1)
		go func() {
			n, _ := io.WriteString(c, "GET /healthz HTTP/1.1\r\nX: ")
			chunk := bytes.Repeat([]byte("x"), 1024)
			for n < 64<<20 {
				m, err := c.Write(chunk)
				if n += m; err != nil {
					break
				}
			}
			sent <- n
		}()
		if took := closedAfter(c); took > HeadTimeout {
			t.Errorf("closed after %v", took)
		}
		c.Close()
		if n := <-sent; n >= 64<<20 {
			t.Errorf("all %d bytes were taken", n)
		}
		p.end()
	})
}

func TestTooManyConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		for range MaxConns {
			p.dial()
		}
		synctest.Wait()
		late := p.dial()
		began := time.Now()
		if status, _ := p.say(late, simple); status != 200 {
			t.Errorf("status %d", status)
		}
		if took := time.Since(began); took < HeadTimeout || took > HeadTimeout+time.Second {
			t.Errorf("conn %d was served after %v, want it once the silent ones are closed", MaxConns+1, took)
		}
		p.end()
	})
}

// TestIdleConnsMakeRoom: conns that browsers keep do not keep others out; the one that was idle longest goes,
// and no other.
func TestIdleConnsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{Source: &source{watch: forever}})
		for range MaxStreams {
			p.open(p.dial(), streamRequest)
		}
		kept := make([]net.Conn, MaxConns-MaxStreams)
		for i := range kept {
			kept[i] = p.dial()
			p.say(kept[i], simple)
			<-time.After(time.Millisecond)
		}
		p.say(kept[0], simple) // now the second one is idle longest
		began := time.Now()
		for range 5 {
			if status, _ := p.say(p.dial(), simple); status != 200 {
				t.Errorf("status %d", status)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		for i, c := range kept {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			if closed := err == io.EOF; closed != (i >= 1 && i <= 5) {
				t.Errorf("conn %d: %v", i, err)
			}
		}
		p.end()
		checkRefused(t, p.Server)
	})
}

// slow is a source whose Room takes a second.
type slow struct{ source }

func (s *slow) Room(context.Context, string) (RoomDocument, error) {
	<-time.After(time.Second)
	return RoomDocument{}, nil
}

// TestBusyConnsMakeRoom: the first that is done does, when none was idle.
func TestBusyConnsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{Source: &slow{}})
		for range MaxConns {
			io.WriteString(p.dial(), "GET /v1/room?room=r HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		synctest.Wait()
		began := time.Now()
		if status, _ := p.say(p.dial(), simple); status != 200 || time.Since(began) != time.Second {
			t.Errorf("%d after %v", status, time.Since(began))
		}
		p.end()
	})
}

// TestStopWhileFull: Run ends although Accept waits for a slot.
func TestStopWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		for range MaxConns + 1 {
			p.dial()
		}
		synctest.Wait()
		p.end()
	})
}

// waiting is a source whose Room ends with its context.
type waiting struct {
	source
	asked chan struct{}
}

func (s *waiting) Room(ctx context.Context, _ string) (RoomDocument, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return RoomDocument{}, ctx.Err()
}

func TestRoomTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{Source: &waiting{asked: make(chan struct{}, 1)}})
		began := time.Now()
		status, body := p.say(p.dial(), "GET /v1/room?room=r HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if status != 503 || !strings.Contains(body, `"unavailable"`) || time.Since(began) != RoomTimeout {
			t.Errorf("after %v: %d %s", time.Since(began), status, body)
		}
		p.end()
	})
}

func TestStopWhileAnswering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan struct{}, 1)
		p := start(t, Config{Source: &waiting{asked: asked}})
		c := p.dial()
		io.WriteString(c, "GET /v1/room?room=r HTTP/1.1\r\nHost: localhost\r\n\r\n")
		<-asked
		p.end()
		checkRefused(t, p.Server) // it was told 503, but nobody was at fault
	})
}

// TestProfileOutlivesTheWriteTimeout: its duration comes on top.
func TestProfileOutlivesTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		status, body := p.say(p.dial(), "GET /debug/pprof/allocs?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if status != 200 || body == "" {
			t.Errorf("%d, %d bytes", status, len(body))
		}
		p.end()
	})
}

func TestRunRefusesAnOpenPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Source: &source{}}) // says loopback
		if err != nil {
			t.Fatal(err)
		}
		ln, err := memnet.New().Listen("10.0.0.1:8001")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context(), ln); err == nil || !strings.Contains(err.Error(), "--admin-token") {
			t.Errorf("run: %v", err)
		}
		if c, err := ln.Accept(); err == nil {
			c.Close()
			t.Error("the listener is still open")
		}
	})
}

type brokenListener struct{ net.Listener }

var errBroken = errors.New("no more conns")

func (brokenListener) Accept() (net.Conn, error) { return nil, errBroken }

func TestRunTellsWhyItEnded(t *testing.T) {
	s, err := New(Config{Source: &source{}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), brokenListener{ln}); !errors.Is(err, errBroken) {
		t.Errorf("run: %v", err)
	}
}

// TestRealSocket: once over TCP, with the standard client.
func TestRealSocket(t *testing.T) {
	s, err := New(Config{Source: &source{rooms: map[string]RoomDocument{"a/b": {Room: "a/b"}}}, Token: "full"})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, ln) }()
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/v1/rooms/a%%2Fb", ln.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer full")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != 200 || !strings.Contains(string(b), `"room":"a/b"`) {
		t.Errorf("%d %s, %v", res.StatusCode, b, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

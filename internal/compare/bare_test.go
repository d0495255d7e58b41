//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// newStage is a stage on whatever cores there are, ended with the test. Its ports are above those that
// Linux gives out by itself, and that other tests take.
func newStage(t *testing.T) *stage {
	t.Helper()
	c, err := chooseCores()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{dir: t.TempDir(), cores: c, ports: &ports{first: 61_000, count: 4000, next: os.Getpid() * 7}, conns: 100}
	t.Cleanup(s.stop)
	return s
}

func testPrograms(t *testing.T) programs {
	t.Helper()
	p, err := findPrograms("", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func dialRoom(t *testing.T, port int, room string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, behind, _, err := ws.Dial(ctx, "ws://"+loopback(port)+"/?x=1&room="+room+"&y=2")
	if err != nil {
		t.Fatal(err)
	}
	if behind != nil {
		t.Fatal("something came before anybody published")
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func TestBareLoopServesRooms(t *testing.T) {
	s, p := newStage(t), testPrograms(t)
	port, err := p.startBare(t.Context(), s, "loop1")
	if err != nil {
		t.Fatal(err)
	}
	a, b, other := dialRoom(t, port, "one"), dialRoom(t, port, "one"), dialRoom(t, port, "two")
	for _, size := range []int{0, 1, 125, 126, 1000, 60_000} {
		want := bytes.Repeat([]byte{'m'}, size)
		if err := wsutil.WriteClientBinary(a, want); err != nil {
			t.Fatal(err)
		}
		for _, c := range []net.Conn{a, b} {
			if got, op, err := wsutil.ReadServerData(c); err != nil || op != ws.OpBinary || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: got %d of kind %d, %v", size, len(got), op, err)
			}
		}
	}
	if err := wsutil.WriteClientText(other, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	if got, op, err := wsutil.ReadServerData(other); err != nil || op != ws.OpText || string(got) != "mine" {
		t.Errorf("the other room hears %q, kind %d, %v; want its own text first", got, op, err)
	}
	c := dialRoom(t, port, "one")
	a.Close()
	if err := wsutil.WriteClientBinary(b, []byte("after")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{b, c} {
		if got, _, err := wsutil.ReadServerData(c); err != nil || string(got) != "after" {
			t.Errorf("after the first member left: %q, %v", got, err)
		}
	}
}

func TestBareLoopEndsBadConns(t *testing.T) {
	s, p := newStage(t), testPrograms(t)
	port, err := p.startBare(t.Context(), s, "loop1")
	if err != nil {
		t.Fatal(err)
	}
	for name, bytes := range map[string]string{
		"close":      "\x88\x80\x01\x02\x03\x04",
		"not masked": "\x82\x04abcd....",
		"64 KiB":     "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00....",
	} {
		c := dialRoom(t, port, "bad")
		if _, err := c.Write([]byte(bytes)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: read %d bytes, %v; want the end", name, n, err)
		}
	}
}

// smallScenarios are quick.
func smallScenarios() []scenario {
	return []scenario{
		{name: "fanout", rooms: 1, members: 20, publishers: 3, window: 8},
		{name: "rooms", rooms: 10, members: 3, publishers: 3, window: 1},
		{name: "rate", rooms: 10, members: 3, publishers: 3, rate: 3000},
		{name: "idle", rooms: 5, members: 4, publishers: 4, idle: true},
	}
}

func quick() settings {
	return settings{warm: 20 * time.Millisecond, measure: 300 * time.Millisecond, rest: 20 * time.Millisecond, quiet: 5 * time.Second}
}

func TestLoadMeasuresABareLoop(t *testing.T) {
	p := testPrograms(t)
	for _, sc := range smallScenarios() {
		s := newStage(t)
		port, err := p.startBare(t.Context(), s, "loop1")
		if err != nil {
			t.Fatal(err)
		}
		m := measureOnce(t, s, port, sc)
		if !m.good() || m.Seconds == 0 {
			t.Errorf("%s: %+v, want a good run", sc.name, m)
		}
		if sc.idle {
			continue
		}
		if m.Deliveries == 0 || m.PerSecond == 0 || m.ServerCores < 0 {
			t.Errorf("%s: %+v, want deliveries", sc.name, m)
		}
		if sc.rate > 0 && (m.P50 <= 0 || m.P99 < m.P50) {
			t.Errorf("%s: p50 %g ms, p99 %g ms", sc.name, m.P50, m.P99)
		}
	}
}

func measureOnce(t *testing.T, s *stage, port int, sc scenario) (m measurement) {
	t.Helper()
	return measureWithin(t, s.servers(), port, sc, quick())
}

func measureWithin(t *testing.T, servers *group, port int, sc scenario, times settings) (m measurement) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := newLoad(netip.MustParseAddrPort(loopback(port)), "/?room=", &sc)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := sc.measure(ctx, l, servers, times, &m); err != nil {
		t.Fatalf("%s: %v", sc.name, err)
	}
	return m
}

func TestProxiesServeRooms(t *testing.T) {
	p := testPrograms(t)
	for name, x := range map[string]struct {
		program string
		start   func(context.Context, *stage) (int, error)
		check   func(dir string) []string
	}{
		"nginx": {p.nginx, p.startNginx, func(dir string) []string { return append(nginxArgs(dir), "-t") }},
		"haproxy": {p.haproxy, p.startHAProxy, func(dir string) []string {
			return []string{"-c", "-f", filepath.Join(dir, "haproxy.conf")}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if x.program == "" {
				t.Skip("not installed")
			}
			s := newStage(t)
			port, err := x.start(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := command(t, x.program, x.check(s.dir)...); err != nil || bytes.Contains(text, []byte("WARNING")) || bytes.Contains(text, []byte("[warn]")) {
				t.Errorf("it complains about its settings: %v\n%s", err, text)
			}
			m := measureOnce(t, s, port, smallScenarios()[1])
			if !m.good() || m.Deliveries == 0 {
				t.Errorf("%+v, want a good run", m)
			}
		})
	}
}

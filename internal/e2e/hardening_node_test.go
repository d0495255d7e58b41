//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testFrozenShard stops one of two shards until gossip calls it dead, and wakes it.
func testFrozenShard(t *testing.T) {
	freeze(t, "gossip's verdict is everywhere", func(r *ring) bool { return r.state("s1") == "dead" })
}

// testUnseenShard wakes it when gossip does not remember it any more: only the Table does.
func testUnseenShard(t *testing.T) {
	freeze(t, "gossip has forgotten it", func(r *ring) bool {
		return slices.ContainsFunc(r.Nodes, func(n ringNode) bool { return n.ID == "s1" && n.State == "dead" && n.Addresses.Admin == "" })
	})
}

// testForgottenShard wakes it when an operator said 30 s ago that it is dead.
func testForgottenShard(t *testing.T) { forget(t, 30*time.Second) }

// freeze stops a shard under load until all others see what is named, then wakes it. It has the only
// copy of its rooms and nobody can know that it is dead: they wait for it, and go on as if nothing had
// been.
func freeze(t *testing.T, what string, seen func(*ring) bool) {
	const rooms, pace = 20, 40 * time.Millisecond
	c := newCluster(t, 2, "s1", "s2", "r1", "r2")
	c.shardFlags = []string{"--followers", "0"}
	c.startAll("s1", "s2", "r1", "r2")
	before := c.waitVoters(3)
	l := newLoad(t, rooms, 4, c.nodes["r1"], c.nodes["r2"])
	l.run(pace)
	for _, r := range l.rooms {
		r.members[0].waitHeard(10, 10*time.Second)
	}
	frozen := c.nodes["s1"]
	frozen.signal(syscall.SIGSTOP)
	began := time.Now()
	for _, n := range c.without("s1") {
		eventually(t, what, 60*time.Second, func() bool {
			ring, err := n.ring()
			return err == nil && seen(&ring)
		})
	}
	slept := time.Since(began)
	frozen.signal(syscall.SIGCONT)
	woke := time.Now()
	l.waitAfter(woke, 20*time.Second)
	served := time.Since(woke)
	after := c.waitVoters(3)
	settled := time.Since(woke)
	l.finish()
	l.waitLast(20 * time.Second)
	for _, r := range l.rooms {
		for _, m := range r.members {
			r.checkWhole(t, m)
			if e := m.ending(); e != nil {
				t.Errorf("a socket closed: %s", e)
			}
		}
	}
	if !slices.Equal(owners(&before), owners(&after)) {
		t.Error("partitions have other owners")
	}
	t.Logf("shard stopped for %.1f s: its rooms waited, lost nothing, and were served %.2f s after it woke; one ring again after %.2f s",
		slept.Seconds(), served.Seconds(), settled.Seconds())
}

// testFrozenAlone stops the only shard while a client publishes without end: TCP pushes back, and
// what was taken arrives when the shard wakes.
func testFrozenAlone(t *testing.T) {
	r, s := pair(t, nil, nil)
	m := dial(t, r.listen, "wait")
	m.echo("first", 10*time.Second)
	before := r.memory(t)
	s.signal(syscall.SIGSTOP)
	taken, whole := 0, true
	for i := range 100_000 {
		text := fmt.Sprintf("%d %s", i, strings.Repeat("w", 1000))
		frame := clientFrame(text)
		m.conn.SetWriteDeadline(time.Now().Add(3 * time.Second))
		if n, err := m.conn.Write(frame); err != nil {
			whole = n == 0
			break
		}
		taken++
	}
	grown := r.memory(t) - before
	s.signal(syscall.SIGCONT)
	m.waitHeard(1+taken, 30*time.Second)
	for i, text := range texts(m.messages())[1:] {
		if got, _, _ := strings.Cut(text, " "); got != strconv.Itoa(i) {
			t.Errorf("message %d is %s", i, got)
			break
		}
	}
	t.Logf("the router and the kernel took %d messages (%s) before they pushed back, router memory grew by %s; all came in order when the shard woke (cut at a frame: %v, lines: %d)",
		taken, mega(int64(taken)*1010), mega(grown), whole, len(m.positions()))
	if taken == 100_000 || grown > 32<<20 {
		t.Error("that is not bounded")
	}
}

// clientFrame is a masked text frame.
func clientFrame(text string) []byte {
	n := len(text)
	b := []byte{0x81, 0x80 | 126, byte(n >> 8), byte(n), 0, 0, 0, 0}
	if n < 126 {
		b = []byte{0x81, 0x80 | byte(n), 0, 0, 0, 0}
	}
	return append(b, text...)
}

// testDescriptors runs a router that may have 256 descriptors.
func testDescriptors(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags []string
	}{
		{"its own bound", nil},
		{"no bound", []string{"--max-conns", "100000"}},
	} {
		c := newCluster(t, 1, "s1", "r1")
		c.start("s1")
		args := append([]string{"-c", `ulimit -n 256 && exec "$0" "$@"`, filepath.Join(programs, "roomring-router")}, c.args("r1", test.flags...)...)
		r := c.add("r1", startCommand(t, "r1", exec.Command("/bin/sh", args...)))
		c.waitOneRing(20 * time.Second)
		one, two := dial(t, r.listen, "lobby"), dial(t, r.listen, "lobby")
		var conns []net.Conn
		for range 400 {
			conns = append(conns, connect(t, r.listen))
		}
		eventually(t, "the conns are dealt with", 10*time.Second, func() bool {
			one.echo(fmt.Sprint(len(one.messages())), 10*time.Second)
			return openFiles(t, r) >= 220
		})
		one.say("during")
		two.wait("message during the flood", 10*time.Second, func() bool { return slices.ContainsFunc(two.heard, func(m message) bool { return m.text == "during" }) })
		answers := 0
		for range 10 {
			if status, _, err := r.ask("/healthz"); err == nil && status == http.StatusOK {
				answers++
			}
		}
		files := openFiles(t, r)
		for _, conn := range conns {
			conn.Close()
		}
		took := eventually(t, "a new client gets in", 20*time.Second, func() bool {
			conn, err := handshake(r.listen, "room=lobby")
			if err != nil {
				return false
			}
			conn.Close()
			return true
		})
		m := r.metrics(t)
		t.Logf("256 descriptors, %s: %d in use under 400 conns, %d of 10 admin requests answered meanwhile, %v backoffs of accept; new clients %.2f s after the flood",
			test.name, files, answers, m["roomring_loop_backoffs_total"], took.Seconds())
		if test.flags == nil && answers < 10 {
			t.Error("the admin port has no reserve")
		}
		one.echo("after", 10*time.Second)
	}
}

// openFiles is how many descriptors a process has.
func openFiles(t *testing.T, n *node) int {
	t.Helper()
	list, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// testRandomGossip sends noise to the gossip ports for some seconds.
func testRandomGossip(t *testing.T) {
	c := newCluster(t, 1, "s1", "r1")
	c.startAll("s1", "r1")
	before := c.waitOneRing(10 * time.Second)
	m := dial(t, c.nodes["r1"].listen, "lobby")
	memory := []int64{c.nodes["s1"].memory(t), c.nodes["r1"].memory(t)}
	noise := mathrand.NewChaCha8([32]byte{byte(*seed)})
	packets, streams := 0, 0
	b := make([]byte, 1400)
	until := time.Now().Add(5 * time.Second)
	pace := time.NewTicker(100 * time.Microsecond)
	defer pace.Stop()
	for time.Now().Before(until) {
		for _, n := range []*node{c.nodes["s1"], c.nodes["r1"]} {
			noise.Read(b)
			if udp, err := net.Dial("udp4", n.gossip); err == nil {
				if udp.Write(b[:1+packets%len(b)]); true {
					packets++
				}
				udp.Close()
			}
			if packets%50 == 0 {
				if tcp, err := net.DialTimeout("tcp4", n.gossip, time.Second); err == nil {
					tcp.Write(b)
					tcp.Close()
					streams++
				}
			}
		}
		<-pace.C
	}
	m.echo("still here", 10*time.Second)
	after := c.waitOneRing(10 * time.Second)
	grown := max(c.nodes["s1"].memory(t)-memory[0], c.nodes["r1"].memory(t)-memory[1])
	lines := max(len(c.nodes["s1"].entries(t)), len(c.nodes["r1"].entries(t)))
	t.Logf("%d packets and %d streams of noise in 5 s: the ring is the same: %v; memory grew by %s; at most %d log lines", packets, streams, after.text == before.text, mega(grown), lines)
	if after.text != before.text || lines > 200 || grown > 32<<20 {
		t.Error("the noise did harm")
	}
}

// testGarbage sends nonsense to the link and admin ports.
func testGarbage(t *testing.T) {
	c := newCluster(t, 1, "s1", "r1")
	c.startAll("s1", "r1")
	m := dial(t, c.nodes["r1"].listen, "lobby")
	noise := make([]byte, 2<<20)
	mathrand.NewChaCha8([32]byte{byte(*seed)}).Read(noise)
	samples := map[string][]byte{
		"nothing":       {},
		"one byte":      {0},
		"noise":         noise[:4096],
		"much noise":    noise,
		"http":          []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"huge frame":    {0xff, 0xff, 0xff, 0xff, 0x01},
		"half a frame":  {0, 0, 1, 0, 1, 1, 2, 3},
		"many zeros":    make([]byte, 1<<20),
		"tls":           {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		"late goodbye":  {0, 0, 0, 1, 0x33},
		"frame to data": {0, 0, 0, 5, 0x10, 0, 0, 0, 0},
	}
	memory := c.nodes["s1"].memory(t)
	longest := time.Duration(0)
	for _, port := range []string{c.nodes["s1"].link, c.nodes["r1"].link, c.nodes["s1"].admin, c.nodes["r1"].admin} {
		for name, sample := range samples {
			conn := connect(t, port)
			began := time.Now()
			conn.SetDeadline(began.Add(20 * time.Second))
			conn.Write(sample)
			if tcp := conn.(*net.TCPConn); name != "one byte" {
				tcp.CloseWrite()
			}
			_, err := io.Copy(io.Discard, conn)
			if took := time.Since(began); err == nil || !isTimeout(err) {
				longest = max(longest, took)
			} else {
				t.Errorf("%s at %s: still open after %s", name, port, took)
			}
		}
	}
	for _, n := range c.nodes {
		for range 200 { // conns that say nothing
			connect(t, n.link)
		}
	}
	m.echo("still here", 20*time.Second)
	lines := max(len(c.nodes["s1"].entries(t)), len(c.nodes["r1"].entries(t)))
	t.Logf("%d kinds of garbage at 4 ports: the longest was hung up on after %.1f s; shard memory grew by %s, %d log lines", len(samples), longest.Seconds(), mega(c.nodes["s1"].memory(t)-memory), lines)
	if lines > 300 {
		t.Error("too many log lines")
	}
	c.waitOneRing(10 * time.Second)
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// testAdminRequests asks the admin port what it must refuse.
func testAdminRequests(t *testing.T) {
	r, s := pair(t, nil, nil)
	secret("wrong-token-wrong-token")
	for _, test := range []struct {
		name, method, path, host, origin, token string
		body                                    int
		want                                    int
	}{
		{name: "good", path: "/v1/ring?table=0", token: r.token, want: 200},
		{name: "no token", path: "/v1/ring", want: 401},
		{name: "no token, unknown path", path: "/nothing", want: 401},
		{name: "wrong token", path: "/v1/ring", token: "wrong-token-wrong-token", want: 401},
		{name: "open", path: "/healthz", want: 200},
		{name: "unknown path", path: "/nothing", token: r.token, want: 404},
		{name: "unknown room", path: "/v1/room?room=nobody", token: r.token, want: 404},
		{name: "no room", path: "/v1/room", token: r.token, want: 400},
		{name: "two rooms", path: "/v1/room?room=a&room=b", token: r.token, want: 400},
		{name: "bad room", path: "/v1/room?room=%00", token: r.token, want: 400},
		{name: "long room", path: "/v1/room?room=" + strings.Repeat("a", 256), token: r.token, want: 400},
		{name: "bad query", path: "/v1/ring?table=2", token: r.token, want: 400},
		{name: "method", method: "DELETE", path: "/v1/ring", token: r.token, want: 405},
		{name: "foreign origin", path: "/v1/ring", origin: "http://evil.example", token: r.token, want: 403},
		{name: "foreign host", path: "/healthz", host: "evil.example", want: 403},
		{name: "huge body", method: "POST", path: "/v1/ring", body: 8 << 20, token: r.token, want: 0},
		{name: "huge header", path: "/v1/ring?x=" + strings.Repeat("a", 2<<20), token: r.token, want: 0},
	} {
		for _, n := range []*node{r, s} {
			method := test.method
			if method == "" {
				method = http.MethodGet
			}
			request, err := http.NewRequest(method, "http://"+n.admin+test.path, bytes.NewReader(make([]byte, test.body)))
			if err != nil {
				t.Fatal(err)
			}
			if test.token != "" {
				request.Header.Set("Authorization", "Bearer "+test.token)
			}
			if test.origin != "" {
				request.Header.Set("Origin", test.origin)
			}
			if test.host != "" {
				request.Host = test.host
			}
			answer, err := askClient.Do(request)
			got := 0
			if err == nil {
				got = answer.StatusCode
				answer.Body.Close()
			}
			if test.want != 0 && got != test.want || test.want == 0 && got != 0 && got < 400 {
				t.Errorf("%s at %s: %d (%v), want %d", test.name, n.id, got, err, test.want)
			}
		}
	}
	t.Log("17 requests were answered as they should be")
}

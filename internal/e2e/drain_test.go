//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRouterDrains ends a router politely: its conns are told evenly over the drain time.
func TestRouterDrains(t *testing.T) {
	t.Parallel()
	const conns, over = 120, 4 * time.Second
	c := newCluster(t, 1, "s1", "r1")
	c.start("s1")
	r1 := c.start("r1", "--drain-time", over.String())
	c.waitOneRing(patience)
	var all []*client
	for i := range conns {
		all = append(all, dial(t, r1.listen, fmt.Sprint("room", i%7)))
	}
	began := time.Now()
	r1.signal(syscall.SIGTERM)
	eventually(t, "new handshakes are refused", patience, func() bool { return refused(r1.listen) })
	var times []time.Duration
	for _, m := range all {
		e := m.waitEnd(over + patience)
		if e.code != 1012 || !strings.HasPrefix(e.reason, "draining") {
			t.Errorf("a conn ended with %s", e)
		}
		times = append(times, e.when.Sub(began))
	}
	code := r1.exit(t, patience)
	took := time.Since(began)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	slices.Sort(times)
	t.Logf("closed after 25%%: %.2f s, 50%%: %.2f s, 75%%: %.2f s, 100%%: %.2f s; process ended after %.2f s", times[conns/4].Seconds(),
		times[conns/2].Seconds(), times[conns*3/4].Seconds(), times[conns-1].Seconds(), took.Seconds())
	for _, quarter := range []int{1, 2, 3} {
		want := over * time.Duration(quarter) / 4
		if got := times[conns*quarter/4]; got < want-over/4 || got > want+over/2 {
			t.Errorf("%d/4 of the conns were closed after %s, want about %s", quarter, got, want)
		}
	}
}

// refused says whether a new client is turned away at once.
func refused(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return true
	}
	defer conn.Close()
	status, _ := rawRequest(conn, "GET /ws?room=x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	return status == http.StatusServiceUnavailable || status == 0
}

// TestSecondSignal ends a router that drains for an hour.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, "s1", "r1")
	c.start("s1")
	r1 := c.start("r1", "--drain-time", "1h")
	c.waitOneRing(patience)
	m := dial(t, r1.listen, "lobby")
	r1.signal(syscall.SIGTERM)
	r1.waitOutput(t, r1.log, "draining", patience, func(text string) bool { return strings.Contains(text, `"draining"`) })
	if m.ending() != nil || r1.ended() {
		t.Error("it does not drain slowly")
	}
	began := time.Now()
	r1.signal(syscall.SIGTERM)
	code := r1.exit(t, patience)
	t.Logf("second signal: ended after %.0f ms with code %d", float64(time.Since(began).Milliseconds()), code)
	m.waitEnd(patience)
}

// TestShardDrains ends one of two shards politely under load: its rooms move, and nobody notices. Then
// it ends the other one, which has nobody to hand over to: it says what is lost.
func TestShardDrains(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, "s1", "s2", "r1")
	c.startAll("s1", "s2", "r1")
	r1 := c.nodes["r1"]
	l := newLoad(t, 20, 2, r1)
	l.run(40 * time.Millisecond)
	l.waitAfter(time.Now(), patience)
	began := time.Now()
	c.nodes["s1"].signal(syscall.SIGTERM)
	if code := c.nodes["s1"].exit(t, patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("shard ended after %s", millis(time.Since(began)))
	l.waitAfter(time.Now(), patience)
	l.check()

	c.nodes["s2"].signal(syscall.SIGTERM)
	if code := c.nodes["s2"].exit(t, patience); code != 0 {
		t.Errorf("exit code %d of the last shard", code)
	}
	if lines := complaints(t, c.nodes["s2"]); !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, "rooms are lost") }) {
		t.Errorf("the last shard says %q, want what is lost", lines)
	}
}

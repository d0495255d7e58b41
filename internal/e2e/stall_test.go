//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// stall opens a conn that nobody reads.
func stall(t *testing.T, address, room string) net.Conn {
	t.Helper()
	conn, err := handshake(address, query(room))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// drainStalled reads all that is left for a stalled conn, and returns how it ended.
func drainStalled(conn net.Conn) *ending {
	conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	in := bufio.NewReader(conn)
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			return &ending{err: err}
		}
		payload := make([]byte, min(h.Length, 1<<20))
		if _, err := io.ReadFull(in, payload); err != nil {
			return &ending{err: err}
		}
		if h.OpCode == ws.OpClose {
			code, reason := ws.ParseCloseFrameData(payload)
			return &ending{code: code, reason: reason}
		}
	}
}

// TestStalledReader has one member of a busy room never read. The room goes on, the router's memory
// does not grow, and the stalled one is closed in the end.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	const members, size, messages = 4, 16 << 10, 1500 // 24 MB: more than the kernel takes for one conn
	c := newCluster(t, 1, "s1", "r1")
	c.start("s1")
	r1 := c.start("r1", "--window", "512KiB")
	c.waitOneRing(patience)
	var others []*client
	for range members {
		others = append(others, dial(t, r1.listen, "busy"))
	}
	stalled := stall(t, r1.listen, "busy")
	body := strings.Repeat("x", size)
	before, most := r1.memory(t), int64(0)
	for i := range messages {
		others[0].say(fmt.Sprintf("%d %s", i, body))
		for _, m := range others { // no faster than the slowest of those who read
			m.waitHeard(i-7, patience)
		}
		if i%50 == 0 {
			most = max(most, r1.memory(t)-before)
		}
	}
	for _, m := range others {
		m.waitHeard(messages, patience)
		if lines := m.positions(); len(lines) != 1 || m.ending() != nil {
			t.Errorf("a member that reads: lines %v, %s", lines, m.ending())
		}
	}
	eventually(t, "the stalled one is closed", 20*time.Second, func() bool { return r1.metrics(t)["roomring_router_slow_total"] == 1 })
	end := drainStalled(stalled)
	if end.code != 4008 && !end.reset() {
		t.Errorf("the stalled one ended with %s", end)
	}
	t.Logf("%d MB went by; router memory grew by at most %.1f MB; the stalled one ended with %s", messages*size>>20, float64(most)/(1<<20), end)
	if most > 64<<20 {
		t.Error("that is too much")
	}
}

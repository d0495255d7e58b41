//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// idleConns is how many conns are held to see what one costs.
const idleConns = 4000

// TestBalancerMemory shows what a conn that says nothing costs a proxy.
func TestBalancerMemory(t *testing.T) {
	needsBalancers(t)
	for _, kind := range balancings {
		t.Run(kind.title, func(t *testing.T) {
			b := newBalanced(t, kind)
			b.hold(200, "warm") // what a proxy sets aside once is not counted
			memory, descriptors := b.resident(), b.descriptors()
			b.hold(idleConns, "cold")
			more := float64(b.resident()-memory) / idleConns
			each := float64(b.descriptors()-descriptors) / idleConns
			t.Logf("%s: %d idle conns: %.1f KB and %.2f descriptors of the proxy each", b.title, idleConns, more/1024, each)
			if more > 100<<10 || each < 1.9 || each > 2.1 {
				t.Error("that is not what README says")
			}
		})
	}
}

// hold opens conns, each of which says and hears something, and leaves them alone.
func (b *balanced) hold(n int, name string) {
	b.t.Helper()
	var work sync.WaitGroup
	var failed atomic.Int64
	for i := range 4 {
		work.Go(func() {
			for j := range n / 4 {
				conn, err := b.from(fmt.Sprintf("127.0.0.%d", 10+i), nil, query(fmt.Sprint(name, j%50)))
				if err == nil {
					b.t.Cleanup(func() { conn.Close() })
					err = ws.WriteFrame(conn, ws.MaskFrameInPlace(ws.NewTextFrame([]byte("hello"))))
				}
				if err == nil {
					err = readFrame(conn)
				}
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}
	work.Wait()
	if failed.Load() > 0 {
		b.t.Fatalf("%d of %d conns did not open", failed.Load(), n)
	}
}

// readFrame reads one frame, whatever it is.
func readFrame(conn net.Conn) error {
	h, err := ws.ReadHeader(conn)
	if err == nil {
		_, err = io.CopyN(io.Discard, conn, h.Length)
	}
	return err
}

func (b *balancer) descriptors() (n int) {
	b.t.Helper()
	for _, pid := range b.workers() {
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			b.t.Fatal(err)
		}
		n += len(list)
	}
	return n
}

// TestBalancerStorm kills a proxy that has 2,000 clients, and starts it again: all come back at once.
func TestBalancerStorm(t *testing.T) {
	needsBalancers(t)
	for _, kind := range balancings {
		t.Run(kind.title, func(t *testing.T) {
			b := newBalanced(t, kind)
			v := b.startVerify("--rooms", "400", "--members", "5", "--rate", "2000")
			b.pass(3 * time.Second)
			v.event("proxy killed")
			b.balancer.kill()
			b.balancer.start()
			b.pass(20 * time.Second)
			r := v.end()
			t.Logf("%s: %s; back after p50 %.0f ms, max %.0f ms; %d tries failed", b.title, r.Verdict, r.BackP50, r.BackMax, r.DialErrors)
			if !r.Held || r.Away > 0 || r.Closed != 2000 {
				t.Errorf("%v; %d closed, %d not back; %s", r.Broken, r.Closed, r.Away, r.FirstError)
			}
		})
	}
}

// TestBalancerIdle has conns say nothing for longer than a proxy would let them, but for the pings of
// routers; and shows that a proxy whose time is shorter than that between two pings closes them.
func TestBalancerIdle(t *testing.T) {
	needsBalancers(t)
	for _, kind := range balancings {
		t.Run(kind.title, func(t *testing.T) {
			t.Parallel()
			b := newBalanced(t, kind)
			short := newBalancer(t, kind, freePorts(t, 1, 0), b.behind...)
			short.trust(b.balancer) // where TLS ends at the routers
			b.wait(28)
			b.reload()
			short.wait(5)
			short.start()
			b.checkSilence()
			stays := b.member("idle")
			other := &balanced{cluster: b.cluster, balancer: short, t: t}
			goes := other.member("idle")
			began := time.Now()
			goes.waitEnd(patience)
			t.Logf("%s: with 5 s, closed after %.1f s", b.title, time.Since(began).Seconds())
			b.pass(time.Until(began.Add(62 * time.Second)))
			if e := stays.ending(); e != nil {
				t.Errorf("%s: with 28 s: %s", b.title, e)
			}
			stays.echo("still here", patience)
		})
	}
}

// checkSilence has a client connect and say nothing.
func (b *balanced) checkSilence() {
	b.t.Helper()
	began := time.Now()
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(began.Add(20 * time.Second))
	_, err = io.Copy(io.Discard, conn)
	b.t.Logf("%s: a client that says nothing was closed after %.1f s", b.title, time.Since(began).Seconds())
	if time.Since(began) > 15*time.Second {
		b.t.Errorf("it should be gone: %v", err)
	}
}

// wait sets the proxy's times for conns that say nothing.
func (b *balancer) wait(seconds int) {
	b.t.Helper()
	for _, s := range b.waits {
		b.substitute(substitution{s.old, fmt.Sprintf(s.new, seconds)})
	}
}

// TestBalancerFrozen freezes a router. What is at it ends, and others come in.
func TestBalancerFrozen(t *testing.T) {
	needsBalancers(t)
	for _, kind := range balancings {
		t.Run(kind.title, func(t *testing.T) {
			t.Parallel()
			b := newBalanced(t, kind)
			b.wait(28) // of nginx, which knows nothing else: the test need not take longer
			b.reload()
			var members []*client
			for i := range 20 {
				members = append(members, b.member(fmt.Sprint("frozen", i%4)))
			}
			at := b.conns("r1")
			began := time.Now()
			b.nodes["r1"].signal(syscall.SIGSTOP)
			hung, most := 0, time.Duration(0)
			for range 20 {
				began := time.Now()
				for !b.comesIn(3 * time.Second) {
					hung++
				}
				most = max(most, time.Since(began))
			}
			var last time.Time
			ended := func() (n int) {
				for _, m := range members {
					if e := m.ending(); e != nil {
						n++
						last = e.when
					}
				}
				return n
			}
			eventually(t, "the conns of the frozen router have ended", patience, func() bool { return ended() == at })
			t.Logf("%s: %d of %d conns were at the frozen router, and ended within %.1f s; of 20 new clients, %d tries hung for 3 s; in after %.1f s at most",
				b.title, at, len(members), last.Sub(began).Seconds(), hung, most.Seconds())
			b.nodes["r1"].signal(syscall.SIGCONT)
		})
	}
}

// comesIn says whether a new client has a WebSocket within a time.
func (b *balanced) comesIn(within time.Duration) bool {
	opened := make(chan bool, 1)
	go func() {
		conn, err := b.from("127.0.0.7", nil, query("newcomers"))
		if err == nil {
			conn.Close()
		}
		opened <- err == nil
	}()
	select {
	case ok := <-opened:
		return ok
	case <-time.After(within):
		return false
	}
}

// slowReaders and what flows past them.
const (
	slowReaders = 40
	slowMessage = 16 << 10
	slowTime    = 20 * time.Second
)

// TestBalancerSlow has clients read nothing of a busy room: they cost a proxy what is bounded, and go.
func TestBalancerSlow(t *testing.T) {
	needsBalancers(t)
	for _, kind := range balancings {
		t.Run(kind.title, func(t *testing.T) {
			b := newBalanced(t, kind)
			b.hold(100, "warm")
			quick := b.member("busy", "echo=0")
			memory, kernel := b.resident(), kernelBuffers(t)
			var slow []net.Conn
			for range slowReaders {
				conn, err := b.from("127.0.0.8", nil, query("busy"))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				slow = append(slow, conn)
			}
			text := strings.Repeat("m", slowMessage)
			var user, system int64
			sent := 0
			began := time.Now()
			for time.Since(began) < slowTime {
				quick.say(text)
				sent += slowMessage
				b.pass(4 * time.Millisecond)
				if sent%(64*slowMessage) == 0 {
					user, system = max(user, b.resident()-memory), max(system, kernelBuffers(t)-kernel)
				}
			}
			in := 0
			for _, conn := range slow {
				conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, _ := io.Copy(io.Discard, bufio.NewReader(conn))
				in += int(n)
			}
			t.Logf("%s: %d clients that read nothing of %s in %.0f s: at most %.0f KB of the proxy and %.0f KB of the kernel's buffers each (of all sockets on its way); each had %s waiting when it was read",
				b.title, slowReaders, mega(int64(sent)), time.Since(began).Seconds(), float64(user)/slowReaders/1024, float64(system)/slowReaders/1024, mega(int64(in/slowReaders)))
			if user > slowReaders<<20 {
				t.Error("the proxy keeps without bound")
			}
		})
	}
}

// kernelBuffers is what all sockets of this machine keep, in bytes.
func kernelBuffers(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(text))
	at := slices.Index(words, "mem")
	if at < 0 || at+1 >= len(words) {
		t.Fatalf("no mem in %s", text)
	}
	pages, err := strconv.ParseInt(words[at+1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

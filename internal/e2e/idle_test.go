//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// generatorEnv makes the test binary a generator: it has the job, as JSON.
const generatorEnv = "ROOMRING_E2E_GENERATOR"

// job is what one generator does: it opens conns and answers pings until its stdin ends. It prints a
// tally when all are open, and one at the end.
type job struct {
	Address string // of a router
	Net     int    // conns come from 127.0.Net.0/24
	Conns   int
	Rooms   int
}

// tally is what a generator says.
type tally struct {
	Open    int // now
	Failed  int // never opened
	Closed  int // by the other side
	Pings   int // answered
	Pinged  int // conns that got one or more
	Seconds float64
	Error   string // the first one
}

// generate does a job in a process of its own, which may have as many descriptors as any other.
func generate(text string) (code int) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	g := &generator{job: j}
	began := time.Now()
	g.openAll()
	g.say(began)
	io.Copy(io.Discard, os.Stdin)
	g.say(began)
	return 0
}

type generator struct {
	job
	open, failed, closed, pings, pinged atomic.Int64
	first                               sync.Once
	error                               atomic.Value // string
}

func (g *generator) say(began time.Time) {
	t := tally{Open: int(g.open.Load()), Failed: int(g.failed.Load()), Closed: int(g.closed.Load()), Pings: int(g.pings.Load()),
		Pinged: int(g.pinged.Load()), Seconds: time.Since(began).Seconds()}
	t.Error, _ = g.error.Load().(string)
	json.NewEncoder(os.Stdout).Encode(t) // nobody to tell if it fails
}

// dialers is how many handshakes are under way at once.
const dialers = 64

func (g *generator) openAll() {
	next := make(chan int)
	var group sync.WaitGroup
	for range dialers {
		group.Go(func() {
			for i := range next {
				if err := g.openOne(i); err != nil {
					g.failed.Add(1)
					g.first.Do(func() { g.error.Store(err.Error()) })
				}
			}
		})
	}
	for i := range g.Conns {
		next <- i
	}
	close(next)
	group.Wait()
}

func (g *generator) openOne(i int) error {
	from := net.IPv4(127, 0, byte(g.Net), byte(1+i%sources))
	dialer := net.Dialer{Timeout: 20 * time.Second, LocalAddr: &net.TCPAddr{IP: from}, KeepAlive: -1, Control: bindLate}
	conn, err := dialer.Dial("tcp4", g.Address)
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, upgradeRequest, fmt.Sprintf("idle%d", i%g.Rooms))
	if err := skipHead(conn); err != nil {
		conn.Close()
		return err
	}
	conn.SetDeadline(time.Time{})
	g.open.Add(1)
	go g.answer(conn)
	return nil
}

// sources is how many addresses a generator comes from. An address has 28,000 ports, and the kernel
// looks long for one when most are taken.
const sources = 8

// bindLate has the kernel choose a port when it knows where the conn goes: else a port could be used
// once only, whatever the other side is.
func bindLate(_, _ string, raw syscall.RawConn) (err error) {
	const ipBindAddressNoPort = 24 // from linux/in.h; package syscall does not have it
	failed := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
	})
	return errors.Join(failed, err)
}

const upgradeRequest = "GET /ws?room=%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// skipHead reads an answer of 101 to its end, and not a byte more.
func skipHead(conn net.Conn) error {
	var head [512]byte
	for n := 0; n < len(head); {
		m, err := conn.Read(head[n : n+1])
		if err != nil {
			return err
		}
		n += m
		if strings.HasSuffix(string(head[:n]), "\r\n\r\n") {
			if !strings.HasPrefix(string(head[:n]), "HTTP/1.1 101 ") {
				return fmt.Errorf("answer %q", head[:n])
			}
			return nil
		}
	}
	return fmt.Errorf("answer %q", head[:])
}

// answer answers pings, which are all that comes.
func (g *generator) answer(conn net.Conn) {
	defer func() {
		g.open.Add(-1)
		g.closed.Add(1)
		conn.Close()
	}()
	var head [2]byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		if head != [2]byte{0x89, 0} { // a ping without a payload is what a router sends
			return
		}
		if _, err := conn.Write([]byte{0x8a, 0x80, 0, 0, 0, 0}); err != nil {
			return
		}
		g.pings.Add(1)
		if n == 0 {
			g.pinged.Add(1)
		}
	}
}

// startGenerator starts the test binary again, as a generator.
func startGenerator(t *testing.T, j job) (p *process, stdin io.Closer) {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), generatorEnv+"="+string(text))
	stdin, err = cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return startCommand(t, "generator", cmd), stdin
}

// waitTally waits for the n-th tally.
func waitTally(t *testing.T, p *process, n int, within time.Duration) (last tally) {
	t.Helper()
	p.waitOutput(t, p.out, "tally", within, func(text string) bool {
		lines := strings.Split(text, "\n")
		return len(lines) > n && json.Unmarshal([]byte(lines[n-1]), &last) == nil
	})
	return last
}

const (
	idleRouters = 4
	idleEach    = 19_000 // of the 20,000 descriptors that a process may have
	idleFor     = 35 * time.Second
)

// TestIdle opens 76,000 conns over four routers, leaves them alone for longer than a ping takes to
// come, and tells what they cost.
func TestIdle(t *testing.T) {
	if !*idle {
		t.Skip("needs -idle: 76,000 conns")
	}
	if n := descriptors(t); n < idleEach+900 {
		t.Skipf("needs %d descriptors per process, there are %d", idleEach+900, n)
	}
	ids := []string{"s1"}
	for i := range idleRouters {
		ids = append(ids, fmt.Sprintf("r%d", i+1))
	}
	c := newCluster(t, 1, ids...)
	c.startAll(ids...)
	routers := make([]*node, idleRouters)
	before := make([]int64, idleRouters)
	for i := range routers {
		routers[i] = c.nodes[ids[i+1]]
		before[i] = routers[i].memory(t)
	}
	shardBefore := c.nodes["s1"].memory(t)
	began := time.Now()
	var generators []*process
	var stdins []io.Closer
	for i, r := range routers {
		g, stdin := startGenerator(t, job{r.listen, i + 1, idleEach, 1000})
		generators, stdins = append(generators, g), append(stdins, stdin)
	}
	for _, g := range generators {
		if got := waitTally(t, g, 1, 2*time.Minute); got.Open != idleEach {
			t.Fatalf("opened %+v", got)
		}
	}
	total := idleRouters * idleEach
	t.Logf("%d conns over %d routers opened in %.1f s (%.0f per second)", total, idleRouters, time.Since(began).Seconds(), float64(total)/time.Since(began).Seconds())
	report := func(when string) {
		var grown int64
		for i, r := range routers {
			grown += r.memory(t) - before[i]
		}
		t.Logf("%s: %.0f bytes of router memory per conn (%.1f MB in all), the shard grew by %.1f MB", when, float64(grown)/float64(total),
			float64(grown)/(1<<20), float64(c.nodes["s1"].memory(t)-shardBefore)/(1<<20))
	}
	report("after opening")
	cpu := func() (sum time.Duration) {
		for _, r := range routers {
			sum += r.cpu(t)
		}
		return sum
	}
	used, from := cpu(), time.Now()
	<-time.After(idleFor) // nothing happens but pings: there is no event to wait for
	spent, lasted := cpu()-used, time.Since(from)
	report("after being idle")
	t.Logf("idle for %.0f s: the routers used %.2f s of CPU, %.2f %% of a core each", lasted.Seconds(), spent.Seconds(), spent.Seconds()/lasted.Seconds()*100/idleRouters)
	pings := 0
	for i, g := range generators {
		stdins[i].Close()
		got := waitTally(t, g, 2, 30*time.Second)
		if got.Open != idleEach || got.Closed != 0 || got.Pinged != idleEach {
			t.Errorf("generator %d: %+v, want all open and pinged", i, got)
		}
		pings += got.Pings
	}
	t.Logf("%d pings answered", pings)
	m := dial(t, routers[0].listen, "idle1")
	m.echo("still alive", 10*time.Second)
}

// descriptors is how many a process may have.
func descriptors(t *testing.T) int {
	t.Helper()
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return int(l.Cur)
}

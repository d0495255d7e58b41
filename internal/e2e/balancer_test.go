//go:build linux

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

var balancers = flag.Bool("balancers", false, "run nginx and HAProxy before routers; needs root")

// perAddress is how many conns one client may have at each router.
const perAddress = 150

// balanced is a cluster of three shards and two routers behind a balancer.
type balanced struct {
	*cluster
	*balancer
	t   *testing.T
	key string // that may publish
}

// newBalanced starts all of it.
func newBalanced(t *testing.T, kind *balancing, flags ...string) *balanced {
	t.Helper()
	c := newCluster(t, 3, "s1", "s2", "s3", "r1", "r2")
	b := &balanced{cluster: c, t: t, key: newKey()}
	port := freePorts(t, 3, 0, 1, 2)
	c.listen = map[string]string{"r1": fmt.Sprintf("127.0.0.1:%d", port+1), "r2": fmt.Sprintf("127.0.0.1:%d", port+2)}
	b.balancer = newBalancer(t, kind, port, c.listen["r1"], c.listen["r2"])
	c.routerFlags = append(kind.flags(b.balancer), "--api-key", b.key)
	c.routerFlags = append(c.routerFlags, flags...)
	c.startAll("s1", "s2", "s3", "r1", "r2")
	b.balancer.start()
	return b
}

// TestBalancers runs verify through each of the files under deploy while a shard is killed, the proxy
// reads its file again, and a router is drained and comes back. Meanwhile others come and go, and none of
// them is turned away.
func TestBalancers(t *testing.T) {
	needsBalancers(t)
	for _, kind := range balancings {
		t.Run(kind.title, func(t *testing.T) {
			b := newBalanced(t, kind, "--drain-time", "5s", "--max-conns-per-ip", fmt.Sprint(perAddress))
			b.checkAddresses()
			b.checkOrigins()
			b.checkPublishing()
			b.checkAtOnce()
			b.checkFaults()
		})
	}
}

func needsBalancers(t *testing.T) {
	t.Helper()
	if !*balancers {
		t.Skip("needs -balancers, nginx, HAProxy and root")
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root: nginx and HAProxy give up what they have of it, and namespaces are made")
	}
}

// from opens a conn from an address of loopback.
func (b *balanced) from(source string, header http.Header, query string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	near := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	dialer := ws.Dialer{NetDial: near.DialContext, TLSConfig: b.client(), Header: ws.HandshakeHeaderHTTP(header)}
	conn, ahead, _, err := dialer.Dial(ctx, "wss://"+b.address+"/ws?"+query)
	if err == nil && ahead != nil {
		conn = &prefixed{conn, io.MultiReader(io.LimitReader(ahead, int64(ahead.Buffered())), conn)}
	}
	return conn, err
}

// member is a numbered conn through the balancer.
func (b *balanced) member(room string, more ...string) *client {
	b.t.Helper()
	conn, err := b.from("127.0.0.1", nil, query(room, more...))
	if err != nil {
		b.t.Fatalf("join %s: %v", room, err)
	}
	c := &client{t: b.t, room: room, conn: conn, changed: make(chan struct{})}
	b.t.Cleanup(func() { conn.Close() })
	go c.read(bufio.NewReader(conn))
	c.wait("its first line", patience, func() bool { return len(c.lines) > 0 })
	return c
}

// status is what a handshake was answered, 101 for one that opened.
func status(err error) int {
	if refusal, ok := err.(ws.StatusError); ok {
		return int(refusal)
	}
	if err != nil {
		return 0
	}
	return http.StatusSwitchingProtocols
}

// checkAddresses has one client open as many conns as it may, whoever it claims to be: routers count it,
// and not the proxy, nor those that it claims to be.
func (b *balanced) checkAddresses() {
	b.t.Helper()
	var open []net.Conn
	answers := map[int]int{}
	for i := range 2*perAddress + 20 {
		claim := http.Header{"X-Forwarded-For": {fmt.Sprintf("10.1.2.%d", i%250+1)}}
		conn, err := b.from("127.0.0.5", claim, query("addresses"))
		if answers[status(err)]++; err == nil {
			open = append(open, conn)
		}
	}
	other, err := b.from("127.0.0.6", nil, query("addresses"))
	b.t.Logf("%s: of %d conns of one client that claims to be others: %v; another client: %d", b.title, 2*perAddress+20, answers, status(err))
	if answers[101] != 2*perAddress || answers[429] != 20 {
		b.t.Errorf("want %d open and 20 refused", 2*perAddress)
	}
	if err != nil {
		b.t.Errorf("another client is refused: %v", err)
	} else {
		open = append(open, other)
	}
	for _, conn := range open {
		conn.Close()
	}
	eventually(b.t, "all are gone", patience, func() bool {
		return b.conns("r1")+b.conns("r2") == 0
	})
}

func (b *balanced) conns(router string) int {
	return int(b.nodes[router].metrics(b.t)["roomring_router_websockets"])
}

// checkOrigins: pages of the address that clients use may connect, others not, nor those that came
// without TLS if routers are told of it.
func (b *balanced) checkOrigins() {
	b.t.Helper()
	plain := http.StatusForbidden
	if b.title == "nginx stream" {
		plain = http.StatusSwitchingProtocols
	}
	for origin, want := range map[string]int{"https://" + b.address: 101, "http://" + b.address: plain, "https://evil.example": 403, "null": 403} {
		page := http.Header{"Origin": {origin}}
		if b.http { // where only bytes are passed on, routers believe this, which no page can write
			page.Set("X-Forwarded-Proto", "http")
		}
		conn, err := b.from("127.0.0.5", page, query("origins"))
		if got := status(err); got != want {
			b.t.Errorf("%s: a page of %s: %d, %v, want %d", b.title, origin, got, err, want)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

// checkPublishing publishes over HTTP. The same key twice is one message, if the proxy knows what that is.
func (b *balanced) checkPublishing() {
	b.t.Helper()
	m := b.member("publishing")
	public := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: b.client(), DisableKeepAlives: true}}
	post := func(text, key string) (int, string) {
		b.t.Helper()
		r, err := http.NewRequest(http.MethodPost, "https://"+b.address+"/v1/rooms/publishing/messages", strings.NewReader(text))
		if err != nil {
			b.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+b.key)
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		answer, err := public.Do(r)
		if err != nil {
			b.t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			b.t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	if code, body := post("no key", ""); code != 200 || !strings.Contains(body, `"offset":1`) {
		b.t.Errorf("%s: POST: %d %s", b.title, code, body)
	}
	if code, body := post(strings.Repeat("m", 64<<10), ""); code != 200 {
		b.t.Errorf("%s: POST of the largest message: %d %s", b.title, code, body)
	}
	heard := 2
	for i := range 8 {
		text := fmt.Sprint("key ", i)
		_, first := post(text, fmt.Sprint("order-", i))
		_, again := post(text, fmt.Sprint("order-", i))
		if heard++; !b.http {
			continue
		}
		if first != again {
			b.t.Errorf("%s: the same key got %s, then %s", b.title, first, again)
		}
	}
	m.waitHeard(heard, patience)
	if code, _ := post(strings.Repeat("m", 64<<10+1), ""); code != 413 {
		b.t.Errorf("%s: POST of a message too large: %d", b.title, code)
	}
	if answer, err := public.Get("https://" + b.address + "/metrics"); err != nil || answer.StatusCode != 404 {
		b.t.Errorf("%s: /metrics: %v, %v", b.title, answer, err)
	}
	if answer, err := public.Get("https://" + b.address + "/healthz"); err != nil || answer.StatusCode != 200 {
		b.t.Errorf("%s: /healthz: %v, %v", b.title, answer, err)
	}
	m.conn.Close()
}

// checkAtOnce: nothing waits in a buffer for more to come.
func (b *balanced) checkAtOnce() {
	b.t.Helper()
	m := b.member("at-once")
	var most time.Duration
	for i := range 20 {
		began := time.Now()
		m.echo(fmt.Sprint("message ", i), patience)
		most = max(most, time.Since(began))
	}
	b.t.Logf("%s: 20 messages, one by one: back after %s at most", b.title, millis(most))
	if most > 2*time.Second {
		b.t.Error("that is not at once")
	}
	m.conn.Close()
}

// checkFaults has verify judge, and a visitor come and go, while things happen.
func (b *balanced) checkFaults() {
	b.t.Helper()
	v := b.startVerify("--rooms", "24", "--members", "4", "--rate", "800")
	visitor := b.startVisitor()

	v.event("shard killed")
	b.nodes["s2"].kill()
	b.settle()
	visitor.period("reloaded")
	v.event("reloaded")
	b.reload()
	b.pass(2 * time.Second)
	visitor.period("drained")
	v.event("drained")
	if b.away != nil {
		b.away(b.balancer, 0, true)
	}
	b.drainAndStart("r1")
	if b.away != nil {
		b.away(b.balancer, 0, false)
	}
	visitor.period("back")
	v.event("back")
	b.pass(3 * time.Second)
	if !b.http {
		visitor.stop() // whose handshake dies with a router is told so, where nobody tries it again
	}
	v.event("router killed")
	visitor.period("router killed")
	b.nodes["r2"].kill()
	b.pass(2 * time.Second)
	eventually(b.t, "r2 is ready again", patience, b.cluster.start("r2").ready)
	b.pass(time.Second)
	refused := visitor.stop()
	if b.away != nil {
		v.event("drained without a word to the proxy")
		b.drainAndStart("r1")
		b.pass(3 * time.Second)
	}
	r := v.end()

	b.t.Logf("%s: %s; %d sockets closed, back after p50 %.0f ms, max %.0f ms; tries of clients that failed: %d of verify, %d of %d visitors",
		b.title, r.Verdict, r.Closed, r.BackP50, r.BackMax, r.DialErrors, refused, visitor.count)
	for _, e := range r.Events {
		b.t.Logf("  %-40s %6.1f s: %d closed, %d came back whole, pause p99 %.0f ms, max %.0f ms", e.Name, e.At, e.Closed, e.ResumedWhole, e.PauseP99, e.PauseMax)
		if (e.Name == "shard killed" || e.Name == "reloaded" || e.Name == "before") && e.Closed > 0 {
			b.t.Errorf("%s: %d sockets closed", e.Name, e.Closed)
		}
		if (e.Name == "drained" || e.Name == "router killed") && e.Closed == 0 {
			b.t.Errorf("%s: nobody was there", e.Name)
		}
	}
	for _, c := range r.Closes {
		if c.Code != 1012 && c.Code != 0 { // those that were at the router that was killed
			b.t.Errorf("%d sockets closed with %d %q", c.Count, c.Code, c.Reason)
		}
	}
	if !r.Held || r.Away > 0 || refused > 0 || b.http && r.DialErrors > 0 {
		b.t.Errorf("%v; %d not back; visitors that were refused: %v; %s", r.Broken, r.Away, visitor.why, r.FirstError)
	}
	b.checkLogs()
	if b.away == nil && r.BackMax > 5000 {
		b.t.Errorf("the last client was back after %.0f ms", r.BackMax)
	}
}

// checkLogs looks for what clients say in confidence.
func (b *balanced) checkLogs() {
	b.t.Helper()
	text := b.balancer.log.String() + b.balancer.out.String()
	for _, name := range []string{"error.log", "access.log"} {
		file, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil && !os.IsNotExist(err) {
			b.t.Fatal(err)
		}
		text += string(file)
	}
	for _, word := range []string{clientToken, b.key} {
		if strings.Contains(text, word) {
			b.t.Errorf("%s logs %.4s…", b.title, word)
		}
	}
	if !strings.Contains(text, "127.0.0.9") {
		b.t.Errorf("%s does not log who came", b.title)
	}
}

// settle waits until every partition has its copies again.
func (b *balanced) settle() {
	b.t.Helper()
	eventually(b.t, "settled", patience, func() bool {
		r, err := b.nodes["r2"].summary()
		return err == nil && r.Settled && r.SingleCopy == 0 && r.state("s2") != "alive"
	})
}

// drainAndStart replaces a router.
func (b *balanced) drainAndStart(id string) {
	b.t.Helper()
	old := b.nodes[id]
	old.signal(syscall.SIGTERM)
	if code := old.exit(b.t, patience); code != 0 {
		b.t.Errorf("%s: exit code %d", id, code)
	}
	n := b.cluster.start(id)
	eventually(b.t, id+" is ready again", patience, n.ready)
}

// pass lets time go by for what runs beside.
func (b *balanced) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-b.t.Context().Done():
	}
}

// verification is roomring verify, at work.
type verification struct {
	*process
	t      *testing.T
	events *os.File
}

func (b *balanced) startVerify(args ...string) *verification {
	b.t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { to.Close() })
	args = append([]string{"verify", "--url", "wss://" + b.address, "--reconnect", "--for", "10m", "--quiet", "4s", "--events", "-", "--json"}, args...)
	cmd := exec.Command(filepath.Join(programs, "roomring"), args...)
	cmd.Stdin, cmd.Env = from, append(os.Environ(), "SSL_CERT_FILE="+b.ca())
	v := &verification{startCommand(b.t, "verify", cmd), b.t, to}
	from.Close()
	v.waitOutput(b.t, v.log, "sending", patience, func(text string) bool { return strings.Contains(text, "sending") })
	return v
}

// event names what begins now.
func (v *verification) event(name string) { fmt.Fprintln(v.events, name) }

// judgement is what is read of verify's report.
type judgement struct {
	Held       bool
	Verdict    string
	Broken     []string
	Away       int
	DialErrors int    `json:"dial_errors"`
	FirstError string `json:"first_error"`
	Closes     []struct {
		Code   int
		Reason string
		Count  int
	}
	Events []struct {
		Name string
		At   float64
		judgementCounts
	}
	judgementCounts
}

type judgementCounts struct {
	Closed       int
	ResumedWhole int     `json:"resumed_whole"`
	BackP50      float64 `json:"back_p50_ms"`
	BackMax      float64 `json:"back_max_ms"`
	PauseP99     float64 `json:"pause_p99_ms"`
	PauseMax     float64 `json:"pause_max_ms"`
}

func (v *verification) end() (r judgement) {
	v.t.Helper()
	v.signal(syscall.SIGTERM)
	v.exit(v.t, patience)
	if err := json.Unmarshal([]byte(v.out.String()), &r); err != nil {
		v.t.Fatalf("%v: %s%s", err, v.out.String(), tail(v.log.String(), 5))
	}
	return r
}

// visitor comes and goes, one client after the other.
type visitor struct {
	stopped chan struct{}
	once    sync.Once // closes it
	done    sync.WaitGroup

	mu    sync.Mutex // guards what is below
	now   string
	count int
	why   []string
}

func (b *balanced) startVisitor() *visitor {
	v := &visitor{stopped: make(chan struct{}), now: "shard killed"}
	config := b.client()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	v.done.Go(func() {
		again := time.NewTicker(25 * time.Millisecond)
		defer again.Stop()
		for i := 0; ; i++ {
			select {
			case <-again.C:
			case <-v.stopped:
				return
			}
			began := time.Now()
			conn, err := b.from("127.0.0.9", nil, query(fmt.Sprint("visits-", i%16)))
			if err == nil {
				ws.WriteFrame(conn, ws.MaskFrameInPlace(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))) // if it is open still
				conn.Close()
			}
			v.note(err, time.Since(began))
		}
	})
	return v
}

func (v *visitor) note(err error, took time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.count++
	if err != nil {
		v.why = append(v.why, fmt.Sprintf("%s: after %s: %v", v.now, millis(took), err))
	}
}

// period names what happens from now on.
func (v *visitor) period(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = name
}

// stop ends it and returns how often it was refused.
func (v *visitor) stop() int {
	v.once.Do(func() { close(v.stopped) })
	v.done.Wait()
	return len(v.why)
}

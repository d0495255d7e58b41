package poll

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roomring/roomring/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test; a test that passes never takes it.
const patience = 20 * time.Second

// A backend is a kind of loop over a kind of network. All must keep the same
// contract.
type backend struct {
	name     string
	portable bool
	pair     func(t testing.TB) (near, far net.Conn)
	listen   func(t testing.TB) (net.Listener, func() (net.Conn, error))
}

var backends = []backend{
	{"epoll over loopback", false, tcpPair, tcpListen},
	{"twin over memory", true, memPair, memListen},
	{"twin over loopback", true, tcpPair, tcpListen},
	{"twin over memory on an epoll loop", false, memPair, memListen},
	{"twin over TLS on an epoll loop", false, tlsPair, tlsListen},
}

// each runs a test on every backend.
func each(t *testing.T, f func(t *testing.T, b backend)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) { f(t, b) })
	}
}

func tcpListen(t testing.TB) (net.Listener, func() (net.Conn, error)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
}

func memListen(t testing.TB) (net.Listener, func() (net.Conn, error)) {
	n := memnet.New()
	l, err := n.Listen("10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, func() (net.Conn, error) { return n.DialContext(context.Background(), "10.0.0.1:80") }
}

// tlsListen returns a TLS listener. Both sides shake hands when they first read
// or write: the near one in its stream's reader.
func tlsListen(t testing.TB) (net.Listener, func() (net.Conn, error)) {
	ln, dial := tcpListen(t)
	cert := certificate(t)
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}}), func() (net.Conn, error) {
		c, err := dial()
		if err != nil {
			return nil, err
		}
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true}), nil
	}
}

func certificate(t testing.TB) tls.Certificate {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

func tlsPair(t testing.TB) (near, far net.Conn) {
	near, far = pairOf(t, tlsListen)
	done := make(chan error, 1)
	go func() { done <- near.(*tls.Conn).Handshake() }()
	if err := far.(*tls.Conn).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, done); err != nil {
		t.Fatal(err)
	}
	return near, far
}

func tcpPair(t testing.TB) (near, far net.Conn) { return pairOf(t, tcpListen) }
func memPair(t testing.TB) (near, far net.Conn) { return pairOf(t, memListen) }

// pairOf returns both ends of a connection; near is for the loop.
func pairOf(t testing.TB, listen func(testing.TB) (net.Listener, func() (net.Conn, error))) (near, far net.Conn) {
	t.Helper()
	l, dial := listen(t)
	far, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	near, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { far.Close() })
	return near, far
}

// reset breaks a connection from the peer's side.
func reset(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	switch c := c.(type) {
	case *net.TCPConn:
		c.SetLinger(0)
		c.Close()
	case *memnet.Conn:
		c.Reset()
	}
}

// rig is a running loop.
type rig struct {
	t    testing.TB
	loop *Loop
	stop func() // ends Run and waits for it; may be called again
}

func start(t testing.TB, cfg Config) *rig {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != context.Canceled {
			t.Errorf("run = %v", err)
		}
	}()
	r := &rig{t: t, loop: l, stop: func() { cancel(); <-done }}
	t.Cleanup(r.stop)
	return r
}

func (b backend) start(t testing.TB, cfg Config) *rig {
	cfg.Portable = b.portable
	return start(t, cfg)
}

// do runs f on the loop and waits for it.
func (r *rig) do(f func()) {
	r.t.Helper()
	done := make(chan struct{})
	r.loop.Post(func() { defer close(done); f() })
	await(r.t, done)
}

// open opens c on the loop.
func (r *rig) open(p *probe, c net.Conn) *probe {
	r.t.Helper()
	s, err := Take(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.do(func() {
		if err := r.loop.Open(&p.conn, s, p); err != nil {
			r.t.Error(err)
		}
	})
	return p
}

// await waits for a channel to be closed or to bring something.
func await[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// probe is a handler that tells what happens to it. What a test does not set
// does the plainest thing.
type probe struct {
	conn   Conn
	data   func(p *probe, b []byte) int
	space  func(p *probe)
	eof    func(p *probe)
	events chan string // "data …", "eof", "space", "broken"
	err    error       // of broken; valid after the event
}

func newProbe() *probe { return &probe{events: make(chan string, 1<<16)} }

func (p *probe) Data(b []byte) int {
	if p.data != nil {
		return p.data(p, b)
	}
	p.events <- "data " + string(b)
	return len(b)
}

func (p *probe) EOF() {
	if p.eof != nil {
		p.eof(p)
	}
	p.events <- "eof"
}

func (p *probe) Writable() {
	if p.space != nil {
		p.space(p)
	}
	p.events <- "space"
}

func (p *probe) Broken(err error) {
	p.err = err
	p.events <- "broken"
}

// want waits for the next event, which must be this one.
func (p *probe) want(t testing.TB, event string) {
	t.Helper()
	if got := await(t, p.events); got != event {
		t.Fatalf("got %.80q, want %.80q", got, event)
	}
}

// quiet checks that nothing has happened. Call it after a do that comes after
// what could have made it happen.
func (p *probe) quiet(t testing.TB) {
	t.Helper()
	select {
	case e := <-p.events:
		t.Fatalf("got %.80q, want nothing", e)
	default:
	}
}

// send writes to the peer's end of a connection.
func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// receive reads from the peer's end of a connection.
func receive(t testing.TB, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("received %.80q, %v, want %.80q", b, err, want)
	}
}

// ends checks that the peer sees the end of the connection, in order or not.
func ends(t testing.TB, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still open")
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

var errInjected = fmt.Errorf("accept: %w", syscall.EMFILE)

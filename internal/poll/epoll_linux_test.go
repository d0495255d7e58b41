package poll

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// With no descriptor left the loop backs off and does not spin; when there are
// some again it accepts.
func TestDescriptorsExhausted(t *testing.T) {
	failures := make(chan error, 64)
	r := start(t, Config{AcceptFailed: func(err error, _ time.Duration) { failures <- err }})
	ln, dial := tcpListen(t)
	accepted := make(chan Socket, 1)
	r.do(func() {
		if err := r.loop.Listen(ln, func(s Socket) { accepted <- s }); err != nil {
			t.Fatal(err)
		}
	})
	var err error
	restore := func() {}
	for err == nil {
		var far net.Conn
		far, restore = exhaust(t, dial)
		defer far.Close()
		select {
		case err = <-failures:
		case s := <-accepted: // something of an earlier test gave a descriptor back in that moment
			restore()
			s.Close()
		}
	}
	await(t, failures)
	var wakes uint64
	r.do(func() { wakes = r.loop.Stats().Wakes })
	restore()
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("failed: %v", err)
	}
	if wakes > 100 {
		t.Errorf("%d wake-ups while backing off", wakes)
	}
	s := await(t, accepted)
	s.Close()
}

// Two loops accept from one listener; when one stops, the other has it all.
func TestLoopsShareAListener(t *testing.T) {
	ln, dial := tcpListen(t)
	const n = 200
	var count [2]int
	accepted := make(chan struct{}, 2*n)
	rigs := make([]*rig, 2)
	for i := range rigs {
		rigs[i] = start(t, Config{})
		rigs[i].do(func() {
			if err := rigs[i].loop.Listen(ln, func(s Socket) {
				count[i]++
				s.Close()
				accepted <- struct{}{}
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
	storm := func() {
		for range n {
			far, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
		}
		for range n {
			await(t, accepted)
		}
	}
	storm()
	var before int
	rigs[0].do(func() { rigs[0].loop.StopListening(); before = count[0] })
	storm()
	rigs[0].do(func() {
		if count[0] != before {
			t.Errorf("accepted %d after StopListening", count[0]-before)
		}
	})
}

// A loop that never runs out of work lets goroutines run that wait for
// sockets, although there is one processor and nobody else asks for them. The
// time is counted in wake-ups: without yielding a round trip took 500 or more.
func TestASaturatedLoopYields(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r := start(t, Config{})
	busy := true
	var work func()
	work = func() {
		for start := time.Now(); time.Since(start) < 20*time.Microsecond; {
		}
		if busy {
			r.loop.Post(work)
		}
	}
	a, b := tcpPair(t)
	defer a.Close()
	go io.Copy(a, a)
	const trips = 20
	var begin, end uint64
	r.do(func() { begin = r.loop.Stats().Wakes; work() })
	pingPong(t, b, trips)
	r.do(func() { busy, end = false, r.loop.Stats().Wakes })
	if each := (end - begin) / trips; each > 300 {
		t.Errorf("a round trip took %d wake-ups", each)
	}
}

// Of two connections that are reset in one wake-up the first closes the other,
// whose descriptor goes to a new connection: the event that is still to come
// must not break that one.
func TestAStaleEventDoesNotHitANewConn(t *testing.T) {
	r := start(t, Config{})
	fresh := newProbe()
	quiet, quietFar := tcpPair(t)
	s, err := Take(quiet)
	if err != nil {
		t.Fatal(err)
	}
	probes := []*resetProbe{{rig: r}, {rig: r}}
	fars := make([]net.Conn, 2)
	for i, p := range probes {
		p.other = probes[1-i]
		p.reopen = func(fd int32) {
			if err := unix.Dup3(int(s.fd), int(fd), unix.O_CLOEXEC); err != nil {
				t.Error(err)
			}
			s.Close()
			if err := r.loop.Open(&fresh.conn, Socket{fd: fd}, fresh); err != nil {
				t.Error(err)
			}
		}
		near, far := tcpPair(t)
		sock, err := Take(near)
		if err != nil {
			t.Fatal(err)
		}
		r.do(func() { r.loop.Open(&p.conn, sock, p) })
		fars[i] = far
	}
	r.do(func() {
		reset(fars[0])
		reset(fars[1])
	})
	r.do(func() {})
	send(t, quietFar, "hello")
	fresh.want(t, "data hello")
}

// resetProbe closes the other connection when its own is broken.
type resetProbe struct {
	conn   Conn
	rig    *rig
	other  *resetProbe
	reopen func(fd int32)
}

func (*resetProbe) Data(b []byte) int { return len(b) }
func (*resetProbe) EOF()              {}
func (*resetProbe) Writable()         {}
func (p *resetProbe) Broken(error) {
	fd := p.other.conn.fd
	p.other.conn.Close()
	p.reopen(fd)
}

// exhaust dials with the last descriptor that the process may have.
func exhaust(t *testing.T, dial func() (net.Conn, error)) (net.Conn, func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	restore := func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old) }
	t.Cleanup(restore)
	f, err := os.Open(os.DevNull) // the lowest free descriptor
	if err != nil {
		t.Fatal(err)
	}
	fd := uint64(f.Fd())
	f.Close()
	limit := old
	limit.Cur = fd + 1
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	far, err := dial()
	if err != nil {
		restore()
		t.Fatal(err)
	}
	return far, restore
}

func TestAllDescriptorsAreGivenBack(t *testing.T) {
	count := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(d)
	}
	before := count()
	for i := range 3 {
		r := start(t, Config{Tick: func(time.Time) {}})
		near, far := tcpPair(t)
		r.open(newProbe(), near)
		send(t, far, strconv.Itoa(i))
		r.stop()
		ends(t, far)
		far.Close()
	}
	// Each pair leaves its listener to the test's cleanup.
	if after := count(); after > before+3 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// Reading and writing allocate nothing.
func BenchmarkEcho(b *testing.B) {
	near, far := tcpPair(b)
	far.SetDeadline(time.Time{})
	p := newProbe()
	p.data = func(p *probe, b []byte) int { return p.conn.Write(b) }
	start(b, Config{}).open(p, near)
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		far.Write(buf)
		far.Read(buf)
	}
}

func BenchmarkPost(b *testing.B) {
	r := start(b, Config{})
	f := func() {}
	b.ReportAllocs()
	for b.Loop() {
		r.loop.Post(f)
	}
}

// TestCloseWith: a socket that nobody waits for is answered, and the peer can
// read the answer though nobody read what it had sent.
func TestCloseWith(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if _, err := peer.Write(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Take(c)
	if err != nil {
		t.Fatal(err)
	}
	s.CloseWith([]byte("no"))
	peer.SetDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(peer); string(got) != "no" || err != nil {
		t.Errorf("the peer reads %q, %v", got, err)
	}
}

// Who resets at once, as health checks of balancers do, has an address all the
// same: it may be what decides how its bytes are read.
func TestRemoteAddrOfOneThatIsGone(t *testing.T) {
	ln, dial := tcpListen(t)
	far, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	want := far.LocalAddr().String()
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	reset(far)
	r := start(t, Config{}) // only now is it accepted
	accepted := make(chan Socket, 1)
	r.do(func() {
		if err := r.loop.Listen(ln, func(s Socket) { accepted <- s }); err != nil {
			t.Fatal(err)
		}
	})
	s := await(t, accepted)
	if got := s.RemoteAddr().String(); got != want {
		t.Errorf("remote address %s, want %s", got, want)
	}
	s.Close()
}

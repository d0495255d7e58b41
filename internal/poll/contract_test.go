package poll

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"unsafe"
)

func TestConnIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 72 {
		t.Errorf("a Conn takes %d bytes, want 72 at most", size)
	}
}

func TestEcho(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		p.data = func(p *probe, b []byte) int { return p.conn.Write(b) }
		b.start(t, Config{}).open(p, near)
		for _, s := range []string{"a", "second", strings.Repeat("x", 3000)} {
			send(t, far, s)
			receive(t, far, s)
		}
	})
}

// Of each call the handler takes whole lines only; what is left comes again.
func TestLeftOverComesAgain(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		calls := make(chan string, 16)
		p.data = func(p *probe, b []byte) int {
			calls <- string(b)
			n := bytes.LastIndexByte(b, '\n') + 1
			clear(b[:n]) // b is ours until we return
			return n
		}
		r := b.start(t, Config{})
		r.open(p, near)
		for _, step := range []struct{ send, want, rest string }{
			{"hal", "hal", "hal"},
			{"f", "half", "half"},
			{" line\nnext", "half line\nnext", "next"},
			{"\n", "next\n", ""},
			{"x", "x", "x"},
		} {
			send(t, far, step.send)
			if got := await(t, calls); got != step.want {
				t.Fatalf("data %q, want %q", got, step.want)
			}
			r.do(func() {
				if string(p.conn.rest) != step.rest || (step.rest == "") != (p.conn.rest == nil) {
					t.Errorf("keeps %q, want %q", p.conn.rest, step.rest)
				}
			})
		}
	})
}

// A message larger than the read buffer is gathered as left-over bytes.
func TestLargeMessage(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
		p := newProbe()
		p.data = func(p *probe, b []byte) int {
			if len(b) < len(sent) {
				return 0
			}
			p.events <- map[bool]string{true: "same", false: "different"}[bytes.Equal(b, sent)]
			return len(b)
		}
		b.start(t, Config{}).open(p, near)
		send(t, far, string(sent))
		p.want(t, "same")
	})
}

func TestLeftOverIsBounded(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		p.data = func(*probe, []byte) int { return 0 }
		b.start(t, Config{}).open(p, near)
		go io.Copy(far, io.LimitReader(zeros{}, maxRest+bufferSize))
		p.want(t, "broken")
		if p.err != ErrRest {
			t.Errorf("broken: %v", p.err)
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Who sips is never given more than a little at once, however much there is.
func TestSipReadsLittleAtOnce(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		const total = 4 << 20
		got, most := 0, 0
		p := newProbe()
		p.data = func(p *probe, b []byte) int {
			most = max(most, len(b))
			if got += len(b); got == total {
				p.events <- "all"
			}
			return len(b)
		}
		r := b.start(t, Config{})
		r.open(p, near)
		r.do(p.conn.Sip)
		go io.Copy(far, io.LimitReader(zeros{}, total))
		p.want(t, "all")
		if most > sipSize {
			t.Errorf("%d bytes at once, want %d at most", most, sipSize)
		}
	})
}

// A paused connection is not read: the peer's writes come to a halt, and go on
// after Resume, without a byte lost.
func TestPausePushesBack(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		const total = 32 << 20 // more than all buffers between
		got := 0
		p := newProbe()
		p.data = func(p *probe, b []byte) int {
			if got += len(b); got == total {
				p.events <- "all"
			}
			return len(b)
		}
		r := b.start(t, Config{})
		r.open(p, near)
		r.do(p.conn.Pause)
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			io.Copy(far, io.LimitReader(zeros{}, total))
		}()
		for range 100 {
			r.do(func() {
				if got != 0 {
					t.Fatalf("%d bytes while paused", got)
				}
			})
		}
		select {
		case <-wrote:
			t.Fatal("the peer could write everything to a paused connection")
		default:
		}
		r.do(p.conn.Resume)
		p.want(t, "all")
		await(t, wrote)
	})
}

func TestResumeHandsLeftOverAgain(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		p.data = func(p *probe, b []byte) int { // one byte, then pause
			p.events <- "data " + string(b)
			p.conn.Pause()
			return 1
		}
		r := b.start(t, Config{})
		r.open(p, near)
		send(t, far, "abc")
		p.want(t, "data abc")
		r.do(p.conn.Resume)
		p.want(t, "data bc")
		r.do(p.conn.Resume)
		p.want(t, "data c")
		send(t, far, "d")
		far.Close()
		r.do(func() {})
		p.quiet(t)
		r.do(p.conn.Resume)
		p.want(t, "data d")
		r.do(p.conn.Resume)
		p.want(t, "eof")
	})
}

// Bytes that a paused connection got before its peer left in order are there
// after the Resume, even when both directions are closed meanwhile.
func TestEndWhilePausedLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		r := b.start(t, Config{})
		r.open(p, near)
		r.do(func() { p.conn.Pause(); p.conn.CloseWrite() })
		send(t, far, "last words")
		far.Close()
		for range 10 {
			r.do(func() {})
		}
		p.quiet(t)
		r.do(p.conn.Resume)
		p.want(t, "data last words")
		p.want(t, "eof")
		p.want(t, "broken")
		if p.err != ErrFinished {
			t.Errorf("broken: %v", p.err)
		}
	})
}

// A short Write is followed by one Writable when there is space.
func TestShortWriteThenWritable(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		const total = 16 << 20
		chunk := make([]byte, 128<<10)
		sent := 0
		p := newProbe()
		pump := func() {
			for sent < total {
				n := p.conn.Write(chunk[:min(len(chunk), total-sent)])
				sent += n
				if n < len(chunk) {
					return
				}
			}
		}
		p.space = func(*probe) { pump() }
		r := b.start(t, Config{})
		r.open(p, near)
		r.do(pump)
		r.do(func() {
			if sent == 0 || sent == total {
				t.Fatalf("%d bytes went into the buffers", sent)
			}
		})
		if n, err := io.CopyN(io.Discard, far, total); err != nil {
			t.Fatalf("received %d bytes, %v", n, err)
		}
		r.do(func() {
			if sent != total || p.conn.flags&short != 0 {
				t.Errorf("sent %d of %d, flags %b", sent, total, p.conn.flags)
			}
			n := uint64(len(p.events))
			if s := r.loop.Stats(); n == 0 || n > s.ShortWrites {
				t.Errorf("%d Writable for %d short writes", n, s.ShortWrites)
			}
		})
	})
}

func TestEOFComesAfterAllDataAndWritingGoesOn(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		r := b.start(t, Config{})
		r.open(p, near)
		send(t, far, "question")
		far.(interface{ CloseWrite() error }).CloseWrite()
		p.want(t, "data question")
		p.want(t, "eof")
		r.do(func() {
			if n := p.conn.Write([]byte("answer")); n != 6 {
				t.Errorf("write after EOF took %d", n)
			}
			p.conn.CloseWrite()
		})
		receive(t, far, "answer")
		ends(t, far)
		p.want(t, "broken")
		if p.err != ErrFinished {
			t.Errorf("broken: %v", p.err)
		}
	})
}

func TestResetIsBroken(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		for _, pause := range []bool{false, true} {
			near, far := b.pair(t)
			p := newProbe()
			r := b.start(t, Config{})
			r.open(p, near)
			if pause {
				r.do(p.conn.Pause)
			}
			reset(far)
			p.want(t, "broken")
			if !isReset(p.err) {
				t.Errorf("paused %v: broken: %v", pause, p.err)
			}
			r.do(func() {
				if !p.conn.Closed() || r.loop.Stats().Conns != 0 {
					t.Error("still open")
				}
				if n := p.conn.Write([]byte("x")); n != 0 {
					t.Errorf("write took %d", n)
				}
			})
			p.quiet(t)
		}
	})
}

// A Write that fails returns, and Broken comes from the loop.
func TestFailedWriteIsBrokenLater(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		r := b.start(t, Config{})
		r.open(p, near)
		r.do(func() {
			p.conn.Pause()
			reset(far)
			for range 3 {
				p.conn.Write([]byte("x"))
			}
			if len(p.events) != 0 {
				t.Error("broken from inside Write")
			}
		})
		p.want(t, "broken")
		r.do(func() {})
		p.quiet(t)
	})
}

func TestCloseSendsWhatWasTaken(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		r := b.start(t, Config{})
		r.open(p, near)
		want := strings.Repeat("bye ", 10_000)
		r.do(func() {
			if n := p.conn.Write([]byte(want)); n != len(want) {
				t.Errorf("write took %d", n)
			}
			p.conn.Close()
			p.conn.Close()
		})
		receive(t, far, want)
		ends(t, far)
		p.quiet(t)
	})
}

// Connections that a handler closes while events for them are under way hear
// nothing any more.
func TestCloseOthersInsideACallback(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		const n = 50
		r := b.start(t, Config{})
		probes, fars := make([]*probe, n), make([]net.Conn, n)
		served := 0
		for i := range probes {
			probes[i] = newProbe()
			probes[i].data = func(_ *probe, b []byte) int {
				served++
				for _, q := range probes {
					q.conn.Close()
				}
				return len(b) + 1 // ignored: the connection is closed
			}
			near, far := b.pair(t)
			r.open(probes[i], near)
			fars[i] = far
		}
		r.do(func() { // all become readable in one wake-up
			for _, far := range fars {
				send(t, far, "x")
			}
		})
		for _, far := range fars {
			ends(t, far)
		}
		r.do(func() {
			if served != 1 || r.loop.Stats().Panics != 0 {
				t.Errorf("%d handlers served, %d panics", served, r.loop.Stats().Panics)
			}
		})
	})
}

// Who goes on writing to a peer that has left altogether hears of it.
func TestWriteToAPeerThatLeft(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		p := newProbe()
		r := b.start(t, Config{})
		r.open(p, near)
		far.Close()
		p.want(t, "eof")
		r.do(func() { p.conn.Write([]byte("anybody?")) })
		var again func()
		again = func() { // the kernel learns it from the answer to the first
			if !p.conn.Closed() {
				p.conn.Write([]byte("!"))
				r.loop.Post(again)
			}
		}
		r.loop.Post(again)
		p.want(t, "broken")
		if !isReset(p.err) {
			t.Errorf("broken: %v", p.err)
		}
	})
}

func TestReleaseToAnotherLoop(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		first, second := b.start(t, Config{}), b.start(t, Config{})
		p, q := newProbe(), newProbe()
		p.data = func(p *probe, b []byte) int { // the handshake is one line
			if !bytes.Contains(b, []byte("\n")) {
				p.events <- "half"
				return 0
			}
			rest := bytes.Clone(b[bytes.IndexByte(b, '\n')+1:])
			s, more := p.conn.Release()
			if more != nil {
				t.Errorf("release inside Data returned %q", more)
			}
			second.loop.Post(func() {
				if err := second.loop.OpenWith(&p.conn, s, q, rest); err != nil {
					t.Error(err)
				}
			})
			return -1 // ignored
		}
		first.open(p, near)
		send(t, far, "hel")
		p.want(t, "half")
		send(t, far, "lo\nmessage")
		q.want(t, "data message")
		send(t, far, "another")
		q.want(t, "data another")
		second.do(func() { p.conn.Write([]byte("answer")) })
		receive(t, far, "answer")
		p.quiet(t)
		first.do(func() {
			if n := first.loop.Stats().Conns; n != 0 {
				t.Errorf("%d connections on the first loop", n)
			}
		})
	})
}

// Outside of Data, Release returns what was left over; what came meanwhile,
// and the end, is found by the next loop.
func TestReleasePaused(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		first, second := b.start(t, Config{}), b.start(t, Config{})
		p, q := newProbe(), newProbe()
		p.data = func(p *probe, b []byte) int {
			p.conn.Pause()
			p.events <- "paused"
			return 1
		}
		q.data = func(q *probe, b []byte) int {
			if string(b) == "bcd" {
				q.events <- "data bcd"
				return 3
			}
			return 0
		}
		first.open(p, near)
		send(t, far, "ab")
		p.want(t, "paused")
		send(t, far, "cd")
		far.Close()
		var s Socket
		var rest []byte
		first.do(func() { s, rest = p.conn.Release() })
		if string(rest) != "b" {
			t.Errorf("release returned %q", rest)
		}
		second.do(func() { second.loop.OpenWith(&q.conn, s, q, rest) })
		q.want(t, "data bcd")
		q.want(t, "eof")
	})
}

func TestAPanicCostsItsConnectionOnly(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		told := make(chan any, 8)
		r := b.start(t, Config{Panic: func(v any) { told <- v }})
		good := newProbe()
		near, goodFar := b.pair(t)
		r.open(good, near)
		for _, where := range []string{"data", "eof", "impossible count"} {
			near, far := b.pair(t)
			bad := newProbe()
			bad.data = func(_ *probe, b []byte) int {
				if where == "data" {
					panic(where)
				}
				if where == "impossible count" {
					return len(b) + 1
				}
				return len(b)
			}
			bad.eof = func(*probe) { panic(where) }
			r.open(bad, near)
			send(t, far, "x")
			far.(interface{ CloseWrite() error }).CloseWrite()
			bad.want(t, "broken")
			if bad.err != ErrPanic {
				t.Errorf("%s: broken: %v", where, bad.err)
			}
			await(t, told)
			ends(t, far)
			send(t, goodFar, "still there?")
			good.want(t, "data still there?")
		}
		r.do(func() {
			if n := r.loop.Stats().Panics; n != 3 {
				t.Errorf("%d panics counted", n)
			}
		})
	})
}

func TestThousandsOfConns(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		n := 1500
		if strings.Contains(b.name, "TLS") {
			n = 100
		}
		l, dial := b.listen(t)
		r := b.start(t, Config{})
		conns := make([]probe, 0, n)
		r.do(func() {
			err := r.loop.Listen(l, func(s Socket) {
				conns = append(conns, probe{events: make(chan string, 4)})
				p := &conns[len(conns)-1]
				p.data = func(p *probe, b []byte) int { return p.conn.Write(b) }
				if err := r.loop.Open(&p.conn, s, p); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
		fars := make([]net.Conn, n)
		for i := range fars {
			var err error
			if fars[i], err = dial(); err != nil {
				t.Fatal(err)
			}
			defer fars[i].Close()
			send(t, fars[i], "in")
		}
		for _, far := range fars {
			receive(t, far, "in")
			send(t, far, "again")
		}
		for _, far := range fars {
			receive(t, far, "again")
		}
		r.stop()
		for _, far := range fars {
			ends(t, far)
		}
	})
}

func TestRemoteAddr(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		near, far := b.pair(t)
		want := netip.MustParseAddrPort(far.LocalAddr().String())
		s, err := Take(near)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.RemoteAddr(); got != want {
			t.Errorf("remote address %v, want %v", got, want)
		}
		s.Close()
		ends(t, far)
	})
	var none Socket
	none.Close()
	if none.RemoteAddr().IsValid() {
		t.Error("an empty socket has an address")
	}
	if got := addrPort(&net.TCPAddr{IP: net.ParseIP("::ffff:10.1.2.3"), Port: 4}); got.String() != "10.1.2.3:4" {
		t.Errorf("mapped address is %v", got)
	}
}

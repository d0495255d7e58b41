package link

import (
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/proto"
)

// TestProbe: what a probe for s1 makes of who is at its address.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(d, a *Config)
		want Fate
	}{
		{"itself", func(d, a *Config) {}, FateAlive},
		{"itself, with a key", func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyA} }, FateAlive},
		{"itself, with TLS", func(d, a *Config) { ca := newAuthority(t); d.TLS, a.TLS = ca.tls(), ca.tls() }, FateAlive},
		{"itself, in another generation", func(d, a *Config) { d.Founding, a.Founding = founded(1, 1), founded(1, 2) }, FateAlive},
		{"itself, in another instance", func(d, a *Config) { d.Founding, a.Founding = founded(1, 1), founded(2, 1) }, FateAlive},
		{"the next run", func(d, a *Config) { a.Self = s1b }, FateReplaced},
		{"the next run, with a key", func(d, a *Config) { a.Self, d.Keys, a.Keys = s1b, [][]byte{keyA}, [][]byte{keyA} }, FateReplaced},
		{"the next run, in another instance", func(d, a *Config) { a.Self, d.Founding, a.Founding = s1b, founded(1, 1), founded(2, 0) }, FateReplaced},
		{"the next run of the prober itself", func(d, a *Config) { d.Self, d.Role, a.Self = s1b, proto.RoleShard, s1b }, FateReplaced},
		{"somebody else", func(d, a *Config) { a.Self = s2 }, FateOther},
		{"another cluster", func(d, a *Config) { a.Cluster = "test" }, FateOther},
		{"the next run, of another cluster", func(d, a *Config) { a.Self, a.Cluster = s1b, "test" }, FateOther},

		{"the next run, with another key", func(d, a *Config) { a.Self, d.Keys, a.Keys = s1b, [][]byte{keyA}, [][]byte{keyB} }, FateUnknown},
		{"the next run, without a key", func(d, a *Config) { a.Self, d.Keys = s1b, [][]byte{keyA} }, FateUnknown},
		{"the next run, and we have no key", func(d, a *Config) { a.Self, a.Keys = s1b, [][]byte{keyA} }, FateUnknown},
		{"another cluster, with another key", func(d, a *Config) { a.Cluster, d.Keys, a.Keys = "test", [][]byte{keyA}, [][]byte{keyB} }, FateUnknown},
		{"the next run, of another authority", func(d, a *Config) { a.Self, d.TLS, a.TLS = s1b, newAuthority(t).tls(), newAuthority(t).tls() }, FateUnknown},
		{"the next run, of another protocol", func(d, a *Config) { a.Self, a.VersionMin, a.VersionMax = s1b, 2, 2 }, FateUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memnet.New()
				d, a := routerConfig(), shardConfig()
				c.edit(&d, &a)
				r, s := launch(t, n, ipR, d, 1), launch(t, n, ipS, a, 1)
				began := time.Now()
				if f := r.mesh.Probe(t.Context(), s1, s.addr); f != c.want {
					t.Errorf("probe = %s, want %s", f, c.want)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("took %s", took)
				}
				synctest.Wait()
				if st := s.mesh.Stats(); st.Open != 0 || st.Hellos != 0 || r.mesh.Stats().Probes != 1 {
					t.Errorf("stats %+v", st)
				}
			})
		})
	}
}

// TestProbeWithoutAnswer: refused at once when nobody listens, unknown after a
// second when nothing is said, sooner when not even the host answers, and at
// once when the conn ends.
func TestProbeWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		r := launch(t, n, ipR, routerConfig(), 1)
		probe := func(ctx context.Context, addr string) (Fate, time.Duration) {
			began := time.Now()
			return r.mesh.Probe(ctx, s1, addr), time.Since(began)
		}
		check := func(what string, f Fate, took time.Duration, wantFate Fate, want time.Duration) {
			t.Helper()
			if f != wantFate || took != want {
				t.Errorf("%s: %s after %s, want %s after %s", what, f, took, wantFate, want)
			}
		}
		silent := mute(t, n)
		f, took := probe(t.Context(), net.JoinHostPort(ipS, linkPort))
		check("nobody listens", f, took, FateRefused, 0)
		f, took = probe(t.Context(), silent)
		check("nothing is said", f, took, FateUnknown, probeTime)
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		f, took = probe(short, silent)
		check("cancelled", f, took, FateUnknown, 100*time.Millisecond)
		n.Delay(ipR, "10.0.0.9", 600*time.Millisecond)
		f, took = probe(t.Context(), silent)
		check("slow connect", f, took, FateUnknown, knockTime)
		n.Cut(ipR, ipS)
		f, took = probe(t.Context(), net.JoinHostPort(ipS, linkPort))
		check("cut off", f, took, FateUnknown, knockTime)
		f, took = probe(t.Context(), "no address")
		check("no address", f, took, FateUnknown, 0)

		ln := must(n.Listen("10.0.0.8:7400"))
		defer ln.Close()
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				c.(*memnet.Conn).Reset()
			}
		}()
		f, took = probe(t.Context(), "10.0.0.8:7400")
		check("reset in the hello", f, took, FateUnknown, 0)
	})
}

// TestImpostor: an answer in the name of the next run counts for nothing without
// the key, whatever it says of keys.
func TestImpostor(t *testing.T) {
	for name, c := range map[string]struct {
		flags   uint8
		proof   []byte
		cluster string
	}{
		"junk for a proof":          {flagKeyed, make([]byte, proofSize), defaultName},
		"no proof":                  {flagKeyed, nil, defaultName},
		"no key":                    {0, nil, defaultName},
		"another cluster, no proof": {flagKeyed, make([]byte, proofSize), "test"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := memnet.New()
				d := routerConfig()
				d.Keys = [][]byte{keyA}
				r := launch(t, n, ipR, d, 1)
				ln := must(n.Listen(net.JoinHostPort(ipS, linkPort)))
				defer ln.Close()
				done := make(chan struct{})
				go func() {
					defer close(done)
					conn := must(ln.Accept())
					defer conn.Close()
					a := must(Config{Self: s1b, Role: proto.RoleShard, Cluster: c.cluster}.filled())
					x := exchange{conn: conn, cfg: a}
					x.read(proto.FrameHello)
					h := x.mine(PurposeProbe, r1, 0)
					h.Flags = c.flags
					conn.Write(AppendAnswer(nil, &Answer{Proof: c.proof, Hello: h}))
					drain(conn)
				}()
				if f := r.mesh.Probe(t.Context(), s1, ln.Addr().String()); f != FateUnknown {
					t.Errorf("probe = %s", f)
				}
				<-done
			})
		})
	}
}

// TestProbeTellsNoMore: who has no key hears no more from a probe than from any
// other hello: the refusal with both names, and no Answer.
func TestProbeTellsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, purpose := range []Purpose{PurposeFrames, PurposeStream, PurposeProbe} {
			d, a := routerConfig(), voter(s1, founded(1, 1), &inbox{})
			a.Keys = [][]byte{keyA}
			x := exchange{cfg: must(d.filled())}
			h := x.mine(purpose, s1b, 0)
			want := AppendRefuse(nil, refuse(ReasonKey, "%s has a cluster key and %s has none", s1, r1))
			left, right := net.Pipe()
			heard := make(chan string)
			go func() {
				left.Write(AppendHello(nil, &h))
				b := make([]byte, maxHello)
				size, _ := left.Read(b)
				left.Close()
				heard <- string(b[:size])
			}()
			if _, _, err := Accept(t.Context(), right, a); err == nil {
				t.Errorf("%s: accepted", purpose)
			}
			if got := <-heard; got != string(want) {
				t.Errorf("%s: heard %q, want %q", purpose, got, want)
			}
		}
	})
}

// TestProbeIsQuiet: probes are no event for who is probed.
func TestProbeIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		core, logs := observer.New(zap.DebugLevel)
		a := shardConfig()
		a.Logger = zap.New(core)
		r, s := launch(t, n, ipR, routerConfig(), 1), launch(t, n, ipS, a, 1)
		for range 100 {
			r.mesh.Probe(t.Context(), s1b, s.addr)
			synctest.Wait()
		}
		if logs.Len() > 0 || s.mesh.Stats().Refused != [reasons]uint64{} || s.mesh.Stats().Hellos != 0 {
			t.Errorf("logged %v, stats %+v", logs.All(), s.mesh.Stats())
		}
	})
}

// TestRefusedByHost: what counts as a refusal on each system, and that of a name
// each address must refuse: where one only is silent, the node may live.
func TestRefusedByHost(t *testing.T) {
	dial := func(op string, err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError(op, err)}
	}
	refused := dial("connect", syscall.ECONNREFUSED)
	for _, c := range []struct {
		name, addr       string
		byName, byNumber error
		want             Fate
	}{
		{"unix", "10.0.0.2:7400", nil, refused, FateRefused},
		{"windows", "10.0.0.2:7400", nil, dial("connectex", syscall.Errno(10061)), FateRefused},
		{"reset", "10.0.0.2:7400", nil, dial("connect", syscall.ECONNRESET), FateUnknown},
		{"unreachable", "10.0.0.2:7400", nil, dial("connect", syscall.EHOSTUNREACH), FateUnknown},
		{"a name of which all refuse", "localhost:7400", refused, refused, FateRefused},
		{"a name of which one is silent", "localhost:7400", refused, context.DeadlineExceeded, FateUnknown},
		{"a name that is none", "no name:7400", refused, refused, FateUnknown},
	} {
		cfg := routerConfig()
		cfg.Dial = func(_ context.Context, addr string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(addr); net.ParseIP(host) == nil {
				return nil, c.byName
			}
			return nil, c.byNumber
		}
		s := &station{t: t}
		cfg.Lanes = 0
		s.build(cfg, 1, true)
		if f := s.mesh.Probe(t.Context(), s1, c.addr); f != c.want {
			t.Errorf("%s: %s, want %s", c.name, f, c.want)
		}
	}
}

// TestProbeLoopback: a real kernel refuses, and a real node answers, under an
// address and under a name.
func TestProbeLoopback(t *testing.T) {
	r, s := launch(t, nil, "127.0.0.1", routerConfig(), 1), launch(t, nil, "127.0.0.1", shardConfig(), 1)
	// A conn has this port, so nobody else can come to listen there.
	c := must(net.Dial("tcp", s.addr))
	defer c.Close()
	free := c.LocalAddr().String()
	_, port, _ := net.SplitHostPort(s.addr)
	_, closed, _ := net.SplitHostPort(free)
	probe := func(name proto.NodeName, addr string) (f Fate) {
		for range 30 { // a busy machine may be too slow for one
			if f = r.mesh.Probe(t.Context(), name, addr); f != FateUnknown {
				break
			}
		}
		return f
	}
	for addr, want := range map[string]Fate{
		s.addr: FateAlive, net.JoinHostPort("localhost", port): FateAlive,
		free: FateRefused, net.JoinHostPort("localhost", closed): FateRefused,
	} {
		if f := probe(s1, addr); f != want {
			t.Errorf("probe of %s = %s, want %s", addr, f, want)
		}
	}
	if f := probe(s1b, s.addr); f != FateReplaced {
		t.Errorf("probe of the former run = %s", f)
	}
}

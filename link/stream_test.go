package link

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/proto"
)

var s2 = proto.MakeNodeName("s2", 4)

// converseFor is converse for any purpose.
func converseFor(purpose Purpose, d, a Config, target proto.NodeName) (dialer, acceptor outcome) {
	left, right := net.Pipe()
	done := make(chan outcome)
	go func() {
		c, p, err := Accept(context.Background(), right, a)
		if err == nil {
			c.Close()
		}
		done <- outcome{p, err}
	}()
	talk := func(x *exchange) (Peer, error) { return x.open(purpose, target, 0) }
	c, p, err := run(context.Background(), left, must(d.filled()), true, talk)
	if err == nil {
		c.Close()
	}
	return outcome{p, err}, <-done
}

// voter is a shard of a founding that takes streams.
func voter(self proto.NodeName, founding func() proto.Founding, taken *inbox) Config {
	cfg := Config{Self: self, Role: proto.RoleShard, Founding: founding}
	if taken != nil {
		cfg.Stream = taken.take
	}
	return cfg
}

// inbox is who takes streams.
type inbox struct {
	mu    sync.Mutex
	conns []net.Conn
	peers []Peer
}

func (x *inbox) take(c net.Conn, p Peer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conns, x.peers = append(x.conns, c), append(x.peers, p)
}

func (x *inbox) all() ([]net.Conn, []Peer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.conns, x.peers
}

// TestStreamRefusals: only the very run that is meant, in the very founding,
// opens a stream; both sides say why not in the same sentence.
func TestStreamRefusals(t *testing.T) {
	const one, two = "01000000000000000000000000000000", "02000000000000000000000000000000"
	for _, c := range []struct {
		name   string
		edit   func(d, a *Config)
		target proto.NodeName
		reason Reason // ReasonNone: no refusal
		text   string
	}{
		{name: "right", target: s1},
		{name: "a router dials", target: s1, edit: func(d, a *Config) { d.Self, d.Role = r1, proto.RoleRouter }},
		{name: "unnamed", target: "",
			reason: ReasonTarget, text: "D dialed A for a stream without asking for it by name"},
		{name: "another run", target: s1b,
			reason: ReasonTarget, text: "D asked for s1/0000000000003 but this is A"},
		{name: "another run that lost its memory", target: s1b, edit: func(d, a *Config) { a.Founding = nil },
			reason: ReasonTarget, text: "D asked for s1/0000000000003 but this is A"},
		{name: "acceptor without instance", target: s1, edit: func(d, a *Config) { a.Founding = nil },
			reason: ReasonInstance, text: "a stream needs an instance at both ends: D is in " + one + " and A is in none"},
		{name: "dialer without instance", target: s1, edit: func(d, a *Config) { d.Founding = nil },
			reason: ReasonInstance, text: "a stream needs an instance at both ends: D is in none and A is in " + one},
		{name: "neither has one", target: s1, edit: func(d, a *Config) { d.Founding, a.Founding = nil, nil },
			reason: ReasonInstance, text: "a stream needs an instance at both ends: D is in none and A is in none"},
		{name: "another instance", target: s1, edit: func(d, a *Config) { a.Founding = founded(2, 7) },
			reason: ReasonInstance, text: "cluster instances differ: D is in " + one + " and A is in " + two},
		{name: "older generation", target: s1, edit: func(d, a *Config) { a.Founding = founded(1, 6) },
			reason: ReasonGeneration, text: "generations of the cluster differ: D is in 7 and A is in 6"},
		{name: "newer generation", target: s1, edit: func(d, a *Config) { a.Founding = founded(1, 8) },
			reason: ReasonGeneration, text: "generations of the cluster differ: D is in 7 and A is in 8"},
		{name: "itself", target: s1, edit: func(d, a *Config) { d.Self = s1b },
			reason: ReasonName, text: "two nodes have the id s1: s1/0000000000003 dialed A"},
		{name: "key", target: s1, edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyB} },
			reason: ReasonKey, text: "the cluster keys of D and A differ"},
		{name: "cluster", target: s1, edit: func(d, a *Config) { a.Cluster = "test" },
			reason: ReasonCluster, text: `cluster names differ: D is in "default" and A is in "test"`},
		{name: "versions", target: s1, edit: func(d, a *Config) { a.VersionMin, a.VersionMax = 2, 3 },
			reason: ReasonVersion, text: "no common protocol version: D speaks 1 to 1 and A speaks 2 to 3"},
		{name: "nobody takes it", target: s1, edit: func(d, a *Config) { a.Stream = nil },
			reason: ReasonPurpose, text: "D dialed A for a stream, which takes none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, a := voter(s2, founded(1, 7), nil), voter(s1, founded(1, 7), &inbox{})
				if c.edit != nil {
					c.edit(&d, &a)
				}
				do, ao := converseFor(PurposeStream, d, a, c.target)
				if c.reason == ReasonNone {
					if do.err != nil || ao.err != nil {
						t.Fatalf("open: %v, accept: %v", do.err, ao.err)
					}
					if ao.peer.Purpose != PurposeStream || ao.peer.Name != d.Self || ao.peer.Founding != d.Founding() {
						t.Errorf("acceptor sees %+v", ao.peer)
					}
					return
				}
				text := strings.NewReplacer("D ", string(s2)+" ", "A ", string(s1)+" ").Replace(c.text + " ")
				for _, err := range []error{do.err, ao.err} {
					var r *Refusal
					if !errors.As(err, &r) || r.Reason != c.reason || r.Text+" " != strings.ReplaceAll(text, "A,", string(s1)+",") {
						t.Errorf("have %v\nwant %s: %s", err, c.reason, text)
					}
				}
			})
		})
	}
}

// voters is two shards of one founding.
func voters(t *testing.T, edit func(d, a *Config)) (n *memnet.Network, x, y *station, at *inbox) {
	n, at = memnet.New(), &inbox{}
	d, a := voter(s2, founded(1, 7), nil), voter(s1, founded(1, 7), at)
	if edit != nil {
		edit(&d, &a)
	}
	return n, launch(t, n, ipT, d, 1), launch(t, n, ipS, a, 1), at
}

// TestStream: bytes go both ways, as they are, however long nothing was said;
// what was closed gives its place free.
func TestStream(t *testing.T) {
	for name, edit := range map[string]func(d, a *Config){
		"plain": nil,
		"key":   func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyA} },
		"tls": func(d, a *Config) {
			ours := newAuthority(t)
			d.TLS, a.TLS = ours.tls(), ours.tls()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, x, y, at := voters(t, edit)
				near, err := x.mesh.DialStream(t.Context(), s1, y.addr)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				conns, peers := at.all()
				if len(conns) != 1 || peers[0].Name != s2 || peers[0].Purpose != PurposeStream || peers[0].Dialed {
					t.Fatalf("taken: %+v", peers)
				}
				for _, pair := range [][2]net.Conn{{near, conns[0]}, {conns[0], near}} {
					time.Sleep(time.Hour) // fake time: no deadline is left of the hello
					go io.WriteString(pair[0], "bytes")
					b := make([]byte, 5)
					if _, err := io.ReadFull(pair[1], b); err != nil || string(b) != "bytes" {
						t.Fatalf("read %q, %v", b, err)
					}
				}
				if a, b := x.mesh.Stats(), y.mesh.Stats(); a.Streams != 1 || b.Streams != 1 || b.Hellos != 0 || a.Open+b.Open != 0 {
					t.Errorf("stats %+v and %+v", a, b)
				}
				near.Close()
				near.Close()
				if _, err := io.ReadAll(conns[0]); err != nil {
					t.Errorf("the other end: %v", err)
				}
				conns[0].Close()
				if a, b := x.mesh.Stats(), y.mesh.Stats(); a.Streams != 0 || b.Streams != 0 {
					t.Errorf("streams left: %d and %d", a.Streams, b.Streams)
				}
			})
		})
	}
}

// TestEmptiedNode: a process that came back empty at its old address is dialed
// under its former name. It must not get a single byte that was meant for its
// former self: it would vote for it.
func TestEmptiedNode(t *testing.T) {
	for name, founding := range map[string]func() proto.Founding{
		"knows nothing":          nil,
		"has learned of it anew": founded(1, 7),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, x, y, at := voters(t, nil)
				before, err := x.mesh.DialStream(t.Context(), s1, y.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer before.Close()
				synctest.Wait()
				y.end()
				conns, _ := at.all()
				conns[0].Close()
				empty := &inbox{}
				again := launch(t, n, ipS, voter(s1b, founding, empty), 1)

				_, err = x.mesh.DialStream(t.Context(), s1, again.addr)
				var r *Refusal
				if !errors.As(err, &r) || r.Reason != ReasonTarget {
					t.Errorf("dial stream = %v", err)
				}
				// Nor does it help to be quick: bytes right behind the proof.
				c, err := n.Host(ipT).DialContext(t.Context(), again.addr)
				if err != nil {
					t.Fatal(err)
				}
				e := exchange{conn: c, cfg: x.mesh.cfg}
				h := e.mine(PurposeStream, s1, 0)
				c.Write(append(AppendProof(AppendHello(nil, &h), nil), "vote for s1"...))
				io.Copy(io.Discard, c)
				c.Close()
				synctest.Wait()
				if conns, _ := empty.all(); len(conns) != 0 || again.mesh.Stats().Streams != 0 {
					t.Errorf("%d streams were opened", len(conns))
				}
				if got := again.mesh.Stats().Refused[ReasonTarget]; got != 2 {
					t.Errorf("refused %d times", got)
				}
			})
		})
	}
}

// TestStreamBound: beyond 256 accepted streams the next is refused, until one
// ends; hellos, and so links and probes, are not kept out.
func TestStreamBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, x, y, at := voters(t, nil)
		dial := func() (net.Conn, error) { return x.mesh.DialStream(t.Context(), s1, y.addr) }
		for range maxStreams {
			if _, err := dial(); err != nil {
				t.Fatal(err)
			}
		}
		_, err := dial()
		wantReason(t, "one too many", err, ReasonBusy)
		if f := x.mesh.Probe(t.Context(), s1, y.addr); f != FateAlive {
			t.Errorf("probe = %s", f)
		}
		synctest.Wait()
		if s := y.mesh.Stats(); s.Streams != maxStreams || s.Hellos != 0 {
			t.Errorf("%d streams, %d hellos", s.Streams, s.Hellos)
		}
		conns, _ := at.all()
		conns[7].Close()
		if _, err := dial(); err != nil {
			t.Errorf("after one has ended: %v", err)
		}
	})
}

// TestLeaveEndsStreams: a node that says that it leaves says nothing behind that,
// on any stream, and opens none.
func TestLeaveEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, x, y, at := voters(t, func(d, _ *Config) { d.Stream = (&inbox{}).take })
		near, err := x.mesh.DialStream(t.Context(), s1, y.addr)
		if err != nil {
			t.Fatal(err)
		}
		back, err := y.mesh.DialStream(t.Context(), s2, x.addr)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := y.mesh.Leave(t.Context(), "draining"); err != nil {
			t.Fatal(err)
		}
		conns, _ := at.all()
		for name, c := range map[string]net.Conn{"accepted": conns[0], "dialed": back} {
			if _, err := c.Write([]byte("more")); err == nil {
				t.Errorf("%s: writes go through", name)
			}
			c.Close()
		}
		if b, _ := io.ReadAll(near); len(b) > 0 {
			t.Errorf("the other end got %q", b)
		}
		if _, err := y.mesh.DialStream(t.Context(), s2, x.addr); !errors.Is(err, errStopped) {
			t.Errorf("dial after leaving: %v", err)
		}
		_, err = x.mesh.DialStream(t.Context(), s1, y.addr)
		wantReason(t, "dial who has left", err, ReasonBusy)
		if n := y.mesh.Stats().Streams; n != 0 {
			t.Errorf("%d streams left", n)
		}
	})
}

// TestDialStreamEnds: in a network that swallows everything a dial takes a
// second, a hello five, and both end with their context.
func TestDialStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, x, y, _ := voters(t, nil)
		took := func(ctx context.Context, addr string) time.Duration {
			began := time.Now()
			if _, err := x.mesh.DialStream(ctx, s1, addr); err == nil {
				t.Error("a stream came up")
			}
			return time.Since(began)
		}
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if d := took(short, mute(t, n)); d != 300*time.Millisecond {
			t.Errorf("a hello that was cancelled took %s", d)
		}
		if d := took(t.Context(), mute(t, n)); d != helloTime {
			t.Errorf("a hello that is not answered took %s", d)
		}
		n.Cut(ipT, ipS)
		if d := took(t.Context(), y.addr); d != dialTime {
			t.Errorf("a dial into the void took %s", d)
		}
		if s := x.mesh.Stats(); s.Streams != 0 || s.DialFailures != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

// mute is the address of a listener that accepts and says nothing.
func mute(t *testing.T, n *memnet.Network) string {
	ln := must(n.Listen("10.0.0.9:0"))
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// TestStreamEvicted: a flood of hellos that say nothing ends no stream.
func TestStreamEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, x, y, at := voters(t, nil)
		near, err := x.mesh.DialStream(t.Context(), s1, y.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		for range 2 * maxHellos {
			c := must(n.Host(ipR).DialContext(t.Context(), y.addr))
			defer c.Close()
		}
		synctest.Wait()
		conns, _ := at.all()
		go io.WriteString(near, "on")
		b := make([]byte, 2)
		if _, err := io.ReadFull(conns[0], b); err != nil {
			t.Errorf("the stream ended: %v", err)
		}
	})
}

// TestStreamWelcomed: who reads a Welcome relies on it, so a flood that comes with it ends nothing.
func TestStreamWelcomed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, x, y, at := voters(t, nil)
		ln := must(n.Listen("10.0.0.9:0"))
		defer ln.Close()
		go func() {
			c := &flooded{Conn: must(ln.Accept()), hellos: &y.mesh.hellos}
			y.mesh.hellos.add(c)
			y.mesh.accept(t.Context(), c)
		}()
		near, err := x.mesh.DialStream(t.Context(), s1, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		synctest.Wait()
		conns, _ := at.all()
		go io.WriteString(near, "on")
		b := make([]byte, 2)
		if _, err := io.ReadFull(conns[0], b); err != nil {
			t.Errorf("the stream ended: %v", err)
		}
		if n := y.mesh.Stats().Hellos; n != maxHellos {
			t.Errorf("%d hellos under way, want %d: there was no flood", n, maxHellos)
		}
	})
}

// flooded is a conn with whose Welcome as many others come as have space.
type flooded struct {
	net.Conn
	hellos *hellos
}

func (c *flooded) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if typ, _, e := proto.ParseHeader(b); e == nil && typ == proto.FrameWelcome {
		for range maxHellos {
			other, _ := net.Pipe()
			c.hellos.add(other)
		}
	}
	return n, err
}

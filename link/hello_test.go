package link

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/proto"
)

var update = flag.Bool("update", false, "rewrite testdata/hello.txt")

var (
	r1   = proto.MakeNodeName("r1", 1)
	s1   = proto.MakeNodeName("s1", 2)
	s1b  = proto.MakeNodeName("s1", 3)
	keyA = bytes.Repeat([]byte{0xa}, 32)
	keyB = bytes.Repeat([]byte{0xb}, 32)
	keyC = bytes.Repeat([]byte{0xc}, 32)
)

func routerConfig() Config { return Config{Self: r1, Role: proto.RoleRouter, Lanes: 2} }
func shardConfig() Config  { return Config{Self: s1, Role: proto.RoleShard, Lanes: 4} }

// founded is a Config.Founding.
func founded(instance byte, generation uint32) func() proto.Founding {
	return func() proto.Founding {
		return proto.Founding{Instance: proto.Instance{instance}, Generation: generation}
	}
}

// outcome is what one side of a hello came to.
type outcome struct {
	peer Peer
	err  error
}

// converse has d open a link to target, at a, over an in-memory connection.
func converse(d, a Config, target proto.NodeName, index int) (dialer, acceptor outcome) {
	left, right := net.Pipe()
	done := make(chan outcome)
	go func() {
		c, p, err := Accept(context.Background(), right, a)
		if err == nil {
			c.Close()
		}
		done <- outcome{p, err}
	}()
	c, p, err := Open(context.Background(), left, d, target, index)
	acceptor = <-done
	if err == nil {
		c.Close()
	}
	return outcome{p, err}, acceptor
}

func TestHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		founding := proto.Founding{Instance: proto.Instance{1}, Generation: 2}
		d, a := routerConfig(), shardConfig()
		d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyB, keyA}
		a.Keys[0], a.Keys[1] = keyA, keyB
		a.Founding = func() proto.Founding { return founding }
		a.VersionMax = 3
		do, ao := converse(d, a, s1, 3)
		if do.err != nil || ao.err != nil {
			t.Fatalf("open: %v, accept: %v", do.err, ao.err)
		}
		want := Peer{Name: s1, Role: proto.RoleShard, Lanes: 4, Version: 1, Founding: founding, Index: 3, Dialed: true}
		if do.peer != want {
			t.Errorf("dialer sees %+v, want %+v", do.peer, want)
		}
		want = Peer{Name: r1, Role: proto.RoleRouter, Lanes: 2, Version: 1, Index: 3}
		if ao.peer != want {
			t.Errorf("acceptor sees %+v, want %+v", ao.peer, want)
		}
	})
}

// TestRefusals: each difference is named, in the same sentence on both sides.
func TestRefusals(t *testing.T) {
	one, two := founded(1, 0), founded(2, 0)
	for _, c := range []struct {
		name   string
		edit   func(d, a *Config)
		target proto.NodeName
		index  int
		reason Reason // ReasonNone: no refusal
		text   string
	}{
		{name: "plain", target: s1},
		{name: "anyone", target: ""},
		{name: "same key", edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyA} }},
		{name: "rotation, acceptor swapped", edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyA, keyB}, [][]byte{keyB, keyA} }},
		{name: "rotation, dialer swapped", edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyB, keyA}, [][]byte{keyA, keyB} }},
		{name: "rotation, first step", edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyA, keyB} }},
		{name: "rotation, last step", edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyB, keyA}, [][]byte{keyB} }},
		{name: "one instance known", edit: func(d, a *Config) { d.Founding = one }},
		{name: "another generation", edit: func(d, a *Config) { d.Founding, a.Founding = one, founded(1, 1) }},
		{name: "next version", edit: func(d, a *Config) { a.VersionMax = 2 }},

		{name: "wrong key", edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyB} },
			reason: ReasonKey, text: "the cluster keys of R and S differ"},
		{name: "wrong keys", edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyA, keyC}, [][]byte{keyB} },
			reason: ReasonKey, text: "the cluster keys of R and S differ"},
		{name: "dialer's key is unknown", edit: func(d, a *Config) { d.Keys, a.Keys = [][]byte{keyB, keyA}, [][]byte{keyA} },
			reason: ReasonKey, text: "the cluster keys of R and S differ"},
		{name: "key at the dialer only", edit: func(d, a *Config) { d.Keys = [][]byte{keyA} },
			reason: ReasonKey, text: "R has a cluster key and S has none"},
		{name: "key at the acceptor only", edit: func(d, a *Config) { a.Keys = [][]byte{keyA} },
			reason: ReasonKey, text: "S has a cluster key and R has none"},
		{name: "wrong key and cluster: the key comes first", edit: func(d, a *Config) { d.Keys, a.Keys, a.Cluster = [][]byte{keyA}, [][]byte{keyB}, "x" },
			reason: ReasonKey, text: "the cluster keys of R and S differ"},
		{name: "cluster", edit: func(d, a *Config) { d.Cluster, a.Cluster = "prod", "test" },
			reason: ReasonCluster, text: `cluster names differ: R is in "prod" and S is in "test"`},
		{name: "instance", edit: func(d, a *Config) { d.Founding, a.Founding = one, two },
			reason: ReasonInstance, text: "cluster instances differ: R is in 01000000000000000000000000000000 and S is in 02000000000000000000000000000000"},
		{name: "partitions", edit: func(d, a *Config) { a.Partitions = 16 },
			reason: ReasonPartitions, text: "partition counts differ: R has 4093 and S has 16"},
		{name: "versions", edit: func(d, a *Config) { a.VersionMin, a.VersionMax = 2, 3 },
			reason: ReasonVersion, text: "no common protocol version: R speaks 1 to 1 and S speaks 2 to 3"},
		{name: "another incarnation", target: s1b,
			reason: ReasonTarget, text: "R asked for s1/0000000000003 but this is S"},
		{name: "the same name", edit: func(d, a *Config) { a.Self = r1 }, target: "",
			reason: ReasonName, text: "two nodes have the id r1: R dialed R"},
		{name: "the same id", edit: func(d, a *Config) { a.Self = proto.MakeNodeName("r1", 9) }, target: "",
			reason: ReasonName, text: "two nodes have the id r1: R dialed r1/0000000000009"},
		{name: "index", index: 4,
			reason: ReasonLanes, text: "link 4 does not exist: R has 2 lanes and S has 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, a := routerConfig(), shardConfig()
				if c.edit != nil {
					c.edit(&d, &a)
				}
				do, ao := converse(d, a, c.target, c.index)
				if c.reason == ReasonNone {
					if do.err != nil || ao.err != nil {
						t.Fatalf("open: %v, accept: %v", do.err, ao.err)
					}
					return
				}
				text := strings.NewReplacer("R", string(r1), "S", string(s1)).Replace(c.text)
				for _, err := range []error{do.err, ao.err} {
					var r *Refusal
					if !errors.As(err, &r) || r.Reason != c.reason || r.Text != text {
						t.Errorf("have %v\nwant %s: %s", err, c.reason, text)
					}
				}
			})
		})
	}
}

// TestVersionRanges: nodes whose ranges of protocol versions overlap speak the
// highest common one, others refuse, and both name both ranges.
func TestVersionRanges(t *testing.T) {
	ranges := [][2]uint16{{1, 1}, {1, 2}, {2, 2}}
	for _, dr := range ranges {
		for _, ar := range ranges {
			for _, purpose := range []Purpose{PurposeFrames, PurposeStream, PurposeProbe} {
				d, a := voter(s2, founded(1, 1), nil), voter(s1, founded(1, 1), &inbox{})
				d.VersionMin, d.VersionMax = dr[0], dr[1]
				a.VersionMin, a.VersionMax = ar[0], ar[1]
				do, ao := converseFor(purpose, d, a, s1)
				if max(dr[0], ar[0]) <= min(dr[1], ar[1]) {
					want := min(dr[1], ar[1])
					if do.err != nil || ao.err != nil || do.peer.Version != want || ao.peer.Version != want {
						t.Errorf("%s, %v and %v: versions %d and %d, %v and %v", purpose, dr, ar, do.peer.Version, ao.peer.Version, do.err, ao.err)
					}
					continue
				}
				text := fmt.Sprintf("no common protocol version: %s speaks %d to %d and %s speaks %d to %d", s2, dr[0], dr[1], s1, ar[0], ar[1])
				for _, err := range []error{do.err, ao.err} {
					if r := (*Refusal)(nil); !errors.As(err, &r) || r.Reason != ReasonVersion || r.Text != text {
						t.Errorf("%s, %v and %v: %v", purpose, dr, ar, err)
					}
				}
			}
		}
	}
}

// TestPanicInHello: a bug of ours in a hello costs that connection alone, on
// either side.
func TestPanicInHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		core, logs := observer.New(zap.InfoLevel)
		a := shardConfig()
		a.Logger, a.Founding = zap.New(core), func() proto.Founding { panic("injected") }
		r, s := launch(t, n, ipR, routerConfig(), 1), launch(t, n, ipS, a, 1)
		if f := r.mesh.Probe(t.Context(), s1, s.addr); f != FateUnknown {
			t.Errorf("probe = %s", f)
		}
		if _, err := s.mesh.DialStream(t.Context(), r1, r.addr); err == nil || !strings.Contains(err.Error(), "injected") {
			t.Errorf("dial stream = %v", err)
		}
		synctest.Wait()
		if got := s.mesh.Stats(); got.Refused[ReasonNone] != 2 || got.Hellos != 0 || got.Streams != 0 {
			t.Errorf("stats %+v", got)
		}
		lines := logs.FilterMessage("link refused").All()
		if len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()["stack"]), "TestPanicInHello") {
			t.Errorf("logged: %v", lines)
		}
	})
}

// TestCompare has what an honest Config cannot say.
func TestCompare(t *testing.T) {
	for _, c := range []struct {
		name   string
		edit   func(d, a *Hello)
		reason Reason
	}{
		{"equal", func(d, a *Hello) {}, ReasonNone},
		{"room hash", func(d, a *Hello) { a.RoomHash++ }, ReasonHash},
		{"purpose", func(d, a *Hello) { d.Purpose, a.Purpose = 3, 3 }, ReasonPurpose},
		{"another purpose answered", func(d, a *Hello) { a.Purpose = PurposeStream }, ReasonPurpose},
		{"versions upside down", func(d, a *Hello) { d.Min, d.Max = 2, 1 }, ReasonVersion},
		{"no lanes", func(d, a *Hello) { d.Lanes = 0 }, ReasonLanes},
		{"three lanes", func(d, a *Hello) { a.Lanes = 3 }, ReasonLanes},
		{"too many lanes", func(d, a *Hello) { a.Lanes = 128 }, ReasonLanes},
		{"another index answered", func(d, a *Hello) { a.Index++ }, ReasonLanes},
		{"another dialer answered", func(d, a *Hello) { a.Target = s1b }, ReasonTarget},
		{"role", func(d, a *Hello) { d.Role = 9 }, ReasonRole},
	} {
		x := exchange{cfg: must(routerConfig().filled())}
		y := exchange{cfg: must(shardConfig().filled())}
		d, a := x.mine(PurposeFrames, s1, 1), y.mine(PurposeFrames, r1, 1)
		c.edit(&d, &a)
		r := compare(&d, &a)
		if (r == nil) != (c.reason == ReasonNone) || r != nil && r.Reason != c.reason {
			t.Errorf("%s: %v, want %s", c.name, r, c.reason)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestConfig(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"no name":      func(c *Config) { c.Self = "" },
		"no role":      func(c *Config) { c.Role = 0 },
		"3 lanes":      func(c *Config) { c.Lanes = 3 },
		"128 lanes":    func(c *Config) { c.Lanes = 128 },
		"long cluster": func(c *Config) { c.Cluster = strings.Repeat("x", 64) },
		"partitions":   func(c *Config) { c.Partitions = 1 << 16 },
		"versions":     func(c *Config) { c.VersionMin = 2 },
		"short key":    func(c *Config) { c.Keys = [][]byte{make([]byte, 8)} },
		"many keys":    func(c *Config) { c.Keys = make([][]byte, 9) },
	} {
		c := routerConfig()
		edit(&c)
		if _, err := c.filled(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// recorder keeps what was written through it.
type recorder struct {
	net.Conn
	sent *bytes.Buffer
}

func (r recorder) Write(b []byte) (int, error) {
	r.sent.Write(b)
	return r.Conn.Write(b)
}

// TestReplay: every byte of a good dialer, sent again, opens nothing; nor does
// the acceptor's own proof, sent back.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, a := routerConfig(), shardConfig()
		d.Keys, a.Keys = [][]byte{keyA}, [][]byte{keyA}
		left, right := net.Pipe()
		var sent bytes.Buffer
		go func() {
			c, _, err := Open(t.Context(), recorder{left, &sent}, d, s1, 0)
			if err == nil {
				c.Close()
			}
		}()
		c, _, err := Accept(t.Context(), right, a)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		synctest.Wait()

		_, err = acceptBytes(t, a, func(c net.Conn) {
			go drain(c)
			c.Write(sent.Bytes())
		})
		wantReason(t, "replay", err, ReasonKey)

		_, helloSize, _ := proto.ParseHeader(sent.Bytes())
		_, err = acceptBytes(t, a, func(c net.Conn) {
			c.Write(sent.Bytes()[:helloSize])
			head := make([]byte, proto.HeaderSize)
			io.ReadFull(c, head)
			_, size, _ := proto.ParseHeader(head)
			body := make([]byte, size-proto.HeaderSize)
			io.ReadFull(c, body)
			x, _ := ParseAnswer(body)
			c.Write(AppendProof(nil, x.Proof))
		})
		wantReason(t, "reflection", err, ReasonKey)
	})
}

// acceptBytes runs Accept against whatever the dialer does; after that the
// dialer only listens.
func acceptBytes(t *testing.T, a Config, dialer func(net.Conn)) (took time.Duration, err error) {
	left, right := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		dialer(left)
		drain(left)
	}()
	began := time.Now()
	c, _, err := Accept(t.Context(), right, a)
	took = time.Since(began)
	if err == nil {
		c.Close()
	}
	left.Close()
	<-done
	return took, err
}

func drain(c net.Conn) { io.Copy(io.Discard, c) }

func wantReason(t *testing.T, what string, err error, want Reason) {
	t.Helper()
	if err == nil || refusalOf(err).Reason != want {
		t.Errorf("%s: %v, want reason %s", what, err, want)
	}
}

// TestHostileHello: what no node sends costs a bounded read and a bounded time.
func TestHostileHello(t *testing.T) {
	x := exchange{cfg: must(routerConfig().filled())}
	h := x.mine(PurposeFrames, s1, 0)
	good := AppendHello(nil, &h)
	for _, c := range []struct {
		name   string
		dialer func(net.Conn)
		reason Reason
		took   time.Duration
	}{
		{"http", func(c net.Conn) { io.WriteString(c, "GET / HTTP/1.1\r\n\r\n") }, ReasonGarbage, 0},
		{"tls", func(c net.Conn) { c.Write([]byte("\x16\x03\x01\x02\x00\x01")) }, ReasonGarbage, 0},
		{"oversize", func(c net.Conn) { c.Write([]byte{0, 0, 0x10, 1, 1}) }, ReasonGarbage, 0},
		{"another frame", func(c net.Conn) { c.Write(proto.AppendEmpty(nil, proto.FramePing)) }, ReasonGarbage, 0},
		{"empty hello", func(c net.Conn) { c.Write(proto.AppendEmpty(nil, proto.FrameHello)) }, ReasonGarbage, 0},
		{"half a frame, then closed", func(c net.Conn) { c.Write(good[:20]); c.Close() }, ReasonBroken, 0},
		{"nothing, then closed", func(c net.Conn) { c.Close() }, ReasonBroken, 0},
		{"silence", func(c net.Conn) {}, ReasonSlow, helloTime},
		{"half a frame, then silence", func(c net.Conn) { c.Write(good[:20]) }, ReasonSlow, helloTime},
		{"a byte per second", func(c net.Conn) {
			for i := range good {
				if _, err := c.Write(good[i : i+1]); err != nil {
					return
				}
				time.Sleep(time.Second) // fake time
			}
		}, ReasonSlow, helloTime},
		{"hello, then silence", func(c net.Conn) { c.Write(good) }, ReasonSlow, helloTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took, err := acceptBytes(t, shardConfig(), c.dialer)
				wantReason(t, c.name, err, c.reason)
				if took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
			})
		})
	}
}

// TestPurpose: unknown purposes are refused before anything is proved.
func TestPurpose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange{cfg: must(routerConfig().filled())}
		h := x.mine(PurposeFrames, s1, 0)
		h.Purpose = 7
		_, err := acceptBytes(t, shardConfig(), func(c net.Conn) { c.Write(AppendHello(nil, &h)) })
		wantReason(t, "purpose 7", err, ReasonPurpose)
	})
}

// TestNoOverread: bytes right behind the hello stay in the connection.
func TestNoOverread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, right := net.Pipe()
		go func() {
			c, _, err := Open(t.Context(), left, routerConfig(), s1, 0)
			if err == nil {
				io.WriteString(c, "next")
				c.Close()
			}
		}()
		c, _, err := Accept(t.Context(), right, shardConfig())
		if err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(c)
		if string(rest) != "next" {
			t.Errorf("behind the hello: %q", rest)
		}
	})
}

func TestHelloEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left, right := net.Pipe()
		defer right.Close()
		go drain(right)
		began := time.Now()
		_, _, err := Open(ctx, left, routerConfig(), s1, 0)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("open = %v after %s", err, time.Since(began))
		}
	})
}

// TestHelloGolden pins the bytes: they are what a node of another version sees.
func TestHelloGolden(t *testing.T) {
	h := Hello{Min: 1, Max: 2, Role: proto.RoleRouter, Lanes: 4, Index: 3, Flags: flagKeyed, Partitions: 4093,
		RoomHash: 0x0102030405060708, Founding: proto.Founding{Instance: proto.Instance{0xaa, 15: 0xbb}, Generation: 0x11223344}, Nonce: [nonceSize]byte{0xcc, 15: 0xdd},
		Cluster: "prod", Self: r1, Target: s1}
	anyone := h
	anyone.Target = ""
	proof := bytes.Repeat([]byte{0xee}, proofSize)
	var have strings.Builder
	for _, g := range []struct {
		name  string
		frame []byte
	}{
		{"hello", AppendHello(nil, &h)},
		{"hello to anyone", AppendHello(nil, &anyone)},
		{"answer", AppendAnswer(nil, &Answer{Proof: proof, Hello: h})},
		{"answer without key", AppendAnswer(nil, &Answer{Hello: h})},
		{"proof", AppendProof(nil, proof)},
		{"proof without key", AppendProof(nil, nil)},
		{"welcome", AppendWelcome(nil, 1)},
		{"refuse", AppendRefuse(nil, refuse(ReasonCluster, "no"))},
	} {
		have.WriteString(g.name + ": " + hex.EncodeToString(g.frame) + "\n")
	}
	x := exchange{hello: []byte("hello"), answer: []byte("answer")}
	have.WriteString("mac: " + hex.EncodeToString(x.mac(keyA, dialerLabel)) + "\n")
	const file = "testdata/hello.txt"
	if *update {
		if err := os.WriteFile(file, []byte(have.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if have.String() != string(want) {
		t.Errorf("have\n%s\nwant\n%s", have.String(), want)
	}
	// All of it is read back as it was.
	frame := AppendAnswer(nil, &Answer{Proof: proof, Hello: h})
	a, err := ParseAnswer(frame[proto.HeaderSize:])
	if err != nil || a.Hello != h || !bytes.Equal(a.Proof, proof) {
		t.Errorf("parsed %+v, %v", a, err)
	}
	// A later version may add fields behind.
	if back, err := ParseHello(append(AppendHello(nil, &h)[proto.HeaderSize:], "more"...)); err != nil || back != h {
		t.Errorf("with more behind: %+v, %v", back, err)
	}
	if v, err := ParseWelcome(AppendWelcome(nil, 7)[proto.HeaderSize:]); v != 7 || err != nil {
		t.Errorf("welcome %d, %v", v, err)
	}
	if r := ParseRefuse(AppendRefuse(nil, refuse(ReasonKey, "a\nb\x00c"))[proto.HeaderSize:]); r.Reason != ReasonKey || r.Text != "a?b?c" || !r.Remote {
		t.Errorf("refuse %+v", r)
	}
}

// FuzzHello: arbitrary bodies give an error or a value that is written back as
// it was read.
func FuzzHello(f *testing.F) {
	x := exchange{cfg: must(routerConfig().filled())}
	h := x.mine(PurposeFrames, s1, 1)
	f.Add(AppendHello(nil, &h)[proto.HeaderSize:])
	f.Add(AppendAnswer(nil, &Answer{Proof: make([]byte, proofSize), Hello: h})[proto.HeaderSize:])
	f.Add(AppendProof(nil, nil)[proto.HeaderSize:])
	f.Add(AppendRefuse(nil, refuse(ReasonKey, "x"))[proto.HeaderSize:])
	f.Add(bytes.Repeat([]byte{255}, 256)) // the longest field there can be
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxHello {
			return
		}
		if h, err := ParseHello(b); err == nil && !bytes.HasPrefix(b, h.append(nil)) {
			t.Errorf("%x was read as %+v", b, h)
		}
		if a, err := ParseAnswer(b); err == nil {
			if !bytes.HasPrefix(b, AppendAnswer(nil, &a)[proto.HeaderSize:]) {
				t.Errorf("%x was read as %+v", b, a)
			}
			a.Hello.Self.ID()
		}
		ParseProof(b)
		ParseWelcome(b)
		if r := ParseRefuse(b); len(r.Text) > 3*maxReason {
			t.Errorf("text of %d bytes", len(r.Text))
		}
	})
}

// FuzzAccept: arbitrary bytes from a dialer never open a link without the key,
// never panic, and are not waited for longer than the hello may take.
func FuzzAccept(f *testing.F) {
	x := exchange{cfg: must(routerConfig().filled())}
	h := x.mine(PurposeFrames, s1, 1)
	h.Flags = flagKeyed
	f.Add(AppendProof(AppendHello(nil, &h), make([]byte, proofSize)))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	for _, h.Purpose = range []Purpose{PurposeStream, PurposeProbe, 255} {
		f.Add(AppendProof(AppendHello(nil, &h), make([]byte, proofSize)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := must(Config{Self: s1, Role: proto.RoleShard, Keys: [][]byte{keyA}, Stream: (&inbox{}).take}.filled())
		c := &scripted{in: bytes.NewReader(b)}
		if p, err := (&exchange{conn: c, cfg: a}).accept(nil); err == nil {
			t.Errorf("%x opened a link to %v", b, p)
		}
	})
}

// FuzzOpen: the same for a dialer, whatever the acceptor says.
func FuzzOpen(f *testing.F) {
	x := exchange{cfg: must(shardConfig().filled())}
	h := x.mine(PurposeFrames, r1, 1)
	h.Flags = flagKeyed
	for purpose := range uint8(purposes) {
		h.Purpose = Purpose(purpose)
		f.Add(purpose, AppendWelcome(AppendAnswer(nil, &Answer{Proof: make([]byte, proofSize), Hello: h}), 1))
	}
	f.Add(uint8(0), AppendRefuse(nil, refuse(ReasonTarget, "no")))
	f.Fuzz(func(t *testing.T, purpose uint8, b []byte) {
		d := must(Config{Self: r1, Role: proto.RoleRouter, Keys: [][]byte{keyA}}.filled())
		c := &scripted{in: bytes.NewReader(b)}
		if p, err := (&exchange{conn: c, cfg: d}).open(Purpose(purpose), s1, 1); err == nil {
			t.Errorf("%x was taken for %v", b, p)
		}
	})
}

// scripted is a connection whose other side says fixed bytes and hears nothing.
type scripted struct {
	net.Conn
	in io.Reader
}

func (s *scripted) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *scripted) Write(b []byte) (int, error) { return len(b), nil }

package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/internal/memnet"
	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/proto"
)

const linkPort = "7400"

// station is a node with lanes that write down what they hear.
type station struct {
	t     testing.TB
	mesh  *Mesh
	lanes []*testLane
	addr  string
	stop  context.CancelFunc
	done  []chan struct{}
}

// testLane is the Events of one loop; its fields belong to the loop.
type testLane struct {
	loop   *poll.Loop
	panics []any
	links  map[linkID]*Link
	downs  []error
	heard  []heard
	frame  func(l *Link, t proto.FrameType, body []byte)
	turn   func()
}

type linkID struct {
	name  proto.NodeName
	index int
}

type heard struct {
	from linkID
	typ  proto.FrameType
	body string
}

func (x *testLane) Up(l *Link) {
	id := linkID{l.Peer().Name, l.Peer().Index}
	if x.links[id] != nil {
		panic("up twice")
	}
	x.links[id] = l
}

func (x *testLane) Down(l *Link, err error) {
	id := linkID{l.Peer().Name, l.Peer().Index}
	if x.links[id] != l {
		panic("down without up")
	}
	delete(x.links, id)
	x.downs = append(x.downs, err)
}

func (x *testLane) Frame(l *Link, t proto.FrameType, body []byte) {
	if x.frame != nil {
		x.frame(l, t, body)
		return
	}
	x.heard = append(x.heard, heard{linkID{l.Peer().Name, l.Peer().Index}, t, string(body)})
}

// on runs f on the lane's loop and waits for it.
func (x *testLane) on(f func()) {
	done := make(chan struct{})
	x.loop.Post(func() { f(); close(done) })
	<-done
}

// launch starts a node at ip that serves links and dials what it is told to
// want. It ends with the test.
func launch(t testing.TB, n *memnet.Network, ip string, cfg Config, lanes int) *station {
	s := &station{t: t, addr: net.JoinHostPort(ip, linkPort)}
	cfg.Lanes = 0
	if n != nil && cfg.Dial == nil {
		cfg.Dial = n.Host(ip).DialContext
	}
	s.build(cfg, lanes, n != nil)
	listen := net.Listen
	if n != nil {
		listen = func(_, addr string) (net.Listener, error) { return n.Listen(addr) }
	} else {
		s.addr = net.JoinHostPort(ip, "0")
	}
	ln, err := listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	s.start(ln)
	return s
}

func (s *station) build(cfg Config, lanes int, portable bool) {
	var made []Lane
	for i := range lanes {
		x := &testLane{links: map[linkID]*Link{}}
		var err error
		x.loop, err = poll.New(poll.Config{
			Portable: portable,
			Tick:     func(now time.Time) { s.mesh.Tick(i, now) },
			Turn: func() {
				if x.turn != nil {
					x.turn()
				}
				s.mesh.Flush(i)
			},
			Panic: func(v any) { x.panics = append(x.panics, v) },
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.lanes = append(s.lanes, x)
		made = append(made, Lane{Loop: x.loop, Events: x})
	}
	var err error
	if s.mesh, err = NewMesh(cfg, made); err != nil {
		s.t.Fatal(err)
	}
}

func (s *station) start(ln net.Listener) {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	run := func(f func()) {
		done := make(chan struct{})
		s.done = append(s.done, done)
		go func() { defer close(done); f() }()
	}
	run(func() { s.mesh.Run(ctx) })
	run(func() { s.mesh.Serve(ctx, ln) })
	for _, x := range s.lanes {
		run(func() { x.loop.Run(ctx) })
	}
	s.t.Cleanup(s.end)
}

func (s *station) end() {
	s.stop()
	for _, d := range s.done {
		<-d
	}
	for _, x := range s.lanes {
		if len(x.panics) > 0 {
			s.t.Errorf("panics: %v", x.panics)
		}
	}
}

func (s *station) target() Target {
	return Target{Name: s.mesh.cfg.Self, Role: s.mesh.cfg.Role, Addr: s.addr}
}

// links is how many links are up over all lanes.
func (s *station) links() (n int) {
	for _, x := range s.lanes {
		x.on(func() { n += len(x.links) })
	}
	return n
}

// downs is why links ended so far.
func (s *station) downs() (all []error) {
	for _, x := range s.lanes {
		x.on(func() { all = append(all, x.downs...) })
	}
	return all
}

// await waits up to d for f to hold, and returns how long it took.
func await(t testing.TB, d time.Duration, what string, f func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !f() {
		if time.Since(began) > d {
			t.Fatalf("not within %s: %s", d, what)
		}
		timer := time.NewTimer(time.Millisecond)
		<-timer.C
	}
	return time.Since(began)
}

const (
	ipR = "10.0.0.1"
	ipS = "10.0.0.2"
	ipT = "10.0.0.3"
)

// pair is a router that wants a shard.
func pair(t *testing.T, routerLanes, shardLanes int) (*memnet.Network, *station, *station) {
	n := memnet.New()
	r := launch(t, n, ipR, routerConfig(), routerLanes)
	s := launch(t, n, ipS, shardConfig(), shardLanes)
	r.mesh.Want([]Target{s.target()})
	s.mesh.Want([]Target{r.target()})
	k := max(routerLanes, shardLanes)
	await(t, time.Second, "all links up", func() bool { return r.links() == k && s.links() == k })
	return n, r, s
}

// TestLanes: whatever the lanes, every partition's link is served on both sides
// by the lane that the partition belongs to.
func TestLanes(t *testing.T) {
	for _, c := range [][2]int{{1, 1}, {1, 4}, {4, 2}, {2, 4}} {
		t.Run(fmt.Sprintf("%dx%d", c[0], c[1]), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, r, s := pair(t, c[0], c[1])
				const partitions = 61
				there := func(from, to *station) {
					for p := range proto.Partition(partitions) {
						x := from.lanes[from.mesh.LaneOf(p)]
						x.on(func() {
							l := x.links[linkID{to.mesh.cfg.Self, IndexOf(p, c[0], c[1])}]
							if l == nil {
								t.Errorf("partition %d has no link on its lane", p)
								return
							}
							l.Data(func(b []byte) []byte { return proto.AppendBytes(b, proto.FrameDeliver, []byte{byte(p)}) })
						})
					}
					synctest.Wait()
					got := 0
					for i, x := range to.lanes {
						x.on(func() {
							for _, h := range x.heard {
								if p := proto.Partition(h.body[0]); to.mesh.LaneOf(p) != i {
									t.Errorf("partition %d came to lane %d", p, i)
								}
								got++
							}
						})
					}
					if got != partitions {
						t.Errorf("%d of %d frames arrived", got, partitions)
					}
				}
				there(r, s)
				there(s, r)
			})
		})
	}
}

// TestIdleHour: a link without traffic stays, on heartbeats alone.
func TestIdleHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, s := pair(t, 1, 1)
		before := r.mesh.Stats().FramesSent
		time.Sleep(10 * time.Minute) // fake time
		if d := append(r.downs(), s.downs()...); len(d) > 0 {
			t.Errorf("links ended: %v", d)
		}
		frames := r.mesh.Stats().FramesSent - before
		// Each side pings twice a second at most, and answers the other's pings.
		if least, most := uint64(10*60), uint64(10*60*4); frames < least || frames > most {
			t.Errorf("%d frames in ten idle minutes, want %d to %d", frames, least, most)
		}
	})
}

// TestBreak: after a reset the links are back within a second.
func TestBreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r, s := pair(t, 2, 4)
		time.Sleep(time.Minute)
		n.Break(ipR, ipS)
		synctest.Wait()
		if len(r.downs()) != 4 || len(s.downs()) != 4 {
			t.Fatalf("down: %v and %v", r.downs(), s.downs())
		}
		took := await(t, time.Second, "links back", func() bool { return r.links() == 4 && s.links() == 4 })
		if took > 50*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if st := r.mesh.Stats(); st.Reconnects != 4 || st.Ups != 8 || st.Downs != 4 || st.Open != 4 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestSilence: a cut in either direction or both is noticed on both sides, and
// after it heals the links are back within 2 s.
func TestSilence(t *testing.T) {
	for name, cut := range map[string]func(f func(a, b string)){
		"both":            func(f func(a, b string)) { f(ipR, ipS); f(ipS, ipR) },
		"router to shard": func(f func(a, b string)) { f(ipR, ipS) },
		"shard to router": func(f func(a, b string)) { f(ipS, ipR) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, r, s := pair(t, 1, 2)
				time.Sleep(10 * time.Second)
				cut(n.Cut)
				hears, deaf := r, s // deaf hears nothing any more
				if name == "shard to router" {
					hears, deaf = s, r
				}
				took := await(t, 5*time.Second, "silence noticed", func() bool { return deaf.links() == 0 })
				if took < Silence-Heartbeat || took > Silence+150*time.Millisecond {
					t.Errorf("noticed after %s", took)
				}
				for _, err := range deaf.downs() {
					if !errors.Is(err, ErrSilent) {
						t.Errorf("down: %v", err)
					}
				}
				// The other side hears the connection end, or silence in its turn.
				await(t, 2*Silence, "the other side noticed", func() bool { return hears.links() == 0 })
				time.Sleep(time.Minute)
				cut(n.Heal)
				await(t, 2*time.Second, "links back", func() bool { return r.links() == 2 && s.links() == 2 })
				time.Sleep(10 * time.Second)
				if r.links() != 2 || s.links() != 2 {
					t.Error("links did not stay")
				}
			})
		})
	}
}

// TestGoodbye: who leaves says why, and is told that all its links are down.
func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, s := pair(t, 1, 2)
		if err := s.mesh.Leave(t.Context(), "draining"); err != nil {
			t.Fatal(err)
		}
		if n := s.links(); n != 0 {
			t.Errorf("%d links after leaving", n)
		}
		synctest.Wait()
		for _, err := range r.downs() {
			var g *Goodbye
			if !errors.As(err, &g) || !g.Remote || !g.Leaves || g.Reason != "draining" {
				t.Errorf("down: %v", err)
			}
		}
		if len(r.downs()) != 2 {
			t.Errorf("%d links down", len(r.downs()))
		}
		time.Sleep(time.Minute) // dialed for ever, in vain
		if r.links() != 0 {
			t.Error("a node that left is linked")
		}
	})
}

// TestGoodbyeWithoutLeave: only Leave says that a run ends for good. What else
// ends a link in order is no proof of death.
func TestGoodbyeWithoutLeave(t *testing.T) {
	for reason, end := range map[string]func(s *station){
		"node stops": func(s *station) { s.stop() },
		"forgotten":  func(s *station) { s.mesh.Forget(r1) },
		"lane's own": func(s *station) {
			s.lanes[0].on(func() {
				for _, l := range s.lanes[0].links {
					l.Close("lane's own")
				}
			})
		},
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, r, s := pair(t, 1, 1)
				r.mesh.Want(nil)
				end(s)
				synctest.Wait()
				var g *Goodbye
				switch d := r.downs(); {
				case len(d) != 1:
					t.Fatalf("down: %v", d)
				case errors.As(d[0], &g) && (g.Leaves || !g.Remote || g.Reason != reason):
					t.Errorf("down: %+v", g)
				case g == nil && (reason != "node stops" || d[0] != ErrEOF): // a loop that stops may not get to say it
					t.Errorf("down: %v", d)
				}
			})
		})
	}
}

// TestWant: who is not wanted keeps its links but is not dialed again; who is
// forgotten loses them.
func TestWant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r, s := pair(t, 1, 2)
		r.mesh.Want(nil)
		time.Sleep(time.Minute)
		if r.links() != 2 {
			t.Error("links of an unwanted node ended")
		}
		dials := r.mesh.Stats().Dials
		n.Break(ipR, ipS)
		time.Sleep(time.Minute)
		if r.links() != 0 || r.mesh.Stats().Dials != dials {
			t.Error("an unwanted node was dialed")
		}
		r.mesh.Want([]Target{s.target()})
		await(t, time.Second, "wanted again", func() bool { return r.links() == 2 })
		r.mesh.Forget(s1)
		await(t, time.Second, "forgotten", func() bool { return r.links() == 0 && s.links() == 0 })
		time.Sleep(time.Minute)
		if r.links() != 0 {
			t.Error("a forgotten node was dialed")
		}
		r.mesh.mu.Lock()
		defer r.mesh.mu.Unlock()
		if len(r.mesh.nodes) != 0 {
			t.Error("a forgotten node is remembered")
		}
	})
}

// TestWhoDials: of two shards the smaller name does, once per link.
func TestWhoDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		s := launch(t, n, ipS, shardConfig(), 1)
		other := shardConfig()
		other.Self = proto.MakeNodeName("s2", 1)
		s2 := launch(t, n, ipT, other, 2)
		s.mesh.Want([]Target{s2.target(), s.target()})
		s2.mesh.Want([]Target{s.target()})
		await(t, time.Second, "links up", func() bool { return s.links() == 2 && s2.links() == 2 })
		if a, b := s.mesh.Stats().Dials, s2.mesh.Stats().Dials; a != 2 || b != 0 {
			t.Errorf("%d and %d dials", a, b)
		}
	})
}

// TestRouters: routers may have links to each other, as to shards; the smaller
// name dials, and each pair has its own number of lanes.
func TestRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r, s := pair(t, 2, 1)
		other := routerConfig()
		other.Self = proto.MakeNodeName("r2", 1)
		r2 := launch(t, n, ipT, other, 4)
		everybody := []Target{r.target(), r2.target(), s.target()}
		for _, x := range []*station{r, r2, s} {
			x.mesh.Want(everybody)
		}
		await(t, time.Second, "links up", func() bool { return r.links() == 2+4 && r2.links() == 4+4 && s.links() == 2+4 })
		dials := func(x *station) uint64 { return x.mesh.Stats().Dials }
		if dials(r) != 2+4 || dials(r2) != 4 || dials(s) != 0 {
			t.Errorf("%d, %d and %d dials", dials(r), dials(r2), dials(s))
		}
		for _, way := range [][2]*station{{r, r2}, {r2, r}} {
			to := linkID{way[1].mesh.cfg.Self, 0}
			x := way[0].lanes[0]
			x.on(func() {
				x.links[to].Control(func(b []byte) []byte { return proto.AppendBytes(b, proto.FrameVersion, []byte("v")) })
			})
			synctest.Wait()
			y := way[1].lanes[0]
			y.on(func() {
				if len(y.heard) != 1 || y.heard[0].from.name != way[0].mesh.cfg.Self {
					t.Errorf("%s heard %v", to.name, y.heard)
				}
			})
		}
		n.Break(ipR, ipT)
		await(t, time.Second, "links back", func() bool { return r.links() == 2+4 && r2.links() == 4+4 })
	})
}

// TestReplaced: a newer link of the same peer and index takes the older one's
// place.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r, s := pair(t, 1, 1)
		c, err := n.Host(ipR).DialContext(t.Context(), s.addr)
		if err != nil {
			t.Fatal(err)
		}
		r.mesh.Want(nil)
		if _, _, err := Open(t.Context(), c, *r.mesh.cfg, s1, 0); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		synctest.Wait()
		if d := s.downs(); len(d) != 1 || d[0] != ErrReplaced || s.links() != 1 {
			t.Errorf("%d links, down: %v", s.links(), d)
		}
		if r.links() != 0 || s.mesh.Stats().Replaced != 1 {
			t.Errorf("stats %+v", s.mesh.Stats())
		}
	})
}

// TestRestart: a node that comes back at its address with another incarnation is
// a stranger to those who want the old one.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r, s := pair(t, 1, 1)
		s.end()
		cfg := shardConfig()
		cfg.Self = s1b
		again := launch(t, n, ipS, cfg, 1)
		time.Sleep(10 * time.Second)
		if r.links() != 0 || r.mesh.Stats().Refused[ReasonTarget] == 0 {
			t.Errorf("%d links, %+v", r.links(), r.mesh.Stats())
		}
		r.mesh.Want([]Target{again.target()})
		await(t, time.Second, "linked to the new one", func() bool { return r.links() == 1 })
	})
}

// TestRollingRestart: three nodes are restarted one by one from protocol version
// 1 to a build that speaks both, then to one that speaks 2 alone. All links come
// back after each restart. Who jumps is linked to whoever overlaps.
func TestRollingRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		ids := []proto.NodeID{"s1", "s2", "s3"}
		up := make([]*station, len(ids))
		runs := proto.Incarnation(0)
		restart := func(i int, least, most uint16) {
			if up[i] != nil {
				if err := up[i].mesh.Leave(t.Context(), "restart"); err != nil {
					t.Fatal(err)
				}
				up[i].end()
			}
			runs++
			cfg := Config{Self: proto.MakeNodeName(ids[i], runs), Role: proto.RoleShard, VersionMin: least, VersionMax: most}
			up[i] = launch(t, n, fmt.Sprintf("10.0.0.%d", i+1), cfg, 1)
			var all []Target
			for _, s := range up {
				if s != nil {
					all = append(all, s.target())
				}
			}
			for _, s := range up {
				if s != nil {
					s.mesh.Want(all)
				}
			}
		}
		linked := func(what string, want ...int) {
			t.Helper()
			await(t, time.Second, what, func() bool {
				for i, s := range up {
					if s.links() != want[i] {
						return false
					}
				}
				return true
			})
		}
		for i := range ids {
			restart(i, 1, 1)
		}
		linked("begin", 2, 2, 2)
		for i := range ids {
			restart(i, 1, 2)
			linked(fmt.Sprintf("%s speaks both", ids[i]), 2, 2, 2)
		}
		for i := range ids {
			restart(i, 2, 2)
			linked(fmt.Sprintf("%s speaks 2", ids[i]), 2, 2, 2)
		}
		restart(1, 1, 2)
		restart(2, 1, 1)
		time.Sleep(10 * time.Second)
		linked("only neighbours overlap", 1, 2, 1)
		if up[0].mesh.Stats().Refused[ReasonVersion] == 0 || up[2].mesh.Stats().Refused[ReasonVersion] == 0 {
			t.Error("nobody was refused")
		}
	})
}

// TestWrongKeyLog: a node with a wrong key that dials for ever is counted each
// time and logged seldom.
func TestWrongKeyLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		core, logs := observer.New(zap.InfoLevel)
		rc, sc := routerConfig(), shardConfig()
		rc.Keys, sc.Keys = [][]byte{keyA}, [][]byte{keyB}
		sc.Logger = zap.New(core)
		r, s := launch(t, n, ipR, rc, 1), launch(t, n, ipS, sc, 1)
		r.mesh.Want([]Target{s.target()})
		time.Sleep(time.Minute)
		refused := s.mesh.Stats().Refused[ReasonKey]
		if refused < 60 || refused != r.mesh.Stats().Refused[ReasonKey] {
			t.Errorf("refused %d and %d times in a minute", refused, r.mesh.Stats().Refused[ReasonKey])
		}
		if lines := logs.FilterMessage("link refused").Len(); lines < 6 || lines > 7 {
			t.Errorf("%d lines in a minute", lines)
		}
	})
}

// TestSlowHellos: conns that say nothing are bounded, and keep nobody out.
func TestSlowHellos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		s := launch(t, n, ipS, shardConfig(), 1)
		for range 3 * maxHellos {
			c, err := n.Host(ipT).DialContext(t.Context(), s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		synctest.Wait()
		if h := s.mesh.Stats().Hellos; h != maxHellos {
			t.Errorf("%d hellos under way, want %d", h, maxHellos)
		}
		r := launch(t, n, ipR, routerConfig(), 1)
		r.mesh.Want([]Target{s.target()})
		await(t, time.Second, "linked", func() bool { return r.links() == 1 })
		time.Sleep(helloTime + time.Second)
		if st := s.mesh.Stats(); st.Hellos != 0 || st.Refused[ReasonBusy] < 2*maxHellos || st.Refused[ReasonSlow] == 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestFlood: both sides send far more than the window through slow, small
// pipes; everything arrives in order, and a peer that takes nothing stalls only
// data.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, s := pair(t, 1, 1)
		const frames = 300
		flood := func(from, to *station) {
			y, got := to.lanes[0], 0
			y.on(func() {
				y.frame = func(l *Link, typ proto.FrameType, body []byte) {
					if n := int(binary.BigEndian.Uint32(body)); n != got {
						t.Errorf("frame %d came as number %d", n, got)
					}
					got++
				}
			})
			x := from.lanes[0]
			x.on(func() {
				sent := 0
				x.turn = func() {
					for _, l := range x.links {
						for ; sent < frames && l.Space() > 0; sent++ {
							l.Data(func(b []byte) []byte { return appendNumbered(b, proto.FrameDeliver, sent, 50_000) })
						}
					}
				}
			})
			t.Cleanup(func() {
				if got != frames {
					t.Errorf("%d of %d frames", got, frames)
				}
			})
		}
		flood(r, s)
		flood(s, r)
		await(t, time.Minute, "all there", func() bool {
			return r.mesh.Stats().ReceivedBytes > frames*50_000 && s.mesh.Stats().ReceivedBytes > frames*50_000
		})
		r.end()
		s.end()
	})
}

// TestMisbehaviour: a peer that passed the hello and then breaks a rule costs
// its own link only, and the reason is told.
func TestMisbehaviour(t *testing.T) {
	big := appendNumbered(nil, proto.FrameDeliver, 0, 1<<19)
	for name, c := range map[string]struct {
		send []byte
		want error
	}{
		"oversize":    {[]byte{0, 0x20, 0, 0, 0x23}, proto.ErrFrameSize},
		"over credit": {proto.AppendCredit(nil, 1), ErrCreditReturned},
		"hello again": {proto.AppendEmpty(nil, proto.FrameHello), ErrHelloAgain},
		"eof":         {nil, ErrEOF},

		// A leave is proof of death: it must be said in full.
		"empty goodbye":   {proto.AppendEmpty(nil, proto.FrameGoodbye), proto.ErrShort},
		"goodbye of text": {proto.AppendBytes(nil, proto.FrameGoodbye, []byte("draining")), proto.ErrValue},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, r, s := pair(t, 1, 1)
				raw, err := n.Host(ipT).DialContext(t.Context(), s.addr)
				if err != nil {
					t.Fatal(err)
				}
				cfg := routerConfig()
				cfg.Self, cfg.Lanes = proto.MakeNodeName("bad", 1), 1
				c2, _, err := Open(t.Context(), raw, cfg, s1, 0)
				if err != nil {
					t.Fatal(err)
				}
				c2.Write(big)
				c2.Write(c.send)
				c2.(*memnet.Conn).CloseWrite()
				synctest.Wait()
				c2.Close()
				if d := s.downs(); len(d) != 1 || !errors.Is(d[0], c.want) {
					t.Errorf("down: %v, want %v", d, c.want)
				}
				if r.links() != 1 || s.links() != 1 {
					t.Error("another link suffered")
				}
			})
		})
	}
}

// TestLaneFails: a lane may end a link in the middle of a frame; it is told
// once.
func TestLaneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, s := pair(t, 1, 1)
		bad := errors.New("malformed attach")
		s.lanes[0].on(func() {
			s.lanes[0].frame = func(l *Link, _ proto.FrameType, _ []byte) { l.Fail(bad) }
		})
		x := r.lanes[0]
		x.on(func() {
			for _, l := range x.links {
				l.Data(func(b []byte) []byte {
					return appendNumbered(appendNumbered(b, proto.FrameAttach, 0, 1), proto.FrameAttach, 1, 1)
				})
			}
		})
		synctest.Wait()
		if d := s.downs(); !slices.Equal(d, []error{bad}) {
			t.Errorf("down: %v", d)
		}
		await(t, time.Second, "linked again", func() bool { return r.links() == 1 && s.links() == 1 })
	})
}

// TestPanic: a frame that makes the lane panic costs its link alone.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r, s := pair(t, 1, 2)
		y := s.lanes[1]
		y.on(func() { y.frame = func(*Link, proto.FrameType, []byte) { panic("injected") } })
		x := r.lanes[0]
		x.on(func() {
			x.links[linkID{s1, 1}].Data(func(b []byte) []byte { return appendNumbered(b, proto.FrameAttach, 0, 1) })
		})
		synctest.Wait()
		y.on(func() {
			if len(y.panics) != 1 || len(y.downs) != 1 || !errors.Is(y.downs[0], poll.ErrPanic) {
				t.Errorf("%d panics, down: %v", len(y.panics), y.downs)
			}
			y.panics = nil
		})
		await(t, time.Second, "linked again", func() bool { return r.links() == 2 && s.links() == 2 })
		if d := s.downs(); len(d) != 1 {
			t.Errorf("down: %v", d)
		}
	})
}

// TestBlackHole: against a network that swallows everything, a dial begins at
// least every second or so, and never more than one at a time per link.
func TestBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		n.Cut(ipR, ipS)
		r, s := launch(t, n, ipR, routerConfig(), 1), launch(t, n, ipS, shardConfig(), 1)
		r.mesh.Want([]Target{s.target()})
		time.Sleep(time.Minute)
		if st := r.mesh.Stats(); st.Dials < 58 || st.Dials > 61 || st.DialFailures < st.Dials-1 {
			t.Errorf("%d dials, %d failed", st.Dials, st.DialFailures)
		}
	})
}

// TestLogBound: the memory of the limited log is bounded, whoever knocks.
func TestLogBound(t *testing.T) {
	l := newLimitedLog(zap.NewNop())
	now := time.Unix(1000, 0)
	for i := range 10 * logKeys {
		l.due([2]string{fmt.Sprint(i), "key"}, now)
	}
	if len(l.last) > logKeys {
		t.Errorf("%d keys", len(l.last))
	}
	if !l.due([2]string{"new", "key"}, now.Add(logEvery)) {
		t.Error("silent for ever")
	}
}

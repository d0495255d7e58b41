package cluster

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/proto"
)

// patience bounds every wait for an event: far above what it takes, so that only a bug reaches it.
const patience = time.Minute

type gossiper struct {
	*Gossip
	name proto.NodeName
	stop func() // leave, and wait until everything ended
}

var lastRun proto.Incarnation

// ownAddress is one to come back to: the system gives its port to nobody by itself, so it is still free
// when a node has ended there.
func ownAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 6_000+rand.Intn(4_000))
		stream, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		stream.Close()
		if packets, err := net.ListenPacket("udp", address); err == nil {
			packets.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

func openGossip(t *testing.T, id proto.NodeID, change func(*GossipConfig)) *gossiper {
	t.Helper()
	lastRun++
	cfg := GossipConfig{
		Self:    Node{Name: proto.MakeNodeName(id, lastRun), Role: proto.RoleShard, Zone: "z", Addresses: Addresses{Link: "127.0.0.1:1"}},
		Cluster: "test",
	}
	if change != nil {
		change(&cfg)
	}
	g, err := NewGossip(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run gossip: %v", err)
			}
		case <-time.After(patience):
			t.Error("gossip does not end")
		}
	}
	t.Cleanup(stop)
	return &gossiper{g, cfg.Self.Name, stop}
}

func seeds(gs ...*gossiper) func(*GossipConfig) {
	return func(c *GossipConfig) {
		for _, g := range gs {
			c.Seeds = append(c.Seeds, g.Addr())
		}
	}
}

// waitFor waits until what g sees fulfils the condition.
func waitFor(t *testing.T, g *gossiper, what string, ok func(*View) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		view := NewView(0, g.Nodes())
		if ok(view) {
			return
		}
		select {
		case <-g.Changed():
		case <-deadline:
			t.Fatalf("%s does not see %s: %+v", g.name, what, view.Nodes())
		}
	}
}

func sees(state State, others ...*gossiper) func(*View) bool {
	return func(v *View) bool {
		for _, o := range others {
			if n, ok := v.Node(o.name); !ok || n.State != state {
				return false
			}
		}
		return true
	}
}

func TestGossipJoinDrainLeave(t *testing.T) {
	a := openGossip(t, "a", nil)
	b := openGossip(t, "b", seeds(a))
	c := openGossip(t, "c", seeds(a, b))
	for _, g := range []*gossiper{a, b, c} {
		waitFor(t, g, "all three", sees(Alive, a, b, c))
	}
	n, _ := NewView(0, a.Nodes()).Node(b.name)
	if n.Addresses.Gossip != b.Addr() || n.Addresses.Link != "127.0.0.1:1" || n.Zone != "z" || n.Role != proto.RoleShard || n.Lanes != 1 {
		t.Errorf("b is described as %+v", n)
	}

	voter := proto.MakeNodeName("b", 1)
	b.Announce(Announced{Instance: inst, Voter: voter, Draining: true})
	waitFor(t, a, "b draining", func(v *View) bool {
		n, _ := v.Node(b.name)
		return n.State == Draining && n.Instance == inst && n.Voter == voter
	})
	b.stop()
	for _, g := range []*gossiper{a, c} {
		waitFor(t, g, "b gone", sees(Dead, b))
		if n, _ := NewView(0, g.Nodes()).Node(b.name); !n.Left {
			t.Errorf("%s does not know that b left by itself", g.name)
		}
	}

	c.stop() // at once, without having drained: it may have been acting to the end
	waitFor(t, a, "c gone", sees(Dead, c))
	if n, _ := NewView(0, a.Nodes()).Node(c.name); n.Left {
		t.Error("who was stopped at once is said to have left, which proves that it acts no more")
	}
}

func TestGossipCrashAndReturn(t *testing.T) {
	a := openGossip(t, "a", nil)
	address := ownAddress(t)
	b, err := NewGossip(GossipConfig{Self: Node{Name: proto.MakeNodeName("b", 999), Role: proto.RoleShard}, Cluster: "test", Listen: address})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Open(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.list.Join([]string{a.Addr()}); err != nil {
		t.Fatal(err)
	}
	gone := &gossiper{b, b.cfg.Self.Name, nil}
	waitFor(t, a, "b", sees(Alive, gone))
	for deadline := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		if s := a.Stats(); s.Probe.Total() > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no probe is answered")
		}
	}
	if err := b.Close(); err != nil { // without a word
		t.Fatal(err)
	}
	waitFor(t, a, "b dead", sees(Dead, gone))
	if n, _ := NewView(0, a.Nodes()).Node(gone.name); n.Left {
		t.Error("a crash is taken for a goodbye: it would prove a death that nobody saw")
	}
	if s := a.Stats(); s.ProbesFailed == 0 || s.Unreachable == 0 || s.Verdicts != 1 || s.Refutations != 0 {
		t.Errorf("counted %+v", s)
	}

	// The same id comes back as another run at the same address: the old one is superseded.
	again := openGossip(t, "b", func(c *GossipConfig) { c.Listen, c.Seeds = address, []string{a.Addr()} })
	waitFor(t, a, "the new b alone", func(v *View) bool { return len(v.Runs("b")) == 1 && sees(Alive, again)(v) })
}

// A seed that comes back as another run and joins nobody is found again soon, though all was well.
func TestGossipSeedComesBack(t *testing.T) {
	address := ownAddress(t)
	seed, err := NewGossip(GossipConfig{Self: Node{Name: proto.MakeNodeName("s", 998), Role: proto.RoleShard}, Cluster: "test", Listen: address})
	if err != nil {
		t.Fatal(err)
	}
	if err := seed.Open(); err != nil {
		t.Fatal(err)
	}
	a := openGossip(t, "a", func(c *GossipConfig) { c.Seeds = []string{address} })
	waitFor(t, a, "the seed", sees(Alive, &gossiper{seed, seed.cfg.Self.Name, nil}))
	if err := seed.Close(); err != nil { // without a word
		t.Fatal(err)
	}
	again := openGossip(t, "s", func(c *GossipConfig) { c.Listen = address })
	waitFor(t, a, "its next run", sees(Alive, again))
}

// TestGossipGreets: two that have no seeds and do not know each other meet when one of them is told to greet.
func TestGossipGreets(t *testing.T) {
	a, b := openGossip(t, "a", nil), openGossip(t, "b", nil)
	a.Greet("127.0.0.1:1") // nobody is there
	a.Greet(b.Addr())
	waitFor(t, a, "b", sees(Alive, b))
	waitFor(t, b, "a", sees(Alive, a))
	for range 2 * maxGreetings {
		a.Greet(b.Addr()) // must not block
	}
}

// TestGossipSeeds: a seed may be a name, this node itself, nobody, or come later.
func TestGossipSeeds(t *testing.T) {
	later := ownAddress(t)
	_, port, _ := net.SplitHostPort(later)
	unknown := make(chan struct{}) // closed once, or the test panics
	a := openGossip(t, "a", func(c *GossipConfig) {
		c.Logger = zap.NewNop().WithOptions(zap.WrapCore(func(zapcore.Core) zapcore.Core {
			return zapcore.RegisterHooks(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.WarnLevel), func(e zapcore.Entry) error {
				if strings.HasPrefix(e.Message, "seed not found") {
					close(unknown)
				}
				return nil
			})
		}))
		c.Seeds = []string{"127.0.0.1:1", "localhost:" + port, "no-such-host.invalid:1"}
	})
	b := openGossip(t, "b", func(c *GossipConfig) {
		c.Listen = later
		c.Seeds = []string{later}
	})
	waitFor(t, a, "a seed that came later", sees(Alive, b))
	waitFor(t, b, "who joined it", sees(Alive, a))
	select {
	case <-unknown:
	case <-time.After(patience):
		t.Error("nobody is told of the name that has no address")
	}
}

func TestGossipKeys(t *testing.T) {
	key := func(b byte) []byte { return []byte(strings.Repeat(string(rune('a'+b)), 32)) }
	keys := func(first *gossiper, keys ...[]byte) func(*GossipConfig) {
		return func(c *GossipConfig) {
			c.Keys = keys
			if first != nil {
				c.Seeds = []string{first.Addr()}
			}
		}
	}
	a := openGossip(t, "a", keys(nil, key(0), key(1)))
	rotated := openGossip(t, "b", keys(a, key(1), key(0)))
	strangers := []*gossiper{
		openGossip(t, "wrong-key", keys(a, key(2))),
		openGossip(t, "no-key", keys(a)),
		openGossip(t, "wrong-label", func(c *GossipConfig) {
			keys(a, key(0), key(1))(c)
			c.Cluster = "another"
		}),
	}
	waitFor(t, a, "who encrypts with the other key", sees(Alive, rotated))
	waitFor(t, rotated, "who encrypts with the other key", sees(Alive, a))
	for _, s := range strangers {
		// Not the seeds' own pace: this call has an answer when it returns.
		if n, err := s.list.Join([]string{a.Addr(), rotated.Addr()}); n != 0 || err == nil {
			t.Errorf("%s joined %d nodes", s.name, n)
		}
		if _, err := s.list.Join([]string{a.Addr()}); !strange(err) || strings.Contains(oneLine(err).Error(), "\n") {
			t.Errorf("%s would log %q", s.name, oneLine(err))
		}
	}
	for _, g := range []*gossiper{a, rotated} {
		if nodes := g.Nodes(); len(nodes) != 2 {
			t.Errorf("%s sees strangers: %+v", g.name, nodes)
		}
	}
	for _, s := range strangers {
		if nodes := s.Nodes(); len(nodes) != 1 {
			t.Errorf("%s sees others: %+v", s.name, nodes)
		}
	}
}

// TestGossipGarbage throws random bytes at both ports, and metadata that is not ours at a node in
// the clear: nothing of it is seen, and who belongs here still gets in.
func TestGossipGarbage(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	a := openGossip(t, "a", func(c *GossipConfig) { c.Logger = zap.New(core) })
	conn, err := net.Dial("udp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rnd := rand.New(rand.NewSource(1))
	for range 2000 {
		b := make([]byte, 1+rnd.Intn(1400))
		rnd.Read(b)
		if rnd.Intn(2) == 0 {
			b = append([]byte{244, 4, 't', 'e', 's', 't'}, b...) // a label header, and the right one
		}
		conn.Write(b)
	}
	for range 20 {
		stream, err := net.Dial("tcp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1+rnd.Intn(4000))
		rnd.Read(b)
		stream.Write(b)
		stream.Close()
	}
	for i, meta := range []string{"", "nonsense", strings.Repeat("x", 512)} {
		joinRaw(t, a, fmt.Sprintf("raw-%d/0000000000abc", i), meta)
	}
	good, _ := encodeMetadata(&exampleNode)
	joinRaw(t, a, "NOT A NAME", string(good))
	b := openGossip(t, "b", seeds(a))
	waitFor(t, a, "b", sees(Alive, b))
	waitFor(t, b, "a", sees(Alive, a))
	if nodes := a.Nodes(); len(nodes) != 2 {
		t.Errorf("garbage is in the view: %+v", nodes)
	}
	if n := logs.Len(); n == 0 || n > 40 {
		t.Errorf("%d warnings, want some, and few", n)
	}
}

// rawMeta is a memberlist node with metadata that is not made by us.
type rawMeta struct {
	delegate
	meta string
}

func (r rawMeta) NodeMeta(int) []byte { return []byte(r.meta) }

func joinRaw(t *testing.T, to *gossiper, name, meta string) {
	t.Helper()
	c := memberlist.DefaultLANConfig()
	c.Name, c.Label, c.BindAddr, c.BindPort, c.AdvertisePort = name, "test", "127.0.0.1", 0, 0
	c.Delegate = rawMeta{meta: meta}
	c.LogOutput = discard{}
	list, err := memberlist.Create(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Shutdown() })
	if _, err := list.Join([]string{to.Addr()}); err != nil {
		t.Fatal(err)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func TestGossipRefusesConfig(t *testing.T) {
	good := GossipConfig{Self: Node{Name: nameA, Role: proto.RoleRouter}}
	if _, err := NewGossip(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*GossipConfig){
		"no name":           func(c *GossipConfig) { c.Self.Name = "" },
		"no role":           func(c *GossipConfig) { c.Self.Role = 0 },
		"too many lanes":    func(c *GossipConfig) { c.Self.Lanes = 256 },
		"a short key":       func(c *GossipConfig) { c.Keys = [][]byte{[]byte("short")} },
		"a long label":      func(c *GossipConfig) { c.Cluster = strings.Repeat("c", 256) },
		"a seed, no port":   func(c *GossipConfig) { c.Seeds = []string{"localhost"} },
		"a seed, bad port":  func(c *GossipConfig) { c.Seeds = []string{"localhost:70000"} },
		"a listen, no port": func(c *GossipConfig) { c.Listen = "127.0.0.1" },
	} {
		c := good
		spoil(&c)
		if _, err := NewGossip(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	taken := openGossip(t, "a", nil)
	c := good
	c.Listen = taken.Addr()
	g, err := NewGossip(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Open(); err == nil || !strings.Contains(err.Error(), taken.Addr()) {
		t.Errorf("a port that is taken: %v", err)
	}
}

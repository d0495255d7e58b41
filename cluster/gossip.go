package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

const (
	forgetAfter    = 30 * time.Second // dead nodes stay listed for so long
	announceWithin = 200 * time.Millisecond
	leaveWithin    = 500 * time.Millisecond

	// maxNodes bounds how many nodes are listed. More are not taken notice of.
	maxNodes = 4096

	// maxGreetings bounds the addresses that wait to be greeted.
	maxGreetings = 64
)

// GossipConfig says how a node gossips. Self.Name and Self.Role have no default.
type GossipConfig struct {
	// Self is what the others are told: all but Addresses.Gossip, State and Instance.
	// Lanes, if zero, is 1; Started, if zero, is now.
	Self Node

	// Listen is the host:port for packets and streams. An empty host listens everywhere, port
	// 0 takes a free one. If empty, "127.0.0.1:0".
	Listen string

	// Advertise is the host under which others reach Listen's port. If empty, Listen's host,
	// or a private address of this machine when that is everywhere.
	Advertise string

	// Cluster is the cluster's name. Nodes of another name do not hear us, nor we them.
	Cluster string

	// Keys are of 16, 24 or 32 bytes. The first encrypts, all decrypt. If empty, gossip is in
	// the clear.
	Keys [][]byte

	// Seeds are host:port to join, again and again. A name stands for all its addresses. A
	// seed may be this node itself, or not be there.
	Seeds []string

	// Logger hears what goes wrong. If nil, nobody does.
	Logger *zap.Logger
}

// Gossip is the Membership over memberlist.
type Gossip struct {
	// Set by NewGossip and Open, then only read.
	cfg     GossipConfig
	host    string
	port    int
	list    *memberlist.Memberlist
	changed chan struct{}       // one slot
	update  chan struct{}       // one slot: our metadata changed
	greet   chan string         // addresses; what does not fit is left to join
	address string              // ours, as others see it
	keyring *memberlist.Keyring // nil without keys
	dialing context.Context
	hangUp  context.CancelFunc // ends dialing

	stats gossipStats

	rotating sync.Mutex // held by SetKeys

	mu    sync.Mutex
	self  Node // its State and Instance are what was announced
	heard map[string]heard
}

// heard is what memberlist told about a node. It is decoded when somebody asks, not under
// memberlist's lock.
type heard struct {
	address string
	meta    []byte
	died    time.Time // zero while it lives
}

var _ Membership = (*Gossip)(nil)

// NewGossip checks the Config. It starts and opens nothing.
func NewGossip(cfg GossipConfig) (*Gossip, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Self.Lanes == 0 {
		cfg.Self.Lanes = 1
	}
	if cfg.Self.Started == 0 {
		cfg.Self.Started = time.Now().UnixMilli()
	}
	cfg.Self.State, cfg.Self.Instance, cfg.Self.Voter, cfg.Self.Left = Alive, proto.Instance{}, "", false
	g := &Gossip{
		cfg:     cfg,
		self:    cfg.Self,
		heard:   make(map[string]heard),
		changed: make(chan struct{}, 1),
		update:  make(chan struct{}, 1),
		greet:   make(chan string, maxGreetings),
	}
	if err := g.check(); err != nil {
		return nil, fmt.Errorf("new gossip: %w", err)
	}
	return g, nil
}

func (g *Gossip) check() error {
	if _, err := proto.ParseNodeName(string(g.cfg.Self.Name)); err != nil {
		return err
	}
	if g.cfg.Self.Lanes < 1 || g.cfg.Self.Lanes > 255 {
		return fmt.Errorf("%d lanes, want 1 to 255", g.cfg.Self.Lanes)
	}
	if len(g.cfg.Cluster) > memberlist.LabelMaxSize {
		return fmt.Errorf("cluster name of %d bytes, at most %d are allowed", len(g.cfg.Cluster), memberlist.LabelMaxSize)
	}
	for i, key := range g.cfg.Keys {
		if err := memberlist.ValidateKey(key); err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
	}
	for _, seed := range g.cfg.Seeds {
		if _, _, err := splitHostPort(seed); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	meta, err := encodeMetadata(&g.self)
	if err != nil {
		return err
	}
	if _, err := decodeMetadata(g.cfg.Self.Name, meta); err != nil {
		return fmt.Errorf("unknown %v", g.cfg.Self.Role)
	}
	g.host, g.port, err = splitHostPort(g.cfg.Listen)
	return err
}

func splitHostPort(address string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want host:port", address)
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: bad port", address)
	}
	return host, int(n), nil
}

// Open starts to listen, and to answer: from now on others can join here. Run does it when nobody
// has; a caller does it to know Addr before. Whoever called Open calls Run or Close.
func (g *Gossip) Open() error {
	if g.list != nil {
		return errors.New("open gossip: it is open")
	}
	bind, err := hostAddress(g.host, "0.0.0.0")
	if err != nil {
		return fmt.Errorf("open gossip on %s: %w", g.cfg.Listen, err)
	}
	advertise, err := hostAddress(g.cfg.Advertise, "")
	if err != nil {
		return fmt.Errorf("open gossip as %s: %w", g.cfg.Advertise, err)
	}
	g.dialing, g.hangUp = context.WithCancel(context.Background())
	logger := log.New(newGossipLog(g.cfg.Logger, &g.stats), "", 0)
	trans, err := listen(g.dialing, bind, g.port, logger)
	if err != nil {
		g.hangUp()
		return fmt.Errorf("open gossip on %s: %w", g.cfg.Listen, err)
	}
	list, err := memberlist.Create(g.settings(trans, bind, advertise, logger))
	if err != nil {
		g.hangUp()
		trans.Shutdown()
		return fmt.Errorf("open gossip on %s: %w", g.cfg.Listen, err)
	}
	g.list = list
	g.address = list.LocalNode().Address()
	return nil
}

// settings are the LAN defaults, made quick: a join is seen in 50 ms, a crash in 1.2 s, without a
// false verdict under load.
func (g *Gossip) settings(trans *transport, bind, advertise string, logger *log.Logger) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = string(g.cfg.Self.Name)
	c.Label = g.cfg.Cluster
	c.Transport = trans
	c.BindAddr, c.BindPort = bind, trans.GetAutoBindPort()
	c.AdvertiseAddr, c.AdvertisePort = advertise, c.BindPort
	c.ProbeInterval, c.ProbeTimeout = 200*time.Millisecond, 100*time.Millisecond
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 4, 2
	c.GossipInterval, c.GossipNodes = 50*time.Millisecond, 4
	c.GossipToTheDeadTime = forgetAfter
	c.PushPullInterval = 10 * time.Second
	c.TCPTimeout = 2 * time.Second
	c.AwarenessMaxMultiplier = 4
	// What is said is short: compressing it saved nothing, and was most of what an idle node
	// allocated (0.5 of 0.9 MB a second).
	c.EnableCompression = false
	c.Delegate, c.Events, c.Ping = delegate{g}, events{g}, &g.stats
	c.Logger = logger
	if len(g.cfg.Keys) > 0 {
		// NewGossip has checked the keys; nothing else can be wrong with them.
		c.Keyring, _ = memberlist.NewKeyring(g.cfg.Keys, g.cfg.Keys[0])
	}
	g.keyring = c.Keyring
	return c
}

// SetKeys has what is said from now on be encrypted with the first of other keys,
// and decrypts with all of them. It comes after Open, and may be called from any
// goroutine. Gossip that began without keys stays so.
func (g *Gossip) SetKeys(keys [][]byte) error {
	if len(keys) == 0 || g.keyring == nil {
		return errors.New("set gossip keys: gossip is encrypted from its beginning to its end, or never")
	}
	for i, key := range keys {
		if err := memberlist.ValidateKey(key); err != nil {
			return fmt.Errorf("set gossip keys: key %d: %w", i+1, err)
		}
	}
	g.rotating.Lock()
	defer g.rotating.Unlock()
	return setKeyring(g.keyring, keys)
}

// setKeyring makes a keyring hold exactly these keys. At every moment it has a
// key to encrypt with that is among the old or the new ones.
//
// RemoveKey closes the gap in the very slice that packets are being decrypted
// with, so it is only used on the last key, where there is none to close. What
// should stay and stands behind one that goes is taken off and put back: a packet
// that needs it in between is lost, as packets are.
func setKeyring(ring *memberlist.Keyring, keys [][]byte) error {
	for _, key := range keys {
		if err := ring.AddKey(key); err != nil {
			return err
		}
	}
	if err := ring.UseKey(keys[0]); err != nil {
		return err
	}
	wanted := func(key []byte) bool {
		return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
	}
	for held := ring.GetKeys(); slices.ContainsFunc(held, func(k []byte) bool { return !wanted(k) }); held = ring.GetKeys() {
		if err := ring.RemoveKey(held[len(held)-1]); err != nil {
			return err
		}
	}
	for _, key := range keys {
		if err := ring.AddKey(key); err != nil {
			return err
		}
	}
	return nil
}

// hostAddress resolves a host to one IP address; an empty host is otherwise.
func hostAddress(host, otherwise string) (string, error) {
	if host == "" {
		return otherwise, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String(), nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return "", err
	}
	for _, ip := range ips {
		if ip.To4() != nil {
			return ip.String(), nil
		}
	}
	return ips[0].String(), nil
}

// Addr returns the host:port under which others reach us, "" before Open.
func (g *Gossip) Addr() string { return g.address }

// Close ends an open Gossip that is not run: without a word, as if it had died.
func (g *Gossip) Close() error {
	if g.list == nil {
		return nil
	}
	g.hangUp()
	return g.list.Shutdown()
}

// Run gossips and joins the seeds until ctx ends, then says that this node leaves.
func (g *Gossip) Run(ctx context.Context) error {
	if g.list == nil {
		if err := g.Open(); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, g.hangUp)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { g.join(ctx) })
	wg.Go(func() { g.publish(ctx) })
	wg.Go(func() { g.meet(ctx) })
	g.forget(ctx)
	wg.Wait()
	g.sayGoodbye()
	if err := g.list.Leave(leaveWithin); err != nil {
		g.cfg.Logger.Debug("leaving was not heard", zap.Error(err))
	}
	return g.Close()
}

// sayGoodbye announces that this node leaves for good, if it has said before that it was about to: who
// is stopped at once may still be acting, and its goodbye would count as proof that it is not.
// memberlist tells its own word of leaving from a verdict of others, but does not tell us.
func (g *Gossip) sayGoodbye() {
	g.mu.Lock()
	draining := g.self.State == Draining
	g.self.Left = draining
	g.mu.Unlock()
	if !draining {
		return
	}
	if err := g.list.UpdateNode(announceWithin); err != nil {
		g.cfg.Logger.Debug("goodbye not heard", zap.Error(err))
	}
}

// publish hands what Announce said to memberlist, which waits until it is on its way.
func (g *Gossip) publish(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.update:
			if err := g.list.UpdateNode(announceWithin); err != nil {
				g.cfg.Logger.Debug("announcement not heard yet", zap.Error(err))
			}
		}
	}
}

// forget removes the long dead, until ctx ends.
func (g *Gossip) forget(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			g.mu.Lock()
			for name, h := range g.heard {
				if !h.died.IsZero() && now.Sub(h.died) >= forgetAfter {
					delete(g.heard, name)
					signal(g.changed)
				}
			}
			g.mu.Unlock()
		}
	}
}

// Nodes returns all nodes that gossip knows and whose name and metadata are ours to read.
func (g *Gossip) Nodes() []Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	nodes := make([]Node, 0, len(g.heard))
	for name, h := range g.heard {
		parsed, err := proto.ParseNodeName(name)
		if err != nil {
			continue
		}
		n, err := decodeMetadata(parsed, h.meta)
		if err != nil {
			continue
		}
		n.Addresses.Gossip = h.address
		switch {
		case !h.died.IsZero():
			n.State = Dead
		case n.Left: // not yet
			n.State, n.Left = Draining, false
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// Changed receives a value after Nodes changed.
func (g *Gossip) Changed() <-chan struct{} { return g.changed }

// Announce changes what the others are told about this node.
func (g *Gossip) Announce(a Announced) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.self.Instance, g.self.Voter = a.Instance, a.Voter
	g.self.State = Alive
	if a.Draining {
		g.self.State = Draining
	}
	signal(g.update)
}

// Greet says hello to who is at the address.
func (g *Gossip) Greet(address string) {
	select {
	case g.greet <- address:
	default:
	}
}

// meet greets whom it is told to and who has not been heard of meanwhile, until ctx ends. One greeting is
// enough for two halves of a cluster: the one greeted objects to being called dead, and that spreads.
func (g *Gossip) meet(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case address := <-g.greet:
			if g.others()[address] {
				continue
			}
			if _, err := g.list.Join([]string{address}); err != nil {
				g.cfg.Logger.Debug("greeting not answered", zap.String("address", address), zap.Error(oneLine(err)))
			}
		}
	}
}

// note keeps what memberlist says of a node. It is called under memberlist's lock: it copies and
// returns.
func (g *Gossip) note(n *memberlist.Node, died time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.heard[n.Name]; !known && len(g.heard) >= maxNodes {
		return
	}
	g.heard[n.Name] = heard{address: n.Address(), meta: append([]byte(nil), n.Meta...), died: died}
	signal(g.changed)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// events is what memberlist calls when nodes come, go and change.
type events struct{ g *Gossip }

func (e events) NotifyJoin(n *memberlist.Node)   { e.g.note(n, time.Time{}) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.g.note(n, time.Time{}) }
func (e events) NotifyLeave(n *memberlist.Node)  { e.g.note(n, time.Now()) }

// delegate gives memberlist our metadata. Nothing else of ours travels by gossip.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	// NewGossip has encoded it once; since then only fields of fixed size changed.
	meta, _ := encodeMetadata(&d.g.self)
	return meta
}

func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// Package router accepts clients' WebSockets and brings their messages to the
// owners of their rooms and back.
//
// It knows no room's history and decides no order: that is the shard's. Who
// here is in which room and how far each got is decided by the pure core
// router/hub; what a client's bytes mean by the pure package router/websocket.
// This package gives them loops, sockets and time.
//
// A router is a number of lanes that share nothing: all members of a room live
// on the lane of the room's partition, so no lock is taken for a message.
//
// Read router.go, lane.go (a turn), accept.go and conn.go (a client's life),
// proxy.go (what a proxy says first), request.go (the handshake and plain HTTP),
// reason.go (why one is refused, or closed), publish.go (messages over HTTP) with
// idempotency.go, wheel.go (pings and deadlines) and drain.go.
package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
	"github.com/roomring/roomring/router/websocket"
)

// Row is what the Table says of one partition.
type Row struct {
	Partition proto.Partition
	Owner     proto.NodeName // "" for none
	Term      proto.Term
}

// Router is the lanes of one process.
type Router struct {
	// Set by New, then only read.
	cfg    Config
	limits websocket.Limits
	lanes  []*lane

	apiKeys atomic.Pointer[apiKeys] // SetAPIKeys replaces them

	listener atomic.Pointer[net.Listener]
	open     atomic.Int64 // WebSockets, until their sockets are closed
	conns    atomic.Int64 // open sockets of clients, upgraded or not
	links    atomic.Int64 // links to shards
	ids      atomic.Uint64
	leaving  atomic.Bool // a drain has begun: nobody should send clients any more
	draining atomic.Bool // clients are refused

	addresses  addresses
	badProxies rate.Sometimes
	log        *zap.Logger
}

// New checks the configuration and starts nothing.
func New(cfg Config) (*Router, error) {
	if cfg.Self == "" {
		return nil, errors.New("new router: Self is missing")
	}
	cfg.setDefaults()
	if cfg.Lanes&(cfg.Lanes-1) != 0 {
		return nil, fmt.Errorf("new router: %d lanes: want a power of two", cfg.Lanes)
	}
	for _, origin := range cfg.AllowOrigin {
		if err := websocket.CheckOrigin(origin); err != nil {
			return nil, fmt.Errorf("new router: %w", err)
		}
	}
	r := &Router{cfg: cfg, log: cfg.Logger, limits: websocket.Limits{Message: cfg.MaxMessage}}
	r.badProxies.Interval = badProxyEvery
	r.addresses.limit, r.addresses.rate = cfg.MaxConnsPerIP, cfg.AcceptsPerIP
	// Conn ids start at a random place, so that a stale one of an earlier run
	// of this node means nobody. Those of posts have their top bit set, the next
	// one is proto.TimedConn.
	r.ids.Store(rand.Uint64() >> 3)
	if err := r.SetAPIKeys(cfg.APIKeys); err != nil {
		return nil, fmt.Errorf("new router: %w", err)
	}
	for i := range cfg.Lanes {
		l, err := newLane(r, i)
		if err != nil {
			return nil, fmt.Errorf("new router: %w", err)
		}
		r.lanes = append(r.lanes, l)
	}
	return r, nil
}

func (c *Config) setDefaults() {
	if c.Lanes == 0 {
		c.Lanes = link.DefaultLanes()
	}
	if c.Partitions == 0 {
		c.Partitions = proto.Partitions
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 64 << 10
	}
	if c.MaxConns == 0 {
		c.MaxConns = descriptors() - reserve()
	}
	if c.MemoryLimit == 0 {
		c.MemoryLimit = 1 << 30
	}
	if c.Window == 0 {
		c.Window = 8 << 20
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.HandshakeTime, 5 * time.Second},
		{&c.JoinTime, 10 * time.Second},
		{&c.PingEvery, 25 * time.Second},
		{&c.PongTime, 8 * time.Second},
		{&c.CloseTime, 2 * time.Second},
		{&c.DrainTime, 10 * time.Second},
	} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

// reserve is how many descriptors are kept for links, gossip, admin and for
// telling clients that there is no room: the smaller of 512 and a quarter.
func reserve() int { return min(512, descriptors()/4) }

// Run serves clients that connect to ln until ctx ends. Ln is closed then.
func (r *Router) Run(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	if r.cfg.TLS != nil {
		if r.cfg.ProxyProtocol {
			ln = proxyListener{ln, r.cfg.TrustedProxies}
		}
		ln = tls.NewListener(ln, r.cfg.TLS)
	}
	r.listener.Store(&ln)
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range r.lanes {
		l.loop.Post(func() { l.listen(ln) })
		g.Go(func() error { return l.loop.Run(ctx) })
	}
	err := g.Wait()
	for _, l := range r.lanes {
		l.turnAway()
	}
	return err
}

// Lanes are the loops and who hears of the links on them, for link.NewMesh.
func (r *Router) Lanes() []link.Lane {
	lanes := make([]link.Lane, len(r.lanes))
	for i, l := range r.lanes {
		lanes[i] = link.Lane{Loop: l.loop, Events: l}
	}
	return lanes
}

// UseMesh has the lanes drive the links of m, which was made of Lanes. It comes
// before Run.
func (r *Router) UseMesh(m *link.Mesh) {
	for _, l := range r.lanes {
		l.mesh = m
	}
}

// SetTable tells the lanes who owns what: of all partitions, or of those whose
// row is news. The slice is not changed afterwards.
func (r *Router) SetTable(rows []Row) {
	for _, l := range r.lanes {
		l.loop.Post(func() { l.setTable(rows) })
	}
}

// Healthy says whether clients are well served here, and if not, why, in one
// word.
func (r *Router) Healthy() (ok bool, reason string) {
	switch {
	case r.leaving.Load():
		return false, "draining"
	case r.links.Load() == 0:
		return false, "no_links"
	}
	return true, ""
}

// Conns is how many client sockets are open.
func (r *Router) Conns() int { return int(r.conns.Load()) }

// Stats is one lane's counters.
type Stats struct {
	Conns Counters
	Hub   hub.Stats
	Loop  poll.Stats
}

// ErrStopped is returned to who asks a lane that does not answer before the
// context ends: as a rule, one that no longer runs.
var ErrStopped = errors.New("the router does not run")

// Stats returns the counters of each lane.
func (r *Router) Stats(ctx context.Context) ([]Stats, error) {
	out := make([]Stats, len(r.lanes))
	for i, l := range r.lanes {
		err := l.ask(ctx, func() { out[i] = Stats{l.counters, l.hub.Stats(), l.loop.Stats()} })
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// MaxConns is how many client conns are open at once at most: what the Config
// says, or what descriptors allow.
func (r *Router) MaxConns() int { return r.cfg.MaxConns }

// addresses counts conns and accepts by client address, when that is limited.
// It is asked once per handshake, from all lanes.
type addresses struct {
	limit, rate int

	mu    sync.Mutex
	seen  map[netip.Addr]*address
	crowd int // so many seen ask for the next look at who may be forgotten
}

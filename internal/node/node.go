package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/register"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// Config is what routers and shards have in common. Addresses are host:port; a
// port of 0 is a free one.
type Config struct {
	ID      proto.NodeID // required
	Cluster string       // the cluster's name; if empty, "roomring"
	Zone    string       // shown in /v1/ring
	Version string       // of the program, shown to operators

	Link, Gossip, Admin string // where to listen; if empty, a free port on loopback
	Advertise           string // the host that others dial; if empty, that of each address

	Join            []string      // gossip addresses of other nodes
	BootstrapExpect int           // shards that found a cluster; if zero, 1, or 3 with Join
	Followers       int           // copies beside the owner's, 0 or 1, of a cluster that this shard leads; negative: as it is
	MaxMoves        int           // partitions that are moved at a time while this node leads; if zero, 32; if negative, none is
	DrainTime       time.Duration // for a shard to hand over what it has when it drains; if zero, a minute
	Keys            [][]byte      // cluster keys; the first encrypts, all decrypt; see SetKeys
	LinkTLS         *link.TLS     // mutual TLS on links; if nil, plain

	// VersionMin and VersionMax are the protocol versions to speak; for tests.
	// If zero, those of package proto.
	VersionMin, VersionMax uint16

	// DataDir is where the register keeps its log and vote; it exists. If empty, memory.
	DataDir string

	AdminToken, AdminReadToken string

	// Partitions is the cluster's partition count; for tests. If zero,
	// proto.Partitions.
	Partitions int

	// Net replaces TCP for links, clients and the admin port, and Membership
	// replaces gossip; for tests. With both set, and Portable in the role's
	// Config, a node opens no socket and runs in a testing/synctest bubble.
	Net        *Net
	Membership func(self cluster.Node) cluster.Membership

	// Logger is for operators. If nil, nothing is logged.
	Logger *zap.Logger

	// LogDropped tells how many lines Logger has left out so far, because there
	// were too many of their kind. If nil, none.
	LogDropped func() uint64
}

// Net is a network other than TCP. Both functions must be set; addresses are
// host:port, and a port of 0 is a free one.
type Net struct {
	Listen func(addr string) (net.Listener, error)
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
}

// Node is one node, open or running.
type Node struct {
	// Set by Open, then only read.
	cfg     Config
	kind    proto.Role
	name    proto.NodeName
	log     *zap.Logger
	role    role
	gossip  *cluster.Gossip // nil when there is another Membership
	cluster *cluster.Cluster
	voting  *register.Register
	mesh    *link.Mesh
	control *control
	admin   *admin.Server
	links   net.Listener
	admins  net.Listener
	clients net.Listener // nil on a shard

	registry *prometheus.Registry

	started     int64                    // wall time in Unix milliseconds
	settings    settings                 // what should be alike
	memoryLimit int64                    // that of the role's Config, in bytes
	keys        atomic.Pointer[[][]byte] // cluster keys in use; SetKeys changes them
	rotating    sync.Mutex               // held by SetKeys
	process     process
	sampler     *sampler
	album       album
	chronicle   chronicle
	planning    chan struct{} // a token while a plan is worked out
	toLeave     atomic.Bool   // an operator asked this node to leave: leaves is closed
	leaves      chan struct{}

	lacking atomic.Pointer[time.Time] // since when partitions that this shard could follow lack copies; nil: none does
	patient atomic.Bool               // it still counts as unready for that
}

// Addresses are where an open node listens.
type Addresses struct {
	Link   string `json:"link"`
	Gossip string `json:"gossip,omitempty"`
	Admin  string `json:"admin"`
	Listen string `json:"listen,omitempty"`
}

// Addresses tells where the node listens. Listen is "" on a shard, Gossip when
// something else is the Membership.
func (n *Node) Addresses() Addresses {
	a := Addresses{Link: n.links.Addr().String(), Admin: n.admins.Addr().String()}
	if n.gossip != nil {
		a.Gossip = n.gossip.Addr()
	}
	if n.clients != nil {
		a.Listen = n.clients.Addr().String()
	}
	return a
}

// Name is the name of this run.
func (n *Node) Name() proto.NodeName { return n.name }

// OpenRouter opens a router's ports; nothing is served until Run.
func OpenRouter(cfg Config, listen string, rc router.Config) (*Node, error) {
	return open(cfg, proto.RoleRouter, listen, func(n *Node) (role, error) {
		rc.Self, rc.Control, rc.NeedTable, rc.Logger = n.name, n.control, n.needTable, n.log
		rc.Partitions = n.cfg.Partitions
		n.settings, n.memoryLimit = commonSettings(&n.cfg).ofRouter(&rc), rc.MemoryLimit
		r, err := router.New(rc)
		return &routerRole{Router: r}, err
	})
}

// OpenShard opens a shard's ports; nothing is served until Run.
func OpenShard(cfg Config, sc shard.Config) (*Node, error) {
	return open(cfg, proto.RoleShard, "", func(n *Node) (role, error) {
		sc.Self, sc.Control, sc.NeedTable, sc.Logger = n.name, n.control, n.needTable, n.log
		sc.Partitions, sc.Wish = n.cfg.Partitions, n.control.wish
		n.settings, n.memoryLimit = commonSettings(&n.cfg).ofShard(&n.cfg, &sc), sc.MemoryLimit
		s, err := shard.New(sc)
		return &shardRole{Shard: s, node: n}, err
	})
}

func open(cfg Config, kind proto.Role, listen string, build func(*Node) (role, error)) (_ *Node, err error) {
	inc, err := proto.MintIncarnation(rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := proto.CheckNodeID(string(cfg.ID)); err != nil {
		return nil, err
	}
	if cfg.Cluster == "" {
		cfg.Cluster = "roomring"
	}
	if cfg.DrainTime == 0 {
		cfg.DrainTime = time.Minute
	}
	if kind == proto.RoleRouter {
		cfg.Followers = -1 // shards say that
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	n := &Node{cfg: cfg, kind: kind, name: proto.MakeNodeName(cfg.ID, inc), log: cfg.Logger, registry: prometheus.NewRegistry()}
	n.keys.Store(&n.cfg.Keys)
	n.control, n.sampler, n.started = newControl(n), newSampler(n.nodes), time.Now().UnixMilli()
	n.planning, n.leaves = make(chan struct{}, 1), make(chan struct{})
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if err := n.listen(kind, listen); err != nil {
		return nil, err
	}
	if n.role, err = build(n); err != nil {
		return nil, err
	}
	if err := n.join(); err != nil {
		return nil, err
	}
	return n, n.openAdmin()
}

const anyPort = "127.0.0.1:0"

// listen opens the TCP ports.
func (n *Node) listen(kind proto.Role, clients string) (err error) {
	if n.links, err = n.port("link", n.cfg.Link); err != nil {
		return err
	}
	if n.admins, err = n.port("admin", n.cfg.Admin); err != nil {
		return err
	}
	if kind == proto.RoleRouter {
		n.clients, err = n.port("listen", clients)
	}
	return err
}

func (n *Node) port(flag, addr string) (net.Listener, error) {
	if addr == "" {
		addr = anyPort
	}
	listen := func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	if n.cfg.Net != nil {
		listen = n.cfg.Net.Listen
	}
	ln, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, addr, err)
	}
	return ln, nil
}

// join opens gossip and the register, and builds what needs to know the other nodes.
func (n *Node) join() (err error) {
	n.voting, err = register.New(register.Config{
		Self: n.name, Dir: n.cfg.DataDir, Cluster: n.cfg.Cluster, Partitions: n.cfg.Partitions, Streams: streams{n}, Logger: n.log,
	})
	if err != nil {
		return err
	}
	self := n.self()
	membership, err := n.membership(self)
	if err != nil {
		return err
	}
	n.cluster, err = cluster.New(cluster.Config{
		Self: self, Name: n.cfg.Cluster, Membership: membership, Register: n.voting, Seeded: len(n.cfg.Join) > 0,
		BootstrapExpect: n.cfg.BootstrapExpect, Followers: n.cfg.Followers, MaxMoves: n.cfg.MaxMoves,
		Partitions: n.cfg.Partitions, Send: n.control.send, Logger: n.log,
	})
	if err != nil {
		return err
	}
	links := link.Config{
		Self: n.name, Role: n.kind, Cluster: n.cfg.Cluster, Partitions: n.cfg.Partitions, Keys: n.cfg.Keys,
		Founding: n.cluster.Founding, Stream: n.accept, TLS: n.cfg.LinkTLS, VersionMin: n.cfg.VersionMin, VersionMax: n.cfg.VersionMax, Logger: n.log,
	}
	if n.cfg.Net != nil {
		links.Dial = n.cfg.Net.Dial
	}
	if n.mesh, err = link.NewMesh(links, n.role.Lanes()); err != nil {
		return err
	}
	n.role.UseMesh(n.mesh)
	return nil
}

// accept takes a stream of the register, whose hello has been judged.
func (n *Node) accept(c net.Conn, p link.Peer) { n.voting.Accept(c, p.Name, p.Founding) }

// self is this node as others see it.
func (n *Node) self() cluster.Node {
	self := cluster.Node{
		Name: n.name, Role: n.kind, Zone: n.cfg.Zone, Lanes: len(n.role.Lanes()), Version: n.cfg.Version,
		Protocols: n.protocols(),
		Started:   n.started,
	}
	self.Addresses.Link = n.advertised(n.links)
	self.Addresses.Admin = n.advertised(n.admins)
	if n.clients != nil {
		self.Addresses.Listen = n.advertised(n.clients)
	}
	return self
}

func (n *Node) protocols() cluster.Protocols {
	return cluster.Protocols{Min: cmp.Or(n.cfg.VersionMin, proto.VersionMin), Max: cmp.Or(n.cfg.VersionMax, proto.VersionMax)}
}

func (n *Node) partitions() int { return cmp.Or(n.cfg.Partitions, proto.Partitions) }

// membership opens gossip, or what stands in for it.
func (n *Node) membership(self cluster.Node) (cluster.Membership, error) {
	if n.cfg.Membership != nil {
		return n.cfg.Membership(self), nil
	}
	listen := n.cfg.Gossip
	if listen == "" {
		listen = anyPort
	}
	gossip, err := cluster.NewGossip(cluster.GossipConfig{
		Self: self, Listen: listen, Advertise: n.cfg.Advertise, Cluster: n.cfg.Cluster,
		Keys: n.cfg.Keys, Seeds: n.cfg.Join, Logger: n.log,
	})
	if err != nil {
		return nil, err
	}
	if err := gossip.Open(); err != nil {
		return nil, fmt.Errorf("--gossip %s: %w", listen, err)
	}
	n.gossip = gossip
	return gossip, nil
}

// advertised is the address that others dial to reach ln.
func (n *Node) advertised(ln net.Listener) string {
	addr := ln.Addr().String()
	host, port, err := net.SplitHostPort(addr)
	if err != nil || n.cfg.Advertise == "" || net.ParseIP(host).IsLoopback() {
		return addr
	}
	return net.JoinHostPort(n.cfg.Advertise, port)
}

func (n *Node) openAdmin() error {
	n.registry.MustRegister(admin.NewCollector(n.samples))
	a, err := admin.New(admin.Config{
		Listen: n.admins.Addr().String(), Token: n.cfg.AdminToken, ReadToken: n.cfg.AdminReadToken,
		Source: (*source)(n), Settled: func() (bool, int) { return n.cluster.Settled(), n.cluster.SingleCopy() },
		Registry: n.registry, Logger: n.log,
	})
	n.admin = a
	return err
}

// close gives back what Open took, when there will be no Run.
func (n *Node) close() {
	for _, ln := range []net.Listener{n.links, n.admins, n.clients} {
		if ln != nil {
			ln.Close()
		}
	}
	if n.gossip != nil {
		n.gossip.Close()
	}
}

// errLeft ends a node that has drained.
var errLeft = errors.New("left")

// Run serves until ctx ends, or until drain is closed, or an operator asks the
// admin port for it, and what that asks for is done; then it returns nil.
func (n *Node) Run(ctx context.Context, drain <-chan struct{}) error {
	n.log.Info("node up", zap.String("name", string(n.name)), zap.Any("addresses", n.Addresses()))
	parent := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	gossip, leaveGossip := context.WithCancel(ctx)
	defer leaveGossip()
	left := make(chan struct{})
	var late error // that not all was done in time

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(left)
		err := n.cluster.Run(gossip)
		if ctx.Err() == nil && gossip.Err() != nil {
			return nil // we left, and have some more to do
		}
		return err
	})
	g.Go(func() error { return n.mesh.Run(ctx) })
	g.Go(func() error { return n.mesh.Serve(ctx, n.links) })
	g.Go(func() error { return n.role.run(ctx, n.clients) })
	g.Go(func() error { return n.admin.Run(ctx, n.admins) })
	g.Go(func() error { return n.watch(ctx) })
	g.Go(func() error { return (&prober{node: n, nodes: map[proto.NodeName]*probed{}}).run(ctx) })
	g.Go(func() error { return n.control.run(ctx) })
	g.Go(func() error { return n.sampler.run(ctx) })
	g.Go(func() error {
		select {
		case <-drain:
		case <-n.leaves:
		case <-ctx.Done():
			return nil
		}
		late = n.leave(ctx, leaveGossip, left)
		stop(errLeft)
		return nil
	})
	err := g.Wait()
	if late != nil {
		err = late
	}
	if errors.Is(err, errLeft) || parent.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	n.log.Info("node down", zap.String("name", string(n.name)), zap.Error(err))
	return err
}

// relieveTime bounds how long a leaving node waits for others to take its part in the register.
const relieveTime = 5 * time.Second

// leave is the polite stop. A router first sends its clients elsewhere. Then others take this node's
// vote and lead. Then it says goodbye on its links, which proves to all that it will not act again, and
// only then to gossip.
func (n *Node) leave(ctx context.Context, leaveGossip func(), left <-chan struct{}) error {
	n.log.Info("draining")
	n.control.draining.Store(true)
	n.cluster.Drain()
	err := n.role.drain(ctx)
	n.handOver(ctx)
	if err := n.role.retire(ctx); err != nil {
		return err // the end has overtaken us
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	// A link that does not end in time ends with the process.
	_ = n.mesh.Leave(short, "node leaves")
	leaveGossip()
	select {
	case <-left:
	case <-ctx.Done():
	}
	return err
}

// handOver waits until the register can do without this node.
func (n *Node) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, relieveTime)
	defer cancel()
	changed, stop := n.cluster.Watch()
	defer stop()
	for !n.cluster.Stance().Relieved {
		select {
		case <-changed:
		case <-ctx.Done():
			n.log.Warn("left while the register still counted on this node")
			return
		}
	}
}

// watch tells the role and the mesh what the cluster says.
func (n *Node) watch(ctx context.Context) error {
	changed, stop := n.cluster.Watch()
	defer stop()
	soon := time.NewTimer(0)
	defer soon.Stop()
	for {
		n.apply()
		if wake := n.note(time.Now()); !wake.IsZero() {
			soon.Reset(time.Until(wake))
		}
		select {
		case <-changed:
		case <-soon.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *Node) apply() {
	view, table := n.cluster.View(), n.cluster.Table()
	own := n.cluster.Instance()
	voting := voters(table)
	self, _ := view.Node(n.name)
	var want []link.Target
	for _, node := range view.Nodes() {
		if node.Name == n.name {
			continue
		}
		foreign := !own.IsZero() && !node.Instance.IsZero() && node.Instance != own
		if !node.Lives() || foreign {
			n.mesh.Forget(node.Name)
			continue
		}
		// All nodes link to all voters, and routers to shards anyway.
		if node.Role == proto.RoleShard || n.kind == proto.RoleShard || voting[node.Voter] || voting[self.Voter] {
			want = append(want, link.Target{Name: node.Name, Role: node.Role, Addr: node.Addresses.Link, Lanes: node.Lanes})
		}
	}
	n.mesh.Want(want)
	n.role.apply(view, table)
	n.watchCopies(view, table)
}

func voters(t *cluster.Table) map[proto.NodeName]bool {
	voting := make(map[proto.NodeName]bool)
	if t != nil {
		for _, v := range t.Voters {
			voting[v] = true
		}
	}
	return voting
}

// needTable is called by lanes that saw a newer term than they know.
func (n *Node) needTable(p proto.Partition, term proto.Term) { n.cluster.NeedTable(p, term) }

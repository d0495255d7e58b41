package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/proto"
)

// maxNodes bounds how many nodes a mesh has links to. Beyond it hellos are
// refused; a cluster is far smaller.
const maxNodes = 1024

// Target is a node to have links to.
type Target struct {
	Name proto.NodeName
	Role proto.Role
	Addr string // host:port of its link listener

	// Lanes is how many lanes it has, if that is known.
	// If zero, the hello of the first link tells.
	Lanes int
}

// Lane is one loop of this node, and who hears of the links on it.
type Lane struct {
	Loop   *poll.Loop
	Events Events
}

// Mesh keeps links to a set of wanted nodes: K = max(lanes) per pair, of which
// link k is served by lane k % lanes on each side. Between a router and a shard
// the router dials; of two nodes with the same role the smaller name does. The
// other side accepts, whoever it is: what the hello lets in is a node of this
// cluster.
//
// A Mesh drives no loop and has no timer: each lane calls Tick and Flush.
type Mesh struct {
	// Set by NewMesh, then only read.
	cfg   *Config
	lanes []*lane
	log   *limitedLog

	keys                atomic.Pointer[[][]byte] // in place of cfg.Keys; see SetKeys
	hellos              hellos
	streams             streams
	probes              atomic.Uint64
	dials, dialFailures atomic.Uint64
	refused             [reasons]atomic.Uint64
	dialers             sync.WaitGroup

	mu      sync.Mutex // guards what is below
	nodes   map[proto.NodeName]*node
	ctx     context.Context // Run's; nil before
	stopped bool            // nothing is dialed or accepted any more
}

// node is what the mesh knows of another node.
type node struct {
	target  Target
	wanted  bool
	lanes   int                        // 0: not known yet
	links   map[int]*Link              // by index
	dialers map[int]context.CancelFunc // by index
	seen    map[int]bool               // indices that were up before: the next is a reconnect
}

// lane is the mesh's side of a Lane.
type lane struct {
	mesh     *Mesh
	loop     *poll.Loop
	events   Events
	counters counters

	links []*Link // owned by the loop; not yet closed, leaving ones too
}

// NewMesh checks and starts nothing. Lanes are numbered as given; their number
// is a power of two and becomes cfg.Lanes.
func NewMesh(cfg Config, lanes []Lane) (*Mesh, error) {
	if cfg.Lanes != 0 && cfg.Lanes != len(lanes) {
		return nil, fmt.Errorf("link config: %d lanes given, %d said", len(lanes), cfg.Lanes)
	}
	if cfg.Lanes = len(lanes); cfg.Lanes == 0 {
		return nil, errors.New("link config: no lanes")
	}
	f, err := cfg.filled()
	if err != nil {
		return nil, err
	}
	m := &Mesh{cfg: f, log: newLimitedLog(f.Logger), nodes: map[proto.NodeName]*node{}}
	m.keys.Store(&f.Keys)
	for _, l := range lanes {
		m.lanes = append(m.lanes, &lane{mesh: m, loop: l.Loop, events: l.Events})
	}
	return m, nil
}

// SetKeys has hellos from now on prove with the first of other cluster keys, and
// take proofs of all. Links and streams that are open stay as they are, and a
// hello under way ends with the keys that it began with. Where there were no keys
// there can be none now, and the other way round. It may be called from any
// goroutine.
func (m *Mesh) SetKeys(keys [][]byte) error {
	if (len(keys) == 0) != (len(m.cfg.Keys) == 0) {
		return errors.New("set cluster keys: a node has some for its whole life, or none")
	}
	c := *m.cfg
	c.Keys = keys
	if err := c.check(); err != nil {
		return fmt.Errorf("set cluster keys: %w", err)
	}
	m.keys.Store(&keys)
	return nil
}

// config is what a hello goes by that begins now.
func (m *Mesh) config() *Config {
	c := *m.cfg
	c.Keys = *m.keys.Load()
	return &c
}

// Run dials what is wanted until ctx ends, and returns its error. When it
// returns, nothing is dialed or accepted any more, streams are closed, and every
// link has been told to say goodbye, which it does if its loop still runs. That
// goodbye does not say that this run leaves: a prompt stop does not know what
// the lanes still do.
func (m *Mesh) Run(ctx context.Context) error {
	m.mu.Lock()
	m.ctx = ctx
	for _, n := range m.nodes {
		m.reconcile(n)
	}
	m.mu.Unlock()
	<-ctx.Done()
	links := m.stop(Goodbye{Reason: "node stops"})
	m.dialers.Wait()
	for _, l := range links {
		l.giveUp()
	}
	return context.Cause(ctx)
}

// Leave stops dialing and accepting, closes all streams, says goodbye with a
// reason on all links, and waits until the lanes have been told that they are
// down, or ctx ends. The goodbye says that this run leaves for good (see
// Goodbye), so the caller has stopped what could still decide something.
func (m *Mesh) Leave(ctx context.Context, reason string) error {
	for _, l := range m.stop(Goodbye{Reason: reason, Leaves: true}) {
		select {
		case <-l.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (m *Mesh) stop(g Goodbye) (links []*Link) {
	m.streams.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	for _, n := range m.nodes {
		m.reconcile(n)
		links = append(links, n.close(g)...)
	}
	return links
}

// Want replaces the set of wanted nodes. Who is no longer in it is not dialed
// again, but keeps the links that it has: a node that is merely suspected is
// not cut off. Forget does that.
func (m *Mesh) Want(targets []Target) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		n.wanted = false
	}
	for _, t := range targets {
		if t.Name == m.cfg.Self {
			continue
		}
		n := m.node(t.Name)
		n.target, n.wanted = t, true
		if n.lanes == 0 && lanesFit(t.Lanes) {
			n.lanes = t.Lanes
		}
	}
	for _, n := range m.nodes {
		m.reconcile(n)
		m.tidy(n)
	}
}

// Forget closes all links to a node and does not dial it until it is wanted
// again.
func (m *Mesh) Forget(name proto.NodeName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[name]
	if n == nil {
		return
	}
	n.wanted = false
	m.reconcile(n)
	n.close(Goodbye{Reason: "forgotten"})
	m.tidy(n)
}

// close has every link of n say goodbye, on its loop.
func (n *node) close(g Goodbye) (links []*Link) {
	for _, l := range n.links {
		links = append(links, l)
		l.lane.loop.Post(func() { l.close(&Goodbye{Reason: g.Reason, Leaves: g.Leaves}) })
	}
	return links
}

// Tick keeps the heartbeats of a lane's links. The lane calls it from its
// loop's Tick.
func (m *Mesh) Tick(lane int, now time.Time) {
	links := m.lanes[lane].links
	for i := len(links) - 1; i >= 0; i-- { // a link that ends takes itself off
		links[i].Tick(now)
	}
}

// Flush flushes all of a lane's links. The lane calls it at the end of its
// Turn.
func (m *Mesh) Flush(lane int) {
	links := m.lanes[lane].links
	for i := len(links) - 1; i >= 0; i-- {
		links[i].Flush()
	}
}

// LaneOf is the lane that serves partition p here.
func (m *Mesh) LaneOf(p proto.Partition) int { return int(p) % m.cfg.Lanes }

// IndexOf is the number of the link of a pair that carries partition p, for
// nodes with a and b lanes. Both sides compute the same, and on both sides lane
// p % lanes serves it.
func IndexOf(p proto.Partition, a, b int) int { return int(p) % max(a, b) }

// node finds or makes what is known of a node. m.mu is held.
func (m *Mesh) node(name proto.NodeName) *node {
	n := m.nodes[name]
	if n == nil {
		n = &node{target: Target{Name: name}, links: map[int]*Link{}, dialers: map[int]context.CancelFunc{}, seen: map[int]bool{}}
		m.nodes[name] = n
	}
	return n
}

// tidy forgets a node that nothing is left of. m.mu is held.
func (m *Mesh) tidy(n *node) {
	if !n.wanted && len(n.links) == 0 && len(n.dialers) == 0 {
		delete(m.nodes, n.target.Name)
	}
}

// reconcile starts and stops dialers until they are as they should be. m.mu is
// held.
func (m *Mesh) reconcile(n *node) {
	k := 0
	if n.wanted && !m.stopped && m.ctx != nil && m.ctx.Err() == nil && m.isDialer(n.target) {
		k = 1 // its Answer tells how many more
		if n.lanes > 0 {
			k = max(n.lanes, m.cfg.Lanes)
		}
	}
	for i, cancel := range n.dialers {
		if i >= k {
			cancel()
			delete(n.dialers, i)
		}
	}
	for i := range k {
		if n.dialers[i] == nil {
			ctx, cancel := context.WithCancel(m.ctx)
			n.dialers[i] = cancel
			name := n.target.Name
			m.dialers.Go(func() { m.dial(ctx, name, i) })
		}
	}
}

// isDialer decides who of two nodes opens their links.
func (m *Mesh) isDialer(t Target) bool {
	if t.Role != m.cfg.Role {
		return m.cfg.Role == proto.RoleRouter
	}
	return m.cfg.Self < t.Name
}

// install makes a link of a connection that said hello. It returns nil when
// the mesh has stopped or is full; the connection is closed then.
func (m *Mesh) install(p Peer, s poll.Socket) *Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped || m.nodes[p.Name] == nil && len(m.nodes) >= maxNodes {
		s.Close()
		return nil
	}
	n := m.node(p.Name)
	if n.lanes = p.Lanes; n.target.Role == 0 {
		n.target.Role = p.Role
	}
	on := m.lanes[p.Index%len(m.lanes)]
	l, old := newLink(p, s, on), n.links[p.Index]
	n.links[p.Index] = l
	again := n.seen[p.Index]
	n.seen[p.Index] = true
	on.loop.Post(func() { on.open(l, old, again) })
	m.reconcile(n)
	return l
}

// open runs on the loop. The older link of the same peer and index ends before
// the newer one begins, so that a lane never sees two.
func (on *lane) open(l, old *Link, again bool) {
	if old != nil {
		old.Fail(ErrReplaced)
		old.tell()
	}
	if l.claimed.Swap(true) {
		return
	}
	if err := on.loop.Open(&l.conn, l.socket, (*driven)(l)); err != nil {
		l.socket.Close()
		on.mesh.remove(l)
		close(l.ended)
		return
	}
	l.state = stateUp
	on.links = append(on.links, l)
	on.counters.links.Add(1)
	on.counters.ups.Add(1)
	if again {
		on.counters.reconnects.Add(1)
	}
	on.mesh.cfg.Logger.Info("link up", peerFields(&l.peer)...)
	on.events.Up(l)
}

// drop takes a closed link off the list.
func (on *lane) drop(l *Link) {
	if i := slices.Index(on.links, l); i >= 0 {
		on.links = slices.Delete(on.links, i, i+1)
	}
}

// down tells the lane, then lets a dialer go on.
func (on *lane) down(l *Link, err error) {
	on.counters.links.Add(^uint64(0))
	on.counters.downs.Add(1)
	switch err {
	case ErrSilent:
		on.counters.silent.Add(1)
	case ErrReplaced:
		on.counters.replaced.Add(1)
	}
	on.mesh.cfg.Logger.Info("link down", append(peerFields(&l.peer), zap.Error(err))...)
	on.events.Down(l, err)
	on.mesh.remove(l)
	close(l.ended)
}

func (m *Mesh) remove(l *Link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[l.peer.Name]
	if n == nil || n.links[l.peer.Index] != l {
		return
	}
	delete(n.links, l.peer.Index)
	m.tidy(n)
}

func peerFields(p *Peer) []zap.Field {
	return []zap.Field{zap.String("node", string(p.Name)), zap.Stringer("role", p.Role), zap.Int("link", p.Index), zap.Stringer("address", p.Addr), zap.Bool("dialed", p.Dialed)}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/roomring/roomring/proto"
)

const (
	tickEvery = 100 * time.Millisecond

	// maxInbox bounds the frames that wait for the cluster's goroutine, in bytes. What comes on
	// top is dropped, like a frame lost with its link: the next announcement makes up for it.
	maxInbox = 8 << 20
)

// Config says who this node is and how it reaches the others. Self.Name, Self.Role, Membership and
// Send have no default.
type Config struct {
	// Self is this node as the Membership shows it to others.
	Self Node

	// Name is the cluster's name, for display.
	Name string

	// Membership knows who is there. Run runs it.
	Membership Membership

	// Seeded says that there are other nodes to join. It raises BootstrapExpect's
	// default, and makes a founder listen for a moment first.
	Seeded bool

	// BootstrapExpect is how many shards must be there to found a cluster.
	// If zero, 1, or 3 when Seeded.
	BootstrapExpect int

	// Partitions is the number of partitions, the same on all nodes and for ever.
	// If zero, proto.Partitions.
	Partitions int

	// Send hands a control frame to a link to the node, and drops it when there is none. It is
	// called from the cluster's goroutine and must not block. It may keep the frame's bytes
	// but never change them: others get the same ones.
	Send func(to proto.NodeName, frame []byte)

	// Random is where a new instance is drawn from. If nil, crypto/rand.
	Random io.Reader

	// Logger hears of foundings, owners that changed and mistakes. If nil, nobody does.
	Logger *zap.Logger
}

// Cluster is one node's part in the cluster. All methods may be called by several goroutines.
type Cluster struct {
	// Set by New, then only read.
	cfg Config

	// Swapped by Run, loaded by everybody.
	view  atomic.Pointer[View]
	ring  atomic.Pointer[Ring]
	table atomic.Pointer[Table]

	draining atomic.Bool
	wake     chan struct{} // one slot: the inbox has something, or draining began
	stats    Stats

	mu         sync.Mutex
	inbox      []event
	inboxBytes int
	needed     bool // a tableNeeded waits in the inbox: one is enough
	watchers   map[chan struct{}]struct{}

	// Owned by Run.
	keeper *Keeper
	said   Announced
}

// Stats counts what happened since New.
type Stats struct {
	Frames  atomic.Uint64 `help:"Frames about the Table that were handled."`
	Dropped atomic.Uint64 `help:"Frames that came while the inbox was full."`
	Bad     atomic.Uint64 `help:"Frames that could not be understood."`
}

// event is something that links have to tell.
type event struct {
	kind eventKind
	node proto.NodeName
	typ  proto.FrameType
	body []byte
	row  proto.Partition
	term proto.Term
}

type eventKind uint8

const (
	linkUp eventKind = iota
	linkDown
	frameCame
	tableNeeded
)

// New checks the Config and returns a Cluster that sees nobody yet. It starts nothing.
func New(cfg Config) (*Cluster, error) {
	if _, err := proto.ParseNodeName(string(cfg.Self.Name)); err != nil {
		return nil, fmt.Errorf("new cluster: %w", err)
	}
	switch {
	case cfg.Self.Role != proto.RoleRouter && cfg.Self.Role != proto.RoleShard:
		return nil, fmt.Errorf("new cluster: unknown %v", cfg.Self.Role)
	case cfg.Membership == nil || cfg.Send == nil:
		return nil, errors.New("new cluster: Membership and Send must be set")
	}
	if cfg.BootstrapExpect <= 0 && cfg.Seeded {
		cfg.BootstrapExpect = 3
	}
	if cfg.Partitions <= 0 {
		cfg.Partitions = proto.Partitions
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	c := &Cluster{
		cfg:      cfg,
		wake:     make(chan struct{}, 1),
		watchers: make(map[chan struct{}]struct{}),
		keeper: NewKeeper(KeeperConfig{
			Self:       cfg.Self.Name,
			Role:       cfg.Self.Role,
			Partitions: cfg.Partitions,
			Expect:     cfg.BootstrapExpect,
			Seeded:     cfg.Seeded,
			Random:     cfg.Random,
			Logger:     cfg.Logger,
		}),
	}
	c.view.Store(c.keeper.View())
	c.ring.Store(c.keeper.Ring())
	return c, nil
}

// View returns who is seen now, never nil.
func (c *Cluster) View() *View { return c.view.Load() }

// Ring returns where partitions should live now, never nil.
func (c *Cluster) Ring() *Ring { return c.ring.Load() }

// Table returns where partitions do live, nil until this node learned it.
func (c *Cluster) Table() *Table { return c.table.Load() }

// Stats returns the counters.
func (c *Cluster) Stats() *Stats { return &c.stats }

// Instance returns the cluster that this node belongs to, zero until it learned the Table.
func (c *Cluster) Instance() proto.Instance {
	if t := c.Table(); t != nil {
		return t.Instance
	}
	return proto.Instance{}
}

// Outnumbered reports whether more nodes of another instance are seen than of this node's: then it
// should not call itself ready.
func (c *Cluster) Outnumbered() bool { return c.View().Outnumbered(c.Instance()) }

// Settled reports whether every partition has a living owner and no node is suspect.
func (c *Cluster) Settled() bool { return Settled(c.View(), c.Table()) }

// SingleCopy counts the partitions that have fewer than two living copies.
func (c *Cluster) SingleCopy() int { return SingleCopy(c.View(), c.Table()) }

// Describe returns the answer of /v1/ring; withTable false leaves its rows out.
func (c *Cluster) Describe(withTable bool) RingDocument {
	return Describe(c.cfg.Name, c.cfg.Partitions, c.View(), c.Ring(), c.Table(), withTable)
}

// Watch returns a channel that receives a value after View, Ring or Table changed, several changes
// as one, and a function that ends it.
func (c *Cluster) Watch() (changed <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers[w] = struct{}{}
	return w, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
	}
}

// LinkUp tells that a link to the node is open. Every LinkUp is followed by one LinkDown at most.
func (c *Cluster) LinkUp(to proto.NodeName) { c.post(event{kind: linkUp, node: to}) }

// LinkDown tells that a link to the node is gone.
func (c *Cluster) LinkDown(to proto.NodeName) { c.post(event{kind: linkDown, node: to}) }

// HandleFrame takes a Table, Delta, TableGet or Version frame that came over a link. It copies body
// and does not block.
func (c *Cluster) HandleFrame(from proto.NodeName, typ proto.FrameType, body []byte) {
	c.post(event{kind: frameCame, node: from, typ: typ, body: append([]byte(nil), body...)})
}

// NeedTable tells that somebody uses a higher term for the partition than our Table has.
func (c *Cluster) NeedTable(p proto.Partition, term proto.Term) {
	if t := c.Table(); t == nil || int(p) < t.Partitions() && t.Row(p).Term < term {
		c.post(event{kind: tableNeeded, row: p, term: term})
	}
}

// Drain tells everybody that this node is about to leave: it will be given nothing new.
func (c *Cluster) Drain() {
	c.draining.Store(true)
	c.poke()
}

// post queues an event. Links that come and go are never dropped: there are as many as links.
func (c *Cluster) post(e event) {
	c.mu.Lock()
	taken := c.take(e)
	c.mu.Unlock()
	if taken {
		c.poke()
	}
}

// take puts an event into the inbox if there is room. The caller holds mu.
func (c *Cluster) take(e event) bool {
	switch e.kind {
	case frameCame:
		size := len(e.body) + 64 // an event is not free even when its frame is empty
		if c.inboxBytes+size > maxInbox {
			c.stats.Dropped.Add(1)
			return false
		}
		c.inboxBytes += size
	case tableNeeded:
		if c.needed {
			return false
		}
		c.needed = true
	}
	c.inbox = append(c.inbox, e)
	return true
}

func (c *Cluster) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run takes part in the cluster until ctx ends or the membership fails. When it returns, everything
// that it started has ended, and the others were told that this node left.
func (c *Cluster) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := c.cfg.Membership.Run(ctx); err != nil {
			return fmt.Errorf("run membership: %w", err)
		}
		return ctx.Err()
	})
	g.Go(func() error { return c.loop(ctx) })
	return g.Wait()
}

func (c *Cluster) loop(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	c.keeper.SetNodes(time.Now(), c.cfg.Membership.Nodes())
	for {
		c.carryOut()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.cfg.Membership.Changed():
			c.keeper.SetNodes(time.Now(), c.cfg.Membership.Nodes())
		case <-c.wake:
			c.handle(time.Now())
		case <-tick.C:
			c.keeper.Tick(time.Now())
		}
	}
}

// handle gives the keeper what came from links.
func (c *Cluster) handle(now time.Time) {
	c.mu.Lock()
	events := c.inbox
	c.inbox, c.inboxBytes, c.needed = nil, 0, false
	c.mu.Unlock()
	for _, e := range events {
		switch e.kind {
		case linkUp:
			c.keeper.LinkUp(now, e.node)
		case linkDown:
			c.keeper.LinkDown(now, e.node)
		case tableNeeded:
			c.keeper.NeedTable(now, e.row, e.term)
		case frameCame:
			c.stats.Frames.Add(1)
			if err := c.keeper.Frame(now, e.node, e.typ, e.body); err != nil {
				c.stats.Bad.Add(1)
				c.cfg.Logger.Warn("frame about the table not understood", zap.Error(err))
			}
		}
	}
}

// carryOut does what the keeper decided: swap the values first, so that who is told of a change
// sees it, then send.
func (c *Cluster) carryOut() {
	if c.swap() {
		c.mu.Lock()
		for w := range c.watchers {
			select {
			case w <- struct{}{}:
			default:
			}
		}
		c.mu.Unlock()
	}
	if say := (Announced{Instance: c.keeper.Instance(), Draining: c.draining.Load()}); say != c.said {
		c.said = say
		c.cfg.Membership.Announce(say)
	}
	for _, s := range c.keeper.Take() {
		c.cfg.Send(s.To, s.Frame)
	}
}

func (c *Cluster) swap() bool {
	k := c.keeper
	if c.View() == k.View() && c.Ring() == k.Ring() && c.Table() == k.Table() {
		return false
	}
	c.view.Store(k.View())
	c.ring.Store(k.Ring())
	c.table.Store(k.Table())
	return true
}

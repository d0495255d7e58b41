package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

// Config says who this node is and how it reaches the others. Self.Name, Self.Role, Membership,
// Register and Send have no default.
type Config struct {
	// Self is this node as the Membership shows it to others.
	Self Node

	// Name is the cluster's name, for display.
	Name string

	// Membership knows who is there. Run runs it.
	Membership Membership

	// Register keeps the Table. Run runs it.
	Register Register

	// Seeded says that there are other nodes to join. It raises BootstrapExpect's
	// default, and makes a founder listen for a moment first.
	Seeded bool

	// BootstrapExpect is how many shards must be there to found a cluster.
	// If zero, 1, or 3 when Seeded.
	BootstrapExpect int

	// Partitions is the number of partitions, the same on all nodes and for ever.
	// If zero, proto.Partitions.
	Partitions int

	// Followers is how many copies beside the owner's the partitions of a cluster should have that
	// this node leads, 0 or 1. If negative, it has no opinion: as the Table says. Routers never have one.
	Followers int

	// MaxMoves is how many partitions are moved at a time while this node leads.
	// If zero, 32; if negative, none is.
	MaxMoves int

	// Send hands a control frame to a link to the node, and drops it when there is none; a frame
	// to this node itself is for the shard here. It is called from the cluster's goroutine and must
	// not block. It may keep the frame's bytes but never change them: others get the same ones.
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
	view   atomic.Pointer[View]
	ring   atomic.Pointer[Ring]
	table  atomic.Pointer[Table]
	stance atomic.Pointer[Stance]
	probes atomic.Pointer[[]Probe]
	fates  atomic.Pointer[map[proto.NodeName]Fate]

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

// Stance is where a node stands towards the register.
type Stance struct {
	Founding proto.Founding // what this node belongs to, zero while it knows none
	Leader   proto.NodeName // who leads, "" when nobody has been heard of for 3 s: the Table cannot change
	Term     uint64         // of the leader, in the register; 0 while there is none
	Leading  bool           // this node leads
	Relieved bool           // this node may go: it does not vote, or nobody else could
	Free     bool           // this shard may go: no partition is here and none is on its way, or nobody else could take it
}

// event is something that links have to tell.
type event struct {
	kind eventKind
	node proto.NodeName
	typ  proto.FrameType
	body []byte
	row  proto.Partition
	term proto.Term
	end  LinkEnd
	fate Fate
	do   func(now time.Time)
}

type eventKind uint8

const (
	linkUp eventKind = iota
	linkDown
	frameCame
	tableNeeded
	fateFound
	call
)

// New checks the Config and returns a Cluster that sees nobody yet. It starts nothing.
func New(cfg Config) (*Cluster, error) {
	if _, err := proto.ParseNodeName(string(cfg.Self.Name)); err != nil {
		return nil, fmt.Errorf("new cluster: %w", err)
	}
	switch {
	case cfg.Self.Role != proto.RoleRouter && cfg.Self.Role != proto.RoleShard:
		return nil, fmt.Errorf("new cluster: unknown %v", cfg.Self.Role)
	case cfg.Membership == nil || cfg.Register == nil || cfg.Send == nil:
		return nil, errors.New("new cluster: Membership, Register and Send must be set")
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
	c := &Cluster{cfg: cfg, wake: make(chan struct{}, 1), watchers: make(map[chan struct{}]struct{})}
	c.keeper = NewKeeper(KeeperConfig{
		Self:       cfg.Self.Name,
		Role:       cfg.Self.Role,
		Partitions: cfg.Partitions,
		Followers:  cfg.Followers,
		MaxMoves:   cfg.MaxMoves,
		Expect:     cfg.BootstrapExpect,
		Seeded:     cfg.Seeded,
		Random:     cfg.Random,
		Stats:      &c.stats,
		Logger:     cfg.Logger,
	})
	c.keeper.SetRegister(time.Now(), cfg.Register.Status())
	c.swap()
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

// Stance returns where this node stands towards the register.
func (c *Cluster) Stance() Stance { return *c.stance.Load() }

// Founding returns which founding of which cluster this node belongs to, zero while it knows none.
func (c *Cluster) Founding() proto.Founding { return c.Stance().Founding }

// Instance returns the cluster that this node belongs to, zero while it knows none.
func (c *Cluster) Instance() proto.Instance { return c.Founding().Instance }

// Fates returns what proved the deaths of nodes of the View; who is dead and not in it, is so by the
// membership's verdict or an operator's word. The map must not be changed.
func (c *Cluster) Fates() map[proto.NodeName]Fate { return *c.fates.Load() }

// Probes returns the nodes whose address is to be asked who is there, a few times a second as long as
// they are in it. SetFate is told.
func (c *Cluster) Probes() []Probe { return *c.probes.Load() }

// Voter returns the living node that votes under the name, and where it accepts links.
func (c *Cluster) Voter(voter proto.NodeName) (Probe, bool) {
	for _, n := range c.View().Nodes() {
		if n.Voter == voter && n.Lives() {
			return Probe{n.Name, n.Addresses.Link}, true
		}
	}
	return Probe{}, false
}

// Outnumbered reports whether more nodes of another instance are seen than of this node's: then it
// should not call itself ready.
func (c *Cluster) Outnumbered() bool { return c.View().Outnumbered(c.Instance()) }

// Settled reports whether all is as it should be: see the function Settled.
func (c *Cluster) Settled() bool { return Settled(c.View(), c.Ring(), c.Table()) }

// SingleCopy counts the partitions that have fewer than two living copies.
func (c *Cluster) SingleCopy() int { return SingleCopy(c.View(), c.Table()) }

// Describe returns the answer of /v1/ring; withTable false leaves its rows out.
func (c *Cluster) Describe(withTable bool) RingDocument {
	return Describe(c.cfg.Name, c.cfg.Partitions, c.View(), c.Ring(), c.Table(), c.Stance().Leader, withTable)
}

// Watch returns a channel that receives a value after View, Ring, Table, Stance or Probes changed,
// several changes as one, and a function that ends it.
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

// LinkDown tells that a link to the node is gone, and how it ended.
func (c *Cluster) LinkDown(to proto.NodeName, end LinkEnd) {
	c.post(event{kind: linkDown, node: to, end: end})
}

// SetFate tells what a probe of a node found out.
func (c *Cluster) SetFate(name proto.NodeName, fate Fate) {
	c.post(event{kind: fateFound, node: name, fate: fate})
}

// HandleFrame takes a frame from FrameTable to FrameAgree, a FramePromised or a FrameWish, that came over
// a link or from this node itself. It copies body
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

// Forget makes it known that a run of a node is dead for good, on an operator's word, and waits until
// that is written down or ctx ends. Only the leader can do it (ErrNotLeading); others fail with
// ErrUnknown or ErrAlive. name is a whole node name, or an id whose dead run is meant.
func (c *Cluster) Forget(ctx context.Context, name string) (proto.NodeName, error) {
	var run proto.NodeName
	err := c.ask(ctx, func(now time.Time) (err error) {
		run, err = c.keeper.Forget(now, name)
		return err
	})
	if err != nil {
		return run, err
	}
	return run, c.wait(ctx, func() bool {
		t := c.Table()
		return t != nil && (slices.Contains(t.Forgotten, run) || !t.named.names(run))
	})
}

// Recover founds the cluster anew when the majority of its voters is lost for good, and waits until
// that is done or ctx ends. It returns the Tables before and after.
func (c *Cluster) Recover(ctx context.Context) (before, after *Table, err error) {
	if err := c.ask(ctx, c.recover); err != nil {
		return nil, nil, err
	}
	before = c.Table()
	err = c.wait(ctx, func() bool {
		after = c.Table()
		return after.Founding().Generation > before.Founding().Generation
	})
	return before, after, err
}

func (c *Cluster) recover(now time.Time) error { return c.keeper.Recover(now) }

// ask has the keeper's goroutine answer.
func (c *Cluster) ask(ctx context.Context, f func(now time.Time) error) error {
	answer := make(chan error, 1)
	c.post(event{kind: call, do: func(now time.Time) { answer <- f(now) }})
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wait waits until View, Ring or Table are such that done says so.
func (c *Cluster) wait(ctx context.Context, done func() bool) error {
	changed, stop := c.Watch()
	defer stop()
	for !done() {
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
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
			c.stats.FramesDropped.Add(1)
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
	g.Go(func() error {
		if err := c.cfg.Register.Run(ctx); err != nil {
			return fmt.Errorf("run register: %w", err)
		}
		return ctx.Err()
	})
	g.Go(func() error { return c.loop(ctx) })
	return g.Wait()
}

func (c *Cluster) loop(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	var jobs sync.WaitGroup
	defer jobs.Wait()
	c.keeper.SetNodes(time.Now(), c.cfg.Membership.Nodes())
	for {
		c.carryOut()
		if job, ok := c.keeper.Job(); ok {
			jobs.Go(func() { c.place(job) })
		}
		if now := time.Now(); !c.keeper.Wake(now).IsZero() {
			wake.Reset(c.keeper.Wake(now).Sub(now))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.cfg.Membership.Changed():
			c.keeper.SetNodes(time.Now(), c.cfg.Membership.Nodes())
		case <-c.cfg.Register.Changed():
			c.keeper.SetRegister(time.Now(), c.cfg.Register.Status())
		case <-c.wake:
			c.handle(time.Now())
		case <-tick.C:
			c.keeper.Tick(time.Now())
		case <-wake.C:
			c.keeper.Tick(time.Now())
		}
	}
}

// place does a job that takes too long for the loop.
func (c *Cluster) place(job *PlaceJob) {
	placed := job.Run()
	c.post(event{kind: call, do: func(now time.Time) { c.keeper.Placed(now, placed) }})
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
			c.keeper.LinkDown(now, e.node, e.end)
		case fateFound:
			c.keeper.SetFate(now, e.node, e.fate)
		case call:
			e.do(now)
		case tableNeeded:
			c.keeper.NeedTable(now, e.row, e.term)
		case frameCame:
			c.stats.Frames.Add(1)
			if err := c.keeper.Frame(now, e.node, e.typ, e.body); err != nil {
				c.stats.FramesBad.Add(1)
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
	if say := (Announced{Instance: c.keeper.Instance(), Voter: c.cfg.Register.Status().Voter, Draining: c.draining.Load()}); say != c.said {
		c.said = say
		c.cfg.Membership.Announce(say)
	}
	for _, address := range c.keeper.Greetings() {
		c.cfg.Membership.Greet(address)
	}
	for _, s := range c.keeper.Take() {
		c.cfg.Send(s.To, s.Frame)
	}
	for _, i := range c.keeper.Orders() {
		c.cfg.Register.Do(i.Order, func(err error) {
			c.post(event{kind: call, do: func(now time.Time) {
				c.keeper.SetRegister(now, c.cfg.Register.Status())
				c.keeper.Done(now, i.Number, err)
			}})
		})
	}
}

func (c *Cluster) swap() bool {
	k := c.keeper
	probes, asked := k.Probes(), c.probes.Load()
	c.probes.Store(&probes)
	stance := k.Stance(time.Now())
	was := c.stance.Load()
	if was != nil && *was == stance && asked != nil && slices.Equal(*asked, probes) && c.View() == k.View() && c.Ring() == k.Ring() && c.Table() == k.Table() {
		return false
	}
	if c.View() != k.View() {
		fates := k.Fates() // first: who sees the View may ask for them
		c.fates.Store(&fates)
	}
	c.stance.Store(&stance)
	c.view.Store(k.View())
	c.ring.Store(k.Ring())
	c.table.Store(k.Table())
	return true
}

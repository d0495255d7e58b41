package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
)

const (
	// MaxShards is how many shards there may be, the ended ones counted: those can be restarted.
	MaxShards = 8

	// GoodbyeTime is how long nodes may take to end in order. What has not ended then ends without a
	// word: room is left in the 2 s within which Ctrl-C ends everything.
	GoodbyeTime = 1500 * time.Millisecond
)

// Node is a node that is open. *node.Node is one.
type Node interface {
	Name() proto.NodeName
	Addresses() node.Addresses
	// Run serves until ctx ends, which is a death to the others, or until drain is closed and the node has left.
	Run(ctx context.Context, drain <-chan struct{}) error
}

// Config is what a Cluster needs. All but Logger must be given.
type Config struct {
	// Routers are open. They run as long as the cluster does.
	Routers []Node

	// Shards is how many shards there are at first, 1 to MaxShards.
	Shards int

	// OpenShard opens a shard, which knows where the routers are. It is not called twice at once.
	OpenShard func(id proto.NodeID) (Node, error)

	// Voters asks who votes about the Table now.
	Voters func(ctx context.Context) ([]proto.NodeName, error)

	// Logger hears of nodes that end by themselves. If nil, nobody does.
	Logger *zap.Logger
}

// Cluster is some routers, which stay, and shards, which come and go.
type Cluster struct {
	// Set by New, then only read.
	cfg     Config
	routers []*run
	acting  chan struct{} // holds a token while an action is carried out: one at a time

	mu     sync.Mutex      // guards what follows, and the state of every run
	shards []*run          // by id; the last run of each, at most MaxShards
	life   context.Context // of all nodes; nil while none may be started

	nodes sync.WaitGroup // grows under mu while there is a life
}

// New opens the first shards. What is open when it fails ends with the process.
func New(cfg Config) (*Cluster, error) {
	if cfg.Shards < 1 || cfg.Shards > MaxShards {
		return nil, fmt.Errorf("%d shards: want 1 to %d", cfg.Shards, MaxShards)
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	c := &Cluster{cfg: cfg, acting: make(chan struct{}, 1)}
	for _, r := range cfg.Routers {
		c.routers = append(c.routers, newRun(r))
	}
	for i := range cfg.Shards {
		s, err := cfg.OpenShard(shardID(i))
		if err != nil {
			return nil, err
		}
		c.shards = append(c.shards, newRun(s))
	}
	return c, nil
}

// shardID is the id of a place in the list of shards.
func shardID(place int) proto.NodeID { return proto.NodeID(fmt.Sprintf("s%d", place+1)) }

// errNoRouter ends a cluster that no client could reach any more.
var errNoRouter = errors.New("no router runs any more")

// Run runs all nodes until ctx ends, and beside them what else is given: its ctx ends with Run, its error
// ends Run. Clients are told to go first; what has not ended after GoodbyeTime ends without a word. A node
// that ends by itself is logged and shown as ended, the others go on, as long as a router does.
func (c *Cluster) Run(ctx context.Context, beside ...func(context.Context) error) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	c.start(life, ctx.Done())
	others, besideCtx := errgroup.WithContext(ctx)
	for _, f := range beside {
		others.Go(func() error { return f(besideCtx) })
	}
	routers := c.waitRouters()
	select {
	case <-ctx.Done():
	case <-besideCtx.Done(): // one of them failed
	case <-routers:
		stop(errNoRouter)
	}
	stop(nil) // the routers say goodbye
	timer := time.AfterFunc(GoodbyeTime, end)
	defer timer.Stop()
	<-routers
	end()
	c.mu.Lock()
	c.life = nil // nothing is started any more
	c.mu.Unlock()
	c.nodes.Wait()
	err := others.Wait()
	if cause := context.Cause(ctx); err == nil && errors.Is(cause, errNoRouter) {
		err = errors.Join(cause, c.firstFailure())
	}
	return err
}

// start starts all nodes; the routers drain when leave is closed.
func (c *Cluster) start(life context.Context, leave <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life = life
	for _, r := range c.routers {
		c.begin(r, leave)
	}
	for _, s := range c.shards {
		c.begin(s, s.drain)
	}
}

// begin runs a node. c.mu is held.
func (c *Cluster) begin(r *run, drain <-chan struct{}) {
	ctx, kill := context.WithCancel(c.life)
	r.kill = kill
	c.nodes.Go(func() {
		defer kill()
		err := r.node.Run(ctx, drain)
		c.mu.Lock()
		r.end(err, c.life == nil || c.life.Err() != nil)
		state := r.state
		c.mu.Unlock()
		if state == Failed {
			c.cfg.Logger.Error("node ended", zap.String("node", string(r.node.Name())), zap.Error(err))
		}
		close(r.ended)
	})
}

// waitRouters returns a channel that is closed when no router runs any more.
func (c *Cluster) waitRouters() <-chan struct{} {
	ended := make(chan struct{})
	c.nodes.Go(func() {
		defer close(ended)
		for _, r := range c.routers {
			<-r.ended
		}
	})
	return ended
}

// firstFailure is why the first router that failed did, nil when none did.
func (c *Cluster) firstFailure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.routers {
		if r.state == Failed {
			return fmt.Errorf("%s: %w", r.node.Name().ID(), r.err)
		}
	}
	return nil
}

// Admin is the admin address of a router that runs, "" when none does.
func (c *Cluster) Admin() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.routers {
		if r.state == Running {
			return r.node.Addresses().Admin
		}
	}
	return ""
}

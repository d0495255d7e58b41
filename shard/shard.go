// Package shard runs partitions: it gives the pure cores of shard/partition
// loops, links and time.
//
// It decides nothing about rooms (shard/room), about what it owns
// (shard/partition, told by the Table), or about who links to whom (link). A
// shard is a number of lanes; partition p belongs to lane p % Lanes, and a lane
// shares nothing with the others.
//
// Read shard.go, then lane.go, where a turn is, then follow.go, about what is
// agreed on with the coordinator, and list.go, about what operators ask.
package shard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// Row is what the Table says of one partition.
type Row struct {
	Partition proto.Partition
	partition.Row
}

// Config says how a shard runs. The zero value works but for Self.
type Config struct {
	// Self is this run's name. Required.
	Self proto.NodeName

	// Lanes is how many loops share the work, a power of two. If zero,
	// link.DefaultLanes.
	Lanes int

	// Partitions is the cluster's partition count. If zero, proto.Partitions.
	Partitions int

	// HistoryMessages, HistoryBytes and HistoryAge bound what a room keeps for
	// resuming: a message is kept while all three hold. If zero, 1000, 1 MiB
	// and 5 minutes.
	HistoryMessages int
	HistoryBytes    int
	HistoryAge      time.Duration

	// WindowBytes bounds what one room keeps of its last 10 seconds beyond
	// that. If zero, 8 MiB.
	WindowBytes int

	// MaxMessage bounds a message, in bytes. If zero, what a frame holds: the
	// routers judge it first.
	MaxMessage int

	// MemoryLimit is what this process may use, in bytes: half of it for logs,
	// of which the live windows take an eighth of the limit. If zero, 1 GiB.
	MemoryLimit int64

	// MinCopies is how many copies a message must have, the owner's one of them,
	// to be acknowledged and delivered. If zero, 1.
	MinCopies int

	// Wish is called with what this shard's partitions want of the coordinator,
	// on the lanes' loops. If nil, nothing is wished.
	Wish func([]proto.Wish)

	// Control hears of the links of every lane, and of all frames that are not
	// about a partition. It is called on the lanes' loops. If nil, nobody does.
	Control link.Events

	// NeedTable is called while a router speaks of a partition in a higher term
	// than this shard's Table has: in each turn of a lane, with one partition and
	// the term that it is said to have. If nil, nobody is.
	NeedTable func(p proto.Partition, term proto.Term)

	// Portable drives links by goroutines instead of epoll; for tests.
	Portable bool

	// Logger is for operators. If nil, nothing is logged.
	Logger *zap.Logger
}

func (c *Config) setDefaults() {
	if c.Lanes == 0 {
		c.Lanes = link.DefaultLanes()
	}
	if c.Partitions == 0 {
		c.Partitions = proto.Partitions
	}
	if c.MemoryLimit == 0 {
		c.MemoryLimit = 1 << 30
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

// Shard is the lanes of one process.
type Shard struct {
	cfg   Config
	lanes []*lane

	listing chan struct{} // has something while a list of rooms is made
}

// New checks the configuration and starts nothing.
func New(cfg Config) (*Shard, error) {
	cfg.setDefaults()
	if cfg.Self == "" {
		return nil, errors.New("new shard: Self is missing")
	}
	if cfg.Lanes&(cfg.Lanes-1) != 0 {
		return nil, fmt.Errorf("new shard: %d lanes: want a power of two", cfg.Lanes)
	}
	s := &Shard{cfg: cfg, listing: make(chan struct{}, 1)}
	for i := range cfg.Lanes {
		l, err := newLane(&s.cfg, i)
		if err != nil {
			return nil, fmt.Errorf("new shard: %w", err)
		}
		s.lanes = append(s.lanes, l)
	}
	return s, nil
}

// Run drives the lanes until ctx ends.
func (s *Shard) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.lanes {
		g.Go(func() error { return l.loop.Run(ctx) })
	}
	return g.Wait()
}

// Lanes are the loops and who hears of the links on them, for link.NewMesh.
func (s *Shard) Lanes() []link.Lane {
	lanes := make([]link.Lane, len(s.lanes))
	for i, l := range s.lanes {
		lanes[i] = link.Lane{Loop: l.loop, Events: l}
	}
	return lanes
}

// UseMesh has the lanes drive the links of m, which was made of Lanes. It comes
// before Run.
func (s *Shard) UseMesh(m *link.Mesh) {
	for _, l := range s.lanes {
		l.mesh = m
	}
}

// SetTable tells the lanes who owns and follows what: of all partitions, or of
// those whose row is news. The slice is not changed afterwards.
func (s *Shard) SetTable(rows []Row) {
	for _, l := range s.lanes {
		l.loop.Post(func() { l.setTable(rows) })
	}
}

// SetRouters tells the lanes which routers are known to be there; what is
// remembered of others is given up in time.
func (s *Shard) SetRouters(live []proto.NodeName) {
	for _, l := range s.lanes {
		l.loop.Post(func() { l.setRouters(live) })
	}
}

// ErrStopped is returned to who asks a lane that does not answer before the
// context ends: as a rule, one that no longer runs.
var ErrStopped = errors.New("the shard does not run")

// Room describes a room that this shard owns.
func (s *Shard) Room(ctx context.Context, name string) (partition.Info, bool, error) {
	l := s.lanes[int(proto.PartitionOfString(name, s.cfg.Partitions))%len(s.lanes)]
	var info partition.Info
	var found bool
	if err := l.ask(ctx, func() { info, found = l.core.Room(name) }); err != nil {
		return partition.Info{}, false, err // the lane may be writing info yet
	}
	return info, found, nil
}

// Rooms is how many rooms this shard has of the partitions, copies of others'
// included.
func (s *Shard) Rooms(ctx context.Context, of []proto.Partition) (rooms int, err error) {
	for _, l := range s.lanes {
		n := 0
		if err := l.ask(ctx, func() { n = l.rooms(of) }); err != nil {
			return 0, err // the lane may be counting yet
		}
		rooms += n
	}
	return rooms, nil
}

// Stats is one lane's counters.
type Stats struct {
	Core partition.Stats
	Loop poll.Stats
}

// Stats returns the counters of each lane.
func (s *Shard) Stats(ctx context.Context) ([]Stats, error) {
	out := make([]Stats, len(s.lanes))
	for i, l := range s.lanes {
		err := l.ask(ctx, func() { out[i] = Stats{l.core.Stats(), l.loop.Stats()} })
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

package shard

import (
	"context"
	"runtime/debug"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// lane is one loop with the partitions that it runs. Everything here is
// touched on that loop alone, so there is no lock.
type lane struct {
	cfg    *Config
	log    *zap.Logger
	number int
	loop   *poll.Loop
	mesh   *link.Mesh // nil until UseMesh
	core   *partition.Lane

	peers map[*link.Link]*partition.Peer // the links of routers and other shards

	routers map[proto.NodeName]bool // seen on a link and not yet given up
	dirty   []*partition.Peer       // reused from turn to turn
	wishes  []proto.Wish            // the same
	filled  bool                    // data frames were filled in this turn
}

// snapshotRate bounds what a shard sends of rooms to those that learn them, in
// bytes per second: the rest of a network of 1 Gbit/s is for those who talk.
const snapshotRate = 64 << 20

func newLane(cfg *Config, n int) (*lane, error) {
	lanes := int64(cfg.Lanes)
	l := &lane{
		cfg:     cfg,
		log:     cfg.Logger,
		number:  n,
		peers:   map[*link.Link]*partition.Peer{},
		routers: map[proto.NodeName]bool{},
		core: partition.NewLane(partition.Config{
			Self: cfg.Self, Lane: n, Lanes: cfg.Lanes, Partitions: cfg.Partitions,
			HistoryMessages: cfg.HistoryMessages, HistoryBytes: cfg.HistoryBytes, HistoryAge: cfg.HistoryAge,
			WindowBytes: cfg.WindowBytes, MaxMessage: cfg.MaxMessage,
			MinCopies: cfg.MinCopies, SnapshotRate: snapshotRate / lanes,
			Total: cfg.MemoryLimit / 2 / lanes, WindowTotal: cfg.MemoryLimit / 8 / lanes,
		}),
	}
	loop, err := poll.New(poll.Config{Portable: cfg.Portable, Turn: l.turn, Tick: l.tick, Panic: l.panicked})
	if err != nil {
		return nil, err
	}
	l.loop = loop
	return l, nil
}

func (l *lane) panicked(v any) {
	l.log.Error("panic contained", zap.Any("value", v), zap.ByteString("stack", debug.Stack()))
}

// Up begins a link.
func (l *lane) Up(k *link.Link) {
	switch p, links := k.Peer(), max(k.Peer().Lanes, l.cfg.Lanes); p.Role {
	case proto.RoleRouter:
		l.peers[k] = l.core.RouterUp(p.Name, p.Index, links)
		l.routers[p.Name] = true
	case proto.RoleShard:
		l.peers[k] = l.core.ShardUp(p.Name, p.Index, links)
	}
	if r := l.peers[k]; r != nil {
		r.Tag = k
	}
	if l.cfg.Control != nil {
		l.cfg.Control.Up(k)
	}
}

// Down ends a link: what was under way on it is lost. A router attaches again
// on the next one, a follower is sent what it lacks.
func (l *lane) Down(k *link.Link, err error) {
	if r := l.peers[k]; r != nil {
		delete(l.peers, k)
		l.core.Down(r)
	}
	if l.cfg.Control != nil {
		l.cfg.Control.Down(k, err)
	}
}

// Frame handles one frame from another node.
func (l *lane) Frame(k *link.Link, typ proto.FrameType, body []byte) {
	if r := l.peers[k]; r != nil && typ >= proto.FramePublish && typ < proto.FramePing {
		if err := l.core.Frame(r, typ, body, l.loop.Now()); err != nil {
			k.Fail(err)
		}
		return
	}
	if l.cfg.Control != nil {
		l.cfg.Control.Frame(k, typ, body)
	}
}

// turn ends a wake-up: whoever has something to hear is told as far as its link
// takes it, and each link is written once.
func (l *lane) turn() {
	l.dirty = l.core.Dirty(l.dirty[:0])
	for _, r := range l.dirty {
		l.fill(r)
	}
	l.wish()
	l.flush()
	l.goOn()
	if need := l.cfg.NeedTable; need != nil {
		if p, term, ok := l.core.NeedTable(); ok {
			need(p, term)
		}
	}
}

func (l *lane) flush() {
	if l.mesh != nil {
		l.mesh.Flush(l.number)
	}
}

// fill gives a router what there is for it, as far as its link takes it.
func (l *lane) fill(r *partition.Peer) {
	k := r.Tag.(*link.Link)
	k.Control(func(b []byte) []byte { return l.core.Control(r, b) })
	space := k.Space()
	if space == 0 {
		return
	}
	if space >= link.HighWater {
		space = proto.MaxFrame // nothing waits: the largest message may go too
	}
	k.Data(func(b []byte) []byte {
		before := len(b)
		b = l.core.Fill(r, b, space)
		l.filled = l.filled || len(b) > before
		return b
	})
}

// goOn has another turn follow at once when a link took all that it was given
// and there is more: then nothing that happens would lead to one.
func (l *lane) goOn() {
	if !l.filled {
		return
	}
	l.filled = false
	l.dirty = l.core.Dirty(l.dirty[:0])
	for _, r := range l.dirty {
		if r.Tag.(*link.Link).Space() > 0 {
			l.loop.Post(func() {})
			return
		}
	}
}

func (l *lane) tick(now time.Time) {
	l.core.Tick(now)
	l.wish()
	if l.mesh != nil {
		l.mesh.Tick(l.number, now)
	}
}

func (l *lane) setTable(rows []Row) {
	now := l.loop.Now()
	for i := range rows {
		if r := &rows[i]; int(r.Partition)%l.cfg.Lanes == l.number {
			l.core.SetTable(r.Partition, r.Row, now)
		}
	}
}

func (l *lane) setRouters(live []proto.NodeName) {
	for name := range l.routers { // the order does not show
		if !slices.Contains(live, name) && !l.linked(name) {
			delete(l.routers, name)
			l.core.RouterGone(name)
		}
	}
}

func (l *lane) linked(name proto.NodeName) bool {
	for k := range l.peers {
		if k.Peer().Name == name {
			return true
		}
	}
	return false
}

func (l *lane) rooms(of []proto.Partition) (n int) {
	for _, p := range of {
		if int(p)%l.cfg.Lanes == l.number {
			n += l.core.RoomsOf(p)
		}
	}
	return n
}

// ask runs f on the loop and waits for it.
func (l *lane) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	l.loop.Post(func() {
		f()
		close(done)
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ErrStopped
	}
}

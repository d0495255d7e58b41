package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/router/hub"
	"github.com/roomring/roomring/shard"
	"github.com/roomring/roomring/shard/partition"
)

// role is what differs between a router and a shard.
type role interface {
	Lanes() []link.Lane
	UseMesh(*link.Mesh)
	run(ctx context.Context, clients net.Listener) error
	drain(ctx context.Context) error
	// retire ends all that this node decides about rooms; after it a goodbye is true.
	retire(ctx context.Context) error
	apply(*cluster.View, *cluster.Table)
	// healthy says whether the role can serve, and if not, why, in one word.
	healthy() (bool, string)
	// promise asks what this node follows for promises; answer may be called several times, from loops.
	promise(list []proto.Promise, answer func([]proto.Promise))
	// room describes a room of a partition that this node owns.
	room(ctx context.Context, name string) (partition.Info, bool, error)
	// list lists rooms of partitions that this node owns, and tail reads the messages of one.
	list(context.Context, partition.RoomsQuery) (partition.RoomList, error)
	tail(context.Context, partition.TailQuery) (partition.Tail, error)
	samples(ctx context.Context, to []admin.Sample) ([]admin.Sample, error)
	// figures writes what the role tells of itself.
	figures(ctx context.Context, t *admin.Told) error
}

type routerRole struct {
	*router.Router
	applied *cluster.Table
}

func (r *routerRole) run(ctx context.Context, clients net.Listener) error {
	return r.Router.Run(ctx, clients)
}

func (r *routerRole) drain(ctx context.Context) error { return r.Drain(ctx) }

func (r *routerRole) retire(context.Context) error { return nil }

// promise has nothing to promise: a router follows nothing.
func (r *routerRole) promise([]proto.Promise, func([]proto.Promise)) {}

func (r *routerRole) healthy() (bool, string) { return r.Healthy() }

func (r *routerRole) room(context.Context, string) (partition.Info, bool, error) {
	return partition.Info{}, false, nil
}

func (r *routerRole) list(context.Context, partition.RoomsQuery) (list partition.RoomList, err error) {
	return list, nil
}

func (r *routerRole) tail(context.Context, partition.TailQuery) (t partition.Tail, err error) {
	return t, nil
}

func (r *routerRole) apply(_ *cluster.View, t *cluster.Table) {
	if t == nil || t == r.applied {
		return
	}
	var rows []router.Row
	for _, p := range t.News(r.applied) {
		row := t.Row(p)
		rows = append(rows, router.Row{Partition: p, Owner: row.Owner, Term: row.Term})
	}
	r.applied = t
	r.SetTable(rows)
}

func (r *routerRole) samples(ctx context.Context, to []admin.Sample) ([]admin.Sample, error) {
	lanes, err := r.Stats(ctx)
	if err != nil {
		return to, err
	}
	to = admin.AppendStats(to, "router", each(lanes, func(s *router.Stats) *router.Counters { return &s.Conns })...)
	to = append(to, admin.Sample{Name: "roomring_router_max_conns", Help: "Conns that may be open at once; above it a handshake is answered 503.", Gauge: true, Value: float64(r.MaxConns())})
	to = admin.AppendStats(to, "hub", each(lanes, func(s *router.Stats) *hub.Stats { return &s.Hub })...)
	return admin.AppendStats(to, "loop", each(lanes, func(s *router.Stats) *poll.Stats { return &s.Loop })...), nil
}

func (r *routerRole) figures(ctx context.Context, t *admin.Told) error {
	lanes, err := r.Stats(ctx)
	for i := range lanes {
		conns, hub := &lanes[i].Conns, &lanes[i].Hub
		t.Conns += conns.Open
		t.Rooms += hub.Rooms
		t.Members += hub.Members
		t.MessagesTotal += conns.Messages + conns.Posts
		t.DeliveriesTotal += hub.Deliveries
		t.BytesInTotal += conns.Bytes
		t.BytesOutTotal += conns.BytesOut
	}
	return err
}

type shardRole struct {
	*shard.Shard
	node *Node

	mu      sync.Mutex // guards what is below
	applied *cluster.Table
	retired bool // it owns nothing any more, whatever Tables say
}

func (s *shardRole) run(ctx context.Context, _ net.Listener) error { return s.Run(ctx) }

// drain waits until others own and follow what this node did. With nobody there to take it, it ends at
// once and says what is lost; past the drain time it fails.
func (s *shardRole) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.node.cfg.DrainTime)
	defer cancel()
	changed, stop := s.node.cluster.Watch()
	defer stop()
	for !s.node.cluster.Stance().Free {
		select {
		case <-changed:
		case <-ctx.Done():
			return s.late(ctx)
		}
	}
	s.sayLost()
	return nil
}

// late is the end of a drain that took too long, if it was not overtaken by the end of all.
func (s *shardRole) late(ctx context.Context) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil
	}
	owned, following := s.sayLost()
	return fmt.Errorf("drain: after %v this node still owns %d partitions and follows %d", s.node.cfg.DrainTime, owned, following)
}

// sayLost says which rooms go with this node: those of partitions that it owns and that nobody follows.
func (s *shardRole) sayLost() (owned, following int) {
	t := s.node.cluster.Table()
	if t == nil {
		return 0, 0
	}
	var alone []proto.Partition
	for p, row := range t.Rows() {
		switch {
		case row.Owner == s.node.name && len(row.Followers) == 0:
			alone = append(alone, p)
			fallthrough
		case row.Owner == s.node.name:
			owned++
		case slices.Contains(row.Followers, s.node.name):
			following++
		}
	}
	short, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// If the end has overtaken us, there is nobody left to ask, and nothing that could be counted.
	if rooms, err := s.Rooms(short, alone); err == nil && rooms > 0 {
		s.node.log.Warn("rooms are lost: this node has the only copy of them", zap.Int("rooms", rooms), zap.Int("partitions", len(alone)))
	}
	return owned, following
}

// retire gives up all partitions, so that nothing is appended behind the goodbye that lets others own
// them.
func (s *shardRole) retire(ctx context.Context) error {
	s.mu.Lock()
	s.retired = true
	if t := s.applied; t != nil {
		rows := make([]shard.Row, t.Partitions())
		for p := range rows {
			rows[p].Partition = proto.Partition(p)
			rows[p].Term = t.Row(rows[p].Partition).Term
		}
		s.SetTable(rows)
	}
	s.mu.Unlock()
	_, err := s.Stats(ctx) // answered by all lanes behind that
	return err
}

func (s *shardRole) promise(list []proto.Promise, answer func([]proto.Promise)) {
	s.Promise(list, answer)
}

func (s *shardRole) healthy() (bool, string) { return true, "" }

func (s *shardRole) room(ctx context.Context, name string) (partition.Info, bool, error) {
	return s.Room(ctx, name)
}

func (s *shardRole) list(ctx context.Context, q partition.RoomsQuery) (partition.RoomList, error) {
	return s.ListRooms(ctx, q)
}

func (s *shardRole) tail(ctx context.Context, q partition.TailQuery) (partition.Tail, error) {
	return s.Tail(ctx, q)
}

func (s *shardRole) apply(v *cluster.View, t *cluster.Table) {
	var routers []proto.NodeName
	for _, node := range v.Nodes() {
		if node.Role == proto.RoleRouter && node.Lives() {
			routers = append(routers, node.Name)
		}
	}
	s.SetRouters(routers)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t == nil || t == s.applied || s.retired {
		return
	}
	var rows []shard.Row
	for _, p := range t.News(s.applied) {
		row, move := t.Row(p), t.Move(p)
		rows = append(rows, shard.Row{Partition: p, Row: partition.Row{
			Owner: row.Owner, Followers: row.Followers, Term: row.Term, Since: row.Since,
			Learner: move.To, Freezing: move.State == plan.Freezing,
		}})
	}
	s.applied = t
	s.SetTable(rows)
}

func (s *shardRole) samples(ctx context.Context, to []admin.Sample) ([]admin.Sample, error) {
	lanes, err := s.Stats(ctx)
	if err != nil {
		return to, err
	}
	to = admin.AppendStats(to, "shard", each(lanes, func(s *shard.Stats) *partition.Stats { return &s.Core })...)
	return admin.AppendStats(to, "loop", each(lanes, func(s *shard.Stats) *poll.Stats { return &s.Loop })...), nil
}

func (s *shardRole) figures(ctx context.Context, t *admin.Told) error {
	lanes, err := s.Stats(ctx)
	for i := range lanes {
		core := &lanes[i].Core
		t.Rooms += core.Owning
		t.Members += core.Members
		t.MessagesTotal += core.Published
		t.DeliveriesTotal += core.Delivered
		t.LagEntries = max(t.LagEntries, core.LagEntries)
		t.LagBytes += core.LagBytes
	}
	return err
}

// each points at the same part of every lane's counters.
func each[S, P any](lanes []S, part func(*S) *P) []*P {
	parts := make([]*P, len(lanes))
	for i := range lanes {
		parts[i] = part(&lanes[i])
	}
	return parts
}

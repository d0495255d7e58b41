package node

import (
	"context"
	"net"
	"sync"

	"go.uber.org/zap"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
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
	// room describes a room of a partition that this node owns.
	room(ctx context.Context, name string) (partition.Info, bool, error)
	samples(ctx context.Context, to []admin.Sample) ([]admin.Sample, error)
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

func (r *routerRole) healthy() (bool, string) { return r.Healthy() }

func (r *routerRole) room(context.Context, string) (partition.Info, bool, error) {
	return partition.Info{}, false, nil
}

func (r *routerRole) apply(_ *cluster.View, t *cluster.Table) {
	if t == nil || t == r.applied {
		return
	}
	r.applied = t
	rows := make([]router.Row, t.Partitions())
	for p := range rows {
		row := t.Row(proto.Partition(p))
		rows[p] = router.Row{Owner: row.Owner, Term: row.Term}
	}
	r.SetTable(rows)
}

func (r *routerRole) samples(ctx context.Context, to []admin.Sample) ([]admin.Sample, error) {
	lanes, err := r.Stats(ctx)
	if err != nil {
		return to, err
	}
	to = admin.AppendStats(to, "router", each(lanes, func(s *router.Stats) *router.Counters { return &s.Conns })...)
	to = admin.AppendStats(to, "hub", each(lanes, func(s *router.Stats) *hub.Stats { return &s.Hub })...)
	return admin.AppendStats(to, "loop", each(lanes, func(s *router.Stats) *poll.Stats { return &s.Loop })...), nil
}

type shardRole struct {
	*shard.Shard
	log *zap.Logger

	mu      sync.Mutex // guards what is below
	applied *cluster.Table
	retired bool // it owns nothing any more, whatever Tables say
}

func (s *shardRole) run(ctx context.Context, _ net.Listener) error { return s.Run(ctx) }

// drain has nobody to hand over to yet: partitions get new owners, and their
// rooms new epochs, when this node has left. It says what that loses.
func (s *shardRole) drain(ctx context.Context) error {
	lanes, err := s.Stats(ctx)
	if err != nil {
		return nil // the end has overtaken us: there is nobody left to ask
	}
	partitions, rooms := 0, 0
	for i := range lanes {
		partitions += lanes[i].Core.Owned
		rooms += lanes[i].Core.Rooms
	}
	if rooms > 0 {
		s.log.Warn("rooms are lost: this node has the only copy of them", zap.Int("rooms", rooms), zap.Int("partitions", partitions))
	}
	return nil
}

// retire gives up all partitions, so that nothing is appended behind the goodbye that lets others own
// them.
func (s *shardRole) retire(ctx context.Context) error {
	s.mu.Lock()
	s.retired = true
	if t := s.applied; t != nil {
		rows := make([]shard.Row, t.Partitions())
		for p := range rows {
			rows[p].Term = t.Row(proto.Partition(p)).Term
		}
		s.SetTable(rows)
	}
	s.mu.Unlock()
	_, err := s.Stats(ctx) // answered by all lanes behind that
	return err
}

func (s *shardRole) healthy() (bool, string) { return true, "" }

func (s *shardRole) room(ctx context.Context, name string) (partition.Info, bool, error) {
	return s.Room(ctx, name)
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
	s.applied = t
	rows := make([]shard.Row, t.Partitions())
	for p := range rows {
		row := t.Row(proto.Partition(p))
		rows[p] = shard.Row{Owner: row.Owner, Followers: row.Followers, Term: row.Term, Since: row.Since}
	}
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

// each points at the same part of every lane's counters.
func each[S, P any](lanes []S, part func(*S) *P) []*P {
	parts := make([]*P, len(lanes))
	for i := range lanes {
		parts[i] = part(&lanes[i])
	}
	return parts
}

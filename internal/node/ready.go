package node

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// source is a node as its admin port sees it.
type source Node

var _ admin.Source = (*source)(nil)

// Ring is the document of /v1/ring.
func (s *source) Ring(withTable bool) any { return s.cluster.Describe(withTable) }

// Room is the document of /v1/room.
func (s *source) Room(ctx context.Context, name string) (admin.RoomDocument, error) {
	return (*Node)(s).room(ctx, name)
}

// Ready says whether the node should be given work.
func (s *source) Ready() (bool, []string) {
	reasons := s.standing()
	if s.control.draining.Load() {
		reasons = append(reasons, admin.ReasonDraining)
	} else if ok, reason := s.role.healthy(); !ok {
		reasons = append(reasons, reason)
	}
	if len(reasons) == 0 && s.kind == proto.RoleShard {
		reasons = s.safety()
	}
	return len(reasons) == 0, reasons
}

// safety is why a rolling restart should not go on to the next shard yet.
func (s *source) safety() []string {
	reasons := []string{}
	if !votersWhole(s.cluster.View(), s.cluster.Table()) {
		reasons = append(reasons, admin.ReasonVoters)
	}
	if since := s.lacking.Load(); since != nil {
		if took := time.Since(*since); took < copiesPatience {
			reasons = append(reasons, s.missing())
		} else if s.patient.Swap(false) {
			s.log.Warn("copies are still missing; this node counts as ready all the same", zap.String("reason", s.missing()), zap.Duration("for", took))
		}
	}
	return reasons
}

// copiesPatience bounds how long a shard is not ready because copies are missing: a cluster that cannot
// make them must still be possible to restart.
const copiesPatience = 5 * time.Minute

// missing is which copies are missing: all of some partitions, or one.
func (s *source) missing() string {
	if v, t := s.cluster.View(), s.cluster.Table(); t != nil && ownerless(v, t) {
		return admin.ReasonOwnerless
	}
	return admin.ReasonCopies
}

// watchCopies notes since when partitions lack an owner, or such as this shard could follow a copy.
func (n *Node) watchCopies(v *cluster.View, t *cluster.Table) {
	switch lacking := t != nil && (ownerless(v, t) || copiesLacking(n.name, v, t)); {
	case !lacking:
		n.lacking.Store(nil)
	case n.lacking.Load() == nil:
		now := time.Now()
		n.patient.Store(true)
		n.lacking.Store(&now)
	}
}

// ownerless reports whether partitions have no owner that lives: nobody can publish to their rooms.
func ownerless(v *cluster.View, t *cluster.Table) bool {
	return t.Ownerless(func(name proto.NodeName) bool {
		n, seen := v.Node(name)
		return seen && n.Lives()
	})
}

// copiesLacking reports whether partitions of others have fewer followers than they should, and there
// are shards enough for them.
func copiesLacking(self proto.NodeName, v *cluster.View, t *cluster.Table) bool {
	staying := 0
	for _, n := range v.LiveShards(t.Instance) {
		if n.State != cluster.Draining {
			staying++
		}
	}
	wanted := min(int(t.Settings.Followers), staying-1)
	return wanted > 0 && t.Alone(self) > 0 // more than one is never wanted
}

// standing is what keeps the node from being a whole part of its cluster.
func (s *source) standing() []string {
	reasons := []string{}
	stance, table := s.cluster.Stance(), s.cluster.Table()
	switch {
	case table == nil && stance.Founding.Instance.IsZero():
		reasons = append(reasons, admin.ReasonWaitingForShards)
	case table == nil:
		reasons = append(reasons, admin.ReasonNoTable)
	}
	if !stance.Founding.Instance.IsZero() && stance.Leader == "" {
		reasons = append(reasons, admin.ReasonNoMajority)
	}
	if s.cluster.Outnumbered() {
		reasons = append(reasons, admin.ReasonOtherInstance)
	}
	return reasons
}

// votersWhole reports whether the register has as many voters as the cluster's size asks for: a shard
// that is not waited for until then could take the majority with it when the next one goes.
func votersWhole(v *cluster.View, t *cluster.Table) bool {
	nodes := 0
	for _, n := range v.Nodes() {
		if n.Lives() && n.State != cluster.Draining && n.Instance == t.Instance {
			nodes++
		}
	}
	return len(t.Voters) >= plan.VotersFor(nodes)
}

// Health says whether the process is worth keeping. A node that waits for
// others is: only itself could end that by being restarted.
func (s *source) Health() (bool, string) { return true, "" }

package cluster

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// found founds the cluster if it is up to this node: a shard without a Table that has the lowest
// name of at least Expect shards, while no living node names an instance. When more than one shard
// is expected, or there are seeds to hear from, the list of shards must have been the same for a
// moment, so that nodes that are just getting to know each other do not found two clusters, nor a
// shard that comes back a second one beside its routers. Routers never found.
func (k *Keeper) found(now time.Time) {
	if k.instanceSeen() {
		k.logWait(now, "waiting for the table of the cluster")
		return
	}
	if len(k.shards) < k.cfg.Expect || k.cfg.Role != proto.RoleShard {
		// The numbers are in the message: people watch this one while they start a cluster.
		k.logWait(now, fmt.Sprintf("waiting for shards: have %d of %d", len(k.shards), k.cfg.Expect))
		return
	}
	if k.shards[0] != k.cfg.Self || (k.cfg.Expect > 1 || k.cfg.Seeded) && now.Sub(k.shardsAt) < foundingQuiet {
		return
	}
	instance, err := proto.MintInstance(k.cfg.Random)
	if err != nil {
		k.logWait(now, "no random bits to found a cluster")
		return
	}
	k.mint(now, instance)
}

// mint makes version 1 of the instance's Table, along the Ring, and sends it to every linked node.
func (k *Keeper) mint(now time.Time, instance proto.Instance) {
	empty := make([]Row, k.cfg.Partitions)
	lives := func(name proto.NodeName) bool { return k.view.State(name) != Dead }
	rows, err := plan.Apply(empty, plan.Decide(empty, lives, k.ring.Wanted))
	if err != nil {
		panic("cluster: the first table does not apply: " + err.Error())
	}
	k.log.Info("cluster founded", zap.Stringer("instance", instance), zap.Int("shards", len(k.shards)))
	k.alone = len(k.shards) == 1
	k.hold(now, NewTable(instance, 1, rows))
	for _, to := range k.linked {
		k.send(to, k.tableFrame())
	}
}

// giveUp drops a Table that nobody but this node ever had, once a node of another cluster is seen: a
// first shard that died and was started again the same way has founded a new cluster, while its
// routers still hold the old one's Table and wait for it. Nothing is lost, since no router knew us.
func (k *Keeper) giveUp(now time.Time) {
	if !k.alone {
		return
	}
	own, foreign := k.Instance(), false
	for i := range k.view.nodes {
		n := &k.view.nodes[i]
		switch {
		case n.Name == k.cfg.Self || !n.Lives() || n.Instance.IsZero():
		case n.Instance == own:
			k.alone = false
			return
		default:
			foreign = true
		}
	}
	if !foreign {
		return
	}
	k.log.Warn("another cluster is here: the one that this node founded alone is given up", zap.Stringer("instance", own))
	k.alone = false
	k.reg.Hold(nil)
	k.frame = nil
	k.look(now)
}

func (k *Keeper) instanceSeen() bool {
	return slices.ContainsFunc(k.view.nodes, func(n Node) bool {
		return n.Lives() && !n.Instance.IsZero()
	})
}

// watchFounders notes since when the shards that could found a cluster are the same. One run per
// id counts.
func (k *Keeper) watchFounders(now time.Time) {
	var shards []proto.NodeName
	for _, n := range k.view.LiveShards(proto.Instance{}) {
		if n.State == Draining || len(shards) > 0 && shards[len(shards)-1].ID() == n.ID() {
			continue
		}
		shards = append(shards, n.Name)
	}
	if !slices.Equal(shards, k.shards) {
		k.shards, k.shardsAt = shards, now
	}
}

package cluster

import (
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Coordinating reports whether this node decides: it holds the Table and no living shard with a
// lower name does.
func (k *Keeper) Coordinating() bool {
	return k.Table() != nil && k.view.Coordinator(k.Instance()) == k.cfg.Self
}

// coordinate gives partitions without a living owner a new one.
func (k *Keeper) coordinate(now time.Time) {
	if !k.Coordinating() {
		clear(k.unseen)
		return
	}
	old := k.Table()
	changes := plan.Decide(old.rows, k.verdicts(now), k.ring.Wanted)
	if len(changes) == 0 {
		return
	}
	next, err := k.reg.Propose(changes)
	if err != nil {
		// Both sides of the comparison are ours and nothing came in between.
		panic("cluster: the local register refused its own coordinator: " + err.Error())
	}
	k.frame = nil
	k.log.Info("partitions given to new owners", zap.Int("partitions", len(changes)), zap.Uint64("version", next.Version))
	k.push(old, next)
}

// verdicts returns who counts as alive, and renews the list of owners that no View has shown yet.
// Those get a grace: right after a start or a split this node may know the Table better than who is
// there, and to take a room from a living owner costs its history.
func (k *Keeper) verdicts(now time.Time) func(proto.NodeName) bool {
	before := k.unseen
	k.unseen = make(map[proto.NodeName]time.Time)
	known := make(map[proto.NodeName]bool)
	return func(name proto.NodeName) bool {
		alive, ok := known[name]
		if ok {
			return alive
		}
		if _, seen := k.view.Node(name); seen || k.replaced(name) {
			alive = k.view.State(name) != Dead
		} else {
			since, ok := before[name]
			if !ok {
				since = now
			}
			if alive = now.Sub(since) < unseenGrace; alive {
				k.unseen[name] = since
			}
		}
		known[name] = alive
		return alive
	}
}

// replaced reports whether the id of a node that is not in the View has another living run.
func (k *Keeper) replaced(name proto.NodeName) bool {
	runs := k.view.Runs(name.ID())
	for i := range runs {
		if runs[i].Lives() {
			return true
		}
	}
	return false
}

// absorb takes what is newer in t. The coordinator also resolves what contradicts and publishes the
// outcome above both versions; everybody else leaves that to it.
func (k *Keeper) absorb(now time.Time, t *Table) {
	own := k.Table()
	switch {
	case own == nil:
		k.log.Info("table taken", zap.Stringer("instance", t.Instance), zap.Uint64("version", t.Version))
		k.hold(now, t)
		return
	case own.Instance != t.Instance || own.Mark() == t.Mark():
		return
	case k.Coordinating():
		k.merge(now, own, t)
		return
	}
	rows, changed := plan.Newer(own.rows, t.rows)
	if version := max(own.Version, t.Version); changed || version > own.Version {
		k.hold(now, NewTable(own.Instance, version, rows))
	}
}

// merge makes one Table of two. When one of them has everything already and the higher version, it
// stands as it is: nothing has to be published.
func (k *Keeper) merge(now time.Time, own, t *Table) {
	merged := NewTable(own.Instance, max(own.Version, t.Version), plan.Merge(own.rows, t.rows, k.ring.Wanted))
	switch {
	case merged.Mark() == own.Mark() && t.Version < own.Version:
		return
	case merged.Mark() == t.Mark() && t.Version > own.Version:
	default:
		merged.Version++
	}
	if n := len(merged.Since(own).Rows); n > 0 {
		k.log.Info("tables merged", zap.Int("partitions", n), zap.Uint64("version", merged.Version))
	}
	k.publish(now, merged)
}

// publish holds next and, as coordinator, hands the difference on.
func (k *Keeper) publish(now time.Time, next *Table) {
	old := k.Table()
	k.hold(now, next)
	if k.Coordinating() {
		k.push(old, next)
	}
}

// push sends what changed to every linked node.
func (k *Keeper) push(old, next *Table) {
	if len(k.linked) == 0 {
		return
	}
	delta := next.Since(old)
	frame := AppendDelta(nil, &delta)
	for _, to := range k.linked {
		k.send(to, frame)
	}
}

package cluster

import (
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

// What a Keeper tells operators, and nobody else: nothing is decided by it.

// reportNodes logs and counts who came, went and changed since the last View.
func (k *Keeper) reportNodes(next *View) {
	for _, n := range next.nodes {
		was, known := k.view.Node(n.Name)
		if known && was.State == n.State {
			continue
		}
		if n.State == Suspect {
			k.stats.Suspicions.Add(1)
		}
		k.log.Info("node changed", zap.String("node", string(n.Name)), zap.Stringer("role", n.Role), zap.Stringer("state", n.State))
	}
	for _, n := range k.view.nodes {
		if _, known := next.Node(n.Name); !known {
			k.log.Info("node forgotten", zap.String("node", string(n.Name)), zap.Stringer("role", n.Role))
		}
	}
}

// watchTwins notes since when an id has had more than one living run.
func (k *Keeper) watchTwins(now time.Time) {
	twins := make(map[proto.NodeID]time.Time)
	for i := 1; i < len(k.view.nodes); i++ {
		a, b := &k.view.nodes[i-1], &k.view.nodes[i]
		if a.ID() != b.ID() || !a.Lives() || !b.Lives() {
			continue
		}
		since, known := k.twins[a.ID()]
		if !known {
			since = now
		}
		twins[a.ID()] = since
	}
	k.twins = twins
}

// reportTwins logs ids that two processes have been using for longer than a restart takes.
func (k *Keeper) reportTwins(now time.Time) {
	for id, since := range k.twins {
		if !since.IsZero() && now.Sub(since) >= twinGrace {
			k.twins[id] = time.Time{}
			k.log.Error("two processes use the same node id", zap.String("id", string(id)))
		}
	}
}

// reportForeign logs that nodes of another cluster are seen, once per change.
func (k *Keeper) reportForeign() {
	var foreign proto.Instance
	own := k.Instance()
	for i := range k.view.nodes {
		n := &k.view.nodes[i]
		if n.Lives() && !own.IsZero() && !n.Instance.IsZero() && n.Instance != own {
			foreign = n.Instance
		}
	}
	if foreign != k.foreign && !foreign.IsZero() {
		k.log.Error("nodes of another cluster instance are seen", zap.Stringer("instance", own), zap.Stringer("other", foreign))
	}
	k.foreign = foreign
}

// logWait says what this node is waiting for, at most every waitLogEvery, and not in the moment of
// its start.
func (k *Keeper) logWait(now time.Time, message string) {
	if k.waitLog.IsZero() {
		k.waitLog = now
	}
	if now.Sub(k.waitLog) >= waitLogEvery {
		k.waitLog = now
		k.log.Info(message)
	}
}

// reportLeader logs when the Table can no longer change, and when it can again.
func (k *Keeper) reportLeader(now time.Time) {
	if k.table == nil {
		return
	}
	led := k.Leader(now) != ""
	switch {
	case !led && k.led:
		k.stats.LeadersLost.Add(1)
		k.log.Error("no majority of the voters is reached: the table cannot change", zap.Strings("voters", texts(k.table.Voters)))
	case led && !k.led:
		k.log.Info("the register is led", zap.String("leader", string(k.Leader(now))))
	}
	k.led = led
}

func texts(names []proto.NodeName) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = string(n)
	}
	return list
}

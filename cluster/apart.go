package cluster

import (
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Shards that live and do not reach each other: a cable, a switch or a firewall between two of them, while all
// others hear both. Neither can copy from the other, and only they know. So every shard announces which shards
// it has no link to, and the coordinator places copies accordingly: neither follows the other.
//
// It gives a pair time to link again, and longer time to prove itself: with each fall twice as long, so that
// a link that comes and goes moves copies ever more seldom.

const (
	// apartAfter is how long one of a pair must have said that it has no link to the other.
	apartAfter = 2 * time.Second

	// togetherAfter is how long a pair must have been linked after its first fall, and maxFalls how often
	// that is doubled.
	togetherAfter = 3 * time.Second
	maxFalls      = 6

	// riftMemory is how long a pair's falls are remembered.
	riftMemory = 10 * time.Minute

	// maxMissing bounds how many shards an announcement names, and maxRifts how many pairs are kept account
	// of. What is more is taken for linked, as if nobody had said anything.
	maxMissing = 256
	maxRifts   = 4096
)

// rift is what is known of a pair of shards that had no link to each other, or have none.
type rift struct {
	open  bool      // one of them says so
	since time.Time // when that began, or ended
	apart bool      // it has been so for long, or the end was too short ago
	falls int       // how often it became so
}

// missing are the living shards that this one has no link to.
func (k *Keeper) missing() (names []proto.NodeName) {
	if k.cfg.Role != proto.RoleShard {
		return nil
	}
	own := k.Instance()
	for i := range k.view.nodes {
		n := &k.view.nodes[i]
		if n.LiveShard() && n.Instance == own && !k.reaches(n.Name) && len(names) < maxMissing {
			names = append(names, n.Name)
		}
	}
	return names
}

// watchRifts notes which shards have fallen apart, and which are together again. All nodes do, since each may
// come to lead: it would begin to undo what the leader before has done about it.
func (k *Keeper) watchRifts(now time.Time) {
	if now.Sub(k.riftsAt) < lookEvery {
		return
	}
	k.riftsAt = now
	open, rifts := k.openRifts(now), k.rifts
	for p := range open {
		if rifts[p] == nil && len(rifts) < maxRifts {
			rifts[p] = &rift{since: now}
		}
	}
	was := k.apart
	k.apart = nil
	for _, p := range slices.SortedFunc(maps.Keys(rifts), plan.Pair.Compare) {
		r := rifts[p]
		if r.open != open[p] {
			r.open, r.since = open[p], now
		}
		r.judge(now.Sub(r.since))
		switch {
		case !k.shardLives(now, p[0]) || !k.shardLives(now, p[1]) || !r.open && !r.apart && (r.falls == 0 || now.Sub(r.since) >= riftMemory):
			delete(rifts, p)
		case r.apart:
			k.apart = append(k.apart, p)
		}
	}
	if k.Coordinating() {
		k.reportRifts(was)
	}
}

// judge has a rift begin or end that has been open, or closed, for so long.
func (r *rift) judge(age time.Duration) {
	switch {
	case r.open && !r.apart && age >= apartAfter:
		r.apart = true
		r.falls++
	case !r.open && r.apart && age >= togetherAfter<<min(r.falls-1, maxFalls):
		r.apart = false
	}
}

// openRifts are the pairs of living shards of which one says that it has no link to the other. Whom this node has
// no link to itself is silent for it, which is worse.
func (k *Keeper) openRifts(now time.Time) map[plan.Pair]bool {
	open := make(map[plan.Pair]bool)
	for _, name := range k.linked {
		for _, other := range k.peers[name].said.Missing {
			if name != other && k.shardLives(now, name) && k.shardLives(now, other) {
				open[plan.MakePair(name, other)] = true
			}
		}
	}
	return open
}

// shardLives reports whether the name is that of a shard that copies can be on.
func (k *Keeper) shardLives(now time.Time, name proto.NodeName) bool {
	n, ok := k.view.Node(name)
	return ok && n.LiveShard() && k.verdict(now, name) == plan.Lives
}

// reportRifts logs which pairs fell apart, and which are together again.
func (k *Keeper) reportRifts(was []plan.Pair) {
	for _, p := range k.apart {
		if !slices.Contains(was, p) {
			k.log.Warn("two shards do not reach each other: neither follows the other", zap.String("node", string(p[0])), zap.String("other", string(p[1])))
		}
	}
	for _, p := range was {
		if !slices.Contains(k.apart, p) {
			k.log.Info("two shards are not apart any more", zap.String("node", string(p[0])), zap.String("other", string(p[1])))
		}
	}
}

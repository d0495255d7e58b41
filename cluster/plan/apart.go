package plan

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/roomring/roomring/proto"
)

// Pair is two nodes, the one with the lesser name first.
type Pair [2]proto.NodeName

// MakePair returns the Pair of two nodes, which may be given in any order.
func MakePair(a, b proto.NodeName) Pair { return Pair{min(a, b), max(a, b)} }

// Compare orders Pairs, for Scene.Apart.
func (p Pair) Compare(o Pair) int { return cmp.Or(cmp.Compare(p[0], o[0]), cmp.Compare(p[1], o[1])) }

// apart reports whether two nodes do not reach each other: neither can copy from the other.
func (s *Scene) apart(a, b proto.NodeName) bool {
	if len(s.Apart) == 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(s.Apart, MakePair(a, b), Pair.Compare)
	return found
}

// follower returns who should follow the partition while it has this owner: the wanted follower, or another
// if the two do not reach each other; "" for nobody. It may be the owner itself, who then waits for the wanted
// one.
func (s *Scene) follower(p proto.Partition, owner proto.NodeName) proto.NodeName {
	f := s.Wanted.Follower(p)
	switch {
	case f == "":
		return ""
	case f != owner && !s.apart(owner, f):
		return f
	case f == owner && !s.apart(owner, s.Wanted.Owner(p)):
		return f
	}
	return s.instead(p, owner)
}

// instead returns who follows the partition in place of the wanted follower, which the owner does not reach:
// of the shards that it does reach the one that scores highest for the partition, in another zone than the
// owner's if there is one. So what one shard should have is spread over all others, and goes back there when a
// node joins or leaves whom it is not about.
func (s *Scene) instead(p proto.Partition, owner proto.NodeName) (best proto.NodeName) {
	w := s.Wanted
	zone, known := w.zone(owner)
	bestScore, bestAway := uint64(0), false
	for i, run := range w.Runs {
		if run == owner || s.apart(owner, run) || !s.Fit(run) {
			continue
		}
		away := known && w.Placement.shards[i].Zone != zone
		score := mix(xxhash.Sum64String(string(run.ID())) ^ mix(uint64(p)+1))
		if best == "" || away && !bestAway || away == bestAway && score > bestScore {
			best, bestScore, bestAway = run, score, away
		}
	}
	return best
}

// zone returns the zone of one of the shards that copies are wanted on.
func (w *Wanted) zone(name proto.NodeName) (zone string, known bool) {
	if i := slices.Index(w.Runs, name); i >= 0 {
		return w.Placement.shards[i].Zone, true
	}
	return "", false
}

package plan

import (
	"slices"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"

	"github.com/roomring/roomring/proto"
)

// Owners returns, for each of the partitions, which of the shards should own it, as an index into
// ids. It goes by ids, not by incarnations, so a shard that restarts gets the same place back. ids
// must be sorted and without repetition; with none the answer is nil. s must pass Check.
//
// It costs about a millisecond per shard: build a ring once, then look up in the slice.
func Owners(s Settings, ids []proto.NodeID, partitions int) []int32 {
	if len(ids) == 0 {
		return nil
	}
	members := make([]consistent.Member, len(ids))
	for i, id := range ids {
		members[i] = member(id)
	}
	ring := consistent.New(members, consistent.Config{
		Hasher:            hasher{},
		PartitionCount:    partitions,
		ReplicationFactor: int(s.Replication),
		Load:              float64(s.Load) / 100,
	})
	placed := make([]int32, partitions)
	for p := range placed {
		id := proto.NodeID(ring.GetPartitionOwner(p).String())
		at, _ := slices.BinarySearch(ids, id)
		placed[p] = int32(at)
	}
	return placed
}

type member proto.NodeID

func (m member) String() string { return string(m) }

type hasher struct{}

func (hasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// Shard is one that copies can be placed on.
type Shard struct {
	ID   proto.NodeID
	Zone string // failure domain; "" is one like any other
}

// maxRings is the largest number of shards for which a follower's place is asked of rings of its own:
// that takes a ring per shard, each of which costs a millisecond per shard.
const maxRings = 32

// Placement is where an owner and a follower of each partition should be. It is immutable.
//
// Invariant: a follower is never where the owner is, nor in its zone while there are others.
type Placement struct {
	settings  Settings
	shards    []Shard
	owners    []int32 // by partition an index into shards; nil when there are none
	followers []int32 // likewise; nil when none are wanted, or nobody is there to be one
}

// Place says where copies should be while these shards are there: sorted by id, without repetition
// and without those that drain. s must pass Check. What previous has is used again; it may be nil.
//
// The owner is the Ring's (Owners). The follower is whom the ring without the owner's zone puts there,
// or without the owner, when all shards are in one zone: then a fail-over lands where the ring wants
// the partition, and no second move follows. Above maxRings shards that would take seconds; then the
// follower is the shard outside the zone that scores highest for the partition (rendezvous hashing)
// and does not follow too many already. That too moves next to nothing when a shard comes or goes, and
// spreads the followers of a shard's partitions evenly; but what has failed over is handed on later.
//
// It takes up to half a second: the caller has better things to do meanwhile.
func Place(previous *Placement, s Settings, shards []Shard, partitions int) *Placement {
	if previous.Fits(s, shards, partitions) {
		return previous
	}
	p := &Placement{settings: s, shards: slices.Clone(shards)}
	p.owners = Owners(s, idsOf(shards), partitions)
	switch {
	case s.Followers == 0 || len(shards) < 2:
	case len(shards) <= maxRings:
		p.askRings()
	default:
		p.score()
	}
	return p
}

// Fits reports whether the Placement is of exactly these shards, settings and partitions; nil fits
// nothing.
func (p *Placement) Fits(s Settings, shards []Shard, partitions int) bool {
	return p != nil && p.settings == s && slices.Equal(p.shards, shards) && (len(p.owners) == partitions || len(shards) == 0)
}

func idsOf(shards []Shard) []proto.NodeID {
	ids := make([]proto.NodeID, len(shards))
	for i := range shards {
		ids[i] = shards[i].ID
	}
	return ids
}

// zoned reports whether the shards are in more than one zone.
func zoned(shards []Shard) bool {
	return slices.ContainsFunc(shards, func(s Shard) bool { return s.Zone != shards[0].Zone })
}

// excluded says, by shard, in which group it is: a partition's follower is in another one than its
// owner. The groups are numbered from 0.
func excluded(shards []Shard) (group []int, groups int) {
	group = make([]int, len(shards))
	if !zoned(shards) {
		for i := range group {
			group[i] = i
		}
		return group, len(shards)
	}
	number := make(map[string]int)
	for i, s := range shards {
		n, known := number[s.Zone]
		if !known {
			n = len(number)
			number[s.Zone] = n
		}
		group[i] = n
	}
	return group, len(number)
}

// askRings builds, for each group, the ring without it.
func (p *Placement) askRings() {
	group, groups := excluded(p.shards)
	p.followers = make([]int32, len(p.owners))
	for g := range groups {
		var ids []proto.NodeID
		var at []int32 // of ids, in shards
		for i, s := range p.shards {
			if group[i] != g {
				ids, at = append(ids, s.ID), append(at, int32(i))
			}
		}
		placed := Owners(p.settings, ids, len(p.owners))
		for i, owner := range p.owners {
			if group[owner] == g {
				p.followers[i] = at[placed[i]]
			}
		}
	}
}

// score gives each partition to the shard of another group that scores highest and has room. Where a
// zone is so small that the others have no room for all that it owns, room is made.
func (p *Placement) score() {
	group, _ := excluded(p.shards)
	seeds := make([]uint64, len(p.shards))
	for i, s := range p.shards {
		seeds[i] = xxhash.Sum64String(string(s.ID))
	}
	room := (len(p.owners)*int(p.settings.Load) + 100*len(p.shards) - 1) / (100 * len(p.shards))
	has := make([]int, len(p.shards))
	p.followers = make([]int32, len(p.owners))
	for i, owner := range p.owners {
		best, bestScore, full := int32(-1), uint64(0), true
		for c := range p.shards {
			if group[c] == group[owner] {
				continue
			}
			isFull := has[c] >= room
			if score := mix(seeds[c] ^ mix(uint64(i)+1)); best < 0 || full && !isFull || full == isFull && score > bestScore {
				best, bestScore, full = int32(c), score, isFull
			}
		}
		has[best]++
		p.followers[i] = best
	}
}

// mix spreads the bits of x over all of the result (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Wanted is a Placement by the runs of its shards that are there now. A nil Wanted wants nobody.
type Wanted struct {
	Placement *Placement
	Runs      []proto.NodeName // of the Placement's shards, in their order
}

// same reports whether both want the same.
func (w *Wanted) same(o *Wanted) bool {
	return w == o || w != nil && o != nil && w.Placement == o.Placement && slices.Equal(w.Runs, o.Runs)
}

// Owner returns who should own the partition, "" for nobody.
func (w *Wanted) Owner(p proto.Partition) proto.NodeName {
	if w == nil || int(p) >= len(w.Placement.owners) {
		return ""
	}
	return w.Runs[w.Placement.owners[p]]
}

// Follower returns who should follow it, "" for nobody.
func (w *Wanted) Follower(p proto.Partition) proto.NodeName {
	if w == nil || int(p) >= len(w.Placement.followers) {
		return ""
	}
	return w.Runs[w.Placement.followers[p]]
}

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
// It takes some milliseconds: build a ring once, then look up in the slice.
func Owners(s Settings, ids []proto.NodeID, partitions int) []int32 {
	switch {
	case len(ids) == 0:
		return nil
	case len(ids) > maxRings:
		return makeCircle(s, ids, partitions).owners(s)
	}
	return libraryOwners(s, ids, partitions)
}

// libraryOwners is Owners by package consistent.
func libraryOwners(s Settings, ids []proto.NodeID, partitions int) []int32 {
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

// maxRings is the largest number of shards for which package consistent is asked, and for a follower's place rings
// of its own: that takes a ring per shard, each of which takes longer than twice as long for twice as many. Above
// it circle does the same for owners, and nearly the same for followers.
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
// the partition, and no second move follows. Above maxRings shards there is one exception: nobody follows more
// partitions than it may own, and what it has no room for the next one on the ring follows (3 of 100 partitions
// with 100 shards).
//
// It takes up to 0.2 s: the caller has better things to do meanwhile.
func Place(previous *Placement, s Settings, shards []Shard, partitions int) *Placement {
	if previous.Fits(s, shards, partitions) {
		return previous
	}
	p := &Placement{settings: s, shards: slices.Clone(shards)}
	follow := s.Followers > 0 && len(shards) > 1
	if len(shards) > maxRings {
		c := makeCircle(s, idsOf(shards), partitions)
		if p.owners = c.owners(s); follow {
			group, _ := excluded(shards)
			p.followers = c.followers(s, p.owners, group)
		}
		return p
	}
	if p.owners = Owners(s, idsOf(shards), partitions); follow {
		p.askRings()
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

package plan

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/roomring/roomring/proto"
)

// circle is the ring of package consistent, point by point: what the library computes, for more shards than it
// was made for. It sorts all points again for every shard that it is given, which takes 0.4 s for 300 of them and
// 5 s for 1000, on every node, whenever a shard comes or goes. Here they are sorted once. A test holds both
// against each other.
type circle struct {
	points []point // sorted by place
	keys   []int   // by partition, the first point at its key or behind
	shards int
}

// point is one of a shard's. That two lie at one place does not happen: there are a million of them at most, and
// 2^64 places.
type point struct {
	at    uint64
	shard int32
}

// makeCircle places ids, sorted and one at least, as consistent does: the points of a shard are the hashes of
// "0:ID", "1:ID" and so on, the key of a partition is that of its number in 8 bytes, little-endian.
func makeCircle(s Settings, ids []proto.NodeID, partitions int) *circle {
	c := &circle{points: make([]point, 0, len(ids)*int(s.Replication)), keys: make([]int, partitions), shards: len(ids)}
	var b []byte
	for i, id := range ids {
		for n := range int(s.Replication) {
			b = strconv.AppendInt(b[:0], int64(n), 10)
			b = append(append(b, ':'), id...)
			c.points = append(c.points, point{xxhash.Sum64(b), int32(i)})
		}
	}
	slices.SortFunc(c.points, func(x, y point) int { return cmp.Compare(x.at, y.at) })
	for p := range c.keys {
		b = binary.LittleEndian.AppendUint64(b[:0], uint64(p))
		at, _ := slices.BinarySearchFunc(c.points, xxhash.Sum64(b), func(x point, key uint64) int { return cmp.Compare(x.at, key) })
		c.keys[p] = at % len(c.points)
	}
	return c
}

// share is how many partitions a shard has at most: its part of them, and as much more as the load allows.
func share(s Settings, partitions, shards int) int {
	return int(math.Ceil(float64(partitions) / float64(shards) * (float64(s.Load) / 100)))
}

// owners gives each partition to the first shard behind its key that has room.
func (c *circle) owners(s Settings) []int32 {
	room, has := share(s, len(c.keys), c.shards), make([]int, c.shards)
	placed := make([]int32, len(c.keys))
	for p := range placed {
		placed[p] = c.first(p, func(shard int32) bool { return has[shard] < room })
		has[placed[p]]++
	}
	return placed
}

// followers gives each partition to the first shard behind its key that is in another group than its owner, and
// has room: where the ring without the owner puts it, if there is room.
func (c *circle) followers(s Settings, owners []int32, group []int) []int32 {
	room, has := c.outside(s, owners, group), make([]int, c.shards)
	placed := make([]int32, len(owners))
	for p, owner := range owners {
		fits := func(shard int32) bool { return group[shard] != group[owner] && has[shard] < room }
		for placed[p] = c.first(p, fits); placed[p] < 0; placed[p] = c.first(p, fits) {
			room++ // the others have followers of other groups' partitions, too
		}
		has[placed[p]]++
	}
	return placed
}

// outside is how many partitions a shard follows at most: its share, or more where a group owns so much that the
// shards that are not in it would have no room for that.
func (c *circle) outside(s Settings, owners []int32, group []int) int {
	size, owned := make(map[int]int), make(map[int]int)
	for _, g := range group {
		size[g]++
	}
	for _, owner := range owners {
		owned[group[owner]]++
	}
	room := share(s, len(owners), c.shards)
	for g, n := range owned {
		room = max(room, share(s, n, c.shards-size[g]))
	}
	return room
}

// first is the shard of the first point behind the partition's key that fits, -1 if none does.
func (c *circle) first(p int, fits func(shard int32) bool) int32 {
	for _, part := range [2][]point{c.points[c.keys[p]:], c.points[:c.keys[p]]} {
		for i := range part {
			if fits(part[i].shard) {
				return part[i].shard
			}
		}
	}
	return -1
}

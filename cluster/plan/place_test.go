package plan

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

func someShards(n, zones int) []Shard {
	shards := make([]Shard, n)
	for i := range shards {
		shards[i].ID = proto.NodeID(fmt.Sprintf("s%03d", i))
		if zones > 1 {
			shards[i].Zone = fmt.Sprintf("z%d", i%zones)
		}
	}
	return shards
}

// TestPlaceFollowers: whoever the shards are, owners are the Ring's, no follower is where its owner is
// or in its zone while there are others, and a fail-over lands where the ring without the owner's zone
// wants the partition.
func TestPlaceFollowers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const partitions = 211
		shards := someShards(rapid.SampledFrom([]int{1, 2, 3, 4, 5, 7, 12, 33}).Draw(t, "shards"), rapid.IntRange(1, 4).Draw(t, "zones"))
		if rapid.Bool().Draw(t, "uneven") {
			for i := range len(shards) / 2 {
				shards[i].Zone = shards[0].Zone
			}
		}
		p := Place(nil, DefaultSettings(), shards, partitions)
		if !slices.Equal(p.owners, Owners(DefaultSettings(), idsOf(shards), partitions)) {
			t.Fatal("owners are not the Ring's")
		}
		if len(shards) < 2 {
			if p.followers != nil {
				t.Fatal("a shard alone is followed")
			}
			return
		}
		next := make(map[string][]proto.NodeID) // who owns what when an owner, or its zone, is not there
		for i, follower := range p.followers {
			owner := shards[p.owners[i]]
			if owner == shards[follower] || zoned(shards) && owner.Zone == shards[follower].Zone {
				t.Fatalf("partition %d: %+v follows %+v", i, shards[follower], owner)
			}
			if len(shards) > maxRings {
				continue // TestCircleFollowers has those
			}
			key, lost := string(owner.ID), func(s Shard) bool { return s.ID == owner.ID }
			if zoned(shards) {
				key, lost = owner.Zone, func(s Shard) bool { return s.Zone == owner.Zone }
			}
			if next[key] == nil {
				left := idsOf(slices.DeleteFunc(slices.Clone(shards), lost))
				for _, at := range Owners(DefaultSettings(), left, partitions) {
					next[key] = append(next[key], left[at])
				}
			}
			if next[key][i] != shards[follower].ID {
				t.Fatalf("partition %d: %+v follows %+v, but %s is wanted next", i, shards[follower], owner, next[key][i])
			}
		}
	})
}

// TestPlaceIsBalanced: in one zone nobody follows much more than its share, and the followers of one
// shard's partitions are spread over all others.
func TestPlaceIsBalanced(t *testing.T) {
	for _, n := range []int{2, 3, 10, 32, 33, 100} {
		p := Place(nil, DefaultSettings(), someShards(n, 1), proto.Partitions)
		follows, pairs := make([]int, n), make(map[[2]int32]int)
		for i, f := range p.followers {
			follows[f]++
			pairs[[2]int32{p.owners[i], f}]++
		}
		bound := int(math.Ceil(float64(proto.Partitions) / float64(n) * 1.45))
		if most := slices.Max(follows); most > bound {
			t.Errorf("%d shards: one follows %d partitions, want %d at most", n, most, bound)
		}
		if n <= 10 && len(pairs) != n*(n-1) {
			t.Errorf("%d shards: only %d pairs of an owner and a follower", n, len(pairs))
		}
		t.Logf("%d shards: between %d and %d followed, %d pairs", n, slices.Min(follows), slices.Max(follows), len(pairs))
	}
}

// TestPlaceIsStable: when a shard comes among many, few followers move between those that stay.
func TestPlaceIsStable(t *testing.T) {
	for _, n := range []int{10, 33, 60} {
		few, many := someShards(n, 1), someShards(n+1, 1)
		before, after := Place(nil, DefaultSettings(), few, proto.Partitions), Place(nil, DefaultSettings(), many, proto.Partitions)
		moved := 0
		for i := range before.followers {
			if before.followers[i] != after.followers[i] && after.followers[i] != int32(n) && after.owners[i] == before.owners[i] {
				moved++
			}
		}
		t.Logf("%d shards and one more: %d followers move between the others", n, moved)
		if moved > proto.Partitions/5 {
			t.Errorf("%d shards and one more: %d followers move between the others", n, moved)
		}
	}
}

// TestPlaceGrows: the shard that is one more than rings of their own are asked for is one like any other. With
// another placement above it, nearly every partition had its follower elsewhere.
func TestPlaceGrows(t *testing.T) {
	few, many := someShards(maxRings, 1), someShards(maxRings+1, 1)
	before, after := Place(nil, DefaultSettings(), few, proto.Partitions), Place(nil, DefaultSettings(), many, proto.Partitions)
	anew := 0
	for i := range before.followers {
		if before.followers[i] != after.followers[i] {
			anew++
		}
	}
	t.Logf("from %d to %d shards: %d of %d partitions have another follower", len(few), len(many), anew, proto.Partitions)
	if anew > proto.Partitions/8 {
		t.Errorf("from %d to %d shards: %d of %d partitions have another follower", len(few), len(many), anew, proto.Partitions)
	}
}

func TestPlaceOnce(t *testing.T) {
	s, shards := DefaultSettings(), someShards(4, 2)
	p := Place(nil, s, shards, 61)
	if Place(p, s, shards, 61) != p {
		t.Error("the same question costs as much as another")
	}
	other := slices.Clone(shards)
	other[0].Zone = "z9"
	without := s
	without.Followers = 0
	for name, same := range map[string]bool{
		"another zone":        p.Fits(s, other, 61),
		"fewer shards":        p.Fits(s, shards[:3], 61),
		"other settings":      p.Fits(without, shards, 61),
		"more partitions":     p.Fits(s, shards, 62),
		"nothing":             (*Placement)(nil).Fits(s, shards, 61),
		"an emptied argument": p.Fits(s, nil, 61),
	} {
		if same {
			t.Errorf("it fits %s", name)
		}
	}
	runs := make([]proto.NodeName, 4)
	for i := range runs {
		runs[i] = proto.MakeNodeName(shards[i].ID, 1)
	}
	w := &Wanted{p, runs}
	if w.Owner(0) == "" || w.Follower(0) == "" || w.Owner(61) != "" || w.Follower(61) != "" {
		t.Errorf("wanted: %q %q %q %q", w.Owner(0), w.Follower(0), w.Owner(61), w.Follower(61))
	}
	w = &Wanted{Place(p, without, shards, 61), runs}
	var nobody *Wanted
	if w.Owner(0) == "" || w.Follower(0) != "" || nobody.Owner(0) != "" || nobody.Follower(0) != "" {
		t.Error("followers that nobody wants")
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, n := range []int{3, 10, 30, 32, 33, 100, 300, 1000} {
		shards := someShards(n, 1)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				Place(nil, DefaultSettings(), shards, proto.Partitions)
			}
		})
	}
}

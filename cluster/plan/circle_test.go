package plan

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// TestCircleIsTheRing: whatever the shards are called, and whatever the settings, owners are those of package
// consistent.
func TestCircleIsTheRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := DefaultSettings()
		s.Replication = rapid.Uint16Range(1, 150).Draw(t, "replication")
		s.Load = rapid.Uint16Range(100, 300).Draw(t, "load")
		partitions := rapid.SampledFrom([]int{1, 61, 1021, proto.Partitions}).Draw(t, "partitions")
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,9}`), 1, maxRings, rapid.ID[string]).Draw(t, "ids")
		slices.Sort(names)
		var ids []proto.NodeID
		for _, name := range names {
			ids = append(ids, proto.NodeID(name))
		}
		sameRing(t, s, ids, partitions)
	})
	for _, n := range []int{maxRings + 1, 100, 200} {
		sameRing(t, DefaultSettings(), idsOf(someShards(n, 1)), proto.Partitions)
	}
}

func sameRing(t rapid.TB, s Settings, ids []proto.NodeID, partitions int) {
	t.Helper()
	if !slices.Equal(makeCircle(s, ids, partitions).owners(s), libraryOwners(s, ids, partitions)) {
		t.Fatalf("%d shards, %+v, %d partitions: another ring than the library's", len(ids), s, partitions)
	}
}

// TestCircleFollowers: nearly all partitions of many shards are followed where the ring without the owner puts
// them, so that a fail-over lands where the ring wants it; and nobody follows more than it may own.
func TestCircleFollowers(t *testing.T) {
	s := DefaultSettings()
	for _, n := range []int{33, 100} {
		for _, zones := range []int{1, 3} {
			shards := someShards(n, zones)
			p := Place(nil, s, shards, proto.Partitions)
			group, groups := excluded(shards)
			right := 0
			for g := range groups {
				left := slices.DeleteFunc(slices.Clone(shards), func(x Shard) bool { return group[slices.Index(shards, x)] == g })
				for i, at := range makeCircle(s, idsOf(left), proto.Partitions).owners(s) {
					if group[p.owners[i]] == g && left[at] == shards[p.followers[i]] {
						right++
					}
				}
			}
			t.Logf("%d shards in %d zones: %d of %d followers are where a fail-over should land", n, zones, right, proto.Partitions)
			if right < proto.Partitions*9/10 {
				t.Errorf("%d shards in %d zones: only %d of %d followers are where a fail-over should land", n, zones, right, proto.Partitions)
			}
			follows := make([]int, n)
			for _, f := range p.followers {
				follows[f]++
			}
			if most, bound := slices.Max(follows), share(s, proto.Partitions, n); most > bound {
				t.Errorf("%d shards in %d zones: one follows %d partitions, %d at most may be", n, zones, most, bound)
			}
		}
	}
}

// TestCircleMakesRoom: a zone that owns more than the shards outside have room for is followed all the same, and
// evenly.
func TestCircleMakesRoom(t *testing.T) {
	shards := someShards(60, 1)
	for i := range shards {
		shards[i].Zone = "large"
		if i%20 == 0 {
			shards[i].Zone = "small"
		}
	}
	p := Place(nil, DefaultSettings(), shards, proto.Partitions)
	follows := make([]int, len(shards))
	for i, f := range p.followers {
		if shards[f].Zone == shards[p.owners[i]].Zone {
			t.Fatalf("partition %d: %v follows %v", i, shards[f], shards[p.owners[i]])
		}
		follows[f]++
	}
	if most := slices.Max(follows); most > proto.Partitions/3*14/10 {
		t.Errorf("three shards follow all that others own, one of them %d of %d", most, proto.Partitions)
	}
}

// TestRingIsQuick: ten times the shards are about ten times the work. Every node makes a ring whenever a shard
// comes or goes, in the goroutine that hears who lives. (With a sort per shard it was a hundred times.)
func TestRingIsQuick(t *testing.T) {
	took := func(n int) time.Duration {
		ids, best := idsOf(someShards(n, 1)), time.Hour
		for range 5 {
			from := time.Now()
			Owners(DefaultSettings(), ids, proto.Partitions)
			best = min(best, time.Since(from))
		}
		return best
	}
	few, many := took(100), took(1000)
	t.Logf("100 shards: %v, 1000: %v", few, many)
	if many > 50*few || many > 2*time.Second {
		t.Errorf("a ring of 100 shards takes %v, of 1000 %v", few, many)
	}
}

package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/roomring/roomring/proto"
)

// Forecast is what the coordinator would bring about from how things are, if
// other shards were there. It is by ids: a run that is to come has no name yet.
type Forecast struct {
	Shifts []Shift // by partition
	Copies int     // partitions that get another follower
	Ideal  int     // the fewest partitions that any placement as even as possible gives another owner
	Shards map[proto.NodeID]Share
}

// Shift is a partition that gets another owner. From is "" when nobody owns it.
type Shift struct {
	Partition proto.Partition
	From, To  proto.NodeID
}

// Share is what a shard has and will have, in partitions.
type Share struct {
	Owned, OwnedThen         int
	Following, FollowingThen int
}

// WhatIf forecasts what becomes of rows when these shards are there, sorted by
// id, one at least, and they stay. s must pass Check. Shards that do not reach
// each other are not thought of. It takes as long as Place: up to 0.2 s.
func WhatIf(rows Rows, s Settings, shards []Shard) Forecast {
	then := Place(nil, s, shards, rows.Len())
	f := Forecast{Shards: make(map[proto.NodeID]Share)}
	for _, shard := range shards {
		f.Shards[shard.ID] = Share{}
	}
	for p, row := range rows.All() {
		owner, follower := shards[then.owners[p]].ID, proto.NodeID("")
		if then.followers != nil {
			follower = shards[then.followers[p]].ID
		}
		f.count(row, owner, follower)
		if row.Owner.ID() != owner {
			f.Shifts = append(f.Shifts, Shift{p, row.Owner.ID(), owner})
		}
		same := func(x proto.NodeName) bool { return x.ID() == follower }
		if follower != "" && !slices.ContainsFunc(row.Followers, same) {
			f.Copies++
		}
	}
	f.Ideal = fewest(f.Shards, shards, rows.Len())
	return f
}

// count adds a partition to the shares of those who have it and who will.
func (f *Forecast) count(row *Row, owner, follower proto.NodeID) {
	add := func(id proto.NodeID, x Share) {
		if id == "" {
			return
		}
		is := f.Shards[id]
		f.Shards[id] = Share{is.Owned + x.Owned, is.OwnedThen + x.OwnedThen, is.Following + x.Following, is.FollowingThen + x.FollowingThen}
	}
	add(row.Owner.ID(), Share{Owned: 1})
	add(owner, Share{OwnedThen: 1})
	for _, x := range row.Followers {
		add(x.ID(), Share{Following: 1})
	}
	add(follower, Share{FollowingThen: 1})
}

// fewest is how many partitions must get another owner at least for the shards to
// own the same number each, give or take one: all but those that can stay. Who
// has more than its share keeps one more while there are such shares. The ring
// can do with fewer moves, since it leaves shares a little uneven.
func fewest(has map[proto.NodeID]Share, shards []Shard, partitions int) int {
	share, larger := partitions/len(shards), partitions%len(shards)
	stay := 0
	for _, s := range shards {
		owned := has[s.ID].Owned
		stay += min(owned, share)
		if owned > share && larger > 0 {
			larger--
			stay++
		}
	}
	return partitions - stay
}

// WithNew returns the shards and n more, sorted by id: new-1, new-2 and so on,
// but for ids that are taken. Each is put into the zone that has the fewest by
// then, of the zones that there are: an operator adds shards where they are
// missing. Where no zones are used, the new ones have none.
func WithNew(shards []Shard, n int, taken func(proto.NodeID) bool) []Shard {
	in := make(map[string]int)
	for _, s := range shards {
		in[s.Zone]++
	}
	all := slices.Clone(shards)
	for i := 1; len(all) < len(shards)+n; i++ {
		id := proto.NodeID(fmt.Sprintf("new-%d", i))
		if taken(id) {
			continue
		}
		zone := emptiest(in)
		in[zone]++
		all = append(all, Shard{id, zone})
	}
	slices.SortFunc(all, func(a, b Shard) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// emptiest is the zone with the fewest, of several the first by name. Shards
// without a zone have none that another could be put into, unless all are so.
func emptiest(in map[string]int) (best string) {
	for zone, n := range in {
		if zone != "" && (best == "" || n < in[best] || n == in[best] && zone < best) {
			best = zone
		}
	}
	return best
}

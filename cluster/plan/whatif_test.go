package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/roomring/roomring/proto"
)

// placedRows are rows that are where Place wants them.
func placedRows(s Settings, shards []Shard, partitions int) Rows {
	p := Place(nil, s, shards, partitions)
	rows := make([]Row, partitions)
	run := func(i int32) proto.NodeName { return proto.MakeNodeName(shards[i].ID, proto.Incarnation(i+1)) }
	for i := range rows {
		rows[i] = Row{Owner: run(p.owners[i]), Term: 1, Since: 1}
		if p.followers != nil {
			rows[i].Followers = []proto.NodeName{run(p.followers[i])}
		}
	}
	return MakeRows(rows)
}

// A forecast for as many shards as there are is that nothing moves; for one more and one fewer, that it
// becomes what a placement of those would be.
func TestWhatIf(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 30} {
		for _, zones := range []int{1, 3} {
			t.Run(fmt.Sprint(n, " shards in ", zones, " zones"), func(t *testing.T) {
				s, shards := DefaultSettings(), someShards(n, zones)
				rows := placedRows(s, shards, proto.Partitions)
				if f := WhatIf(rows, s, shards); len(f.Shifts) != 0 || f.Copies != 0 {
					t.Errorf("with the same shards %d partitions move, %d copies", len(f.Shifts), f.Copies)
				}
				more := WithNew(shards, 1, func(proto.NodeID) bool { return false })
				checkForecast(t, WhatIf(rows, s, more), rows, placedRows(s, more, proto.Partitions))
				if n > 1 {
					checkForecast(t, WhatIf(rows, s, shards[1:]), rows, placedRows(s, shards[1:], proto.Partitions))
				}
			})
		}
	}
}

func checkForecast(t *testing.T, f Forecast, before, after Rows) {
	t.Helper()
	want, copies := []Shift(nil), 0
	has := map[proto.NodeID]Share{}
	for p, row := range before.All() {
		then := after.At(p)
		if row.Owner.ID() != then.Owner.ID() {
			want = append(want, Shift{p, row.Owner.ID(), then.Owner.ID()})
		}
		x := has[row.Owner.ID()]
		x.Owned++
		has[row.Owner.ID()] = x
		x = has[then.Owner.ID()]
		x.OwnedThen++
		has[then.Owner.ID()] = x
		for _, r := range row.Followers {
			x = has[r.ID()]
			x.Following++
			has[r.ID()] = x
		}
		for _, r := range then.Followers {
			x = has[r.ID()]
			x.FollowingThen++
			has[r.ID()] = x
			if len(row.Followers) == 0 || row.Followers[0].ID() != r.ID() {
				copies++
			}
		}
	}
	if !slices.Equal(f.Shifts, want) || f.Copies != copies {
		t.Errorf("%d shifts and %d copies, want %d and %d", len(f.Shifts), f.Copies, len(want), copies)
	}
	for id, share := range has {
		if f.Shards[id] != share {
			t.Errorf("%s has %+v, want %+v", id, f.Shards[id], share)
		}
	}
	if f.Ideal <= 0 || f.Ideal > before.Len() {
		t.Errorf("ideal %d", f.Ideal)
	}
}

func TestFewest(t *testing.T) {
	for _, c := range []struct {
		owned      []int // of a, b, c; the last of them is none of the shards if stays is less
		stays      int
		partitions int
		want       int
	}{
		{[]int{10, 10, 10}, 3, 30, 0},
		{[]int{11, 10, 10}, 3, 31, 0},
		{[]int{12, 10, 9}, 3, 31, 1},
		{[]int{15, 15, 0}, 3, 30, 10},
		{[]int{10, 10, 10}, 2, 30, 10},
		{[]int{11, 9, 10}, 2, 30, 10},
		{[]int{20, 0, 10}, 2, 30, 15},
		{[]int{0, 0, 0}, 3, 30, 30},
	} {
		has, ids := map[proto.NodeID]Share{}, []Shard{{ID: "a"}, {ID: "b"}, {ID: "c"}}
		for i, n := range c.owned {
			has[ids[i].ID] = Share{Owned: n}
		}
		if got := fewest(has, ids[:c.stays], c.partitions); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

func TestWithNew(t *testing.T) {
	for _, c := range []struct {
		shards []Shard
		n      int
		want   []Shard
	}{
		{[]Shard{{ID: "s1"}}, 2, []Shard{{ID: "new-1"}, {ID: "new-3"}, {ID: "s1"}}}, // new-2 is taken
		{[]Shard{{"s1", "a"}, {"s2", "b"}, {"s3", "b"}}, 3, []Shard{{"new-1", "a"}, {"new-3", "a"}, {"new-4", "b"}, {"s1", "a"}, {"s2", "b"}, {"s3", "b"}}},
		{[]Shard{{"s1", "a"}, {ID: "s2"}}, 1, []Shard{{"new-1", "a"}, {"s1", "a"}, {ID: "s2"}}},
	} {
		if got := WithNew(c.shards, c.n, func(id proto.NodeID) bool { return id == "new-2" }); !slices.Equal(got, c.want) {
			t.Errorf("%v and %d: %v, want %v", c.shards, c.n, got, c.want)
		}
	}
}

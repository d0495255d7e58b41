package main

import (
	"fmt"
	"slices"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// changes is what moves when one shard comes, goes or dies. Who goes or dies is the one that owns most.
func changes(t *table) {
	t.head("shards", "one joins: partitions that get another owner", "the fewest possible", "copies made", "one leaves: another owner", "the fewest possible", "copies made",
		"one dies: fail-overs", "shards that take over", "most at one of them", "moved once more", "copies made")
	for _, n := range sizesShown {
		if n == 3 {
			n = 4 // three less one have no choice
		}
		c := makeCrowd(n, 0, 1)
		join, leave := c.forecast(plan.WithNew(c.shards, 1, func(proto.NodeID) bool { return false })), c.forecast(c.without(c.busiest()))
		d := c.death(c.busiest())
		t.row(number(n), len(join.Shifts), join.Ideal, join.Copies, len(leave.Shifts), leave.Ideal, leave.Copies, d.failovers, d.heirs, d.most, d.again, d.copies)
	}
}

func (c *crowd) forecast(shards []plan.Shard) plan.Forecast {
	return plan.WhatIf(plan.MakeRows(c.rows), settings, shards)
}

// busiest is the index of the shard that owns most.
func (c *crowd) busiest() int {
	owned, _ := c.shares()
	return slices.Index(owned, slices.Max(owned))
}

func (c *crowd) without(at int) []plan.Shard {
	return slices.Delete(slices.Clone(c.shards), at, at+1)
}

// death is what the loss of a shard leads to.
type death struct {
	failovers   int // partitions that a follower takes over
	heirs, most int // who takes over, and how many one of them at most
	again       int // partitions that are then moved to another owner
	copies      int // that are made anew
	rows        []plan.Row
}

// death has the followers of a shard's partitions take over, and asks what is left to do then.
func (c *crowd) death(at int) (d death) {
	dead := c.wanted.Runs[at]
	scene := &plan.Scene{Followers: 1, Wanted: c.wanted, Verdict: func(n proto.NodeName) plan.Verdict {
		if n == dead {
			return plan.Silent
		}
		return plan.Lives
	}}
	scene.Fit = func(n proto.NodeName) bool { return n != dead }
	taken := make(map[proto.NodeName]int)
	d.rows = slices.Clone(c.rows)
	for p := range d.rows {
		row := &d.rows[p]
		switch {
		case row.Owner == dead:
			heir := plan.Heirs(proto.Partition(p), row, scene)[0]
			d.rows[p] = plan.Succeed(row, heir, plan.Ask(row, 0, scene), scene)
			d.failovers++
			taken[heir]++
		case slices.Contains(row.Followers, dead):
			a, _ := plan.Grant(&proto.Wish{Kind: proto.WishOverdue, Node: dead}, row, plan.Move{}, scene)
			d.rows[p] = a.Row
		}
	}
	d.heirs = len(taken)
	for _, n := range taken {
		d.most = max(d.most, n)
	}
	then := plan.WhatIf(plan.MakeRows(d.rows), settings, c.without(at))
	d.again, d.copies = len(then.Shifts), then.Copies
	return d
}

const (
	sendRate = 64 << 20 // bytes per second that a shard sends of rooms to those that learn them: shard.snapshotRate
	maxMoves = 32       // --max-moves
	wire     = 1.25e9   // bytes per second into a host: 10 Gbit/s
	aTurn    = 0.015    // seconds for 32 moves of empty partitions: go test ./internal/node -run TestJoinFigures -figures -v
	quiet    = 1.0      // seconds that shards must be the same before moves begin: cluster.quietFor
)

// joins is how long the join of one shard takes, by what a partition holds.
func joins(t *table) {
	held := []int{0, 1 << 20, 10 << 20, 100 << 20}
	t.head("shards", "partitions that come", "partitions empty", "1 MiB each", "10 MiB each", "100 MiB each", "limited by, at 100 MiB")
	for _, n := range []int{3, 10, 33, 100, 300, 1000} {
		c := makeCrowd(n, 0, 1)
		f := c.forecast(plan.WithNew(c.shards, 1, func(proto.NodeID) bool { return false }))
		comes := f.Shards["new-1"]
		all := comes.OwnedThen + comes.FollowingThen
		cells := []any{number(n), fmt.Sprintf("%d + %d", comes.OwnedThen, comes.FollowingThen)}
		limit := ""
		for _, bytes := range held {
			var s float64
			s, limit = joinTime(n, all, len(f.Shifts)+f.Copies, float64(bytes))
			cells = append(cells, seconds(s))
		}
		t.row(append(cells, limit)...)
	}
}

// joinTime is the longest of three, behind the wait for quiet: the moves in turns of 32; what the others can send,
// of whom no more than the moves under way do; what the newcomer can take.
func joinTime(shards, comes, moves int, bytes float64) (s float64, limit string) {
	for _, x := range []struct {
		s     float64
		limit string
	}{
		{float64((moves+maxMoves-1)/maxMoves) * aTurn, "the moves"},
		{float64(comes) * bytes / (sendRate * float64(min(shards, maxMoves))), "what shards send"},
		{float64(comes) * bytes / wire, "the newcomer's network"},
	} {
		if x.s > s {
			s, limit = x.s, x.limit
		}
	}
	return quiet + s, limit
}

func seconds(s float64) string {
	if s < 10 {
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.0f s", s)
}

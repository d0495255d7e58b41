package main

import (
	"fmt"
	"slices"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// sizesShown are the numbers of shards that placement is shown for; at 33 another way to compute it begins.
var sizesShown = []int{3, 10, 32, 33, 100, 300, 1000}

// shares is how many partitions each shard owns and follows.
func (c *crowd) shares() (owned, followed []int) {
	for _, run := range c.wanted.Runs {
		o, f := c.table.Has(run)
		owned, followed = append(owned, o), append(followed, f)
	}
	return owned, followed
}

// balance is how even shards are.
func balance(t *table) {
	t.head("shards", "partitions each, mean", "owned, least and most", "most / mean", "followed, least and most", "most / mean", "owned and followed, most / mean", "fail-overs that land where the ring wants them")
	for _, n := range sizesShown {
		c := makeCrowd(n, 0, 1)
		owned, followed := c.shares()
		both, mean := make([]int, n), float64(proto.Partitions)/float64(n)
		for i := range both {
			both[i] = owned[i] + followed[i]
		}
		over := func(list []int, mean float64) string { return fmt.Sprintf("%.2f", float64(slices.Max(list))/mean) }
		span := func(list []int) string { return fmt.Sprintf("%d, %d", slices.Min(list), slices.Max(list)) }
		t.row(number(n), fmt.Sprintf("%.1f", mean), span(owned), over(owned, mean), span(followed), over(followed, mean), over(both, 2*mean), c.lands())
	}
}

// lands is the share of partitions whose follower is whom the ring without the owner wants, asked for twenty owners
// at most: each takes a ring.
func (c *crowd) lands() string {
	right, all := 0, 0
	for at := 0; at < len(c.shards); at += (len(c.shards) + 19) / 20 {
		next, left := plan.Owners(settings, ids(c.without(at)), proto.Partitions), c.without(at)
		for p := range c.rows {
			if row := &c.rows[p]; row.Owner == c.wanted.Runs[at] {
				all++
				if row.Followers[0].ID() == left[next[p]].ID {
					right++
				}
			}
		}
	}
	return percent(right, all)
}

func ids(shards []plan.Shard) (list []proto.NodeID) {
	for _, s := range shards {
		list = append(list, s.ID)
	}
	return list
}

// zones is what three of them do to that.
func zones(t *table) {
	t.head("shards in 3 zones", "followers in their owner's zone", "partitions owned per zone", "followed per zone", "followed per shard, most / mean", "one dies: fail-overs", "moved once more")
	for _, n := range []int{3, 9, 33, 99, 300, 999} {
		c := makeCrowd(n, 0, 3)
		zone := make(map[proto.NodeID]string)
		for _, s := range c.shards {
			zone[s.ID] = s.Zone
		}
		owned, followed, together := make(map[string]int), make(map[string]int), 0
		for _, row := range c.rows {
			owned[zone[row.Owner.ID()]]++
			followed[zone[row.Followers[0].ID()]]++
			if zone[row.Owner.ID()] == zone[row.Followers[0].ID()] {
				together++
			}
		}
		_, each := c.shares()
		d := c.death(c.busiest())
		t.row(n, together, span(owned), span(followed), fmt.Sprintf("%.2f", float64(slices.Max(each))*float64(n)/proto.Partitions), d.failovers, d.again)
	}
}

// span is the least and the most of some counts.
func span(counts map[string]int) string {
	least, most := proto.Partitions, 0
	for _, n := range counts {
		least, most = min(least, n), max(most, n)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

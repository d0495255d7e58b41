package main

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// measure says how long this machine takes for what each node, or the coordinator, has to do. The best of several
// runs: others use the machine, too.
func measure(w io.Writer) {
	var t table
	t.head("shards, and as many routers", "ring", "owners and followers", "allocated for that", "a new View", "a link comes up", "and at the coordinator", "an announcement", "and at the coordinator", "the Table read", "a delta of one row applied")
	for _, n := range sizesShown {
		c := makeCrowd(n, n, 1)
		names := ids(c.shards)
		ring := best(func() { plan.Owners(settings, names, proto.Partitions) })
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		plan.Place(nil, settings, c.shards, proto.Partitions)
		runtime.ReadMemStats(&after)
		place := best(func() { plan.Place(nil, settings, c.shards, proto.Partitions) })
		view := best(func() { cluster.NewView(1, c.nodes) })
		up, said := c.hears(false)
		upLeading, saidLeading := c.hears(true)
		frame := cluster.AppendTable(nil, c.table)[proto.HeaderSize:]
		parse := best(func() { _, _ = cluster.ParseTable(frame) })
		d := c.after(c.rows[:1], nil).Since(c.table)
		apply := best(func() { _, _ = c.table.Apply(&d) })
		t.row(number(n), short(ring), short(place), size(int64(after.TotalAlloc-before.TotalAlloc)), short(view), short(up), short(upLeading), short(said), short(saidLeading), short(parse), short(apply))
	}
	fmt.Fprint(w, t.b.String())
}

// hears is what it takes a Keeper to be told of a link, and of an announcement.
func (c *crowd) hears(leads bool) (up, said time.Duration) {
	now := time.Now()
	k := cluster.NewKeeper(cluster.KeeperConfig{Self: c.nodes[0].Name, Role: proto.RoleShard, Followers: 1})
	s := cluster.Status{Voter: c.nodes[0].Name, Founding: c.table.Founding(), Table: c.table, Applied: 10}
	if leads {
		s.Term = 1
		for _, v := range c.table.Voters {
			s.Servers = append(s.Servers, plan.Server{Name: v, Voter: true, CaughtUp: true})
		}
	}
	settle := func() {
		k.Take()
		k.Orders()
		if job, ok := k.Job(); ok {
			k.Placed(now, job.Run())
		}
	}
	k.SetRegister(now, s)
	k.SetNodes(now, c.nodes)
	settle()
	from := time.Now()
	for i := range c.nodes[1:] {
		k.LinkUp(now, c.nodes[i+1].Name)
		settle()
	}
	up = time.Since(from) / time.Duration(len(c.nodes)-1)
	frame := cluster.AppendVersion(nil, cluster.Announcement{Instance: instance, Mark: c.table.Mark()})[proto.HeaderSize:]
	now = now.Add(time.Minute)
	for range 2 { // the second time is measured: all have been heard then, as at any time
		from = time.Now()
		for i := range c.nodes[1:] {
			now = now.Add(500 * time.Millisecond / time.Duration(len(c.nodes)))
			if err := k.Frame(now, c.nodes[i+1].Name, proto.FrameVersion, frame); err != nil {
				panic(err) // our own frame: a mistake here
			}
			settle()
		}
		said = time.Since(from) / time.Duration(len(c.nodes)-1)
	}
	return up, said
}

func best(f func()) time.Duration {
	least := time.Hour
	for from := time.Now(); time.Since(from) < 200*time.Millisecond; {
		at := time.Now()
		f()
		least = min(least, time.Since(at))
	}
	return least
}

func short(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.1f µs", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/1e3)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.0f ms", float64(d)/1e6)
}

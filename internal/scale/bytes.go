package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// layout is a cluster that the document speaks of.
type layout struct{ nodes, shards, routers, cores int }

// shown are those that are recommended. The shards of the last two are as many as the messages need, and not more:
// each costs links to all nodes.
var shown = []layout{{10, 4, 6, 4}, {100, 20, 80, 8}, {1000, 100, 900, 8}}

func (l layout) String() string {
	return fmt.Sprintf("%s: %d + %d", number(l.nodes), l.shards, l.routers)
}

// crowds are the layouts, and the same numbers of nodes as shards alone.
func crowds() (list []layout) {
	for _, l := range shown {
		list = append(list, l, layout{l.nodes, l.nodes, 0, l.cores})
	}
	return list
}

// sizes is how large things get.
func sizes(t *table) {
	t.head("nodes: shards + routers", "the Table as a frame", "in the log of the register", "`/v1/ring`", "`/v1/ring?table=0`", "first event of `/v1/events`", "a node's gossip metadata", "an exchange of all gossip")
	for _, l := range crowds() {
		c := makeCrowd(l.shards, l.routers, 3)
		meta := 0
		for i := range c.nodes {
			meta = max(meta, metadata(&c.nodes[i]))
		}
		whole := len(cluster.AppendTable(nil, c.table))
		log := len(cluster.AppendCommand(nil, &cluster.Command{Found: c.table}))
		t.row(l, size(whole), size(log), size(c.document(true)), size(c.document(false)), size(c.event()), size(meta), size(2*l.nodes*(meta+gossipEach)))
	}
}

// gossipEach is what memberlist says of a node in a push/pull beside its metadata: name, address, versions and
// state under names of their own, some 150 bytes.
const gossipEach = 150

// metadata is the size of what cluster/metadata.go makes of a node: 45 bytes and its texts.
func metadata(n *cluster.Node) int {
	return 45 + len(n.Zone) + len(n.Addresses.Link) + len(n.Addresses.Admin) + len(n.Addresses.Listen) + len(n.Version)
}

func (c *crowd) document(rows bool) int {
	d := cluster.Describe("roomring", proto.Partitions, c.view, c.ring, c.table, c.nodes[0].Name, rows)
	return encoded(d)
}

// event is the first thing that an event stream says: all nodes, and all rows as numbers.
func (c *crowd) event() int {
	e := admin.RingEvent{Asked: c.nodes[0].ID(), Cluster: "roomring", Instance: instance.String(), Settled: true, Partitions: proto.Partitions, Leader: c.nodes[0].ID()}
	at := make(map[proto.NodeName]int)
	for i, n := range c.view.Nodes() {
		at[n.Name] = i
		x := admin.RingNode{ID: n.ID(), Incarnation: n.Incarnation().String(), Role: n.Role.String(), State: n.State.String(), Zone: n.Zone, Admin: n.Addresses.Admin}
		x.Owned, x.Following = c.table.Has(n.Name)
		e.Nodes = append(e.Nodes, x)
	}
	for p, row := range c.rows {
		e.Rows = append(e.Rows, [4]int{p, at[row.Owner], at[row.Followers[0]], at[c.wanted.Owner(proto.Partition(p))]})
	}
	return encoded(e)
}

func encoded(doc any) int {
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err) // our own types: a mistake here
	}
	return len(b)
}

// pushes is what the coordinator sends when the Table changes.
func pushes(t *table) {
	t.head("nodes: shards + routers", "delta of one row", "with 32 moves under way", "of the fail-over of the busiest shard", "to all nodes", "promises asked of one follower, most", "a join: deltas, to all nodes")
	for _, l := range crowds() {
		c := makeCrowd(l.shards, l.routers, 1)
		one := c.delta(c.table, c.after(c.rows[:1], nil))
		step := c.delta(c.table, c.after(c.rows[:maxMoves], c.someMoves()))
		d := c.death(c.busiest())
		lost := c.delta(c.table, c.changed(d.rows))
		f := c.forecast(plan.WithNew(c.shards, 1, func(proto.NodeID) bool { return false }))
		turns := (len(f.Shifts) + f.Copies + maxMoves - 1) / maxMoves
		t.row(l, size(one), size(step), size(lost), size(lost*(l.nodes-1)), fmt.Sprintf("%d, %s", d.most, size(promise(d.most))),
			fmt.Sprintf("%d × %s = %s", stepsPerTurn*turns, size(step), size(stepsPerTurn*turns*step*(l.nodes-1))))
	}
}

// stepsPerTurn is how many Tables 32 moves take: the coordinator gathers what they come to in commands 10 ms apart,
// so that some begin in the Table in which others end (64 Tables for 70 turns in TestJoinFigures).
const stepsPerTurn = 1

func promise(n int) int {
	return len(proto.AppendPromises(nil, make([]proto.Promise, n)))
}

// after is the Table in which these rows, the first ones, have a new term, and with moves.
func (c *crowd) after(rows []plan.Row, moves []plan.Move) *cluster.Table {
	all := slices.Clone(c.rows)
	for p := range rows {
		all[p].Term++
	}
	return c.next(all, moves)
}

func (c *crowd) changed(rows []plan.Row) *cluster.Table { return c.next(rows, nil) }

func (c *crowd) next(rows []plan.Row, moves []plan.Move) *cluster.Table {
	head := c.table.Head
	head.Version++
	head.Moves = moves
	return cluster.NewTable(head, rows)
}

func (c *crowd) someMoves() (moves []plan.Move) {
	for p := range proto.Partition(maxMoves) {
		moves = append(moves, plan.Move{Partition: p, From: c.rows[p].Owner, To: c.wanted.Runs[0], State: plan.Learning})
	}
	return moves
}

func (c *crowd) delta(before, after *cluster.Table) int {
	d := after.Since(before)
	return len(cluster.AppendDelta(nil, &d))
}

// What is said while nothing happens; the settings of link/pulse.go, cluster/copy.go and cluster/gossip.go.
const (
	beatsPerSecond = 2    // of a link: heartbeats, or announcements on the first link of a pair
	probeEvery     = 0.2  // seconds between two probes of a node
	probeTimeout   = 0.1  // seconds
	suspicion      = 4    // memberlist's SuspicionMult
	pushPullEvery  = 10.0 // seconds, for up to 32 nodes
	silence        = 1.5  // seconds until a link notices it
	packet         = 66   // bytes of headers around what TCP or UDP carries over Ethernet
)

// idle is what a cluster says while nothing happens, per node. The busiest is a shard.
func idle(t *table) {
	t.head("nodes: shards + routers", "links of a shard, of a router, with 4 lanes", "frames out per second", "of which announcements", "bytes out per second",
		"gossip suspects a crash after", "and is sure after", "it exchanges all every", "bytes per second for that")
	for _, l := range crowds() {
		shard, router := links(proto.RoleShard, false, l.shards, l.routers, 4), links(proto.RoleRouter, false, l.shards, l.routers, 4)
		pair := func(f func(int) string) string {
			if l.routers == 0 {
				return f(shard)
			}
			return f(shard) + ", " + f(router)
		}
		n, pp := float64(l.nodes), pushPull(l.nodes)
		exchange := 2 * n * (130 + gossipEach)
		suspected := probeEvery*math.E/(math.E-1) + probeTimeout
		least, most := suspected+suspectFor(n), suspected+2*suspectFor(n)
		t.row(l, pair(func(n int) string { return number(n) }), pair(func(n int) string { return number(beatsPerSecond * n) }), pair(func(n int) string { return number(beatsPerSecond * n / 4) }),
			pair(func(n int) string { return size(said(n)) }), seconds(suspected), fmt.Sprintf("%.1f to %.1f s", least, most), fmt.Sprintf("%.0f s", pp), size(exchange/pp))
	}
}

// said is the bytes per second of heartbeats and announcements on so many links.
func said(links int) int {
	announced := len(cluster.AppendVersion(nil, cluster.Announcement{}))
	ping := proto.HeaderSize
	return beatsPerSecond * (links/4*(announced+packet) + links*3/4*(ping+packet))
}

// suspectFor is memberlist's suspicionTimeout: how long a suspected node may object, when others confirm it.
func suspectFor(nodes float64) float64 {
	return suspicion * max(1, math.Log10(max(1, nodes))) * probeEvery
}

// pushPull is memberlist's pushPullScale: between two exchanges of all that a node knows.
func pushPull(nodes int) float64 {
	if nodes <= 32 {
		return pushPullEvery
	}
	return pushPullEvery * (math.Ceil(math.Log2(float64(nodes))-math.Log2(32)) + 1)
}

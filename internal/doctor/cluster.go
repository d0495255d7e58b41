package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
)

// Cluster is what one node answered.
type Cluster struct {
	Ring  *cluster.RingDocument
	Nodes *admin.NodesDocument
	// Sent and Received bound when Nodes was asked for and answered, by the clock of this machine.
	Sent, Received time.Time
}

const (
	shardRole  = "shard"
	routerRole = "router"
)

// JudgeCluster says what is wrong with a cluster.
func JudgeCluster(c *Cluster) []Finding {
	var f findings
	f.founded(c)
	f.voters(c)
	f.owners(c)
	f.copies(c)
	f.zones(c)
	f.nodes(c)
	f.twins(c)
	f.readiness(c)
	f.versions(c)
	f.protocols(c)
	f.alike(c)
	f.nodeDescriptors(c)
	f.nodeMemory(c)
	f.skew(c)
	return f
}

// living are the nodes of a role, "" for both, that are neither dead nor about to leave.
func (c *Cluster) living(role string) (ids []string) {
	for _, n := range c.Ring.Nodes {
		if (role == "" || n.Role == role) && (n.State == "alive" || n.State == "suspect") {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// told are the nodes that gave figures.
func (c *Cluster) told() (list []*admin.NodeFigures) {
	for i := range c.Nodes.Nodes {
		if c.Nodes.Nodes[i].Reached {
			list = append(list, &c.Nodes.Nodes[i])
		}
	}
	return list
}

func (f *findings) founded(c *Cluster) {
	switch {
	case c.Ring.Instance == "":
		f.bad("table", "start as many shards as --bootstrap-expect says, with --join naming each other's gossip ports",
			"the cluster is not founded, or this node has not learned of it")
	case c.Ring.Leader == "":
		f.bad("table", "start voters again; roomring recover when a majority is gone for good",
			"no leader: no majority of the voters answers, so the table cannot change (no_majority)")
	case !c.Ring.Settled && len(c.Ring.Moves) > 0:
		f.warn("table", "wait, and look again", "not settled: %s under way", plural(len(c.Ring.Moves), "move"))
	case !c.Ring.Settled:
		f.warn("table", "wait, and look again; the other lines say what it may wait for", "not settled")
	default:
		f.ok("table", "settled, and %s leads", c.Ring.Leader)
	}
}

func (f *findings) voters(c *Cluster) {
	if c.Ring.Instance == "" {
		return
	}
	var silent []string
	alive := c.living("")
	for _, v := range c.Ring.Voters {
		if !slices.Contains(alive, v) {
			silent = append(silent, v)
		}
	}
	have, want := len(c.Ring.Voters), 1
	switch {
	case len(alive) >= 5:
		want = 5
	case len(alive) >= 3:
		want = 3
	}
	switch {
	case len(silent) > 0 && 2*len(silent) >= have:
		f.bad("voters", "start them again with their --data-dir; roomring recover when they are gone for good",
			"%s of %d gone: %s", plural(len(silent), "voter"), have, list(silent))
	case len(silent) > 0:
		f.warn("voters", "others take their place within seconds; start them again", "%s of %d gone: %s", plural(len(silent), "voter"), have, list(silent))
	case c.Ring.Leader == "":
		f.bad("voters", "start those with their --data-dir that had it; roomring recover when they are gone for good",
			"%s named, but no majority of them votes: nodes of these names may live that have lost the log", plural(have, "voter"))
	case have < want:
		f.warn("voters", "wait, and look again: the leader adds them one by one", "%d, and %s could be %d", have, plural(len(alive), "node"), want)
	case want == 1:
		f.warn("voters", "three nodes or more: then there are three voters", "one alone, as there are fewer than three nodes: without it nothing can be decided")
	default:
		f.ok("voters", "%d: %s", have, list(c.Ring.Voters))
	}
}

func (f *findings) owners(c *Cluster) {
	unowned, waits := 0, map[string]int{}
	for _, row := range c.Ring.Table {
		if row.Owner == "" {
			unowned++
		}
	}
	for _, n := range c.Ring.Nodes { // by runs, not by rows: those name an id, and a later run of it owns nothing
		if n.Owned > 0 && n.State != "alive" && n.State != "draining" {
			waits[n.ID] += n.Owned
		}
	}
	for _, id := range slices.Sorted(maps.Keys(waits)) {
		f.bad("owners", "start it again, or end the cut; roomring forget "+id+" when it will not come back",
			"%s without an answer from the owner, %s", plural(waits[id], "partition"), id)
	}
	switch {
	case unowned > 0 && c.Ring.Instance != "":
		f.bad("owners", "start shards; roomring forget ID of those that will not come back", "%s of %d without an owner", plural(unowned, "partition"), len(c.Ring.Table))
	case len(waits) == 0 && unowned == 0 && len(c.Ring.Table) > 0:
		f.ok("owners", "each of %d partitions has one that lives", len(c.Ring.Table))
	}
}

func (f *findings) copies(c *Cluster) {
	shards := len(c.living(shardRole))
	none := false
	for _, n := range c.told() {
		none = none || n.Role == shardRole && n.Settings["followers"] == "0"
	}
	switch {
	case c.Ring.Instance == "":
	case none:
		f.warn("copies", "--followers 1 on every shard", "--followers 0: the rooms of a shard that dies are lost")
	case shards == 0:
		f.bad("copies", "start shards", "no shard lives: there is nobody to hold a room")
	case shards == 1:
		f.bad("copies", "a second shard, better a third", "one shard: its rooms are lost when it dies")
	case c.Ring.SingleCopy > 0:
		f.bad("copies", "wait until the table is settled, and stop nothing before", "%s in one copy only: the next failure may lose their rooms", plural(c.Ring.SingleCopy, "partition"))
	case shards == 2:
		f.warn("copies", "a third shard", "two of each, but with two shards alone: when one is gone, one of each is left until it is back")
	default:
		f.ok("copies", "two of each partition or more")
	}
}

func (f *findings) zones(c *Cluster) {
	zone := map[string]string{}
	var without, all []string
	for _, n := range c.Ring.Nodes {
		if n.Role != shardRole || n.State == "dead" {
			continue
		}
		zone[n.ID] = n.Zone
		if n.Zone == "" {
			without = append(without, n.ID)
		} else if !slices.Contains(all, n.Zone) {
			all = append(all, n.Zone)
		}
	}
	together := 0
	for _, row := range c.Ring.Table {
		at := zone[row.Owner]
		if len(row.Followers) > 0 && at != "" && !slices.ContainsFunc(row.Followers, func(id string) bool { return zone[id] != at }) {
			together++
		}
	}
	switch {
	case len(all) == 0:
		f.ok("zones", "none is said: two copies are on two shards, wherever those are")
	case len(without) > 0:
		f.warn("zones", "--zone on every shard, or on none", "%s in no zone, others in %s", list(without), list(all))
	case len(all) == 1:
		f.warn("zones", "shards in a second zone", "all shards are in %s: both copies of a room are", all[0])
	case together > 0 && c.Ring.Settled:
		f.warn("zones", "shards of about the same number in each zone", "%s with both copies in one zone", plural(together, "partition"))
	default:
		f.ok("zones", "%s: the copies of a partition are in two", list(all))
	}
}

func (f *findings) nodes(c *Cluster) {
	before := len(*f)
	owns := map[string]int{}
	for _, n := range c.Ring.Nodes {
		owns[n.ID+"/"+n.Incarnation] = n.Owned
		switch n.State {
		case "suspect":
			f.warn("nodes", "look at its host, its log and the network to it", "%s is suspect: it does not answer as it should", n.ID)
		case "draining":
			f.ok("nodes", "%s drains: it is about to leave", n.ID)
		}
	}
	var silent []string
	for _, n := range c.Nodes.Nodes {
		if !n.Reached && (n.State == "alive" || n.State == "draining") {
			silent = append(silent, string(n.ID))
		}
	}
	if len(silent) > 0 {
		f.bad("nodes", "look at their logs and at the links: every node must reach every other at its --advertise address",
			"%s gave no figures in time: what is said of settings, memory and clocks is not about them", list(silent))
	}
	switch shards, routers := len(c.living(shardRole)), len(c.living(routerRole)); {
	case routers == 0:
		f.bad("nodes", "start a router", "no router: clients have nowhere to connect")
	case routers == 1:
		f.warn("nodes", "a second router", "one router: its clients have nowhere to go when it dies")
	case len(*f) == before:
		f.ok("nodes", "%s and %s, all of them answer", plural(shards, "shard"), plural(routers, "router"))
	}
}

// twins are two runs of one id that both live: the same unit started twice, or an id given twice.
func (f *findings) twins(c *Cluster) {
	living := map[string]int{}
	for _, n := range c.Ring.Nodes {
		if n.State == "alive" || n.State == "draining" {
			living[n.ID]++
		}
	}
	for _, id := range slices.Sorted(maps.Keys(living)) {
		if living[id] > 1 {
			f.bad("ids", "give each node an --id of its own", "%d nodes say that they are %s", living[id], id)
		}
	}
}

func (f *findings) readiness(c *Cluster) {
	for _, n := range c.told() {
		if !n.Ready && n.State != "draining" {
			f.warn("ready", "/readyz of the node says it in sentences", "%s is not ready: %s", n.ID, list(n.Reasons))
		} else if slices.Contains(n.Reasons, admin.ReasonOtherInstance) {
			f.bad("ready", "stop the smaller cluster and start its nodes with the other's --join", "%s sees another cluster with the same name", n.ID)
		}
	}
}

// groups are the nodes by what they say, sorted by what they say.
type groups map[string][]string

func (g groups) String() string {
	var parts []string
	for _, said := range slices.Sorted(maps.Keys(g)) {
		name := said
		if name == "" {
			name = "not set"
		}
		parts = append(parts, name+" at "+list(g[said]))
	}
	if len(parts) > maxNamed {
		parts = append(parts[:maxNamed], fmt.Sprintf("and %d more", len(parts)-maxNamed))
	}
	return strings.Join(parts, "; ")
}

func (f *findings) versions(c *Cluster) {
	g := groups{}
	for _, n := range c.Nodes.Nodes {
		if n.State != "dead" {
			g[n.Version] = append(g[n.Version], string(n.ID))
		}
	}
	switch {
	case len(g) > 1:
		f.warn("versions", "end the upgrade: new frames are used when all nodes know them", "%s", g)
	case len(g) == 1:
		f.ok("versions", "all run %s", strings.Join(slices.Collect(maps.Keys(g)), ""))
	}
}

func (f *findings) protocols(c *Cluster) {
	told := c.told()
	if len(told) == 0 {
		return
	}
	low, high := told[0].Protocols[0], told[0].Protocols[1]
	g := groups{}
	for _, n := range told {
		low, high = max(low, n.Protocols[0]), min(high, n.Protocols[1])
		said := fmt.Sprintf("%d to %d", n.Protocols[0], n.Protocols[1])
		g[said] = append(g[said], string(n.ID))
	}
	if low > high {
		f.bad("protocols", "upgrade one version at a time", "not all nodes can speak with each other: link protocol %s", g)
	}
}

// alike compares the settings that nodes of a role should have in common.
func (f *findings) alike(c *Cluster) {
	told, differs := c.told(), false
	for _, role := range []string{shardRole, routerRole} {
		flags := map[string]bool{}
		var nodes []*admin.NodeFigures
		for _, n := range told {
			if n.Role == role {
				nodes = append(nodes, n)
				for flag := range n.Settings {
					flags[flag] = true
				}
			}
		}
		for _, flag := range slices.Sorted(maps.Keys(flags)) {
			g := groups{}
			for _, n := range nodes {
				g[n.Settings[flag]] = append(g[n.Settings[flag]], string(n.ID))
			}
			if len(g) > 1 {
				differs = true
				f.warn("settings", "the same --"+flag+" on every "+role, "--%s differs: %s", flag, g)
			}
		}
	}
	if !differs && len(told) > 1 {
		f.ok("settings", "alike on all shards, and on all routers")
	}
}

// near reports how full something is: 2 for full, 1 for nearly so.
func near(used, limit, nearly, full int64) int {
	switch {
	case limit <= 0 || used <= 0:
		return 0
	case used >= limit/100*full:
		return 2
	case used >= limit/100*nearly:
		return 1
	}
	return 0
}

func (f *findings) nodeDescriptors(c *Cluster) {
	const mend = "LimitNOFILE=1048576 in the unit, or --ulimit nofile of the container; more routers"
	before, known := len(*f), 0
	for _, n := range c.told() {
		d := n.Descriptors
		if d.Limit > 0 && d.Open > 0 {
			known++
		}
		switch near(int64(d.Open), int64(d.Limit), 80, 95) {
		case 2:
			f.bad("descriptors", mend, "%s has %d of %d open", n.ID, d.Open, d.Limit)
		case 1:
			f.warn("descriptors", mend, "%s has %d of %d open", n.ID, d.Open, d.Limit)
		}
	}
	if known > 0 && len(*f) == before {
		f.ok("descriptors", "every node has four fifths or less of its open")
	}
}

func (f *findings) nodeMemory(c *Cluster) {
	const mend = "a larger --memory-limit on a larger machine, more nodes, or less history (--history-messages, --window)"
	before, known := len(*f), 0
	for _, n := range c.told() {
		m := n.Memory
		if m.Limit > 0 && m.Used > 0 {
			known++
		}
		switch near(m.Used, m.Limit, 90, 105) {
		case 2:
			f.bad("memory", mend, "%s uses %s, its limit is %s", n.ID, sized(m.Used), sized(m.Limit))
		case 1:
			f.warn("memory", mend, "%s uses %s of %s", n.ID, sized(m.Used), sized(m.Limit))
		}
	}
	if known > 0 && len(*f) == before {
		f.ok("memory", "every node uses nine tenths or less of its limit")
	}
}

// maxSkew is what clocks may differ by, beyond what the answer's way explains and that figures may be a
// second old.
const maxSkew = 2 * time.Second

// skew compares the nodes' clocks with ours. A node read its own between Sent and Received.
func (f *findings) skew(c *Cluster) {
	told, off := c.told(), false
	for _, n := range told {
		at := time.UnixMilli(n.Now)
		late, early := c.Sent.Sub(at), at.Sub(c.Received)
		by, word := late, "behind"
		if early > late {
			by, word = early, "ahead of"
		}
		if by > maxSkew {
			off = true
			f.warn("clocks", "run chrony, ntpd or systemd-timesyncd on both",
				"%s is %s %s this machine: promises do not depend on it, but logs and events do not line up", n.ID, by.Round(time.Second/10), word)
		}
	}
	if !off && len(told) > 0 {
		f.ok("clocks", "no node's is off by more than %s", (maxSkew + c.Received.Sub(c.Sent)).Round(time.Second))
	}
}

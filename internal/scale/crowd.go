package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
)

// crowd is a cluster that exists in memory only, settled: every partition is where it is wanted.
type crowd struct {
	shards []plan.Shard // sorted by id
	nodes  []cluster.Node
	view   *cluster.View
	ring   *cluster.Ring
	wanted *plan.Wanted
	rows   []plan.Row
	table  *cluster.Table
}

var instance = proto.Instance{1}

// settings are what a cluster is founded with.
var settings = plan.DefaultSettings()

// someShards are n in so many zones, with ids as Kubernetes gives them.
func someShards(n, zones int) []plan.Shard {
	shards := make([]plan.Shard, n)
	for i := range shards {
		shards[i].ID = proto.NodeID(fmt.Sprintf("roomring-shard-%d", i))
		if zones > 1 {
			shards[i].Zone = fmt.Sprintf("eu-central-1%c", 'a'+i%zones)
		}
	}
	slices.SortFunc(shards, func(a, b plan.Shard) int { return cmp.Compare(a.ID, b.ID) })
	return shards
}

func makeCrowd(shards, routers, zones int) *crowd {
	c := &crowd{shards: someShards(shards, zones)}
	var runs []proto.NodeName
	for i, s := range c.shards {
		n := node(s.ID, s.Zone, proto.RoleShard, i)
		runs, c.nodes = append(runs, n.Name), append(c.nodes, n)
	}
	for i := range routers {
		id := proto.NodeID(fmt.Sprintf("roomring-router-5d8f7c9b4-%05d", i))
		c.nodes = append(c.nodes, node(id, "", proto.RoleRouter, shards+i))
	}
	c.view = cluster.NewView(1, c.nodes)
	c.ring = cluster.NewRing(c.view, instance, settings, proto.Partitions, nil)
	c.wanted = &plan.Wanted{Placement: plan.Place(nil, settings, c.shards, proto.Partitions), Runs: runs}
	c.rows = make([]plan.Row, proto.Partitions)
	for p := range c.rows {
		c.rows[p] = plan.Row{Owner: c.wanted.Owner(proto.Partition(p)), Term: 1, Since: 1}
		if f := c.wanted.Follower(proto.Partition(p)); f != "" {
			c.rows[p].Followers = []proto.NodeName{f}
		}
	}
	head := cluster.Head{Instance: instance, Version: 1, Settings: settings}
	for i := range min(plan.VotersFor(shards+routers), len(c.nodes)) {
		head.Voters = append(head.Voters, c.nodes[i].Voter)
	}
	for i := range c.nodes[:shards] {
		head.Addresses = append(head.Addresses, cluster.Address{Name: c.nodes[i].Name, Link: c.nodes[i].Addresses.Link})
	}
	c.table = cluster.NewTable(head, c.rows)
	return c
}

func node(id proto.NodeID, zone string, role proto.Role, i int) cluster.Node {
	n := cluster.Node{
		Name: proto.MakeNodeName(id, proto.Incarnation(1<<60+i)), Role: role, Zone: zone, Lanes: 4, Instance: instance, Started: 1, Version: "0.1.0",
		Protocols: cluster.Protocols{Min: proto.VersionMin, Max: proto.VersionMax},
	}
	n.Voter = n.Name
	host := fmt.Sprintf("10.244.%d.%d", i/250, i%250)
	n.Addresses = cluster.Addresses{Link: host + ":7400", Gossip: host + ":7401", Admin: host + ":7402"}
	if role == proto.RoleRouter {
		n.Addresses = cluster.Addresses{Link: host + ":8003", Gossip: host + ":8002", Admin: host + ":8001", Listen: host + ":8000"}
	}
	return n
}

// links is how many a node of a role has: with all shards, and as a shard or a voter with all nodes; a link per
// lane each. This is what node.apply wants of the mesh.
func links(role proto.Role, votes bool, shards, routers, lanes int) int {
	peers := shards
	if role == proto.RoleShard || votes {
		peers = shards + routers - 1
	}
	return peers * min(lanes, link.MaxLanes)
}

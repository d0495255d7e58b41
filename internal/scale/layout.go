package main

import (
	"fmt"

	"github.com/roomring/roomring/proto"
)

// What layouts are reckoned with: figures of docs/performance.md, and of others that are named.
const (
	writesPerCore   = 200_000 // a second: deliveries of which none travel together
	shardPerMessage = 8.9e-6  // seconds of cores at owner and follower per message: 0.93 and 0.84 µs per delivery in rooms of 5
	busy            = 0.5     // of a node's cores, so that others can do its work as well
	connsPerCore    = 20_000  // at a router: a choice, so that a dead one's clients are soon elsewhere
	perConn         = 4_000   // bytes: 0.4 of the router's own, and what the kernel keeps for a socket that is idle
	perLink         = 4_800   // bytes of an end of a link: go test ./link -run xxx -bench Memory
	roomOf          = 5       // members
)

// layouts is what clusters carry.
func layouts(t *table) {
	t.head("nodes: shards + routers, of so many cores", "conns", "memory for them, per router", "deliveries per second in rooms of 5", "by what that is limited", "messages per second", "links of a shard, of a router", "memory for them, at a shard", "clients of one dead router", "of them to each other router")
	for _, l := range shown {
		conns := l.routers * l.cores * connsPerCore
		byRouters := float64(l.routers*l.cores) * writesPerCore * busy
		byShards := float64(l.shards*l.cores) * busy / shardPerMessage * roomOf
		deliveries, limit := byRouters, "routers"
		if byShards < byRouters {
			deliveries, limit = byShards, "shards"
		}
		shard, router := links(proto.RoleShard, false, l.shards, l.routers, l.cores), links(proto.RoleRouter, false, l.shards, l.routers, l.cores)
		t.row(fmt.Sprintf("%v, %d", l, l.cores), millions(float64(conns)), size(l.cores*connsPerCore*perConn), millions(deliveries), limit, millions(deliveries/roomOf),
			fmt.Sprintf("%s, %s", number(shard), number(router)), size(shard*perLink), number(l.cores*connsPerCore), number(l.cores*connsPerCore/(l.routers-1)))
	}
}

// millions writes a number of them with two digits.
func millions(x float64) string {
	if x < 9.95e6 {
		return fmt.Sprintf("%.1f million", x/1e6)
	}
	return fmt.Sprintf("%s million", number(x/1e6))
}

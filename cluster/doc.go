// Package cluster says who is alive (View), where partitions should live (Ring) and where they do
// (Table), on every node, and keeps the Table moving towards the Ring on one of them.
//
//	memberlist ─▶ Gossip ─▶ View ─▶ Ring ─┐
//	                                      ├─▶ coordinator ─▶ Register ─▶ Table ─▶ deltas over links
//	                other nodes' Tables ──┘
//
// Every node holds a View, a Ring and a copy of the Table as immutable values: whoever asks loads a
// pointer and never waits. The coordinator is the live shard with the lowest name among those that
// hold a Table. It alone decides; what it decides goes to the others as deltas, and what gets lost
// on the way is healed by the announcement that every node sends twice a second.
//
// In this form a gossip verdict counts as death, so while the network is split there may be two
// coordinators and two owners of a partition. When it heals, the higher term wins, and where equal
// terms differ both give way to a new one (plan.Merge).
//
// This package does not open links and knows no rooms: frames come in through HandleFrame and leave
// through Config.Send. It is not the place where decisions are made; that is cluster/plan.
//
// Read node.go, view.go, ring.go and table.go for the values; wire.go for their bytes; keeper.go,
// then register.go, coordinator.go and founding.go, for what happens, and notice.go for what is said of
// it; cluster.go for the goroutine around it; membership.go for who is there, and gossip.go, metadata.go, seeds.go, transport.go and
// gossiplog.go for memberlist; document.go for what operators see.
package cluster

// Package node puts one node together: a router or a shard with its cluster,
// links and admin port. The programs and the tests that need whole nodes start
// them here; it decides nothing that its parts could decide.
//
// Read node.go (what a node is made of, and its life), role.go (what differs
// between router and shard), control.go (frames that are about no partition),
// streams.go (the register's connections), probe.go (who answers at a lost
// node's address), room.go, relay.go and change.go (questions to other nodes),
// ready.go and metrics.go. Any node answers for the whole cluster: figures.go
// with settings.go and process.go (what a node tells of itself, and of all
// others), then watch.go (streams of events), which shows what picture.go draws
// and sampler.go asks for, and what chronicle.go has seen happen; rooms.go and
// tail.go (what owners have), plan.go (what if) and leave.go (a drain by word).
package node

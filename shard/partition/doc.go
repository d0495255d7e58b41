// Package partition is what a shard knows and decides about the partitions it
// owns: which frames it takes, in which order messages enter the rooms' logs,
// and what each router is to be sent. It is the pure core of one lane: it has
// no goroutine, lock, clock or socket. It is given frames and the time, and
// asked to fill buffers.
//
// It is not the log of a room (package room), not the link that carries the
// frames (package link), and it does not decide who owns what: it is told
// (SetTable) and refuses what is not its own.
//
// Nothing queues here. What a router is to be sent is a cursor into a room's
// log, read when the router's link has space; what is remembered per router
// beyond cursors is bounded.
//
// Read lane.go (what a lane has, and its bounds), peer.go (routers and their
// links), frames.go (what comes in), publish.go (rule R8: numbered publishes),
// commit.go (rule R1: append, then commit), attach.go (who hears a room),
// fill.go (what goes out), table.go (terms), tick.go (what time does) and
// info.go (what operators see).
package partition

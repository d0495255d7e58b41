// Package partition is what a shard knows and decides about the partitions that
// it owns, follows or learns: which frames it takes, in which order messages enter
// the rooms' logs, when they are committed, and what each router and each other
// shard is to be sent. It is the pure core of one lane: it has no goroutine, lock,
// clock or socket. It is given frames and the time, and asked to fill buffers.
//
// It is not the log of a room (package room), not the link that carries the
// frames (package link), and it does not decide who owns what: it is told
// (SetTable), refuses what is not its own, and may say what it wishes changed
// (Wishes). The protocol is in docs/design/replication.md.
//
// A partition is a log of entries (rule R1). The owner encodes an entry once, when
// it appends it, and notes what has to be known at once: the next offset of a
// room, the last seq of a publisher. Followers store the same bytes. What all have
// stored is committed, and everywhere applied by the same code: only then do rooms
// change, and only what is applied is acknowledged and delivered.
//
// Nothing queues here. What a peer is to be sent is a cursor into the log of a
// room or of the partition, read when the peer's link has space; what is
// remembered per peer beyond cursors is bounded.
//
// Read lane.go (what a lane has, and its bounds), peer.go (routers, shards and
// their links), frames.go (what comes in), log.go (entries as bytes), entry.go
// (append, note, commit, apply), publish.go and publisher.go (rule R8: numbered
// publishes), attach.go (who hears a room), sure.go (that a place does not
// exist), fill.go (what goes to routers), replica.go (what an owner knows of its
// followers), follow.go (what a follower does), lesson.go (how a learner is
// taught), table.go (terms, promises, who keeps a copy), hold.go (who has to
// wait), wish.go (what the coordinator is asked for), tick.go (what time does),
// info.go, walk.go (all rooms, in pieces), pace.go (messages per second), tail.go
// and digest.go (what operators see).
package partition

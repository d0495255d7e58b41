// Package hub is the pure core of one router lane: who here is in which room,
// how far each got, and what the owners of the rooms still have to hear.
//
// It is not a server: it has no goroutine, lock, clock or socket. The lane
// calls it with what came in and with the time; it answers through the Sink
// (bytes for members) and through Fill and Control (bytes for links). One seed
// replays it: nothing depends on the order of a map.
//
// One turn of a lane looks like this:
//
//	Join, Leave, Publish, Writable           what members did
//	Frame, LinkUp, LinkDown, SetRow          what shards and the Table said
//	FanOut(now)                              one write per member that has news
//	Work(f): f calls Fill and Control        bytes for the links that have some
//	NeedTable()                              frames tell of a newer Table: fetch it
//	Tick(now)                                every 50 ms or so: bounds in time
//
// What a caller must know:
//
//   - A Member is embedded in the conn and gets its ID before Join. Joined or
//     Refused follows, perhaps within Join. Publishes between the two are kept
//     and sent.
//   - Refused, Slow and Expired take the member out themselves; a Leave behind
//     them, or within them, does no harm.
//   - A write that took less than all is followed by Writable, or by nothing
//     until Stall ends the member. A frame of the lane's own (a ping, a close)
//     goes behind Rest.
//   - When the lane itself holds bytes back for a member (a 101 that did not
//     fit), its Sink.Write takes nothing, and it calls Writable when they are
//     gone.
//   - Everything heard from a link is believed only in the term of the row and
//     from its owner; what comes early is held until the row does. After LinkDown
//     nothing comes from that link any more.
//   - Fill is called whenever a link has space: from Work, and when credit
//     comes. Sequences need no care: each new row and each LinkUp begins the
//     partition again, rooms first, then what is unacknowledged.
//
// Read in this order: hub.go (what a hub has), member.go (who is here), room.go
// (attach and what comes from the owner), chain.go (the tail), encode.go (its
// bytes), fanout.go (tail to members), replay.go (joining from a position),
// partition.go (row and links), publisher.go (rule R8), fill.go (bytes for
// links), frame.go (bytes from links), term.go (frames of other terms), sample.go
// and pause.go (how long things took). config.go has the bounds.
package hub

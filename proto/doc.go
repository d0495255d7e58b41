// Package proto is the words of Roomring and their bytes: ids, positions,
// frames between nodes, and the error codes that cross a link. It has no I/O,
// no goroutine, and imports nothing of ours; every other package imports it.
//
// Read id.go for who and what is named, position.go for where in a room one
// is, room.go for what a room may be called, error.go for what a far side can
// be told, and then frame.go, which opens with the protocol as a conversation.
// The codecs stand behind it: publish.go (client to room), deliver.go (room to
// client), attach.go (who hears what), control.go (everything about one
// partition that needs no credit); then entry.go and replicate.go (owner to
// follower: a partition's log, and copies of it) and wish.go (who asks the
// coordinator for what, and what it asks first). PROTOCOL.md has the same for
// people who write another implementation.
package proto

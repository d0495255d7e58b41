// Package room is the log of a room: an ordered list of messages with gapless
// offsets, of which the newest are kept. It decides what is kept and where it
// lies in memory, and hands out messages by cursor: an offset, nothing else.
// What is appended here is committed: what may still be cut is elsewhere.
//
// It is not the room's members, publishers or routers (package partition has
// those), and it has no goroutine, lock or clock: ages are judged by the log
// time that the caller hands in, so copies of a log cannot diverge.
//
// Read log.go (the log and what of it is kept), read.go (cursors), store.go
// (the memory of all logs of one lane and its bound) and chunk.go (bytes).
package room

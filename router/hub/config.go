package hub

import (
	"time"

	"github.com/roomring/roomring/proto"
)

// Config holds the bounds of a hub. The zero value works. All sizes are bytes.
// A hub is one lane's: bounds of a whole router are to be divided by its lanes
// before they come here.
type Config struct {
	// Partitions is how many partitions the cluster has.
	// If zero, proto.Partitions.
	Partitions int

	// Lane is this lane's number and Lanes how many there are, a power of two.
	// Only partitions p with p % Lanes == Lane may be given to this hub.
	// If Lanes is zero, 1.
	Lane, Lanes int

	// MemberMessages and MemberBytes bound what one conn may have
	// unacknowledged. Above either, Publish tells the caller to stop reading;
	// at half of both the Sink's Resume tells it to go on.
	// If zero, 64 and 256 KiB.
	MemberMessages int
	MemberBytes    int

	// Unacknowledged bounds the unacknowledged publishes of all conns together,
	// bookkeeping included. Above it every publisher is paused, at half of it
	// all go on.
	// If zero, 256 MiB.
	Unacknowledged int

	// RoomTail bounds the tail of one room. Above it the oldest part is cut,
	// and members that still needed it are slow.
	// If zero, 8 MiB.
	RoomTail int

	// Tails bounds the tails of all rooms together; the oldest parts go first.
	// If zero, 256 MiB.
	Tails int

	// Window is how long the tail of a room with numbered members is kept for
	// those who come back.
	// If zero, 10 s.
	Window time.Duration

	// Stall is how long a member with something to read may take nothing
	// before it is slow.
	// If zero, 30 s.
	Stall time.Duration

	// JoinTimeout bounds the time from Join to Joined, while the room's owner
	// does not answer.
	// If zero, 10 s.
	JoinTimeout time.Duration

	// CommitTimeout bounds the same for a member whose Since is in the owner's
	// log and not committed yet, counted from Join too.
	// If zero, 60 s.
	CommitTimeout time.Duration

	// PublishTimeout bounds how long a publish may stay unacknowledged before
	// its conn is told (Expired) and it lives on as a void.
	// If zero, 60 s.
	PublishTimeout time.Duration

	// MembersEvery is the shortest time between two announcements of a room's
	// member count.
	// If zero, 100 ms.
	MembersEvery time.Duration

	// Patience is how many members make it worth a moment to wait for messages
	// that are on their way before a room is fanned out.
	// If zero, 32.
	Patience int

	// Spare bounds the free buffers kept for reuse.
	// If zero, 8 MiB.
	Spare int

	// Break switches one rule off, so that a test can see the checkers catch
	// it. Tests and simulation only.
	Break Break
}

// Break names a rule that a test switches off.
type Break string

// The rules that can be broken.
const (
	BreakNothing Break = ""
	BreakResend  Break = "resend" // a new owner is not sent what is unacknowledged
	BreakDouble  Break = "double" // a Deliver of known messages is taken again
	BreakReplay  Break = "replay" // a new owner is asked for the present instead of what follows
	BreakHold    Break = "hold"   // frames of a term to come are taken at once
)

func (c Config) withDefaults() Config {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	span := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&c.Partitions, proto.Partitions)
	set(&c.Lanes, 1)
	set(&c.MemberMessages, 64)
	set(&c.MemberBytes, 256<<10)
	set(&c.Unacknowledged, 256<<20)
	set(&c.RoomTail, 8<<20)
	set(&c.Tails, 256<<20)
	set(&c.Patience, 32)
	set(&c.Spare, 8<<20)
	span(&c.Window, 10*time.Second)
	span(&c.Stall, 30*time.Second)
	span(&c.JoinTimeout, 10*time.Second)
	span(&c.CommitTimeout, 60*time.Second)
	span(&c.PublishTimeout, 60*time.Second)
	span(&c.MembersEvery, 100*time.Millisecond)
	return c
}

// Package loadgen loads a room server over raw WebSockets and checks what comes back.
//
// It fills rooms with members, lets some of them publish, and follows every message to every member:
// how long it took, and whether it was lost, came twice or overtook an earlier one of its publisher.
// It knows nothing of Roomring but the URL, so any server that sends each frame of a member to its
// whole room can be measured and compared.
//
// It is not a proof: a message is missed only if a member that stayed connected never got it.
//
// Read loadgen.go (what is asked and answered), run.go (the phases), room.go (who publishes when),
// member.go (who sends and hears), conn.go (a WebSocket, for internal/verify too), track.go (what a member has seen), stamp.go, latency.go and pause.go (what
// an event in the middle of a run cost each room).
package loadgen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config says what to load, and how.
type Config struct {
	// URLs are the servers, ws:// or wss://, with {room} where the room's name goes. A room's members
	// are spread over them.
	URLs []string

	// Rooms and Members (per room) say how many conns there are, Publishers how many members of each
	// room publish. None publishes if Publishers is zero.
	Rooms, Members, Publishers int

	// Size of a message in bytes. If zero, 128; at least MinSize.
	Size int

	// Binary sends binary frames instead of text frames.
	Binary bool

	// OthersOnly says that the server does not send a publisher its own messages.
	OthersOnly bool

	// Window is how many messages of a room are in flight, while Rate is zero. If zero, 1.
	Window int

	// Rate is how many deliveries per second are due, over all rooms, whatever the server keeps up
	// with. A message's latency then counts from when it was due. If zero, Window decides.
	Rate float64

	// Warm is how long messages flow before the measurement, For how long it lasts.
	// If For is zero, 10 seconds.
	Warm, For time.Duration

	// Settle is the pause between the last join and the first message, for servers that answer the
	// handshake before the join is done. If zero, 250 ms; negative means none.
	Settle time.Duration

	// Quiet is how long nothing must arrive, at the end, until what is missing counts as lost, and in
	// a room with a full window until it moves on. If zero, 1.5 s.
	Quiet time.Duration

	// TLS is used for wss://. If nil, the system's roots.
	TLS *tls.Config

	// Pauses is told how long each room's messages take, warm-up included. If nil, nobody asks.
	Pauses *Pauses

	// Progress is called once a second, from the goroutine that called Run. If nil, nobody is told.
	Progress func(Progress)
}

// Progress is the state of a run.
type Progress struct {
	Phase       string  // "connecting", "warming up", "measuring", "waiting"
	Conns, Want int     // open now, and wanted
	PerSecond   float64 // deliveries per second since the last progress
	Delivered   uint64
	Faults      uint64 // doubled and reordered so far; lost ones are known at the end
}

// Report is what a run found. Times are in milliseconds.
type Report struct {
	Rooms      int `json:"rooms"`
	Members    int `json:"members"`
	Publishers int `json:"publishers"`
	Size       int `json:"size"`

	Conns          int     `json:"conns"`           // that opened
	ConnectErrors  int     `json:"connect_errors"`  // that did not open
	Closed         int     `json:"closed"`          // that ended before the run did
	FirstError     string  `json:"first_error"`     // of those that did not open or ended
	ConnectSeconds float64 `json:"connect_seconds"` // for all of them
	Seconds        float64 `json:"seconds"`         // measured

	Published           uint64  `json:"published"`             // in all
	Delivered           uint64  `json:"delivered"`             // in all
	MessagesPerSecond   float64 `json:"messages_per_second"`   // while measured
	DeliveriesPerSecond float64 `json:"deliveries_per_second"` // while measured

	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`

	Lost      uint64 `json:"lost"`      // deliveries that never came to a member that stayed
	Doubled   uint64 `json:"doubled"`   // deliveries that came again
	Reordered uint64 `json:"reordered"` // deliveries that came after a later one of the same publisher
	Disagree  int    `json:"disagree"`  // rooms whose members saw its publishers' messages in different orders
	Foreign   uint64 `json:"foreign"`   // messages that are none of this run's, or of another room
	Stalls    uint64 `json:"stalls"`    // times a room's window stood full for Quiet
	Unsent    uint64 `json:"unsent"`    // messages that were due and could not be sent
}

// Faulty tells whether the server lost, doubled or reordered a delivery.
func (r *Report) Faulty() bool { return r.Lost+r.Doubled+r.Reordered > 0 }

// Failed tells whether the run is no good: a fault, or conns that did not open or did not stay.
func (r *Report) Failed() bool { return r.Faulty() || r.ConnectErrors > 0 || r.Closed > 0 }

// maxTrackers bounds the memory for what every member has seen of every publisher (24 bytes each).
const maxTrackers = 50_000_000

// withDefaults checks c and fills what is zero.
func (c Config) withDefaults() (Config, error) {
	if c.Size == 0 {
		c.Size = 128
	}
	if c.Window == 0 {
		c.Window = 1
	}
	if c.For == 0 {
		c.For = 10 * time.Second
	}
	if c.Quiet == 0 {
		c.Quiet = 1500 * time.Millisecond
	}
	if c.Settle == 0 {
		c.Settle = 250 * time.Millisecond
	}
	c.Publishers = min(c.Publishers, c.Members)
	switch {
	case len(c.URLs) == 0:
		return c, errors.New("no URL")
	case c.Rooms < 1 || c.Members < 1:
		return c, errors.New("want one room and one member or more")
	case c.Publishers < 0 || c.Window < 0 || c.Rate < 0 || c.For < 0 || c.Warm < 0:
		return c, errors.New("sizes and times cannot be negative")
	case c.Size < MinSize || c.Size > maxFrame:
		return c, fmt.Errorf("message size %d: want %d to %d", c.Size, MinSize, maxFrame)
	case c.Publishers > 1<<16-1 || c.Rooms > maxTrackers/c.Members || c.Rooms*c.Members*max(c.Publishers, 1) > maxTrackers:
		return c, errors.New("too many members and publishers for one generator")
	case c.Pauses != nil && len(c.Pauses.rooms) != c.Rooms:
		return c, fmt.Errorf("pauses of %d rooms, and there are %d", len(c.Pauses.rooms), c.Rooms)
	}
	for _, u := range c.URLs {
		if !strings.HasPrefix(u, "ws://") && !strings.HasPrefix(u, "wss://") {
			return c, fmt.Errorf("%q is not a ws:// or wss:// URL", u)
		}
		if c.Rooms > 1 && !strings.Contains(u, "{room}") {
			return c, fmt.Errorf("%q has no {room}, and there are %d rooms", u, c.Rooms)
		}
	}
	return c, nil
}

// Check returns what is wrong with c, without running it.
func Check(c Config) error {
	_, err := c.withDefaults()
	return err
}

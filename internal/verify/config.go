package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

// Config says what to drive, how, and what may happen on the way.
type Config struct {
	// URLs are the routers, ws:// or wss://, for example ws://127.0.0.1:8000/ws. {room} is replaced by a
	// room's name; without it, the name goes into the parameter room. A room's members are spread over them.
	URLs []string

	// Rooms and Members (per room) say how many conns there are. All members publish, in turn.
	// If zero, 100 rooms and 5 members.
	Rooms, Members int

	// Rate is how many deliveries per second are due over all rooms, whatever the cluster keeps up
	// with. If zero, 2,000.
	Rate float64

	// Size of a message in bytes. If zero, 128; MinSize at least.
	Size int

	// For is how long messages are sent. If zero, 30 seconds; 72 hours at most.
	For time.Duration

	// Reconnect opens a conn again that closed, at the next URL, from its last position. What does not
	// open at the start is tried again as well, for 15 seconds: a router may be about to start.
	Reconnect bool

	// MaxPause is the longest pause that a room may have. If zero, any.
	MaxPause time.Duration

	// Allow says what does not break the promise in this run.
	Allow Allow

	// At are commands to run while messages flow. Each begins an event.
	At []Command

	// Events is read line by line while messages flow; each line names an event that begins when it is
	// read. If nil, none. Run does not wait for its end.
	Events io.Reader

	// Quiet is how long nothing must arrive, at the end, until what is missing counts as lost.
	// If zero, 8 seconds: longer than a fail-over takes.
	Quiet time.Duration

	// TLS is used for wss://. If nil, the system's roots.
	TLS *tls.Config

	// Dial connects. If nil, the system does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Progress is called once a second, from the goroutine that called Run. If nil, nobody is told.
	Progress func(Progress)

	// Done is called when a command has ended, one call at a time. If nil, nobody is told.
	Done func(Done)
}

// Done is a command that has ended.
type Done struct {
	Command
	ExitCode int    // -1 when it did not end by itself
	Output   string // the first 4 KiB
	Took     time.Duration
}

// Allow is what may happen without breaking a promise. It is counted and shown all the same.
type Allow struct {
	Gaps, Resets bool // a member was told that it missed something, or that its room began anew
	Closed       bool // sockets closed, or did not come back
}

// Command is a command for sh -c at a time after the first message.
type Command struct {
	At   time.Duration
	Line string
}

// Progress is the state of a run.
type Progress struct {
	Phase       string  // "connecting", "sending", "waiting"
	Conns, Want int     // open now, and wanted
	PerSecond   float64 // deliveries per second since the last progress
	Delivered   uint64
	Missing     uint64 // messages that a member went past; they count as lost if they do not come
	Faults      uint64 // everything else that breaks a promise, so far
	Event       string // the one that began last
	DialErrors  int    // tries that did not open
	FirstError  string // of those tries
}

// MinSize is the smallest message.
const MinSize = loadgen.MinSize

// Bounds of a run.
const (
	maxConns  = 1 << 20
	maxEvents = 1000
	maxFor    = 72 * time.Hour // a stamp's time has 48 bits
)

// withDefaults checks c and fills what is zero.
func (c Config) withDefaults() (Config, error) {
	c.Rooms, c.Members = orDefault(c.Rooms, 100), orDefault(c.Members, 5)
	c.Rate, c.Size = orDefault(c.Rate, 2000), orDefault(c.Size, 128)
	c.For, c.Quiet = orDefault(c.For, 30*time.Second), orDefault(c.Quiet, 8*time.Second)
	switch {
	case len(c.URLs) == 0:
		return c, errors.New("no URL")
	case c.Rooms < 1 || c.Members < 1 || c.Rooms > maxConns/c.Members:
		return c, fmt.Errorf("%d rooms of %d members: want one or more of each, and at most %d conns", c.Rooms, c.Members, maxConns)
	case c.Rate < 0 || c.For < 0 || c.Quiet < 0 || c.MaxPause < 0:
		return c, errors.New("rates and times cannot be negative")
	case c.Size < MinSize || c.Size > loadgen.MaxSize:
		return c, fmt.Errorf("message size %d: want %d to %d", c.Size, MinSize, loadgen.MaxSize)
	case c.For > maxFor:
		return c, fmt.Errorf("%s of sending: want %s at most", c.For, maxFor)
	case len(c.At) > maxEvents:
		return c, fmt.Errorf("%d commands: want %d at most", len(c.At), maxEvents)
	}
	for _, u := range c.URLs {
		if err := checkURL(u); err != nil {
			return c, err
		}
	}
	for _, at := range c.At {
		if at.At < 0 || at.At >= c.For || strings.TrimSpace(at.Line) == "" {
			return c, fmt.Errorf("command %q at %s: want a command and a time from 0 to %s, when the sending ends", at.Line, at.At, c.For)
		}
	}
	return c, nil
}

func orDefault[T int | float64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Check returns what is wrong with c, without running it.
func Check(c Config) error {
	_, err := c.withDefaults()
	return err
}

func checkURL(text string) error {
	u, err := url.Parse(strings.ReplaceAll(text, "{room}", "room"))
	if err != nil {
		return fmt.Errorf("%q is not a URL", text)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return fmt.Errorf("%q is not a ws:// or wss:// URL", text)
	}
	return nil
}

// address returns where a member of a room connects, from a position on, or live only without one.
func address(template, room, since string) string {
	template = strings.ReplaceAll(template, "{room}", room)
	u, err := url.Parse(template)
	if err != nil {
		return template // checkURL has said so
	}
	if u.Path == "" {
		u.Path = "/ws"
	}
	q := u.Query()
	if !q.Has("room") && !strings.Contains(u.Path, room) {
		q.Set("room", room)
	}
	q.Set("num", "1")
	if since != "" {
		q.Set("since", since)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

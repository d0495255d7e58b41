package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"unicode/utf8"
)

// Reason says in a number why a hello was refused. Numbers are never reused.
type Reason uint8

// The reasons.
const (
	ReasonNone       Reason = 0  // a reason that this version does not know
	ReasonGarbage    Reason = 1  // not a hello: other protocol, oversize, half a frame, bad field
	ReasonSlow       Reason = 2  // the hello took longer than 5 s
	ReasonBroken     Reason = 3  // the connection ended in the hello
	ReasonTLS        Reason = 4  // the TLS handshake failed
	ReasonBusy       Reason = 5  // too many hellos at once, or no place for another node
	ReasonPurpose    Reason = 6  // a connection for something else than frames
	ReasonVersion    Reason = 7  // no common protocol version
	ReasonKey        Reason = 8  // cluster keys differ, or one side has none
	ReasonCluster    Reason = 9  // cluster names differ
	ReasonHash       Reason = 10 // rooms are hashed in different ways
	ReasonPartitions Reason = 11 // partition counts differ
	ReasonInstance   Reason = 12 // two instances of the cluster
	ReasonTarget     Reason = 13 // another incarnation answered
	ReasonName       Reason = 14 // both nodes have the same id
	ReasonLanes      Reason = 15 // lanes are no power of two, or the link's index does not fit them
	ReasonRole       Reason = 16 // neither router nor shard

	reasons = 17
)

var reasonNames = [reasons]string{"none", "garbage", "slow", "broken", "tls", "busy", "purpose", "version", "key", "cluster", "hash",
	"partitions", "instance", "target", "name", "lanes", "role"}

// String is one lower-case word, fit for a metric's label.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return reasonNames[ReasonNone]
}

// Refusal is why a hello did not become a link. Text names what differs and
// both nodes, so it reads the same on both sides.
type Refusal struct {
	Reason Reason
	Text   string
	Remote bool // the other side said so
}

func (r *Refusal) Error() string {
	if r.Remote {
		return "refused by the other side: " + r.Text
	}
	return "refused: " + r.Text
}

func refuse(r Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: r, Text: fmt.Sprintf(format, args...)}
}

// compare judges a hello from both ends alike: dialer and acceptor call it with
// the same two values and come to the same sentence.
func compare(d, a *Hello) *Refusal {
	switch {
	case d.Purpose != 0 || a.Purpose != 0:
		return refuse(ReasonPurpose, "%s dialed %s for purpose %d, known is 0", d.Self, a.Self, max(d.Purpose, a.Purpose))
	case d.keyed() != a.keyed():
		with, without := d, a
		if a.keyed() {
			with, without = a, d
		}
		return refuse(ReasonKey, "%s has a cluster key and %s has none", with.Self, without.Self)
	case d.Min > d.Max || a.Min > a.Max || max(d.Min, a.Min) > min(d.Max, a.Max):
		return refuse(ReasonVersion, "no common protocol version: %s speaks %d to %d and %s speaks %d to %d", d.Self, d.Min, d.Max, a.Self, a.Min, a.Max)
	case d.Cluster != a.Cluster:
		return refuse(ReasonCluster, "cluster names differ: %s is in %q and %s is in %q", d.Self, d.Cluster, a.Self, a.Cluster)
	case d.RoomHash != a.RoomHash:
		return refuse(ReasonHash, "%s and %s hash rooms in different ways", d.Self, a.Self)
	case d.Partitions != a.Partitions:
		return refuse(ReasonPartitions, "partition counts differ: %s has %d and %s has %d", d.Self, d.Partitions, a.Self, a.Partitions)
	case !d.Instance.IsZero() && !a.Instance.IsZero() && d.Instance != a.Instance:
		return refuse(ReasonInstance, "cluster instances differ: %s is in %s and %s is in %s", d.Self, d.Instance, a.Self, a.Instance)
	case d.Target != "" && d.Target != a.Self:
		return refuse(ReasonTarget, "%s asked for %s but this is %s", d.Self, d.Target, a.Self)
	case a.Target != d.Self:
		return refuse(ReasonTarget, "%s answered %s instead of %s", a.Self, a.Target, d.Self)
	case d.Self.ID() == a.Self.ID():
		return refuse(ReasonName, "two nodes have the id %s: %s dialed %s", d.Self.ID(), d.Self, a.Self)
	case !lanesFit(int(d.Lanes)) || !lanesFit(int(a.Lanes)):
		return refuse(ReasonLanes, "lanes must be a power of two, at most %d: %s has %d and %s has %d", MaxLanes, d.Self, d.Lanes, a.Self, a.Lanes)
	case d.Index >= max(d.Lanes, a.Lanes) || d.Index != a.Index:
		return refuse(ReasonLanes, "link %d does not exist: %s has %d lanes and %s has %d", d.Index, d.Self, d.Lanes, a.Self, a.Lanes)
	case !d.roleFits() || !a.roleFits():
		return refuse(ReasonRole, "unknown role: %s is a %s and %s is a %s", d.Self, d.Role, a.Self, a.Role)
	}
	return nil
}

// refusalOf gives every failure of a hello a reason.
func refusalOf(err error) *Refusal {
	var r *Refusal
	var n net.Error
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &n) && n.Timeout():
		return refuse(ReasonSlow, "the hello took longer than %s", helloTime)
	}
	if strings.Contains(err.Error(), "tls: ") { // the acceptor's verdict on our certificate comes as an alert
		return refuse(ReasonTLS, "TLS: %s", printable([]byte(err.Error())))
	}
	return refuse(ReasonBroken, "the connection ended in the hello: %v", err)
}

// printable makes a text from outside fit for a log: bounded, one line, UTF-8.
func printable(b []byte) string {
	b = b[:min(len(b), maxReason)]
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, string(b))
}

package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/roomring/roomring/proto"
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
	ReasonBusy       Reason = 5  // too many hellos or streams at once, or no place for another node
	ReasonPurpose    Reason = 6  // a connection for something that the other side does not do
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
	ReasonGeneration Reason = 17 // two generations of the cluster, for a stream

	reasons = 18
)

var reasonNames = [reasons]string{"none", "garbage", "slow", "broken", "tls", "busy", "purpose", "version", "key", "cluster", "hash",
	"partitions", "instance", "target", "name", "lanes", "role", "generation"}

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
	if r := compareAll(d, a); r != nil {
		return r
	}
	switch d.Purpose {
	case PurposeFrames:
		return compareFrames(d, a)
	case PurposeStream:
		return compareStream(d, a)
	}
	return nil // a probe: the point is who answers
}

// compareAll is what any two nodes that talk have in common.
func compareAll(d, a *Hello) *Refusal {
	switch {
	case d.Purpose >= purposes:
		return refuse(ReasonPurpose, "%s dialed %s for purpose %d, known are 0 to %d", d.Self, a.Self, d.Purpose, purposes-1)
	case a.Purpose != d.Purpose:
		return refuse(ReasonPurpose, "%s dialed %s for purpose %d and was answered for %d", d.Self, a.Self, d.Purpose, a.Purpose)
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
	case a.Target != d.Self:
		return refuse(ReasonTarget, "%s answered %s instead of %s", a.Self, a.Target, d.Self)
	}
	return nil
}

func compareFrames(d, a *Hello) *Refusal {
	di, ai := d.Founding.Instance, a.Founding.Instance
	switch {
	case !di.IsZero() && !ai.IsZero() && di != ai:
		return refuse(ReasonInstance, "cluster instances differ: %s is in %s and %s is in %s", d.Self, di, a.Self, ai)
	case d.Target != "" && d.Target != a.Self:
		return refuseTarget(d, a)
	case d.Self.ID() == a.Self.ID():
		return refuseName(d, a)
	case !lanesFit(int(d.Lanes)) || !lanesFit(int(a.Lanes)):
		return refuse(ReasonLanes, "lanes must be a power of two, at most %d: %s has %d and %s has %d", MaxLanes, d.Self, d.Lanes, a.Self, a.Lanes)
	case d.Index >= max(d.Lanes, a.Lanes) || d.Index != a.Index:
		return refuse(ReasonLanes, "link %d does not exist: %s has %d lanes and %s has %d", d.Index, d.Self, d.Lanes, a.Self, a.Lanes)
	case !d.roleFits() || !a.roleFits():
		return refuse(ReasonRole, "unknown role: %s is a %s and %s is a %s", d.Self, d.Role, a.Self, a.Role)
	}
	return nil
}

// compareStream lets only the very run talk that is meant, in the very founding:
// a node that lost its memory must not vote for its former self. The target is
// judged first, since who lost its memory knows of no founding either.
func compareStream(d, a *Hello) *Refusal {
	df, af := d.Founding, a.Founding
	switch {
	case d.Target == "":
		return refuse(ReasonTarget, "%s dialed %s for a stream without asking for it by name", d.Self, a.Self)
	case d.Target != a.Self:
		return refuseTarget(d, a)
	case d.Self.ID() == a.Self.ID():
		return refuseName(d, a)
	case df.Instance.IsZero() || af.Instance.IsZero():
		return refuse(ReasonInstance, "a stream needs an instance at both ends: %s is in %s and %s is in %s", d.Self, instanceText(df), a.Self, instanceText(af))
	case df.Instance != af.Instance:
		return refuse(ReasonInstance, "cluster instances differ: %s is in %s and %s is in %s", d.Self, df.Instance, a.Self, af.Instance)
	case df.Generation != af.Generation:
		return refuse(ReasonGeneration, "generations of the cluster differ: %s is in %d and %s is in %d", d.Self, df.Generation, a.Self, af.Generation)
	}
	return nil
}

func refuseTarget(d, a *Hello) *Refusal {
	return refuse(ReasonTarget, "%s asked for %s but this is %s", d.Self, d.Target, a.Self)
}

func refuseName(d, a *Hello) *Refusal {
	return refuse(ReasonName, "two nodes have the id %s: %s dialed %s", d.Self.ID(), d.Self, a.Self)
}

func instanceText(f proto.Founding) string {
	if f.Instance.IsZero() {
		return "none"
	}
	return f.Instance.String()
}

// refusalOf gives every failure of a hello a reason.
func refusalOf(err error) *Refusal {
	var r *Refusal
	var n net.Error
	var bug *panicked
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &bug):
		return refuse(ReasonNone, "%v", bug)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &n) && n.Timeout():
		return refuse(ReasonSlow, "the hello took longer than %s", helloTime)
	}
	if strings.Contains(err.Error(), "tls: ") { // the acceptor's verdict on our certificate comes as an alert
		return refuse(ReasonTLS, "TLS: %s", printable([]byte(err.Error())))
	}
	return refuse(ReasonBroken, "the connection ended in the hello: %v", err)
}

// printable makes a text from outside fit for a log: bounded, one line, UTF-8,
// nothing that hides or turns around what stands beside it.
func printable(b []byte) string {
	b = b[:min(len(b), maxReason)]
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, string(b))
}

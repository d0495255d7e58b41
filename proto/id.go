package proto

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// NodeID is the operator's name of a node: 1 to 63 of [a-z0-9-]. It outlives
// the process; an Incarnation does not.
type NodeID string

// CheckNodeID says whether s may name a node.
func CheckNodeID(s string) error {
	if len(s) == 0 || len(s) > 63 {
		return fmt.Errorf("node id %q: want 1 to 63 characters, have %d", s, len(s))
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("node id %q: only a-z, 0-9 and - are allowed", s)
		}
	}
	return nil
}

// Incarnation is one run of a process. A process that lost its memory is a
// stranger (rule R7): a restarted node has a new one and owns nothing.
type Incarnation uint64

// MintIncarnation draws an incarnation from 64 random bits of r. It is never
// zero: zero means "none".
func MintIncarnation(r io.Reader) (Incarnation, error) {
	for {
		var b [8]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, fmt.Errorf("mint incarnation: %w", err)
		}
		if i := Incarnation(binary.BigEndian.Uint64(b[:])); i != 0 {
			return i, nil
		}
	}
}

// String is 13 characters of [0-9a-z], zero-padded.
func (i Incarnation) String() string {
	e := base36(uint64(i))
	return string(e[:])
}

// ParseIncarnation is the inverse of String.
func ParseIncarnation(s string) (Incarnation, error) {
	if len(s) != epochSize {
		return 0, fmt.Errorf("incarnation %q: want %d characters", s, epochSize)
	}
	var v uint64
	for i := range len(s) {
		d, ok := digit36(s[i])
		if !ok {
			return 0, fmt.Errorf("incarnation %q: only 0-9 and a-z are allowed", s)
		}
		next := v*36 + uint64(d)
		if v > (1<<64-1)/36 || next < v*36 {
			return 0, fmt.Errorf("incarnation %q: more than 64 bits", s)
		}
		v = next
	}
	return Incarnation(v), nil
}

// NodeName names one run of a node: "id/incarnation". It is the name in gossip
// and in the Table.
type NodeName string

// MakeNodeName joins an id and an incarnation.
func MakeNodeName(id NodeID, i Incarnation) NodeName {
	return NodeName(string(id) + "/" + i.String())
}

// ParseNodeName checks both halves of a name.
func ParseNodeName(s string) (NodeName, error) {
	id, inc, ok := strings.Cut(s, "/")
	if !ok {
		return "", fmt.Errorf("node name %q: want id/incarnation", s)
	}
	if err := CheckNodeID(id); err != nil {
		return "", err
	}
	if _, err := ParseIncarnation(inc); err != nil {
		return "", err
	}
	return NodeName(s), nil
}

// ID is the operator's half of the name.
func (n NodeName) ID() NodeID {
	id, _, _ := strings.Cut(string(n), "/")
	return NodeID(id)
}

// Incarnation is the process's half of the name, zero when the name is not
// well formed.
func (n NodeName) Incarnation() Incarnation {
	_, s, _ := strings.Cut(string(n), "/")
	i, err := ParseIncarnation(s)
	if err != nil {
		return 0
	}
	return i
}

// Instance is 128 random bits minted when a cluster is founded. Nodes of two
// instances never link. The zero value means "none yet".
type Instance [16]byte

// MintInstance draws an instance from r.
func MintInstance(r io.Reader) (Instance, error) {
	var i Instance
	if _, err := io.ReadFull(r, i[:]); err != nil {
		return Instance{}, fmt.Errorf("mint instance: %w", err)
	}
	return i, nil
}

// IsZero reports whether no instance is known.
func (i Instance) IsZero() bool { return i == Instance{} }

// String is 32 hexadecimal digits, or "" for none.
func (i Instance) String() string {
	if i.IsZero() {
		return ""
	}
	return hex.EncodeToString(i[:])
}

// Role is what a node does.
type Role uint8

// The two roles.
const (
	RoleRouter Role = 1
	RoleShard  Role = 2
)

func (r Role) String() string {
	switch r {
	case RoleRouter:
		return "router"
	case RoleShard:
		return "shard"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Partition is a slice of the room key space: the unit that has an owner and
// that moves.
type Partition uint16

// Partitions is how many there are, fixed for a cluster's life. Tests and
// simulation use fewer through their Config.
const Partitions = 4093

// PartitionOf is where a room lives. All nodes must agree on it, so the hello
// of a link compares RoomHashProbe.
func PartitionOf(room []byte, count int) Partition {
	return Partition(xxhash.Sum64(room) % uint64(count))
}

// PartitionOfString is PartitionOf for a string.
func PartitionOfString(room string, count int) Partition {
	return Partition(xxhash.Sum64String(room) % uint64(count))
}

// RoomHashProbe is the hash of a fixed name: nodes that differ in it would
// look for rooms in different places.
func RoomHashProbe() uint64 { return xxhash.Sum64String("roomring") }

// Founding names one life of a cluster's register: the instance that was minted
// when the cluster was founded, and how often it was founded anew since by
// recovery. Registers of two foundings never talk to each other.
type Founding struct {
	Instance   Instance
	Generation uint32
}

// Term counts the changes of a partition's Table entry and fences older ones.
// Its upper half is the generation of the register in which the change was
// made: whatever a recovery decides is above all that was decided before.
type Term uint64

// Generation returns the generation in which the term was made.
func (t Term) Generation() uint32 { return uint32(t >> 32) }

// In returns the lowest term of a generation that has a higher count than t,
// which is also above t unless the generation is an older one.
func (t Term) In(generation uint32) Term { return Term(generation)<<32 | Term(uint32(t)+1) }

// Index is a place in a partition's replication log.
type Index uint64

// Offset is a place in a room's log: 1, 2, 3, without gaps; 0 is before the
// first message.
type Offset uint64

// Seq numbers the publishes of one router in one partition: 1, 2, 3, without
// holes (rule R8).
type Seq uint64

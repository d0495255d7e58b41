package admin

import "github.com/roomring/roomring/proto"

// Event is one event of a stream (server-sent events: the name, then its data
// as one line of JSON).
type Event struct {
	Name string
	Data any
}

// Names of the events of /v1/events. The first is EventRing, which is whole.
// After it come changes; a reader that takes them slowly gets fewer and larger
// ones, so that nothing queues for it.
const (
	EventRing   = "ring"   // RingEvent, whole
	EventChange = "change" // RingEvent, whose Rows are those that changed; the rest is whole
	EventNodes  = "nodes"  // NodesDocument, every second
	EventFeed   = "feed"   // FeedEvent, the kept ones first, oldest first
	EventLost   = "lost"   // LostEvent: entries of the feed that this reader was too slow for
)

// Names of the events of /v1/tail.
const (
	EventOpen    = "open"    // TailOpen: first, and again when the owner or epoch is another one
	EventMessage = "message" // TailMessage
	EventGap     = "gap"     // TailGap
)

// EventError is the last event of a stream that cannot go on. A Source does
// not tell it, it returns an error.
const EventError = "error" // ErrorEvent

// RingEvent is the cluster as one node sees it. Nodes are named by their place
// in Nodes; -1 is nobody.
type RingEvent struct {
	Asked       proto.NodeID   `json:"asked"`
	Cluster     string         `json:"cluster"`
	Instance    string         `json:"instance"`
	Settled     bool           `json:"settled"`
	SingleCopy  int            `json:"single_copy"`
	Partitions  int            `json:"partitions"`
	Voters      []proto.NodeID `json:"voters"`
	Leader      proto.NodeID   `json:"leader"`
	Fingerprint string         `json:"fingerprint"`
	Version     uint64         `json:"version"`
	Nodes       []RingNode     `json:"nodes"` // by id, then incarnation
	// Rows are [partition, owner, follower, wanted]; a further follower, which
	// no setting makes now, is not shown.
	Rows  [][4]int   `json:"rows"`
	Moves []RingMove `json:"moves"`
}

// RingNode is one run of a node in a RingEvent.
type RingNode struct {
	ID          proto.NodeID `json:"id"`
	Incarnation string       `json:"incarnation"`
	Role        string       `json:"role"`
	State       string       `json:"state"`
	Zone        string       `json:"zone"`
	Admin       string       `json:"admin"`
	Owned       int          `json:"owned"`
	Following   int          `json:"following"`
}

// RingMove is a planned hand-off under way, or a copy that is made.
type RingMove struct {
	Partition proto.Partition `json:"partition"`
	From      proto.NodeID    `json:"from"` // "" when a copy is made
	To        proto.NodeID    `json:"to"`
	State     string          `json:"state"` // learning, freezing
}

// Kinds of FeedEvent.
const (
	FeedJoin      = "join"      // a node was seen for the first time
	FeedSuspect   = "suspect"   // our link to it is gone
	FeedBack      = "back"      // it is alive again
	FeedDrain     = "drain"     // it says that it is about to leave
	FeedLeft      = "left"      // it left, having said so
	FeedDeath     = "death"     // gossip's verdict, or the proof of it
	FeedForgotten = "forgotten" // by an operator's word
	FeedFailover  = "failover"  // From lost partitions to To, its follower
	FeedHandoff   = "handoff"   // From gave partitions to To
	FeedReset     = "reset"     // partitions begin anew at To: every copy was lost
	FeedCopy      = "copy"      // To follows partitions that From, or nobody, followed
	FeedSingle    = "single"    // partitions are left with one living copy
	FeedSettled   = "settled"   // all is as it should be
	FeedUnsettled = "unsettled" // it is not any more
	FeedLeader    = "leader"    // Node leads the register; "" is nobody
	FeedVoters    = "voters"    // the voters are others
	FeedFounded   = "founded"   // the cluster was founded, or founded anew
)

// FeedEvent is one thing that happened, as one node saw it. Partitions that go
// the same way at once are one event.
type FeedEvent struct {
	Seq        uint64            `json:"seq"` // 1, 2, 3, of the node that tells
	At         int64             `json:"at"`  // wall time at that node, in Unix milliseconds
	Kind       string            `json:"kind"`
	Node       proto.NodeID      `json:"node"` // whom it happened to, "" when it is about partitions
	From       proto.NodeID      `json:"from"`
	To         proto.NodeID      `json:"to"`
	Partitions int               `json:"partitions"` // how many, 0 when it is about a node
	Some       []proto.Partition `json:"some"`       // the lowest of them, 8 at most
	Reason     string            `json:"reason"`     // for people
}

// LostEvent counts what a reader did not get.
type LostEvent struct {
	Events uint64 `json:"events"`
}

// TailQuery is what /v1/tail is asked.
type TailQuery struct {
	Room    string
	Payload bool // needs the full token
}

// TailOpen says where a tail begins.
type TailOpen struct {
	Room   string       `json:"room"`
	Owner  proto.NodeID `json:"owner"`
	Epoch  string       `json:"epoch"`
	Offset proto.Offset `json:"offset"` // messages above it follow
	Reset  bool         `json:"reset"`  // the epoch is another one than before
}

// TailMessage is one message of a room.
type TailMessage struct {
	Offset    proto.Offset `json:"offset"`
	Kind      string       `json:"kind"`              // text, binary
	Bytes     int          `json:"bytes"`             // of the payload
	Publisher proto.NodeID `json:"publisher"`         // the router that it came by
	Conn      string       `json:"conn"`              // which of its conns, 16 digits in hex; the zero one is HTTP
	Seen      int64        `json:"seen"`              // wall time when the asked node heard it, in Unix milliseconds
	Payload   []byte       `json:"payload,omitempty"` // base64; only when asked for
}

// TailGap says that messages were too many to be told.
type TailGap struct {
	From proto.Offset `json:"from"` // the first one left out
	To   proto.Offset `json:"to"`   // the last one left out
}

// ErrorEvent says why a stream ends, as a Refusal would.
type ErrorEvent struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// filled has empty lists where e has none.
func (e RingEvent) filled() RingEvent {
	if e.Voters == nil {
		e.Voters = []proto.NodeID{}
	}
	if e.Nodes == nil {
		e.Nodes = []RingNode{}
	}
	if e.Rows == nil {
		e.Rows = [][4]int{}
	}
	if e.Moves == nil {
		e.Moves = []RingMove{}
	}
	return e
}

// filled has an empty list where e has none.
func (e FeedEvent) filled() FeedEvent {
	if e.Some == nil {
		e.Some = []proto.Partition{}
	}
	return e
}

package admin

import (
	"context"
	"net/http"

	"github.com/roomring/roomring/proto"
)

// NodesDocument is the answer of /v1/nodes, and what an event stream says of
// the nodes every second.
type NodesDocument struct {
	Asked proto.NodeID `json:"asked"` // who answers
	Now   int64        `json:"now"`   // wall time at who answers, in Unix milliseconds
	// Complete is whether every living node told its figures in time.
	Complete bool          `json:"complete"`
	Nodes    []NodeFigures `json:"nodes"` // shards first, then by id and incarnation
}

// NodeFigures is one run of a node: what gossip and the Table say of it, and,
// if Reached, what it told of itself. Counts that end in _total only grow
// within a run: a reader makes a rate of two answers and their Now.
type NodeFigures struct {
	ID          proto.NodeID `json:"id"`
	Incarnation string       `json:"incarnation"`
	Role        string       `json:"role"`  // shard, router
	State       string       `json:"state"` // alive, suspect, draining, dead
	Zone        string       `json:"zone"`
	Version     string       `json:"version"` // of the program
	Voter       bool         `json:"voter"`
	Leader      bool         `json:"leader"`
	Owned       int          `json:"owned"`     // partitions
	Following   int          `json:"following"` // partitions
	Admin       string       `json:"admin"`     // address of its admin port
	Listen      string       `json:"listen"`    // where clients connect; "" at a shard

	// Reached is false for the dead, and for one that gave no answer in time:
	// what follows is zero then.
	Reached bool `json:"reached"`
	Told
}

// Told is what a node tells of itself.
type Told struct {
	Started int64 `json:"started"` // wall time in Unix milliseconds
	Now     int64 `json:"now"`     // wall time when it was read, in Unix milliseconds
	Ready   bool  `json:"ready"`
	// Reasons are those of /readyz.
	Reasons []string `json:"reasons"`

	Conns   int `json:"conns"`   // clients' WebSockets; 0 at a shard
	Rooms   int `json:"rooms"`   // owned at a shard, with a member here at a router
	Members int `json:"members"` // of owned rooms at a shard, here at a router
	// MessagesTotal is what clients sent at a router, over HTTP too, and what
	// was committed at a shard that owned the room.
	MessagesTotal uint64 `json:"messages_total"`
	// DeliveriesTotal is messages written to members at a router, copies sent
	// to routers at a shard.
	DeliveriesTotal uint64 `json:"deliveries_total"`
	BytesInTotal    uint64 `json:"bytes_in_total"`  // payload that clients sent; 0 at a shard
	BytesOutTotal   uint64 `json:"bytes_out_total"` // written to clients' sockets; 0 at a shard

	LagEntries int   `json:"lag_entries"` // of the follower that is furthest behind an owner here
	LagBytes   int64 `json:"lag_bytes"`   // of all entries here that not every follower has

	Memory      MemoryFigures     `json:"memory"`
	Descriptors DescriptorFigures `json:"descriptors"`
	Links       int               `json:"links"` // pairs of nodes, not connections
	Term        uint64            `json:"raft_term"`
	Table       uint64            `json:"table_version"` // of the copy that it has
	// Settings are those that should be alike on nodes of a role, by flag
	// name; "" stands for what is not set.
	Settings map[string]string `json:"settings"`
	// Protocols is the range of link protocol versions that it speaks.
	Protocols [2]uint16 `json:"protocols"`
}

// MemoryFigures are in bytes. Nodes of one process (roomring dev) share them.
type MemoryFigures struct {
	Used  int64 `json:"used"`  // resident; 0 where the system does not tell
	Heap  int64 `json:"heap"`  // live objects and what is not swept yet
	Limit int64 `json:"limit"` // --memory-limit, as it took effect
}

// DescriptorFigures are of the process; 0 where the system does not tell.
type DescriptorFigures struct {
	Open  int `json:"open"`
	Limit int `json:"limit"`
}

func (s *Server) nodes(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), RoomTimeout)
	defer cancel()
	writeJSON(w, http.StatusOK, s.config.Source.Nodes(ctx).filled())
	return nil
}

// filled has empty lists where d has none. d itself stays as it is: who made it
// may tell it to others at the same time.
func (d NodesDocument) filled() NodesDocument {
	d.Nodes = append(make([]NodeFigures, 0, len(d.Nodes)), d.Nodes...)
	for i := range d.Nodes {
		if d.Nodes[i].Reasons == nil {
			d.Nodes[i].Reasons = []string{}
		}
		if d.Nodes[i].Settings == nil {
			d.Nodes[i].Settings = map[string]string{}
		}
	}
	return d
}

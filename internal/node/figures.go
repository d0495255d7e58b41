package node

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// figuresTime is how long a node may take to tell its figures. A page shows
// what is there after a second, with or without the one that is silent.
const figuresTime = time.Second

// Nodes is the document of /v1/nodes: every living node is asked now.
func (s *source) Nodes(ctx context.Context) admin.NodesDocument { return (*Node)(s).nodes(ctx) }

// nodes asks all living nodes, side by side.
func (n *Node) nodes(ctx context.Context) admin.NodesDocument {
	ctx, cancel := context.WithTimeout(ctx, figuresTime)
	defer cancel()
	view, table, stance := n.cluster.View(), n.cluster.Table(), n.cluster.Stance()
	known := cluster.Known(view, table)
	doc := admin.NodesDocument{Asked: n.name.ID(), Now: time.Now().UnixMilli(), Complete: true, Nodes: make([]admin.NodeFigures, len(known))}
	var asked sync.WaitGroup
	for i := range known {
		node, f := &known[i], &doc.Nodes[i]
		*f = standingOf(node, table, stance.Leader)
		if node.Lives() {
			asked.Go(func() { f.Told, f.Reached = n.toldBy(ctx, node.Name) })
		}
	}
	asked.Wait()
	for i := range doc.Nodes {
		f := &doc.Nodes[i]
		f.Told = filled(f.Told)
		doc.Complete = doc.Complete && (f.Reached || !known[i].Lives())
	}
	slices.SortStableFunc(doc.Nodes, func(a, b admin.NodeFigures) int { return -strings.Compare(a.Role, b.Role) }) // they are by name
	return doc
}

// standingOf is what others know of a node.
func standingOf(node *cluster.Node, t *cluster.Table, leader proto.NodeName) admin.NodeFigures {
	f := admin.NodeFigures{
		ID: node.ID(), Incarnation: node.Incarnation().String(), Role: node.Role.String(), State: node.State.String(), Zone: node.Zone,
		Version: node.Version, Leader: node.Name == leader, Admin: node.Addresses.Admin, Listen: node.Addresses.Listen,
	}
	if t != nil {
		f.Voter = node.Lives() && slices.Contains(t.Voters, node.Voter)
		f.Owned, f.Following = t.Has(node.Name)
	}
	return f
}

// filled has no nil that JSON would show. Documents are shared by streams: what
// would be filled in later would be written while others read.
func filled(t admin.Told) admin.Told {
	if t.Reasons == nil {
		t.Reasons = []string{}
	}
	if t.Settings == nil {
		t.Settings = map[string]string{}
	}
	return t
}

// toldBy asks a node for its figures; false is for one that gave no answer in
// time, or is of a build that has none.
func (n *Node) toldBy(ctx context.Context, name proto.NodeName) (t admin.Told, reached bool) {
	if name == n.name {
		t, err := n.told(ctx)
		return t, err == nil
	}
	reply, err := n.control.reach(ctx, name, askFigures, nil)
	if err != nil || reply.Status != http.StatusOK || json.Unmarshal(reply.Body, &t) != nil {
		return admin.Told{}, false
	}
	return t, true
}

// told is what this node tells of itself. It costs each lane one look at its
// counters.
func (n *Node) told(ctx context.Context) (t admin.Told, err error) {
	if err := n.role.figures(ctx, &t); err != nil {
		return t, err
	}
	now := time.Now()
	t.Started, t.Now = n.started, now.UnixMilli()
	t.Ready, t.Reasons = (*source)(n).Ready()
	t.Memory, t.Descriptors = n.process.memory(n.memoryLimit), n.process.descriptors(now)
	t.Links = len(n.control.names())
	t.Term = n.cluster.Stance().Term
	if table := n.cluster.Table(); table != nil {
		t.Table = table.Version
	}
	t.Settings = n.settingsNow()
	speaks := n.protocols()
	t.Protocols = [2]uint16{speaks.Min, speaks.Max}
	return t, nil
}

// figures answers another node's askFigures.
func (c *control) figures(ctx context.Context) proto.Reply {
	t, err := c.node.told(ctx)
	if err != nil {
		return proto.Reply{Status: http.StatusServiceUnavailable}
	}
	return reply(http.StatusOK, filled(t))
}

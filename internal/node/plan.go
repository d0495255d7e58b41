package node

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Plan is /v1/ring/plan. It is worked out here, from this node's copy of the
// Table, beside the loops. One at a time is: each takes a processor for as long
// as the coordinator takes for the real thing.
func (s *source) Plan(ctx context.Context, q admin.PlanQuery) (doc admin.PlanDocument, err error) {
	n := (*Node)(s)
	select {
	case n.planning <- struct{}{}:
		defer func() { <-n.planning }()
	case <-ctx.Done():
		return doc, context.Cause(ctx)
	}
	f := &forecast{query: q, view: n.cluster.View(), ring: n.cluster.Ring(), table: n.cluster.Table()}
	if err := f.choose(); err != nil {
		return doc, err
	}
	doc = f.document()
	return doc, context.Cause(ctx) // an answer that nobody waits for is none
}

// forecast is a plan in the making.
type forecast struct {
	query admin.PlanQuery
	view  *cluster.View
	ring  *cluster.Ring
	table *cluster.Table

	now, then []plan.Shard // that copies are wanted on, by id
}

// choose says which shards there would be.
func (f *forecast) choose() error {
	if f.table == nil {
		return errNoTable
	}
	if err := f.table.Settings.Check(); err != nil {
		return &admin.Refusal{Status: http.StatusServiceUnavailable, Code: "unknown_placement", Message: "partitions are placed in a way that this version does not know"}
	}
	for _, name := range f.ring.Shards() {
		node, _ := f.view.Node(name)
		f.now = append(f.now, plan.Shard{ID: name.ID(), Zone: node.Zone})
	}
	remove := proto.NodeID(f.query.Remove)
	if remove == "" {
		f.then = plan.WithNew(f.now, f.query.Add, func(id proto.NodeID) bool { return len(f.view.Runs(id)) > 0 })
		return nil
	}
	f.then = slices.DeleteFunc(slices.Clone(f.now), func(s plan.Shard) bool { return s.ID == remove })
	known, shard := f.known(remove)
	switch {
	case !known:
		return admin.UnknownNode(f.query.Remove)
	case !shard:
		return &admin.Refusal{Status: http.StatusConflict, Code: "not_a_shard", Message: f.query.Remove + " is a router: only shards own rooms, so nothing would move"}
	case len(f.then) == 0:
		return &admin.Refusal{Status: http.StatusConflict, Code: "only_shard", Message: f.query.Remove + " is the only shard: nobody could take its rooms, they would be lost"}
	}
	return nil
}

// known reports whether there is a node of that id, dead ones too, and whether it
// is a shard.
func (f *forecast) known(id proto.NodeID) (known, shard bool) {
	for _, node := range cluster.Known(f.view, f.table) {
		if node.ID() == id {
			known, shard = true, shard || node.Role == proto.RoleShard
		}
	}
	return known, shard
}

func (f *forecast) document() admin.PlanDocument {
	w := f.table.WhatIf(f.then)
	doc := admin.PlanDocument{
		Add: f.query.Add, Remove: f.query.Remove, Settled: cluster.Settled(f.view, f.ring, f.table),
		Shards: f.shards(&w), Moves: make([]admin.PlannedMove, len(w.Shifts)), Copies: w.Copies, Ideal: w.Ideal,
	}
	for i, x := range w.Shifts {
		doc.Moves[i] = admin.PlannedMove{Partition: x.Partition, From: x.From, To: x.To}
	}
	return doc
}

// shards lists who is there now or then, and who has something and is neither.
func (f *forecast) shards(w *plan.Forecast) []admin.PlannedShard {
	all := make(map[proto.NodeID]admin.PlannedShard)
	for id := range w.Shards {
		all[id] = admin.PlannedShard{Zone: f.zone(id)}
	}
	for _, s := range f.now {
		all[s.ID] = admin.PlannedShard{Zone: s.Zone}
	}
	for _, s := range f.then {
		x := all[s.ID]
		x.Zone, x.New = s.Zone, !slices.Contains(f.now, s)
		x.Ideal = (f.table.Partitions() + len(f.then)/2) / len(f.then)
		all[s.ID] = x
	}
	if remove := proto.NodeID(f.query.Remove); remove != "" {
		x := all[remove]
		x.Zone, x.Removed = f.zone(remove), true
		all[remove] = x
	}
	list := make([]admin.PlannedShard, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		x, has := all[id], w.Shards[id]
		x.ID, x.Owned, x.OwnedThen, x.Following, x.FollowingThen = id, has.Owned, has.OwnedThen, has.Following, has.FollowingThen
		list = append(list, x)
	}
	return list
}

// zone is where the last run of the id stands, "" for one that is not seen.
func (f *forecast) zone(id proto.NodeID) (zone string) {
	for _, run := range f.view.Runs(id) {
		zone = run.Zone
	}
	return zone
}

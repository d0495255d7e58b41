package cluster

import (
	"slices"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// Ring is where each partition should live, for one View. It is immutable: a new one is built and
// swapped in whole, and looking up is reading a slice.
type Ring struct {
	shards []proto.NodeName // sorted by id, one per id
	ids    []proto.NodeID
	wanted []int32 // per partition an index into shards; empty when there are none

	settings plan.Settings
}

// NewRing places the partitions on the View's live shards of the instance. Draining shards are
// wanted for nothing, unless all are draining; of several live runs of an id the latest counts.
// When the places are those of previous (nil: none), it costs next to nothing. With settings that this
// version does not know nobody is wanted for anything: it must not guess where others place.
func NewRing(view *View, instance proto.Instance, settings plan.Settings, partitions int, previous *Ring) *Ring {
	r := &Ring{settings: settings}
	r.choose(view.LiveShards(instance))
	switch {
	case previous != nil && len(previous.wanted) == partitions && previous.settings == settings && slices.Equal(r.ids, previous.ids):
		r.wanted = previous.wanted
	case settings.Check() == nil:
		r.wanted = plan.Owners(settings, r.ids, partitions)
	}
	return r
}

func (r *Ring) choose(shards []Node) {
	draining := func(n Node) bool { return n.State == Draining }
	if staying := slices.DeleteFunc(slices.Clone(shards), draining); len(staying) > 0 {
		shards = staying
	}
	latest := make(map[proto.NodeID]*Node)
	for i := range shards {
		n := &shards[i]
		if l := latest[n.ID()]; l == nil || laterRun(n, l) > 0 {
			latest[n.ID()] = n
		}
	}
	for id := range latest {
		r.ids = append(r.ids, id)
	}
	slices.Sort(r.ids)
	for _, id := range r.ids {
		r.shards = append(r.shards, latest[id].Name)
	}
}

// Wanted returns the shard that should own the partition, "" when there is none.
func (r *Ring) Wanted(p proto.Partition) proto.NodeName {
	if int(p) >= len(r.wanted) {
		return ""
	}
	return r.shards[r.wanted[p]]
}

// Shards returns the shards on the ring, sorted by id. The slice must not be changed.
func (r *Ring) Shards() []proto.NodeName { return r.shards }

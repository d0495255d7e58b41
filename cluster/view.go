package cluster

import (
	"cmp"
	"slices"

	"github.com/roomring/roomring/proto"
)

// View is who is there, as one node sees it. It is immutable.
type View struct {
	version uint64
	nodes   []Node // sorted by name
}

// NewView makes a View of the nodes; of nodes with the same name the last one counts. A dead run of
// an id is left out once a later run lives: the id is in good hands, and its name stays readable.
func NewView(version uint64, nodes []Node) *View {
	sorted := slices.Clone(nodes)
	slices.SortStableFunc(sorted, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	kept := sorted[:0]
	for i := range sorted {
		if i+1 < len(sorted) && sorted[i+1].Name == sorted[i].Name {
			continue
		}
		kept = append(kept, sorted[i])
	}
	v := &View{version: version, nodes: kept}
	v.dropSuperseded()
	return v
}

// dropSuperseded leaves out dead runs of an id that has a later, living one; and living runs too when
// the later one has the same gossip address, because two processes cannot hold one address.
func (v *View) dropSuperseded() {
	replaced := func(n *Node, atSameAddress bool) bool {
		for _, other := range v.Runs(n.ID()) {
			if !other.Lives() || laterRun(&other, n) <= 0 {
				continue
			}
			if !atSameAddress || other.Addresses.Gossip != "" && other.Addresses.Gossip == n.Addresses.Gossip {
				return true
			}
		}
		return false
	}
	var kept []Node
	for i := range v.nodes {
		n := &v.nodes[i]
		if replaced(n, n.Lives()) {
			continue
		}
		kept = append(kept, *n)
	}
	v.nodes = kept
}

// Version grows with every View that this node made. Versions of two nodes do not compare.
func (v *View) Version() uint64 { return v.version }

// Nodes returns all nodes, dead ones too until they are forgotten, sorted by name. The slice must
// not be changed.
func (v *View) Nodes() []Node { return v.nodes }

// Node returns the node of that name.
func (v *View) Node(name proto.NodeName) (Node, bool) {
	at, ok := v.search(name)
	if !ok {
		return Node{}, false
	}
	return v.nodes[at], true
}

// State returns what is thought of the node; one that is not in the View is Dead.
func (v *View) State(name proto.NodeName) State {
	if at, ok := v.search(name); ok {
		return v.nodes[at].State
	}
	return Dead
}

// Runs returns the nodes with that id: usually one, more while a restart is noticed or when two
// processes were given one id. The slice must not be changed.
func (v *View) Runs(id proto.NodeID) []Node {
	// Names of one id are neighbours, because they share everything up to the slash.
	from, _ := v.search(proto.NodeName(id) + "/")
	to := from
	for to < len(v.nodes) && v.nodes[to].ID() == id {
		to++
	}
	return v.nodes[from:to]
}

// LiveShards returns the shards that are not known to be dead, sorted by name. Only shards of the
// given instance count: one that belongs to none yet has not learned the Table, and perhaps cannot.
func (v *View) LiveShards(instance proto.Instance) []Node {
	var shards []Node
	for i := range v.nodes {
		if n := &v.nodes[i]; n.LiveShard() && n.Instance == instance {
			shards = append(shards, *n)
		}
	}
	return shards
}

// Outnumbered reports whether living nodes of another instance are seen, and more of them than of
// this one; of equal numbers the greater instance yields. The smaller side is the one that is not
// ready: a cluster must never be two.
func (v *View) Outnumbered(instance proto.Instance) bool {
	if instance.IsZero() {
		return false
	}
	count := make(map[proto.Instance]int)
	for i := range v.nodes {
		if n := &v.nodes[i]; n.Lives() && !n.Instance.IsZero() {
			count[n.Instance]++
		}
	}
	for other, n := range count {
		if other == instance {
			continue
		}
		if n > count[instance] || n == count[instance] && other.String() < instance.String() {
			return true
		}
	}
	return false
}

// same reports whether both Views hold the same nodes.
func (v *View) same(o *View) bool { return slices.Equal(v.nodes, o.nodes) }

func (v *View) search(name proto.NodeName) (int, bool) {
	return slices.BinarySearchFunc(v.nodes, name, func(n Node, name proto.NodeName) int {
		return cmp.Compare(n.Name, name)
	})
}

package cluster

import (
	"cmp"
	"slices"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// RingDocument is the answer of /v1/ring. On all nodes that converged it is the same, byte for
// byte: everything in it is sorted, and nothing is about the node that was asked.
type RingDocument struct {
	Cluster     string     `json:"cluster"`
	Instance    string     `json:"instance"` // "" until the cluster is founded
	Settled     bool       `json:"settled"`
	SingleCopy  int        `json:"single_copy"` // partitions with fewer than two living copies
	Voters      []string   `json:"voters"`      // ids
	Leader      string     `json:"leader"`      // id of the coordinator, "" for none
	Fingerprint string     `json:"fingerprint"`
	Version     uint64     `json:"version"`
	Nodes       []RingNode `json:"nodes"` // by id, then incarnation
	Table       []RingRow  `json:"table,omitempty"`
	Moves       []RingMove `json:"moves"`
}

// RingNode is one run of a node. A dead one is listed until it is forgotten.
type RingNode struct {
	ID          string    `json:"id"`
	Incarnation string    `json:"incarnation"`
	Role        string    `json:"role"`
	State       string    `json:"state"`
	Zone        string    `json:"zone"`
	Addresses   Addresses `json:"addresses"`
	Owned       int       `json:"owned"`
	Following   int       `json:"following"`
}

// RingRow is where one partition lives, by ids; no owner is "".
type RingRow struct {
	Partition int      `json:"partition"`
	Owner     string   `json:"owner"`
	Followers []string `json:"followers"`
	Term      uint64   `json:"term"`
	Wanted    string   `json:"wanted"`
}

// RingMove is a planned hand-off, or a copy that is made: from is "" then.
type RingMove struct {
	Partition int    `json:"partition"`
	From      string `json:"from"`
	To        string `json:"to"`
	State     string `json:"state"`
}

// Describe makes the document of what one node holds. table may be nil: then there are as many
// rows without an owner as partitions says. withTable false leaves the rows out.
// leader is the node that leads the register, "" for none.
func Describe(cluster string, partitions int, view *View, ring *Ring, table *Table, leader proto.NodeName, withTable bool) RingDocument {
	d := RingDocument{
		Cluster:    cluster,
		Settled:    Settled(view, ring, table),
		SingleCopy: SingleCopy(view, table),
		Voters:     []string{},
		Nodes:      make([]RingNode, 0, len(view.nodes)),
		Moves:      []RingMove{},
	}
	rows := plan.MakeRows(make([]Row, partitions))
	var named census
	if table != nil {
		rows, named = table.rows, table.named
		d.Instance = table.Instance.String()
		d.Leader = string(leader.ID())
		for _, v := range table.Voters {
			d.Voters = append(d.Voters, string(v.ID()))
		}
		for _, m := range table.Moves {
			d.Moves = append(d.Moves, RingMove{int(m.Partition), string(m.From.ID()), string(m.To.ID()), m.State.String()})
		}
		d.Fingerprint = table.Fingerprint()
		d.Version = table.Version
	}
	for _, n := range Known(view, table) {
		d.Nodes = append(d.Nodes, RingNode{
			ID:          string(n.ID()),
			Incarnation: n.Incarnation().String(),
			Role:        n.Role.String(),
			State:       n.State.String(),
			Zone:        n.Zone,
			Addresses:   n.Addresses,
			Owned:       named[n.Name].owned,
			Following:   named[n.Name].following,
		})
	}
	if withTable {
		d.Table = ringRows(rows, ring)
	}
	return d
}

// Known are the View's nodes and, as dead, those that nobody sees any more and that the Table still
// names, sorted by name: an operator has to know of them. table may be nil. The slice must not be changed.
func Known(view *View, table *Table) []Node {
	if table == nil {
		return view.nodes
	}
	nodes := slices.Clone(view.nodes)
	for name := range table.named {
		if _, seen := view.Node(name); !seen && name != "" {
			nodes = append(nodes, Node{Name: name, Role: proto.RoleShard, State: Dead, Addresses: Addresses{Link: table.Address(name)}})
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return nodes
}

func ringRows(rows plan.Rows, ring *Ring) []RingRow {
	all := make([]RingRow, rows.Len())
	for p, r := range rows.All() {
		followers := make([]string, len(r.Followers))
		for i, f := range r.Followers {
			followers[i] = string(f.ID())
		}
		all[p] = RingRow{
			Partition: int(p),
			Owner:     string(r.Owner.ID()),
			Followers: followers,
			Term:      uint64(r.Term),
			Wanted:    string(ring.Wanted(p).ID()),
		}
	}
	return all
}

// Settled reports whether every partition has a living owner, where the Ring wants it, and as many living
// followers as it should have while so many shards are there; and no node is suspect, and no move under
// way. Whether a follower is where it should be, only the coordinator knows: it has begun to move it, or
// is about to.
func Settled(view *View, ring *Ring, table *Table) bool {
	if table == nil || len(table.Moves) > 0 || len(ring.wanted) != table.Partitions() {
		return false
	}
	for i := range view.nodes {
		if view.nodes[i].State == Suspect {
			return false
		}
	}
	for name := range table.named {
		switch view.State(name) {
		case Dead: // also "": nobody has that name
			return false
		case Draining:
			if len(ring.shards) > 1 && !slices.Contains(ring.shards, name) {
				return false // there are others to have its copies
			}
		}
	}
	followers := min(int(table.Settings.Followers), len(ring.shards)-1)
	for p, row := range table.rows.All() {
		if row.Owner != ring.Wanted(p) || len(row.Followers) < followers {
			return false
		}
	}
	return true
}

// SingleCopy counts the partitions that have fewer than two living copies; without a Table there
// are none.
func SingleCopy(view *View, table *Table) int {
	if table == nil {
		return 0
	}
	alive := make(map[proto.NodeName]bool)
	for i := range view.nodes {
		alive[view.nodes[i].Name] = view.nodes[i].Lives()
	}
	single := 0
	for _, r := range table.rows.All() {
		copies := 0
		if alive[r.Owner] {
			copies++
		}
		for _, f := range r.Followers {
			if alive[f] {
				copies++
			}
		}
		if copies < 2 {
			single++
		}
	}
	return single
}

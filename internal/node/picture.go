package node

import (
	"slices"
	"sync"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// picture is the cluster as this node sees it at one moment, as event streams
// show it. It is immutable, and all streams share it.
type picture struct {
	view   *cluster.View
	ring   *cluster.Ring
	table  *cluster.Table // may be nil
	leader proto.NodeName

	names []proto.NodeName // of the event's nodes
	event admin.RingEvent  // whole
}

// album makes pictures, and each one once.
type album struct {
	mu   sync.Mutex // guards what is below
	last *picture   // nil before the first
}

// picture returns what there is to see now.
func (n *Node) picture() *picture {
	n.album.mu.Lock()
	defer n.album.mu.Unlock()
	now := &picture{view: n.cluster.View(), ring: n.cluster.Ring(), table: n.cluster.Table(), leader: n.cluster.Stance().Leader}
	was := n.album.last
	if was != nil && was.view == now.view && was.ring == now.ring && was.table == now.table && was.leader == now.leader {
		return was
	}
	now.draw(cluster.Describe(n.cfg.Cluster, n.partitions(), now.view, now.ring, now.table, now.leader, false))
	now.event.Asked, now.event.Partitions = n.name.ID(), n.partitions()
	now.rows(was)
	n.album.last = now
	return now
}

// draw takes what is shown beside the rows from the document of /v1/ring.
func (p *picture) draw(d cluster.RingDocument) {
	known := cluster.Known(p.view, p.table)
	e := &p.event
	*e = admin.RingEvent{
		Cluster: d.Cluster, Instance: d.Instance, Settled: d.Settled, SingleCopy: d.SingleCopy, Voters: []proto.NodeID{},
		Leader: proto.NodeID(d.Leader), Fingerprint: d.Fingerprint, Version: d.Version,
		Nodes: make([]admin.RingNode, 0, len(known)), Rows: [][4]int{}, Moves: []admin.RingMove{},
	}
	for _, v := range d.Voters {
		e.Voters = append(e.Voters, proto.NodeID(v))
	}
	for i := range known {
		n := &known[i]
		p.names = append(p.names, n.Name)
		shown := admin.RingNode{
			ID: n.ID(), Incarnation: n.Incarnation().String(), Role: n.Role.String(), State: n.State.String(), Zone: n.Zone, Admin: n.Addresses.Admin,
		}
		if p.table != nil {
			shown.Owned, shown.Following = p.table.Has(n.Name)
		}
		e.Nodes = append(e.Nodes, shown)
	}
	for _, m := range d.Moves {
		e.Moves = append(e.Moves, admin.RingMove{Partition: proto.Partition(m.Partition), From: proto.NodeID(m.From), To: proto.NodeID(m.To), State: m.State})
	}
}

// rows writes the rows. Where only the Table is another one than in the picture
// before, that costs what has changed in it.
func (p *picture) rows(was *picture) {
	places := make(map[proto.NodeName]int, len(p.names)+1)
	for i, name := range p.names {
		places[name] = i
	}
	place := func(name proto.NodeName) int {
		if i, known := places[name]; known {
			return i
		}
		return -1
	}
	write := func(at proto.Partition) {
		row := [4]int{int(at), -1, -1, place(p.ring.Wanted(at))}
		if p.table != nil {
			r := p.table.Row(at)
			row[1] = place(r.Owner)
			if len(r.Followers) > 0 {
				row[2] = place(r.Followers[0])
			}
		}
		p.event.Rows[at] = row
	}
	if was != nil && was.ring == p.ring && was.table != nil && p.table != nil && slices.Equal(was.names, p.names) {
		p.event.Rows = slices.Clone(was.event.Rows)
		for _, at := range p.table.News(was.table) {
			write(at)
		}
		return
	}
	p.event.Rows = make([][4]int, p.event.Partitions)
	for at := range p.event.Rows {
		write(proto.Partition(at))
	}
}

// since is the change from an earlier picture: the rows that read otherwise. A
// row whose node has another place in the list reads otherwise, too.
func (p *picture) since(was *picture) admin.RingEvent {
	e := p.event
	e.Rows = [][4]int{}
	for i, row := range p.event.Rows {
		if was.event.Rows[i] != row {
			e.Rows = append(e.Rows, row)
		}
	}
	return e
}

package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// roomsTime is how long an owner may take to list its rooms: a second of it may
// go by while it counts messages. It leaves the asker time to be answered within
// admin.RoomTimeout.
const roomsTime = 4 * time.Second

// maxReply bounds the body of an answer to another node, in bytes: it has to fit
// into a frame.
const maxReply = proto.MaxFrame - 64

// Rooms is /v1/rooms: all owners are asked, and what they have is put in one order.
func (s *source) Rooms(ctx context.Context, q admin.RoomsQuery) (doc admin.RoomsDocument, err error) {
	n := (*Node)(s)
	ctx, cancel := context.WithTimeout(ctx, roomsTime)
	defer cancel()
	view, table := n.cluster.View(), n.cluster.Table()
	if table == nil {
		return doc, errNoTable
	}
	m := merger{query: q, owner: func(p proto.Partition) proto.NodeID { return table.Row(p).Owner.ID() }}
	doc.Unowned, _ = table.Has("")
	var mu sync.Mutex // guards m and doc
	var asked sync.WaitGroup
	for _, node := range cluster.Known(view, table) {
		if owned, _ := table.Has(node.Name); owned == 0 {
			continue
		}
		asked.Go(func() {
			list, err := n.roomsOf(ctx, node.Name, q)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				doc.Missing = append(doc.Missing, node.ID())
				return
			}
			m.add(list)
		})
	}
	asked.Wait()
	slices.Sort(doc.Missing)
	doc.Missing = append([]proto.NodeID{}, slices.Compact(doc.Missing)...)
	doc.Rooms, doc.More = m.merged()
	return doc, nil
}

// errNoTable is said by a node that does not know yet who owns what.
var errNoTable = &admin.Refusal{Status: http.StatusServiceUnavailable, Code: admin.ReasonNoTable, Message: "this node has not learned the table yet, so it does not know who owns which room"}

// roomsOf asks an owner.
func (n *Node) roomsOf(ctx context.Context, owner proto.NodeName, q admin.RoomsQuery) (doc admin.RoomsDocument, err error) {
	if owner == n.name {
		return n.ownRooms(ctx, q)
	}
	body, err := json.Marshal(q)
	if err != nil {
		return doc, err
	}
	reply, err := n.control.reach(ctx, owner, askRooms, body)
	switch {
	case err != nil:
		return doc, err
	case reply.Status != http.StatusOK:
		return doc, errors.New("it did not answer")
	}
	return doc, json.Unmarshal(reply.Body, &doc)
}

// ownRooms lists rooms that this node owns.
func (n *Node) ownRooms(ctx context.Context, q admin.RoomsQuery) (doc admin.RoomsDocument, err error) {
	list, err := n.role.list(ctx, partition.RoomsQuery{Prefix: q.Prefix, After: q.After, Limit: q.Limit, Sort: partition.Sort(q.Sort)})
	doc.Rooms, doc.More = make([]admin.RoomFigures, len(list.Rooms)), list.More
	for i := range list.Rooms {
		r := &list.Rooms[i]
		doc.Rooms[i] = admin.RoomFigures{
			Room: r.Room, Partition: r.Partition, Owner: n.name.ID(), Epoch: r.Epoch.String(), Offset: r.Offset,
			Kept: r.Kept, Bytes: r.Bytes, Members: r.Members, MessagesPerSecond: r.MessagesPerSecond,
		}
	}
	return doc, err
}

// rooms answers another node's askRooms, with fewer rooms if they do not fit.
func (c *control) rooms(ctx context.Context, x proto.Ask) proto.Reply {
	var q admin.RoomsQuery
	if json.Unmarshal(x.Body, &q) != nil || orders[q.Sort] == nil {
		return proto.Reply{Status: http.StatusBadRequest}
	}
	doc, err := c.node.ownRooms(ctx, q)
	if err != nil {
		return proto.Reply{Status: http.StatusServiceUnavailable}
	}
	answer := reply(http.StatusOK, doc)
	for len(answer.Body) > maxReply && len(doc.Rooms) > 1 {
		doc.Rooms, doc.More = doc.Rooms[:len(doc.Rooms)/2], true
		answer = reply(http.StatusOK, doc)
	}
	return answer
}

// orders are those of rooms; a name that is in two lists is equal to itself.
var orders = map[string]func(a, b *admin.RoomFigures) int{
	admin.SortName: func(a, b *admin.RoomFigures) int { return cmp.Compare(a.Room, b.Room) },
	admin.SortMembers: func(a, b *admin.RoomFigures) int {
		return cmp.Or(-cmp.Compare(a.Members, b.Members), cmp.Compare(a.Room, b.Room))
	},
	admin.SortMessages: func(a, b *admin.RoomFigures) int {
		return cmp.Or(-cmp.Compare(a.MessagesPerSecond, b.MessagesPerSecond), cmp.Compare(a.Room, b.Room))
	},
}

// merger makes one list of the owners' lists.
type merger struct {
	query admin.RoomsQuery
	owner func(proto.Partition) proto.NodeID

	rooms []admin.RoomFigures
	ends  []admin.RoomFigures // the last rooms of lists behind which there is more
	more  bool
}

func (m *merger) add(list admin.RoomsDocument) {
	m.rooms = append(m.rooms, list.Rooms...)
	if list.More {
		m.more = true
		m.ends = append(m.ends, list.Rooms[max(0, len(list.Rooms)-1):]...)
	}
}

// merged returns the list and whether there is more. Behind the end of a list
// that has more nothing is said: what is missing there could come first.
func (m *merger) merged() (rooms []admin.RoomFigures, more bool) {
	order := orders[m.query.Sort]
	if order == nil {
		order = orders[admin.SortName]
	}
	slices.SortFunc(m.rooms, func(a, b admin.RoomFigures) int {
		return cmp.Or(order(&a, &b), cmp.Compare(m.stray(&a), m.stray(&b)))
	})
	rooms, more = []admin.RoomFigures{}, m.more
	named := make(map[string]bool)
	for i := range m.rooms {
		r := &m.rooms[i]
		behind := func(end admin.RoomFigures) bool { return order(r, &end) > 0 }
		switch {
		case named[r.Room]:
			continue // it has just moved, and both said that they own it
		case len(rooms) == m.query.Limit, slices.ContainsFunc(m.ends, behind):
			return rooms, true
		}
		named[r.Room] = true
		rooms = append(rooms, *r)
	}
	return rooms, more
}

// stray is 1 for a room of somebody who does not own it any more.
func (m *merger) stray(r *admin.RoomFigures) int {
	if m.owner(r.Partition) == r.Owner {
		return 0
	}
	return 1
}

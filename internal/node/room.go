package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// Kinds of questions between nodes. Numbers are never reused.
const (
	askRoom    = 1 // body: the room's name; the answer is an admin.RoomDocument
	askForget  = 2 // body: a node's name or id; the answer is an admin.ForgetDocument, or a refused
	askRecover = 3 // the answer is an admin.RecoverDocument, or a refused
	askFigures = 4 // no body; the answer is an admin.Told
	askRooms   = 5 // body: an admin.RoomsQuery; the answer is an admin.RoomsDocument of the asked shard's rooms
	askDrain   = 6 // no body; the answer is an admin.DrainDocument, or a refused
	askTail    = 7 // body: a tailQuery; the answer is a tailAnswer, at once
	askRelay   = 8 // body: a question to a third node, see relay.go; the answer is that node's
)

// answerTime bounds one answer to another node.
const answerTime = 2 * time.Second

// room describes a room, wherever its owner is.
func (n *Node) room(ctx context.Context, name string) (doc admin.RoomDocument, err error) {
	t := n.cluster.Table()
	if t == nil {
		return doc, &proto.Error{Code: proto.Unavailable, Op: "find room", Err: errors.New("the table is not known yet")}
	}
	p := proto.PartitionOfString(name, t.Partitions())
	row := t.Row(p)
	switch row.Owner {
	case "":
		return doc, &proto.Error{Code: proto.Unavailable, Op: "find room", Err: errors.New("its partition has no owner")}
	case n.name:
		return n.ownRoom(ctx, name)
	}
	reply, err := n.control.ask(ctx, row.Owner, askRoom, []byte(name))
	switch {
	case err != nil:
		return doc, &proto.Error{Code: proto.Unavailable, Op: "ask " + string(row.Owner.ID()), Err: err}
	case reply.Status == http.StatusNotFound:
		return doc, &proto.Error{Code: proto.NotFound, Op: "find room"}
	case reply.Status != http.StatusOK:
		return doc, &proto.Error{Code: proto.Unavailable, Op: "ask " + string(row.Owner.ID())}
	}
	if err := json.Unmarshal(reply.Body, &doc); err != nil {
		return doc, &proto.Error{Code: proto.Unavailable, Op: "ask " + string(row.Owner.ID()), Err: err}
	}
	return doc, nil
}

// ownRoom describes a room that this node owns.
func (n *Node) ownRoom(ctx context.Context, name string) (doc admin.RoomDocument, err error) {
	info, found, err := n.role.room(ctx, name)
	switch {
	case err != nil:
		return doc, &proto.Error{Code: proto.Unavailable, Op: "find room", Err: err}
	case !found:
		return doc, &proto.Error{Code: proto.NotFound, Op: "find room"}
	}
	return n.document(&info), nil
}

func (n *Node) document(info *partition.Info) admin.RoomDocument {
	doc := admin.RoomDocument{
		Room: info.Room, Partition: info.Partition, Owner: n.name.ID(), Followers: []proto.NodeID{}, Term: info.Term,
		Epoch: info.Epoch.String(), Offset: info.Offset, First: info.First, Kept: info.Kept, Bytes: info.Bytes,
		Members: info.Members, Routers: map[proto.NodeID]int{},
	}
	for _, r := range info.Routers {
		doc.Routers[r.Name.ID()] += r.Members
	}
	if t := n.cluster.Table(); t != nil {
		for _, f := range t.Row(info.Partition).Followers {
			doc.Followers = append(doc.Followers, f.ID())
		}
	}
	return doc
}

// ask sends a question to another node and waits for the reply.
func (c *control) ask(ctx context.Context, to proto.NodeName, kind uint8, body []byte) (proto.Reply, error) {
	c.mu.Lock()
	_, linked := c.first[to]
	c.lastID++
	id, reply := c.lastID, make(chan proto.Reply, 1)
	c.pending[id] = reply
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	if !linked {
		return proto.Reply{}, errors.New("there is no link to it")
	}
	c.stats.Asked.Add(1)
	c.send(to, proto.AppendAsk(nil, &proto.Ask{ID: id, Kind: kind, Body: body}))
	select {
	case r := <-reply:
		return r, nil
	case <-ctx.Done():
		return proto.Reply{}, ctx.Err()
	}
}

func (c *control) replied(x proto.Reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.pending[x.ID]; ch != nil {
		delete(c.pending, x.ID)
		x.Body = bytes.Clone(x.Body)
		ch <- x
	}
}

// answer works on a question beside the loop that it came in on.
func (c *control) answer(from proto.NodeName, x proto.Ask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	select {
	case c.answers <- struct{}{}:
	default:
		c.stats.Dropped.Add(1)
		return
	}
	x.Body = bytes.Clone(x.Body)
	c.running.Go(func() {
		defer func() { <-c.answers }()
		reply := c.work(x)
		reply.ID = x.ID
		c.send(from, proto.AppendReply(nil, &reply))
	})
}

func (c *control) work(x proto.Ask) proto.Reply {
	ctx, cancel := context.WithTimeout(context.Background(), timeOf(x.Kind))
	defer cancel()
	c.stats.Answered.Add(1)
	switch x.Kind {
	case askRoom:
		return c.room(ctx, x)
	case askForget, askRecover:
		return c.node.change(ctx, x)
	case askFigures:
		return c.figures(ctx)
	case askRooms:
		return c.rooms(ctx, x)
	case askDrain:
		return c.drained()
	case askTail:
		return c.tail(ctx, x)
	case askRelay:
		return c.relay(ctx, x)
	}
	return proto.Reply{Status: http.StatusNotImplemented} // a later build's question
}

// timeOf bounds the answer to a question of the kind.
func timeOf(kind uint8) time.Duration {
	switch kind {
	case askForget, askRecover:
		return admin.ChangeTimeout
	case askRooms, askRelay:
		return admin.RoomTimeout
	}
	return answerTime
}

func (c *control) room(ctx context.Context, x proto.Ask) proto.Reply {
	doc, err := c.node.ownRoom(ctx, string(x.Body))
	if err != nil {
		var e *proto.Error
		if errors.As(err, &e) && e.Code == proto.NotFound {
			return proto.Reply{Status: http.StatusNotFound}
		}
		return proto.Reply{Status: http.StatusServiceUnavailable}
	}
	return reply(http.StatusOK, doc)
}

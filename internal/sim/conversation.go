package sim

import (
	"github.com/roomring/roomring/proto"
)

// conversation holds what the two ends of a link say against the protocol, at
// the moment in which they say it.
type conversation struct {
	link     *link
	router   *router
	shard    *shard
	attached map[string]proto.Term // up: in which term the router last attached a room
	hearing  map[string]hearing    // down: what the next Deliver of a room must be
}

// hearing is the place of the next message.
type hearing struct {
	term  proto.Term
	epoch proto.Epoch
	next  proto.Offset
}

func newConversation(k *link) *conversation {
	a, b := k.ends[dialer], k.ends[acceptor]
	r, ok := a.lane.(*routerLane)
	s, too := b.lane.(*shardLane)
	if !ok || !too {
		return nil
	}
	return &conversation{link: k, router: r.router, shard: s.shard, attached: map[string]proto.Term{}, hearing: map[string]hearing{}}
}

func (c *conversation) said(by *end, typ proto.FrameType, body []byte) {
	w, err := by.node.w, error(nil)
	upward := by.side == dialer
	switch {
	case upward && typ == proto.FramePublish:
		err = c.publish(w, body)
	case upward && typ == proto.FrameAttach:
		err = c.attach(body)
	case !upward && typ == proto.FrameAttached:
		err = c.answer(w, body)
	case !upward && typ == proto.FrameDeliver:
		err = c.deliver(w, body)
	case !upward && typ == proto.FrameFetched:
		err = c.fetched(w, body)
	case !upward && typ == proto.FrameAck:
		err = c.ack(w, body)
	}
	if err != nil {
		w.Fail("link %s: %v: %v", c.link, typ, err)
	}
}

// publish: whoever is in a room hears what is published there, so the room is
// attached first.
func (c *conversation) publish(w *World, body []byte) error {
	x, err := proto.ParsePublish(body)
	if err != nil {
		return err
	}
	r := c.router
	w.ledger.sent(r, &x)
	if c.attached[string(x.Room)] == x.Term || x.Kind == proto.KindVoid {
		return nil
	}
	for _, m := range r.lane(x.Partition).conns {
		if m.client.room == string(x.Room) && m.state == connOpen {
			w.Fail("%s publishes in room %s in term %d before it attached it", r.name, x.Room, x.Term)
		}
	}
	return nil
}

func (c *conversation) attach(body []byte) error {
	x, err := proto.ParseBatch(body)
	if err != nil {
		return err
	}
	for e, ok := x.NextAttach(); ok; e, ok = x.NextAttach() {
		c.attached[string(e.Room)] = x.Term
	}
	return x.Err()
}

func (c *conversation) answer(w *World, body []byte) error {
	x, err := proto.ParseBatch(body)
	if err != nil {
		return err
	}
	for e, ok := x.NextAttached(); ok; e, ok = x.NextAttached() {
		if e.Status == proto.StatusRefused {
			w.Fail("%s refuses room %s", c.shard.name, e.Room)
		}
		if x := w.ledger.byEpoch[e.Epoch]; x != nil {
			x.told = true
		}
		c.hearing[string(e.Room)] = hearing{x.Term, e.Epoch, e.Offset + 1}
	}
	return x.Err()
}

// deliver: behind an Attached, a router is told every message, in order, or it
// is told that it is not.
func (c *conversation) deliver(w *World, body []byte) error {
	x, err := proto.ParseDeliver(body)
	if err != nil {
		return err
	}
	h := c.hearing[string(x.Room)]
	if h.epoch != x.Epoch || h.next != x.Offset {
		w.Fail("%s delivers room %s from %s.%d on, but said that it would go on with %s.%d", c.shard.name, x.Room, x.Epoch, x.Offset, h.epoch, h.next)
	}
	h.next = c.content(w, x.Room, x.Epoch, x.Offset, &x.Messages)
	c.hearing[string(x.Room)] = h
	return x.Messages.Err()
}

func (c *conversation) fetched(w *World, body []byte) error {
	x, err := proto.ParseFetched(body)
	if err != nil {
		return err
	}
	c.content(w, x.Room, x.Epoch, x.After+1, &x.Messages)
	return x.Messages.Err()
}

// content: a position has one content, everywhere, and a conn's number goes to
// its own router alone.
func (c *conversation) content(w *World, room []byte, name proto.Epoch, o proto.Offset, list *proto.Messages) proto.Offset {
	e := w.ledger.byEpoch[name]
	for m, ok := list.Next(); ok; m, ok = list.Next() {
		if e == nil || e.room != string(room) || o > e.head() {
			w.Fail("%s tells of %s %s.%d, which is in no log", c.shard.name, room, name, o)
		}
		x := e.log[o-1]
		if x != nil && (x.payload != string(m.Payload) || x.kind != m.Kind) {
			w.Fail("%s tells that %s %s.%d is %.40q; it is %.40q", c.shard.name, room, name, o, m.Payload, x.payload)
		}
		if x != nil && (x.router == c.router) != (m.Conn != 0) || x != nil && m.Conn != 0 && m.Conn&^proto.TimedConn != x.conn.id {
			w.Fail("%s tells %s that %s %s.%d is of conn %d; it is of %d at %s", c.shard.name, c.router.name, room, name, o, m.Conn, x.conn.id, x.router.name)
		}
		o++
	}
	return o
}

func (c *conversation) ack(w *World, body []byte) error {
	x, err := proto.ParseAck(body)
	if err != nil {
		return err
	}
	w.ledger.acked(c.router, c.shard, &x)
	return nil
}

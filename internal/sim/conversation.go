package sim

import (
	"github.com/roomring/roomring/proto"
)

// conversation holds what the two ends of a link say against the protocol, at
// the moment in which they say it.
type conversation struct {
	link     *link
	attached map[string]proto.Term // up: in which term the router last attached a room
	hearing  map[string]hearing    // down: what the next Deliver of a room must be
}

// hearing is the place of the next message.
type hearing struct {
	term  proto.Term
	epoch proto.Epoch
	next  proto.Offset
}

func newConversation(k *link) conversation {
	return conversation{link: k, attached: map[string]proto.Term{}, hearing: map[string]hearing{}}
}

func (c *conversation) said(direction int, typ proto.FrameType, body []byte) {
	w, err := c.link.pair.w, error(nil)
	switch {
	case direction == upward && typ == proto.FramePublish:
		err = c.publish(w, body)
	case direction == upward && typ == proto.FrameAttach:
		err = c.attach(body)
	case direction == downward && typ == proto.FrameAttached:
		err = c.answer(w, body)
	case direction == downward && typ == proto.FrameDeliver:
		err = c.deliver(w, body)
	case direction == downward && typ == proto.FrameFetched:
		err = c.fetched(w, body)
	case direction == downward && typ == proto.FrameAck:
		err = c.ack(w, body)
	}
	if err != nil {
		w.fail("link %s: %v: %v", c.link, typ, err)
	}
}

// publish: whoever is in a room hears what is published there, so the room is
// attached first.
func (c *conversation) publish(w *World, body []byte) error {
	x, err := proto.ParsePublish(body)
	if err != nil {
		return err
	}
	r := c.link.pair.router
	w.ledger.sent(r, &x)
	if c.attached[string(x.Room)] == x.Term {
		return nil
	}
	for _, m := range r.lane(x.Partition).conns {
		if m.client.room == string(x.Room) && m.state == connOpen {
			w.fail("%s publishes in room %s in term %d before it attached it", r.name, x.Room, x.Term)
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
			w.fail("%s refuses room %s", c.link.pair.shard.name, e.Room)
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
		w.fail("%s delivers room %s from %s.%d on, but said that it would go on with %s.%d", c.link.pair.shard.name, x.Room, x.Epoch, x.Offset, h.epoch, h.next)
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
			w.fail("%s tells of %s %s.%d, which is in no log", c.link.pair.shard.name, room, name, o)
		}
		x := e.log[o-1]
		if x != nil && (x.payload != string(m.Payload) || x.kind != m.Kind) {
			w.fail("%s tells that %s %s.%d is %.40q; it is %.40q", c.link.pair.shard.name, room, name, o, m.Payload, x.payload)
		}
		if x != nil && (x.router == c.link.pair.router) != (m.Conn != 0) || x != nil && m.Conn != 0 && m.Conn != x.conn.id {
			w.fail("%s tells %s that %s %s.%d is of conn %d; it is of %d at %s", c.link.pair.shard.name, c.link.pair.router.name, room, name, o, m.Conn, x.conn.id, x.router.name)
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
	w.ledger.acked(c.link.pair.router, c.link.pair.shard, &x)
	return nil
}

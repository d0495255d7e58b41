package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

const (
	// tailEvery is how often the owner of a room is asked what is new, and
	// tailAtOnce how many messages it tells at most each time: a person reads no
	// faster.
	tailEvery  = 250 * time.Millisecond
	tailAtOnce = 100
	// tailBehind is how many messages a tail may be behind. What is more is left
	// out, but for the last tailAtOnce.
	tailBehind = 400
	// tailBytes bounds the payload of one answer, but for its first message: it
	// travels before the deliveries of its link.
	tailBytes = 64 << 10
	// tailAsks is how often the owner is asked at once, while payloads do not fit.
	tailAsks = 4
	// tailTime bounds one answer.
	tailTime = time.Second
)

// tailQuery is what an owner is asked.
type tailQuery struct {
	Room     string `json:"room"`
	Position string `json:"position"` // EPOCH.OFFSET; "" asks where the room is now
	Payload  bool   `json:"payload"`
}

// tailAnswer is what it answers.
type tailAnswer struct {
	Owned    bool                `json:"owned"` // if false, it does not own the room any more, or not yet
	Found    bool                `json:"found"`
	Epoch    string              `json:"epoch"`
	Head     proto.Offset        `json:"head"`
	Reset    bool                `json:"reset"`
	From     proto.Offset        `json:"from"` // messages are above it
	Messages []admin.TailMessage `json:"messages"`
}

// Tail is /v1/tail.
func (s *source) Tail(ctx context.Context, q admin.TailQuery, tell func(admin.Event) error) error {
	t := &tail{node: (*Node)(s), query: q, tell: tell}
	if err := t.open(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := t.poll(ctx); err != nil {
			return err
		}
	}
}

// tail follows a room. What it is told of is gapless, but for gaps that it tells
// of.
type tail struct {
	node  *Node
	query admin.TailQuery
	tell  func(admin.Event) error

	owner  proto.NodeName
	epoch  string
	offset proto.Offset // of the last message that was told, or left out
}

// open finds the room and tells where its tail begins. While it is on its way
// from one owner to another that may take a moment.
func (t *tail) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, admin.RoomTimeout)
	defer cancel()
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		owner, a, err := t.ask(ctx, "")
		switch {
		case err == nil && a.Owned && a.Found:
			return t.opened(owner, &a, a.From, false)
		case err == nil && a.Owned:
			return &proto.Error{Code: proto.NotFound, Op: "tail"}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &proto.Error{Code: proto.Unavailable, Op: "tail", Err: err}
		}
	}
}

// opened tells that the tail goes on from the offset at the owner.
func (t *tail) opened(owner proto.NodeName, a *tailAnswer, offset proto.Offset, reset bool) error {
	t.owner, t.epoch, t.offset = owner, a.Epoch, offset
	return t.tell(admin.Event{Name: admin.EventOpen, Data: admin.TailOpen{
		Room: t.query.Room, Owner: owner.ID(), Epoch: a.Epoch, Offset: offset, Reset: reset,
	}})
}

// poll tells what is new. An owner that does not answer, or does not own the room
// any more, or has forgotten it, is asked again the next time.
func (t *tail) poll(ctx context.Context) error {
	told := 0
	for range tailAsks {
		owner, a, err := t.ask(ctx, fmt.Sprintf("%s.%d", t.epoch, t.offset))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || !a.Owned || !a.Found {
			return nil
		}
		n, err := t.take(owner, &a)
		if err != nil {
			return err
		}
		if told += n; t.offset >= a.Head || told >= tailAtOnce {
			return nil
		}
	}
	return nil
}

// take tells what an owner answered, and returns how many messages it told.
func (t *tail) take(owner proto.NodeName, a *tailAnswer) (told int, err error) {
	if a.Reset || a.Epoch != t.epoch {
		err = t.opened(owner, a, a.From, true)
	} else if owner != t.owner {
		err = t.opened(owner, a, t.offset, false)
	}
	if err == nil {
		err = t.skip(a.From) // they are not kept any more
	}
	if err == nil && a.Head > t.offset+tailBehind {
		err = t.skip(a.Head - tailAtOnce)
		a.Messages = nil // they are among what is left out
	}
	now := time.Now().UnixMilli()
	for _, m := range a.Messages {
		if err != nil {
			break
		}
		m.Seen, t.offset = now, m.Offset
		err = t.tell(admin.Event{Name: admin.EventMessage, Data: m})
		told++
	}
	return told, err
}

// skip tells that messages up to the offset are left out, if there are any.
func (t *tail) skip(to proto.Offset) error {
	if to <= t.offset {
		return nil
	}
	gap := admin.TailGap{From: t.offset + 1, To: to}
	t.offset = to
	return t.tell(admin.Event{Name: admin.EventGap, Data: gap})
}

var errUnowned = errors.New("its partition has no owner")

// ask asks who owns the room now, and says who that is.
func (t *tail) ask(ctx context.Context, position string) (owner proto.NodeName, a tailAnswer, err error) {
	n := t.node
	table := n.cluster.Table()
	if table == nil {
		return "", a, errNoTable
	}
	owner = table.Row(proto.PartitionOfString(t.query.Room, table.Partitions())).Owner
	q := tailQuery{Room: t.query.Room, Position: position, Payload: t.query.Payload}
	ctx, cancel := context.WithTimeout(ctx, tailTime)
	defer cancel()
	switch owner {
	case "":
		return "", a, errUnowned
	case n.name:
		a, err = n.ownTail(ctx, &q)
		return owner, a, err
	}
	body, err := json.Marshal(q)
	if err != nil {
		return owner, a, err
	}
	reply, err := n.control.reach(ctx, owner, askTail, body)
	switch {
	case err != nil:
		return owner, a, err
	case reply.Status != http.StatusOK:
		return owner, a, errors.New("it did not answer")
	}
	return owner, a, json.Unmarshal(reply.Body, &a)
}

// ownTail reads a room that this node owns.
func (n *Node) ownTail(ctx context.Context, q *tailQuery) (a tailAnswer, err error) {
	ask := partition.TailQuery{Room: q.Room, Limit: tailAtOnce, MaxBytes: tailBytes, Payload: q.Payload}
	if q.Position != "" {
		at, err := proto.ParsePosition(q.Position)
		if err != nil {
			return a, err
		}
		ask.Epoch, ask.After = at.Epoch, at.Offset
	}
	t, err := n.role.tail(ctx, ask)
	if err != nil {
		return a, err
	}
	a = tailAnswer{Owned: t.Owned, Found: t.Found, Epoch: t.Epoch.String(), Head: t.Head, Reset: t.Reset, From: t.From}
	for i := range t.Messages {
		a.Messages = append(a.Messages, shown(&t.Messages[i]))
	}
	return a, nil
}

// posted marks the conn of a message that came over HTTP.
const posted = 1 << 63

// shown is a message as it is told.
func shown(m *partition.TailMessage) admin.TailMessage {
	conn, kind := m.Conn, "text"
	if conn&posted != 0 {
		conn = 0
	}
	if m.Kind == proto.KindBinary {
		kind = "binary"
	}
	return admin.TailMessage{Offset: m.Offset, Kind: kind, Bytes: m.Bytes, Publisher: m.Publisher.ID(), Conn: fmt.Sprintf("%016x", conn), Payload: m.Payload}
}

// tail answers another node's askTail.
func (c *control) tail(ctx context.Context, x proto.Ask) proto.Reply {
	var q tailQuery
	if json.Unmarshal(x.Body, &q) != nil || proto.CheckRoom(q.Room) != nil {
		return proto.Reply{Status: http.StatusBadRequest}
	}
	a, err := c.node.ownTail(ctx, &q)
	switch {
	case errors.Is(err, proto.ErrPosition):
		return proto.Reply{Status: http.StatusBadRequest}
	case err != nil:
		return proto.Reply{Status: http.StatusServiceUnavailable}
	}
	return reply(http.StatusOK, a)
}

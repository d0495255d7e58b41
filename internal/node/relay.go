package node

import (
	"context"
	"errors"
	"net/http"

	"github.com/roomring/roomring/proto"
)

// Routers have no links to each other, and two nodes may have lost theirs. A
// third node that is linked to both hands a question on: askRelay, whose body is
// kind(1), size of the name(1), name, body. It is handed on once at most.

// reach asks a node over the link to it or, without one, by way of another node.
func (c *control) reach(ctx context.Context, to proto.NodeName, kind uint8, body []byte) (proto.Reply, error) {
	if c.linked(to) {
		return c.ask(ctx, to, kind, body)
	}
	via := c.between(to)
	if via == "" {
		return proto.Reply{}, errors.New("there is no link to it, nor to who could hand the question on")
	}
	return c.ask(ctx, via, askRelay, appendRelayed(nil, to, kind, body))
}

// between returns a linked node, other than that one, that is linked to all: a
// shard or a voter; "" without one. They take turns.
func (c *control) between(to proto.NodeName) proto.NodeName {
	var list []proto.NodeName
	voting := voters(c.node.cluster.Table())
	for _, n := range c.node.cluster.View().Nodes() {
		if n.Lives() && n.Name != to && (n.Role == proto.RoleShard || voting[n.Voter]) && c.linked(n.Name) {
			list = append(list, n.Name)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return list[c.turn.Add(1)%uint64(len(list))]
}

func appendRelayed(b []byte, to proto.NodeName, kind uint8, body []byte) []byte {
	b = append(b, kind, byte(len(to)))
	return append(append(b, to...), body...)
}

func parseRelayed(b []byte) (to proto.NodeName, kind uint8, body []byte, ok bool) {
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return "", 0, nil, false
	}
	end := 2 + int(b[1])
	return proto.NodeName(b[2:end]), b[0], b[end:], true
}

// relay answers another node's askRelay with what a third one answers.
func (c *control) relay(ctx context.Context, x proto.Ask) proto.Reply {
	to, kind, body, ok := parseRelayed(x.Body)
	switch {
	case !ok || kind == askRelay:
		return proto.Reply{Status: http.StatusBadRequest}
	case to == c.node.name:
		return c.work(proto.Ask{Kind: kind, Body: body})
	}
	ctx, cancel := context.WithTimeout(ctx, timeOf(kind))
	defer cancel()
	reply, err := c.ask(ctx, to, kind, body)
	if err != nil {
		return proto.Reply{Status: http.StatusServiceUnavailable}
	}
	return reply
}

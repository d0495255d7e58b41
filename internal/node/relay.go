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

// between returns a linked shard other than the node, "" without one. Shards are
// linked to all; they take turns.
func (c *control) between(to proto.NodeName) proto.NodeName {
	var shards []proto.NodeName
	for _, shard := range c.node.cluster.View().LiveShards(c.node.cluster.Instance()) {
		if shard.Name != to && c.linked(shard.Name) {
			shards = append(shards, shard.Name)
		}
	}
	if len(shards) == 0 {
		return ""
	}
	return shards[c.turn.Add(1)%uint64(len(shards))]
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

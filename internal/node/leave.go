package node

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// Drain is /v1/drain: a node leaves by itself, wherever it is asked.
func (s *source) Drain(ctx context.Context, node string) (doc admin.DrainDocument, err error) {
	n := (*Node)(s)
	run, err := n.toDrain(node)
	switch {
	case err != nil:
		return doc, err
	case run == n.name:
		return n.drain()
	}
	err = n.askChange(ctx, run, askDrain, nil, &doc)
	var silent *proto.Error
	if errors.As(err, &silent) {
		err = &admin.Refusal{Status: http.StatusServiceUnavailable, Code: proto.Unavailable.String(),
			Message: string(run) + " gave no answer: it may begin to drain all the same; its own admin port takes this request, too"}
	}
	return doc, err
}

// toDrain returns the living run that is meant; "" is this one.
func (n *Node) toDrain(node string) (proto.NodeName, error) {
	if node == "" || node == string(n.name) || node == string(n.name.ID()) && len(n.living(node)) < 2 {
		return n.name, nil
	}
	switch live := n.living(node); len(live) {
	case 0:
		return "", n.cannotDrain(node)
	case 1:
		if live[0].State == cluster.Draining {
			return "", admin.NotAlive(live[0].Name, live[0].State.String())
		}
		return live[0].Name, nil
	default:
		var runs []proto.NodeName
		for i := range live {
			runs = append(runs, live[i].Name)
		}
		return "", admin.AmbiguousNode(runs)
	}
}

// living are the runs that live and have the id, or the name.
func (n *Node) living(node string) (live []cluster.Node) {
	id, _, named := strings.Cut(node, "/")
	for _, run := range n.cluster.View().Runs(proto.NodeID(id)) {
		if run.Lives() && (!named || string(run.Name) == node) {
			live = append(live, run)
		}
	}
	return live
}

// cannotDrain says of a node that does not live whether it ever did.
func (n *Node) cannotDrain(node string) error {
	for _, known := range cluster.Known(n.cluster.View(), n.cluster.Table()) {
		if string(known.Name) == node || string(known.ID()) == node {
			return admin.NotAlive(known.Name, cluster.Dead.String())
		}
	}
	return admin.UnknownNode(node)
}

// drain begins the polite stop of this node, once.
func (n *Node) drain() (doc admin.DrainDocument, err error) {
	if n.control.draining.Load() || n.toLeave.Swap(true) {
		return doc, admin.NotAlive(n.name, cluster.Draining.String())
	}
	n.log.Info("an operator asked this node to leave", zap.String("name", string(n.name)))
	close(n.leaves)
	return admin.DrainDocument{Node: n.name}, nil
}

// drained answers another node's askDrain.
func (c *control) drained() proto.Reply {
	doc, err := c.node.drain()
	if err != nil {
		return refusal(err)
	}
	return reply(http.StatusOK, doc)
}

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// Forget is /v1/forget: the leader does it, wherever it is asked.
func (s *source) Forget(ctx context.Context, node string) (doc admin.ForgetDocument, err error) {
	n := (*Node)(s)
	leader := n.cluster.Stance().Leader
	switch leader {
	case "":
		return doc, admin.NoMajority()
	case n.name:
		return n.forget(ctx, node)
	}
	return doc, n.askChange(ctx, leader, askForget, []byte(node), &doc)
}

func (n *Node) forget(ctx context.Context, node string) (doc admin.ForgetDocument, err error) {
	run, err := n.cluster.Forget(ctx, node)
	var many *cluster.AmbiguousError
	switch {
	case errors.As(err, &many):
		return doc, admin.AmbiguousNode(many.Runs)
	case errors.Is(err, cluster.ErrUnknown):
		return doc, admin.UnknownNode(node)
	case errors.Is(err, cluster.ErrAlive):
		return doc, admin.AliveNode(run)
	case errors.Is(err, cluster.ErrNotLeading):
		return doc, admin.NoMajority()
	}
	return admin.ForgetDocument{Node: run}, err
}

// Recover is /v1/recover: a shard does it, since routers found nothing.
func (s *source) Recover(ctx context.Context) (doc admin.RecoverDocument, err error) {
	n := (*Node)(s)
	if leader := n.cluster.Stance().Leader; leader != "" {
		return doc, admin.HasMajority(leader)
	}
	if n.kind == proto.RoleShard {
		return n.recover(ctx)
	}
	for _, shard := range n.cluster.View().LiveShards(n.cluster.Instance()) {
		if n.control.linked(shard.Name) {
			return doc, n.askChange(ctx, shard.Name, askRecover, nil, &doc)
		}
	}
	return doc, &admin.Refusal{Status: http.StatusServiceUnavailable, Code: "no_shard", Message: "no living shard is linked to this router: there is nobody to recover the cluster"}
}

func (n *Node) recover(ctx context.Context) (doc admin.RecoverDocument, err error) {
	linked := n.control.names()
	before, after, err := n.cluster.Recover(ctx)
	switch {
	case errors.Is(err, cluster.ErrMajority):
		return doc, admin.HasMajority(n.cluster.Stance().Leader)
	case errors.Is(err, cluster.ErrNoTable):
		return doc, admin.NoTable()
	case err != nil:
		return doc, err
	}
	doc.Generation, doc.Nodes = after.Founding().Generation, append(linked, n.name)
	slices.Sort(doc.Nodes)
	for p, row := range after.Rows() {
		if was := before.Row(p); row.Owner != "" && row.Owner == was.Owner && row.Since == was.Since {
			doc.Kept++
		} else {
			doc.Reset++
		}
	}
	return doc, nil
}

// askChange has another node do what its admin port would do, into doc.
func (n *Node) askChange(ctx context.Context, to proto.NodeName, kind uint8, body []byte, doc any) error {
	reply, err := n.control.reach(ctx, to, kind, body)
	if err != nil {
		return &proto.Error{Code: proto.Unavailable, Op: "ask " + string(to.ID()), Err: err}
	}
	if reply.Status == http.StatusOK {
		return json.Unmarshal(reply.Body, doc)
	}
	refusal := refused{Status: int(reply.Status)}
	if json.Unmarshal(reply.Body, &refusal) != nil || refusal.Code == "" {
		return &proto.Error{Code: proto.Unavailable, Op: "ask " + string(to.ID())}
	}
	return &admin.Refusal{Status: refusal.Status, Code: refusal.Code, Message: refusal.Message}
}

// refused is how a refusal travels between nodes.
type refused struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// change answers another node's askForget or askRecover.
func (n *Node) change(ctx context.Context, x proto.Ask) proto.Reply {
	var doc any
	var err error
	if x.Kind == askForget {
		doc, err = n.forget(ctx, string(x.Body))
	} else {
		doc, err = n.recover(ctx)
	}
	if err != nil {
		return refusal(err)
	}
	return reply(http.StatusOK, doc)
}

// refusal is how an error travels to another node: what is only for our log does not.
func refusal(err error) proto.Reply {
	var r *admin.Refusal
	if errors.As(err, &r) {
		return reply(r.Status, refused{Code: r.Code, Message: r.Message})
	}
	return proto.Reply{Status: http.StatusServiceUnavailable}
}

func reply(status int, doc any) proto.Reply {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false) // names of rooms would become three times as long, and no browser reads this
	if e.Encode(doc) != nil {
		return proto.Reply{Status: http.StatusInternalServerError}
	}
	return proto.Reply{Status: uint16(status), Body: body.Bytes()}
}

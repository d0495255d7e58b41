package node

import (
	"context"
	"errors"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

var errLater = &proto.Error{Code: proto.Unavailable, Op: "answer", Err: errors.New("not served by this node")}

func (s *source) Nodes(context.Context) (doc admin.NodesDocument) { return doc }

func (s *source) Rooms(context.Context, admin.RoomsQuery) (doc admin.RoomsDocument, err error) {
	return doc, errLater
}

func (s *source) Plan(context.Context, admin.PlanQuery) (doc admin.PlanDocument, err error) {
	return doc, errLater
}

func (s *source) Drain(context.Context, string) (doc admin.DrainDocument, err error) {
	return doc, errLater
}

func (s *source) Watch(context.Context, bool, func(admin.Event) error) error { return errLater }

func (s *source) Tail(context.Context, admin.TailQuery, func(admin.Event) error) error {
	return errLater
}

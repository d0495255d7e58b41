package node

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// streams carries the register's connections over link ports.
type streams struct{ node *Node }

var _ cluster.Streams = streams{}

// Dial opens a stream to whoever votes under the name now. The hello names that run and the founding
// that this node belongs to, which must be the register's.
func (s streams) Dial(ctx context.Context, voter proto.NodeName, founding proto.Founding) (net.Conn, error) {
	n := s.node
	if own := n.cluster.Founding(); own != founding {
		return nil, errors.New("the register is of another founding than this node")
	}
	at, ok := n.cluster.Voter(voter)
	if !ok {
		return nil, fmt.Errorf("nobody votes as %s", voter)
	}
	return n.mesh.DialStream(ctx, at.Name, at.Link)
}

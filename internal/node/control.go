package node

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/poll"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
)

// control is where frames about no partition come in and go out: those of the
// Table, and questions between nodes. They use the first link of each pair.
type control struct {
	node     *Node
	draining atomic.Bool

	mu      sync.Mutex // guards what is below
	first   map[proto.NodeName]way
	pending map[uint64]chan proto.Reply
	lastID  uint64
	closed  bool

	answers chan struct{} // a token for each question being answered
	running sync.WaitGroup

	stats questions
	turn  atomic.Uint64 // whose it is to hand questions on
}

// questions counts those that went to and fro.
type questions struct {
	Asked    atomic.Uint64 `help:"Questions that other nodes were asked."`
	Answered atomic.Uint64 `help:"Questions of other nodes that were answered."`
	Dropped  atomic.Uint64 `help:"Questions of other nodes that were not, because too many were being answered."`
}

// way is a link and the loop that it may be used on.
type way struct {
	link *link.Link
	loop *poll.Loop
}

// maxAnswers bounds the questions that are answered at once; the next ones are
// not answered, and time out at who asked.
const maxAnswers = 64

func newControl(n *Node) *control {
	return &control{node: n, first: map[proto.NodeName]way{}, pending: map[uint64]chan proto.Reply{}, answers: make(chan struct{}, maxAnswers)}
}

// run waits for ctx, then for the answers under way.
func (c *control) run(ctx context.Context) error {
	<-ctx.Done()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
	return nil
}

// Up is called on a lane's loop.
func (c *control) Up(k *link.Link) {
	p := k.Peer()
	if p.Index != 0 {
		return
	}
	c.mu.Lock()
	c.first[p.Name] = way{k, c.node.role.Lanes()[0].Loop} // index 0 is on lane 0
	c.mu.Unlock()
	c.node.cluster.LinkUp(p.Name)
}

// Down is called on a lane's loop.
func (c *control) Down(k *link.Link, err error) {
	p := k.Peer()
	if p.Index != 0 {
		return
	}
	c.mu.Lock()
	mine := c.first[p.Name].link == k
	if mine {
		delete(c.first, p.Name)
	}
	c.mu.Unlock()
	if mine {
		c.node.cluster.LinkDown(p.Name, endOf(err))
	}
}

// endOf says in the cluster's words how a link ended.
func endOf(err error) cluster.LinkEnd {
	var bye *link.Goodbye
	var ours *proto.Error
	switch {
	case errors.As(err, &bye) && bye.Remote && bye.Leaves:
		return cluster.EndLeft
	case errors.As(err, &bye) && bye.Remote:
		return cluster.EndBroken // it goes on, or is being stopped: its port tells which
	case errors.As(err, &bye), errors.As(err, &ours), errors.Is(err, link.ErrReplaced):
		return cluster.EndClosed
	case errors.Is(err, link.ErrSilent):
		return cluster.EndSilent
	}
	return cluster.EndBroken
}

// linked reports whether there is a link to the node.
func (c *control) linked(name proto.NodeName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.first[name]
	return ok
}

// names returns the nodes that there are links to.
func (c *control) names() []proto.NodeName {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.first))
}

// Frame is called on a lane's loop.
func (c *control) Frame(k *link.Link, typ proto.FrameType, body []byte) {
	c.handle(k.Peer().Name, typ, body)
}

// hear takes a frame of this node's own.
func (c *control) hear(frame []byte) {
	if typ, size, err := proto.ParseHeader(frame); err == nil && size == len(frame) {
		c.handle(c.node.name, typ, frame[proto.HeaderSize:])
	}
}

func (c *control) handle(from proto.NodeName, typ proto.FrameType, body []byte) {
	switch typ {
	case proto.FrameTable, proto.FrameDelta, proto.FrameTableGet, proto.FrameVersion, proto.FrameWitness, proto.FrameFound, proto.FrameAgree,
		proto.FramePromised, proto.FrameWish:
		c.node.cluster.HandleFrame(from, typ, body)
	case proto.FramePromise:
		c.promise(from, body)
	case proto.FrameAsk:
		if x, err := proto.ParseAsk(body); err == nil {
			c.answer(from, x)
		}
	case proto.FrameReply:
		if x, err := proto.ParseReply(body); err == nil {
			c.replied(x)
		}
	}
	// Anything else is of a later version, or about a partition and sent to
	// the wrong role: it asks for nothing that we would have to do.
}

// promise has the role answer a coordinator, which may be this node.
func (c *control) promise(from proto.NodeName, body []byte) {
	list, err := proto.ParsePromises(body)
	if err != nil {
		c.node.log.Warn("promise not understood", zap.String("node", string(from)), zap.Error(err))
		return
	}
	c.node.role.promise(list, func(answers []proto.Promise) {
		c.send(from, proto.AppendPromised(nil, answers))
	})
}

// wish tells the coordinator what this node's partitions want. Without one, or when it does not get
// there, it is wished again.
func (c *control) wish(list []proto.Wish) {
	if to := c.node.cluster.Stance().Leader; to != "" {
		c.send(to, proto.AppendWishes(nil, list))
	}
}

// send hands a frame to the link to a node, and drops it when there is none. What this node says to
// itself is heard at once.
func (c *control) send(to proto.NodeName, frame []byte) {
	if to == c.node.name {
		c.hear(frame)
		return
	}
	c.mu.Lock()
	w, ok := c.first[to]
	c.mu.Unlock()
	if ok {
		w.loop.Post(func() {
			w.link.Control(func(b []byte) []byte { return append(b, frame...) })
		})
	}
}

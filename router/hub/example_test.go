package hub_test

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router/hub"
)

// printer is a lane that has printing for sockets.
type printer struct{}

func (printer) Write(m *hub.Member, b []byte) int {
	fmt.Printf("to conn %d: %q\n", m.ID, b)
	return len(b)
}
func (printer) Joined(m *hub.Member, first []byte)                        { fmt.Printf("conn %d joined\n", m.ID) }
func (printer) Refused(m *hub.Member, code proto.Code)                    {}
func (printer) Resume(m *hub.Member)                                      {}
func (printer) Slow(m *hub.Member)                                        {}
func (printer) Expired(m *hub.Member)                                     {}
func (printer) Placed(m *hub.Member, pos proto.Position, code proto.Code) {}

// One member joins a room, its owner answers and delivers a message.
func Example() {
	now := time.Unix(0, 0)
	owner := proto.MakeNodeName("s1", 1)
	room := []byte("lobby")
	p := proto.PartitionOf(room, proto.Partitions)

	h := hub.New(hub.Config{}, printer{})
	h.SetRow(p, owner, 1, now)
	h.LinkUp(owner, 0, 1, now)

	m := &hub.Member{ID: 7}
	h.Join(m, room, hub.JoinOptions{}, now)
	h.Publish(m, proto.KindText, []byte("hi"), now)
	h.Work(func(node proto.NodeName, index int) {
		for b := h.Fill(node, index, nil, 1<<16); len(b) > 0; {
			typ, size, _ := proto.ParseHeader(b)
			fmt.Println("to", node.ID(), typ)
			b = b[size:]
		}
	})

	e := proto.MintEpoch(1)
	b, start := proto.BeginBatch(nil, proto.FrameAttached, p, 1)
	b = proto.End(proto.AppendAttachedEntry(b, &proto.AttachedEntry{Room: room, Epoch: e, First: 1}), start)
	_ = h.Frame(owner, proto.FrameAttached, b[proto.HeaderSize:], now)

	b, start = proto.BeginDeliver(nil, p, 1, room, e, 1)
	b = proto.End(proto.AppendMessage(b, proto.KindText, m.ID, []byte("hi")), start)
	_ = h.Frame(owner, proto.FrameDeliver, b[proto.HeaderSize:], now)
	h.FanOut(now)

	// Output:
	// to s1 attach
	// to s1 publish
	// conn 7 joined
	// to conn 7: "\x81\x02hi"
}

package partition_test

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// A router attaches to a room, publishes to it, and is sent the one copy of the
// message and its acknowledgement.
func Example() {
	const self = "s1/0000000000001"
	now := time.Now()
	lane := partition.NewLane(partition.Config{Self: self, Partitions: 1})
	lane.SetTable(0, partition.Row{Owner: self, Term: 1, Since: 1}, now)
	router := lane.RouterUp("r1/0000000000001", 0, 1)

	b, start := proto.BeginBatch(nil, proto.FrameAttach, 0, 1)
	b = proto.AppendAttachEntry(b, "lobby", proto.Epoch{}, 0)
	frames := [][]byte{
		proto.End(b, start),
		proto.AppendPublish(nil, &proto.Publish{Term: 1, Seq: 1, Base: 1, Conn: 7, Room: []byte("lobby"), Payload: []byte("hello")}),
	}
	for _, f := range frames {
		if err := lane.Frame(router, proto.FrameType(f[4]), f[proto.HeaderSize:], now); err != nil {
			fmt.Println(err)
		}
	}
	for _, r := range lane.Dirty(nil) {
		out := lane.Fill(r, lane.Control(r, nil), 64<<10)
		for len(out) > 0 {
			typ, size, _ := proto.ParseHeader(out)
			fmt.Println(typ)
			out = out[size:]
		}
	}
	// Output:
	// ack
	// attached
	// deliver
}

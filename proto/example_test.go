package proto_test

import (
	"fmt"

	"github.com/roomring/roomring/proto"
)

// A Deliver is begun, filled while there is room, and closed; its reader walks
// the messages without copying them.
func Example() {
	epoch := proto.MintEpoch(2026)
	b, start := proto.BeginDeliver(nil, 17, 3, "lobby", epoch, 42)
	b = proto.AppendMessage(b, proto.KindText, 0, []byte("hi"))
	b = proto.AppendMessage(b, proto.KindText, 0, []byte("hello"))
	b = proto.End(b, start)

	typ, size, err := proto.ParseHeader(b)
	if err != nil || size > len(b) {
		return // broken, or not all of it is here yet
	}
	d, err := proto.ParseDeliver(b[proto.HeaderSize:size])
	if err != nil {
		return
	}
	fmt.Printf("%v to partition %d, room %s\n", typ, d.Partition, d.Room)
	for m, ok := d.Messages.Next(); ok; m, ok = d.Messages.Next() {
		fmt.Printf("%v %s\n", proto.Position{Epoch: d.Epoch, Offset: d.Offset}, m.Payload)
		d.Offset++
	}
	// Output:
	// deliver to partition 17, room lobby
	// 00000000001ka.42 hi
	// 00000000001ka.43 hello
}

func ExampleParsePosition() {
	p, err := proto.ParsePosition("00000000001ka.42")
	fmt.Println(p.Epoch, p.Offset, err)
	_, err = proto.ParsePosition("00000000001ka.042")
	fmt.Println(err)
	// Output:
	// 00000000001ka 42 <nil>
	// position: want EPOCH.OFFSET, 13 characters of a-z and 0-9, a dot, and a number without leading zeros
}

func ExampleCheckRoom() {
	fmt.Println(proto.CheckRoom("lobby"))
	fmt.Println(proto.CheckRoom("line\nbreak"))
	// Output:
	// <nil>
	// room name: control characters are not allowed
}

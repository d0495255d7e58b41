package link_test

import (
	"context"
	"fmt"
	"net"

	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
)

// Two nodes agree to talk. A Mesh does this for every link it keeps.
func ExampleOpen() {
	router := link.Config{Self: proto.MakeNodeName("r1", 1), Role: proto.RoleRouter, Lanes: 2}
	shard := link.Config{Self: proto.MakeNodeName("s1", 1), Role: proto.RoleShard, Lanes: 4}

	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, peer, err := link.Accept(context.Background(), b, shard)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("shard has link", peer.Index, "to", peer.Role, peer.Name.ID())
	}()
	_, peer, err := link.Open(context.Background(), a, router, shard.Self, 3)
	<-done
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("router has link", peer.Index, "to", peer.Role, peer.Name.ID(), "with", peer.Lanes, "lanes")
	// Output:
	// shard has link 3 to router r1
	// router has link 3 to shard s1 with 4 lanes
}

package shard_test

import (
	"context"
	"fmt"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard"
	"github.com/roomring/roomring/shard/partition"
)

// A shard is told by the Table what it owns. Its lanes are given to link.NewMesh,
// which brings it routers.
func ExampleShard() {
	self := proto.MakeNodeName("s1", 1)
	s, err := shard.New(shard.Config{Self: self, Lanes: 2, Partitions: 8})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()

	rows := make([]shard.Row, 5)
	for p := range rows {
		rows[p] = shard.Row{Partition: proto.Partition(p), Row: partition.Row{Owner: self, Term: 1, Since: 1}}
	}
	s.SetTable(rows)
	stats, err := s.Stats(ctx)
	for lane := range stats {
		fmt.Println("lane", lane, "owns", stats[lane].Core.Owned)
	}
	_, found, _ := s.Room(ctx, "lobby")
	fmt.Println("lobby is there:", found, err)

	stop()
	<-done
	// Output:
	// lane 0 owns 3
	// lane 1 owns 2
	// lobby is there: false <nil>
}

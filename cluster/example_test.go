package cluster_test

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// A Keeper is told who is there and answers with the Table and what to send. Cluster is the
// goroutine around it.
func ExampleKeeper() {
	s1 := cluster.Node{Name: proto.MakeNodeName("s1", 1), Role: proto.RoleShard}
	s2 := cluster.Node{Name: proto.MakeNodeName("s2", 2), Role: proto.RoleShard}
	now := time.Unix(0, 0)

	k := cluster.NewKeeper(cluster.KeeperConfig{Self: s1.Name, Role: s1.Role, Partitions: 8})
	k.SetNodes(now, []cluster.Node{s1}) // alone, and nobody else is expected: it founds the cluster
	k.LinkUp(now, s2.Name)
	for _, s := range k.Take() {
		fmt.Println(proto.FrameType(s.Frame[4]), "to", s.To.ID())
		break
	}
	fmt.Println("version", k.Table().Version, "owner of 0:", k.Table().Row(0).Owner.ID())
	// Output:
	// table to s2
	// version 1 owner of 0: s1
}

// A lookup goes from the room to its partition to the row of the Table.
func ExampleTable() {
	s1, s2 := proto.MakeNodeName("s1", 1), proto.MakeNodeName("s2", 2)
	old := cluster.NewTable(proto.Instance{1}, 1, []cluster.Row{{Owner: s1, Term: 1}, {Owner: s1, Term: 1}})
	next := cluster.NewTable(proto.Instance{1}, 2, []cluster.Row{{Owner: s1, Term: 1}, {Owner: s2, Term: 2}})

	delta := next.Since(old)
	applied, err := old.Apply(&delta)
	if err != nil {
		fmt.Println(err)
		return
	}
	row := applied.Row(proto.PartitionOf([]byte("lobby"), applied.Partitions()))
	fmt.Println(len(delta.Rows), "row changed; lobby is at", row.Owner.ID(), "in term", row.Term)
	// Output: 1 row changed; lobby is at s1 in term 1
}

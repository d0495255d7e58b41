package cluster_test

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// A Keeper is told what happened, and says what it wants of the register and of other nodes. Only
// what the register committed becomes its Table. Cluster is the goroutine around it.
func ExampleKeeper() {
	s1 := cluster.Node{Name: proto.MakeNodeName("s1", 1), Role: proto.RoleShard}
	s2 := cluster.Node{Name: proto.MakeNodeName("s2", 2), Role: proto.RoleShard}
	now := time.Unix(0, 0)

	k := cluster.NewKeeper(cluster.KeeperConfig{Self: s1.Name, Role: s1.Role, Partitions: 8})
	k.SetNodes(now, []cluster.Node{s1}) // alone, and nobody else is expected: it founds the cluster
	fmt.Println("a table before the register has one:", k.Table() != nil)

	register := cluster.NewLocal(s1.Name)
	for _, i := range k.Orders() {
		register.Do(i.Order, func(err error) {
			k.SetRegister(now, register.Status())
			k.Done(now, i.Number, err)
		})
	}
	k.LinkUp(now, s2.Name)
	for _, s := range k.Take() {
		fmt.Println(proto.FrameType(s.Frame[4]), "to", s.To.ID())
		break
	}
	fmt.Println("owner of 0:", k.Table().Row(0).Owner.ID(), "leader:", k.Leader(now).ID())
	// Output:
	// a table before the register has one: false
	// table to s2
	// owner of 0: s1 leader: s1
}

// A lookup goes from the room to its partition to the row of the Table.
func ExampleTable() {
	s1, s2 := proto.MakeNodeName("s1", 1), proto.MakeNodeName("s2", 2)
	head := cluster.Head{Instance: proto.Instance{1}, Version: 1}
	old := cluster.NewTable(head, []cluster.Row{{Owner: s1, Term: 1, Since: 1}, {Owner: s1, Term: 1, Since: 1}})
	head.Version++
	next := cluster.NewTable(head, []cluster.Row{{Owner: s1, Term: 1, Since: 1}, {Owner: s2, Term: 2, Since: 2}})

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

package plan_test

import (
	"fmt"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// The owner of partition 1 is gone: it goes to where the ring wants it, under the next term.
func ExampleDecide() {
	rows := []plan.Row{{Owner: "s1/0000000000001", Term: 1}, {Owner: "s2/0000000000002", Term: 1}}
	alive := func(n proto.NodeName) bool { return n.ID() != "s2" }
	wanted := func(proto.Partition) proto.NodeName { return "s1/0000000000001" }
	for _, c := range plan.Decide(rows, alive, wanted) {
		fmt.Println("partition", c.Partition, "to", c.Row.Owner.ID(), "in term", c.Row.Term)
	}
	// Output: partition 1 to s1 in term 2
}

package plan_test

import (
	"fmt"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// The owner of partition 1 is dead for certain: it goes to where the ring wants it, under the next term.
func ExampleDecide() {
	rows := plan.MakeRows([]plan.Row{{Owner: "s1/0000000000001", Term: 1}, {Owner: "s2/0000000000002", Term: 1}})
	verdict := func(n proto.NodeName) plan.Verdict {
		if n.ID() == "s2" {
			return plan.Proved
		}
		return plan.Lives
	}
	wanted := func(proto.Partition) proto.NodeName { return "s1/0000000000001" }
	for _, c := range plan.Decide(0, rows, verdict, wanted) {
		fmt.Println("partition", c.Partition, "to", c.Row.Owner.ID(), "in term", c.Row.Term)
	}
	// Output: partition 1 to s1 in term 2
}

// A node that votes has died and another takes its place: first the dead one is removed, so that
// fewer have to agree, and a newcomer votes once it knows what the others know.
func ExampleVoters() {
	candidates := []plan.Candidate{
		{Voter: "s1", Role: proto.RoleShard},
		{Voter: "s2", Role: proto.RoleShard, Verdict: plan.Proved},
		{Voter: "s3", Role: proto.RoleShard},
		{Voter: "r1", Role: proto.RoleRouter},
	}
	servers := []plan.Server{{Name: "s1", Voter: true}, {Name: "s2", Voter: true}, {Name: "s3", Voter: true}}
	step, _ := plan.Voters("s1", servers, candidates)
	fmt.Println(step.Op, step.Name)

	servers = []plan.Server{{Name: "s1", Voter: true}, {Name: "s3", Voter: true}}
	step, _ = plan.Voters("s1", servers, candidates)
	fmt.Println(step.Op, step.Name)

	servers = append(servers, plan.Server{Name: "r1", CaughtUp: true})
	step, _ = plan.Voters("s1", servers, candidates)
	fmt.Println(step.Op, step.Name)
	// Output:
	// remove s2
	// add learner r1
	// promote r1
}

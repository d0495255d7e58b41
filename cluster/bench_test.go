package cluster

import (
	"fmt"
	"testing"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// BenchmarkVersion is what one Version costs while partitions move, of which there are hundreds when a shard
// joins: execute on every voter, since and append on the leader, parse and apply on everybody else, and
// propose once more on the leader.
func BenchmarkVersion(b *testing.B) {
	old, command := busyTable(b)
	next, err := old.Execute(command, command.Term)
	if err != nil {
		b.Fatal(err)
	}
	delta := next.Since(old)
	frame := AppendDelta(nil, &delta)[proto.HeaderSize:]
	b.Run("execute", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = old.Execute(command, command.Term)
		}
	})
	b.Run("since", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := next.Since(old)
			AppendDelta(nil, &d)
		}
	})
	b.Run("apply", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d, err := ParseDelta(frame)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := old.Apply(&d); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// busyTable is a Table of a real cluster's size with 32 moves, and a Command that ends a third of them.
func busyTable(b *testing.B) (*Table, *Command) {
	var names []proto.NodeName
	for i := range 4 {
		names = append(names, proto.MakeNodeName(proto.NodeID(fmt.Sprintf("s%d", i+1)), proto.Incarnation(i+1)))
	}
	rows := make([]Row, proto.Partitions)
	for p := range rows {
		rows[p] = Row{Owner: names[p%3], Followers: []proto.NodeName{names[(p+1)%3]}, Term: 5, Since: 1}
	}
	head := Head{Instance: inst, Version: 100, Settings: plan.DefaultSettings(), Voters: names[:3]}
	c := &Command{Term: 3}
	for i := range 32 {
		p := proto.Partition(4 * i) // what is moved at a time lies close together
		m := plan.Move{Partition: p, From: rows[p].Owner, To: names[3], State: plan.Learning}
		head.Moves = append(head.Moves, m)
		if i%3 == 0 {
			c.Changes = append(c.Changes, plan.Change{Partition: p, Replaces: 5, Row: Row{Owner: names[3], Followers: []proto.NodeName{rows[p].Owner}, Term: 6, Since: 1}})
			c.Ended = append(c.Ended, p)
		}
	}
	return NewTable(head, rows), c
}

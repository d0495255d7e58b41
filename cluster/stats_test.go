package cluster

import (
	"reflect"
	"strings"
	"testing"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// TestStatsLabels: the labels of the metrics are the words of what they count.
func TestStatsLabels(t *testing.T) {
	words := func(field string, of reflect.Type, word func(i int) string) {
		f, _ := of.FieldByName(field)
		labels := strings.Split(f.Tag.Get("labels"), ",")
		if len(labels) != f.Type.Len() {
			t.Fatalf("%s has %d labels for %d elements", field, len(labels), f.Type.Len())
		}
		for i, label := range labels {
			if want := word(i); label != "-" && label != want {
				t.Errorf("%s: label %d is %q, want %q", field, i, label, want)
			}
		}
	}
	state := func(i int) string { return State(i).String() }
	words("Shards", reflect.TypeFor[Figures](), state)
	words("Routers", reflect.TypeFor[Figures](), state)
	words("Moves", reflect.TypeFor[Figures](), func(i int) string { return plan.MoveState(i + 1).String() })
	words("Proofs", reflect.TypeFor[Stats](), func(i int) string { return Fate(i).String() })
	if n := len(Stats{}.WishesGranted); n != int(proto.WishRenew)+1 {
		t.Errorf("%d kinds of wishes are counted, there are %d", n, proto.WishRenew+1)
	}
}

// TestFigures: what is shown as numbers is what /v1/ring says.
func TestFigures(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	r1 := Node{Name: proto.MakeNodeName("r1", 4), Role: proto.RoleRouter, State: Suspect}
	nodes := []Node{s1, s2, s3, r1}
	for i := range nodes {
		nodes[i].Instance = inst
	}
	nodes[1].State = Draining
	lost := proto.MakeNodeName("s4", 5) // nobody sees it any more, and the Table names it
	table := NewTable(Head{
		Instance: inst, Version: 7, Settings: plan.DefaultSettings(),
		Moves: []plan.Move{{Partition: 0, To: s3.Name, State: plan.Learning}, {Partition: 1, To: s3.Name, State: plan.Freezing}, {Partition: 2, To: s3.Name, State: plan.Freezing}},
	}, []Row{{Owner: s1.Name, Term: 1}, {Owner: lost, Term: 1}, {Term: 1}})
	view := NewView(1, nodes)
	c := &Cluster{}
	ring, stance := NewRing(view, inst, plan.DefaultSettings(), 3, nil), Stance{Leader: s1.Name}
	c.view.Store(view)
	c.ring.Store(ring)
	c.table.Store(table)
	c.stance.Store(&stance)
	misplaced := 0
	for p, row := range table.Rows() {
		misplaced += one(ring.Wanted(p) != row.Owner)
	}
	want := Figures{
		Shards: [4]int{Alive: 2, Draining: 1, Dead: 1}, Routers: [4]int{Suspect: 1},
		Partitions: 3, Followers: plan.DefaultSettings().Followers, Ownerless: 2, Misplaced: misplaced, Moves: [2]int{1, 2}, HasLeader: 1, Table: 7,
	}
	if have := c.Figures(); have != want {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
	c.table.Store(nil)
	if have := c.Figures(); have.Partitions != 0 || have.Shards[Alive] != 2 || have.Ownerless != 0 {
		t.Errorf("without a table: %+v", have)
	}
}

// TestKeepersCount: a shard that dies and what follows shows in what the nodes counted.
func TestKeepersCount(t *testing.T) {
	l := newLab(t, 1)
	nodes := l.shards(3)
	l.settle()
	sum := func(of func(*Stats) uint64) (n uint64) {
		for _, x := range nodes {
			n += of(x.keeper.stats)
		}
		return n
	}
	l.kill(nodes[2])
	l.judge(nodes[2])
	l.settle()
	for what, n := range map[string]uint64{
		"suspicions":  sum(func(s *Stats) uint64 { return s.Suspicions.Load() }),
		"proofs":      sum(func(s *Stats) uint64 { return s.Proofs[FateRefused].Load() }),
		"commands":    sum(func(s *Stats) uint64 { return s.Commands.Load() }),
		"moves":       sum(func(s *Stats) uint64 { return s.MovesBegun.Load() }),
		"wishes":      sum(func(s *Stats) uint64 { return s.WishesGranted[proto.WishAdd].Load() }),
		"voter steps": sum(func(s *Stats) uint64 { return s.VoterSteps.Load() }),
		"tables":      sum(func(s *Stats) uint64 { return s.TablesApplied.Load() }),
	} {
		if n == 0 {
			t.Errorf("no %s are counted", what)
		}
	}
}

package cluster

import (
	"encoding/json"
	"testing"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// TestDocument holds the answer of /v1/ring against what operators are promised, and what it calls settled.
func TestDocument(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	nodes := []Node{s1, s2, s3}
	for i := range nodes {
		nodes[i].Instance = inst
	}
	head := Head{Instance: inst, Version: 3, Settings: plan.DefaultSettings(), Voters: []proto.NodeName{s1.Name}}
	const partitions = 2
	ring := NewRing(NewView(1, nodes), inst, head.Settings, partitions, nil)
	other := map[proto.NodeName]proto.NodeName{s1.Name: s2.Name, s2.Name: s3.Name, s3.Name: s1.Name}
	for name, c := range map[string]struct {
		change  func(nodes []Node, head *Head, rows []Row)
		settled bool
		single  int
	}{
		"all is well":                       {func([]Node, *Head, []Row) {}, true, 0},
		"a move is under way":               {func(_ []Node, h *Head, _ []Row) { h.Moves = []plan.Move{{To: s3.Name, State: plan.Learning}} }, false, 0},
		"a copy lacks":                      {func(_ []Node, _ *Head, r []Row) { r[1].Followers = nil }, false, 1},
		"none is wanted":                    {func(_ []Node, h *Head, r []Row) { h.Settings.Followers, r[0].Followers, r[1].Followers = 0, nil, nil }, true, 2},
		"a move is wanted":                  {func(_ []Node, _ *Head, r []Row) { r[0].Owner, r[0].Followers[0] = r[0].Followers[0], r[0].Owner }, false, 0},
		"nobody owns it":                    {func(_ []Node, _ *Head, r []Row) { r[0] = Row{} }, false, 1},
		"a follower is dead":                {func(n []Node, _ *Head, r []Row) { die(n, r[0].Followers[0]) }, false, 1},
		"an owner is dead, who follows too": {func(n []Node, _ *Head, r []Row) { die(n, r[0].Owner) }, false, 2},
		"a follower is suspect":             {func(n []Node, _ *Head, r []Row) { n[1].State = Suspect }, false, 0},
		"one that has something drains":     {func(n []Node, _ *Head, r []Row) { state(n, r[0].Followers[0], Draining) }, false, 0},
	} {
		rows := make([]Row, partitions)
		for p := range rows {
			owner := ring.Wanted(proto.Partition(p))
			rows[p] = Row{Owner: owner, Followers: []proto.NodeName{other[owner]}, Term: 2, Since: 1}
		}
		if rows[0].Owner == rows[1].Owner || rows[0].Owner == rows[1].Followers[0] && rows[1].Owner == rows[0].Followers[0] {
			t.Fatalf("the test errs: %+v", rows)
		}
		some, h := append([]Node(nil), nodes...), head
		c.change(some, &h, rows)
		view, table := NewView(1, some), NewTable(h, rows)
		now := NewRing(view, inst, h.Settings, partitions, nil)
		if name != "one that has something drains" {
			now = ring // gossip is slower than links
		}
		if have := Settled(view, now, table); have != c.settled {
			t.Errorf("%s: settled is %v", name, have)
		}
		if have := SingleCopy(view, table); have != c.single {
			t.Errorf("%s: %d single copies, want %d", name, have, c.single)
		}
	}
	if Settled(NewView(1, nodes), ring, nil) || SingleCopy(NewView(1, nodes), nil) != 0 {
		t.Error("settled without a table")
	}
}

func state(nodes []Node, name proto.NodeName, s State) {
	for i := range nodes {
		if nodes[i].Name == name {
			nodes[i].State = s
		}
	}
}

func die(nodes []Node, name proto.NodeName) { state(nodes, name, Dead) }

// TestDocumentBytes: names and order of the fields are a promise.
func TestDocumentBytes(t *testing.T) {
	_, next := exampleTables()
	next = NewTable(next.Head, listed(next)[1:2])
	next.Moves = []plan.Move{{Partition: 0, To: nameA, State: plan.Learning}}
	view := NewView(1, []Node{{Name: nameB, Role: proto.RoleShard, State: Draining, Zone: "z", Instance: inst}})
	ring := NewRing(view, inst, next.Settings, 1, nil)
	have, err := json.Marshal(Describe("c", 1, view, ring, next, nameB, true))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"cluster":"c","instance":"01020300000000000000000000000010","settled":false,"single_copy":1,"voters":["a","b-2","c"],"leader":"b-2",` +
		`"fingerprint":"` + next.Fingerprint() + `","version":8,"nodes":[{"id":"b-2","incarnation":"` + nameB.Incarnation().String() + `","role":"shard","state":"draining","zone":"z",` +
		`"addresses":{"link":"","gossip":"","admin":"","listen":""},"owned":1,"following":0}],"table":[{"partition":0,"owner":"b-2","followers":[],"term":1,"wanted":"b-2"}],` +
		`"moves":[{"partition":0,"from":"","to":"a","state":"learning"}]}`
	if string(have) != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
}

package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// assembly is a register's configuration among nodes that come and go, as its leader would drive it.
type assembly struct {
	t       testing.TB
	self    proto.NodeName
	servers []Server
	nodes   []Candidate
	fail    func(to proto.NodeName) bool // whether a Transfer fails; nil: never
	said    []string
}

func newAssembly(t testing.TB, self proto.NodeName, nodes ...Candidate) *assembly {
	return &assembly{t: t, self: self, servers: []Server{{Name: self, Voter: true, CaughtUp: true}}, nodes: nodes}
}

func shardIn(zone string, names ...proto.NodeName) (list []Candidate) {
	for _, n := range names {
		list = append(list, Candidate{Voter: n, Role: proto.RoleShard, Zone: zone})
	}
	return list
}

func routerIn(zone string, names ...proto.NodeName) (list []Candidate) {
	for _, n := range names {
		list = append(list, Candidate{Voter: n, Role: proto.RoleRouter, Zone: zone})
	}
	return list
}

func (a *assembly) node(name proto.NodeName) *Candidate {
	for i := range a.nodes {
		if a.nodes[i].Voter == name {
			return &a.nodes[i]
		}
	}
	return &Candidate{Voter: name, Verdict: Silent}
}

func (a *assembly) server(name proto.NodeName) int {
	return slices.IndexFunc(a.servers, func(s Server) bool { return s.Name == name })
}

// voters returns the names, in order; living ones only, if asked.
func (a *assembly) voters(living bool) (names []proto.NodeName) {
	for _, s := range a.servers {
		if s.Voter && (!living || a.node(s.Name).Verdict == Lives) {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

// eligible are the nodes that live and do not drain.
func (a *assembly) eligible() (nodes []Candidate) {
	for _, n := range a.nodes {
		if n.Verdict == Lives && !n.Draining {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (a *assembly) majority() bool { return len(a.voters(true)) > len(a.voters(false))/2 }

// elect makes another voter the leader if the present one is gone.
func (a *assembly) elect(choose func([]proto.NodeName) proto.NodeName) {
	if alive := a.voters(true); !slices.Contains(alive, a.self) {
		a.self = choose(alive)
	}
}

// step asks once, does what is answered, and holds it against the promises. It returns false when
// nothing is left to do.
func (a *assembly) step() bool {
	c, ok := Voters(a.self, a.servers, a.nodes)
	if !ok {
		return a.wait()
	}
	name, at := fmt.Sprint(c.Name), a.server(c.Name)
	need := VotersFor(len(a.eligible()))
	switch c.Op {
	case AddLearner:
		a.said = append(a.said, "add "+name)
		if n := a.node(c.Name); at >= 0 || n.Verdict != Lives || n.Draining {
			a.t.Fatalf("%s is made a learner: %+v in %v", name, n, a.servers)
		}
		a.servers = append(a.servers, Server{Name: c.Name})
	case Promote:
		a.said = append(a.said, "promote "+name)
		if at < 0 || a.servers[at].Voter || !a.servers[at].CaughtUp || a.node(c.Name).Verdict != Lives {
			a.t.Fatalf("%s is made a voter, of %v", name, a.servers)
		}
		a.servers[at].Voter = true
		if len(a.voters(false)) > need+1 {
			a.t.Fatalf("%v vote where %d are wanted", a.voters(false), need)
		}
	case Remove:
		a.said = append(a.said, "remove "+name)
		a.remove(c.Name, at, need)
	case Transfer:
		a.said = append(a.said, "lead "+name)
		if n := a.node(c.Name); c.Name == a.self || at < 0 || !a.servers[at].Voter || n.Verdict != Lives || n.Draining {
			a.t.Fatalf("%s hands its lead to %s: %+v in %v", a.self, name, n, a.servers)
		}
		if a.fail == nil || !a.fail(c.Name) {
			a.self = c.Name
		}
	}
	return true
}

func (a *assembly) remove(name proto.NodeName, at, need int) {
	if at < 0 || name == a.self {
		a.t.Fatalf("%s removes %s from %v", a.self, name, a.servers)
	}
	gone := a.servers[at]
	a.servers = slices.Delete(a.servers, at, at+1)
	if !gone.Voter || a.node(name).Verdict != Lives {
		return
	}
	if !a.majority() {
		a.t.Fatalf("%s was removed, who lives, and of %v only %v do", name, a.voters(false), a.voters(true))
	}
	if left := len(a.voters(false)); left < need {
		a.t.Fatalf("%s was removed before it was replaced: %d voters of %d", name, left, need)
	}
}

// wait lets the learners catch up, and is false if there is none.
func (a *assembly) wait() bool {
	for i := range a.servers {
		s := &a.servers[i]
		if !s.CaughtUp && a.node(s.Name).Verdict == Lives {
			s.CaughtUp = true
			return true
		}
	}
	return false
}

// settle steps until nothing is left to do, and checks what has come of it.
func (a *assembly) settle() {
	const bound = 40 // 5 to be removed, 5 to be added, promoted and waited for, some transfers that fail
	for steps := 0; a.step(); steps++ {
		if steps > bound {
			a.t.Fatalf("no end: %v", a.said[len(a.said)-bound:])
		}
	}
	a.check()
}

func (a *assembly) check() {
	eligible, shards := a.eligible(), 0
	for _, n := range eligible {
		if n.Role == proto.RoleShard {
			shards++
		}
	}
	want := VotersFor(len(eligible))
	for _, s := range a.servers {
		n := a.node(s.Name)
		if !s.Voter || n.Verdict != Lives || n.Draining && len(eligible) > 0 {
			a.t.Fatalf("settled with %+v, %+v", s, n)
		}
		if n.Role == proto.RoleShard {
			shards--
		}
	}
	if len(a.servers) != want {
		a.t.Fatalf("settled with voters %v, want %d of %d nodes", a.servers, want, len(eligible))
	}
	if routers := slices.ContainsFunc(a.servers, func(s Server) bool { return a.node(s.Name).Role == proto.RoleRouter }); routers && shards > 0 && len(eligible) > 0 {
		a.t.Fatalf("a router votes in place of a shard: %v", a.servers)
	}
	for _, s := range a.servers { // whoever leads agrees
		if c, more := Voters(s.Name, a.servers, a.nodes); more && len(eligible) > 0 {
			a.t.Fatalf("settled for %s, but %s would do %+v", a.self, s.Name, c)
		}
	}
}

// story settles and returns what was done for it.
func (a *assembly) story() string {
	a.said = nil
	a.settle()
	return strings.Join(a.said, ", ")
}

func (a *assembly) want(what, story string) {
	a.t.Helper()
	if have := a.story(); have != story {
		a.t.Errorf("%s:\nhave %s\nwant %s", what, have, story)
	}
}

func TestVotersFor(t *testing.T) {
	for nodes, want := range []int{1, 1, 1, 3, 3, 5, 5, 5} {
		if have := VotersFor(nodes); have != want {
			t.Errorf("%d nodes: %d voters, want %d", nodes, have, want)
		}
	}
}

// TestVotersStories reads as an operator would tell it.
func TestVotersStories(t *testing.T) {
	a := newAssembly(t, "a", shardIn("", "a")...)
	a.want("alone", "")
	a.nodes = append(a.nodes, shardIn("", "b")...)
	a.want("two nodes have one voter", "")
	a.nodes = append(a.nodes, routerIn("", "x")...)
	a.want("a router makes three", "add b, add x, promote b, promote x")
	a.nodes = append(a.nodes, shardIn("", "c")...)
	a.want("a shard takes the router's place", "add c, promote c, remove x")
	a.node("a").Draining = true
	a.want("the leader drains: it is replaced, and then hands over", "add x, lead b, promote x, remove a")
	a.node("a").Verdict = Proved
	a.want("nobody misses it", "")
	a.node("b").Verdict = Silent
	a.self = "c"
	a.want("the leader falls silent, and two are left", "remove b, remove x")
	a.node("b").Verdict = Lives
	a.want("it is heard of again", "add b, add x, promote b, promote x")
	a.nodes = append(a.nodes, shardIn("", "d", "e")...)
	a.want("five", "add d, add e, promote d, promote e")
	a.nodes = slices.DeleteFunc(a.nodes, func(n Candidate) bool { return n.Voter == "e" || n.Voter == "d" })
	a.want("who is not known any more is silent", "remove d, remove e")
	a.node("b").Draining, a.node("c").Draining, a.node("x").Draining = true, true, true
	a.want("when all drain, the leader is left", "remove b, remove x")
	if _, more := Voters("b", a.servers, a.nodes); more {
		t.Error("who does not vote does something")
	}
}

func TestVotersSpreadOverZones(t *testing.T) {
	a := newAssembly(t, "a", shardIn("east", "a", "b", "c")...)
	a.nodes = append(a.nodes, shardIn("west", "d")...)
	a.want("another zone comes first", "add d, add b, promote d, promote b")
	a.nodes = append(a.nodes, shardIn("north", "e")...)
	a.nodes = slices.DeleteFunc(a.nodes, func(n Candidate) bool { return n.Voter == "c" })
	a.want("nobody changes places for a zone", "")
	a.node("b").Verdict = Proved
	a.want("but who comes anew is from the one that lacks", "remove b, add e, promote e")
	a.nodes = append(a.nodes, shardIn("west", "f")...)
	a.nodes = append(a.nodes, shardIn("east", "g")...)
	a.want("five", "add f, add g, promote f, promote g")
	a.node("e").Verdict, a.node("g").Verdict = Proved, Proved
	a.want("any two", "remove e, remove g")
}

// TestVotersChoices: what comes first when there is a choice. The leader is the one named first.
func TestVotersChoices(t *testing.T) {
	shards := shardIn("", "a", "b", "c", "d", "e")
	with := func(nodes []Candidate, change func(*Candidate), names ...proto.NodeName) []Candidate {
		nodes = slices.Clone(nodes)
		for i := range nodes {
			if slices.Contains(names, nodes[i].Voter) {
				change(&nodes[i])
			}
		}
		return nodes
	}
	drains := func(n *Candidate) { n.Draining = true }
	silent := func(n *Candidate) { n.Verdict = Silent }
	dead := func(n *Candidate) { n.Verdict = Proved }
	for _, tt := range []struct {
		name             string
		voters, learners []proto.NodeName
		nodes            []Candidate
		want             VoterChange
	}{
		{"a voter stays rather than a learner becomes one", []proto.NodeName{"b", "c", "d", "e"}, []proto.NodeName{"a"}, with(shards, drains, "e"), VoterChange{Remove, "a"}},
		{"a learner that was begun goes on, even to a zone that has voters", []proto.NodeName{"a", "b"}, []proto.NodeName{"d"}, append(shardIn("west", "c"), shardIn("", "a", "b", "d")...), VoterChange{}},
		{"the leader stays", []proto.NodeName{"b", "a"}, nil, shards[:2], VoterChange{Remove, "a"}},
		{"the leader stays among more than are wanted", []proto.NodeName{"e", "a", "b", "c"}, nil, with(shards, silent, "d"), VoterChange{Remove, "c"}},
		{"the dead go before the silent", []proto.NodeName{"c", "a", "b", "d", "e"}, nil, with(with(shards, silent, "a"), dead, "b"), VoterChange{Remove, "b"}},
		{"the silent go before the draining", []proto.NodeName{"c", "a", "b", "d", "e"}, nil, with(with(shards, drains, "a"), silent, "b"), VoterChange{Remove, "b"}},
		{"the draining go before others that are too many", []proto.NodeName{"b", "a", "c", "d", "e"}, nil, with(append(routerIn("", "a"), shards[1:]...), drains, "e"), VoterChange{Remove, "e"}},
		{"too many are removed before another shard is added", []proto.NodeName{"a", "b", "x", "y", "z"}, []proto.NodeName{"c"}, append(shardIn("", "a", "b", "c"), append(routerIn("", "x"), with(routerIn("", "y", "z"), drains, "y", "z")...)...), VoterChange{Remove, "y"}},
		{"who has no name to vote under does not count", []proto.NodeName{"a"}, nil, append(shardIn("", "", "", ""), shards[:2]...), VoterChange{}},
		{"nobody waits for the one that is slow", []proto.NodeName{"a"}, []proto.NodeName{"b"}, shards[:3], VoterChange{AddLearner, "c"}},
	} {
		var servers []Server
		for _, v := range tt.voters {
			servers = append(servers, Server{Name: v, Voter: true})
		}
		for _, l := range tt.learners {
			servers = append(servers, Server{Name: l})
		}
		if c, ok := Voters(tt.voters[0], servers, tt.nodes); c != tt.want || ok != (c != VoterChange{}) {
			t.Errorf("%s: %+v, want %+v", tt.name, c, tt.want)
		}
	}
}

// TestVotersOneRunOfAName: a node that restarts with its disk votes under its old name, and for a
// while both runs are known.
func TestVotersOneRunOfAName(t *testing.T) {
	a := newAssembly(t, "a", shardIn("", "a", "b", "c")...)
	a.settle()
	dead := Candidate{Voter: "b", Role: proto.RoleShard, Verdict: Proved}
	a.nodes = append([]Candidate{dead}, append(a.nodes, dead)...)
	if c, more := Voters(a.self, a.servers, a.nodes); more {
		t.Errorf("a voter that came back is answered by %+v", c)
	}
}

// TestTwoOfFiveDie: three shards and two routers; whichever two die, whoever leads then, and
// whether both deaths are known at once or one by one, three voters are left.
func TestTwoOfFiveDie(t *testing.T) {
	names := []proto.NodeName{"s1", "s2", "s3", "r1", "r2"}
	for i := range names {
		for j := range names {
			for _, leader := range names {
				if i == j || leader == names[i] || leader == names[j] {
					continue
				}
				a := newAssembly(t, "s1", append(shardIn("", names[:3]...), routerIn("", names[3:]...)...)...)
				a.settle()
				a.self = leader
				a.node(names[i]).Verdict = Proved
				if j > i { // else the leader has not noticed the second yet
					a.node(names[j]).Verdict = Silent
				}
				a.fail = func(to proto.NodeName) bool { return to == names[j] }
				for range 10 {
					a.step()
					if !committable(a.voters(false), names[i], names[j]) {
						t.Fatalf("%s and %s died, and %v cannot go on: %v", names[i], names[j], a.voters(false), a.said)
					}
				}
				a.node(names[j]).Verdict = Silent
				a.settle()
				if have := len(a.servers); have != 3 {
					t.Errorf("%d voters are left", have)
				}
			}
		}
	}
}

// committable reports whether the voters without the dead ones are a majority.
func committable(voters []proto.NodeName, dead ...proto.NodeName) bool {
	acks := 0
	for _, v := range voters {
		if !slices.Contains(dead, v) {
			acks++
		}
	}
	return acks > len(voters)/2
}

// TestVotersRollingRestart: five nodes drain, leave and come back under new names, one by one, and
// then once more under their old ones, as nodes with a disk do. Then they leave one by one, and
// five others come.
func TestVotersRollingRestart(t *testing.T) {
	a := newAssembly(t, "n0", append(shardIn("", "n0", "n1", "n2"), routerIn("", "n3", "n4")...)...)
	a.settle()
	for round := range 2 {
		for i := range a.nodes {
			n := &a.nodes[i]
			n.Draining = true
			a.settle()
			if a.server(n.Voter) >= 0 || a.self == n.Voter {
				t.Fatalf("%s wants to leave, and votes still", n.Voter)
			}
			*n = Candidate{Voter: n.Voter, Role: n.Role}
			if round == 0 {
				n.Voter += "'"
			}
			a.settle()
		}
	}
	for range 4 {
		i := slices.IndexFunc(a.nodes, func(n Candidate) bool { return n.Voter == a.self })
		a.nodes[i].Draining = true
		a.settle()
		a.nodes = slices.Delete(a.nodes, i, i+1)
		a.settle()
	}
	a.nodes = append(a.nodes, shardIn("", "m1", "m2", "m3", "m4")...)
	a.settle()
	if len(a.servers) != 5 {
		t.Errorf("%v vote", a.servers)
	}
}

// TestVotersHistories lets nodes join, die, fall silent, wake, drain, restart and be forgotten in
// any order, in the middle of steps too, as long as those that live can still commit.
func TestVotersHistories(t *testing.T) {
	most := 0
	rapid.Check(t, func(t *rapid.T) {
		draw := func(list []proto.NodeName) proto.NodeName { return rapid.SampledFrom(list).Draw(t, "leader") }
		a := newAssembly(fataler{t: t}, "n0", shardIn("z0", "n0")...)
		for i := range rapid.IntRange(0, 6).Draw(t, "nodes") {
			a.nodes = append(a.nodes, drawNode(t, proto.NodeName(fmt.Sprintf("m%d", i))))
		}
		a.settle()
		a.fail = func(proto.NodeName) bool { return rapid.IntRange(0, 3).Draw(t, "transfer") == 0 }
		for next := range rapid.IntRange(1, 40).Draw(t, "events") {
			before := slices.Clone(a.nodes)
			name := proto.NodeName(fmt.Sprintf("n%d", next+1))
			a.happen(t, name)
			if !a.majority() {
				a.nodes = before // the register would wait for somebody to come back
			}
			a.elect(draw)
			for range rapid.IntRange(0, 6).Draw(t, "steps") {
				a.agree(t)
				a.step()
			}
		}
		voted, nodes := a.voters(true), slices.Clone(a.nodes)
		a.said = nil
		a.settle()
		most = max(most, len(a.said))
		a.checkChurn(voted, nodes)
	})
	t.Logf("at most %d changes after the last event", most)
}

// happen lets something befall a node; name is for one that joins.
func (a *assembly) happen(t *rapid.T, name proto.NodeName) {
	at := rapid.IntRange(0, len(a.nodes)-1).Draw(t, "node")
	other := rapid.IntRange(0, len(a.nodes)-1).Draw(t, "other")
	a.nodes = slices.Clone(a.nodes)
	n := &a.nodes[at]
	switch rapid.SampledFrom([]string{"joins", "joins", "joins", "dies", "two die", "is silent", "wakes", "drains", "restarts", "is forgotten"}).Draw(t, "event") {
	case "joins":
		a.nodes = append(a.nodes, drawNode(t, name))
	case "dies":
		n.Verdict = Proved
	case "two die":
		n.Verdict, a.nodes[other].Verdict = Proved, Silent
	case "is silent":
		n.Verdict = Silent
	case "wakes":
		if n.Verdict == Silent {
			n.Verdict = Lives
		}
	case "drains":
		n.Draining = true
	case "restarts": // with its disk, or without
		n.Verdict, n.Draining = Lives, false
		if rapid.Bool().Draw(t, "empty") {
			n.Voter = name
		}
	case "is forgotten":
		if n.Voter != a.self && len(a.nodes) > 1 {
			a.nodes = slices.Delete(a.nodes, at, at+1)
		}
	}
}

func drawNode(t *rapid.T, name proto.NodeName) Candidate {
	return Candidate{
		Voter: name,
		Role:  rapid.SampledFrom([]proto.Role{proto.RoleShard, proto.RoleRouter}).Draw(t, "role"),
		Zone:  rapid.SampledFrom([]string{"", "z0", "z1"}).Draw(t, "zone"),
	}
}

// agree checks that the order of what is asked does not matter.
func (a *assembly) agree(t *rapid.T) {
	one, ok := Voters(a.self, a.servers, a.nodes)
	two, again := Voters(a.self, rapid.Permutation(a.servers).Draw(t, "servers"), rapid.Permutation(a.nodes).Draw(t, "nodes"))
	if one != two || ok != again {
		t.Fatalf("in another order %+v is %+v", one, two)
	}
}

// checkChurn: no voter that could have stayed gave way to one of the same role or a worse one.
func (a *assembly) checkChurn(voted []proto.NodeName, nodes []Candidate) {
	for _, left := range voted {
		n := a.node(left)
		if a.server(left) >= 0 || n.Draining || n.Verdict != Lives {
			continue
		}
		for _, s := range a.servers {
			if !slices.Contains(voted, s.Name) && a.node(s.Name).Role <= n.Role {
				a.t.Fatalf("%s gave way to %s for nothing, of %+v", left, s.Name, nodes)
			}
		}
	}
}

// fataler lends an assembly the Fatalf of rapid's T.
type fataler struct {
	testing.TB
	t *rapid.T
}

func (f fataler) Helper()                           { f.t.Helper() }
func (f fataler) Fatalf(format string, args ...any) { f.t.Fatalf(format, args...) }

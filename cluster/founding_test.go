package cluster

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// kept returns what of these frames is of the type.
func kept(sends []Send, typ proto.FrameType) (frames []Send) {
	for _, s := range sends {
		if proto.FrameType(s.Frame[4]) == typ {
			frames = append(frames, s)
		}
	}
	return frames
}

func shard(id proto.NodeID, run proto.Incarnation) Node {
	name := proto.MakeNodeName(id, run)
	return Node{Name: name, Role: proto.RoleShard, Voter: name, Lanes: 1, Started: int64(run), Addresses: Addresses{Link: linkOf(name)}}
}

func router(id proto.NodeID, run proto.Incarnation) Node {
	n := shard(id, run)
	n.Role = proto.RoleRouter
	return n
}

func TestStartInAnyOrder(t *testing.T) {
	for seed := range int64(20) {
		l := newLab(t, seed)
		l.expect, l.followers = 3, 0
		ids := []proto.NodeID{"s1", "s2", "s3", "r1", "r2"}
		l.rnd.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		for _, id := range ids {
			role := proto.RoleShard
			if id[0] == 'r' {
				role = proto.RoleRouter
			}
			l.start(id, role)
			l.run(time.Duration(l.rnd.Intn(800)) * time.Millisecond)
		}
		l.settle()
		if len(l.paper.books) != 1 {
			t.Errorf("seed %d: %d clusters were founded", seed, len(l.paper.books))
		}
		for _, o := range l.paper.done {
			if o.Kind == OrderPropose || o.Kind == OrderFound && o.Founding.Generation != 0 {
				t.Errorf("seed %d: a start in peace needs no %+v", seed, o)
			}
		}
	}
}

func TestTooFewShardsDoNotFound(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	l := newLab(t, 1)
	l.expect, l.log = 3, zap.New(core)
	l.start("s1", proto.RoleShard)
	l.start("s2", proto.RoleShard)
	l.start("r1", proto.RoleRouter)
	l.run(12 * time.Second)
	for _, n := range l.nodes {
		if n.keeper.Table() != nil {
			t.Fatalf("%s has a table", n.name)
		}
	}
	if n := logs.FilterMessage("waiting for shards: have 2 of 3").Len(); n != 6 {
		t.Errorf("said %d times in 12 s by three nodes what is waited for, want 6", n)
	}
	l.start("s3", proto.RoleShard)
	l.settle()
}

func TestRouterNeverFounds(t *testing.T) {
	l := newLab(t, 1)
	r := l.start("r1", proto.RoleRouter)
	l.run(time.Minute)
	if r.keeper.Table() != nil || len(l.paper.books) != 0 {
		t.Error("a router founded a cluster")
	}
}

// TestListsThatDiffer: of three shards two do not see each other. Whatever is expected, nobody founds
// while the lists differ.
func TestListsThatDiffer(t *testing.T) {
	for _, expect := range []int{2, 3} {
		l := newLab(t, 1)
		l.expect = expect
		s1 := l.start("s1", proto.RoleShard)
		s3 := l.start("s3", proto.RoleShard)
		l.split([]*labNode{s1}, []*labNode{s3}, true)
		s2 := l.start("s2", proto.RoleShard)
		l.run(10 * time.Second)
		// s1 sees {s1 s2}, s2 sees {s1 s2 s3}, s3 sees {s2 s3}.
		if a, b, c := s1.keeper.shards, s2.keeper.shards, s3.keeper.shards; len(a) != 2 || len(b) != 3 || len(c) != 2 {
			t.Fatalf("the test errs: lists %v %v %v", a, b, c)
		}
		if len(l.paper.books) != 0 {
			t.Fatalf("expecting %d, a cluster was founded by a list that not all hold", expect)
		}
		l.split([]*labNode{s1}, []*labNode{s3}, false)
		l.settle()
	}
}

// A shard that has seeds hears first what they know, also when it would be enough by itself.
func TestSeededShardListensBeforeItFounds(t *testing.T) {
	self, r := shard("s1", 2), router("r1", 1)
	r.Instance = inst
	start := time.Unix(1, 0)
	for _, late := range []bool{false, true} {
		k := NewKeeper(KeeperConfig{Self: self.Name, Role: self.Role, Partitions: testPartitions, Seeded: true})
		k.SetRegister(start, Status{Voter: self.Name})
		k.SetNodes(start, []Node{self})
		if len(k.Orders()) != 0 {
			t.Fatal("it founded at once")
		}
		if !late {
			k.SetNodes(start.Add(foundingQuiet/2), []Node{r, self})
		}
		k.Tick(start.Add(2 * foundingQuiet))
		if founded := len(k.Orders()) == 1; founded != late {
			t.Errorf("founded is %v where somebody naming an instance being late is %v", founded, late)
		}
	}
}

// TestBond: who agreed with one founder agrees with no other for a while, whatever the others hold by
// then; and only with a founder who holds the same list, is its lowest, and is asked for a first
// founding by nobody who has a Table.
func TestBond(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	now := time.Unix(1, 0)
	k := NewKeeper(KeeperConfig{Self: s3.Name, Role: s3.Role, Partitions: testPartitions, Expect: 3})
	k.SetRegister(now, Status{Voter: s3.Name})
	k.SetNodes(now, []Node{s1, s2, s3})
	k.LinkUp(now, s1.Name)
	k.LinkUp(now, s2.Name)
	agrees := func(from Node, f proto.Founding, shards ...Node) bool {
		t.Helper()
		k.Take()
		var names []proto.NodeName
		for _, s := range shards {
			names = append(names, s.Name)
		}
		if err := k.Frame(now, from.Name, proto.FrameFound, AppendFound(nil, f, names)[proto.HeaderSize:]); err != nil {
			t.Fatal(err)
		}
		out := kept(k.Take(), proto.FrameAgree)
		if len(out) == 1 && out[0].To != from.Name {
			t.Errorf("asked by %s, it agrees with %s", from.Name, out[0].To)
		}
		return len(out) == 1
	}
	f, g := proto.Founding{Instance: inst}, proto.Founding{Instance: proto.Instance{2}}
	for what, asked := range map[string]bool{
		"a shorter list":                agrees(s1, f, s1, s3),
		"a longer list":                 agrees(s1, f, s1, s2, s3, shard("s4", 4)),
		"somebody who is not the first": agrees(s2, f, s1, s2, s3),
		"a recovery of nothing":         agrees(s1, proto.Founding{Instance: inst, Generation: 1}, s1, s2, s3),
	} {
		if asked {
			t.Errorf("agreed with %s", what)
		}
	}
	for range 2 { // the first answer may have been lost
		if !agrees(s1, f, s1, s2, s3) {
			t.Error("did not agree with the founder of the same list")
		}
	}
	s1.State = Dead
	k.LinkDown(now, s1.Name, EndBroken)
	k.SetNodes(now, []Node{s1, s2, s3})
	if agrees(s2, g, s2, s3) {
		t.Error("bound to one founder, it agreed with another")
	}
	now = now.Add(bondFor)
	if !agrees(s2, g, s2, s3) {
		t.Error("the bond did not lapse")
	}

	r := NewKeeper(KeeperConfig{Self: s3.Name, Role: proto.RoleRouter, Partitions: testPartitions, Expect: 3})
	r.SetNodes(now, []Node{s2, s3})
	r.LinkUp(now, s2.Name)
	r.Take()
	if err := r.Frame(now, s2.Name, proto.FrameFound, AppendFound(nil, g, r.shards)[proto.HeaderSize:]); err != nil || len(kept(r.Take(), proto.FrameAgree)) != 0 {
		t.Errorf("a router agrees to a founding, %v", err)
	}
}

// TestFounderDies: whenever the founder is killed, the others found or go on, and never two clusters
// live.
func TestFounderDies(t *testing.T) {
	hunt(t, func(t *rapid.T) {
		l := newLab(t, rapid.Int64().Draw(t, "seed"))
		l.expect = 3
		l.loss = rapid.Float64Range(0, 0.5).Draw(t, "loss")
		s1 := l.start("s1", proto.RoleShard)
		rest := []*labNode{l.start("s2", proto.RoleShard), l.start("s3", proto.RoleShard), l.start("s4", proto.RoleShard)}
		l.run(foundingQuiet + time.Duration(rapid.IntRange(0, 60).Draw(t, "until killed"))*step)
		l.kill(s1)
		l.run(time.Duration(rapid.IntRange(0, 1500).Draw(t, "until judged")) * time.Millisecond)
		l.judge(s1)
		l.loss = 0
		l.trusts = true // whoever is left may have to recover
		l.recoverIfNeeded(20 * time.Second)
		l.settle()
		instance := rest[0].keeper.Instance()
		if slices.ContainsFunc(rest, func(n *labNode) bool { return n.keeper.Instance() != instance }) {
			t.Fatalf("two clusters live")
		}
	})
}

// recoverIfNeeded is an operator who waits until all is well, and recovers what did not by itself.
func (l *lab) recoverIfNeeded(patience time.Duration) {
	l.t.Helper()
	for end := l.now.Add(patience); l.now.Before(end); l.run(500 * time.Millisecond) {
		if l.agreed() == "" {
			return
		}
	}
	for range 3 {
		for _, n := range l.alive() {
			if n.role == proto.RoleShard && n.keeper.Leader(l.now) == "" && n.keeper.Table() != nil {
				if err := n.keeper.Recover(l.now); err != nil {
					l.t.Fatalf("%s cannot recover: %v", n.name, err)
				}
				l.after(n)
				break
			}
		}
		l.run(recoverFor + 2*time.Second)
	}
}

// While the register is asked to found, nothing else may be agreed to or begun, whoever comes and goes.
func TestFoundingUnderWay(t *testing.T) {
	s0, s1, s2 := shard("s0", 9), shard("s1", 1), shard("s2", 2)
	now := time.Unix(1, 0)
	k := NewKeeper(KeeperConfig{Self: s1.Name, Role: s1.Role, Partitions: testPartitions, Expect: 2})
	k.SetRegister(now, Status{Voter: s1.Name})
	k.SetNodes(now, []Node{s1, s2})
	k.LinkUp(now, s2.Name)
	now = now.Add(foundingQuiet)
	k.Tick(now)
	f := k.attempt.founding
	if err := k.Frame(now, s2.Name, proto.FrameAgree, AppendAgree(nil, f)[proto.HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	orders := k.Orders()
	if len(orders) != 1 || orders[0].Order.Kind != OrderFound {
		t.Fatalf("orders %+v", orders)
	}
	k.SetNodes(now, []Node{s1}) // for a moment they are too few
	k.SetNodes(now, []Node{s0, s1})
	k.LinkUp(now, s0.Name)
	k.Take()
	f = proto.Founding{Instance: inst}
	if err := k.Frame(now, s0.Name, proto.FrameFound, AppendFound(nil, f, k.shards)[proto.HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	if len(kept(k.Take(), proto.FrameAgree)) != 0 {
		t.Error("it founds one cluster and agrees to another")
	}
	theirs, _ := exampleTables()
	rows := make([]Row, testPartitions)
	if err := k.Frame(now, s0.Name, proto.FrameTable, AppendTable(nil, NewTable(theirs.Head, rows))[proto.HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	if k.Table() != nil {
		t.Error("it founds one cluster and takes another's table")
	}
	if more := k.Orders(); len(more) != 0 {
		t.Errorf("more orders: %+v", more)
	}
}

// A first shard without seeds that comes back as a new run founds before anybody has found it. It
// gives that cluster up for the one that its routers wait for, but only while nobody shares it.
func TestLoneFounderGivesUp(t *testing.T) {
	r := router("r1", 1)
	r.Instance = inst
	now := time.Unix(1, 0)
	for _, shared := range []bool{false, true} {
		self := shard("s1", 2)
		k := NewKeeper(KeeperConfig{Self: self.Name, Role: self.Role, Partitions: testPartitions})
		local := NewLocal(self.Name)
		k.SetRegister(now, local.Status())
		k.SetNodes(now, []Node{self})
		carryOut := func() (kinds []OrderKind) {
			for _, i := range k.Orders() {
				kinds = append(kinds, i.Order.Kind)
				before := local.Status()
				local.Do(i.Order, func(err error) {
					k.SetRegister(now, before) // an older change was on its way
					k.SetRegister(now, local.Status())
					k.Done(now, i.Number, err)
				})
			}
			return kinds
		}
		if carryOut(); k.Table() == nil {
			t.Fatal("it did not found")
		}
		own := k.Founding()
		if shared {
			r2 := router("r2", 1)
			r2.Instance = own.Instance
			k.SetNodes(now, []Node{r2, self})
		}
		k.SetNodes(now, []Node{r, self})
		if kinds := carryOut(); slices.Contains(kinds, OrderReset) == shared || (k.Founding() == own) != shared {
			t.Errorf("orders %v, founding %v, where another shares it: %v", kinds, k.Founding(), shared)
		}
		if shared {
			continue
		}
		k.LinkUp(now, r.Name)
		theirs := NewTable(Head{Instance: inst, Version: 9, Voters: []proto.NodeName{proto.MakeNodeName("s1", 1)}}, make([]Row, testPartitions))
		if err := k.Frame(now, r.Name, proto.FrameTable, AppendTable(nil, theirs)[proto.HeaderSize:]); err != nil {
			t.Fatal(err)
		}
		if k.Table().Mark() != theirs.Mark() {
			t.Errorf("after the router's table it holds %+v", k.Table())
		}
	}
}

// TestRestartedFounder is the same with everybody there: the router remembers, the new run of the only
// shard is let in by it, and the cluster goes on in the next generation under higher terms.
func TestRestartedFounder(t *testing.T) {
	l := newLab(t, 1)
	old := l.start("s1", proto.RoleShard)
	r := l.start("r1", proto.RoleRouter)
	l.settle()
	before := r.keeper.Table()
	l.kill(old)
	again := l.start("s1", proto.RoleShard)
	l.settle()
	after := r.keeper.Table()
	if after.Instance != before.Instance || after.Founding().Generation != 1 {
		t.Errorf("from %+v to %+v", before.Head, after.Head)
	}
	for p, row := range after.Rows() {
		if row.Owner != again.name || row.Since != row.Term || row.Term.Generation() != 1 {
			t.Fatalf("partition %d is %+v", p, row)
		}
	}
	if runs := again.keeper.View().Runs("s1"); len(runs) != 1 {
		t.Errorf("%d runs of s1 are listed, the old one should be superseded", len(runs))
	}
}

// TestNobodyRemembers: a new run of the only node of a cluster founds another one.
func TestNobodyRemembers(t *testing.T) {
	l := newLab(t, 1)
	old := l.start("s1", proto.RoleShard)
	l.settle()
	l.kill(old)
	l.judge(old)
	again := l.start("s1", proto.RoleShard)
	l.settle()
	if again.keeper.Instance() == old.keeper.Instance() {
		t.Error("a process without memory goes on with the old instance")
	}
}

// TestOnlyVoterGone: the others recover by themselves when the only voter is dead for certain: it left,
// or a later run without its log answers where it did. Not when it was merely killed, or comes back
// with its log.
func TestOnlyVoterGone(t *testing.T) {
	for name, c := range map[string]struct {
		end        func(*lab, *labNode)
		generation uint32
	}{
		"left":                    {func(l *lab, n *labNode) { l.leave(n) }, 1},
		"replaced":                {func(l *lab, n *labNode) { l.kill(n); l.start("s1", proto.RoleShard) }, 1},
		"killed":                  {func(l *lab, n *labNode) { l.kill(n) }, 0},
		"silent":                  {func(l *lab, n *labNode) { l.vanish(n) }, 0},
		"back with its log":       {func(l *lab, n *labNode) { l.kill(n); l.restart("s1", n.role, n.log) }, 0},
		"left, back with its log": {func(l *lab, n *labNode) { l.leave(n); l.restart("s1", n.role, n.log) }, 0},
		"replaced, and back again": {func(l *lab, n *labNode) {
			l.kill(n)
			l.kill(l.start("s1", proto.RoleShard))
			l.start("s1", proto.RoleShard)
		}, 1},
	} {
		l := newLab(t, 1)
		s := l.shards(2)
		l.trusts = true
		c.end(l, s[0])
		l.judge(s[0])
		l.run(20 * time.Second)
		if g := s[1].keeper.Founding().Generation; g != c.generation {
			t.Errorf("%s: generation %d, want %d", name, g, c.generation)
		}
		if c.generation == 1 {
			l.settle()
		}
		if back := l.node(s[1].keeper.Table().Row(0).Owner); c.generation == 0 && name != "killed" && name != "silent" && back == nil {
			t.Errorf("%s: partition 0 is owned by nobody who lives", name)
		}
	}
}

// TestVoterOfAnotherRun: the only voter is a later run on an older run's disk. That the older run is
// dead for certain says nothing of it: silence must not recover the cluster, else there are two.
func TestVoterOfAnotherRun(t *testing.T) {
	for name, end := range map[string]func(*lab, *labNode){
		"killed": func(l *lab, n *labNode) { l.kill(n) },
		"left":   func(l *lab, n *labNode) { l.leave(n) },
	} {
		l := newLab(t, 1)
		s := l.shards(2)
		end(l, s[0])
		l.judge(s[0])
		again := l.restart("s1", proto.RoleShard, s[0].log)
		l.settle()
		l.split([]*labNode{again}, []*labNode{s[1]}, true)
		l.run(time.Minute)
		l.dir.Forget(again.name) // as gossip does in the end
		l.dir.Forget(s[0].name)
		l.run(time.Minute)
		if len(l.paper.books) != 1 {
			t.Errorf("first run %s: while its second is silent the cluster was founded anew", name)
		}
	}
}

// TestOnlyVoterMayBeBack: a later run answers where the only voter was, or links, and gossip has not told
// yet whether it has the log. Nobody recovers before that is known: there would be two majorities.
func TestOnlyVoterMayBeBack(t *testing.T) {
	s1, r1, back, empty := shard("s1", 1), router("r1", 1), router("r1", 2), router("r1", 2)
	for _, n := range []*Node{&r1, &back, &empty} {
		n.Instance = inst
	}
	back.Voter = r1.Voter
	left := func(d *desk) { d.k.LinkDown(d.now, r1.Name, EndLeft) }
	replaced := func(d *desk) {
		d.k.LinkDown(d.now, r1.Name, EndBroken)
		d.k.SetFate(d.now, r1.Name, FateReplaced)
	}
	links := func(d *desk) { d.k.LinkUp(d.now, back.Name) }
	gossip := func(n Node) func(*desk) {
		return func(d *desk) { d.k.SetNodes(d.now, []Node{s1, n}) }
	}
	for name, c := range map[string]struct {
		end, at, later func(*desk) // later is while the recovery would be under way
		recovers       bool
	}{
		"it left":                               {end: left, recovers: true},
		"it left, and a later run links":        {end: left, at: links},
		"it left, and a later run links late":   {end: left, later: links},
		"it left, and is back with its log":     {end: left, later: gossip(back)},
		"it is replaced":                        {end: replaced},
		"it is replaced, and that links":        {end: replaced, at: links},
		"it is replaced by one without its log": {end: replaced, at: gossip(empty), recovers: true},
		"it is replaced by one with its log":    {end: replaced, at: gossip(back)},
	} {
		d := newDesk(t, 0, s1)
		d.k.SetNodes(d.now, []Node{s1, r1})
		d.k.LinkUp(d.now, r1.Name)
		head := d.reg.Table.Head
		head.Version, head.Voters = head.Version+1, []proto.NodeName{r1.Name}
		d.reg.Term, d.reg.Table = 0, NewTable(head, listed(d.reg.Table))
		d.k.SetRegister(d.now, d.reg)
		d.pass(leaderQuiet) // nobody leads, as far as anybody here has heard
		c.end(d)
		if c.at != nil {
			c.at(d)
		}
		d.pass(foundingQuiet / 2)
		if c.later != nil {
			c.later(d)
		}
		d.pass(10 * foundingQuiet)
		found := func(i Issue) bool { return i.Order.Kind == OrderFound }
		if recovers := slices.ContainsFunc(d.k.Orders(), found); recovers != c.recovers {
			t.Errorf("%s: recovers is %v", name, recovers)
		}
	}
}

// TestNewRunOfTheOnlyVoter: the new run of the only shard and voter may never hear of the old one but by
// the Table: the router's gossip has dropped it by then. That it answers at the address itself is enough
// to know that the log is lost; from elsewhere it is not.
func TestNewRunOfTheOnlyVoter(t *testing.T) {
	old, self, r1 := shard("s1", 1), shard("s1", 2), router("r1", 1)
	r1.Instance = inst
	for link, recovers := range map[string]bool{self.Addresses.Link: true, "elsewhere:7400": false} {
		now := time.Unix(1_000, 0)
		k := NewKeeper(KeeperConfig{Self: self.Name, Role: self.Role, Partitions: testPartitions, Seeded: true})
		k.SetRegister(now, Status{Voter: self.Name})
		k.SetNodes(now, []Node{r1, self})
		k.LinkUp(now, r1.Name)
		rows := make([]Row, testPartitions)
		for p := range rows {
			rows[p] = Row{Owner: old.Name, Term: 1, Since: 1}
		}
		head := Head{Instance: inst, Version: 2, Settings: plan.DefaultSettings(), Voters: []proto.NodeName{old.Name}, Addresses: []Address{{old.Name, link}}}
		if err := k.Frame(now, r1.Name, proto.FrameTable, AppendTable(nil, NewTable(head, rows))[proto.HeaderSize:]); err != nil {
			t.Fatal(err)
		}
		if err := k.Frame(now, r1.Name, proto.FrameWitness, AppendWitness(nil, []Death{{old.Name, FateReplaced}})[proto.HeaderSize:]); err != nil {
			t.Fatal(err)
		}
		found := false
		for end := now.Add(20 * time.Second); now.Before(end); now = now.Add(100 * time.Millisecond) {
			k.Tick(now)
			if job, ok := k.Job(); ok {
				k.Placed(now, job.remembered())
			}
			found = found || slices.ContainsFunc(k.Orders(), func(i Issue) bool { return i.Order.Kind == OrderFound })
		}
		if found != recovers {
			t.Errorf("the old run's address was %s: recovers is %v", link, found)
		}
	}
}

// TestRecover: the majority is gone. What an operator starts at one shard takes every living node's
// copy into account and is agreed to by all living shards.
func TestRecover(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(5)
	r := l.start("r1", proto.RoleRouter)
	l.settle()
	if err := s[4].keeper.Recover(l.now); !errors.Is(err, ErrMajority) {
		t.Errorf("recover beside a leader: %v", err)
	}
	// The last change is known to the router alone.
	l.loss = 1
	for _, n := range s[3:] {
		l.cutPair(n, s[0], true)
		l.cutPair(n, s[1], true)
		l.cutPair(n, s[2], true)
	}
	for _, n := range s[:3] {
		l.vanish(n)
	}
	l.loss = 0
	last := r.keeper.Table()
	next := last.WithVoters(last.Voters)
	l.paper.books[last.Founding()].pages = append(l.paper.books[last.Founding()].pages, page{table: next})
	if err := r.keeper.Frame(l.now, s[3].name, proto.FrameTable, AppendTable(nil, next)[proto.HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	l.run(leaderQuiet + time.Second)
	for _, n := range l.alive() {
		if n.keeper.Leader(l.now) != "" || !n.keeper.Stance(l.now).Relieved && n.role == proto.RoleRouter {
			t.Errorf("%s stands at %+v", n.name, n.keeper.Stance(l.now))
		}
	}
	if err := r.keeper.Recover(l.now); err == nil {
		t.Error("a router recovers")
	}
	for _, n := range s[:3] {
		l.judge(n)
	}
	l.trusts = true
	for _, n := range []*labNode{s[3], s[4]} { // both at once
		if err := n.keeper.Recover(l.now); err != nil {
			t.Fatal(err)
		}
		l.after(n)
	}
	l.settle()
	now := r.keeper.Table()
	if now.Founding() != (proto.Founding{Instance: last.Instance, Generation: 1}) || uint32(now.Version) <= uint32(next.Version) {
		t.Errorf("from %+v to %+v", next.Head, now.Head)
	}
	for p, row := range now.Rows() {
		was := last.Row(p)
		lives := was.Owner == s[3].name || was.Owner == s[4].name
		if lives && row.Since != was.Since || !lives && row.Since.Generation() != 1 || row.Term.Generation() != 1 {
			t.Errorf("partition %d went from %+v to %+v", p, was, row)
		}
	}
}

// TestRecoverFetchesTheNewestCopy: a newer copy that comes because it was asked for does not end the
// recovery that asked.
func TestRecoverFetchesTheNewestCopy(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(3)
	r := l.start("r1", proto.RoleRouter)
	l.settle()
	l.vanish(s[1])
	l.vanish(s[2])
	l.run(leaderQuiet + 2*time.Second)
	last := r.keeper.Table()
	next := last.WithVoters(last.Voters)
	b := l.paper.books[last.Founding()]
	b.pages = append(b.pages, page{next, b.last().servers})
	l.trusts = true
	if err := s[0].keeper.Recover(l.now); err != nil {
		t.Fatal(err)
	}
	if err := r.keeper.Frame(l.now, s[0].name, proto.FrameTable, AppendTable(nil, next)[proto.HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	l.judge(s[1])
	l.judge(s[2])
	l.run(5 * time.Second)
	if now := s[0].keeper.Table(); now.Founding().Generation != 1 || uint32(now.Version) <= uint32(next.Version) {
		t.Errorf("from %+v to %+v", next.Head, now.Head)
	}
}

// TestRecoverNeedsAllShards: while one living shard does not agree there is no recovery; it gives up
// after a while and can be asked again.
func TestRecoverNeedsAllShards(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(4)
	l.vanish(s[0])
	l.vanish(s[1])
	l.run(leaderQuiet + 3*time.Second)
	if l.leader() != nil { // three of the four voted
		t.Fatal("the test errs: there is a leader")
	}
	l.trusts = true
	l.judge(s[0])
	l.judge(s[1])
	silent := l.now
	for l.now.Sub(silent) < recoverFor+time.Second {
		if s[2].keeper.attempt == nil && l.now == silent {
			if err := s[2].keeper.Recover(l.now); err != nil {
				t.Fatal(err)
			}
		}
		l.wires = slices.DeleteFunc(l.wires, func(w wire) bool { return w.from == s[3].name && proto.FrameType(w.frame[4]) == proto.FrameAgree })
		l.run(step)
	}
	if len(l.paper.books) != 1 || s[2].keeper.attempt != nil {
		t.Errorf("%d foundings, attempt %+v, without the agreement of a living shard", len(l.paper.books), s[2].keeper.attempt)
	}
	if err := s[2].keeper.Recover(l.now); err != nil {
		t.Fatal(err)
	}
	l.run(3 * time.Second)
	if s[3].keeper.Founding().Generation != 1 {
		t.Error("asked again, it did not recover")
	}
}

// TestAgreementAges: what a shard agreed to counts no longer than it is bound.
func TestAgreementAges(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(3)
	l.vanish(s[0]) // of three voters two are left: gone on paper only
	k, other := s[1].keeper, s[2].name
	b := l.paper.books[k.Founding()]
	_ = b
	now := l.now.Add(time.Minute)
	f := k.Founding()
	f.Generation++
	k.reg = Status{Voter: s[1].name}
	k.leader = leader{}
	k.LinkDown(now, s[0].name, EndSilent)
	k.SetFate(now, s[0].name, FateReplaced)
	if err := k.Recover(now); err != nil {
		t.Fatal(err)
	}
	if k.attempt == nil {
		t.Fatal("no attempt")
	}
	agree := AppendAgree(nil, f)[proto.HeaderSize:]
	k.attempt.shards = k.recoverers()
	if err := k.Frame(now, other, proto.FrameAgree, agree); err != nil {
		t.Fatal(err)
	}
	k.Orders()
	k.Tick(now.Add(bondFor))
	if job, ok := k.Job(); ok {
		k.Placed(now.Add(bondFor), job.remembered())
	}
	if orders := k.Orders(); len(orders) != 0 {
		t.Errorf("an agreement of %v ago counts: %+v", bondFor, orders)
	}
	if err := k.Frame(now.Add(bondFor), other, proto.FrameAgree, agree); err != nil {
		t.Fatal(err)
	}
	if orders := k.Orders(); len(orders) != 1 || orders[0].Order.Kind != OrderFound {
		t.Errorf("a fresh agreement does not count: %+v", orders)
	}
}

// TestForsake: a voter of an older generation comes back to a recovered cluster. Its log is thrown away,
// once, and it takes part again.
func TestForsake(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(5)
	for _, n := range s[:3] {
		l.vanish(n)
		l.judge(n)
	}
	disk := s[0].log
	l.run(leaderQuiet + 2*time.Second)
	l.trusts = true
	if err := s[3].keeper.Recover(l.now); err != nil {
		t.Fatal(err)
	}
	l.settle()
	s[0].hidden = false
	again := l.restart("s1", proto.RoleShard, disk)
	l.settle()
	if again.log.founding.Generation != 1 || again.keeper.Founding().Generation != 1 {
		t.Errorf("its log is of %+v", again.log)
	}
	resets := 0
	for _, o := range l.paper.done {
		if o.Kind == OrderReset {
			resets++
		}
	}
	if resets != 2 { // s5's, when it took the new table, and that of the one that came back
		t.Errorf("%d resets, want 2", resets)
	}
}

// TestAgreesToRecover: only to the next generation of this cluster, by all the living shards that it
// sees itself, and while it hears no leader.
func TestAgreesToRecover(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	next := proto.Founding{Instance: inst, Generation: 1}
	all := []proto.NodeName{s1.Name, s2.Name, s3.Name}
	for name, c := range map[string]struct {
		founding proto.Founding
		shards   []proto.NodeName
		led      bool
		agrees   bool
	}{
		"the next generation":        {next, all, false, true},
		"this generation":            {proto.Founding{Instance: inst}, all, false, false},
		"the one after the next":     {proto.Founding{Instance: inst, Generation: 2}, all, false, false},
		"another instance":           {proto.Founding{Instance: proto.Instance{9}, Generation: 1}, all, false, false},
		"without one that it sees":   {next, all[:2], false, false},
		"while it hears of a leader": {next, all, true, false},
	} {
		d := newDesk(t, 0, s1, s2, s3)
		d.reg.Term = 0
		head := d.reg.Table.Head
		head.Version++
		head.Voters = []proto.NodeName{s1.Name, s2.Name, s3.Name}
		d.reg.Table = NewTable(head, listed(d.reg.Table))
		d.k.SetRegister(d.now, d.reg)
		d.pass(leaderQuiet)
		if c.led {
			d.frame(s3, proto.FrameVersion, AppendVersion(nil, Announcement{Instance: inst, Mark: d.k.Table().Mark(), Term: 2}))
		}
		d.k.Take()
		d.frame(s2, proto.FrameFound, AppendFound(nil, c.founding, c.shards))
		if agreed := len(kept(d.k.Take(), proto.FrameAgree)) == 1; agreed != c.agrees {
			t.Errorf("%s: agreed is %v", name, agreed)
		}
	}
}

package cluster

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// execute has the desk's register apply a command, without answering it.
func (d *desk) execute(i Issue) {
	d.t.Helper()
	next, err := d.reg.Table.Execute(i.Order.Command, d.reg.Term)
	if err != nil {
		d.t.Fatalf("%+v is refused: %v", i.Order.Command, err)
	}
	d.reg.Table = next
	d.reg.Applied++
}

// commit applies a command and says so.
func (d *desk) commit(i Issue) {
	d.t.Helper()
	d.execute(i)
	d.k.SetRegister(d.now, d.reg)
	d.k.Done(d.now, i.Number, nil)
}

// TestOneCommandAtATime: the next decision waits until the last is answered, and is made on what the
// Table has become.
func TestOneCommandAtATime(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	d.k.LinkDown(d.now, s3.Name, EndLeft)
	first := d.commands()
	if len(first) != 1 {
		t.Fatalf("commands %+v", first)
	}
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	d.pass(time.Second)
	if more := d.commands(); len(more) != 0 {
		t.Errorf("while one is under way: %+v", more)
	}
	d.execute(first[0])
	d.k.SetRegister(d.now, d.reg)
	if more := d.commands(); len(more) != 0 {
		t.Errorf("before it is answered: %+v", more)
	}
	d.k.Done(d.now, first[0].Number, nil)
	second := d.commands()
	if len(second) != 1 {
		t.Fatalf("after it is answered: %+v", second)
	}
	d.commit(second[0])
	for p, row := range d.k.Table().Rows() {
		if row.Owner != s1.Name {
			t.Errorf("partition %d is owned by %s", p, row.Owner)
		}
	}
	if more := d.commands(); len(more) != 0 {
		t.Errorf("all is well, and yet %+v", more)
	}
}

// TestFailedCommand: it is tried again after a moment; not if it took effect all the same.
func TestFailedCommand(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	for _, committed := range []bool{false, true} {
		d := newDesk(t, 0, s1, s2, s3)
		d.k.LinkDown(d.now, s3.Name, EndLeft)
		first := d.commands()
		if len(first) != 1 {
			t.Fatalf("commands %+v", first)
		}
		if committed {
			d.execute(first[0])
			d.k.SetRegister(d.now, d.reg)
		}
		d.k.Done(d.now, first[0].Number, errors.New("leadership lost while committing"))
		if more := d.commands(); len(more) != 0 {
			t.Errorf("at once after a failure: %+v", more)
		}
		d.pass(retryAfter)
		if more := d.commands(); (len(more) == 1) == committed {
			t.Errorf("committed is %v, and then: %+v", committed, more)
		}
	}
}

// TestDecidesOnTheAppliedTable: a leader whose copy is ahead of what its register has applied decides
// nothing; one whose copy came over a link, and says the same, does.
func TestDecidesOnTheAppliedTable(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	d.reg.Term = 0
	d.k.SetRegister(d.now, d.reg)
	next := d.reg.Table.WithVoters(d.reg.Table.Voters)
	delta := next.Since(d.reg.Table)
	d.frame(s2, proto.FrameDelta, AppendDelta(nil, &delta))
	if d.k.Table().Version != next.Version {
		t.Fatal("the delta was not taken")
	}
	d.k.LinkDown(d.now, s3.Name, EndLeft)
	d.reg.Term = 2
	d.k.SetRegister(d.now, d.reg)
	d.pass(time.Second)
	if list := d.commands(); len(list) != 0 {
		t.Errorf("decided on what its register does not know: %+v", list)
	}
	d.reg.Table = next
	d.k.SetRegister(d.now, d.reg)
	if list := d.commands(); len(list) != 1 || list[0].Order.Command.Term != 2 {
		t.Errorf("the register has caught up, and: %+v", list)
	}
}

// TestNothingIsDecidedByFollowers: who does not lead orders nothing, whoever dies.
func TestNothingIsDecidedByFollowers(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	d.reg.Term = 0
	d.k.SetRegister(d.now, d.reg)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	d.k.LinkDown(d.now, s3.Name, EndSilent)
	d.pass(10 * time.Second)
	if orders := d.k.Orders(); len(orders) != 0 {
		t.Errorf("orders of a follower: %+v", orders)
	}
}

// TestAnotherReign: what was under way in the last reign neither blocks this one nor counts in it.
func TestAnotherReign(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	for name, next := range map[string]func(*Status){
		"another term":       func(s *Status) { s.Term = 2 },
		"another generation": func(s *Status) { s.Founding.Generation = 1; s.Table = inGeneration(s.Table, 1) },
	} {
		d := newDesk(t, 0, s1, s2, s3)
		d.k.LinkDown(d.now, s3.Name, EndLeft)
		first := d.commands()
		next(&d.reg)
		d.k.SetRegister(d.now, d.reg)
		second := d.commands()
		if len(first) != 1 || len(second) != 1 || second[0].Order.Command.Term != d.reg.Term {
			t.Fatalf("%s: %+v and %+v", name, first, second)
		}
		d.k.Done(d.now, first[0].Number, nil)
		d.pass(time.Second)
		if more := d.commands(); len(more) != 0 {
			t.Errorf("%s: the answer to an old order lets another out: %+v", name, more)
		}
	}
}

func inGeneration(t *Table, generation uint32) *Table {
	head := t.Head
	head.Version |= uint64(generation) << 32
	return NewTable(head, listed(t))
}

// TestQuicken: who follows has its register elect at once when the leader is dead for certain, and only
// then.
func TestQuicken(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	quickened := func(d *desk) bool {
		return slices.ContainsFunc(d.k.Orders(), func(i Issue) bool { return i.Order.Kind == OrderQuicken })
	}
	d := newDesk(t, 0, s1, s2, s3)
	d.reg.Term = 0
	d.k.SetRegister(d.now, d.reg)
	d.frame(s2, proto.FrameVersion, AppendVersion(nil, Announcement{Instance: inst, Mark: d.k.Table().Mark(), Term: 2}))
	d.k.LinkDown(d.now, s3.Name, EndLeft)
	if quickened(d) {
		t.Error("another node's death quickens the election")
	}
	d.k.LinkDown(d.now, s2.Name, EndBroken)
	d.pass(time.Second)
	if quickened(d) {
		t.Error("silence quickens the election")
	}
	d.k.SetFate(d.now, s2.Name, FateReplaced)
	if !quickened(d) {
		t.Error("the leader is dead, and nobody hurries")
	}
}

// voterOrders are the orders about voters since the last call.
func (d *desk) voterOrders() (list []Issue) {
	for _, i := range d.k.Orders() {
		if i.Order.Kind != OrderPropose {
			list = append(list, i)
		}
	}
	return list
}

// TestVotersAreAdded: one step at a time, and a learner votes when it has caught up.
func TestVotersAreAdded(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	d.reg.Term, d.reg.Applied = 2, 1000
	d.k.SetRegister(d.now, d.reg) // a reign begins, and with it the first step
	d.pass(judgeAfter)
	list := d.voterOrders()
	if len(list) != 1 || list[0].Order.Kind != OrderAddLearner || list[0].Order.Voter != s2.Voter {
		t.Fatalf("orders %+v", list)
	}
	d.pass(time.Second)
	if more := d.voterOrders(); len(more) != 0 {
		t.Errorf("while one is under way: %+v", more)
	}
	d.reg.Servers = []plan.Server{{Name: s1.Voter, Voter: true}, {Name: s2.Voter}, {Name: s3.Voter}}
	d.reg.Applied++
	d.k.SetRegister(d.now, d.reg)
	d.k.Done(d.now, list[0].Number, nil)
	for name, said := range map[string]Announcement{
		"nothing":             {Instance: inst, Mark: d.k.Table().Mark()},
		"too little":          {Instance: inst, Mark: d.k.Table().Mark(), Applied: d.reg.Applied - caughtUp - 1},
		"of another log":      {Instance: inst, Mark: Mark{Version: 1 << 32}, Applied: d.reg.Applied},
		"of another instance": {Instance: proto.Instance{9}, Mark: d.k.Table().Mark(), Applied: d.reg.Applied},
	} {
		d.frame(s2, proto.FrameVersion, AppendVersion(nil, said))
		d.pass(time.Second)
		for _, i := range d.voterOrders() {
			if i.Order.Kind == OrderPromote {
				t.Errorf("a learner that has %s gets its vote", name)
			}
			d.k.Done(d.now, i.Number, errors.New("no"))
		}
	}
	d.pass(orderPatience)
	d.voterOrders()
	d.frame(s2, proto.FrameVersion, AppendVersion(nil, Announcement{Instance: inst, Mark: d.k.Table().Mark(), Applied: d.reg.Applied - caughtUp}))
	d.pass(time.Second)
	if list := d.voterOrders(); len(list) != 1 || list[0].Order.Kind != OrderPromote || list[0].Order.Voter != s2.Voter {
		t.Errorf("it has caught up, and: %+v", list)
	}
}

// TestUnseenVoters: after a restart of everything the leader may be there before the others are seen.
// They are given time, like everybody.
func TestUnseenVoters(t *testing.T) {
	s1 := shard("s1", 1)
	d := newDesk(t, 0, s1)
	d.reg.Term = 2
	for _, v := range []proto.NodeID{"s2", "s3"} {
		d.reg.Servers = append(d.reg.Servers, plan.Server{Name: proto.MakeNodeName(v, 5), Voter: true})
	}
	d.k.SetRegister(d.now, d.reg)
	d.pass(unseenGrace - 200*time.Millisecond)
	if list := d.voterOrders(); len(list) != 0 {
		t.Errorf("voters that were not seen yet are removed: %+v", list)
	}
	d.pass(time.Second)
	if list := d.voterOrders(); len(list) != 1 || list[0].Order.Kind != OrderRemove {
		t.Errorf("voters that nobody has seen for long stay: %+v", list)
	}
}

// TestVotersFollow runs whole clusters: voters come, go and are replaced.
func TestVotersFollow(t *testing.T) {
	for seed := range int64(5) {
		l := newLab(t, seed)
		s := l.shards(3)
		r := l.start("r1", proto.RoleRouter)
		l.settle()
		dead := l.leader()
		l.kill(dead)
		l.judge(dead)
		l.settle()
		if voters := l.leader().keeper.Table().Voters; slices.Contains(voters, dead.log.voter) || !slices.Contains(voters, r.log.voter) {
			t.Errorf("seed %d: after %s died the voters are %v", seed, dead.name, voters)
		}
		again := l.start(dead.name.ID(), proto.RoleShard)
		l.settle()
		l.until("shards vote before routers", 15*time.Second, func() bool {
			voters := l.leader()
			return voters != nil && slices.Contains(voters.keeper.Table().Voters, again.log.voter) && !slices.Contains(voters.keeper.Table().Voters, r.log.voter)
		})
		l.until("a router without a part in the register may go", time.Second, func() bool { return r.keeper.Stance(l.now).Relieved })
		for _, n := range s {
			if !n.dead && n.keeper.Stance(l.now).Relieved {
				t.Errorf("seed %d: %s votes and may go", seed, n.name)
			}
		}
	}
}

// TestLeaderDrains: it hands its lead over, is replaced, and may go.
func TestLeaderDrains(t *testing.T) {
	l := newLab(t, 1)
	l.shards(3)
	l.start("s4", proto.RoleShard)
	l.settle()
	n := l.leader()
	n.static.Announce(Announced{Instance: n.said.Instance, Voter: n.said.Voter, Draining: true})
	if n.keeper.Stance(l.now).Relieved {
		t.Error("it may go before anybody took its place")
	}
	l.until("the leader that drains may go", 15*time.Second, func() bool { return n.keeper.Stance(l.now).Relieved })
	if lead := l.leader(); lead == n || lead == nil || slices.Contains(lead.keeper.Table().Voters, n.log.voter) {
		t.Errorf("it may go, and still has a part: %+v", n.keeper.reg)
	}
}

// TestLeaderKilled: another one leads, and what the dead one owned goes on where it was followed; nothing
// begins anew. Without followers it does.
func TestLeaderKilled(t *testing.T) {
	for seed := range int64(10) {
		l := newLab(t, seed)
		l.followers = int(seed % 2)
		l.shards(3)
		r := l.start("r1", proto.RoleRouter)
		l.settle()
		dead := l.leader()
		before := r.keeper.Table()
		l.kill(dead)
		l.run(200 * time.Millisecond)
		if Settled(r.keeper.View(), r.keeper.Ring(), r.keeper.Table()) {
			t.Error("settled, although a shard is missing")
		}
		l.judge(dead)
		began := l.now
		l.until("another owns what it had", 3*time.Second, func() bool { return r.keeper.Table().named[dead.name].owned == 0 })
		t.Logf("seed %d: after %v", seed, l.now.Sub(began))
		for p, row := range r.keeper.Table().Rows() {
			old := before.Row(p)
			switch {
			case l.followers > 0 && row.Since != old.Since:
				t.Errorf("partition %d begins anew: it went from %+v to %+v", p, old, row)
			case l.followers > 0 && old.Owner == dead.name && row.Owner != old.Followers[0]:
				t.Errorf("partition %d of the dead went from %+v to %+v", p, old, row)
			case l.followers == 0 && old.Owner == dead.name && (row.Term != old.Term+1 || row.Since != row.Term):
				t.Errorf("partition %d of the dead went from %+v to %+v", p, old, row)
			case l.followers == 0 && old.Owner != dead.name && !row.Equal(old):
				t.Errorf("partition %d of the living went from %+v to %+v", p, old, row)
			}
		}
		l.settle()
	}
}

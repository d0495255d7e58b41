package cluster

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// handedOff counts the commits in which partitions got other owners, by partition. Nothing may begin anew.
func (l *lab) handedOff(since uint64) map[proto.Partition]int {
	l.t.Helper()
	count := make(map[proto.Partition]int)
	b := l.paper.books[l.leader().log.founding]
	for i := 1; i < len(b.pages); i++ {
		old, next := b.pages[i-1].table, b.pages[i].table
		if old.Version < since {
			continue
		}
		for p := range proto.Partition(testPartitions) {
			if old.Row(p).Owner != next.Row(p).Owner {
				count[p]++
			}
			if old.Row(p).Since != next.Row(p).Since {
				l.t.Fatalf("partition %d begins anew: %+v, %+v", p, old.Row(p), next.Row(p))
			}
		}
	}
	return count
}

// once fails if a partition had more than one new owner.
func (l *lab) once(since uint64) (moved int) {
	l.t.Helper()
	for p, n := range l.handedOff(since) {
		moved++
		if n > 1 {
			l.t.Fatalf("partition %d changed hands %d times", p, n)
		}
	}
	return moved
}

func (l *lab) drain(n *labNode) {
	n.drains = true
	l.after(n)
}

// TestJoin: a shard that joins is given its share, followers and all, and nothing moves twice. So is one
// that comes back empty.
func TestJoin(t *testing.T) {
	for seed := range int64(5) {
		l := newLab(t, seed)
		l.followers = int(min(seed, 1))
		l.loss = float64(seed) * 0.02
		l.shards(3)
		before := l.leader().keeper.Table().Version
		s4 := l.start("s4", proto.RoleShard)
		l.until("the newcomer has its share", 20*time.Second, func() bool {
			has := l.leader().keeper.Table().named[s4.name]
			return has.owned > 0 && (has.following > 0 || l.followers == 0) && l.agreed() == ""
		})
		if moved := l.once(before); moved < 3 {
			t.Errorf("seed %d: %d partitions changed hands", seed, moved)
		}
		l.kill(s4)
		l.judge(s4)
		l.until("it is gone", 10*time.Second, func() bool { return l.leader() != nil && !l.leader().keeper.Table().Names(s4.name) })
		again := l.start("s4", proto.RoleShard)
		l.settle()
		if has := l.leader().keeper.Table().named[again.name]; has.owned == 0 {
			t.Errorf("seed %d: back again, it has %+v", seed, has)
		}
	}
}

// TestFree: a shard may go when it owns nothing, follows nothing, and nothing is on its way to it.
func TestFree(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	for _, tt := range []struct {
		what string
		row  Row
		move plan.Move
		free bool
	}{
		{"others have all", Row{Owner: s2.Name, Followers: []proto.NodeName{s3.Name}}, plan.Move{}, true},
		{"it owns one", Row{Owner: s1.Name, Followers: []proto.NodeName{s3.Name}}, plan.Move{}, false},
		{"it follows one", Row{Owner: s2.Name, Followers: []proto.NodeName{s1.Name}}, plan.Move{}, false},
		{"one is on its way", Row{Owner: s2.Name, Followers: []proto.NodeName{s3.Name}}, plan.Move{From: s2.Name, To: s1.Name, State: plan.Learning}, false},
		{"one is on its way elsewhere", Row{Owner: s2.Name}, plan.Move{To: s3.Name, State: plan.Learning}, true},
	} {
		d := newDesk(t, 0, s1, s2, s3)
		rows, head := make([]Row, testPartitions), d.reg.Table.Head
		for p := range rows {
			rows[p] = Row{Owner: s2.Name, Followers: []proto.NodeName{s3.Name}, Term: 2, Since: 1}
		}
		tt.row.Term, tt.row.Since, tt.move.Partition = 2, 1, 4
		rows[4] = tt.row
		if tt.move.State != 0 {
			head.Moves = []plan.Move{tt.move}
		}
		head.Version++
		d.reg.Table = NewTable(head, rows)
		d.k.SetRegister(d.now, d.reg)
		if free := d.k.Stance(d.now).Free; free != tt.free {
			t.Errorf("%s: it may go: %v", tt.what, free)
		}
	}
}

// TestDrain: a shard that drains loses nothing, may go when nothing is left, and takes nothing along. The last
// one may go at once.
func TestDrain(t *testing.T) {
	for seed := range int64(5) {
		l := newLab(t, seed)
		l.followers = int(min(seed, 1))
		s := l.shards(4)
		n := s[seed%4]
		before := l.leader().keeper.Table().Version
		l.drain(n)
		if n.keeper.Stance(l.now).Free {
			t.Errorf("seed %d: it may go with all that it has", seed)
		}
		l.until("it may go", 20*time.Second, func() bool { s := n.keeper.Stance(l.now); return s.Free && s.Relieved })
		if l.leader() == nil {
			l.settle()
		}
		l.once(before)
		l.leave(n)
		l.settle()
		l.once(before)
	}
	l := newLab(t, 1)
	s := l.shards(2)
	l.drain(s[0])
	l.until("the first of two may go", 10*time.Second, func() bool { return s[0].keeper.Stance(l.now).Free })
	if !l.leader().keeper.Table().Names(s[1].name) || l.leader().keeper.Table().Names(s[0].name) {
		t.Error("it is still named, or nobody is")
	}
	l.drain(s[1])
	l.until("the last may go with all that it has", 2*time.Second, func() bool { return s[1].keeper.Stance(l.now).Free })
	if !l.leader().keeper.Table().Names(s[1].name) {
		t.Error("somebody took it")
	}
}

// TestZones: no copy is in its owner's zone while there is another.
func TestZones(t *testing.T) {
	l := newLab(t, 1)
	l.expect = 4
	var last *labNode
	for i, id := range []proto.NodeID{"s1", "s2", "s3", "s4"} {
		last = l.begin(id, proto.RoleShard, bookmark{}, []string{"east", "west"}[i%2])
	}
	l.settle()
	apart := func() bool {
		for _, r := range l.leader().keeper.Table().Rows() {
			if len(r.Followers) != 1 || l.named(r.Owner).zone == l.named(r.Followers[0]).zone {
				return false
			}
		}
		return true
	}
	l.until("copies are in two zones", 10*time.Second, apart)
	l.kill(last)
	l.judge(last)
	l.until("and again, when a shard is lost", 20*time.Second, func() bool { return l.agreed() == "" && apart() })
}

// TestFollowersChange: what the leader is configured with becomes the Table's setting, and the copies follow.
func TestFollowersChange(t *testing.T) {
	l := newLab(t, 1)
	l.shards(3)
	for _, want := range []int{0, 1} {
		for _, n := range l.alive() {
			n.keeper.cfg.Followers = want
		}
		l.until("all rows have as many followers as are wanted", 20*time.Second, func() bool {
			table := l.leader().keeper.Table()
			return int(table.Settings.Followers) == want && !slices.ContainsFunc(listed(table), func(r Row) bool { return len(r.Followers) != want })
		})
	}
	for _, n := range l.alive() {
		n.keeper.cfg.Followers = -1
	}
	before := l.leader().keeper.Table().Version
	l.run(2 * time.Second)
	if v := l.leader().keeper.Table().Version; v != before {
		t.Errorf("who has no opinion changed something: version %d after %d", v, before)
	}
}

// TestMovesWait: none begins while shards come and go.
func TestMovesWait(t *testing.T) {
	l := newLab(t, 1)
	l.followers = 0
	l.shards(3)
	for _, id := range []proto.NodeID{"s4", "s5", "s6"} {
		l.start(id, proto.RoleShard)
		l.run(quietFor - 200*time.Millisecond)
		if moves := l.leader().keeper.Table().Moves; len(moves) > 0 {
			t.Fatalf("right after %s came there are moves: %+v", id, moves)
		}
	}
	l.until("moves begin", 2*time.Second, func() bool { return len(l.leader().keeper.Table().Moves) > 0 })
	l.settle()
}

// TestCommandsGather: a command about moves alone goes moveApart after the last one: a room waits for no
// longer, and no sooner does the Table change again.
func TestCommandsGather(t *testing.T) {
	s1, s2, s3 := shard("s1", 1), shard("s2", 2), shard("s3", 3)
	d := newDesk(t, 0, s1, s2, s3)
	rows, head := listed(d.reg.Table), d.reg.Table.Head
	for _, p := range []proto.Partition{1, 4, 7, 10} { // s2's
		rows[p].Followers = []proto.NodeName{s3.Name}
		head.Moves = append(head.Moves, plan.Move{Partition: p, From: s2.Name, To: s3.Name, State: plan.Freezing})
	}
	head.Version++
	d.reg.Table = NewTable(head, rows)
	d.k.SetRegister(d.now, d.reg)
	ready := func(p proto.Partition) {
		d.frame(s2, proto.FrameWish, proto.AppendWishes(nil, []proto.Wish{{Partition: p, Term: 1, Kind: proto.WishReady, Node: s3.Name}}))
	}
	goes := func(what string, changes int) {
		t.Helper()
		list := d.commands()
		if len(list) != min(changes, 1) || changes > 0 && len(list[0].Order.Command.Changes) != changes {
			t.Fatalf("%s: commands %+v, want one of %d changes", what, list, changes)
		}
		for _, i := range list {
			d.commit(i)
		}
	}
	ready(1)
	goes("after a long silence", 1)
	d.now = d.now.Add(moveApart / 4)
	ready(4)
	goes("soon after that", 0)
	d.now = d.now.Add(moveApart / 4)
	ready(7)
	ready(10)
	goes("still soon after that", 0)
	d.now = d.k.Wake(d.now)
	d.k.Tick(d.now)
	goes("when it is time", 3)
}

// TestUndoneMovesRest: an owner that gives a hand-off up is left alone for a while; one that does nothing at
// all about its moves has them taken from it.
func TestUndoneMovesRest(t *testing.T) {
	l := newLab(t, 1)
	l.followers, l.idle = 0, true
	l.shards(3)
	l.start("s4", proto.RoleShard)
	move := func() plan.Move {
		if l.leader() == nil || len(l.leader().keeper.Table().Moves) == 0 {
			return plan.Move{}
		}
		return l.leader().keeper.Table().Moves[0]
	}
	l.until("a move begins", 5*time.Second, func() bool { return move().State != 0 })
	first := move()
	row := l.leader().keeper.Table().Row(first.Partition)
	l.wire(first.From, l.leader().name, proto.AppendWishes(nil, []proto.Wish{{Partition: first.Partition, Term: row.Term, Kind: proto.WishUndo, Node: first.To}}))
	l.until("it is over", time.Second, func() bool { return move() != first })
	over := l.now
	l.until("it is begun again", 2*restFor, func() bool { return l.leader().keeper.Table().Move(first.Partition) == first })
	if rested := l.now.Sub(over); rested < restFor-200*time.Millisecond {
		t.Errorf("it rested for %v only", rested)
	}
	if now := l.leader().keeper.Table().Row(first.Partition); now.Term != row.Term+1 || now.Owner != row.Owner {
		t.Errorf("to end a move whose target is not in sync is a new term: %+v, then %+v", row, now)
	}
	ended := func() bool { return l.leader().keeper.Table().Move(first.Partition).State == 0 }
	l.until("a move that never gets on is over", learnFor+time.Second, ended)
	l.until("it is begun again", 2*restFor, func() bool { return !ended() })
	l.run(2*learnFor - time.Second)
	if ended() {
		t.Error("the next one is given no more time: a long lesson never ends")
	}
	l.until("the next one is over", 2*time.Second, ended)
	l.idle = false
	l.settle()
}

// TestNoHeir: a partition whose only followers refuse to take over waits, and the others do not wait for it.
func TestNoHeir(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(4)
	lost := s[0]
	if lost == l.leader() {
		lost = s[1]
	}
	for _, n := range s {
		n.copyless = make(map[proto.Partition]bool)
		for p, r := range l.leader().keeper.Table().Rows() {
			n.copyless[p] = r.Owner == lost.name
		}
	}
	has := func(n *labNode) tally { return l.leader().keeper.Table().named[n.name] }
	before := has(lost)
	l.kill(lost)
	l.judge(lost)
	s5 := l.start("s5", proto.RoleShard)
	l.until("a newcomer has its share", 20*time.Second, func() bool { return has(s5).owned > 0 && len(l.leader().keeper.Table().Moves) == 0 })
	if has(lost).owned != before.owned {
		t.Errorf("nobody has promised, and the lost owner has %+v, before that %+v", has(lost), before)
	}
	for _, n := range s {
		n.copyless = nil
	}
	l.settle()
}

// TestTroubleInTheMiddle: whatever dies, drains, is cut off or led by another while partitions move, no room
// is lost that had a copy, and in the end all copies are where they should be.
func TestTroubleInTheMiddle(t *testing.T) {
	hunt(t, func(t *rapid.T) {
		l := newLab(t, int64(rapid.IntRange(0, 1<<20).Draw(t, "seed")))
		l.paper.lies = rapid.SampledFrom([]float64{0, 0.2}).Draw(t, "lies")
		l.loss = rapid.SampledFrom([]float64{0, 0.05}).Draw(t, "loss")
		l.followers = 1
		s := l.shards(rapid.IntRange(3, 5).Draw(t, "shards"))
		staying := func() int {
			return len(slices.DeleteFunc(l.alive(), func(n *labNode) bool { return n.drains }))
		}
		gone := 0
		for range rapid.IntRange(1, 4).Draw(t, "events") {
			n := s[rapid.IntRange(0, len(s)-1).Draw(t, "node")]
			switch event := rapid.SampledFrom([]string{"joins", "dies", "drains", "is cut off", "leads no more", "a follower forgets"}).Draw(t, "event"); {
			case event == "joins":
				s = append(s, l.start(proto.NodeID([]string{"t1", "t2", "t3", "t4"}[len(s)%4]), proto.RoleShard))
			case n.dead || n.drains:
			case event == "dies" && gone == 0: // two at once may lose both copies
				gone++
				l.until("all voters live", 15*time.Second, func() bool {
					lead := l.leader()
					return lead != nil && len(lead.keeper.Table().Voters) > 2 && !slices.ContainsFunc(lead.keeper.Table().Voters, func(v proto.NodeName) bool {
						return l.paper.holder(l.paper.books[lead.log.founding], v) == nil
					})
				})
				if n.dead || n.drains {
					continue
				}
				l.kill(n)
				l.judge(n)
				again := l.start(n.name.ID(), n.role)
				s = append(s, again)
			case event == "drains" && staying() > 3: // three keep three voters
				l.drain(n)
			case event == "is cut off":
				rest := slices.DeleteFunc(l.alive(), func(o *labNode) bool { return o == n })
				l.split([]*labNode{n}, rest, true)
				l.run(time.Duration(rapid.IntRange(10, 4000).Draw(t, "for")) * time.Millisecond)
				l.split([]*labNode{n}, rest, false)
			case event == "leads no more":
				if lead := l.leader(); lead != nil {
					l.paper.depose(lead)
					l.paper.books[lead.log.founding].leader = nil
				}
			case event == "a follower forgets":
				n.copyless = map[proto.Partition]bool{1: true}
				l.run(time.Duration(rapid.IntRange(10, 1000).Draw(t, "how long")) * time.Millisecond)
				n.copyless = nil
			}
			l.run(time.Duration(rapid.SampledFrom([]int{10, 100, 500, 1100, 1500, 2000, 3000}).Draw(t, "then")) * time.Millisecond)
		}
		l.loss, l.paper.lies = 0, 0
		l.until("all that drain may go", 30*time.Second, func() bool {
			return !slices.ContainsFunc(l.alive(), func(n *labNode) bool { return n.drains && !n.keeper.Stance(l.now).Free })
		})
		for _, n := range l.alive() {
			if n.drains {
				l.leave(n)
			}
		}
		l.settle()
	})
}

package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

// rows replaces the desk's Table.
func (d *desk) rows(row func(p int) Row) {
	rows := make([]Row, testPartitions)
	for p := range rows {
		rows[p] = row(p)
	}
	head := d.reg.Table.Head
	head.Version++
	d.reg.Table = NewTable(head, rows)
	d.reg.Applied++
	d.k.SetRegister(d.now, d.reg)
}

// asked takes what the keeper sent, and returns the promises that it asks for.
func (d *desk) asked() map[proto.NodeName][]proto.Promise {
	d.t.Helper()
	asked := make(map[proto.NodeName][]proto.Promise)
	for _, s := range kept(d.k.Take(), proto.FramePromise) {
		if asked[s.To] != nil {
			d.t.Errorf("%s is asked by two frames at once", s.To)
		}
		list, err := proto.ParsePromises(s.Frame[proto.HeaderSize:])
		if err != nil {
			d.t.Fatal(err)
		}
		asked[s.To] = list
	}
	return asked
}

func (d *desk) answer(from Node, list []proto.Promise, status proto.PromiseStatus) {
	d.t.Helper()
	list = slices.Clone(list)
	for i := range list {
		list[i].Status = status
	}
	d.frame(from, proto.FramePromised, proto.AppendPromised(nil, list))
}

// successions seats four shards: the second owns everything, the others follow, as rows says.
func successions(t *testing.T, followers ...Node) (*desk, Node) {
	t.Helper()
	s2 := shard("s2", 2)
	d := newDesk(t, 0, shard("s1", 1), s2, shard("s3", 3), shard("s4", 4))
	d.rows(func(p int) Row {
		r := Row{Owner: s2.Name, Term: proto.Term(p + 2), Since: 1}
		for _, f := range followers {
			r.Followers = append(r.Followers, f.Name)
		}
		return r
	})
	d.k.Take()
	return d, s2
}

// TestPromisesFirst: nobody becomes an owner who has not promised; what has answered within 50 ms is one
// command, and what comes later another (rule R2).
func TestPromisesFirst(t *testing.T) {
	s3 := shard("s3", 3)
	d, s2 := successions(t, s3)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	asked := d.asked()
	if len(asked) != 1 || len(asked[s3.Name]) != testPartitions {
		t.Fatalf("asked for %v", asked)
	}
	for _, x := range asked[s3.Name] {
		if want := proto.Term(x.Partition + 3); x.Term != want {
			t.Errorf("partition %d: term %d is to be promised, want %d", x.Partition, x.Term, want)
		}
	}
	if list := d.commands(); len(list) != 0 {
		t.Fatalf("before anybody promised: %+v", list)
	}
	d.answer(s3, asked[s3.Name][:10], proto.Promised)
	if list := d.commands(); len(list) != 0 {
		t.Fatalf("before all have answered: %+v", list)
	}
	if wake := d.k.Wake(d.now); wake.Sub(d.now) != gatherFor {
		t.Errorf("it wants to wake after %v", wake.Sub(d.now))
	}
	d.pass(gatherFor - time.Millisecond)
	if list := d.commands(); len(list) != 0 {
		t.Fatalf("before the time is over: %+v", list)
	}
	d.pass(time.Millisecond)
	first := d.commands()
	if len(first) != 1 || len(first[0].Order.Command.Changes) != 10 {
		t.Fatalf("when it is over: %+v", first)
	}
	d.answer(s3, asked[s3.Name][10:20], proto.Promised)
	d.commit(first[0])
	second := d.commands()
	if len(second) != 1 || len(second[0].Order.Command.Changes) != 10 {
		t.Fatalf("what came later: %+v", second)
	}
	d.commit(second[0])
	d.answer(s3, asked[s3.Name][20:], proto.Promised)
	third := d.commands()
	if len(third) != 1 {
		t.Fatalf("the rest: %+v", third)
	}
	d.commit(third[0])
	for p, r := range d.k.Table().Rows() {
		if want := (Row{Owner: s3.Name, Term: proto.Term(p + 3), Since: 1}); !r.Equal(want) {
			t.Errorf("partition %d: %+v, want %+v", p, r, want)
		}
	}
	d.pass(time.Second)
	if more := d.asked(); len(more) != 0 || !d.k.Wake(d.now).IsZero() {
		t.Errorf("all is well, and yet it asks for %v", more)
	}
}

// TestPromisesDoNotWait: an heir that has to be asked again and again holds up nobody else.
func TestPromisesDoNotWait(t *testing.T) {
	s3 := shard("s3", 3)
	d, s2 := successions(t, s3)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	asked := d.asked()[s3.Name]
	d.answer(s3, asked[:10], proto.Promised)
	rest := asked[10:]
	for waited := time.Duration(0); ; waited += gatherFor {
		if list := d.commands(); len(list) > 0 {
			if n := len(list[0].Order.Command.Changes); n != 10 {
				t.Errorf("%d partitions have other owners", n)
			}
			return
		}
		if waited > gatherFor {
			t.Fatalf("after %v the first that were promised still wait", waited)
		}
		d.pass(gatherFor - time.Millisecond)
		d.now = d.now.Add(time.Millisecond) // the answers come just then
		d.answer(s3, rest, proto.KnowsHigher)
		if again := d.asked()[s3.Name]; len(again) > 0 {
			rest = again
		}
	}
}

// TestPromisesAtOnce: when all have answered nothing is waited for. The leader itself may be the heir.
func TestPromisesAtOnce(t *testing.T) {
	s1, s3 := shard("s1", 1), shard("s3", 3)
	d, s2 := successions(t, s1, s3)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	asked := d.asked()
	if len(asked) != 1 || len(asked[s1.Name]) != testPartitions {
		t.Fatalf("asked for %v", asked)
	}
	d.answer(s1, asked[s1.Name], proto.Promised)
	list := d.commands()
	if len(list) != 1 || len(list[0].Order.Command.Changes) != testPartitions {
		t.Fatalf("commands %+v", list)
	}
	for _, c := range list[0].Order.Command.Changes {
		if want := (Row{Owner: s1.Name, Followers: []proto.NodeName{s3.Name}, Term: c.Replaces + 1, Since: 1}); !c.Row.Equal(want) {
			t.Errorf("partition %d: %+v, want %+v", c.Partition, c.Row, want)
		}
	}
}

// TestPromisesAreAskedAgain: of others, after 300 ms, or of the same one.
func TestPromisesAreAskedAgain(t *testing.T) {
	s3, s4 := shard("s3", 3), shard("s4", 4)
	d, s2 := successions(t, s3, s4)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	var story string
	for range 4 {
		for to, list := range d.asked() {
			story += fmt.Sprintf("%s %d; ", to.ID(), len(list))
		}
		d.pass(promiseAfter - time.Millisecond)
		if early := d.asked(); len(early) != 0 {
			t.Errorf("asked too early: %v", early)
		}
		d.pass(lookEvery + time.Millisecond)
	}
	if want := "s3 31; s4 31; s3 31; s4 31; "; story != want {
		t.Errorf("asked %s, want %s", story, want)
	}
	// A late answer of the one that was asked before is as good.
	d.answer(s3, []proto.Promise{{Partition: 4, Term: 7}}, proto.Promised)
	d.pass(gatherFor)
	list := d.commands()
	if len(list) != 1 || len(list[0].Order.Command.Changes) != 1 || list[0].Order.Command.Changes[0].Row.Owner != s3.Name {
		t.Errorf("after a late promise: %+v", list)
	}
}

// TestPromisesRefused: who has no copy is not asked at once again, another is; who knows a higher term is
// asked for one above it, in steps that double, and never without end.
func TestPromisesRefused(t *testing.T) {
	s3, s4 := shard("s3", 3), shard("s4", 4)
	d, s2 := successions(t, s3, s4)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	d.answer(s3, d.asked()[s3.Name], proto.NoCopy)
	asked := d.asked()
	if len(asked[s4.Name]) != testPartitions {
		t.Fatalf("after a refusal: %v", asked)
	}
	d.answer(s4, asked[s4.Name], proto.NoCopy)
	if more := d.asked(); len(more) != 0 {
		t.Errorf("both have no copy, and are asked without a pause: %v", more)
	}
	d.pass(promiseAfter + lookEvery)
	if more := d.asked(); len(more[s3.Name]) != testPartitions {
		t.Errorf("it may have one by now, and is not asked: %v", more)
	}

	d, s2 = successions(t, s3)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	var terms []proto.Term
	var last proto.Promise
	for range 100 {
		list := d.asked()[s3.Name]
		if len(list) == 0 {
			break
		}
		last = list[0]
		terms = append(terms, last.Term)
		d.answer(s3, list, proto.KnowsHigher)
	}
	if len(terms) != maxClimbs+1 || !slices.Equal(terms[:5], []proto.Term{3, 4, 6, 10, 18}) {
		t.Errorf("asked for the terms %v", terms)
	}
	d.pass(promiseAfter + lookEvery)
	again := d.asked()[s3.Name]
	if len(again) == 0 || again[0].Term <= last.Term {
		t.Fatalf("then for %+v", again)
	}
	d.answer(s3, []proto.Promise{last}, proto.Promised) // what was given up
	if list := d.commands(); len(list) != 0 {
		t.Errorf("a promise of a lower term than asked for is taken: %+v", list)
	}
	d.answer(s4, again, proto.Promised)
	if list := d.commands(); len(list) != 0 {
		t.Errorf("a promise of somebody else is taken: %+v", list)
	}
	d.answer(s3, again, proto.Promised)
	list := d.commands()
	if len(list) != 1 || list[0].Order.Command.Changes[0].Row.Term != again[0].Term {
		t.Errorf("promised %+v, and: %+v", again[0], list)
	}
}

// TestOwnerIsBack: an owner that is heard of before its heir's promise was used stays; the term that its
// follower now knows it asks for itself.
func TestOwnerIsBack(t *testing.T) {
	s3 := shard("s3", 3)
	d, s2 := successions(t, s3)
	d.k.LinkDown(d.now, s2.Name, EndSilent)
	asked := d.asked()[s3.Name]
	if len(asked) != testPartitions {
		t.Fatalf("asked for %v", asked)
	}
	d.k.LinkUp(d.now, s2.Name)
	d.answer(s3, asked, proto.Promised)
	d.pass(time.Second)
	if list := d.commands(); len(list) != 0 {
		t.Fatalf("the owner is back, and: %+v", list)
	}
	d.frame(s2, proto.FrameWish, proto.AppendWishes(nil, []proto.Wish{{Partition: 0, Term: 2, Kind: proto.WishRenew, Above: asked[0].Term}}))
	list := d.commands()
	if len(list) != 1 || len(list[0].Order.Command.Changes) != 1 {
		t.Fatalf("it wishes to renew, and: %+v", list)
	}
	if c := list[0].Order.Command.Changes[0]; c.Row.Owner != s2.Name || c.Row.Term <= asked[0].Term || !slices.Equal(c.Row.Followers, []proto.NodeName{s3.Name}) {
		t.Errorf("it is answered %+v", c)
	}
}

// TestHeirDies: the promise of one that is not there any more is not used.
func TestHeirDies(t *testing.T) {
	s3, s4 := shard("s3", 3), shard("s4", 4)
	d, s2 := successions(t, s3, s4)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	asked := d.asked()[s3.Name]
	d.answer(s3, asked[:1], proto.Promised)
	d.k.LinkDown(d.now, s3.Name, EndLeft)
	if list := d.commands(); len(list) != 0 {
		t.Errorf("a dead heir is made an owner: %+v", list)
	}
	again := d.asked()[s4.Name]
	d.answer(s4, again, proto.Promised)
	list := d.commands()
	if len(again) != testPartitions || len(list) != 1 {
		t.Fatalf("asked %v, and then: %+v", again, list)
	}
	for _, c := range list[0].Order.Command.Changes {
		if c.Row.Owner != s4.Name || len(c.Row.Followers) != 0 {
			t.Errorf("partition %d: %+v", c.Partition, c.Row)
		}
	}
}

// TestAllCopiesDead: only then rooms begin anew, and where all are merely silent nothing happens.
func TestAllCopiesDead(t *testing.T) {
	s3 := shard("s3", 3)
	d, s2 := successions(t, s3)
	d.k.LinkDown(d.now, s2.Name, EndLeft)
	d.k.LinkDown(d.now, s3.Name, EndSilent)
	d.pass(5 * time.Second)
	if list := d.commands(); len(list) != 0 || d.k.Wake(d.now) != (time.Time{}) {
		t.Fatalf("one copy is silent, and: %+v", list)
	}
	d.k.SetFate(d.now, s3.Name, FateReplaced)
	list := d.commands()
	if len(list) != 1 || len(list[0].Order.Command.Changes) != testPartitions {
		t.Fatalf("all copies are dead, and: %+v", list)
	}
	for _, c := range list[0].Order.Command.Changes {
		if c.Row.Since != c.Row.Term || c.Row.Owner == s2.Name || c.Row.Owner == s3.Name {
			t.Errorf("partition %d begins anew as %+v", c.Partition, c.Row)
		}
	}
}

// TestWishesThatAreNotTaken: of another than the owner, of another term, about what is not there, or when
// this node does not lead.
func TestWishesThatAreNotTaken(t *testing.T) {
	s3, s4 := shard("s3", 3), shard("s4", 4)
	drop := proto.Wish{Partition: 3, Term: 5, Kind: proto.WishOverdue, Node: s3.Name}
	for name, c := range map[string]struct {
		change func(d *desk, x *proto.Wish)
		from   proto.NodeID
		taken  bool
	}{
		"as it should be":            {func(*desk, *proto.Wish) {}, "s2", true},
		"another's":                  {func(*desk, *proto.Wish) {}, "s4", false},
		"an old term":                {func(_ *desk, x *proto.Wish) { x.Term-- }, "s2", false},
		"a later term":               {func(_ *desk, x *proto.Wish) { x.Term++ }, "s2", false},
		"no such partition":          {func(_ *desk, x *proto.Wish) { x.Partition = testPartitions }, "s2", false},
		"no such follower":           {func(_ *desk, x *proto.Wish) { x.Node = s4.Name }, "s2", false},
		"nobody leads":               {func(d *desk, _ *proto.Wish) { d.reg.Term = 0; d.k.SetRegister(d.now, d.reg) }, "s2", false},
		"an owner that we have lost": {func(d *desk, _ *proto.Wish) { d.k.LinkDown(d.now, proto.MakeNodeName("s2", 2), EndBroken) }, "s2", false},
		"of what drops later":        {func(_ *desk, x *proto.Wish) { x.Kind = proto.WishDrop }, "s2", false},
	} {
		d, _ := successions(t, s3)
		x := drop
		c.change(d, &x)
		from := Node{Name: proto.MakeNodeName(c.from, proto.Incarnation(c.from[1]-'0'))}
		d.frame(from, proto.FrameWish, proto.AppendWishes(nil, []proto.Wish{x}))
		d.pass(time.Second)
		if list := d.commands(); (len(list) == 1) != c.taken {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

// TestDropWaits: a follower that only its owner has lost is dropped when we lose it too, at once.
func TestDropWaits(t *testing.T) {
	s3 := shard("s3", 3)
	d, s2 := successions(t, s3)
	d.frame(s2, proto.FrameWish, proto.AppendWishes(nil, []proto.Wish{{Partition: 3, Term: 5, Kind: proto.WishDrop, Node: s3.Name}}))
	if list := d.commands(); len(list) != 0 {
		t.Fatalf("we hear of it, and: %+v", list)
	}
	d.pass(lookEvery)
	d.k.LinkDown(d.now, s3.Name, EndBroken)
	list := d.commands()
	if len(list) != 1 || len(list[0].Order.Command.Changes) != 1 || len(list[0].Order.Command.Changes[0].Row.Followers) != 0 {
		t.Errorf("we have lost it too, and: %+v", list)
	}
}

// TestWishesAreBatched: while a command is under way wishes gather, and then all are one command.
func TestWishesAreBatched(t *testing.T) {
	s3 := shard("s3", 3)
	d, s2 := successions(t, s3)
	wish := func(p proto.Partition) {
		d.frame(s2, proto.FrameWish, proto.AppendWishes(nil, []proto.Wish{{Partition: p, Term: proto.Term(p + 2), Kind: proto.WishOverdue, Node: s3.Name}}))
	}
	wish(0)
	first := d.commands()
	if len(first) != 1 {
		t.Fatalf("the first wish is answered by %+v", first)
	}
	for p := range proto.Partition(20) {
		wish(p)
	}
	if list := d.commands(); len(list) != 0 {
		t.Fatalf("while one is under way: %+v", list)
	}
	d.commit(first[0])
	if list := d.commands(); len(list) != 1 || len(list[0].Order.Command.Changes) != 19 {
		t.Fatalf("and then: %+v", list)
	}
}

// TestFailovers runs whole clusters: how a shard ends, and how soon its partitions go on elsewhere. No room
// is lost: the lab sees to that.
func TestFailovers(t *testing.T) {
	for name, c := range map[string]struct {
		shards int
		end    func(*lab, *labNode)
		within time.Duration
	}{
		"leaves":              {3, func(l *lab, n *labNode) { l.leave(n) }, 300 * time.Millisecond},
		"killed":              {3, func(l *lab, n *labNode) { l.kill(n) }, 900 * time.Millisecond},
		"killed, one witness": {2, func(l *lab, n *labNode) { l.kill(n) }, 2 * time.Second},
		"vanishes":            {3, func(l *lab, n *labNode) { l.vanish(n) }, 3 * time.Second},
		"vanishes, is judged": {3, func(l *lab, n *labNode) { l.vanish(n); l.judge(n) }, 2900 * time.Millisecond},
	} {
		for seed := range int64(5) {
			l := newLab(t, seed)
			s := l.shards(c.shards)
			last := s[len(s)-1]
			if last == l.leader() {
				last = s[cmp.Or(len(s)-2, 0)]
			}
			began := l.now
			c.end(l, last)
			l.until(name+": others own its partitions", c.within, func() bool { return l.leader().keeper.Table().named[last.name].owned == 0 })
			if seed == 0 {
				t.Logf("%s: %v", name, l.now.Sub(began))
			}
			l.judge(last)
			l.until("all have copies again", 10*time.Second, func() bool { return l.agreed() == "" })
			for p, r := range l.leader().keeper.Table().Rows() {
				if r.Since != 1 {
					t.Errorf("%s: partition %d has begun anew: %+v", name, p, r)
				}
			}
		}
	}
}

// TestSplitOwnerRenews: an owner that is cut off for so long that its heirs promise, and that comes back
// before the promise is used, goes on in a term above it.
func TestSplitOwnerRenews(t *testing.T) {
	l := newLab(t, 1)
	s := l.shards(3)
	lead := l.leader()
	other := s[0]
	if other == lead {
		other = s[1]
	}
	for p := range proto.Partition(testPartitions) {
		if r := lead.keeper.Table().Row(p); r.Owner == other.name {
			heir := l.node(r.Followers[0])
			heir.hands.promised[p] = r.Term + 3 // to a coordinator that died
		}
	}
	l.until("all its rows are renewed", 3*time.Second, func() bool {
		for p, r := range lead.keeper.Table().Rows() {
			if r.Owner == other.name && r.Term < l.node(r.Followers[0]).hands.promised[p] {
				return false
			}
		}
		return true
	})
	l.settle()
}

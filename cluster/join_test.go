package cluster

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// fair is a leader's Keeper with all partitions of a real cluster, a register that commits after a
// while, and owners that do what a move wants after a while. Time is counted, not spent, but the
// Keeper's own.
type fair struct {
	*desk
	commits  time.Duration // an order takes that long
	learns   time.Duration // from a move's begin, or its next state, to the wish
	events   []fairEvent
	wake     time.Time // when the Keeper wants to be called; zero for no time of its own
	seen     map[proto.Partition]plan.Move
	commands int
	changes  int
	spent    time.Duration // in the Keeper
	owners   map[proto.Partition]int
}

type fairEvent struct {
	at time.Time
	do func()
}

func newFair(t *testing.T, partitions, followers int, shards ...Node) *fair {
	t.Helper()
	f := &fair{commits: 5 * time.Millisecond, learns: 5 * time.Millisecond, seen: make(map[proto.Partition]plan.Move), owners: make(map[proto.Partition]int)}
	d := &desk{t: t, now: time.Unix(1_000, 0), nodes: shards}
	f.desk = d
	self := shards[0]
	d.k = NewKeeper(KeeperConfig{Self: self.Name, Role: self.Role, Partitions: partitions, Followers: followers})
	head := Head{Instance: inst, Version: 1, Settings: plan.DefaultSettings(), Voters: []proto.NodeName{self.Name}}
	head.Settings.Followers = uint8(followers)
	for i := range shards {
		shards[i].Instance = inst
	}
	ring := NewRing(NewView(1, shards), inst, head.Settings, partitions, nil)
	rows := make([]Row, partitions)
	for p := range rows {
		rows[p] = Row{Owner: ring.Wanted(proto.Partition(p)), Term: 1, Since: 1}
	}
	d.reg = Status{Voter: self.Name, Founding: proto.Founding{Instance: inst}, Term: 1, Leader: self.Name, Applied: 1,
		Table: NewTable(head, rows), Servers: []plan.Server{{Name: self.Name, Voter: true}}}
	d.k.SetRegister(d.now, d.reg)
	d.k.SetNodes(d.now, shards)
	for _, n := range shards[1:] {
		d.k.LinkUp(d.now, n.Name)
	}
	return f
}

func (f *fair) after(d time.Duration, do func()) {
	f.events = append(f.events, fairEvent{f.now.Add(d), do})
}

// keep calls the Keeper and takes the time.
func (f *fair) keep(do func()) {
	began := time.Now()
	do()
	f.spent += time.Since(began)
	f.carryOut()
}

func (f *fair) carryOut() {
	f.k.Take()
	f.wake = f.k.Wake(f.now)
	if job, ok := f.k.Job(); ok {
		placed := job.remembered()
		f.after(50*time.Millisecond, func() { f.keep(func() { f.k.Placed(f.now, placed) }) })
	}
	for _, i := range f.k.Orders() {
		if i.Order.Kind != OrderPropose {
			continue
		}
		f.commands++
		f.changes += len(i.Order.Command.Changes)
		f.after(f.commits, func() {
			began := time.Now()
			next, err := f.reg.Table.Execute(i.Order.Command, f.reg.Term)
			f.spent += time.Since(began)
			if err != nil {
				f.t.Fatal(err)
			}
			for _, c := range i.Order.Command.Changes {
				if was := f.reg.Table.Row(c.Partition).Owner; was != c.Row.Owner && c.Row.Since != c.Row.Term {
					f.owners[c.Partition]++
				}
			}
			f.reg.Table = next
			f.reg.Applied++
			f.keep(func() {
				f.k.SetRegister(f.now, f.reg)
				f.k.Done(f.now, i.Number, nil)
			})
			f.see()
		})
	}
}

// see has the owners of moves that are new, or have got on, wish what comes next.
func (f *fair) see() {
	t := f.reg.Table
	now := make(map[proto.Partition]plan.Move)
	for _, m := range t.Moves {
		now[m.Partition] = m
		if f.seen[m.Partition] == m {
			continue
		}
		row, kind := t.Row(m.Partition), proto.WishAdd
		if m.State == plan.Freezing {
			kind = proto.WishReady
		}
		frame := proto.AppendWishes(nil, []proto.Wish{{Partition: m.Partition, Term: row.Term, Kind: kind, Node: m.To}})
		took := f.learns + time.Duration(m.Partition%8)*time.Millisecond/2
		f.after(took, func() {
			f.keep(func() {
				if err := f.k.Frame(f.now, row.Owner, proto.FrameWish, frame[proto.HeaderSize:]); err != nil {
					f.t.Fatal(err)
				}
			})
		})
	}
	f.seen = now
}

// settle lets time pass until nothing is to be moved, and returns how long that took.
func (f *fair) settle() time.Duration {
	f.t.Helper()
	began := f.now
	for f.now.Sub(began) < time.Minute {
		f.now = f.now.Add(time.Millisecond)
		due := f.events
		f.events = nil
		for _, e := range due {
			if e.at.After(f.now) {
				f.events = append(f.events, e)
				continue
			}
			e.do()
		}
		if wake := f.wake; f.now.Sub(began)%tickEvery == 0 || !wake.IsZero() && !f.now.Before(wake) {
			f.keep(func() { f.k.Tick(f.now) })
		}
		if f.now.Sub(began) > quietFor+time.Second && len(f.events) == 0 && len(f.reg.Table.Moves) == 0 && Settled(f.k.View(), f.k.Ring(), f.k.Table()) {
			return f.now.Sub(began) - time.Second // the last one was spent to see that nothing more comes
		}
	}
	f.t.Fatalf("not settled: %d moves, %d single copies", len(f.reg.Table.Moves), SingleCopy(f.k.View(), f.k.Table()))
	return 0
}

// TestJoinIsQuick: with all partitions of a real cluster a first fill, a join and a drain take seconds, and
// not many commands; each partition's owner changes once at most.
func TestJoinIsQuick(t *testing.T) {
	var shards []Node
	for i := range 4 {
		shards = append(shards, shard(proto.NodeID(fmt.Sprintf("s%d", i+1)), proto.Incarnation(i+1)))
	}
	f := newFair(t, proto.Partitions, 1, slices.Clone(shards[:3])...)
	report := func(what string, took time.Duration) {
		t.Helper()
		t.Logf("%s: %v, %d commands, %d changes, %v of the Keeper's time for each", what, took, f.commands, f.changes, f.spent/time.Duration(max(1, f.commands)))
		if took > 10*time.Second || f.commands > 300 {
			t.Errorf("%s: that is too much", what)
		}
		for p, n := range f.owners {
			if n > 1 {
				t.Errorf("%s: partition %d had %d new owners", what, p, n)
			}
		}
		f.commands, f.changes, f.spent = 0, 0, 0
		clear(f.owners)
	}
	report("first copies", f.settle())
	shards[3].Instance = inst
	f.nodes = append(f.nodes, shards[3])
	f.keep(func() { f.k.SetNodes(f.now, f.nodes); f.k.LinkUp(f.now, shards[3].Name) })
	report("a fourth shard joins", f.settle())
	balanced(t, f.reg.Table, 4)
	f.nodes = slices.Clone(f.nodes)
	f.nodes[1].State = Draining
	f.keep(func() { f.k.SetNodes(f.now, f.nodes) })
	report("one drains", f.settle())
	if f.reg.Table.Names(shards[1].Name) {
		t.Error("the shard that drains is still named")
	}
}

// balanced: nobody owns or follows much more than its share.
func balanced(t *testing.T, table *Table, shards int) {
	t.Helper()
	bound := int(math.Ceil(float64(table.Partitions()) / float64(shards) * 1.3))
	for name, has := range table.named {
		if has.owned > bound || has.following > bound {
			t.Errorf("%s owns %d and follows %d of %d", name, has.owned, has.following, table.Partitions())
		}
	}
}

package partition

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// list walks through a lane at once.
func list(l *Lane, q RoomsQuery, now time.Time) RoomList {
	w := NewWalk(q)
	for !l.Walk(w, 3, now) {
	}
	return w.List()
}

// hall is a lane of some partitions whose rooms are given their members by one
// router. Rooms are forgotten soon after nobody is in them.
type hall struct {
	*rig
	r    *Peer
	term map[proto.Partition]proto.Term
}

const hallParts = 8

func newHall(t testing.TB) *hall {
	w := &hall{rig: newRig(t, Config{Partitions: hallParts, HistoryAge: time.Second}), term: map[proto.Partition]proto.Term{}}
	for p := range proto.Partition(hallParts) {
		w.term[p] = 1
	}
	w.pass(settleAge)
	w.r = w.up("r1")
	return w
}

// enter puts so many members into a room; 0 leaves it.
func (w *hall) enter(room string, members int) {
	p := proto.PartitionOfString(room, hallParts)
	term := w.term[p]
	if members == 0 {
		b, start := proto.BeginBatch(nil, proto.FrameDetach, p, term)
		w.must(w.r, proto.End(proto.AppendDetachEntry(b, room), start))
		return
	}
	b, start := proto.BeginBatch(nil, proto.FrameAttach, p, term)
	w.must(w.r, proto.End(proto.AppendAttachEntry(b, room, proto.Epoch{}, 0), start))
	b, start = proto.BeginBatch(nil, proto.FrameMembers, p, term)
	w.must(w.r, proto.End(proto.AppendMembersEntry(b, room, uint32(members)), start))
}

// lose has a partition begin anew: its rooms are gone.
func (w *hall) lose(p proto.Partition) {
	w.term[p]++
	w.l.SetTable(p, Row{Owner: self, Term: w.term[p], Since: w.term[p]}, w.now)
}

// say publishes a message in a room.
func (w *hall) say(room string) {
	p := proto.PartitionOfString(room, hallParts)
	seq := proto.Seq(1)
	if pub := w.r.router.pubs[w.l.part(p).local]; pub != nil {
		seq = pub.last + 1
	}
	w.publish(w.r, &proto.Publish{Partition: p, Term: w.term[p], Seq: seq, Base: seq, Conn: 9, Room: []byte(room), Payload: []byte("x")})
}

func namesOf(list RoomList) (out []string) {
	for _, i := range list.Rooms {
		out = append(out, i.Room)
	}
	return out
}

// TestWalkAmongChanges: rooms come and go between the steps of a walk. No name is
// listed twice, nothing is listed that was not there when it was looked at, and of
// what lived throughout all that belongs there is listed, in order.
func TestWalkAmongChanges(t *testing.T) {
	var all []string
	for i := range 40 {
		all = append(all, fmt.Sprintf("%c%d", 'a'+i%3, i))
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := newHall(t)
		room := func() string { return rapid.SampledFrom(all).Draw(rt, "room") }
		change := func() {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0, 1, 2, 3:
				w.enter(room(), rapid.IntRange(1, 9).Draw(rt, "members"))
			case 4, 5, 6:
				w.enter(room(), 0)
			case 7:
				w.say(room())
			case 8:
				w.pass(2 * time.Second)
			case 9:
				w.lose(proto.Partition(rapid.IntRange(0, hallParts-1).Draw(rt, "partition")))
			}
		}
		for range rapid.IntRange(0, 60).Draw(rt, "before") {
			change()
		}
		q := RoomsQuery{
			Prefix: rapid.SampledFrom([]string{"", "b"}).Draw(rt, "prefix"),
			Limit:  rapid.IntRange(1, 50).Draw(rt, "limit"),
			Sort:   rapid.SampledFrom([]Sort{"", SortName, SortMembers, SortMessages}).Draw(rt, "sort"),
		}
		if q.Sort == "" || q.Sort == SortName {
			q.After = rapid.SampledFrom([]string{"", "a5", "b"}).Draw(rt, "after")
		}
		if rapid.Bool().Draw(rt, "watched") {
			w.l.Watch(w.now)
			w.say(room())
			w.pass(time.Second)
		}
		throughout := w.living()
		walk := NewWalk(q)
		for done := false; !done; {
			before, there := maps.Clone(walk.named), w.living()
			done = w.l.Walk(walk, rapid.IntRange(1, 10).Draw(rt, "steps"), w.now)
			for name := range walk.named {
				if before[name] == nil && there[name] == nil {
					rt.Fatalf("%s is listed, and is not there", name)
				}
			}
			for !done && rapid.Bool().Draw(rt, "changes") {
				change()
			}
			for name, rm := range throughout {
				if w.l.rooms[name] != rm {
					delete(throughout, name)
				}
			}
		}
		if len(w.l.walks) != 0 {
			rt.Fatalf("%d walks are remembered", len(w.l.walks))
		}
		got := walk.List()
		have := namesOf(got)
		seen := map[string]bool{}
		for _, name := range have {
			if seen[name] || !strings.HasPrefix(name, q.Prefix) || name <= q.After {
				rt.Fatalf("%s is there twice, or should not be: %v", name, have)
			}
			seen[name] = true
		}
		if !slices.IsSortedFunc(got.Rooms, func(a, b Info) int { return walk.compare(&a, &b) }) || len(have) > q.Limit {
			rt.Fatalf("out of order: %+v", got.Rooms)
		}
		for name := range throughout {
			listed := len(have) < q.Limit || (q.Sort == "" || q.Sort == SortName) && name < have[len(have)-1]
			if listed && !seen[name] && strings.HasPrefix(name, q.Prefix) && name > q.After {
				rt.Fatalf("%s was there all the time, and is not among %v", name, have)
			}
			if !seen[name] && len(have) == q.Limit && strings.HasPrefix(name, q.Prefix) && name > q.After && !got.More {
				rt.Fatalf("%s is left out, and nobody says so", name)
			}
		}
	})
}

func (w *hall) living() map[string]*roomState {
	out := map[string]*roomState{}
	for name, rm := range w.l.rooms {
		if rm.part.owned && !rm.pending {
			out[name] = rm
		}
	}
	return out
}

// TestWalkOrders: at rest a list is what sorting everything would give, page by page.
func TestWalkOrders(t *testing.T) {
	w := newHall(t)
	var all []Info
	for i := range 200 {
		name := fmt.Sprintf("room-%d", (i*37)%200)
		members := 1 + (i*7)%13
		w.enter(name, members)
		all = append(all, Info{Room: name, Members: members})
	}
	for _, c := range []struct {
		sort  Sort
		order func(a, b Info) int
	}{
		{SortName, func(a, b Info) int { return 0 }},
		{SortMembers, func(a, b Info) int { return cmp.Compare(b.Members, a.Members) }},
		{SortMessages, func(a, b Info) int { return 0 }},
	} {
		slices.SortFunc(all, func(a, b Info) int { return cmp.Or(c.order(a, b), strings.Compare(a.Room, b.Room)) })
		for _, limit := range []int{1, 7, 199, 200, 1000} {
			got := list(w.l, RoomsQuery{Limit: limit, Sort: c.sort}, w.now)
			if len(got.Rooms) != min(limit, 200) || got.More != (limit < 200) {
				t.Fatalf("%s: %d of %d rooms, more %v", c.sort, len(got.Rooms), limit, got.More)
			}
			for i, r := range got.Rooms {
				if want := all[i]; r.Room != want.Room || r.Members != want.Members || r.Epoch.IsZero() || r.Partition != proto.PartitionOfString(r.Room, hallParts) {
					t.Fatalf("%s: number %d is %+v, want %+v", c.sort, i, r, want)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return strings.Compare(a.Room, b.Room) })
	var pages []string
	for after, more := "", true; more; {
		page := list(w.l, RoomsQuery{Prefix: "room-1", After: after, Limit: 10}, w.now)
		pages = append(pages, namesOf(page)...)
		more = page.More
		after = pages[len(pages)-1]
	}
	if want := slices.DeleteFunc(namesOf(RoomList{Rooms: all}), func(s string) bool { return !strings.HasPrefix(s, "room-1") }); !slices.Equal(pages, want) {
		t.Errorf("pages have %v, want %v", pages, want)
	}
	given := NewWalk(RoomsQuery{})
	if w.l.Walk(given, 1, w.now); len(w.l.walks) != 1 {
		t.Errorf("a walk under way: %d are remembered", len(w.l.walks))
	}
	if w.l.Leave(given); len(w.l.walks) != 0 {
		t.Errorf("a walk was given up, and %d are remembered", len(w.l.walks))
	}
	if got := list(w.l, RoomsQuery{Limit: -1}, w.now); len(got.Rooms) != 1 {
		t.Errorf("a limit of -1 gives %d rooms", len(got.Rooms))
	}
}

// TestRates: while somebody watches, and only then.
func TestRates(t *testing.T) {
	w := newHall(t)
	for _, room := range []string{"a", "b", "c", "idle"} {
		w.enter(room, 1)
	}
	talk := func(seconds int) {
		for range seconds {
			for range 5 {
				w.say("a")
			}
			for range 20 {
				w.say("b")
			}
			w.pass(time.Second)
		}
	}
	busiest := func() string {
		s := ""
		for _, i := range list(w.l, RoomsQuery{Sort: SortMessages, Limit: 10}, w.now).Rooms {
			s += fmt.Sprintf("%s %.0f ", i.Room, i.MessagesPerSecond)
		}
		return strings.TrimSpace(s)
	}
	talk(2)
	if len(w.l.paces) != 0 || busiest() != "a 0 b 0 c 0 idle 0" {
		t.Errorf("nobody watches: %d rooms are counted, %s", len(w.l.paces), busiest())
	}
	if wait := w.l.Watch(w.now); wait != time.Second {
		t.Errorf("the first one waits %v, want 1 s", wait)
	}
	talk(1)
	w.say("c")
	if got := busiest(); got != "b 20 a 5 c 1 idle 0" {
		t.Errorf("after a second: %s", got)
	}
	if wait := w.l.Watch(w.now); wait != 0 {
		t.Errorf("the second one waits %v", wait)
	}
	talk(2)
	if got := busiest(); got != "b 20 a 5 c 0 idle 0" {
		t.Errorf("over two seconds more: %s", got)
	}
	if got := list(w.l, RoomsQuery{Sort: SortName, Limit: 2}, w.now).Rooms; got[0].MessagesPerSecond != 5 || got[1].MessagesPerSecond != 20 {
		t.Errorf("by name: %+v", got)
	}
	if got := list(w.l, RoomsQuery{Sort: SortMessages, Limit: 1}, w.now); !got.More || len(got.Rooms) != 1 || got.Rooms[0].Room != "b" {
		t.Errorf("the busiest alone: %+v", got)
	}
	w.lose(proto.PartitionOfString("b", hallParts))
	talk(1)
	if got := busiest(); !strings.HasPrefix(got, "b 20 a 5") {
		t.Errorf("b begins anew: %s", got)
	}
	w.pass(watchAge)
	if n := len(w.l.paces); n != 0 || w.l.watching {
		t.Errorf("nobody watches any more: %d rooms are counted", n)
	}
	for _, rm := range w.l.rooms {
		if rm.paced {
			t.Errorf("%s is marked as counted", rm.name)
		}
	}
}

// TestWatchedPathAllocatesNothing: also while somebody watches, once all that talk
// are known.
func TestWatchedPathAllocatesNothing(t *testing.T) {
	w := newLoad(t, 100)
	w.l.Watch(w.now)
	for range 300 {
		w.many()
	}
	if n := testing.AllocsPerRun(20, w.many); n != 0 || len(w.l.paces) != 100 {
		t.Errorf("%v allocations per 100 messages, %d rooms are counted", n, len(w.l.paces))
	}
}

// BenchmarkWalk is a walk through a million rooms, each with a router attached:
// how long it takes, and how long it holds the loop, if it is called for 64 rooms at
// a time until 100 µs are over.
func BenchmarkWalk(b *testing.B) {
	const n = 1_000_000
	g := newRig(b, Config{Partitions: proto.Partitions})
	r := g.up("r1")
	for i := range n {
		name := fmt.Sprintf("room-%d", i*7919%n)
		p := proto.PartitionOfString(name, proto.Partitions)
		f, start := proto.BeginBatch(nil, proto.FrameAttach, p, 1)
		g.must(r, proto.End(proto.AppendAttachEntry(f, name, proto.Epoch{}, 0), start))
		g.l.rooms[name].cursors.members = uint32(i % 1000)
		if i%1000 == 0 {
			g.l.Fill(r, nil, 64<<20)
		}
	}
	g.l.Fill(r, nil, 64<<20)
	runtime.GC()
	for _, sort := range []Sort{SortName, SortMembers, SortMessages} {
		b.Run(string(sort), func(b *testing.B) {
			var holds []time.Duration
			for b.Loop() {
				w := NewWalk(RoomsQuery{Limit: MaxRooms, Sort: sort})
				for done := false; !done; {
					begin := time.Now()
					for !done && time.Since(begin) < 100*time.Microsecond {
						done = g.l.Walk(w, 64, g.now)
					}
					holds = append(holds, time.Since(begin))
				}
				if len(w.List().Rooms) != MaxRooms {
					b.Fatal("rooms are missing")
				}
			}
			slices.Sort(holds)
			b.ReportMetric(float64(holds[len(holds)*99/100].Microseconds()), "p99-µs/hold")
			b.ReportMetric(float64(holds[len(holds)-1].Microseconds()), "max-µs/hold")
		})
	}
}

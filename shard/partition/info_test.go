package partition

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// TestMembersAreCounted: the sum that is kept is that of all rooms, whatever
// comes and goes.
func TestMembersAreCounted(t *testing.T) {
	rooms := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		g := newRig(t, Config{})
		routers := map[string]*Peer{}
		term := proto.Term(1)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			id, room := rapid.SampledFrom([]string{"r1", "r2"}).Draw(rt, "router"), rapid.SampledFrom(rooms).Draw(rt, "room")
			r := routers[id]
			if r == nil {
				r = g.up(id)
				routers[id] = r
			}
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				g.must(r, attachFrame(term, room))
			case 1:
				b, start := proto.BeginBatch(nil, proto.FrameDetach, 0, term)
				g.must(r, proto.End(proto.AppendDetachEntry(b, room), start))
			case 2, 3:
				b, start := proto.BeginBatch(nil, proto.FrameMembers, 0, term)
				g.must(r, proto.End(proto.AppendMembersEntry(b, room, rapid.Uint32Range(0, 9).Draw(rt, "n")), start))
			case 4:
				g.l.Down(r)
				delete(routers, id)
			case 5:
				term++
				owner := rapid.SampledFrom([]proto.NodeName{self, stranger}).Draw(rt, "owner")
				row := Row{Owner: owner, Term: term, Since: 1}
				if owner == stranger {
					row.Followers = names(self)
				}
				g.row(row)
			}
			if rapid.Bool().Draw(rt, "tick") {
				g.now = g.now.Add(50 * time.Millisecond)
				g.l.Tick(g.now)
			}
			sum, s := 0, g.l.Stats()
			for _, room := range rooms {
				i, _ := g.l.Room(room)
				sum += i.Members
			}
			if s.Members != sum || s.Owning > s.Rooms {
				rt.Fatalf("%d members are counted in %d of %d rooms, there are %d", s.Members, s.Owning, s.Rooms, sum)
			}
		}
	})
}

// TestLag: what a follower has not stored is counted, whatever others have.
func TestLag(t *testing.T) {
	d := newDuo(t, Config{})
	d.row(Row{Owner: self, Followers: names(stranger, third), Term: 2, Since: 1})
	d.f.SetTable(0, Row{Owner: self, Followers: names(stranger, third), Term: 2, Since: 1}, d.now)
	if s := d.l.Stats(); s.LagEntries != 0 || s.LagBytes != 0 {
		t.Errorf("nothing was said, and the lag is %d entries, %d bytes", s.LagEntries, s.LagBytes)
	}
	r := d.up("r1")
	x := pub(1, 1, "lobby", "a")
	x.Term = 2
	d.publish(r, x)
	d.flow()
	s := d.l.Stats()
	if want := int(d.l.parts[0].log.last()); s.LagEntries != want || want == 0 || s.LagBytes != s.PendingBytes {
		t.Errorf("one follower stores nothing: the lag is %d entries of %d, %d bytes of %d", s.LagEntries, want, s.LagBytes, s.PendingBytes)
	}
	d.row(Row{Owner: self, Followers: names(stranger), Term: 3, Since: 1})
	d.f.SetTable(0, Row{Owner: self, Followers: names(stranger), Term: 3, Since: 1}, d.now)
	d.flow()
	if s := d.l.Stats(); s.LagEntries != 0 || s.LagBytes != 0 || s.Published != 1 {
		t.Errorf("all have stored all, and the lag is %d entries, %d bytes", s.LagEntries, s.LagBytes)
	}
	if s := d.f.Stats(); s.LagEntries != 0 {
		t.Errorf("a follower has a lag of %d entries", s.LagEntries)
	}
}

// TestCommitIsTimed: one entry at a time of each partition, until all have it.
func TestCommitIsTimed(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	counted := func(want string) {
		t.Helper()
		if h := &d.l.stats.Commit; fmt.Sprintf("%d in %v", h.Total(), h.Sum) != want {
			t.Errorf("commits took %d in %v, want %s", h.Total(), h.Sum, want)
		}
	}
	d.say(r, "lobby", "a") // with the router's number and the room: three entries
	d.now = d.now.Add(3 * time.Millisecond)
	d.say(r, "lobby", "b")
	counted("0 in 0s")
	d.flow()
	counted("1 in 3ms")
	d.say(r, "lobby", "c")
	d.now = d.now.Add(time.Millisecond)
	d.flow()
	counted("2 in 4ms")
	d.say(r, "lobby", "d")
	d.both(Row{Owner: stranger, Followers: names(self), Term: 2, Since: 1})
	d.both(Row{Owner: self, Followers: names(stranger), Term: 3, Since: 1})
	d.now = d.now.Add(time.Second)
	d.flow()
	counted("2 in 4ms") // it was another owner's to commit
	d.both(Row{Owner: self, Term: 4, Since: 1})
	alone := pub(5, 5, "lobby", "e")
	alone.Term = 4
	d.publish(r, alone)
	counted("2 in 4ms") // nobody else has to have it
}

// TestHandoverIsTimed: from the freeze to the row of the next owner, and no other.
func TestHandoverIsTimed(t *testing.T) {
	for _, c := range []struct {
		name string
		last Row
		want uint64
	}{
		{"handed over", Row{Owner: stranger, Followers: names(self), Term: 2, Since: 1}, 1},
		{"another became owner", Row{Owner: third, Followers: names(self), Term: 2, Since: 1}, 0},
		{"it stays", Row{Owner: self, Followers: names(stranger), Term: 2, Since: 1}, 0},
	} {
		d := newDuo(t, Config{})
		d.both(Row{Owner: self, Followers: names(stranger), Term: 1, Since: 1, Learner: stranger, Freezing: true})
		d.now = d.now.Add(20 * time.Millisecond)
		d.both(c.last)
		h := &d.l.stats.Handover
		if h.Total() != c.want || h.Sum != time.Duration(c.want)*20*time.Millisecond {
			t.Errorf("%s: %d in %v", c.name, h.Total(), h.Sum)
		}
	}
}

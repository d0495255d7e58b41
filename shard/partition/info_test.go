package partition

import (
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

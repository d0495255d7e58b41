package partition

import (
	"bytes"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

// FuzzFrame hands arbitrary frames to a lane: it must neither panic nor keep
// more than its bounds, what it sends must parse, and the same input must lead
// to the same bytes.
func FuzzFrame(f *testing.F) {
	f.Add(append(attachFrame(1, "lobby", "other e1.3"), proto.AppendPublish(nil, pub(1, 1, "lobby", "hello"))...))
	f.Add(append(proto.AppendPublish(nil, inTerm(2, pub(3, 2, "lobby", "a"))), proto.AppendFetch(nil, &proto.Fetch{Term: 1, Room: []byte("lobby"), Epoch: proto.MintEpoch(1), Upto: 9})...))
	f.Add(append(fencedFrame(9), attachFrame(1, "lobby")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		one, two := runFrames(t, data), runFrames(t, data)
		if !bytes.Equal(one, two) {
			t.Error("two runs differ")
		}
	})
}

// runFrames reads data as frames, the first byte of each deciding what else
// happens.
func runFrames(t *testing.T, data []byte) (out []byte) {
	g := newRig(t, Config{Rooms: 8, HistoryMessages: 4, MaxMessage: 256})
	peers := []*Peer{g.up("r1"), g.up("r2")}
	for n := 0; len(data) > 0; n++ {
		typ, size, err := proto.ParseHeader(data)
		if err != nil || size == 0 || size > len(data) {
			typ, size = proto.FrameType(data[0]), min(len(data), 64)
			data = append(make([]byte, proto.HeaderSize), data...)
			size += proto.HeaderSize
		}
		r := peers[n%2]
		if err := g.l.Frame(r, typ, data[proto.HeaderSize:size], g.now); err != nil {
			g.l.Down(r)
			peers[n%2] = g.up([]string{"r1", "r2"}[n%2])
		}
		data = data[size:]
		g.now = g.now.Add(time.Duration(n%7) * 10 * time.Second)
		g.l.Tick(g.now)
		if n%5 == 4 {
			g.table([]proto.NodeName{self, stranger}[n%3%2], proto.Term(n/5+2))
		}
		for _, r := range g.l.Dirty(nil) {
			out = g.l.Control(r, out)
			out = g.l.Fill(r, out, n%3*1000)
		}
	}
	for _, r := range peers {
		out = g.l.Fill(r, out, 1<<20)
	}
	lines(t, out)
	if s := g.l.Stats(); s.Rooms > 8 || s.HeldBytes > 2*maxHeld {
		t.Errorf("out of bounds: %+v", s)
	}
	return out
}

// FuzzCopy hands arbitrary frames of an owner to a follower and to a learner, and
// of a follower to an owner: none may panic or keep more than its bounds, and who
// has a copy can go on with it as the owner.
func FuzzCopy(f *testing.F) {
	lobby := []byte("lobby")
	met := proto.Entry{Kind: proto.EntryMet, Publisher: 1, Name: []byte(routerName("r1"))}
	created := proto.Entry{Kind: proto.EntryCreated, Room: lobby, Epoch: proto.MintEpoch(1)}
	said := proto.Entry{Kind: proto.EntryMessage, Publisher: 1, Seq: 1, Offset: 1, Room: lobby, Payload: lobby}
	left := proto.Entry{Kind: proto.EntryLeft, Publisher: 1}
	gone := proto.Entry{Kind: proto.EntryForgotten, Room: lobby}
	dropped := proto.Entry{Kind: proto.EntryDropped, Publisher: 1}
	f.Add(appendFrame(proto.Append{Term: 1, EntryTerm: 1, Commit: 3}, met, created, said))
	f.Add(append(appendFrame(proto.Append{Term: 1, EntryTerm: 1, Commit: 2}, met, created, said, left), appendFrame(proto.Append{Term: 1, Prev: 4, PrevTerm: 1, Commit: 6, EntryTerm: 1}, gone, dropped)...))
	f.Add(append(appendFrame(proto.Append{Term: 1, EntryTerm: 1}, met, created), appendFrame(proto.Append{Term: 2, Prev: 1, PrevTerm: 1, Commit: 2, EntryTerm: 2}, gone)...))
	room := proto.Entry{Kind: proto.EntryRoom, Room: lobby, Epoch: proto.MintEpoch(1)}
	pub := proto.Entry{Kind: proto.EntryPublisher, Publisher: 1, Committed: 1, Name: met.Name}
	end := proto.Entry{Kind: proto.EntryRoomEnd, Room: lobby}
	given := proto.Entry{Kind: proto.EntryDropped, At: 1, Publisher: 1} // how a lesson begins
	said2 := said
	said2.Offset, said2.Seq = 2, 2
	f.Add(append(snapshotFrame(proto.Snapshot{Term: 1, Index: 9, First: true, Last: true}, given, pub, room, said, end), appendFrame(proto.Append{Term: 1, Prev: 9, PrevTerm: 1, Commit: 11, EntryTerm: 1}, said2, gone)...))
	f.Add(append(snapshotFrame(proto.Snapshot{Term: 1, Index: 9, First: true}, given, pub, room, said), snapshotFrame(proto.Snapshot{Term: 1, Index: 10, Last: true}, said2, end)...))
	f.Add(append(storedFrame(1, 2), proto.AppendStored(nil, &proto.Stored{Term: 1, Gap: true})...))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, row := range []Row{
			{Owner: stranger, Followers: names(self), Term: 1, Since: 1},
			{Owner: stranger, Learner: self, Term: 1, Since: 1},
			{Owner: self, Followers: names(stranger), Term: 1, Since: 1},
			{Owner: self, Learner: stranger, Term: 1, Since: 1},
		} {
			copyFrames(t, row, data)
		}
	})
}

func copyFrames(t *testing.T, row Row, data []byte) {
	g := &rig{t: t, l: NewLane(Config{Self: self, Partitions: 1, Rooms: 8, HistoryMessages: 4, SnapshotRate: -1}), now: time.Unix(1000, 0)}
	g.row(row)
	r, s := g.up("r1"), g.l.ShardUp(stranger, 0, 1)
	if row.Owner == self {
		g.say(r, "lobby", "a", "b")
	}
	for n := 0; len(data) > 0; n++ {
		typ, size, err := proto.ParseHeader(data)
		if err != nil || size == 0 || size > len(data) {
			break
		}
		if err := g.l.Frame(s, typ, data[proto.HeaderSize:size], g.now); err != nil {
			g.l.Down(s)
			s = g.l.ShardUp(stranger, 0, 1)
		}
		data = data[size:]
		g.now = g.now.Add(time.Duration(n%3) * 700 * time.Millisecond)
		g.l.Tick(g.now)
		lines(t, g.l.Fill(s, g.l.Control(s, nil), 1<<20))
		g.l.Wishes(nil, g.now)
	}
	g.l.Digest(0)
	g.row(Row{Owner: self, Term: 9, Since: 1})
	if s := g.l.Stats(); s.Owned == 1 {
		g.must(r, attachFrame(9, "lobby"))
		g.publish(r, inTerm(9, pub(7, 7, "lobby", "x")))
		g.pass(time.Hour)
		lines(t, g.l.Fill(r, g.l.Control(r, nil), 1<<20))
	}
	if s := g.l.Stats(); s.Rooms > 8*maxFollowed || s.PendingBytes != 0 || s.HeldBytes > 2*maxHeld {
		t.Errorf("%+v", s)
	}
}

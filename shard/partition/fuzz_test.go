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
			g.l.RouterDown(r)
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

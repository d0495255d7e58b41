package partition

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

func TestAttachFromAPosition(t *testing.T) {
	// The room is e1 with messages 1 to 5, of which 3 to 5 are kept.
	tests := []struct{ from, told, heard string }{
		{"", "e1.5 first 3 whole", ""},
		{"e1.5", "e1.5 first 3 whole", ""},
		{"e1.4", "e1.4 first 3 whole", "e1.5 e"},
		{"e1.2", "e1.2 first 3 whole", "e1.3 c d e"},
		{"e1.1", "e1.2 first 3 gap", "e1.3 c d e"},
		{"e1.0", "e1.2 first 3 gap", "e1.3 c d e"},
		{"e1.6", "e1.5 first 3 reset", ""},
		{"e7.5", "e1.2 first 3 reset", "e1.3 c d e"},
		{"e7.99", "e1.2 first 3 reset", "e1.3 c d e"},
	}
	for _, tt := range tests {
		t.Run("from "+tt.from, func(t *testing.T) {
			g := newRig(t, Config{HistoryMessages: 3, WindowAge: -1})
			g.say(g.up("r1"), "lobby", "a", "b", "c", "d", "e")
			r := g.up("r2")
			g.attach(r, strings.TrimSpace("lobby "+tt.from))
			want := []string{"attached lobby " + tt.told}
			if tt.heard != "" {
				want = append(want, "deliver lobby "+tt.heard)
			}
			g.want("heard", g.data(r), want...)
		})
	}
}

func TestAttachCreatesTheRoom(t *testing.T) {
	g := newRig(t, Config{Rooms: 2})
	r := g.up("r1")
	g.attach(r, "one", "two e9.4", "three", "\x01")
	g.want("told", g.data(r),
		"attached three refused full", "attached \x01 refused bad_room",
		"attached one e1.0 first 1 whole", "attached two e2.0 first 1 reset")
}

func TestAttachAgainMovesTheCursor(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.say(r, "lobby", "a", "b")
	g.data(r)
	g.attach(r, "lobby e1.1")
	g.want("heard", g.data(r), "attached lobby e1.1 first 1 whole", "deliver lobby e1.2 b#9")
	g.say(r, "lobby", "c")
	g.want("one copy", g.data(r), "deliver lobby e1.3 c#9")
}

func TestDetachedHearsNothing(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby", "other")
	g.say(r, "lobby", "a")
	g.detach(r, "lobby")
	g.detach(r, "never seen")
	g.say(r, "lobby", "b")
	g.want("heard", g.data(r), "attached other e2.0 first 1 whole")
}

// TestAttachAndDetachQueueNothing: who reads nothing cannot make us remember
// more and more.
func TestAttachAndDetachQueueNothing(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	for range 1000 {
		g.attach(r, "lobby")
		g.detach(r, "lobby")
	}
	if r.first != nil || r.cursors != nil {
		t.Error("cursors are left")
	}
	var err error
	for i := 0; err == nil && i < maxAnswers+1; i++ {
		err = g.send(r, attachFrame(1, "\x01"))
	}
	if err == nil || len(r.answers) > maxAnswers {
		t.Errorf("%d refusals queue: %v", len(r.answers), err)
	}
	r = g.up("r2")
	g.attach(r, "lobby")
	err = nil
	for i := 0; err == nil && i < maxFetches+1; i++ {
		err = g.fetch(r, "lobby", uint64(1), 0, 5)
	}
	if err == nil || r.fetches > maxFetches {
		t.Errorf("%d fetches queue: %v", r.fetches, err)
	}
}

func TestFetch(t *testing.T) {
	// The room is e1 with messages 1 to 5, of which 3 to 5 are kept.
	tests := []struct {
		room        string
		epoch       uint64
		after, upto proto.Offset
		want        string
	}{
		{"lobby", 1, 2, 4, "fetched lobby e1 after 2 c d last"},
		{"lobby", 1, 0, 4, "fetched lobby e1 after 2 c d last"},
		{"lobby", 1, 0, 1, "fetched lobby e1 after 1 last"},
		{"lobby", 1, 4, 99, "fetched lobby e1 after 4 e last"},
		{"lobby", 1, 9, 99, "fetched lobby e1 after 5 last"},
		{"lobby", 1, 4, 4, "fetched lobby e1 after 4 last"},
		{"lobby", 2, 2, 4, "fetched lobby e2 after 4 last"},
		{"nowhere", 1, 2, 4, "fetched nowhere e1 after 4 last"},
	}
	for _, tt := range tests {
		g := newRig(t, Config{HistoryMessages: 3, WindowAge: -1})
		g.say(g.up("r1"), "lobby", "a", "b", "c", "d", "e")
		r := g.up("r2")
		check(t, g.fetch(r, tt.room, tt.epoch, tt.after, tt.upto))
		g.want(fmt.Sprintf("%+v", tt), g.data(r), tt.want)
		if r.cursors != nil || r.fetches != 0 {
			t.Errorf("%+v: a cursor is left", tt)
		}
	}
}

func TestFetchComesInPieces(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	for range 10 {
		g.say(r, "lobby", strings.Repeat("x", 60_000))
	}
	check(t, g.fetch(r, "lobby", 1, 0, 10))
	var heads []string
	for range 20 {
		for _, s := range lines(t, g.l.Fill(r, nil, 150_000)) {
			heads = append(heads, strings.ReplaceAll(s, strings.Repeat("x", 60_000), "x"))
		}
	}
	g.want("pieces", heads,
		"fetched lobby e1 after 0 x#9 x#9", "fetched lobby e1 after 2 x#9 x#9", "fetched lobby e1 after 4 x#9 x#9",
		"fetched lobby e1 after 6 x#9 x#9", "fetched lobby e1 after 8 x#9 x#9 last")
}

func TestStalledRouterAloneGetsAGap(t *testing.T) {
	g := newRig(t, Config{HistoryMessages: 2, WindowAge: -1})
	fast, slow := g.up("fast"), g.up("slow")
	g.attach(fast, "lobby")
	g.attach(slow, "lobby e9.9") // what it was told before must not show
	g.data(fast)
	g.want("slow, at first", g.data(slow), "attached lobby e1.0 first 1 reset")
	g.say(fast, "lobby", "a")
	g.want("slow, before it stalls", g.data(slow), "deliver lobby e1.1 a")
	g.data(fast)
	for _, s := range []string{"b", "c", "d", "e"} {
		g.say(fast, "lobby", s)
		if have := g.data(fast); len(have) != 1 || !strings.HasPrefix(have[0], "deliver") {
			t.Fatalf("fast heard %v", have)
		}
	}
	g.want("slow", g.data(slow), "attached lobby e1.3 first 4 gap", "deliver lobby e1.4 d e")
	if n := g.l.Stats().FellBehind; n != 1 {
		t.Errorf("fell behind %d times", n)
	}
}

func TestBigMessagesGoAlone(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	big := strings.Repeat("x", 300<<10)
	g.say(r, "lobby", "a", big, "b")
	if out := g.l.Fill(r, nil, 64); len(out) > 64 || len(lines(t, out)) != 1 {
		t.Errorf("first fill: %d bytes", len(out))
	}
	g.want("in 1 KiB", lines(t, g.l.Fill(r, nil, 1024)), "deliver lobby e1.1 a#9")
	g.want("in 200 KiB", lines(t, g.l.Fill(r, nil, 200<<10)))
	g.want("in a frame", lines(t, g.l.Fill(r, nil, proto.MaxFrame)), "deliver lobby e1.2 "+big+"#9", "deliver lobby e1.3 b#9")
}

func TestRoomsTakeTurns(t *testing.T) {
	g := newRig(t, Config{})
	r, ear := g.up("r1"), g.up("ear")
	g.attach(ear, "busy", "quiet")
	for range 20 {
		g.say(r, "busy", strings.Repeat("x", 60_000))
	}
	g.say(r, "quiet", "hello")
	have := lines(t, g.l.Fill(ear, nil, 300_000))
	if len(have) < 4 || have[3] != "deliver quiet e2.1 hello" {
		t.Errorf("%d frames, and quiet was not among the first", len(have))
	}
}

func TestRoomInfo(t *testing.T) {
	g := newRig(t, Config{})
	r2, r1 := g.up("r2"), g.up("r1")
	g.members(r1, "lobby", 7) // no credit needed, so it may come first
	g.attach(r2, "lobby")
	g.attach(r1, "lobby")
	g.members(r2, "lobby", 3)
	g.say(r1, "lobby", "hello", "you")
	i, ok := g.l.Room("lobby")
	have := fmt.Sprintf("%v %+v", ok, i)
	want := "true {Room:lobby Partition:0 Term:1 Epoch:0000000000001 Offset:2 First:1 Kept:2 Bytes:8 Members:10 Routers:[{Name:r1/0000000000001 Members:7} {Name:r2/0000000000001 Members:3}] Followers:[] MessagesPerSecond:0}"
	if have != want {
		t.Errorf("room:\n  have %s\n  want %s", have, want)
	}
	g.l.Down(r1)
	if i, _ := g.l.Room("lobby"); i.Members != 3 || len(i.Routers) != 1 {
		t.Errorf("after its link is down r1 still counts: %+v", i)
	}
	if _, ok := g.l.Room("elsewhere"); ok {
		t.Error("there is a room nobody asked for")
	}
}

func TestRoomIsForgotten(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "heard", "left")
	g.say(r, "said", "a")
	g.detach(r, "left")
	g.pass(4*time.Minute + 50*time.Second)
	g.want("before", g.roomNames(), "heard", "left", "said")
	g.pass(20 * time.Second)
	g.want("after", g.roomNames(), "heard")
	g.detach(r, "heard")
	g.pass(4 * time.Minute)
	g.attach(r, "heard")
	g.pass(10 * time.Minute)
	g.want("attached again in time", g.roomNames(), "heard")
	if s := g.l.Stats(); s.Forgotten != 2 || s.HistoryBytes != 0 {
		t.Errorf("stats %+v", s)
	}
	g.data(r)
	g.attach(r, "said e3.1")
	g.want("a new life", g.data(r), "attached said e4.0 first 1 reset")
}

// TestNoRoomIsForgottenWhileRoutersAttach: a change of term sends all routers
// to attach again, and what they come for must be there.
func TestNoRoomIsForgottenWhileRoutersAttach(t *testing.T) {
	g := newRig(t, Config{HistoryAge: 10 * time.Second})
	g.say(g.up("r1"), "lobby", "a")
	g.table(self, 2)
	g.pass(29 * time.Second)
	g.want("within 30 s", g.roomNames(), "lobby")
	g.pass(2 * time.Second)
	g.want("after", g.roomNames())
}

func (g *rig) roomNames() (names []string) {
	for _, i := range list(g.l, RoomsQuery{Limit: MaxRooms}, g.now).Rooms {
		names = append(names, i.Room)
	}
	return names
}

func TestWindowEndsWithoutTraffic(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.say(r, "lobby", "a")
	g.pass(time.Minute)
	for range 1500 {
		g.say(r, "lobby", "x")
	}
	g.pass(15 * time.Second)
	if i, _ := g.l.Room("lobby"); i.Kept != 1000 {
		t.Errorf("%d are kept after the window ended", i.Kept)
	}
}

func TestLinksAreReapedBitByBit(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	for i := range 3 * tickCursors / 2 {
		g.attach(r, fmt.Sprintf("room%d", i))
	}
	g.data(r)
	g.l.Dirty(nil)
	again := g.up("r1") // the same link, before anyone noticed that it was down
	g.attach(again, "room0")
	g.say(again, "room1", "x")
	if d := g.l.Dirty(nil); len(d) != 1 || d[0] != again {
		t.Errorf("%d peers are dirty, one of them up", len(d))
	}
	g.l.Tick(g.now)
	if len(g.l.reaping) != 1 {
		t.Error("all cursors went in one tick")
	}
	g.l.Tick(g.now)
	if len(g.l.reaping) != 0 || r.cursors != nil {
		t.Error("cursors are left after two ticks")
	}
	if i, _ := g.l.Room("room0"); len(i.Routers) != 1 {
		t.Errorf("room0 has %v", i.Routers)
	}
	if err := g.send(r, attachFrame(1, "late")); err != nil {
		t.Errorf("a late frame of the old link: %v", err)
	}
	g.say(again, "room0", "a")
	g.want("heard", g.data(again), "attached room0 e1.0 first 1 whole", "deliver room0 e1.1 a#9")
}

// TestDetachEndsFetches: a router that comes back asks again.
func TestDetachEndsFetches(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.say(r, "lobby", "a", "b")
	g.data(r)
	check(t, g.fetch(r, "lobby", 1, 0, 2))
	g.detach(r, "lobby")
	g.want("nothing is answered", g.data(r))
	if r.fetches != 0 || r.cursors != nil {
		t.Errorf("%d fetches are left", r.fetches)
	}
}

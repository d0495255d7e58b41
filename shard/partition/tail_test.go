package partition

import (
	"fmt"
	"strings"
	"testing"

	"github.com/roomring/roomring/proto"
)

// tell says an answer in a line.
func tell(t Tail) string {
	switch {
	case !t.Owned:
		return "not owned"
	case !t.Found:
		return "not found"
	}
	s := fmt.Sprintf("%s.%d first %d", short(t.Epoch), t.Head, t.First)
	if t.Reset {
		s += " reset"
	}
	s += fmt.Sprintf(" from %d:", t.From)
	for _, m := range t.Messages {
		s += fmt.Sprintf(" %d=%.10s/%d", m.Offset, m.Payload, m.Bytes)
	}
	return s
}

func TestTail(t *testing.T) {
	g := newRig(t, Config{HistoryMessages: 4, WindowAge: -1, Partitions: 1})
	r1, r2 := g.up("r1"), g.up("r2")
	g.attach(r1, "lobby", "empty")
	g.say(r1, "lobby", "a", "bb", "ccc")
	timed := pub(1, 1, "lobby", "dddd")
	timed.Conn |= proto.TimedConn
	g.publish(r2, timed)
	g.say(r2, "lobby", "eeeee", "f")
	e1, other := proto.MintEpoch(1), proto.MintEpoch(9)
	for _, c := range []struct {
		name string
		q    TailQuery
		want string
	}{
		{"no such room", TailQuery{Room: "nothing"}, "not found"},
		{"from now", TailQuery{Room: "lobby", Limit: 9, After: 2}, "e1.6 first 3 from 6:"},
		{"an empty room", TailQuery{Room: "empty", Limit: 9}, "e2.0 first 1 from 0:"},
		{"all above", TailQuery{Room: "lobby", Epoch: e1, After: 4, Limit: 9}, "e1.6 first 3 from 4: 5=/5 6=/1"},
		{"some above", TailQuery{Room: "lobby", Epoch: e1, After: 4, Limit: 1}, "e1.6 first 3 from 4: 5=/5"},
		{"at the head", TailQuery{Room: "lobby", Epoch: e1, After: 6, Limit: 9}, "e1.6 first 3 from 6:"},
		{"beyond the head", TailQuery{Room: "lobby", Epoch: e1, After: 1 << 63, Limit: 9}, "e1.6 first 3 from 6:"},
		{"just kept", TailQuery{Room: "lobby", Epoch: e1, After: 2, Limit: 1}, "e1.6 first 3 from 2: 3=/3"},
		{"a gap", TailQuery{Room: "lobby", Epoch: e1, After: 1, Limit: 1}, "e1.6 first 3 from 2: 3=/3"},
		{"another epoch", TailQuery{Room: "lobby", Epoch: other, After: 5, Limit: 2}, "e1.6 first 3 reset from 2: 3=/3 4=/4"},
		{"no limit is one", TailQuery{Room: "lobby", Epoch: e1, After: 3}, "e1.6 first 3 from 3: 4=/4"},
		{"what they say", TailQuery{Room: "lobby", Epoch: e1, After: 3, Limit: 9, Payload: true}, "e1.6 first 3 from 3: 4=dddd/4 5=eeeee/5 6=f/1"},
		{"so many bytes", TailQuery{Room: "lobby", Epoch: e1, After: 3, Limit: 9, Payload: true, MaxBytes: 9}, "e1.6 first 3 from 3: 4=dddd/4 5=eeeee/5"},
		{"fewer bytes than one has", TailQuery{Room: "lobby", Epoch: e1, After: 3, Limit: 9, Payload: true, MaxBytes: 1}, "e1.6 first 3 from 3: 4=dddd/4"},
		{"bytes are those of what is told", TailQuery{Room: "lobby", Epoch: e1, After: 3, Limit: 9, MaxBytes: 1}, "e1.6 first 3 from 3: 4=/4 5=/5 6=/1"},
	} {
		if got := tell(g.l.Tail(c.q)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	got := g.l.Tail(TailQuery{Room: "lobby", Epoch: e1, After: 2, Limit: 9}).Messages
	if got[0].Publisher != routerName("r1") || got[1].Publisher != routerName("r2") || got[1].Conn != 9 || got[1].Kind != proto.KindText {
		t.Errorf("who said it: %+v", got)
	}
	told := g.l.Tail(TailQuery{Room: "lobby", Epoch: e1, After: 5, Limit: 9, Payload: true})
	told.Messages[0].Payload[0] = 'X'
	if again := g.l.Tail(TailQuery{Room: "lobby", Epoch: e1, After: 5, Limit: 9, Payload: true}); string(again.Messages[0].Payload) != "f" {
		t.Error("an answer aliases the log")
	}
	g.row(Row{Owner: stranger, Followers: names(self), Term: 2, Since: 1})
	if got := tell(g.l.Tail(TailQuery{Room: "lobby"})); got != "not owned" {
		t.Errorf("a follower says %s", got)
	}
}

// TestTailIsBounded: whatever is asked for, and whatever is there.
func TestTailIsBounded(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	for range 3 * MaxTail {
		g.say(r, "short", "x")
	}
	for range 10 {
		g.say(r, "long", strings.Repeat("x", 60<<10))
	}
	g.say(r, "huge", strings.Repeat("x", MaxTailPayload), strings.Repeat("x", MaxTailPayload+1))
	for _, c := range []struct {
		room     string
		epoch    uint64
		messages int
		bytes    int
	}{{"short", 1, MaxTail, MaxTail}, {"long", 2, 4, 4 * 60 << 10}, {"huge", 3, 2, MaxTailPayload}} {
		got := g.l.Tail(TailQuery{Room: c.room, Epoch: proto.MintEpoch(c.epoch), Limit: 1 << 30, MaxBytes: 1 << 30, Payload: true})
		bytes := 0
		for _, m := range got.Messages {
			bytes += len(m.Payload)
		}
		if len(got.Messages) != c.messages || bytes != c.bytes || got.Reset {
			t.Errorf("%s: %d messages of %d bytes, want %d of %d", c.room, len(got.Messages), bytes, c.messages, c.bytes)
		}
	}
}

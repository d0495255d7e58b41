package partition

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

func TestPublishIsAcknowledgedAndDelivered(t *testing.T) {
	g := newRig(t, Config{})
	r1, r2 := g.up("r1"), g.up("r2")
	g.attach(r1, "lobby")
	g.attach(r2, "lobby")
	g.publish(r1, pub(1, 1, "lobby", "a"))
	g.publish(r1, pub(2, 1, "lobby", "b"))
	g.want("acks", g.control(r1), "ack 2 t1")
	g.want("publisher's router", g.data(r1), "attached lobby e1.0 first 1 whole", "deliver lobby e1.1 a#9 b#9")
	g.want("other router", g.data(r2), "attached lobby e1.0 first 1 whole", "deliver lobby e1.1 a b")
	if d := g.l.Dirty(nil); len(d) != 0 {
		t.Errorf("%d peers are dirty with nothing to send", len(d))
	}
}

// TestSeqs is rule R8: each row is what one router sends, and what it is told.
func TestSeqs(t *testing.T) {
	type send struct{ seq, base proto.Seq }
	tests := []struct {
		name  string
		sends []send
		told  []string
		log   string // what a listener hears, by seq
	}{
		{"in order", []send{{1, 1}, {2, 1}, {3, 1}}, []string{"ack 3 t1"}, "1 2 3"},
		{"unknown router begins at its base", []send{{57, 57}, {58, 57}}, []string{"ack 58 t1"}, "57 58"},
		{"unknown router, above its base", []send{{58, 57}}, []string{"expect t1 57"}, ""},
		{"known router, another owner had those below its base", []send{{1, 1}, {9, 9}}, []string{"ack 9 t1"}, "1 9"},
		{"known router, above such a base", []send{{1, 1}, {9, 8}}, []string{"ack 1 t1", "expect t1 8"}, "1"},
		{"repeated", []send{{1, 1}, {1, 1}, {2, 1}, {1, 1}}, []string{"ack 2 t1"}, "1 2"},
		{"one gap is told once", []send{{1, 1}, {3, 1}, {4, 1}, {5, 1}}, []string{"ack 1 t1", "expect t1 2"}, "1"},
		{"gap filled before anyone is told", []send{{1, 1}, {3, 1}, {2, 1}, {3, 1}}, []string{"ack 3 t1"}, "1 2 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, Config{})
			r, ear := g.up("r1"), g.up("ear")
			g.attach(ear, "lobby")
			g.data(ear)
			for _, s := range tt.sends {
				g.publish(r, pub(s.seq, s.base, "lobby", strconv.Itoa(int(s.seq))))
			}
			g.want("told", g.control(r), tt.told...)
			if tt.log == "" {
				g.want("heard", g.data(ear))
			} else {
				g.want("heard", g.data(ear), "deliver lobby e1.1 "+tt.log)
			}
		})
	}
}

func TestExpectIsToldAgainWhenTheRouterBeganAgain(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	for _, seq := range []proto.Seq{2, 3} {
		g.publish(r, pub(seq, 1, "lobby", "x"))
	}
	g.want("first pass", g.control(r), "expect t1 1")
	g.publish(r, pub(4, 1, "lobby", "x"))
	g.want("what was on its way", g.control(r))
	g.publish(r, pub(2, 1, "lobby", "x"))
	g.want("second pass, lost again", g.control(r), "expect t1 1")
}

func TestExpectIsToldAgainOnANewLink(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.say(r, "lobby", "a")
	g.publish(r, pub(3, 1, "lobby", "x"))
	g.l.Down(r)
	r = g.up("r1")
	g.publish(r, pub(4, 1, "lobby", "x"))
	g.want("on the new link", g.control(r), "expect t1 2")
	g.publish(r, pub(1, 1, "lobby", "a"))
	g.want("what it knew stays", g.control(r), "ack 1 t1")
}

func TestRefusalsUseUpTheirSeq(t *testing.T) {
	g := newRig(t, Config{MaxMessage: 10, Rooms: 1})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.publish(r, pub(1, 1, "lobby", "a"))
	g.publish(r, pub(2, 1, "lobby", "more than ten"))
	g.publish(r, pub(3, 1, "bad\nname", "b"))
	g.publish(r, pub(4, 1, "another", "c"))
	void := pub(5, 1, "lobby", "")
	void.Kind = proto.KindVoid
	g.publish(r, void)
	g.publish(r, pub(6, 1, "lobby", "d"))
	g.want("acks", g.control(r), "ack 6 t1 2:too_big 3:bad_room 4:full")
	g.want("heard", g.data(r), "attached lobby e1.0 first 1 whole", "deliver lobby e1.1 a#9 d#9")

	g.publish(r, pub(3, 1, "bad\nname", "b"))
	g.publish(r, pub(6, 1, "lobby", "d"))
	g.want("acks of repeats", g.control(r), "ack 6 t1 3:bad_room")
	if s := g.l.Stats(); s.Published != 2 || s.Refused != 3 || s.Repeated != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestManyRefusalsTakeSeveralAcks(t *testing.T) {
	g := newRig(t, Config{MaxMessage: 1})
	r := g.up("r1")
	const n = proto.MaxResults + 10
	for seq := proto.Seq(1); seq <= n; seq++ {
		g.publish(r, pub(seq, 1, "lobby", "xx"))
	}
	acks := g.control(r)
	if len(acks) != 2 || !strings.HasPrefix(acks[0], "ack "+strconv.Itoa(proto.MaxResults)+" t1 1:") || !strings.HasPrefix(acks[1], "ack "+strconv.Itoa(n)+" t1") {
		t.Errorf("%d acks", len(acks))
	}
	if pub := r.router.pubs[0]; len(pub.refused) != maxRefused {
		t.Errorf("%d refusals are remembered", len(pub.refused))
	}
}

// TestEntriesCommitLater: with a follower, what is appended is not acknowledged,
// and heard by nobody, before it is stored there.
func TestEntriesCommitLater(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.data(r)
	g.row(Row{Owner: self, Followers: []proto.NodeName{stranger}, Term: 2, Since: 1})
	f := g.l.ShardUp(stranger, 0, 1)
	for seq := proto.Seq(1); seq <= 3; seq++ {
		g.publish(r, inTerm(2, pub(seq, 1, "lobby", strconv.Itoa(int(seq)))))
	}
	g.want("acks before the commit", g.control(r))
	g.want("heard before the commit", g.data(r))
	g.want("the follower", g.data(f), "append t2 behind 1/1 commit 1: met message message message of t2")
	g.must(f, storedFrame(2, 4))
	g.want("acks", g.control(r), "ack 2 t2")
	g.want("heard", g.data(r), "deliver lobby e1.1 1#9 2#9")
	g.must(f, storedFrame(2, 5))
	g.want("acks", g.control(r), "ack 3 t2")
	g.want("heard", g.data(r), "deliver lobby e1.3 3#9")
	if s := g.l.Stats(); s.PendingBytes != 0 {
		t.Errorf("%d bytes of entries are left", s.PendingBytes)
	}
}

func storedFrame(term proto.Term, i proto.Index) []byte {
	return proto.AppendStored(nil, &proto.Stored{Term: term, Index: i})
}

func TestPublisherIsForgottenTenMinutesAfterItsRouterLeft(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.say(r, "lobby", "a", "b")
	g.l.Down(r)
	g.l.RouterGone(routerName("r1"))
	for range 9 {
		g.pass(time.Minute)
	}
	r = g.up("r1") // a false verdict
	g.publish(r, pub(2, 1, "lobby", "b"))
	g.want("still known", g.control(r), "ack 2 t1")

	g.l.Down(r)
	g.l.RouterGone(routerName("r1"))
	g.pass(11 * time.Minute)
	if len(g.l.all) != 0 || len(g.l.routers) != 0 {
		t.Fatalf("%d routers are known", len(g.l.all))
	}
}

func TestRoutersAreBounded(t *testing.T) {
	g := newRig(t, Config{})
	for i := range maxRouters + 10 {
		g.l.Down(g.up("r" + strconv.Itoa(i)))
	}
	if len(g.l.all) != maxRouters || len(g.l.routers) != maxRouters {
		t.Errorf("%d routers are remembered", len(g.l.all))
	}
}

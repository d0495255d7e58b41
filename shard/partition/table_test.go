package partition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/roomring/roomring/proto"
)

const stranger proto.NodeName = "s2/0000000000002"

// table tells of an owner that was the owner in term 1 and, if it still is, without a break.
func (g *rig) table(owner proto.NodeName, term proto.Term) {
	g.since(owner, term, 1)
}

func (g *rig) since(owner proto.NodeName, term, since proto.Term) {
	g.l.SetTable(0, Row{Owner: owner, Term: term, Since: since}, g.now)
}

func inTerm(t proto.Term, x *proto.Publish) *proto.Publish {
	x.Term = t
	return x
}

func TestOldTermIsFenced(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.table(self, 3)
	for seq := proto.Seq(1); seq <= 3; seq++ {
		g.publish(r, inTerm(2, pub(seq, 1, "lobby", "x")))
	}
	g.want("told once", g.control(r), "fenced t3")
	if len(g.l.rooms) != 0 {
		t.Error("a publish of an old term was applied")
	}
}

func fencedFrame(term proto.Term) []byte {
	return proto.AppendSignal(nil, proto.FrameFenced, proto.Signal{Term: term})
}

// TestOwnerIsFenced: an owner that slept hears from a router that there is a
// newer term. It asks for the Table until that is told, and meanwhile goes on.
func TestOwnerIsFenced(t *testing.T) {
	const later = proto.Term(1)<<32 | 2
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.must(r, fencedFrame(1))
	g.needs(0)
	g.must(r, fencedFrame(7))
	g.must(r, fencedFrame(later))
	g.must(r, fencedFrame(7))
	g.needs(later)
	g.needs(later)
	g.say(r, "lobby", "a")
	g.want("it goes on", g.control(r), "ack 1 t1")
	g.want("it goes on", g.data(r), "attached lobby e1.0 first 1 whole", "deliver lobby e1.1 a#9")
	g.table(self, 8) // not yet
	g.needs(later)
	g.table(stranger, later)
	g.needs(0)
	g.want("told", g.control(r), "moved t4294967298")
	if n := g.l.Stats().Outdated; n != 3 {
		t.Errorf("told %d times", n)
	}
	g.must(r, fencedFrame(later+1))
	g.must(r, fencedFrame(3))
	g.needs(0)
	g.want("no answer", g.control(r))
	if s := g.l.Stats(); s.Outdated != 3 || s.Moved != 0 || s.Fenced != 0 || s.Held != 0 {
		t.Errorf("who owns nothing takes notice: %+v", s)
	}
	if err := g.send(r, proto.AppendBytes(nil, proto.FrameFenced, make([]byte, 11))); err == nil {
		t.Error("a fenced with a byte too many is taken")
	}
}

// needs wants the Table to be asked for, for a term of partition 0; 0 for not at all.
func (g *rig) needs(want proto.Term) {
	g.t.Helper()
	if p, term, need := g.l.NeedTable(); p != 0 || term != want || need != (want != 0) {
		g.t.Fatalf("asks for term %d of partition %d: %v; want term %d", term, p, need, want)
	}
}

func TestNotMineIsMoved(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.table(stranger, 2)
	g.publish(r, inTerm(2, pub(1, 1, "lobby", "x")))
	g.must(r, attachFrame(2, "lobby"))
	g.want("told once", g.control(r), "moved t2")
	g.want("data", g.data(r))
	g.publish(r, inTerm(2, pub(1, 1, "lobby", "x")))
	g.want("told again in the next turn", g.control(r), "moved t2")
}

func TestLostPartitionIsDropped(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.say(r, "lobby", "a")
	check(t, g.fetch(r, "lobby", 1, 0, 1))
	g.table(stranger, 2)
	g.want("told", g.control(r), "moved t2")
	g.want("data", g.data(r))
	if s := g.l.Stats(); s.Rooms != 0 || s.HistoryBytes != 0 || s.Owned != 0 || r.cursors != nil {
		t.Errorf("something is left: %+v", s)
	}
	g.since(self, 3, 3)
	g.must(r, attachFrame(3, "lobby e1.1"))
	g.publish(r, inTerm(3, pub(2, 2, "lobby", "b")))
	g.want("gained again", g.control(r), "ack 2 t3")
	g.want("with a new epoch", g.data(r), "attached lobby e2.0 first 1 reset", "deliver lobby e2.1 b#9")
}

func TestHigherTermOfTheSameOwnerKeepsAll(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.say(r, "lobby", "a")
	g.data(r)
	g.control(r)
	g.table(self, 2)
	g.publish(r, inTerm(2, pub(1, 1, "lobby", "a")))
	g.publish(r, inTerm(2, pub(2, 1, "lobby", "b")))
	g.want("acks", g.control(r), "ack 2 t2")
	g.want("heard", g.data(r), "deliver lobby e1.2 b#9")
	g.table(stranger, 1)
	if s := g.l.Stats(); s.Owned != 1 {
		t.Error("an older row was taken")
	}
}

// TestMissedTermWasAnothers: routers published and heard at the owner that we
// did not hear of. Our rooms are their past, and our seqs as well: to go on with
// them would double messages, and expect seqs that are settled for ever.
func TestMissedTermWasAnothers(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.say(r, "lobby", "a")
	g.data(r)
	g.control(r)
	g.since(self, 3, 3)
	g.want("told", g.control(r), "fenced t3")
	g.must(r, attachFrame(3, "lobby e7.4"))
	g.publish(r, inTerm(3, pub(5, 5, "lobby", "b")))
	g.want("publishes go on", g.control(r), "ack 5 t3")
	g.want("with a new epoch", g.data(r), "attached lobby e2.0 first 1 reset", "deliver lobby e2.1 b#9")
	if s := g.l.Stats(); s.Owned != 1 || s.Rooms != 1 {
		t.Errorf("owns %d partitions with %d rooms", s.Owned, s.Rooms)
	}
}

// TestMissedTermsWereOurs: many changes of the row may pass an owner by, a new
// generation among them. While nobody else was the owner, nothing is lost.
func TestMissedTermsWereOurs(t *testing.T) {
	const later = proto.Term(2)<<32 | 9
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.say(r, "lobby", "a")
	g.data(r)
	g.control(r)
	g.table(self, later)
	g.publish(r, inTerm(later, pub(2, 2, "lobby", "b")))
	g.want("acks", g.control(r), "ack 2 t8589934601")
	g.want("heard", g.data(r), "deliver lobby e1.2 b#9")
}

// TestSinceIsJudgedByTheLastTerm: since may be any term up to the last that the
// lane was told. One above it is a break, even if no term was missed: what we
// have is of the past. If it is the row's own term, the log begins with it;
// else it began without us, and we have no copy of it.
func TestSinceIsJudgedByTheLastTerm(t *testing.T) {
	for since, want := range map[proto.Term]string{1: "1 0 1", 4: "1 0 1", 5: "1 0 1", 6: "0 1 0", 7: "1 0 0"} {
		g := newRig(t, Config{})
		r := g.up("r1")
		g.table(self, 5)
		g.must(r, attachFrame(5, "lobby"))
		g.since(self, 7, since)
		s := g.l.Stats()
		if have := fmt.Sprint(s.Owned, s.Missing, s.Rooms); have != want {
			t.Errorf("since %d after term 5: owned, missing, rooms are %s, want %s", since, have, want)
		}
	}
	g := newRig(t, Config{})
	g.attach(g.up("r1"), "lobby")
	g.since(self, 2, 2)
	if s := g.l.Stats(); s.Owned != 1 || s.Rooms != 0 {
		t.Errorf("the next term begins anew, and %d rooms are left", s.Rooms)
	}
}

// TestNewTermEndsFetches: routers ask again in a new term, and an answer to the
// old question would be taken for a part of the new one.
func TestNewTermEndsFetches(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.data(r)
	g.say(r, "lobby", "a", "b")
	g.data(r)
	check(t, g.fetch(r, "lobby", 1, 0, 2))
	g.table(self, 2)
	g.want("nothing is answered", g.data(r))
	if r.fetches != 0 {
		t.Errorf("%d fetches are left", r.fetches)
	}
}

// TestAcknowledgedElsewhere: two coordinators may have given a partition to two
// shards in one term. What the other one acknowledged never comes here.
func TestAcknowledgedElsewhere(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.say(r, "lobby", "a")
	g.data(r)
	g.control(r)
	g.publish(r, pub(6, 5, "lobby", "f"))
	g.want("the first unacknowledged one is asked for", g.control(r), "expect t1 5")
	g.publish(r, pub(5, 5, "lobby", "e"))
	g.publish(r, pub(6, 5, "lobby", "f"))
	g.want("and taken", g.control(r), "ack 6 t1")
	g.want("heard", g.data(r), "deliver lobby e1.2 e#9 f#9")
}

// TestLastWordOfOneTerm: without raft, a split may have made two rows of one
// term. Then the Table's last word counts.
func TestLastWordOfOneTerm(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.table(stranger, 1)
	g.want("told", g.control(r), "moved t1")
	g.table(self, 1)
	g.attach(r, "lobby")
	g.want("heard", g.data(r), "attached lobby e2.0 first 1 whole")
}

func TestHigherTermIsHeld(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.must(r, attachFrame(2, "lobby"))
	g.publish(r, inTerm(2, pub(1, 1, "lobby", "a")))
	g.publish(r, inTerm(3, pub(2, 1, "lobby", "b")))
	g.want("told", g.control(r))
	g.needs(3)
	g.table(self, 2)
	g.want("term 2", g.control(r), "ack 1 t2")
	g.want("term 2", g.data(r), "attached lobby e1.0 first 1 whole", "deliver lobby e1.1 a#9")
	g.needs(3)
	g.table(self, 3)
	g.want("term 3", g.control(r), "ack 2 t3")
	g.needs(0)
	if g.l.Stats().HeldBytes != 0 {
		t.Error("something is still held")
	}
}

func TestHeldForTheWrongOwnerIsMoved(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.must(r, attachFrame(2, "lobby"))
	g.table(stranger, 2)
	g.want("told", g.control(r), "moved t2")
}

// TestHoldEndsWithItsTerm: a router that was told to hold begins again in a newer
// term, so its publishes of that term are held anew. Whether it heard of the
// hold or not, it is told from where on they are missing.
func TestHoldEndsWithItsTerm(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	payload := strings.Repeat("x", 400_000)
	for seq := proto.Seq(1); seq <= 4; seq++ {
		g.publish(r, inTerm(2, pub(seq, 1, "lobby", payload)))
	}
	g.table(self, 2)
	g.want("missing", g.control(r), "ack 2 t2", "go t2", "expect t2 3")
	for seq := proto.Seq(3); seq <= 6; seq++ {
		g.publish(r, inTerm(3, pub(seq, 3, "lobby", payload)))
	}
	g.publish(r, inTerm(4, pub(3, 3, "lobby", "small")))
	g.table(self, 3)
	g.control(r)
	g.table(self, 4)
	if have := g.control(r); !slices.Contains(have, "ack 4 t4") {
		t.Errorf("a publish of the newer term was not taken: told %v", have)
	}
}

func TestHeldIsBounded(t *testing.T) {
	g := newRig(t, Config{})
	r, r2 := g.up("r1"), g.up("r2")
	payload := strings.Repeat("x", 10_000)
	for seq := proto.Seq(1); seq <= 200; seq++ {
		g.publish(r, inTerm(2, pub(seq, 1, "lobby", payload)))
	}
	s := g.l.Stats()
	if s.HeldBytes > maxHeld+len(payload)+200 || s.HeldDropped == 0 {
		t.Fatalf("stats %+v", s)
	}
	first := 200 - int(s.HeldDropped) + 1
	have := g.control(r)
	if len(have) != 1 || !strings.HasPrefix(have[0], "hold t2 10") {
		t.Fatalf("told %v, want hold from %d", have, first)
	}
	dropped := g.l.Stats().HeldDropped
	g.publish(r, inTerm(2, pub(201, 1, "lobby", "small")))
	if g.l.Stats().HeldDropped != dropped+1 {
		t.Error("what comes behind a dropped publish was held")
	}
	g.must(r, attachFrame(2, "lobby")) // others have room of their own
	g.l.Down(r2)
	g.table(self, 2)
	have = g.control(r)
	if len(have) != 3 || !strings.HasPrefix(have[0], "ack 10") || have[1] != "go t2" || have[2] != fmt.Sprintf("expect t2 %d", first) {
		t.Errorf("told %v", have)
	}
	for seq := proto.Seq(first); seq <= 200; seq++ {
		g.publish(r, inTerm(2, pub(seq, 1, "lobby", payload)))
	}
	g.want("and sends them again", g.control(r), "ack 200 t2")

	var err error
	for i := 0; err == nil && i < 100_000; i++ {
		err = g.send(r, attachFrame(9, strings.Repeat("x", 200)))
	}
	if err == nil || g.l.Stats().HeldBytes > 2*maxHeld+1000 {
		t.Errorf("%d bytes are held, error %v", g.l.Stats().HeldBytes, err)
	}
	g.l.Down(r)
	if g.l.Stats().HeldBytes != 0 {
		t.Error("what a link that is down had sent is still held")
	}
	g.needs(9) // there is such a term, whoever spoke of it
	g.table(self, 10)
	g.needs(0)
}

// TestNeedTableNamesEachPartition: until the Table tells their terms, one after
// the other is asked for.
func TestNeedTableNamesEachPartition(t *testing.T) {
	g := newRig(t, Config{Partitions: 3})
	r := g.up("r1")
	for _, p := range []proto.Partition{0, 2} {
		g.publish(r, &proto.Publish{Partition: p, Term: 5 + proto.Term(p), Seq: 1, Base: 1, Room: []byte(roomIn(p, 3))})
	}
	asked := map[proto.Partition]proto.Term{}
	for p, term, need := g.l.NeedTable(); need; p, term, need = g.l.NeedTable() {
		if asked[p] != 0 {
			t.Fatalf("partition %d is asked for again", p)
		}
		asked[p] = term
		g.l.SetTable(p, Row{Owner: self, Term: term, Since: 1}, g.now)
	}
	if len(asked) != 2 || asked[0] != 5 || asked[2] != 7 {
		t.Errorf("asked for %v", asked)
	}
}

func TestHeldFrameThatBreaksTheProtocol(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	bad := attachFrame(2, "lobby")
	bad = bad[:len(bad)-3]
	bad = proto.End(bad, 0)
	g.must(r, bad)
	g.table(self, 2)
	if err := g.send(r, attachFrame(2, "lobby")); err == nil {
		t.Error("the link lives")
	}
}

func TestWhatBreaksTheProtocol(t *testing.T) {
	g := newRig(t, Config{Partitions: 4, Lanes: 2})
	there := roomIn(2, 4)
	b, start := proto.BeginBatch(nil, proto.FrameAttach, 2, 1)
	g.must(g.l.RouterUp("r2/0000000000001", 2, 4), proto.End(proto.AppendAttachEntry(b, there, proto.Epoch{}, 0), start))
	other := roomIn(2, 4) + "?"
	for proto.PartitionOfString(other, 4) != 2 {
		other += "?"
	}
	tests := []struct {
		name  string
		frame []byte
		want  error
	}{
		{"no body", proto.AppendEmpty(nil, proto.FrameAttach), proto.ErrShort},
		{"a frame for routers", proto.AppendAck(nil, 0, 1, 1, nil), errType},
		{"another lane's partition", proto.AppendPublish(nil, &proto.Publish{Partition: 1, Term: 1, Seq: 1, Base: 1, Room: []byte("x")}), errLane},
		{"no such partition", proto.AppendPublish(nil, &proto.Publish{Partition: 4, Term: 1, Seq: 1, Base: 1, Room: []byte("x")}), errLane},
		{"wrong link", proto.AppendPublish(nil, &proto.Publish{Partition: 2, Term: 1, Seq: 1, Base: 1, Room: []byte("x")}), errLink},
		{"base above seq", proto.AppendPublish(nil, &proto.Publish{Partition: 0, Term: 1, Seq: 1, Base: 2, Room: []byte("x")}), proto.ErrValue},
		{"room of another partition", attachFrame(1, other), errRoom},
		{"room that another partition has", attachFrame(1, there), errRoom},
		{"fetch of it", proto.AppendFetch(nil, &proto.Fetch{Term: 1, Room: []byte(there), Upto: 1}), errRoom},
	}
	for _, tt := range tests {
		r := g.l.RouterUp("r1/0000000000001", 0, 4)
		err := g.send(r, tt.frame)
		var e *proto.Error
		if !errors.Is(err, tt.want) || !errors.As(err, &e) || e.Code != proto.Malformed {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// roomIn finds a name that lives in a partition.
func roomIn(p proto.Partition, partitions int) string {
	for name := "room"; ; name += "x" {
		if proto.PartitionOfString(name, partitions) == p {
			return name
		}
	}
}

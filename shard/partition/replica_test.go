package partition

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

const third proto.NodeName = "s3/0000000000003"

// names makes a list of followers.
func names(n ...proto.NodeName) []proto.NodeName { return n }

// duo is an owner (the rig) and another shard, with one partition that both have
// a whole copy of, in term 1.
type duo struct {
	*rig
	f        *Lane
	to, from *Peer // the other, as the owner knows it, and the other way round
}

func newDuo(t testing.TB, cfg Config) *duo {
	d := &duo{rig: newRig(t, cfg)}
	owner := d.l.cfg
	d.l = NewLane(owner)
	owner.Self = stranger
	d.f = NewLane(owner)
	d.both(Row{Owner: self, Followers: names(stranger), Term: 1, Since: 1})
	d.link()
	return d
}

func (d *duo) link() {
	d.to, d.from = d.l.ShardUp(stranger, 0, 1), d.f.ShardUp(self, 0, 1)
}

func (d *duo) both(row Row) {
	d.l.SetTable(0, row, d.now)
	d.f.SetTable(0, row, d.now)
}

// flow has the two exchange frames until there are none.
func (d *duo) flow() {
	d.t.Helper()
	for n := 1; n > 0; {
		n = d.hand(d.f, d.from, d.l.Fill(d.to, d.l.Control(d.to, nil), 64<<20))
		n += d.hand(d.l, d.to, d.f.Fill(d.from, d.f.Control(d.from, nil), 64<<20))
	}
}

func (d *duo) hand(l *Lane, r *Peer, b []byte) (n int) {
	d.t.Helper()
	eachFrame(d.t, b, func(typ proto.FrameType, body []byte) {
		n++
		check(d.t, l.Frame(r, typ, body, d.now))
	})
	return n
}

// ticks lets time pass at both.
func (d *duo) ticks(by time.Duration) {
	d.t.Helper()
	for end := d.now.Add(by); d.now.Before(end); {
		d.now = d.now.Add(50 * time.Millisecond)
		d.l.Tick(d.now)
		d.f.Tick(d.now)
		d.flow()
	}
}

// wishes are what the owner wants now, as lines.
func (d *duo) wishes() string { return wishLines(d.l, d.now) }

func wishLines(l *Lane, now time.Time) string {
	var out []string
	for _, w := range l.Wishes(nil, now) {
		s := fmt.Sprintf("t%d %s %s", w.Term, w.Kind, w.Node.ID())
		if w.Above != 0 {
			s = fmt.Sprintf("t%d %s above %d", w.Term, w.Kind, w.Above)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func (d *duo) wishing(when, want string) {
	d.t.Helper()
	if have := d.wishes(); have != want {
		d.t.Errorf("%s it wishes %q, want %q", when, have, want)
	}
}

// equal wants equal copies.
func (d *duo) equal() {
	d.t.Helper()
	i, a, ok := d.l.Digest(0)
	j, b, has := d.f.Digest(0)
	if !ok || !has || i != j || a != b {
		d.t.Errorf("the owner has %d %x (%v), the other %d %x (%v)", i, a, ok, j, b, has)
	}
}

func TestFollowerHasWhatTheOwnerHas(t *testing.T) {
	d := newDuo(t, Config{HistoryMessages: 3, HistoryAge: time.Minute, WindowAge: -1, MaxMessage: 10})
	r := d.up("r1")
	d.say(r, "lobby", "a", "b", "c", "more than ten bytes", "d")
	d.say(r, "other", "x")
	d.flow()
	d.want("acks", d.control(r), "ack 6 t1 4:too_big")
	d.ticks(2 * tellAge)
	d.equal()
	d.l.Down(r)
	d.l.RouterGone(r.Name())
	d.ticks(11 * time.Minute)
	d.equal()
	if s := d.f.Stats(); s.Rooms != 0 || s.HistoryBytes != 0 || s.PendingBytes != 0 || len(d.f.parts[0].pubs) != 0 {
		t.Errorf("after all was forgotten the follower has %+v", s)
	}
}

// TestAttachedWaitsForTheCommit: nobody is told of an epoch that could be lost.
func TestAttachedWaitsForTheCommit(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.attach(r, "lobby")
	d.want("before", d.data(r))
	if _, ok := d.l.Room("lobby"); ok {
		t.Error("the room is shown")
	}
	d.flow()
	d.want("after", d.data(r), "attached lobby e1.0 first 1 whole")
}

func TestMinCopies(t *testing.T) {
	g := newRig(t, Config{MinCopies: 2})
	r := g.up("r1")
	g.attach(r, "lobby")
	g.say(r, "lobby", "a")
	g.want("with one copy", g.control(r))
	g.row(Row{Owner: self, Followers: names(stranger), Term: 2, Since: 1})
	f := g.l.ShardUp(stranger, 0, 1)
	g.must(f, storedFrame(2, g.l.parts[0].log.last()))
	g.want("with two", g.control(r), "ack 1 t2")
}

// TestTransitions: what a node has after a row, by what it had before it.
func TestTransitions(t *testing.T) {
	owner := Row{Owner: self, Term: 5, Since: 1}
	follower := Row{Owner: stranger, Followers: names(self), Term: 5, Since: 1}
	missed := func(r Row, since proto.Term) Row { r.Term, r.Since = 9, since; return r }
	next := func(r Row) Row { r.Term++; return r }
	tests := []struct {
		name   string
		before Row
		after  Row
		want   string // owned, following, missing, rooms
	}{
		{"owner stays", owner, next(owner), "1 0 0 1"},
		{"owner stays, terms were missed", owner, missed(owner, 5), "1 0 0 1"},
		{"owner again, its log began between", owner, missed(owner, 6), "0 0 1 0"},
		{"owner again, its log begins", owner, missed(owner, 9), "1 0 0 0"},
		{"owner follows", owner, next(follower), "0 1 0 1"},
		{"owner follows what began between", owner, missed(follower, 7), "0 0 1 0"},
		{"owner leaves", owner, Row{Owner: stranger, Term: 6, Since: 1}, "0 0 0 0"},
		{"owner leaves, and learns", owner, Row{Owner: stranger, Learner: self, Term: 6, Since: 1}, "0 0 0 0"},
		{"follower stays", follower, next(follower), "0 1 0 1"},
		{"follower is promoted", follower, next(owner), "1 0 0 1"},
		{"follower is promoted, terms were missed", follower, missed(owner, 3), "1 0 0 1"},
		{"follower of another", follower, Row{Owner: third, Followers: names(self), Term: 6, Since: 1}, "0 1 0 1"},
		{"follower leaves", follower, Row{Owner: stranger, Followers: names(third), Term: 6, Since: 1}, "0 0 0 0"},
		{"follower leaves, and is to learn again", follower, Row{Owner: stranger, Learner: self, Term: 6, Since: 1}, "0 0 0 1"},
		{"follower, log begins", follower, missed(follower, 9), "0 1 0 0"},
		{"no owner", owner, Row{Term: 6, Since: 1}, "0 0 0 0"},
		{"an older row", owner, Row{Owner: stranger, Term: 4, Since: 1}, "1 0 0 1"},
	}
	for _, tt := range tests {
		g := newRig(t, Config{})
		g.row(Row{Owner: self, Term: 4, Since: 1})
		r := g.up("r1")
		g.must(r, attachFrame(4, "lobby"))
		g.row(tt.before)
		g.row(tt.after)
		s := g.l.Stats()
		if have := fmt.Sprint(s.Owned, s.Following, s.Missing, s.Rooms); have != tt.want {
			t.Errorf("%s: owned, following, missing, rooms are %s, want %s", tt.name, have, tt.want)
		}
	}
}

func TestNamedWithoutACopySaysNothing(t *testing.T) {
	g := newRig(t, Config{Partitions: 1})
	l := NewLane(Config{Self: stranger, Partitions: 1})
	l.SetTable(0, Row{Owner: self, Followers: names(stranger), Term: 2, Since: 1}, g.now)
	from := l.ShardUp(self, 0, 1)
	x := proto.Append{Term: 2, Prev: 0, Commit: 0}
	b, start := proto.BeginAppend(nil, &x)
	check(t, l.Frame(from, proto.FrameAppend, proto.End(b, start)[proto.HeaderSize:], g.now))
	g.want("told", lines(t, l.Control(from, nil)))
	if got := l.Promise(0, 3, g.now); got != proto.NoCopy {
		t.Errorf("promise: %v", got)
	}
}

func TestPromise(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "lobby", "a")
	d.flow()
	d.control(r)
	for _, tt := range []struct {
		term proto.Term
		want proto.PromiseStatus
	}{{1, proto.KnowsHigher}, {4, proto.Promised}, {3, proto.KnowsHigher}, {4, proto.Promised}} {
		if got := d.f.Promise(0, tt.term, d.now); got != tt.want {
			t.Errorf("promise of term %d: %v, want %v", tt.term, got, tt.want)
		}
	}
	d.say(r, "lobby", "b")
	d.want("the append", d.exchange(), "fenced t4")
	d.flow()
	d.want("nothing is committed any more", d.control(r))
	d.needs(4)
	d.wishing("at once", "")
	d.now = d.now.Add(200 * time.Millisecond)
	d.l.Tick(d.now)
	d.wishing("when the table tells nothing", "t1 renew above 4")
	d.wishing("in the next turn", "")
	d.now = d.now.Add(200 * time.Millisecond)
	d.wishing("200 ms later", "t1 renew above 4")
	d.both(Row{Owner: self, Followers: names(stranger), Term: 5, Since: 1})
	d.wishing("with a new term", "")
	d.flow()
	d.want("it goes on", d.control(r), "ack 2 t5")
}

// exchange hands the other what the owner has for it, and is what it answers.
func (d *duo) exchange() []string {
	d.t.Helper()
	d.hand(d.f, d.from, d.l.Fill(d.to, d.l.Control(d.to, nil), 64<<20))
	b := d.f.Control(d.from, nil)
	d.hand(d.l, d.to, b)
	return lines(d.t, b)
}

// TestPromotedOwnerCommitsItsList: what the follower stored and did not know to
// be committed is not lost, and what comes again is not taken twice.
func TestPromotedOwnerCommitsItsList(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "lobby", "a", "b")
	d.hand(d.f, d.from, d.l.Fill(d.to, nil, 1<<20)) // stored, and no commit known
	if i, _, _ := d.f.Digest(0); i != 0 {
		t.Fatalf("the follower applied %d", i)
	}
	if d.f.Promise(0, 2, d.now) != proto.Promised {
		t.Fatal("no promise")
	}
	g := &rig{t: t, l: d.f, now: d.now}
	g.row(Row{Owner: stranger, Term: 2, Since: 1})
	r = g.up("r1")
	g.must(r, attachFrame(2, "lobby e1.1"))
	g.publish(r, inTerm(2, pub(2, 1, "lobby", "b")))
	g.publish(r, inTerm(2, pub(3, 1, "lobby", "c")))
	g.want("acks", g.control(r), "ack 3 t2")
	g.want("heard", g.data(r), "attached lobby e1.1 first 1 whole", "deliver lobby e1.2 b#9 c#9")
}

// TestWaitingAboveTheCommit: a new owner that has to have its list stored again
// lets routers wait that heard more already, and does not send them back. Who
// fetches waits as well; who asks whether a place exists that does is told at once.
func TestWaitingAboveTheCommit(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "lobby", "a", "b")
	d.hand(d.f, d.from, d.l.Fill(d.to, nil, 1<<20))
	g := &rig{t: t, l: d.f, now: d.now}
	g.row(Row{Owner: stranger, Followers: names(third), Term: 2, Since: 1})
	f := g.l.ShardUp(third, 0, 1)
	r = g.up("r1")
	g.must(r, attachFrame(2, "lobby e1.2"))
	fetch := proto.Fetch{Term: 2, Room: []byte("lobby"), Epoch: proto.MintEpoch(1), After: 0, Upto: 1}
	g.must(r, proto.AppendFetch(nil, &fetch))
	g.want("before", g.data(r))
	fetch.After, fetch.Upto = 2, 2
	g.must(r, proto.AppendFetch(nil, &fetch))
	g.want("a place that is not committed", g.data(r), "fetched lobby e1 after 2 last")
	g.want("the follower", g.data(f), "append t2 behind 0/0 commit 0: met created message message of t1")
	g.must(f, storedFrame(2, 4))
	g.want("after", g.data(r), "attached lobby e1.2 first 1 whole", "fetched lobby e1 after 0 a#9 last")
}

// TestNoPlaceIsSaidByOwnersOnly: that a place does not exist, of which a client
// knows, only an owner may say that still is one. It is if it can commit.
func TestNoPlaceIsSaidByOwnersOnly(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "lobby", "a", "b")
	d.flow()
	ask := func(place proto.Offset) {
		t.Helper()
		d.must(r, proto.AppendFetch(nil, &proto.Fetch{Term: 1, Room: []byte("lobby"), Epoch: proto.MintEpoch(1), After: place, Upto: place}))
	}
	ask(9)
	d.want("before it is stored", d.data(r))
	d.flow()
	d.want("after", d.data(r), "fetched lobby e1 after 2 last")

	// While nothing is sequenced nothing is certain; afterwards one entry serves all.
	d.both(Row{Owner: self, Followers: names(stranger), Term: 1, Since: 1, Learner: stranger, Freezing: true})
	ask(9)
	ask(7)
	d.flow()
	d.want("frozen", d.data(r))
	d.both(Row{Owner: self, Followers: names(stranger), Term: 1, Since: 1})
	d.flow()
	d.want("thawed", d.data(r), "fetched lobby e1 after 2 last", "fetched lobby e1 after 2 last")
	if i, _, _ := d.l.Digest(0); i != 6 { // met, created, a, b, and two
		t.Errorf("%d entries", i)
	}

	// The follower fences: no answer in this term, and none of it in the next.
	ask(9)
	if d.f.Promise(0, 2, d.now) != proto.Promised {
		t.Fatal("no promise")
	}
	d.flow()
	d.want("fenced", d.data(r))
	d.both(Row{Owner: stranger, Followers: names(self), Term: 2, Since: 1})
	d.flow()
	d.want("no owner any more", d.data(r))
}

// TestFetchThatWaitsHoldsUpNobody: the creation of its room is committed, what it
// asks for is not, and another room has something for the same link.
func TestFetchThatWaitsHoldsUpNobody(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "other", "x")
	d.say(r, "lobby", "a")
	check(t, d.fetch(r, "lobby", 2, 0, 1))
	d.must(d.to, storedFrame(1, 4)) // met, created, message, created
	d.attach(r, "other e1.0")
	d.want("before", d.data(r), "attached other e1.0 first 1 whole", "deliver other e1.1 x#9")
	d.must(d.to, storedFrame(1, 5))
	d.want("after", d.data(r), "fetched lobby e2 after 0 a#9 last")
}

// TestOwnMessagesCarryConns, also those that a new owner has from the old one, and
// before the router publishes to it.
func TestOwnMessagesCarryConns(t *testing.T) {
	d := newDuo(t, Config{})
	d.say(d.up("r1"), "lobby", "a", "b")
	d.flow()
	g := &rig{t: t, l: d.f, now: d.now}
	g.row(Row{Owner: stranger, Term: 2, Since: 1})
	r1, r2 := g.up("r1"), g.up("r2")
	for _, r := range []*Peer{r1, r2} {
		g.must(r, attachFrame(2, "lobby e1.1"))
	}
	g.want("its router", g.data(r1), "attached lobby e1.1 first 1 whole", "deliver lobby e1.2 b#9")
	g.want("another", g.data(r2), "attached lobby e1.1 first 1 whole", "deliver lobby e1.2 b")
}

// TestOwnerThatPromised: nothing is committed any more, though all have stored it;
// what was committed before is still told.
func TestOwnerThatPromised(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.attach(r, "lobby")
	d.say(r, "lobby", "a")
	d.flow()
	d.say(r, "lobby", "b")
	d.hand(d.f, d.from, d.l.Fill(d.to, nil, 1<<20))
	under := d.f.Control(d.from, nil)
	if got := d.l.Promise(0, 3, d.now); got != proto.Promised {
		t.Fatal(got)
	}
	d.hand(d.l, d.to, under)
	d.say(r, "lobby", "c")
	d.flow()
	d.row(Row{Owner: self, Term: 2, Since: 1}) // the table is behind
	d.pass(patience)
	d.want("acks", d.control(r), "ack 1 t2", "hold t1 3")
	d.want("heard", d.data(r), "attached lobby e1.0 first 1 whole", "deliver lobby e1.1 a#9")
	d.wishing("then", "t2 renew above 3")
	d.both(Row{Owner: self, Followers: names(stranger), Term: 4, Since: 1})
	d.flow()
	d.want("with a newer term", d.data(r), "deliver lobby e1.2 b#9")
	d.want("acks", d.control(r), "ack 2 t4", "go t4", "expect t4 3")
}

// TestOneFrameUntilItIsHeard: in a new term or on a new link a follower is sent one
// small frame, until it answers. Its Table may be late, and what it holds is bounded.
func TestOneFrameUntilItIsHeard(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "lobby", "a")
	d.flow()
	row := Row{Owner: self, Followers: names(stranger), Term: 2, Since: 1}
	d.row(row)
	for i := range 9 {
		d.publish(r, inTerm(2, pub(proto.Seq(i+2), 1, "lobby", strings.Repeat("x", 100_000))))
		d.flow()
	}
	if s := d.f.Stats(); s.Held != 1 || s.HeldBytes > maxProbe+100 {
		t.Errorf("%d frames, %d bytes are held", s.Held, s.HeldBytes)
	}
	d.f.SetTable(0, row, d.now)
	d.flow()
	d.ticks(2 * tellAge)
	d.equal()
}

// TestTailIsCut: an old owner's entries that nobody else has go, once the new
// owner's come; what was noted of them goes at once.
func TestTailIsCut(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "lobby", "a")
	d.flow()
	d.ticks(2 * tellAge)
	d.say(r, "lobby", "lost", "too")
	d.attach(r, "never")
	row := Row{Owner: stranger, Followers: names(self), Term: 2, Since: 1}
	d.f.SetTable(0, row, d.now)
	g := &rig{t: t, l: d.f, now: d.now}
	r2 := g.up("r1")
	g.publish(r2, inTerm(2, pub(2, 2, "lobby", "b")))
	g.want("not before it is stored", g.control(r2))
	d.l.SetTable(0, row, d.now)
	if d.l.rooms["never"] != nil || d.l.rooms["lobby"].head != 1 {
		t.Error("the old owner goes by what was not committed")
	}
	d.flow()
	g.want("then", g.control(r2), "ack 2 t2")
	d.ticks(2 * tellAge)
	d.equal()
	if s := d.l.Stats(); s.Cut != 3 || s.Corrupt != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWishes(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "lobby", "a")
	d.flow()
	d.ticks(time.Second)
	d.wishing("while all is well", "")
	d.l.Down(d.to)
	d.wishing("when its link is lost", "t1 drop s2")
	d.now = d.now.Add(1500 * time.Millisecond)
	d.wishing("1.5 s later", "t1 drop overdue s2")
	d.to = d.l.ShardUp(stranger, 0, 1)
	d.wishing("with a link", "")
	d.say(r, "lobby", "b")
	for range 99 {
		d.now = d.now.Add(50 * time.Millisecond)
		d.l.Tick(d.now)
		d.data(d.to)
	}
	d.wishing("before 5 s without an answer", "")
	d.now = d.now.Add(50 * time.Millisecond)
	d.l.Tick(d.now)
	d.wishing("after that", "t1 drop overdue s2")
	d.row(Row{Owner: self, Term: 2, Since: 1})
	d.wishing("without a follower", "")
	d.row(Row{Owner: self, Followers: names(third), Term: 3, Since: 1})
	d.wishing("as the term begins", "")
	d.now = d.now.Add(200 * time.Millisecond)
	d.l.Tick(d.now)
	d.wishing("if its links do not come up", "t3 drop s3")
}

// TestIdleIsNotStuck: a follower that has had nothing to do for long is not late
// with what comes then.
func TestIdleIsNotStuck(t *testing.T) {
	d := newDuo(t, Config{})
	d.flow()
	d.ticks(10 * time.Second)
	d.say(d.up("r1"), "lobby", "a")
	d.l.Tick(d.now)
	d.wishing("just after it was sent something", "")
}

func TestHandOff(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.say(r, "lobby", "a")
	d.flow()
	d.control(r)
	row := Row{Owner: self, Followers: names(stranger), Term: 1, Since: 1, Learner: stranger, Freezing: true}
	d.say(r, "lobby", "b")
	d.both(row)
	d.publish(r, pub(3, 2, "lobby", "c"))
	d.publish(r, pub(4, 2, "lobby", "d"))
	d.publish(r, pub(2, 2, "lobby", "b"))
	d.want("held", d.control(r), "ack 1 t1", "hold t1 3")
	d.wishing("before it is drained", "")
	d.flow()
	d.wishing("when it is", "t1 ready s2")
	d.want("told", d.control(r), "ack 2 t1")
	next := Row{Owner: stranger, Followers: names(self), Term: 2, Since: 1}
	d.both(next)
	d.want("told", d.control(r), "go t2")
	d.publish(r, pub(3, 3, "lobby", "c"))
	d.want("told", d.control(r), "moved t2")
	d.flow()
	d.ticks(2 * tellAge)
	d.equal()
}

// TestHandOffThatTakesTooLong is undone by the owner: it goes on, and does not
// freeze again while the Table says the same.
func TestHandOffThatTakesTooLong(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	d.flow()
	frozen := Row{Owner: self, Followers: names(stranger), Term: 1, Since: 1, Learner: stranger, Freezing: true}
	d.say(r, "lobby", "a") // never stored
	d.row(frozen)
	d.publish(r, pub(2, 1, "lobby", "b"))
	d.want("held", d.control(r), "hold t1 2")
	d.pass(1950 * time.Millisecond)
	d.wishing("before 2 s", "")
	d.pass(100 * time.Millisecond)
	d.wishing("after 2 s", "t1 undo s2")
	d.want("let go", d.control(r), "go t1", "expect t1 2")
	d.row(frozen)
	d.publish(r, pub(2, 1, "lobby", "b"))
	d.flow()
	d.want("acks", d.control(r), "ack 2 t1")
	d.row(Row{Owner: self, Followers: names(stranger), Term: 1, Since: 1})
	d.wishing("when the move is gone", "")
	d.row(frozen)
	d.publish(r, pub(3, 3, "lobby", "c"))
	d.want("and a new one freezes", d.control(r), "hold t1 3")
}

// TestTooMuchUncommitted: publishes are held beyond 1 MiB and let go below half
// of it, none lost, none twice, in order.
func TestTooMuchUncommitted(t *testing.T) {
	d := newDuo(t, Config{})
	r := d.up("r1")
	payload := strings.Repeat("x", 100_000)
	for seq := proto.Seq(1); seq <= 20; seq++ {
		d.publish(r, pub(seq, 1, "lobby", payload))
	}
	d.want("told", d.control(r), "hold t1 12")
	d.publish(r, pub(1, 1, "lobby", payload))
	d.want("repeats are answered", d.control(r), "ack 0 t1")
	d.flow()
	d.want("told", d.control(r), "ack 11 t1", "go t1", "expect t1 12")
	for seq := proto.Seq(12); seq <= 20; seq++ {
		d.publish(r, pub(seq, 12, "lobby", payload))
	}
	d.flow()
	d.want("told", d.control(r), "ack 20 t1")
	if i, _ := d.l.Room("lobby"); i.Offset != 20 {
		t.Errorf("%d messages", i.Offset)
	}
	if s := d.l.Stats(); s.HeldBack != 1 || s.PendingBytes != 0 {
		t.Errorf("%+v", s)
	}
}

// TestWhatNoOwnerSends: each closes the link, and none panics.
func TestWhatNoOwnerSends(t *testing.T) {
	entry := func(e proto.Entry) func(*Lane) []byte {
		return func(*Lane) []byte { return appendFrame(proto.Append{Term: 1, EntryTerm: 1, Commit: 9}, e) }
	}
	lobby := []byte("lobby")
	tests := []struct {
		name string
		make func(*Lane) []byte
		want error
	}{
		{"an offset that is not next", entry(proto.Entry{Kind: proto.EntryMessage, Publisher: 1, Seq: 1, Offset: 7, Room: lobby}), errEntryRoom},
		{"a publisher that was not met", entry(proto.Entry{Kind: proto.EntryVoid, Publisher: 1, Seq: 1}), errPublisher},
		{"a router that is number 0", entry(proto.Entry{Kind: proto.EntryMet, Name: []byte(routerName("r1"))}), errEntry},
		{"a room of another partition", func(l *Lane) []byte {
			return appendFrame(proto.Append{Term: 1, EntryTerm: 1}, proto.Entry{Kind: proto.EntryCreated, Room: []byte(roomIn(1, 4)), Epoch: proto.MintEpoch(1)})
		}, errEntry},
		{"forgets what there is not", entry(proto.Entry{Kind: proto.EntryForgotten, Room: lobby}), errEntryRoom},
		{"drops whom there is not", entry(proto.Entry{Kind: proto.EntryDropped, Publisher: 3}), errPublisher},
		{"a first snapshot for a follower", func(*Lane) []byte { return snapshotFrame(proto.Snapshot{Term: 1, First: true}) }, errLesson},
		{"an index out of bounds", func(*Lane) []byte { return snapshotFrame(proto.Snapshot{Term: 1, Index: 1 << 63, First: true}) }, errIndex},
	}
	for _, tt := range tests {
		l := NewLane(Config{Self: self, Partitions: 4})
		now := time.Unix(1000, 0)
		l.SetTable(0, Row{Owner: stranger, Followers: names(self), Term: 1, Since: 1}, now)
		r := l.ShardUp(stranger, 0, 1)
		f := tt.make(l)
		err := l.Frame(r, proto.FrameType(f[4]), f[proto.HeaderSize:], now)
		var e *proto.Error
		if !errors.Is(err, tt.want) || !errors.As(err, &e) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func appendFrame(x proto.Append, entries ...proto.Entry) []byte {
	b, start := proto.BeginAppend(nil, &x)
	for i := range entries {
		b = proto.AppendEntry(b, &entries[i])
	}
	return proto.End(b, start)
}

func snapshotFrame(x proto.Snapshot, entries ...proto.Entry) []byte {
	b, start := proto.BeginSnapshot(nil, &x)
	for i := range entries {
		b = proto.AppendEntry(b, &entries[i])
	}
	return proto.End(b, start)
}

// TestStoredCountsAnewInATerm: what a follower stored beyond the commit may have been cut in a term that the
// owner never heard of. So it counts when the follower says it again, and not before.
func TestStoredCountsAnewInATerm(t *testing.T) {
	d := newDuo(t, Config{})
	d.both(Row{Owner: self, Followers: names(stranger, third), Term: 2, Since: 1})
	d.publish(d.up("r1"), inTerm(2, pub(1, 1, "lobby", "a")))
	d.flow()
	p := &d.l.parts[0]
	last, applied := p.log.last(), p.applied
	if x := p.replica(stranger); x.stored != last || applied == last {
		t.Fatalf("stored %d and applied %d of %d: want all and not all", x.stored, applied, last)
	}
	row := Row{Owner: self, Followers: names(stranger), Term: 4, Since: 1}
	d.l.SetTable(0, row, d.now)
	if x := p.replica(stranger); x.stored > applied || p.applied > applied {
		t.Errorf("stored %d, applied %d, before the follower said so in this term", x.stored, p.applied)
	}
	d.f.SetTable(0, row, d.now)
	d.flow()
	if p.applied < last {
		t.Errorf("applied %d of %d, after it said so", p.applied, last)
	}
}

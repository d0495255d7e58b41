package partition

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

// newClass is an owner with one room of messages, and another shard that its
// row's move names as the learner.
func newClass(t testing.TB, cfg Config) *duo {
	d := &duo{rig: newRig(t, cfg)}
	other := d.l.cfg
	other.Self = stranger
	d.f = NewLane(other)
	d.learner(stranger)
	return d
}

func (d *duo) learner(name proto.NodeName) {
	d.both(Row{Owner: self, Term: 1, Since: 1, Learner: name})
}

// lesson hands the learner what fits into limit bytes.
func (d *duo) lesson(limit int) []string {
	d.t.Helper()
	b := d.l.Fill(d.to, nil, limit)
	d.hand(d.f, d.from, b)
	return lines(d.t, b)
}

func TestLearnerBecomesAFollower(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1, MaxMessage: 10})
	r := d.up("r1")
	d.say(r, "lobby", "a", "b", "more than ten bytes")
	d.say(r, "other", "c")
	d.link()
	d.want("sent", d.lesson(1<<20), "snapshot t1 @7 first last: dropped publisher room message message room-end room message room-end", "append t1 behind 7/1 commit 7")
	d.wishing("before it answers", "")
	d.want("answers", lines(t, d.f.Control(d.from, nil)), "stored t1 7 whole")
	d.link() // the answers are lost with their link
	d.flow()
	d.wishing("when the copy is whole", "t1 add s2")
	d.say(r, "lobby", "d")
	d.control(r)
	d.flow()
	d.want("it is waited for", d.control(r), "ack 5 t1")
	d.both(Row{Owner: self, Followers: names(stranger), Term: 2, Since: 1})
	d.wishing("then", "")
	d.flow()
	d.ticks(2 * tellAge)
	d.equal()
	if s := d.f.Stats(); s.Following != 1 || s.Learned != 2 {
		t.Errorf("%+v", s)
	}
}

// TestLearnerIsWaitedFor is rule R4: from the wish on, nothing is committed
// without it, though the move ends, until a newer term.
func TestLearnerIsWaitedFor(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1})
	r := d.up("r1")
	d.link()
	d.flow()
	d.wishing("when it is whole", "t1 add s2")
	d.say(r, "lobby", "a")
	d.want("before it is stored", d.control(r))
	d.learner("")
	d.l.Down(d.to)
	d.want("without it", d.control(r))
	d.now = d.now.Add(time.Second)
	d.wishing("still", "t1 add s2")
	d.row(Row{Owner: self, Term: 2, Since: 1})
	d.want("in a new term", d.control(r), "ack 1 t2")
}

// TestLessonWhileRoomsChange teaches frame by frame, and after each of them rooms
// are said to, trimmed, forgotten and made.
func TestLessonWhileRoomsChange(t *testing.T) {
	for size := 200; size < 4000; size += 150 {
		d := newClass(t, Config{SnapshotRate: -1, HistoryMessages: 6, HistoryAge: 40 * time.Second, WindowAge: -1})
		r := d.up("r1")
		for i := range 20 {
			for range 8 {
				d.say(r, fmt.Sprint("room", i%7), strings.Repeat("x", 20+i))
			}
		}
		d.say(r, "old", "soon forgotten")
		d.ticks0(39 * time.Second)
		for i := range 5 {
			d.say(r, fmt.Sprint("room", i), "kept")
		}
		d.link()
		for n := range 60 {
			d.lesson(size)
			d.say(r, fmt.Sprint("room", n%3), strings.Repeat("y", n))
			if n%5 == 0 {
				d.say(r, fmt.Sprint("new", n), "z")
			}
			d.now = d.now.Add(time.Second)
			d.l.Tick(d.now)
			if n%4 == 0 {
				d.hand(d.l, d.to, d.f.Control(d.from, nil))
			}
		}
		d.flow()
		d.ticks(2 * tellAge)
		d.equal()
		if s := d.l.Stats(); s.Forgotten == 0 || s.Taught != 1 {
			t.Errorf("size %d: %+v", size, s)
		}
	}
}

// ticks0 lets time pass at the owner alone.
func (d *duo) ticks0(by time.Duration) { d.pass(by) }

func TestLessonOfBigMessages(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1})
	r := d.up("r1")
	big := strings.Repeat("x", proto.MaxPayload)
	d.say(r, strings.Repeat("r", 255), "a", big, "b", big)
	d.link()
	d.flow()
	d.equal()
}

// TestNewLinkBeginsTheLessonAgain, as long as the copy is not whole.
func TestNewLinkBeginsTheLessonAgain(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1})
	r := d.up("r1")
	for range 20 {
		d.say(r, "lobby", strings.Repeat("x", 100))
	}
	d.link()
	d.lesson(500)
	if s := d.f.Stats(); s.Learning != 1 || s.Rooms != 1 {
		t.Fatalf("%+v", s)
	}
	d.f.Down(d.from)
	if s := d.f.Stats(); s.Learning != 0 || s.Rooms != 0 || s.HistoryBytes != 0 {
		t.Errorf("of an unfinished copy there is %+v", s)
	}
	d.link()
	d.flow()
	d.equal()
}

// TestLearnerThatIsNotNamed: an unfinished copy goes when the move ends, a whole
// one when a new term does without it.
func TestLearnerThatIsNotNamed(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1})
	r := d.up("r1")
	for range 20 {
		d.say(r, "lobby", strings.Repeat("x", 100))
	}
	d.link()
	d.lesson(500)
	d.learner("")
	if s := d.f.Stats(); s.Learning != 0 || s.Rooms != 0 {
		t.Errorf("unfinished: %+v", s)
	}
	d.learner(stranger)
	d.flow()
	d.equal()
	d.learner("")
	if s := d.f.Stats(); s.Learning != 1 {
		t.Errorf("whole: %+v", s)
	}
	d.both(Row{Owner: self, Term: 2, Since: 1})
	if s := d.f.Stats(); s.Learning != 0 || s.Rooms != 0 {
		t.Errorf("in a new term: %+v", s)
	}
}

// TestLessonBeforeTheTable: a frame may be quicker than the row that names us.
func TestLessonBeforeTheTable(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1})
	d.f.SetTable(0, Row{Owner: self, Term: 1, Since: 1}, d.now)
	d.say(d.up("r1"), "lobby", "a")
	d.link()
	d.flow()
	d.f.SetTable(0, Row{Owner: self, Term: 1, Since: 1}, d.now)
	d.learner(stranger)
	d.equal()
}

// TestSlowLearnerBeginsAgain: it must not hold up the log.
func TestSlowLearnerBeginsAgain(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1, HistoryMessages: 2, WindowAge: -1})
	r := d.up("r1")
	d.say(r, "lobby", "a")
	d.link()
	d.lesson(1 << 20) // and it says nothing
	payload := strings.Repeat("x", 100_000)
	for range 100 {
		d.say(r, "lobby", payload)
		if s := d.l.Stats(); s.PendingBytes > maxRetained+200_000 {
			t.Fatalf("%d bytes are kept", s.PendingBytes)
		}
	}
	if s := d.l.Stats(); s.Relearned != 1 {
		t.Errorf("%+v", s)
	}
	d.flow()
	d.equal()
	d.wishing("in the end", "t1 add s2")
}

// TestSnapshotsAreLimited: so many bytes a second, and the busiest partition is
// taught first.
func TestSnapshotsAreLimited(t *testing.T) {
	const rate = 100_000
	g := newRig(t, Config{SnapshotRate: rate, Partitions: 2})
	r := g.up("r1")
	for p := range proto.Partition(2) {
		for seq := proto.Seq(1); seq <= 20*(1+proto.Seq(p)); seq++ {
			g.publish(r, &proto.Publish{Partition: p, Term: 1, Seq: seq, Base: 1, Room: []byte(roomIn(p, 2)), Payload: make([]byte, 10_000)})
		}
		g.l.SetTable(p, Row{Owner: self, Term: 1, Since: 1, Learner: stranger}, g.now)
	}
	learner := NewLane(Config{Self: stranger, Partitions: 2})
	for p := range proto.Partition(2) {
		learner.SetTable(p, Row{Owner: self, Term: 1, Since: 1, Learner: stranger}, g.now)
	}
	to, from := g.l.ShardUp(stranger, 0, 1), learner.ShardUp(self, 0, 1)
	sent := 0
	var whole []proto.Partition
	for range 40 {
		g.now = g.now.Add(50 * time.Millisecond)
		g.l.Tick(g.now)
		for range g.l.Dirty(nil) {
			b := g.l.Fill(to, nil, 20_000)
			sent += len(b)
			eachFrame(t, b, func(typ proto.FrameType, body []byte) { check(t, learner.Frame(from, typ, body, g.now)) })
		}
		eachFrame(t, learner.Control(from, nil), func(typ proto.FrameType, body []byte) {
			if x, err := proto.ParseStored(body); err == nil && x.Whole {
				whole = append(whole, x.Partition)
			}
			check(t, g.l.Frame(to, typ, body, g.now))
		})
	}
	if sent < rate || sent > 3*rate {
		t.Errorf("%d bytes in 2 s at %d a second", sent, rate)
	}
	if len(whole) > 0 && whole[0] != 1 || learner.parts[1].rooms == 0 {
		t.Errorf("partition 1 is not taught first; whole are %v", whole)
	}
}

// TestLessonNeedsNoTick: who has little to learn is whole with the first frames,
// and asked for in the turn in which it says so.
func TestLessonNeedsNoTick(t *testing.T) {
	d := newClass(t, Config{})
	d.link()
	if peers := d.l.Dirty(nil); len(peers) != 1 || peers[0] != d.to {
		t.Fatalf("%d peers are to be served", len(peers))
	}
	d.exchange()
	d.wishing("after a round trip", "t1 add s2")
}

// TestLessonBeginsOnce: the learner's words about an earlier lesson say nothing
// about the present one, in whatever order the two cross.
func TestLessonBeginsOnce(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1})
	d.say(d.up("r1"), "lobby", "a")
	d.link()
	for range 3 { // each lesson is broken off before its answer comes
		d.hand(d.f, d.from, d.l.Fill(d.to, nil, 1<<20))
		d.l.restartLesson(d.l.parts[0].lead.replicas[0])
		b := d.l.Fill(d.to, nil, 1<<20)
		d.hand(d.l, d.to, d.f.Control(d.from, nil))
		d.wishing("before the last lesson was read", "")
		d.hand(d.f, d.from, b)
		d.l.restartLesson(d.l.parts[0].lead.replicas[0])
	}
	d.flow()
	d.wishing("when it was", "t1 add s2")
	d.equal()
}

// TestLearnerThatLostItsCopy says so, and is taught anew at once, also in a term in
// which no lesson began: both missed a term in which no move named it.
func TestLearnerThatLostItsCopy(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1})
	d.say(d.up("r1"), "lobby", "a")
	d.link()
	d.flow()
	d.f.SetTable(0, Row{Owner: self, Term: 2, Since: 1}, d.now)
	d.both(Row{Owner: self, Term: 3, Since: 1, Learner: stranger})
	d.wishing("before it is heard", "")
	d.flow()
	d.wishing("when it was taught again", "t3 add s2")
	d.equal()
	if s := d.l.Stats(); s.Taught != 2 || s.Relearned != 1 {
		t.Errorf("%+v", s)
	}
}

// TestLearnerWhoseTableIsLate holds one frame of the lesson and one of entries,
// however much there is to learn.
func TestLearnerWhoseTableIsLate(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1, HistoryBytes: 16 << 20})
	r := d.up("r1")
	for range 60 {
		d.say(r, "lobby", strings.Repeat("x", 100_000))
	}
	d.link()
	row := Row{Owner: self, Term: 2, Since: 1, Learner: stranger}
	d.row(row)
	for i := range 30 {
		d.publish(r, inTerm(2, pub(proto.Seq(i+61), 1, "lobby", strings.Repeat("y", 20_000))))
		d.flow()
		d.now = d.now.Add(50 * time.Millisecond)
		d.l.Tick(d.now)
	}
	if s := d.f.Stats(); s.Held > 3 || s.HeldBytes > 3*maxProbe {
		t.Errorf("%d frames, %d bytes are held", s.Held, s.HeldBytes)
	}
	d.f.SetTable(0, row, d.now)
	d.flow()
	d.ticks(2 * tellAge)
	d.equal()
	d.wishing("in the end", "t2 add s2")
}

// TestLearnerUnderLoad: while there is always something on its way, the owner waits
// for the learner before it asks for it to be added, and only then.
func TestLearnerUnderLoad(t *testing.T) {
	for _, size := range []int{10, 20_000} { // of messages: some KiB are on their way, or more than maxNear
		d := newClass(t, Config{SnapshotRate: -1})
		r := d.up("r1")
		d.link()
		var there, back [20][]byte // by 5 ms
		asked := -1
		for n := range 400 {
			d.now = d.now.Add(5 * time.Millisecond)
			if n%10 == 0 {
				d.l.Tick(d.now)
			}
			d.say(r, "lobby", strings.Repeat("x", size))
			i := n % len(there)
			d.hand(d.f, d.from, there[i])
			d.hand(d.l, d.to, back[i])
			there[i] = d.l.Fill(d.to, nil, 1<<20)
			back[i] = d.f.Control(d.from, nil)
			if w := d.wishes(); w == "t1 add s2" && asked < 0 {
				asked = n
				x := d.l.parts[0].lead.replicas[0]
				if x.stored < d.l.parts[0].applied {
					t.Errorf("it has %d of %d", x.stored, d.l.parts[0].applied)
				}
			}
		}
		if asked < 0 || size == 10 && asked > 100 {
			t.Errorf("messages of %d bytes: asked for after %d steps", size, asked)
		}
	}
}

// TestAwaitedLearnerIsLost before it was asked for: it is not waited for any more.
func TestAwaitedLearnerIsLost(t *testing.T) {
	for name, lose := range map[string]func(*duo){
		"link":   func(d *duo) { d.l.Down(d.to) },
		"move":   func(d *duo) { d.learner("") },
		"answer": func(d *duo) { d.pass(stuckAge) },
	} {
		d := newClass(t, Config{SnapshotRate: -1})
		r := d.up("r1")
		d.say(r, "lobby", "a")
		d.link()
		d.hand(d.f, d.from, d.l.Fill(d.to, nil, 1<<20))
		d.say(r, "lobby", "b")
		d.hand(d.l, d.to, d.f.Control(d.from, nil))
		d.say(r, "lobby", "c")
		d.want(name+": it is waited for", d.control(r), "ack 2 t1")
		d.wishing(name+": before it has all", "")
		lose(d)
		d.want(name+": it is not", d.control(r), "ack 3 t1")
	}
}

// TestRoutersComeDuringALesson: those that were met, were dropped or came back
// while a learner is taught, frame by frame, are known to it as to the owner.
func TestRoutersComeDuringALesson(t *testing.T) {
	for size := 120; size < 2000; size += 60 {
		d := newClass(t, Config{SnapshotRate: -1})
		for i := range 40 {
			d.say(d.up(fmt.Sprint("r", i)), "lobby", strings.Repeat("x", 30))
		}
		d.link()
		for n := range 60 {
			d.lesson(size)
			if n%3 == 0 {
				d.say(d.up(fmt.Sprint("new", n)), "lobby", "a")
			}
			if p := &d.l.parts[0]; n%4 == 0 && len(p.pubs) > n {
				d.l.drops(p, p.pubs[n/2])
			}
			if n%5 != 0 {
				d.hand(d.l, d.to, d.f.Control(d.from, nil))
			}
		}
		d.flow()
		d.ticks(2 * tellAge)
		d.equal()
		if s := d.f.Stats(); s.Learned != 1 || s.Corrupt != 0 {
			t.Errorf("size %d: %+v", size, s)
		}
	}
}

// TestNumbersAreNotGivenOutTwice, though the one that has the last was dropped
// before the next owner learned the partition.
func TestNumbersAreNotGivenOutTwice(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1})
	d.say(d.up("r1"), "lobby", "a")
	p := &d.l.parts[0]
	d.l.drops(p, p.pubs[0])
	d.link()
	d.flow()
	d.handOver()
	g := &rig{t: t, l: d.f, now: d.now}
	g.publish(g.up("r2"), inTerm(2, pub(1, 1, "lobby", "b")))
	if n := d.f.parts[0].numbers; n != 2 {
		t.Errorf("the next router is number %d", n)
	}
	d.flow()
	d.ticks(2 * tellAge)
	d.equal()
}

// handOver makes the learner the owner, and the owner its follower.
func (d *duo) handOver() {
	d.t.Helper()
	d.both(Row{Owner: stranger, Followers: names(self), Term: 2, Since: 1})
}

// TestLogTimeGoesOn at an owner that learned the partition when nothing happened
// in it any more.
func TestLogTimeGoesOn(t *testing.T) {
	d := newClass(t, Config{SnapshotRate: -1, HistoryAge: time.Minute, WindowAge: -1})
	d.ticks0(time.Hour)
	d.say(d.up("r1"), "lobby", "a")
	d.link()
	d.flow()
	d.handOver()
	d.ticks(2 * time.Minute)
	d.equal()
	if s := d.f.Stats(); s.Rooms != 0 || d.f.parts[0].lastAt < uint64(time.Hour) {
		t.Errorf("after 2 minutes more there are %d rooms, the last entry is of %v", s.Rooms, time.Duration(d.f.parts[0].lastAt))
	}
}

package hub

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

// recorder is a sink that writes down what it is told; a member's socket takes
// what its budget allows (no entry: everything).
type recorder struct {
	h      *Hub
	log    []string
	got    map[uint64][]byte
	budget map[uint64]int
	writes int
}

func (s *recorder) say(format string, args ...any) {
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

func (s *recorder) Write(m *Member, b []byte) int {
	n := len(b)
	if left, ok := s.budget[m.ID]; ok {
		n = min(n, left)
		s.budget[m.ID] = left - n
	}
	s.writes++
	s.got[m.ID] = append(s.got[m.ID], b[:n]...)
	return n
}

func (s *recorder) Joined(m *Member, first []byte) {
	if len(first) > 0 {
		s.say("%d joined %s", m.ID, first[2:])
	} else {
		s.say("%d joined", m.ID)
	}
}
func (s *recorder) Refused(m *Member, code proto.Code) { s.say("%d refused %v", m.ID, code) }
func (s *recorder) Resume(m *Member)                   { s.say("%d resume", m.ID) }
func (s *recorder) Slow(m *Member)                     { s.say("%d slow, rest %d", m.ID, len(s.h.Rest(m))) }
func (s *recorder) Expired(m *Member)                  { s.say("%d expired", m.ID) }
func (s *recorder) Placed(m *Member, pos proto.Position, code proto.Code) {
	s.say("%d placed %v %v", m.ID, pos, code)
}

// bench is a hub with one partition, owned by s1 in term 1 over one link.
type bench struct {
	*testing.T
	*recorder
	now    time.Time
	member *Member // of tests that have one
}

var (
	epochA = proto.MintEpoch(0xa)
	epochB = proto.MintEpoch(0xb)
)

func newBench(t *testing.T, cfg Config) *bench {
	cfg.Partitions = 1
	b := &bench{T: t, recorder: &recorder{got: map[uint64][]byte{}, budget: map[uint64]int{}}, now: time.Unix(9, 0)}
	b.h = New(cfg, b.recorder)
	b.h.SetRow(0, benchNode, 1, b.now)
	b.h.LinkUp(benchNode, 0, 1, b.now)
	return b
}

func (b *bench) frame(f []byte) {
	b.Helper()
	typ, _, err := proto.ParseHeader(f)
	if err != nil {
		b.Fatal(err)
	}
	if err := b.h.Frame(benchNode, typ, f[proto.HeaderSize:], b.now); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) join(id uint64, opt JoinOptions) *Member {
	m := &Member{ID: id}
	b.h.Join(m, []byte("r"), opt, b.now)
	return m
}

// sent is what the hub sends now, as words.
func (b *bench) sent() string {
	var words []string
	out := b.h.Control(benchNode, 0, nil, 1<<20)
	for out = b.h.Fill(benchNode, 0, out, 1<<20); len(out) > 0; {
		typ, size, _ := proto.ParseHeader(out)
		body := out[proto.HeaderSize:size]
		out = out[size:]
		switch typ {
		case proto.FramePublish:
			x, _ := proto.ParsePublish(body)
			words = append(words, fmt.Sprintf("publish %d/%d kind %d %s", x.Seq, x.Base, x.Kind, x.Payload))
		case proto.FrameAttach:
			x, _ := proto.ParseBatch(body)
			e, _ := x.NextAttach()
			words = append(words, fmt.Sprintf("attach %s %v.%d", e.Room, e.Epoch, e.Offset))
		case proto.FrameFetch:
			x, _ := proto.ParseFetch(body)
			words = append(words, fmt.Sprintf("fetch %d-%d", x.After, x.Upto))
		case proto.FrameMembers:
			x, _ := proto.ParseBatch(body)
			room, n, _ := x.NextMembers()
			words = append(words, fmt.Sprintf("members %s %d", room, n))
		default:
			words = append(words, typ.String())
		}
	}
	return strings.Join(words, ", ")
}

func (b *bench) attached(e proto.Epoch, offset, first proto.Offset, s proto.Status) {
	b.Helper()
	f, start := proto.BeginBatch(nil, proto.FrameAttached, 0, 1)
	b.frame(proto.End(proto.AppendAttachedEntry(f, &proto.AttachedEntry{Room: []byte("r"), Epoch: e, Offset: offset, First: first, Status: s}), start))
}

func (b *bench) deliver(first proto.Offset, texts ...string) {
	b.Helper()
	f, start := proto.BeginDeliver(nil, 0, 1, "r", epochA, first)
	for _, s := range texts {
		f = proto.AppendMessage(f, proto.KindText, 0, []byte(s))
	}
	b.frame(proto.End(f, start))
}

func (b *bench) fetched(after proto.Offset, texts ...string) {
	b.Helper()
	f, start := proto.BeginFetched(nil, 0, 1, "r", epochA, after, true)
	for _, s := range texts {
		f = proto.AppendMessage(f, proto.KindText, 0, []byte(s))
	}
	b.frame(proto.End(f, start))
}

func (b *bench) signal(t proto.FrameType, term proto.Term, seq proto.Seq) {
	b.Helper()
	b.frame(proto.AppendSignal(nil, t, proto.Signal{Term: term, Seq: seq}))
}

func (b *bench) pass(d time.Duration) {
	b.now = b.now.Add(d)
	b.h.Tick(b.now)
	b.h.FanOut(b.now)
}

func (b *bench) want(what, got, want string) {
	b.Helper()
	if got != want {
		b.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (b *bench) said(want ...string) {
	b.Helper()
	if got := strings.Join(b.log, "; "); got != strings.Join(want, "; ") {
		b.Errorf("sink was told %q, want %q", got, strings.Join(want, "; "))
	}
	b.log = nil
}

// text is the frames of texts.
func text(texts ...string) (b []byte) {
	for _, s := range texts {
		b = append(appendHeader(b, opText, len(s)), s...)
	}
	return b
}

func TestFirstLines(t *testing.T) {
	since := func(e proto.Epoch, o proto.Offset) JoinOptions {
		return JoinOptions{Resume: true, Since: proto.Position{Epoch: e, Offset: o}}
	}
	for _, c := range []struct {
		name  string
		opt   JoinOptions
		fetch string   // what the hub asks
		after int      // the answer
		have  []string // its messages
		line  string   // "" for a plain member
		got   []string // behind the line
	}{
		{"plain", JoinOptions{}, "", 0, nil, "", nil},
		{"live", JoinOptions{Numbered: true}, "", 0, nil, "!A.6", nil},
		{"since the head", since(epochA, 6), "", 0, nil, "!A.6", nil},
		{"since below", since(epochA, 4), "fetch 4-6", 4, []string{"e", "f"}, "!A.4", []string{"5 e", "6 f"}},
		{"all", JoinOptions{All: true}, "fetch 2-6", 2, []string{"c", "d", "e", "f"}, "!A.2", []string{"3 c", "4 d", "5 e", "6 f"}},
		{"all, trimmed since", JoinOptions{All: true}, "fetch 2-6", 4, []string{"e", "f"}, "!A.4", []string{"5 e", "6 f"}},
		{"below what is kept", since(epochA, 1), "fetch 2-6", 2, []string{"c", "d", "e", "f"}, "!A.2 gap", []string{"3 c", "4 d", "5 e", "6 f"}},
		{"below, nothing is left", since(epochA, 1), "fetch 2-6", 6, nil, "!A.6 gap", nil},
		{"another epoch", since(epochB, 5), "fetch 2-6", 2, []string{"c", "d", "e", "f"}, "!A.2 reset", []string{"3 c", "4 d", "5 e", "6 f"}},
		{"above the log", since(epochA, 9), "fetch 9-9", 6, nil, "!A.6 reset", nil},
		{"above the log, said otherwise", since(epochA, 9), "fetch 9-9", 8, nil, "!A.6 reset", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Config{})
			m := b.join(1, c.opt)
			b.want("attach", b.sent(), "attach r .0")
			b.attached(epochA, 6, 3, proto.StatusWhole)
			if c.fetch != "" {
				b.said()
				b.want("ask", b.sent(), c.fetch)
				b.fetched(proto.Offset(c.after), c.have...)
			}
			if c.line == "" {
				b.said("1 joined")
			} else {
				b.said("1 joined " + strings.Replace(c.line, "A", epochA.String(), 1))
			}
			b.h.FanOut(b.now)
			if want := text(c.got...); !bytes.Equal(b.got[1], want) {
				t.Errorf("got %q, want %q", b.got[1], want)
			}
			if !m.Joined() {
				t.Error("not joined")
			}
			s := b.h.Stats()
			if gap, reset := strings.HasSuffix(c.line, " gap"), strings.HasSuffix(c.line, " reset"); s.GapsTold == 1 != gap || s.ResetsTold == 1 != reset || s.Gaps+s.Resets != 0 {
				t.Errorf("counted %d gaps, %d resets", s.GapsTold, s.ResetsTold)
			}
		})
	}
}

// A position that this router has not seen but the owner has is not a reset:
// the member joins when its place was delivered.
func TestSinceAboveTheTailWaitsForTheOwner(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 2}})
	b.sent()
	b.attached(epochA, 1, 1, proto.StatusWhole)
	b.want("ask", b.sent(), "fetch 2-2")
	b.fetched(2)
	b.said()
	b.deliver(2, "b", "c")
	b.said("1 joined !" + epochA.String() + ".2")
	b.h.FanOut(b.now)
	if want := text("3 c"); !bytes.Equal(b.got[1], want) {
		t.Errorf("got %q, want %q", b.got[1], want)
	}
}

func TestManyResumesAreOneFetch(t *testing.T) {
	b := newBench(t, Config{})
	for id := range uint64(50) {
		b.join(id+1, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: proto.Offset(id % 4)}})
	}
	b.sent()
	b.attached(epochA, 4, 1, proto.StatusWhole)
	b.want("ask", b.sent(), "fetch 0-4")
	b.fetched(0, "a", "b", "c", "d")
	if len(b.log) != 50 {
		t.Errorf("%d joined of 50", len(b.log))
	}
	b.log = nil
	b.join(99, JoinOptions{All: true})
	b.said("99 joined !" + epochA.String() + ".0")
	b.want("a late one reads the tail; the hub sends", b.sent(), "")
}

// An answer that ends before the tail begins is asked for again, and is not taken for a log with a hole.
func TestAnswerThatIsCutShortIsAskedForAgain(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{All: true})
	b.sent()
	b.attached(epochA, 4, 1, proto.StatusWhole)
	b.want("ask", b.sent(), "fetch 0-4")
	b.fetched(0, "a", "b")
	b.said()
	b.want("ask again", b.sent(), "fetch 0-4")
	b.fetched(0, "a", "b", "c", "d")
	b.said("1 joined !" + epochA.String() + ".0")
	b.pass(0)
	if want := text("1 a", "2 b", "3 c", "4 d"); !bytes.Equal(b.got[1], want) {
		t.Errorf("got %q, want %q", b.got[1], want)
	}
}

// Who comes while the owner is asked whether a place exists may know more than its answer does: for it, the
// owner is asked again.
func TestWhoComesWhileTheOwnerIsAsked(t *testing.T) {
	b := newBench(t, Config{})
	since := JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 2}}
	b.join(1, since)
	b.sent()
	b.attached(epochA, 1, 1, proto.StatusWhole)
	b.want("ask", b.sent(), "fetch 2-2")
	b.join(2, since)
	b.fetched(1)
	b.said("1 joined !" + epochA.String() + ".1 reset")
	b.want("ask for the second", b.sent(), "fetch 2-2")
	b.fetched(2)
	b.deliver(2, "b", "c")
	b.said("2 joined !" + epochA.String() + ".2")
}

// History that would take all tails above their bound is not kept: who asked is told of a gap.
func TestHistoryAboveTheBoundOfAllTails(t *testing.T) {
	b := newBench(t, Config{Tails: 4096})
	b.join(1, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 10}})
	b.sent()
	b.attached(epochA, 60, 1, proto.StatusWhole)
	b.want("ask", b.sent(), "fetch 10-60")
	history := make([]string, 50)
	for i := range history {
		history[i] = fmt.Sprintf("%0200d", i)
	}
	b.fetched(10, history...)
	b.said("1 joined !" + epochA.String() + ".60 gap")
	if held := b.h.tails + b.h.building; held != 0 {
		t.Errorf("%d bytes are held", held)
	}
}

// No more than a few rooms of a partition ask at once; the others go on as answers come.
func TestFewFetchesAtOnce(t *testing.T) {
	b := newBench(t, Config{})
	rooms := []string{"r0", "r1", "r2", "r3", "r4"}
	for i, name := range rooms {
		b.h.Join(&Member{ID: uint64(i + 1)}, []byte(name), JoinOptions{All: true}, b.now)
	}
	b.sent()
	f, start := proto.BeginBatch(nil, proto.FrameAttached, 0, 1)
	for _, name := range rooms {
		f = proto.AppendAttachedEntry(f, &proto.AttachedEntry{Room: []byte(name), Epoch: epochA, Offset: 1, First: 1, Status: proto.StatusWhole})
	}
	b.frame(proto.End(f, start))
	for left := len(rooms); left > 0; left-- {
		b.sent()
		if asked := b.h.parts[0].asking; asked != min(maxAsking, left) {
			t.Fatalf("%d are asked for with %d left, want %d", asked, left, min(maxAsking, left))
		}
		f, start := proto.BeginFetched(nil, 0, 1, rooms[len(rooms)-left], epochA, 0, true)
		b.frame(proto.End(proto.AppendMessage(f, proto.KindText, 0, []byte("a")), start))
	}
	if len(b.log) != len(rooms) {
		t.Errorf("%d of %d joined", len(b.log), len(rooms))
	}
}

// The answer to a fetch that was given up meanwhile is not taken for another's.
func TestLateAnswerIsPassedOver(t *testing.T) {
	b := newBench(t, Config{})
	since := func(o proto.Offset) JoinOptions {
		return JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: o}}
	}
	b.join(1, since(0))
	b.sent()
	b.attached(epochA, 60, 1, proto.StatusWhole)
	b.want("the first asks", b.sent(), "fetch 0-60")
	b.attached(epochA, 80, 81, proto.StatusGap)
	b.said("1 joined !" + epochA.String() + ".80 gap")
	b.deliver(81, "x", "y")
	for range 12 { // until the tail has gone
		b.pass(time.Second)
	}
	b.join(2, since(80))
	b.want("the second asks", b.sent(), "members r 1, fetch 80-82")
	b.fetched(0, "old", "older")
	b.said()
	b.fetched(80, "x", "y")
	b.said("2 joined !" + epochA.String() + ".80")
	b.pass(0)
	if want := text("81 x", "82 y"); !bytes.Equal(b.got[2], want) {
		t.Errorf("got %q, want %q", b.got[2], want)
	}
}

// Of more history than a tail may hold, the newest part is taken.
func TestLongHistoryIsTakenFromItsEnd(t *testing.T) {
	for _, test := range []struct {
		opt    JoinOptions
		suffix string
	}{
		{JoinOptions{All: true}, ""},
		{JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 10}}, " gap"},
	} {
		b := newBench(t, Config{RoomTail: 4096})
		b.join(1, test.opt)
		b.sent()
		b.attached(epochA, 60, 1, proto.StatusWhole)
		b.sent()
		texts := make([]string, 60)
		for i := range texts {
			texts[i] = fmt.Sprintf("%d %0200d", i+1, 0)
		}
		history := make([]string, 60)
		for i := range history {
			history[i] = fmt.Sprintf("%0200d", 0)
		}
		after := int(test.opt.Since.Offset)
		b.fetched(proto.Offset(after), history[after:]...)
		b.h.FanOut(b.now)
		var from int
		if len(b.log) == 1 {
			fmt.Sscanf(b.log[0], "1 joined !"+epochA.String()+".%d", &from)
		}
		if from < 30 || from > 50 {
			t.Fatalf("sink was told %q", b.log)
		}
		b.said(fmt.Sprintf("1 joined !%v.%d%s", epochA, from, test.suffix))
		if got := b.got[1]; !bytes.Equal(got, text(texts[from:]...)) {
			t.Errorf("%d bytes, want messages %d to 60", len(got), from+1)
		}
	}
}

func TestShortWriteIsContinuedAndFinishedBeforeAClose(t *testing.T) {
	b := newBench(t, Config{})
	m, n := b.join(1, JoinOptions{}), b.join(2, JoinOptions{})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	b.budget[1] = 3
	b.deliver(1, "hello", "world")
	b.h.FanOut(b.now)
	if len(b.h.Rest(n)) != 0 || string(b.h.Rest(m)) != "ello" {
		t.Fatalf("rest is %q and %q", b.h.Rest(m), b.h.Rest(n))
	}
	b.deliver(3, "again")
	b.h.FanOut(b.now)
	b.budget[1] = 100
	b.h.Writable(m)
	writes := b.writes
	b.h.FanOut(b.now)
	if want := text("hello", "world", "again"); !bytes.Equal(b.got[1], want) || !bytes.Equal(b.got[2], want) {
		t.Errorf("got %q and %q", b.got[1], b.got[2])
	}
	if len(b.h.Rest(m)) != 0 || b.h.Stats().Lagging != 0 || b.h.Stats().Tails != 0 {
		t.Errorf("not at the live end: %+v", b.h.Stats())
	}
	if b.writes-writes > 2 {
		t.Errorf("%d writes to catch up", b.writes-writes)
	}
}

func TestSlowMembers(t *testing.T) {
	b := newBench(t, Config{RoomTail: 4096})
	b.join(1, JoinOptions{})
	b.join(2, JoinOptions{})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	b.log = nil
	b.budget[1] = 4
	for o := range proto.Offset(60) {
		b.deliver(o+1, strings.Repeat("x", 100))
		b.h.FanOut(b.now)
	}
	b.said("1 slow, rest 98")
	if n := len(b.got[2]); n != 60*102 {
		t.Errorf("the other one got %d bytes", n)
	}
	b.join(3, JoinOptions{})
	b.log = nil
	b.budget[3] = 2
	b.deliver(61, "x")
	b.h.FanOut(b.now)
	b.pass(29 * time.Second)
	b.said()
	b.pass(2 * time.Second)
	b.said("3 slow, rest 1")
}

func TestTailIsKeptForTheWindow(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{})
	n := b.join(2, JoinOptions{Numbered: true})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	b.deliver(1, "a", "b")
	b.h.FanOut(b.now)
	b.h.Leave(n, b.now)
	b.pass(9 * time.Second)
	b.log = nil
	k := b.join(3, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 1}})
	b.said("3 joined !" + epochA.String() + ".1")
	b.h.FanOut(b.now)
	if want := text("2 b"); !bytes.Equal(b.got[3], want) {
		t.Errorf("got %q", b.got[3])
	}
	b.pass(2 * time.Second)
	if n := b.h.Stats().Tails; n != 0 {
		t.Errorf("an old tail holds %d bytes", n)
	}
	b.h.Leave(k, b.now)
	b.pass(11 * time.Second)
	if b.h.rooms["r"].chains[numbered] != nil {
		t.Error("a chain without readers is still encoded")
	}
}

func TestLinesInMidstream(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{Numbered: true})
	b.join(2, JoinOptions{})
	b.sent()
	b.attached(epochA, 2, 1, proto.StatusWhole)
	b.deliver(3, "c")
	b.attached(epochA, 5, 6, proto.StatusGap)
	b.deliver(6, "f")
	b.attached(epochB, 0, 1, proto.StatusReset)
	b.h.FanOut(b.now)
	if want := text("3 c", "!"+epochA.String()+".5 gap", "6 f", "!"+epochB.String()+".0 reset"); !bytes.Equal(b.got[1], want) {
		t.Errorf("got %q, want %q", b.got[1], want)
	}
	if want := text("c", "f"); !bytes.Equal(b.got[2], want) {
		t.Errorf("plain got %q, want %q", b.got[2], want)
	}
	if s := b.h.Stats(); s.Gaps != 1 || s.Resets != 1 || s.GapsTold != 1 || s.ResetsTold != 1 {
		t.Errorf("%d gaps and %d resets, told %d and %d times; want 1 of each", s.Gaps, s.Resets, s.GapsTold, s.ResetsTold)
	}
}

func TestHoleIsRepaired(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	b.deliver(1, "a")
	b.deliver(3, "c")
	b.want("repair", b.sent(), "attach r "+epochA.String()+".1")
	b.deliver(4, "d")
	b.want("once", b.sent(), "")
	b.attached(epochA, 1, 1, proto.StatusWhole)
	b.deliver(1, "a", "b", "c", "d")
	b.h.FanOut(b.now)
	if want := text("a", "b", "c", "d"); !bytes.Equal(b.got[1], want) {
		t.Errorf("got %q", b.got[1])
	}
	// An owner that never closes the hole: in the end it is a gap.
	b.join(2, JoinOptions{Numbered: true})
	for range 20 {
		b.attached(epochA, 9, 1, proto.StatusWhole)
		b.pass(100 * time.Millisecond)
		b.sent()
	}
	b.said("1 joined", "2 joined !"+epochA.String()+".4")
	b.deliver(10, "j")
	b.h.FanOut(b.now)
	if want := text("a", "b", "c", "d", "j"); !bytes.Equal(b.got[1], want) {
		t.Errorf("got %q", b.got[1])
	}
	if want := text("!"+epochA.String()+".9 gap", "10 j"); !bytes.Equal(b.got[2], want) {
		t.Errorf("the numbered one got %q", b.got[2])
	}
}

// A fan-out waits for messages of our own members that are on their way, but no
// longer than it takes itself, and not in a small room.
func TestFanOutWaitsForWhatIsOnItsWay(t *testing.T) {
	for _, test := range []struct {
		name    string
		members int
		publish bool
		then    func(*bench)
		writes  int
	}{
		{"nothing on its way", 4, false, nil, 4},
		{"a small room", 3, true, nil, 3},
		{"it waits", 4, true, nil, 0},
		{"until it has come", 4, true, func(b *bench) {
			b.frame(proto.AppendAck(nil, 0, 1, 1, nil))
			b.deliver(2, "mine")
		}, 4},
		{"or as long as the fan-out takes", 4, true, func(b *bench) { b.now = b.now.Add(4 * writeCost) }, 4},
		{"and no shorter", 4, true, func(b *bench) { b.now = b.now.Add(4*writeCost - 1) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, Config{Patience: 4})
			members := make([]*Member, test.members)
			for i := range members {
				members[i] = b.join(uint64(i+1), JoinOptions{})
			}
			b.sent()
			b.attached(epochA, 0, 1, proto.StatusWhole)
			if test.publish {
				b.h.Publish(members[0], proto.KindText, []byte("mine"), b.now)
				b.sent()
			}
			b.deliver(1, "news")
			b.h.FanOut(b.now)
			if test.then != nil {
				test.then(b)
				b.h.FanOut(b.now)
			}
			if b.writes != test.writes {
				t.Errorf("%d writes, want %d", b.writes, test.writes)
			}
		})
	}
}

func TestExpectHoldGo(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(1, JoinOptions{})
	for _, s := range []string{"a", "b", "c"} {
		b.h.Publish(m, proto.KindText, []byte(s), b.now)
	}
	b.want("first", b.sent(), "attach r .0, publish 1/1 kind 0 a, publish 2/1 kind 0 b, publish 3/1 kind 0 c")
	b.signal(proto.FrameExpect, 1, 2)
	b.signal(proto.FrameExpect, 1, 2) // for the third, which was on its way
	b.want("expect", b.sent(), "publish 2/1 kind 0 b, publish 3/1 kind 0 c")
	b.signal(proto.FrameExpect, 1, 2)
	b.want("too soon", b.sent(), "")
	b.frame(proto.AppendAck(nil, 0, 1, 1, nil))
	b.pass(101 * time.Millisecond)
	b.want("in time", b.sent(), "publish 2/2 kind 0 b, publish 3/2 kind 0 c")
	b.signal(proto.FrameHold, 1, 3)
	b.want("held", b.sent(), "")
	b.signal(proto.FrameGo, 1, 0)
	b.want("go", b.sent(), "publish 3/2 kind 0 c")
	b.signal(proto.FrameHold, 1, 3)
	b.pass(1100 * time.Millisecond)
	b.want("a hold without a go", b.sent(), "publish 3/2 kind 0 c")
	b.frame(proto.AppendAck(nil, 0, 1, 3, nil))
	if n := b.h.Stats().Unacknowledged; n != 0 {
		t.Errorf("%d bytes unacknowledged", n)
	}
	if err := b.h.Frame(benchNode, proto.FrameAck, proto.AppendAck(nil, 0, 1, 4, nil)[proto.HeaderSize:], b.now); err == nil {
		t.Error("an ack of what was never sent is believed")
	}
}

func TestMovedAndFenced(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(1, JoinOptions{})
	b.h.Publish(m, proto.KindText, []byte("a"), b.now)
	again := b.sent()
	b.signal(proto.FrameMoved, 2, 0)
	if _, term, need := b.h.NeedTable(); !need || term != 2 {
		t.Errorf("need the table for term %d: %v", term, need)
	}
	b.h.Publish(m, proto.KindText, []byte("b"), b.now)
	b.want("blocked", b.sent(), "")
	b.pass(600 * time.Millisecond)
	b.want("tried again", b.sent(), again+", publish 2/1 kind 0 b")
	b.signal(proto.FrameMoved, 1, 0)
	b.want("blocked", b.sent(), "")
	b.pass(110 * time.Millisecond)
	b.want("tried again", b.sent(), again+", publish 2/1 kind 0 b")
	b.h.SetRow(0, "s2/0000000000002", 3, b.now)
	if _, _, need := b.h.NeedTable(); need {
		t.Error("the table is asked for, and its term 2 is past")
	}
	b.want("not the owner", b.sent(), "")
	b.h.SetRow(0, benchNode, 4, b.now)
	b.want("owner again", b.sent(), again+", publish 2/1 kind 0 b")
	b.attached(epochA, 3, 1, proto.StatusWhole) // of term 1
	b.said()
}

func TestBackPressure(t *testing.T) {
	b := newBench(t, Config{MemberMessages: 4, Unacknowledged: 20 * pendingCost})
	m := b.join(1, JoinOptions{})
	for i := range 4 {
		if ok := b.h.Publish(m, proto.KindText, nil, b.now); ok != (i < 3) {
			t.Errorf("publish %d: %v", i, ok)
		}
	}
	b.frame(proto.AppendAck(nil, 0, 1, 1, nil))
	b.said()
	b.frame(proto.AppendAck(nil, 0, 1, 2, nil))
	b.said("1 resume")
	for i := range uint64(30) {
		n := b.join(i+2, JoinOptions{})
		if ok := b.h.Publish(n, proto.KindText, nil, b.now); ok != (i < 18) {
			t.Errorf("publish with %d bytes unacknowledged: %v", b.h.Stats().Unacknowledged, ok)
		}
	}
	b.log = nil
	b.frame(proto.AppendAck(nil, 0, 1, 23, nil))
	b.said()
	b.frame(proto.AppendAck(nil, 0, 1, 24, nil))
	if len(b.log) != 12 {
		t.Errorf("%d go on: %v", len(b.log), b.log)
	}
	b.h.Publish(m, proto.KindText, make([]byte, 300<<10), b.now)
	b.log = nil
	b.frame(proto.AppendAck(nil, 0, 1, 35, nil))
	b.said("1 resume")
}

func TestUnplacedPublishLivesOnAsVoid(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(1, JoinOptions{})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	b.log = nil
	b.h.Publish(m, proto.KindText, make([]byte, 1000), b.now)
	b.sent()
	b.h.LinkDown(benchNode, 0, b.now)
	n := b.join(2, JoinOptions{})
	b.log = nil
	b.pass(59 * time.Second)
	b.said()
	b.h.Publish(n, proto.KindText, []byte("later"), b.now)
	b.pass(time.Second)
	b.said("1 expired")
	b.h.LinkUp(benchNode, 0, 1, b.now)
	b.want("again", b.sent(), "attach r "+epochA.String()+".0, publish 1/1 kind 2 , publish 2/1 kind 0 later")
	b.frame(proto.AppendAck(nil, 0, 1, 2, nil))
	if s := b.h.Stats(); s.Unacknowledged != 0 || s.Expired != 1 {
		t.Errorf("%+v", s)
	}
}

func TestRefusedAndTimedOut(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{})
	b.sent()
	b.attached(epochA, proto.Offset(proto.Full), 0, proto.StatusRefused)
	b.said("1 refused full")
	b.pass(time.Second)
	if len(b.h.rooms) != 0 {
		t.Error("a room with nobody in it stays")
	}
	b.join(2, JoinOptions{})
	b.pass(10 * time.Second)
	b.said("2 refused unavailable")
}

func TestReceipts(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(7, JoinOptions{Receipts: true})
	b.sent()
	b.attached(epochA, 4, 1, proto.StatusWhole)
	b.h.Publish(m, proto.KindText, []byte("x"), b.now)
	b.h.Publish(m, proto.KindText, []byte("y"), b.now)
	f, start := proto.BeginDeliver(nil, 0, 1, "r", epochA, 5)
	b.frame(proto.End(proto.AppendMessage(f, proto.KindText, 7, []byte("x")), start))
	b.frame(proto.AppendAck(nil, 0, 1, 2, []proto.Result{{Seq: 2, Code: proto.TooBig}}))
	b.said("7 joined", "7 placed "+epochA.String()+".5 ok", "7 placed "+proto.Position{}.String()+" too_big")
	b.h.FanOut(b.now)
	if len(b.got[7]) > 0 {
		t.Errorf("heard %q", b.got[7])
	}
	b.h.Leave(m, b.now)
	b.h.FanOut(b.now)
	b.want("gone", b.sent(), "detach")
}

func TestMemberCounts(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(1, JoinOptions{})
	b.join(2, JoinOptions{})
	b.pass(time.Second)
	b.want("not attached", b.sent(), "attach r .0")
	b.attached(epochA, 0, 1, proto.StatusWhole)
	b.pass(100 * time.Millisecond)
	worked := 0
	b.h.Work(func(node proto.NodeName, index int) {
		worked++
		b.want("counts", b.sent(), "members r 2")
	})
	b.h.Work(func(proto.NodeName, int) { worked++ })
	if worked != 1 {
		t.Errorf("%d links had work", worked)
	}
	b.h.Leave(m, b.now)
	b.pass(50 * time.Millisecond)
	b.want("too soon", b.sent(), "")
	b.pass(50 * time.Millisecond)
	b.want("counts", b.sent(), "members r 1")
}

// A room left and joined in the same turn stays attached.
func TestLeaveAndJoinInOneTurn(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(1, JoinOptions{})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	b.h.Leave(m, b.now)
	n := b.join(2, JoinOptions{})
	b.h.FanOut(b.now)
	b.said("1 joined", "2 joined")
	b.want("nothing", b.sent(), "")
	b.h.Leave(n, b.now)
	b.h.FanOut(b.now)
	b.join(3, JoinOptions{})
	b.want("again", b.sent(), "detach, attach r .0")
	b.h.FanOut(b.now)
}

// Partition p uses link p % count, and no other gets its frames.
func TestPartitionsKeepToTheirLinks(t *testing.T) {
	h := New(Config{Partitions: 8, Lanes: 2, Lane: 1}, &deafSink{})
	now := time.Unix(1, 0)
	for p := 1; p < 8; p += 2 {
		h.SetRow(proto.Partition(p), benchNode, 1, now)
	}
	h.LinkUp(benchNode, 1, 4, now)
	h.LinkUp(benchNode, 3, 4, now)
	var all [64]Member
	want := [4]int{}
	for i := range all {
		all[i].ID = uint64(i + 1)
		p := proto.PartitionOf(benchRoom(i), 8)
		if p%2 == 1 {
			h.Join(&all[i], benchRoom(i), JoinOptions{}, now)
			want[p%4]++
		}
	}
	got := [4]int{}
	h.Work(func(node proto.NodeName, index int) {
		b := h.Fill(node, index, nil, 1<<20)
		for len(b) > 0 {
			_, size, _ := proto.ParseHeader(b)
			x, _ := proto.ParseBatch(b[proto.HeaderSize:size])
			for _, ok := x.NextAttach(); ok; _, ok = x.NextAttach() {
				got[index]++
			}
			b = b[size:]
		}
	})
	if got != want {
		t.Errorf("attached per link %v, want %v", got, want)
	}
}

func TestFrameSizes(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{})
	b.join(2, JoinOptions{Numbered: true})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	var plainWant, numberedWant []string
	for i, n := range []int{0, 125, 126, 65535, 65536, 70000, 500000} {
		s := strings.Repeat("x", n)
		b.deliver(proto.Offset(i+1), s)
		plainWant = append(plainWant, s)
		numberedWant = append(numberedWant, fmt.Sprintf("%d %s", i+1, s))
	}
	b.h.FanOut(b.now)
	if !bytes.Equal(b.got[1], text(plainWant...)) || !bytes.Equal(b.got[2], text(numberedWant...)) {
		t.Errorf("got %d and %d bytes, not as wanted", len(b.got[1]), len(b.got[2]))
	}
}

// An idle room with five members and a past message costs less than 1 KB.
func TestIdleRoomIsSmall(t *testing.T) {
	const rooms = 4000
	var before, after runtime.MemStats
	members := make([]Member, rooms*5)
	runtime.GC()
	runtime.ReadMemStats(&before)
	h := New(Config{}, &deafSink{})
	now := benchTime
	for p := range proto.Partitions {
		h.SetRow(proto.Partition(p), benchNode, 1, now)
	}
	h.LinkUp(benchNode, 0, 1, now)
	for i := range rooms {
		name := benchRoom(i)
		for k := range 5 {
			m := &members[i*5+k]
			m.ID = uint64(i*5 + k + 1)
			h.Join(m, name, JoinOptions{Numbered: k == 0}, now)
		}
		p := proto.PartitionOf(name, proto.Partitions)
		h.Fill(benchNode, 0, nil, 1<<20)
		f, start := proto.BeginBatch(nil, proto.FrameAttached, p, 1)
		f = proto.End(proto.AppendAttachedEntry(f, &proto.AttachedEntry{Room: name, Epoch: epochA, First: 1}), start)
		if err := h.Frame(benchNode, proto.FrameAttached, f[proto.HeaderSize:], now); err != nil {
			t.Fatal(err)
		}
		f, start = proto.BeginDeliver(nil, p, 1, name, epochA, 1)
		f = proto.End(proto.AppendMessage(f, proto.KindText, 0, make([]byte, 100)), start)
		if err := h.Frame(benchNode, proto.FrameDeliver, f[proto.HeaderSize:], now); err != nil {
			t.Fatal(err)
		}
		h.FanOut(now)
	}
	for range 300 {
		now = now.Add(100 * time.Millisecond)
		h.Tick(now)
		h.Work(func(node proto.NodeName, index int) { h.Control(node, index, nil, 1<<20) })
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	free := h.buffers.held
	n := (int(after.HeapAlloc) - int(before.HeapAlloc) - free - 4093*320) / rooms
	t.Logf("%d bytes per room, %d held free", n, free)
	if s := h.Stats(); s.Members != rooms*5 || s.Tails != 0 {
		t.Errorf("%+v", s)
	}
	if n > 1000 {
		t.Errorf("an idle room costs %d bytes", n)
	}
	runtime.KeepAlive(h)
	runtime.KeepAlive(members)
}

// FuzzFrame hands arbitrary bodies to a hub with members: it may not panic, and
// what it holds stays bounded.
func FuzzFrame(f *testing.F) {
	seed := func(frame []byte) { f.Add(frame[4:]) }
	d, start := proto.BeginDeliver(nil, 0, 1, "r", epochA, 4)
	seed(proto.End(proto.AppendMessage(d, proto.KindText, 1, []byte("hi")), start))
	d, start = proto.BeginFetched(nil, 0, 1, "r", epochA, 1, true)
	seed(proto.End(proto.AppendMessage(d, proto.KindText, 1, []byte("hi")), start))
	d, start = proto.BeginBatch(nil, proto.FrameAttached, 0, 1)
	seed(proto.End(proto.AppendAttachedEntry(d, &proto.AttachedEntry{Room: []byte("r"), Epoch: epochB, Offset: 3, First: 9, Status: proto.StatusGap}), start))
	seed(proto.AppendAck(nil, 0, 1, 1, []proto.Result{{Seq: 1, Code: proto.Full}}))
	seed(proto.AppendSignal(nil, proto.FrameExpect, proto.Signal{Term: 1, Seq: 1}))
	seed(proto.AppendSignal(nil, proto.FrameHold, proto.Signal{Term: 1, Seq: 1}))
	seed(proto.AppendSignal(nil, proto.FrameMoved, proto.Signal{Term: 2}))
	f.Fuzz(func(t *testing.T, in []byte) {
		b := newBench(t, Config{RoomTail: 1 << 16, Tails: 1 << 17})
		ms := []*Member{b.join(1, JoinOptions{}), b.join(2, JoinOptions{Numbered: true}), b.join(3, JoinOptions{NoEcho: true})}
		b.sent()
		b.attached(epochA, 3, 1, proto.StatusWhole)
		b.join(4, JoinOptions{All: true})
		b.budget[1] = 5
		b.sent()
		// The input is a list of frames, each with its type first, of 64 bytes
		// at most: so that one input can hold a conversation.
		for len(in) > 0 {
			n := min(len(in), 64)
			frame := in[:n]
			in = in[n:]
			_ = b.h.Frame(benchNode, proto.FrameType(frame[0]), frame[1:], b.now)
			b.h.Publish(ms[0], proto.KindText, frame, b.now)
			b.h.FanOut(b.now)
			b.pass(50 * time.Millisecond)
			b.sent()
		}
		if s := b.h.Stats(); s.Tails > 1<<18 {
			t.Errorf("tails hold %d bytes", s.Tails)
		}
	})
}

// A position that is in the owner's log and not committed: the member waits for
// it, longer than for an owner that does not answer, and not for ever. What an
// earlier owner said of it is asked again of the next.
func TestSinceThatIsNotCommittedIsWaitedFor(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 7}})
	b.join(2, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 9}})
	b.sent()
	b.attached(epochA, 5, 1, proto.StatusWhole)
	b.want("one question", b.sent(), "fetch 9-9")
	b.fetched(7)
	b.said("2 joined !" + epochA.String() + ".5 reset")
	b.pass(30 * time.Second)
	b.said()
	b.h.SetRow(0, benchNode, 2, b.now)
	b.want("the next owner", b.sent(), "attach r "+epochA.String()+".5")
	b.from(benchNode, attachedIn(2, 5, 1))
	b.want("is asked again", b.sent(), "fetch 7-7")
	f, start := proto.BeginFetched(nil, 0, 2, []byte("r"), epochA, 7, true)
	b.from(benchNode, proto.End(f, start))
	b.pass(29 * time.Second)
	b.said()
	b.pass(time.Second)
	b.said("1 refused unrecovered")
	if s := b.h.Stats(); s.Waiting != 0 {
		t.Errorf("%d still wait", s.Waiting)
	}
}

// The same when the owner says nothing before the commit.
func TestOwnerThatAnswersWhenItIsCommitted(t *testing.T) {
	for name, c := range map[string]struct {
		after  time.Duration
		answer func(b *bench)
		said   string
	}{
		"in time":  {59 * time.Second, func(b *bench) { b.deliver(6, "f", "g"); b.fetched(7) }, "1 joined !" + epochA.String() + ".7"},
		"too late": {60 * time.Second, func(b *bench) {}, "1 refused unrecovered"},
		"is away":  {10 * time.Second, func(b *bench) {}, "1 refused unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Config{})
			b.join(1, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 7}})
			b.sent()
			b.attached(epochA, 5, 1, proto.StatusWhole)
			b.want("ask", b.sent(), "fetch 7-7")
			if name == "is away" {
				b.h.SetRow(0, "", 2, b.now)
			}
			for range c.after / time.Second {
				b.pass(time.Second)
			}
			c.answer(b)
			b.said(c.said)
		})
	}
}

// A position above all offsets that there can be needs no question.
func TestSinceAboveEverything(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 1<<64 - 1}})
	b.sent()
	b.attached(epochA, 5, 1, proto.StatusWhole)
	b.said("1 joined !" + epochA.String() + ".5 reset")
}

// An owner that has less than was heard here is against the rules. If there is
// one, members are told, and go on with what it has.
func TestOwnerThatKnowsLess(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{Numbered: true})
	b.sent()
	b.attached(epochA, 0, 1, proto.StatusWhole)
	b.deliver(1, "a", "b", "c")
	b.h.SetRow(0, benchNode, 2, b.now)
	b.want("attach", b.sent(), "attach r "+epochA.String()+".3")
	f, start := proto.BeginBatch(nil, proto.FrameAttached, 0, 2)
	b.from(benchNode, proto.End(proto.AppendAttachedEntry(f, &proto.AttachedEntry{Room: []byte("r"), Epoch: epochA, Offset: 1, First: 1, Status: proto.StatusReset}), start),
		deliverIn(2, 2, "B"))
	b.h.FanOut(b.now)
	if want := text("1 a", "2 b", "3 c", "!"+epochA.String()+".1 reset", "2 B"); !bytes.Equal(b.got[1], want) {
		t.Errorf("got %q, want %q", b.got[1], want)
	}
	b.log = nil
	b.join(2, JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 1}})
	b.said("2 joined !" + epochA.String() + ".1")
	b.h.FanOut(b.now)
	if want := text("2 B"); !bytes.Equal(b.got[2], want) {
		t.Errorf("who comes then got %q, want %q", b.got[2], want)
	}
}

// A publisher is told that it is acknowledged even if the message itself is in
// a gap: whichever comes first.
func TestReceiptWithoutAPlace(t *testing.T) {
	nowhere := "7 placed " + proto.Position{}.String() + " ok"
	ack := func(b *bench) { b.frame(proto.AppendAck(nil, 0, 1, 1, nil)) }
	for name, story := range map[string]func(b *bench){
		"acknowledged, then the gap": func(b *bench) {
			ack(b)
			b.attached(epochA, 9, 10, proto.StatusGap)
		},
		"the gap, then acknowledged": func(b *bench) {
			b.attached(epochA, 9, 10, proto.StatusGap)
			b.said()
			ack(b)
		},
		"acknowledged, then all is lost": func(b *bench) {
			ack(b)
			b.attached(epochB, 0, 1, proto.StatusReset)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Config{})
			m := b.join(7, JoinOptions{Receipts: true})
			b.sent()
			b.attached(epochA, 4, 1, proto.StatusWhole)
			b.h.Publish(m, proto.KindText, []byte("x"), b.now)
			b.sent()
			b.said("7 joined")
			story(b)
			b.said(nowhere)
		})
	}
	t.Run("all is lost, then it is published again", func(t *testing.T) {
		b := newBench(t, Config{})
		m := b.join(7, JoinOptions{Receipts: true})
		b.sent()
		b.attached(epochA, 4, 1, proto.StatusWhole)
		b.h.Publish(m, proto.KindText, []byte("x"), b.now)
		b.log = nil
		b.attached(epochB, 0, 1, proto.StatusReset)
		ack(b)
		f, start := proto.BeginDeliver(nil, 0, 1, "r", epochB, 1)
		b.frame(proto.End(proto.AppendMessage(f, proto.KindText, 7, []byte("x")), start))
		b.said("7 placed " + epochB.String() + ".1 ok")
	})
}

// An answer says nothing of a position that was asked for after the question.
func TestProbeJudgesThoseWhoWereThere(t *testing.T) {
	b := newBench(t, Config{})
	since := JoinOptions{Resume: true, Since: proto.Position{Epoch: epochA, Offset: 2}}
	b.join(1, since)
	b.sent()
	b.attached(epochA, 1, 1, proto.StatusWhole)
	b.want("the first asks", b.sent(), "fetch 2-2")
	b.join(2, since)
	b.fetched(1)
	b.said("1 joined !" + epochA.String() + ".1 reset")
	b.want("the second asks", b.sent(), "fetch 2-2")
	b.fetched(2)
	b.deliver(2, "b")
	b.said("2 joined !" + epochA.String() + ".2")
}

// A message that was under way when its owner died gets its place from the next
// one: replayed behind what was heard here, or published again.
func TestReceiptsAfterAFailOver(t *testing.T) {
	for name, story := range map[string]func(b *bench){
		"it was appended":     func(b *bench) { b.from(otherNode, ackIn(2, 1), attachedIn(2, 4, 1), placedIn(2, 6)) },
		"it is sent again":    func(b *bench) { b.from(otherNode, attachedIn(2, 4, 1), ackIn(2, 1), placedIn(2, 6)) },
		"the ack comes later": func(b *bench) { b.from(otherNode, attachedIn(2, 4, 1), placedIn(2, 6), ackIn(2, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Config{})
			m := b.join(7, JoinOptions{Receipts: true})
			b.sent()
			b.attached(epochA, 4, 1, proto.StatusWhole)
			b.h.Publish(m, proto.KindText, []byte("x"), b.now)
			b.sent()
			b.h.LinkUp(otherNode, 0, 1, b.now)
			b.h.SetRow(0, otherNode, 2, b.now)
			b.h.Fill(otherNode, 0, nil, 1<<20)
			story(b)
			b.said("7 joined", "7 placed "+epochA.String()+".6 ok")
			if b.h.unacked != 0 {
				t.Errorf("%d bytes are unacknowledged", b.h.unacked)
			}
		})
	}
}

func ackIn(t proto.Term, upto proto.Seq) []byte { return proto.AppendAck(nil, 0, t, upto, nil) }

// placedIn delivers two messages, of which the one at o is conn 7's.
func placedIn(t proto.Term, o proto.Offset) []byte {
	f, start := proto.BeginDeliver(nil, 0, t, "r", epochA, o-1)
	f = proto.AppendMessage(f, proto.KindText, 3, []byte("another's"))
	return proto.End(proto.AppendMessage(f, proto.KindText, 7, []byte("x")), start)
}

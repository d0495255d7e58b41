package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// sender is a router that publishes over a bad link: what it sends may be
// lost, doubled or out of order; what it is told arrives, but late.
type sender struct {
	id    string
	peer  *Peer
	term  proto.Term
	next  proto.Seq
	queue []proto.Publish // not acknowledged
	wire  [][]byte
	told  []byte // control frames on their way
}

func (s *sender) publish(room string) {
	s.next++
	s.queue = append(s.queue, proto.Publish{Seq: s.next, Room: []byte(room), Payload: fmt.Appendf(nil, "%s-%d", s.id, s.next)})
	s.transmit(s.next)
}

// transmit sends everything from seq on.
func (s *sender) transmit(from proto.Seq) {
	for _, x := range s.queue {
		if x.Seq >= from {
			x.Term, x.Base = s.term, s.queue[0].Seq
			s.wire = append(s.wire, proto.AppendPublish(nil, &x))
		}
	}
}

// hear takes what it was told.
func (s *sender) hear(t testing.TB) {
	b := s.told
	s.told = nil
	eachFrame(t, b, func(typ proto.FrameType, body []byte) {
		if typ == proto.FrameAck {
			x, err := proto.ParseAck(body)
			check(t, err)
			s.queue = slices.DeleteFunc(s.queue, func(p proto.Publish) bool { return p.Seq <= x.Upto })
			return
		}
		x, err := proto.ParseSignal(typ, body)
		check(t, err)
		s.term = max(s.term, x.Term)
		s.transmit(x.Seq)
	})
}

// exactlyOnce runs two senders against a lane whose term rises now and then,
// and says how the log differs from what they published.
func exactlyOnce(t testing.TB, seed uint64, br Break) error {
	rnd := rand.New(rand.NewPCG(seed, 1))
	g := newRig(t, Config{Break: br})
	ear := g.up("ear")
	g.attach(ear, "lobby")
	term := proto.Term(1)
	senders := []*sender{{id: "a", term: 1}, {id: "b", term: 1}}
	for _, s := range senders {
		s.peer = g.up(s.id)
	}
	for range 300 {
		g.now = g.now.Add(time.Millisecond)
		s := senders[rnd.IntN(2)]
		switch rnd.IntN(12) {
		case 0, 1, 2:
			s.publish("lobby")
		case 3:
			s.hear(t)
		case 4:
			s.transmit(0)
		case 5:
			if rnd.IntN(8) == 0 {
				s.peer, s.wire, s.told = g.up(s.id), nil, nil // the old link breaks
				s.transmit(0)
			}
			if rnd.IntN(8) == 0 {
				s.term = term + 1 // it hears of the term before the owner does
			}
			if rnd.IntN(8) == 0 {
				term++
				g.table(self, term)
			}
		default:
			g.arrive(s, rnd)
		}
		s.told = g.l.Control(s.peer, s.told)
	}
	for _, s := range senders { // the network heals
		g.table(self, max(term, s.term))
		term = max(term, s.term)
	}
	for range 4 {
		for _, s := range senders {
			s.term = term
			s.transmit(0)
			for len(s.wire) > 0 {
				g.must(s.peer, s.wire[0])
				s.wire = s.wire[1:]
			}
			s.told = g.l.Control(s.peer, s.told)
			s.hear(t)
		}
	}
	return compare(senders, g.data(ear))
}

// arrive lets one of the first frames on the wire arrive, or none, or twice.
func (g *rig) arrive(s *sender, rnd *rand.Rand) {
	if len(s.wire) == 0 {
		return
	}
	i := rnd.IntN(min(3, len(s.wire)))
	f := s.wire[i]
	if rnd.IntN(6) > 0 { // else a double
		s.wire = slices.Delete(s.wire, i, i+1)
	}
	if rnd.IntN(8) > 0 { // else lost
		g.must(s.peer, f)
	}
}

func compare(senders []*sender, heard []string) error {
	next := map[string]int{}
	for _, line := range heard[1:] {
		for _, m := range strings.Fields(line)[3:] {
			id, seq, _ := strings.Cut(m, "-")
			next[id]++
			if seq != fmt.Sprint(next[id]) {
				return fmt.Errorf("%s comes where %s-%d should", m, id, next[id])
			}
		}
	}
	for _, s := range senders {
		if next[s.id] != int(s.next) || len(s.queue) > 0 {
			return fmt.Errorf("%d of %d messages of %s are in the log, %d not acknowledged", next[s.id], s.next, s.id, len(s.queue))
		}
	}
	return nil
}

func TestEveryPublishIsInTheLogOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		if err := exactlyOnce(t, seed, 0); err != nil {
			rt.Fatalf("seed %d: %v", seed, err)
		}
	})
}

// listener is a router that checks what it hears against all that was
// published.
type listener struct {
	peer *Peer
	at   map[string]proto.Offset // by room; absent: not attached or not answered yet
	gaps int
}

// world is a few rooms, what was published there, and who listens.
type world struct {
	*rig
	rnd       *rand.Rand
	rooms     []string
	said      map[string][]string
	listeners []*listener
	fail      error
}

func (w *world) failf(format string, args ...any) {
	if w.fail == nil {
		w.fail = fmt.Errorf(format, args...)
	}
}

// fill lets a listener hear what fits.
func (w *world) fill(e *listener, limit int) {
	prefix := []byte("kept")
	b := w.l.Fill(e.peer, prefix, limit)
	if string(b[:4]) != "kept" || len(b)-4 > limit {
		w.failf("fill appended %d bytes, limit %d", len(b)-4, limit)
	}
	eachFrame(w.t, b[4:], func(typ proto.FrameType, body []byte) {
		switch typ {
		case proto.FrameAttached:
			w.attached(e, body)
		case proto.FrameDeliver:
			w.delivered(e, body)
		case proto.FrameFetched:
			w.fetched(body)
		default:
			w.failf("a %s among the data", typ)
		}
	})
}

func (w *world) attached(e *listener, body []byte) {
	x, err := proto.ParseBatch(body)
	check(w.t, err)
	for a, ok := x.NextAttached(); ok; a, ok = x.NextAttached() {
		room := string(a.Room)
		if last, ok := e.at[room]; ok && a.Status == proto.StatusGap {
			e.gaps++
			if a.Offset <= last {
				w.failf("a gap from %d to %d", last, a.Offset)
			}
		}
		if a.First > a.Offset+1 {
			w.failf("attached at %d, first is %d", a.Offset, a.First)
		}
		e.at[room] = a.Offset
	}
}

func (w *world) delivered(e *listener, body []byte) {
	x, err := proto.ParseDeliver(body)
	check(w.t, err)
	room := string(x.Room)
	at, ok := e.at[room]
	if !ok || x.Offset != at+1 {
		w.failf("%s.%d was delivered, %d (%v) was the last", room, x.Offset, at, ok)
		return
	}
	e.at[room] = w.same(room, at, &x.Messages)
}

func (w *world) fetched(body []byte) {
	x, err := proto.ParseFetched(body)
	check(w.t, err)
	w.same(string(x.Room), x.After, &x.Messages)
}

// same compares messages above an offset with what was said.
func (w *world) same(room string, at proto.Offset, x *proto.Messages) proto.Offset {
	for m, ok := x.Next(); ok; m, ok = x.Next() {
		at++
		if int(at) > len(w.said[room]) || w.said[room][at-1] != string(m.Payload) {
			w.failf("%s.%d is not what was said", room, at)
		}
	}
	check(w.t, x.Err())
	return at
}

// inOrder lets several listeners attach, detach, fetch and read with random
// limits while others speak, and says where one heard other than the log.
func inOrder(t testing.TB, seed uint64, br Break) (gaps int, err error) {
	w := &world{
		rig: newRig(t, Config{Break: br, HistoryMessages: 5, WindowAge: -1}), rnd: rand.New(rand.NewPCG(seed, 2)),
		rooms: []string{"one", "two", "three"}, said: map[string][]string{},
	}
	speaker := w.up("speaker")
	for i := range 3 {
		w.listeners = append(w.listeners, &listener{peer: w.up(fmt.Sprint("r", i)), at: map[string]proto.Offset{}})
	}
	for range 400 {
		room := w.rooms[w.rnd.IntN(3)]
		e := w.listeners[w.rnd.IntN(3)]
		switch w.rnd.IntN(12) {
		case 0:
			w.attach(e.peer, room)
		case 1:
			w.resume(e, room)
		case 2:
			if w.rnd.IntN(4) == 0 {
				w.detach(e.peer, room)
				delete(e.at, room)
			}
		case 3:
			check(t, w.fetch(e.peer, room, 1+w.rnd.Uint64N(3), 0, proto.Offset(w.rnd.IntN(60))))
		case 4, 5:
			w.fill(e, w.rnd.IntN(2000))
		default:
			p := fmt.Sprintf("%d%s", len(w.said[room]), strings.Repeat("x", w.rnd.IntN(200)))
			w.said[room] = append(w.said[room], p)
			w.say(speaker, room, p)
		}
	}
	for _, e := range w.listeners {
		w.settle(e)
		gaps += e.gaps
	}
	return gaps, w.fail
}

// resume attaches from a position that the listener has reached, or before it.
func (w *world) resume(e *listener, room string) {
	at, ok := e.at[room]
	if !ok {
		return
	}
	i, _ := w.l.Room(room)
	b, start := proto.BeginBatch(nil, proto.FrameAttach, 0, 1)
	e.at[room] = proto.Offset(w.rnd.Uint64N(uint64(at) + 1))
	b = proto.AppendAttachEntry(b, room, i.Epoch, e.at[room])
	w.must(e.peer, proto.End(b, start))
	w.fill(e, 1<<20)
}

// settle lets a listener read all there is, and expects it at the heads.
func (w *world) settle(e *listener) {
	for range 3 {
		w.fill(e, 1<<20)
	}
	for room, at := range e.at {
		if int(at) != len(w.said[room]) {
			w.failf("%s heard %d of %d in %s", e.peer.Name(), at, len(w.said[room]), room)
		}
	}
	if e.peer.first != nil || e.peer.fetches != 0 {
		w.failf("%s has something left to read", e.peer.Name())
	}
}

func TestListenersHearTheLogInOrder(t *testing.T) {
	gaps := 0
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		n, err := inOrder(t, seed, 0)
		if err != nil {
			rt.Fatalf("seed %d: %v", seed, err)
		}
		gaps += n
	})
	if gaps == 0 {
		t.Error("nobody ever fell behind: the test shows nothing about gaps")
	}
}

// TestBrokenRulesAreCaught switches rules off, one at a time: the checks above
// must see it.
func TestBrokenRulesAreCaught(t *testing.T) {
	tests := []struct {
		name string
		run  func(seed uint64) error
	}{
		{"any seq is taken", func(seed uint64) error { return exactlyOnce(t, seed, BreakDedup) }},
		{"gaps are not told", func(seed uint64) error { _, err := inOrder(t, seed, BreakGap); return err }},
		{"old terms are taken", func(uint64) error { return fenced(t, BreakFence) }},
	}
	for _, tt := range tests {
		caught := 0
		for seed := range uint64(30) {
			if tt.run(seed) != nil {
				caught++
			}
		}
		if caught < 15 {
			t.Errorf("%s: caught in %d of 30 runs", tt.name, caught)
		}
	}
	if err := fenced(t, 0); err != nil {
		t.Error(err)
	}
}

// fenced says whether a publish of an old term got into a log.
func fenced(t testing.TB, br Break) error {
	g := newRig(t, Config{Break: br})
	g.table(self, 2)
	g.publish(g.up("r1"), pub(1, 1, "lobby", "stale"))
	if i, ok := g.l.Room("lobby"); ok {
		return fmt.Errorf("a publish of term 1 is at %d in term 2", i.Offset)
	}
	return nil
}

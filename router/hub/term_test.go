package hub

import (
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

const otherNode proto.NodeName = "s2/0000000000002"

// later is a term of another generation than the bench's.
const later = proto.Term(1)<<32 | 2

func attachedIn(t proto.Term, o, first proto.Offset) []byte {
	f, start := proto.BeginBatch(nil, proto.FrameAttached, 0, t)
	return proto.End(proto.AppendAttachedEntry(f, &proto.AttachedEntry{Room: []byte("r"), Epoch: epochA, Offset: o, First: first}), start)
}

func deliverIn(t proto.Term, first proto.Offset, texts ...string) []byte {
	f, start := proto.BeginDeliver(nil, 0, t, "r", epochA, first)
	for _, s := range texts {
		f = proto.AppendMessage(f, proto.KindText, 0, []byte(s))
	}
	return proto.End(f, start)
}

func (b *bench) from(node proto.NodeName, frames ...[]byte) {
	b.Helper()
	for _, f := range frames {
		typ, _, _ := proto.ParseHeader(f)
		if err := b.h.Frame(node, typ, f[proto.HeaderSize:], b.now); err != nil {
			b.Fatal(err)
		}
	}
}

// needs wants the Table to be asked for, for a term; 0 for not at all.
func (b *bench) needs(want proto.Term) {
	b.Helper()
	if p, term, need := b.h.NeedTable(); p != 0 || term != want || need != (want != 0) {
		b.Errorf("asks for term %d of partition %d: %v; want term %d", term, p, need, want)
	}
}

// held wants so many frames to have been held, dropped then or later, and
// passed over.
func (b *bench) held(held, dropped, ignored uint64) {
	b.Helper()
	s := b.h.Stats()
	if s.Held != held || s.HeldDropped != dropped || s.Ignored != ignored {
		b.Errorf("held %d, dropped %d, ignored %d; want %d, %d, %d", s.Held, s.HeldDropped, s.Ignored, held, dropped, ignored)
	}
}

// TestOwnerIsAheadOfTheTable: only the term of an owner rises, and it speaks in
// the new one before the row comes. All of that is taken then, so that nothing is
// replayed and only what is unacknowledged is sent again.
func TestOwnerIsAheadOfTheTable(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(1, JoinOptions{})
	b.h.Publish(m, proto.KindText, []byte("a"), b.now)
	b.h.Publish(m, proto.KindText, []byte("b"), b.now)
	b.h.Publish(m, proto.KindText, []byte("c"), b.now)
	b.want("first", b.sent(), "attach r .0, publish 1/1 kind 0 a, publish 2/1 kind 0 b, publish 3/1 kind 0 c")
	b.frame(proto.AppendAck(nil, 0, later, 2, nil)) // passes the others
	b.frame(attachedIn(later, 4, 1))
	b.frame(deliverIn(later, 5, "a"))
	b.frame(deliverIn(later, 6, "b"))
	b.said()
	b.needs(later)
	b.needs(later)
	b.want("nothing is believed", b.sent(), "")

	b.h.SetRow(0, benchNode, later, b.now)
	b.said("1 joined")
	b.want("from there on", b.sent(), "attach r "+epochA.String()+".6, publish 3/3 kind 0 c")
	b.h.FanOut(b.now)
	if got := string(b.got[1]); got != string(text("a", "b")) {
		t.Errorf("heard %q", got)
	}
	b.needs(0)
	b.held(4, 0, 0)

	// What was on its way in the new term, and what the new attachment brings.
	b.frame(deliverIn(later, 7, "x"))
	b.frame(attachedIn(later, 6, 1))
	b.frame(deliverIn(later, 7, "x", "y"))
	b.h.FanOut(b.now)
	if got := string(b.got[1]); got != string(text("a", "b", "x", "y")) {
		t.Errorf("heard %q", got)
	}
	if s := b.h.Stats(); s.HeldBytes != 0 || s.Duplicates != 1 || s.Repairs != 0 {
		t.Errorf("%+v", s)
	}
}

// TestHeldUntilItsRow: rows in between tell neither that term nor its owner.
func TestHeldUntilItsRow(t *testing.T) {
	b := newBench(t, Config{})
	b.join(1, JoinOptions{})
	b.sent()
	b.frame(attachedIn(3, 4, 1))
	b.frame(attachedIn(5, 4, 1))
	b.frame(deliverIn(5, 5, "a"))
	b.h.SetRow(0, benchNode, 2, b.now)
	b.said()
	b.needs(5)
	b.h.SetRow(0, benchNode, 4, b.now)
	b.said()
	b.want("asks in that term", b.sent(), "attach r "+proto.Epoch{}.String()+".0")
	b.held(3, 1, 0)
	b.h.SetRow(0, benchNode, 5, b.now)
	b.said("1 joined")
	b.want("attaches", b.sent(), "attach r "+epochA.String()+".5")
	b.held(3, 1, 0)
}

// TestHeldIsDropped when what it answers is of the past.
func TestHeldIsDropped(t *testing.T) {
	for name, happens := range map[string]func(b *bench){
		"another owner": func(b *bench) { b.h.SetRow(0, otherNode, 3, b.now) },
		"nobody":        func(b *bench) { b.h.SetRow(0, "", 2, b.now) },
		"a later term":  func(b *bench) { b.h.SetRow(0, benchNode, 4, b.now) },
		"another in between": func(b *bench) {
			b.h.SetRow(0, otherNode, 2, b.now)
			b.h.SetRow(0, benchNode, 3, b.now)
		},
		"its link is down": func(b *bench) { b.h.LinkDown(benchNode, 0, b.now) },
		"a newer link":     func(b *bench) { b.h.LinkUp(benchNode, 0, 1, b.now) },
		"other links":      func(b *bench) { b.h.LinkUp(benchNode, 0, 2, b.now) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Config{})
			m := b.join(1, JoinOptions{})
			b.h.Publish(m, proto.KindText, []byte("a"), b.now)
			b.sent()
			b.frame(attachedIn(3, 4, 1))
			b.frame(deliverIn(3, 5, "a"))
			b.frame(proto.AppendAck(nil, 0, 3, 1, nil))
			happens(b)
			b.h.SetRow(0, benchNode, 3, b.now)
			b.said()
			b.held(3, 3, 0)
			if s := b.h.Stats(); s.HeldBytes != 0 || s.Unacknowledged == 0 || s.Delivered != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestNotHeld: what could do harm later, or answers nothing that we asked.
func TestNotHeld(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(1, JoinOptions{})
	b.h.Publish(m, proto.KindText, []byte("a"), b.now)
	again := b.sent()
	fetched, start := proto.BeginFetched(nil, 0, 3, "r", epochA, 4, true)
	b.frame(proto.End(fetched, start))
	b.signal(proto.FrameExpect, 3, 1)
	b.signal(proto.FrameHold, 3, 1)
	b.signal(proto.FrameGo, 3, 0)
	b.needs(3)
	b.from(otherNode, attachedIn(4, 4, 1), deliverIn(4, 5, "a"), proto.AppendAck(nil, 0, 4, 1, nil),
		proto.AppendSignal(nil, proto.FrameMoved, proto.Signal{Term: 4}))
	b.needs(4)
	b.h.Publish(m, proto.KindText, []byte("b"), b.now)
	b.want("goes on", b.sent(), "publish 2/1 kind 0 b")
	b.h.SetRow(0, benchNode, 3, b.now)
	b.want("goes on", b.sent(), again+", publish 2/1 kind 0 b")
	b.h.SetRow(0, otherNode, 4, b.now)
	b.said()
	b.held(0, 0, 8)
	if err := b.h.Frame(benchNode, proto.FramePublish, attachedIn(9, 0, 0)[proto.HeaderSize:], b.now); err == nil {
		t.Error("a frame for shards is taken")
	}
}

// TestHeldFramesAreBounded: behind the first that does not fit nothing is held,
// so that there is no hole in what is.
func TestHeldFramesAreBounded(t *testing.T) {
	b := newBench(t, Config{})
	m := b.join(1, JoinOptions{})
	b.h.Publish(m, proto.KindText, []byte("a"), b.now)
	b.sent()
	b.frame(attachedIn(1, 0, 1))
	b.log = nil
	big := strings.Repeat("x", 400<<10)
	for o := proto.Offset(1); o <= 4; o++ {
		b.frame(deliverIn(2, o, big))
	}
	b.frame(deliverIn(2, 5, "small"))
	b.frame(proto.AppendAck(nil, 0, 2, 1, nil))
	b.held(2, 4, 0)
	if n := b.h.Stats().HeldBytes; n > maxHeld || n < 800<<10 {
		t.Errorf("%d bytes are held", n)
	}
	b.h.SetRow(0, benchNode, 2, b.now)
	b.want("the rest is asked for", b.sent(), "attach r "+epochA.String()+".2, publish 1/1 kind 0 a")
	b.frame(deliverIn(3, 3, "next"))
	b.held(3, 4, 0)
	if s := b.h.Stats(); s.Repairs != 0 {
		t.Errorf("%+v", s)
	}

	h := New(Config{Partitions: 100}, b.recorder)
	b.recorder.h = h
	for p := range proto.Partition(100) {
		h.SetRow(p, benchNode, 1, b.now)
	}
	f, start := proto.BeginDeliver(nil, 0, 2, "r", epochA, 1)
	f = proto.End(proto.AppendMessage(f, proto.KindText, 0, make([]byte, 900<<10)), start)
	for p := range byte(100) {
		f[proto.HeaderSize+1] = p
		if err := h.Frame(benchNode, proto.FrameDeliver, f[proto.HeaderSize:], b.now); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.Stats().HeldBytes; n > maxHeldAll || n < maxHeldAll-1<<20 {
		t.Errorf("%d bytes are held in all", n)
	}
}

// TestHeldFrameThatBreaksTheProtocol ends the link, with the next frame on it.
func TestHeldFrameThatBreaksTheProtocol(t *testing.T) {
	for name, down := range map[string]bool{"same link": false, "next link": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Config{})
			b.join(1, JoinOptions{})
			b.sent()
			b.frame(proto.AppendAck(nil, 0, 2, 9, nil))
			b.frame(attachedIn(2, 4, 1))
			b.h.SetRow(0, benchNode, 2, b.now)
			b.said()
			b.held(2, 1, 0)
			if down {
				b.h.LinkDown(benchNode, 0, b.now)
				b.h.LinkUp(benchNode, 0, 1, b.now)
			}
			f := attachedIn(2, 4, 1)
			if err := b.h.Frame(benchNode, proto.FrameAttached, f[proto.HeaderSize:], b.now); (err != nil) == down {
				t.Errorf("the next frame: %v", err)
			}
		})
	}
}

// fences is what a node is told, as terms.
func (b *bench) fences(node proto.NodeName) (terms []proto.Term) {
	b.Helper()
	b.h.Work(func(n proto.NodeName, index int) {
		if n != node {
			return
		}
		for out := b.h.Control(n, index, nil, 1<<20); len(out) > 0; {
			typ, size, _ := proto.ParseHeader(out)
			x, err := proto.ParseSignal(typ, out[proto.HeaderSize:size])
			if err != nil || typ != proto.FrameFenced {
				b.Fatalf("%v: %v", typ, err)
			}
			terms = append(terms, x.Term)
			out = out[size:]
		}
	})
	return terms
}

// TestOldOwnerIsFenced: a node that speaks in an old term is told so, once in a
// term of ours, whether it is the owner still or not.
func TestOldOwnerIsFenced(t *testing.T) {
	b := newBench(t, Config{})
	b.h.LinkUp(otherNode, 0, 1, b.now)
	b.h.SetRow(0, otherNode, later, b.now)
	wants := func(what string, node proto.NodeName, want ...proto.Term) {
		t.Helper()
		have := b.fences(node)
		if len(have) != len(want) || len(have) > 0 && have[0] != want[0] {
			t.Errorf("%s: %s is told of %v, want %v", what, node, have, want)
		}
	}
	wants("nobody spoke", benchNode)
	b.frame(deliverIn(1, 5, "a"))
	b.frame(deliverIn(1, 6, "b"))
	wants("the old owner", benchNode, later)
	b.frame(proto.AppendAck(nil, 0, 1, 0, nil))
	wants("once", benchNode)
	b.signal(proto.FrameMoved, 1, 0)
	b.signal(proto.FrameFenced, 1, 0)
	b.from(otherNode, proto.AppendSignal(nil, proto.FrameFenced, proto.Signal{Term: 1}))
	wants("who knows", otherNode)
	b.from(otherNode, deliverIn(later-1, 5, "a"))
	wants("the owner, late", otherNode, later)
	b.h.SetRow(0, otherNode, later+1, b.now)
	b.frame(deliverIn(1, 7, "c"))
	wants("a newer term", benchNode, later+1)

	b.h.SetRow(0, otherNode, later+2, b.now)
	b.frame(deliverIn(1, 8, "d"))
	b.h.LinkDown(benchNode, 0, b.now)
	b.h.LinkUp(benchNode, 0, 1, b.now)
	wants("lost with its link", benchNode)
	b.from("s3/0000000000003", deliverIn(1, 8, "d")) // of no link: nobody to tell
	if s := b.h.Stats(); s.Fenced != 4 || s.Delivered != 0 {
		t.Errorf("%+v", s)
	}
	b.pass(time.Second)
	b.said()
}

package proto

import (
	"bytes"
	"testing"
	"unicode"
	"unicode/utf8"
)

// No input panics, and what a parser accepts is written again as the very same
// bytes: there is one way to say a thing.

func fuzzFrames(f *testing.F, types ...FrameType) {
	for i, t := range types {
		f.Add(byte(i), []byte{})
		for _, g := range golden {
			if g.typ == t {
				f.Add(byte(i), g.frame[HeaderSize:])
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		typ := types[int(which)%len(types)]
		before := bytes.Clone(body)
		frame, err := rewrite(typ, body)
		if !bytes.Equal(before, body) {
			t.Fatalf("parsing %v wrote into the body", typ)
		}
		if err == nil && !bytes.Equal(frame[HeaderSize:], body) {
			t.Fatalf("%v read and written again:\n have %x\n want %x", typ, frame[HeaderSize:], body)
		}
	})
}

func FuzzPublish(f *testing.F) { fuzzFrames(f, FramePublish) }
func FuzzAck(f *testing.F)     { fuzzFrames(f, FrameAck) }
func FuzzSignal(f *testing.F) {
	fuzzFrames(f, FrameExpect, FrameHold, FrameGo, FrameMoved, FrameFenced)
}
func FuzzBatch(f *testing.F) {
	fuzzFrames(f, FrameAttach, FrameAttached, FrameDetach, FrameMembers)
}
func FuzzDeliver(f *testing.F)  { fuzzFrames(f, FrameDeliver) }
func FuzzFetch(f *testing.F)    { fuzzFrames(f, FrameFetch) }
func FuzzFetched(f *testing.F)  { fuzzFrames(f, FrameFetched) }
func FuzzAppend(f *testing.F)   { fuzzFrames(f, FrameAppend) }
func FuzzSnapshot(f *testing.F) { fuzzFrames(f, FrameSnapshot) }
func FuzzStored(f *testing.F)   { fuzzFrames(f, FrameStored) }
func FuzzRow(f *testing.F)      { fuzzFrames(f, FramePromise, FramePromised, FrameWish) }
func FuzzControl(f *testing.F)  { fuzzFrames(f, FrameCredit, FrameGoodbye, FrameAsk, FrameReply) }

// FuzzEntry: a raw entry is one entry, all of it.
func FuzzEntry(f *testing.F) {
	for i := range testEntries {
		f.Add(AppendEntry(nil, &testEntries[i]))
	}
	for i := range testSnapshot {
		f.Add(AppendEntry(nil, &testSnapshot[i]))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		x := Entry{Refused: make([]Result, 3, 8)}
		if ParseEntry(raw, &x) != nil {
			return
		}
		if again := AppendEntry(nil, &x); !bytes.Equal(again, raw) {
			t.Fatalf("read and written again:\n have %x\n want %x", again, raw)
		}
		list := ParseEntries(append(bytes.Clone(raw), raw...))
		for range 2 {
			if have, ok := list.NextRaw(); !ok || !bytes.Equal(have, raw) {
				t.Fatalf("one of two: %v %x, %v", ok, have, list.Err())
			}
		}
		if list.Next(&x) || list.Err() != nil {
			t.Fatalf("a third of two: %v", list.Err())
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{})
	for _, g := range golden {
		f.Add(g.frame)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, size, err := ParseHeader(b)
		switch {
		case err != nil && (size != 0 || typ != 0):
			t.Fatalf("an error with %v %d", typ, size)
		case err == nil && size == 0 && len(b) >= HeaderSize:
			t.Fatalf("%d bytes are too few", len(b))
		case size != 0 && (size < HeaderSize || size > MaxFrame || typ != FrameType(b[4])):
			t.Fatalf("header %v %d", typ, size)
		}
		ParseHead(b)
	})
}

func FuzzPosition(f *testing.F) {
	for _, s := range []string{"", "0", "0123456789abc.0", "0123456789abc.18446744073709551615", "0123456789abc.00", "zzzzzzzzzzzzz.+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePosition(s); err == nil && p.String() != s {
			t.Fatalf("%q read as %q", s, p)
		}
	})
}

func FuzzNodeName(f *testing.F) {
	for _, s := range []string{"", "s1/0000000000001", "s1/3w5e11264sgsf", "s1/zzzzzzzzzzzzz", "a/b/c", "/", "S1/0000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseNodeName(s)
		if err == nil && string(MakeNodeName(n.ID(), n.Incarnation())) != s {
			t.Fatalf("%q has parts %q and %v", s, n.ID(), n.Incarnation())
		}
		if i, err := ParseIncarnation(s); err == nil && i.String() != s {
			t.Fatalf("%q read as %v", s, i)
		}
		n = NodeName(s) // not checked: still no panic
		n.ID()
		n.Incarnation()
	})
}

// FuzzRoom compares CheckRoom with the slow and obvious way.
func FuzzRoom(f *testing.F) {
	for _, s := range []string{"", "lobby", "\x00", "\x7f", "\u0080", "\u009f", "\u00a0", "\ufffd", "\xff", "\xc0\x80", "\xed\xa0\x80", "\U0010ffff", "a\xe2\x82"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want := len(b) >= 1 && len(b) <= 255 && utf8.Valid(b) && !bytes.ContainsFunc(b, unicode.IsControl)
		if err := CheckRoom(b); (err == nil) != want {
			t.Fatalf("%q: %v, want allowed %v", b, err, want)
		}
		if (CheckRoom(b) == nil) != (CheckRoom(string(b)) == nil) {
			t.Fatalf("%q: bytes and string differ", b)
		}
	})
}

package proto

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

// TestEntryKinds: what a kind is called, whether it is laid out, and where it
// travels agree for every number.
func TestEntryKinds(t *testing.T) {
	for i := range 256 {
		k := EntryKind(i)
		named := entryNames[k] != ""
		if laid := entryFixed(k) >= 0; laid != named {
			t.Errorf("%v: named %v, laid out %v", k, named, laid)
		}
		if travels := k < 32 && allKinds&(1<<k) != 0; travels != named {
			t.Errorf("%v: named %v, travels %v", k, named, travels)
		}
	}
	seen := map[EntryKind]bool{}
	for _, x := range append(append([]Entry{}, testEntries...), testSnapshot...) {
		seen[x.Kind] = true
	}
	if len(seen) != len(entryNames) {
		t.Errorf("the golden frames have %d kinds of entries, of %d", len(seen), len(entryNames))
	}
}

func TestRefusedEntries(t *testing.T) {
	name := []byte(testNode)
	change := func(x Entry, f func(*Entry)) Entry { f(&x); return x }
	message, refusal, void, created, met := testEntries[2], testEntries[3], testEntries[4], testEntries[1], testEntries[0]
	publisher, room := testSnapshot[0], testSnapshot[2]
	tests := []struct {
		name  string
		entry Entry
		want  error // nil: it is good
	}{
		{"a message of a snapshot, without a seq", change(message, func(x *Entry) { x.Seq = 0 }), nil},
		{"no payload", change(message, func(x *Entry) { x.Payload = nil }), nil},
		{"the latest time", change(message, func(x *Entry) { x.At = math.MaxInt64 }), nil},
		{"a later time", change(message, func(x *Entry) { x.At = math.MaxInt64 + 1 }), ErrValue},
		{"message 0", change(message, func(x *Entry) { x.Offset = 0 }), ErrValue},
		{"a void message", change(message, func(x *Entry) { x.Message = KindVoid }), ErrValue},
		{"refused without a seq", change(refusal, func(x *Entry) { x.Seq = 0 }), ErrValue},
		{"refused with OK", change(refusal, func(x *Entry) { x.Code = OK }), ErrValue},
		{"refused with the last code", change(refusal, func(x *Entry) { x.Code = Unavailable }), nil},
		{"refused with an unknown code", change(refusal, func(x *Entry) { x.Code = Unavailable + 1 }), ErrValue},
		{"void without a seq", change(void, func(x *Entry) { x.Seq = 0 }), ErrValue},
		{"created without an epoch", change(created, func(x *Entry) { x.Epoch = Epoch{} }), ErrValue},
		{"created with an epoch of other letters", change(created, func(x *Entry) { x.Epoch[12] = 'A' }), ErrValue},
		{"met without an incarnation", change(met, func(x *Entry) { x.Name = []byte("r1") }), ErrValue},
		{"met with a name that has the right ends", change(met, func(x *Entry) { x.Name = []byte("r 1/0000000000001") }), ErrValue},
		{"the longest name", change(met, func(x *Entry) { x.Name = []byte(strings.Repeat("a", 63) + "/0000000000001") }), nil},
		{"a publisher with a bad name", change(publisher, func(x *Entry) { x.Name = name[:5] }), ErrValue},
		{"a publisher that left at the latest time", change(publisher, func(x *Entry) { x.Left = 1 << 63 }), nil},
		{"a publisher that left later", change(publisher, func(x *Entry) { x.Left = 1<<63 + 1 }), ErrValue},
		{"a publisher with a refusal 0", change(publisher, func(x *Entry) { x.Refused = []Result{{Seq: 0, Code: Full}} }), ErrValue},
		{"a publisher with a refusal that is none", change(publisher, func(x *Entry) { x.Refused = []Result{{Seq: 1}} }), ErrValue},
		{"a room touched later", change(room, func(x *Entry) { x.Touched = 1 << 63 }), ErrValue},
		{"a room without an epoch", change(room, func(x *Entry) { x.Epoch = Epoch{} }), ErrValue},
		{"a room that lost nothing", change(room, func(x *Entry) { x.Offset = 0 }), nil},
	}
	for _, tt := range tests {
		var have Entry
		if err := ParseEntry(AppendEntry(nil, &tt.entry), &have); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestBrokenEntries: whatever the size says and wherever an entry ends, it is
// taken as a whole or not at all.
func TestBrokenEntries(t *testing.T) {
	for _, x := range append(append([]Entry{}, testEntries...), testSnapshot...) {
		raw := AppendEntry(nil, &x)
		for n := range raw {
			if ParseEntry(raw[:n:n], &Entry{}) == nil {
				t.Errorf("%v cut at %d is an entry", x.Kind, n)
			}
			cut := bytes.Clone(raw[:n])
			if n < 4 {
				continue
			}
			cut[3] = byte(n - 4)
			cut[2] = byte((n - 4) >> 8)
			var have Entry
			if err := ParseEntry(cut, &have); err == nil && !bytes.Equal(AppendEntry(nil, &have), cut) {
				t.Errorf("%v shortened to %d reads as %+v", x.Kind, n, have)
			}
		}
		if err := ParseEntry(append(bytes.Clone(raw), 0), &Entry{}); !errors.Is(err, ErrTrailing) {
			t.Errorf("%v with a byte behind: %v", x.Kind, err)
		}
		longer := append(bytes.Clone(raw), 0)
		longer[3]++ // in its size too
		if err := ParseEntry(longer, &Entry{}); x.Kind != EntryMessage && err == nil {
			t.Errorf("%v takes a byte too many", x.Kind)
		}
	}
	for _, size := range []string{"\x00\x00\x00\x00", "\x00\x00\x00\x01\x03", "\xff\xff\xff\xff\x01", "\x7f\xff\xff\xff\x01"} {
		list := ParseEntries([]byte(size))
		if raw, ok := list.NextRaw(); ok || !errors.Is(list.Err(), ErrShort) {
			t.Errorf("%x: %x, %v", size, raw, list.Err())
		}
		if _, ok := list.NextRaw(); ok {
			t.Errorf("%x: goes on behind its error", size)
		}
	}
	many := testSnapshot[0]
	many.Refused = bytesToResults(MaxRefusals)
	raw := AppendEntry(nil, &many)
	if err := ParseEntry(raw, &Entry{}); err != nil {
		t.Errorf("%d refusals: %v", MaxRefusals, err)
	}
	raw = append(raw, raw[len(raw)-refusalSize:]...)
	raw[2], raw[3] = byte((len(raw)-4)>>8), byte(len(raw)-4)
	if err := ParseEntry(raw, &Entry{}); !errors.Is(err, ErrValue) {
		t.Errorf("%d refusals: %v", MaxRefusals+1, err)
	}
}

func bytesToResults(n int) (list []Result) {
	for i := range n {
		list = append(list, Result{Seq: Seq(i + 1), Code: Full})
	}
	return list
}

// TestEntryAliases: what is parsed is not copied, cannot grow into what stands
// behind it, and brings nothing over from the entry before.
func TestEntryAliases(t *testing.T) {
	list := ParseEntries(appendEntries(nil, []Entry{testSnapshot[0], testEntries[2], testEntries[4]}))
	var x Entry
	list.Next(&x)
	list.Next(&x)
	_ = append(x.Room, "XX"...)
	_ = append(x.Payload, "XX"...)
	if string(x.Payload) != "hi" {
		t.Errorf("payload %q after appending to the room", x.Payload)
	}
	if len(x.Refused) != 0 || cap(x.Refused) == 0 || x.Committed != 0 {
		t.Errorf("of the publisher before it: %+v, room for %d refusals", x, cap(x.Refused))
	}
	x.Payload[0] = 'H'
	if !list.Next(&x) || x.Kind != EntryVoid || x.Room != nil || x.Offset != 0 {
		t.Errorf("behind it: %+v, %v", x, list.Err())
	}
}

// TestLargestMessage: a payload of MaxPayload fits every frame that it will be
// in, whatever the names.
func TestLargestMessage(t *testing.T) {
	room := []byte(strings.Repeat("r", MaxRoom))
	payload := make([]byte, MaxPayload)
	x := Entry{Kind: EntryMessage, At: 1, Publisher: 1, Seq: 1, Offset: 1, Room: room, Payload: payload}
	deliver, start := BeginFetched(nil, 17, 3, room, testEpoch, 1, true)
	frames := map[string][]byte{
		"publish": AppendPublish(nil, &Publish{Seq: 1, Base: 1, Room: room, Payload: payload}),
		"fetched": End(AppendMessage(deliver, KindText, 1, payload), start),
		"append":  replicated(&Append{Term: 3}, x),
		"snapshot": learned(&Snapshot{},
			Entry{Kind: EntryRoom, Epoch: testEpoch, Room: room}, x, Entry{Kind: EntryRoomEnd, Room: room}),
	}
	for name, frame := range frames {
		if len(frame) > MaxFrame {
			t.Errorf("%s: %d bytes, %d too many", name, len(frame), len(frame)-MaxFrame)
		}
	}
	x.Payload = make([]byte, len(payload)+MaxEntry-EntrySize(&x))
	if have := len(replicated(&Append{Term: 3}, x)); have != MaxFrame || EntrySize(&x) != MaxEntry {
		t.Errorf("the largest entry makes an append of %d bytes, want %d", have, MaxFrame)
	}
	if have := len(learned(&Snapshot{}, x)); have > MaxFrame {
		t.Errorf("the largest entry makes a snapshot of %d bytes", have)
	}
}

func TestEntryOutOfBoundsPanics(t *testing.T) {
	for name, x := range map[string]Entry{
		"no kind":           {},
		"an unknown kind":   {Kind: EntryRoomEnd + 1},
		"no room":           {Kind: EntryTrimmed},
		"a long room":       {Kind: EntryTrimmed, Room: make([]byte, MaxRoom+1)},
		"no name":           {Kind: EntryMet},
		"a long name":       {Kind: EntryMet, Name: make([]byte, maxName+1)},
		"too many refusals": {Kind: EntryPublisher, Name: []byte(testNode), Refused: make([]Result, MaxRefusals+1)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was written", name)
				}
			}()
			AppendEntry(nil, &x)
		}()
	}
}

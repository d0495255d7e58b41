package proto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/*.hex anew from the code")

const testNode NodeName = "r1/0000000003k3f"

var (
	testEpoch = MintEpoch(0x0123456789abcdef)
	newEpoch  = MintEpoch(1<<64 - 1)
)

// testEntries has an entry of each kind that a log has, testSnapshot one of
// each that a snapshot has.
var (
	testEntries = []Entry{
		{Kind: EntryMet, At: 1e9, Publisher: 5, Name: []byte(testNode)},
		{Kind: EntryCreated, At: 1e9, Epoch: testEpoch, Room: []byte("lobby")},
		{Kind: EntryMessage, At: 2e9, Publisher: 5, Seq: 9, Conn: 0xc0ffee, Offset: 1, Message: KindBinary, Room: []byte("lobby"), Payload: []byte("hi")},
		{Kind: EntryRefusal, At: 2e9, Publisher: 5, Seq: 10, Code: TooBig},
		{Kind: EntryVoid, At: 2e9, Publisher: 5, Seq: 11},
		{Kind: EntryTrimmed, At: 300e9, Room: []byte("lobby")},
		{Kind: EntryForgotten, At: 301e9, Room: []byte("ж")},
		{Kind: EntryLeft, At: 302e9, Publisher: 5},
		{Kind: EntryDropped, At: 902e9, Publisher: 5},
	}
	testSnapshot = []Entry{
		{Kind: EntryPublisher, At: 3e9, Publisher: 5, Committed: 11, Left: 2e9 + 1, Name: []byte(testNode), Refused: []Result{{Seq: 8, Code: Full}, {Seq: 10, Code: TooBig}}},
		{Kind: EntryDropped, At: 3e9, Publisher: 7},
		{Kind: EntryRoom, At: 3e9, Offset: 40, Touched: 2e9, Epoch: testEpoch, Room: []byte("lobby")},
		{Kind: EntryMessage, At: 2e9, Publisher: 5, Conn: 0xc0ffee, Offset: 41, Room: []byte("lobby"), Payload: []byte("hi")},
		{Kind: EntryRoomEnd, At: 3e9, Room: []byte("lobby")},
	}
)

func replicated(x *Append, entries ...Entry) []byte {
	b, start := BeginAppend(nil, x)
	return End(appendEntries(b, entries), start)
}

func learned(x *Snapshot, entries ...Entry) []byte {
	b, start := BeginSnapshot(nil, x)
	return End(appendEntries(b, entries), start)
}

func appendEntries(b []byte, entries []Entry) []byte {
	for i := range entries {
		b = AppendEntry(b, &entries[i])
	}
	return b
}

// golden is a frame of each kind with recognizable values in it. The bytes are
// in testdata: a change there is a change of the protocol.
var golden = []struct {
	name  string
	typ   FrameType
	frame []byte
}{
	{"publish", FramePublish, AppendPublish(nil, &Publish{Partition: 17, Term: 3, Seq: 9, Base: 7, Kind: KindText, Conn: 0xc0ffee, Room: []byte("lobby"), Payload: []byte("hi")})},
	{"publish-void", FramePublish, AppendPublish(nil, &Publish{Partition: 4092, Term: 1<<32 | 5, Seq: 10, Base: 10, Kind: KindVoid, Room: []byte("ж")})},
	{"ack", FrameAck, AppendAck(nil, 17, 3, 9, nil)},
	{"ack-results", FrameAck, AppendAck(nil, 17, 3, 12, []Result{{Seq: 10, Code: TooBig}, {Seq: 12, Code: OK, Epoch: testEpoch, Offset: 43}})},
	{"expect", FrameExpect, AppendSignal(nil, FrameExpect, Signal{17, 3, 7})},
	{"hold", FrameHold, AppendSignal(nil, FrameHold, Signal{17, 3, 9})},
	{"go", FrameGo, AppendSignal(nil, FrameGo, Signal{Partition: 17, Term: 3})},
	{"moved", FrameMoved, AppendSignal(nil, FrameMoved, Signal{Partition: 17, Term: 4})},
	{"fenced", FrameFenced, AppendSignal(nil, FrameFenced, Signal{Partition: 17, Term: 4})},
	{"attach", FrameAttach, batch(FrameAttach, func(b []byte) []byte {
		b = AppendAttachEntry(b, "lobby", Epoch{}, 0)
		return AppendAttachEntry(b, "tea", testEpoch, 41)
	})},
	{"attached", FrameAttached, batch(FrameAttached, func(b []byte) []byte {
		b = AppendAttachedEntry(b, &AttachedEntry{Room: []byte("lobby"), Epoch: testEpoch, Offset: 41, First: 12})
		return AppendAttachedEntry(b, &AttachedEntry{Room: []byte("tea"), Epoch: newEpoch, Offset: 0, First: 1, Status: StatusReset})
	})},
	{"detach", FrameDetach, batch(FrameDetach, func(b []byte) []byte {
		return AppendDetachEntry(AppendDetachEntry(b, "lobby"), "tea")
	})},
	{"deliver", FrameDeliver, func() []byte {
		b, start := BeginDeliver(nil, 17, 3, "lobby", testEpoch, 42)
		b = AppendMessage(b, KindText, 0xc0ffee, []byte("hi"))
		b = AppendMessage(b, KindBinary, 0, []byte{0, 0xff})
		return End(AppendMessage(b, KindText, 0, nil), start)
	}()},
	{"fetch", FrameFetch, AppendFetch(nil, &Fetch{Partition: 17, Term: 3, Room: []byte("lobby"), Epoch: testEpoch, After: 11, Upto: 41})},
	{"fetched", FrameFetched, func() []byte {
		b, start := BeginFetched(nil, 17, 3, "lobby", testEpoch, 11, false)
		return End(AppendMessage(b, KindText, 0, []byte("so far")), start)
	}()},
	{"fetched-last", FrameFetched, func() []byte {
		b, start := BeginFetched(nil, 17, 3, "lobby", testEpoch, 41, true)
		return End(b, start)
	}()},
	{"members", FrameMembers, batch(FrameMembers, func(b []byte) []byte {
		return AppendMembersEntry(AppendMembersEntry(b, "lobby", 4), "tea", 0)
	})},
	{"append", FrameAppend, replicated(&Append{Partition: 17, Term: 3, Prev: 41, PrevTerm: 2, Commit: 40, EntryTerm: 3}, testEntries...)},
	{"append-empty", FrameAppend, replicated(&Append{Partition: 4092, Term: 1<<32 | 5, Prev: 43, PrevTerm: 3, Commit: 43})},
	{"snapshot", FrameSnapshot, learned(&Snapshot{Partition: 17, Term: 3, Index: 40, Teaching: 2, First: true, Last: true}, testSnapshot...)},
	{"snapshot-more", FrameSnapshot, learned(&Snapshot{Partition: 17, Term: 3, Index: 41, Teaching: 2})},
	{"stored", FrameStored, AppendStored(nil, &Stored{Partition: 17, Term: 3, Index: 43, Teaching: 2, Whole: true})},
	{"stored-gap", FrameStored, AppendStored(nil, &Stored{Partition: 17, Term: 3, Index: 39, Gap: true})},
	{"promise", FramePromise, AppendPromises(nil, []Promise{{Partition: 17, Term: 4}, {Partition: 18, Term: 1<<32 | 5}})},
	{"promised", FramePromised, AppendPromised(nil, []Promise{{Partition: 17, Term: 4}, {Partition: 18, Term: 5, Status: NoCopy}, {Partition: 19, Term: 6, Status: KnowsHigher}})},
	{"wish", FrameWish, AppendWishes(nil, []Wish{{Partition: 17, Term: 3, Kind: WishDrop, Node: testNode}, {Partition: 18, Term: 4, Kind: WishRenew, Above: 7}})},
	{"ping", FramePing, AppendEmpty(nil, FramePing)},
	{"pong", FramePong, AppendEmpty(nil, FramePong)},
	{"credit", FrameCredit, AppendCredit(nil, 1<<18)},
	{"goodbye", FrameGoodbye, AppendGoodbye(nil, &Goodbye{Reason: []byte("replaced")})},
	{"goodbye-leaves", FrameGoodbye, AppendGoodbye(nil, &Goodbye{Leaves: true, Reason: []byte("draining")})},
	{"ask", FrameAsk, AppendAsk(nil, &Ask{ID: 77, Kind: 1, Body: []byte(`{"room":"lobby"}`)})},
	{"reply", FrameReply, AppendReply(nil, &Reply{ID: 77, Status: 404, Body: []byte(`{}`)})},
}

func batch(t FrameType, entries func([]byte) []byte) []byte {
	b, start := BeginBatch(nil, t, 17, 3)
	return End(entries(b), start)
}

func TestGoldenBytes(t *testing.T) {
	known := map[string]bool{}
	for _, g := range golden {
		path := filepath.Join("testdata", g.name+".hex")
		known[path] = true
		if *update {
			writeHex(t, path, g.typ, g.frame)
		}
		want := readHex(t, path)
		if !bytes.Equal(g.frame, want) {
			t.Errorf("%s: the bytes changed:\n have %x\n want %x", g.name, g.frame, want)
		}
		typ, size, err := ParseHeader(want)
		if typ != g.typ || size != len(want) || err != nil {
			t.Errorf("%s: header %v %d %v, want %v %d", g.name, typ, size, err, g.typ, len(want))
		}
		again, err := rewrite(typ, want[HeaderSize:])
		if err != nil || !bytes.Equal(again, want) {
			t.Errorf("%s: read and written again:\n have %x, %v\n want %x", g.name, again, err, want)
		}
	}
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f] {
			t.Errorf("%s belongs to no frame of this test", f)
		}
	}
}

// TestTruncated: a body that broke off, anywhere, is an error or a shorter list
// or payload; it is never read as what it was.
func TestTruncated(t *testing.T) {
	for _, g := range golden {
		body := g.frame[HeaderSize:]
		for n := range body {
			again, err := rewrite(g.typ, body[:n:n])
			if err == nil && !bytes.Equal(again[HeaderSize:], body[:n]) {
				t.Errorf("%s cut at %d: read as %x", g.name, n, again)
			}
		}
	}
}

// TestAlias: slices in parsed values alias the body and cannot grow into what
// stands behind them.
func TestAlias(t *testing.T) {
	x, err := ParsePublish(AppendPublish(nil, &Publish{Seq: 1, Base: 1, Room: []byte("lobby"), Payload: []byte("hi")})[HeaderSize:])
	if err != nil {
		t.Fatal(err)
	}
	_ = append(x.Room, "XX"...)
	if string(x.Payload) != "hi" {
		t.Errorf("payload %q after appending to the room", x.Payload)
	}
}

func TestRefusedValues(t *testing.T) {
	pub := func(kind Kind, base, seq Seq) []byte {
		return AppendPublish(nil, &Publish{Seq: seq, Base: base, Kind: kind, Room: []byte("r")})
	}
	deliver := func(first Offset, k Kind) []byte {
		b, start := BeginDeliver(nil, 0, 1, "r", testEpoch, first)
		return End(AppendMessage(b, k, 0, nil), start)
	}
	fetched, _ := BeginFetched(nil, 0, 1, "r", testEpoch, 0, false)
	fetched[len(fetched)-1] = 2
	tests := []struct {
		name  string
		typ   FrameType
		frame []byte
		want  error
	}{
		{"publish of an unknown kind", FramePublish, pub(3, 1, 1), ErrValue},
		{"publish with seq 0", FramePublish, pub(KindText, 0, 0), ErrValue},
		{"publish with base 0", FramePublish, pub(KindText, 0, 1), ErrValue},
		{"publish with base above seq", FramePublish, pub(KindText, 3, 2), ErrValue},
		{"publish without a room", FramePublish, dropRoom(pub(KindText, 1, 1)), ErrShort},
		{"deliver at offset 0", FrameDeliver, deliver(0, KindText), ErrValue},
		{"deliver of a void", FrameDeliver, deliver(1, KindVoid), nil},
		{"fetch backwards", FrameFetch, AppendFetch(nil, &Fetch{Room: []byte("r"), After: 2, Upto: 1}), ErrValue},
		{"fetched with last 2", FrameFetched, fetched, ErrValue},
		{"attached with an unknown status", FrameAttached, batch(FrameAttached, func(b []byte) []byte {
			return AppendAttachedEntry(b, &AttachedEntry{Room: []byte("r"), Status: StatusRefused + 1})
		}), nil},
		{"detach with an empty name", FrameDetach, batch(FrameDetach, func(b []byte) []byte { return append(b, 0) }), ErrShort},
		{"ack with more results than allowed", FrameAck, AppendAck(nil, 0, 1, 1, make([]Result, MaxResults+1)), ErrValue},
		{"ack with bytes behind", FrameAck, append(AppendAck(nil, 0, 1, 1, nil), 0), ErrTrailing},
		{"go with a seq", FrameGo, append(AppendSignal(nil, FrameGo, Signal{}), make([]byte, 8)...), ErrTrailing},
		{"expect without a seq", FrameExpect, AppendSignal(nil, FrameGo, Signal{}), ErrShort},
		{"append behind a higher term", FrameAppend, replicated(&Append{Term: 3, Prev: 1, PrevTerm: 4}), ErrValue},
		{"append of a higher term", FrameAppend, replicated(&Append{Term: 3, EntryTerm: 4}), ErrValue},
		{"append of a room of a snapshot", FrameAppend, replicated(&Append{Term: 3}, testSnapshot[2]), ErrValue},
		{"append of a publisher of a snapshot", FrameAppend, replicated(&Append{Term: 3}, testSnapshot[0]), ErrValue},
		{"snapshot with a created room", FrameSnapshot, learned(&Snapshot{}, testEntries[1]), ErrValue},
		{"snapshot with flag 4", FrameSnapshot, overwrite(learned(&Snapshot{}), 1, 4), ErrValue},
		{"stored with flag 4", FrameStored, overwrite(AppendStored(nil, &Stored{}), 1, 4), ErrValue},
		{"stored with bytes behind", FrameStored, append(AppendStored(nil, &Stored{}), 0), ErrTrailing},
		{"promised with an unknown status", FramePromised, AppendPromised(nil, []Promise{{Status: KnowsHigher + 1}}), ErrValue},
		{"promise with half a term", FramePromise, AppendPromises(nil, []Promise{{}})[:HeaderSize+9], ErrShort},
		{"wish of kind 0", FrameWish, AppendWishes(nil, []Wish{{Node: testNode}}), ErrValue},
		{"wish of an unknown kind", FrameWish, AppendWishes(nil, []Wish{{Kind: WishRenew + 1, Node: testNode}}), ErrValue},
		{"wish to drop nobody", FrameWish, AppendWishes(nil, []Wish{{Kind: WishDrop}}), ErrValue},
		{"wish to renew a node", FrameWish, AppendWishes(nil, []Wish{{Kind: WishRenew, Node: testNode}}), ErrValue},
		{"wish to add, above a term", FrameWish, AppendWishes(nil, []Wish{{Kind: WishAdd, Above: 1, Node: testNode}}), ErrValue},
		{"wish to add a name without an incarnation", FrameWish, AppendWishes(nil, []Wish{{Kind: WishAdd, Node: "r1"}}), nil},
		{"wish with half a name", FrameWish, AppendWishes(nil, []Wish{{Kind: WishAdd, Node: testNode}})[:HeaderSize+30], ErrShort},
		{"credit with bytes behind", FrameCredit, append(AppendCredit(nil, 1), 0), ErrTrailing},
	}
	for _, tt := range tests {
		_, err := rewrite(tt.typ, tt.frame[HeaderSize:])
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// overwrite changes the n-th last byte.
func overwrite(frame []byte, n int, value byte) []byte {
	frame[len(frame)-n] = value
	return frame
}

// dropRoom makes the one-byte room of a publish empty.
func dropRoom(frame []byte) []byte { return append(frame[:len(frame)-2], 0) }

// TestHugeSize: a message's size may be as large as 32 bits go.
func TestHugeSize(t *testing.T) {
	b, start := BeginDeliver(nil, 0, 1, "r", testEpoch, 1)
	b = AppendMessage(b, KindText, 0, nil)
	copy(b[len(b)-4:], "\xff\xff\xff\xff")
	x, err := ParseDeliver(End(b, start)[HeaderSize:])
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := x.Messages.Next(); ok || x.Messages.Err() == nil {
		t.Errorf("read %+v, err %v", m, x.Messages.Err())
	}
}

func TestRoomOutOfBoundsPanics(t *testing.T) {
	for _, n := range []int{0, MaxRoom + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a room name of %d bytes was written", n)
				}
			}()
			AppendPublish(nil, &Publish{Seq: 1, Base: 1, Room: make([]byte, n)})
		}()
	}
}

func TestParseHeader(t *testing.T) {
	tests := []struct {
		name string
		in   string
		typ  FrameType
		size int
		err  error
	}{
		{"nothing", "", 0, 0, nil},
		{"half a length", "0000", 0, 0, nil},
		{"no type yet", "00000001", 0, 0, nil},
		{"smallest", "0000000130", FramePing, 5, nil},
		{"with a body", "0000000930", FramePing, 13, nil},
		{"more follows", "0000000130ffff", FramePing, 5, nil},
		{"empty", "00000000", 0, 0, ErrFrameSize},
		{"empty with more", "0000000030", 0, 0, ErrFrameSize},
		{"largest", "000ffffc10", FramePublish, MaxFrame, nil},
		{"too large", "000ffffd10", 0, 0, ErrFrameSize},
		{"too large, without its type", "000ffffd", 0, 0, ErrFrameSize},
		{"all ones", "ffffffffff", 0, 0, ErrFrameSize},
		{"an HTTP request", hex.EncodeToString([]byte("GET / HTTP/1.1")), 0, 0, ErrFrameSize},
		{"unknown type", "00000001ee", 0xee, 5, nil},
	}
	for _, tt := range tests {
		typ, size, err := ParseHeader(unhex(t, tt.in))
		if typ != tt.typ || size != tt.size || !errors.Is(err, tt.err) {
			t.Errorf("%s: %v %d %v, want %v %d %v", tt.name, typ, size, err, tt.typ, tt.size, tt.err)
		}
	}
}

func TestParseHead(t *testing.T) {
	for _, g := range golden {
		if g.typ < 0x10 || g.typ > 0x2f {
			continue
		}
		p, term, err := ParseHead(g.frame[HeaderSize:])
		if err != nil || p != 17 && p != 4092 || term == 0 {
			t.Errorf("%s: partition %d term %d, %v", g.name, p, term, err)
		}
	}
	if _, _, err := ParseHead(make([]byte, 9)); !errors.Is(err, ErrShort) {
		t.Errorf("9 bytes: %v", err)
	}
}

// TestFrameTypes: every type has a name of its own, and the classes are as
// PROTOCOL.md says.
func TestFrameTypes(t *testing.T) {
	seen := map[string]FrameType{}
	var data []string
	for i := range 256 {
		typ := FrameType(i)
		name := typ.String()
		if other, ok := seen[name]; ok {
			t.Errorf("%#02x and %#02x are both %q", uint8(other), i, name)
		}
		seen[name] = typ
		if typ.Data() {
			data = append(data, name)
		}
	}
	if have, want := strings.Join(data, " "), "publish attach attached detach deliver fetch fetched append snapshot"; have != want {
		t.Errorf("data frames: %s, want %s", have, want)
	}
	for _, g := range golden {
		if strings.Contains(g.typ.String(), "(") {
			t.Errorf("%#02x has no name", uint8(g.typ))
		}
	}
}

// TestProtocolPage: PROTOCOL.md has a row for every frame type, and for no other.
func TestProtocolPage(t *testing.T) {
	page, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[FrameType]string{}
	for line := range strings.Lines(string(page)) {
		var typ uint8
		var name string
		if n, _ := fmt.Sscanf(line, "| 0x%x %s |", &typ, &name); n == 2 {
			rows[FrameType(typ)] = strings.ToLower(name)
		}
	}
	for typ, name := range frameNames {
		if want := strings.ReplaceAll(name, "-", ""); rows[typ] != want {
			t.Errorf("%#02x is %q, the page says %q", uint8(typ), want, rows[typ])
		}
	}
	if len(rows) != len(frameNames) {
		t.Errorf("the page has %d frames, the code %d", len(rows), len(frameNames))
	}
}

func TestSizes(t *testing.T) {
	x := Publish{Seq: 1, Base: 1, Room: []byte("lobby"), Payload: []byte("hi")}
	if have := len(AppendPublish(nil, &x)); have != x.Size() {
		t.Errorf("publish of %d bytes, Size says %d", have, x.Size())
	}
	if have := len(AppendMessage(nil, KindText, 1, []byte("hi"))); have != MessageSize(2) {
		t.Errorf("message of %d bytes, MessageSize says %d", have, MessageSize(2))
	}
	if have := len(AppendAck(nil, 1, 1, 1, make([]Result, MaxResults))); have > MaxFrame {
		t.Errorf("the largest ack has %d bytes", have)
	}
}

func TestSetFetchedLast(t *testing.T) {
	for _, n := range []int{1, 5, MaxRoom} {
		prefix := []byte("a frame before it")
		b, start := BeginFetched(prefix, 1, 2, strings.Repeat("r", n), testEpoch, 9, false)
		b = End(AppendMessage(b, KindText, 0, []byte("hi")), start)
		before := bytes.Clone(b)
		SetFetchedLast(b, start, n)
		x, err := ParseFetched(b[start+HeaderSize:])
		if err != nil || !x.Last {
			t.Errorf("name of %d: last %v, %v", n, x.Last, err)
		}
		for i := range b {
			if b[i] != before[i] {
				b[i] = before[i]
				break
			}
		}
		if !bytes.Equal(b, before) {
			t.Errorf("name of %d: more than one byte changed", n)
		}
	}
}

// TestNoAllocations: the steady path allocates nothing per message.
func TestNoAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	room, payload := []byte("lobby"), bytes.Repeat([]byte("x"), 128)
	frames := map[FrameType][]byte{}
	for _, g := range golden {
		frames[g.typ] = g.frame[HeaderSize:]
	}
	results := []Result{{Seq: 1}, {Seq: 2}}
	oneMessage := replicated(&Append{Term: 3}, testEntries[2], testEntries[3])
	tests := []struct {
		name string
		f    func()
	}{
		{"append publish", func() {
			AppendPublish(buf, &Publish{Partition: 1, Term: 2, Seq: 3, Base: 3, Room: room, Payload: payload})
		}},
		{"parse publish", func() { must(ParsePublish(frames[FramePublish])) }},
		{"append ack", func() { AppendAck(buf, 1, 2, 3, results) }},
		{"parse ack", func() {
			x := must(ParseAck(frames[FrameAck]))
			for _, ok := x.Results.Next(); ok; _, ok = x.Results.Next() {
			}
		}},
		{"append signal", func() { AppendSignal(buf, FrameExpect, Signal{1, 2, 3}) }},
		{"parse signal", func() { must(ParseSignal(FrameHold, frames[FrameHold])) }},
		{"append attach", func() {
			b, start := BeginBatch(buf, FrameAttach, 1, 2)
			End(AppendAttachEntry(b, room, testEpoch, 4), start)
		}},
		{"parse attach", func() {
			x := must(ParseBatch(frames[FrameAttach]))
			for _, ok := x.NextAttach(); ok; _, ok = x.NextAttach() {
			}
		}},
		{"append attached", func() {
			b, start := BeginBatch(buf, FrameAttached, 1, 2)
			End(AppendAttachedEntry(b, &AttachedEntry{Room: room, Epoch: testEpoch}), start)
		}},
		{"parse attached", func() {
			x := must(ParseBatch(frames[FrameAttached]))
			for _, ok := x.NextAttached(); ok; _, ok = x.NextAttached() {
			}
		}},
		{"parse detach", func() {
			x := must(ParseBatch(frames[FrameDetach]))
			for _, ok := x.NextDetach(); ok; _, ok = x.NextDetach() {
			}
		}},
		{"parse members", func() {
			x := must(ParseBatch(frames[FrameMembers]))
			for _, _, ok := x.NextMembers(); ok; _, _, ok = x.NextMembers() {
			}
		}},
		{"append deliver", func() {
			b, start := BeginDeliver(buf, 1, 2, room, testEpoch, 9)
			End(AppendMessage(b, KindText, 7, payload), start)
		}},
		{"parse deliver", func() {
			x := must(ParseDeliver(frames[FrameDeliver]))
			for _, ok := x.Messages.Next(); ok; _, ok = x.Messages.Next() {
			}
		}},
		{"append fetch", func() { AppendFetch(buf, &Fetch{Room: room, Epoch: testEpoch, Upto: 9}) }},
		{"parse fetch", func() { must(ParseFetch(frames[FrameFetch])) }},
		{"parse fetched", func() {
			x := must(ParseFetched(frames[FrameFetched]))
			for _, ok := x.Messages.Next(); ok; _, ok = x.Messages.Next() {
			}
		}},
		{"append append", func() {
			b, start := BeginAppend(buf, &Append{Partition: 1, Term: 2, Prev: 3})
			End(AppendEntry(b, &Entry{Kind: EntryMessage, Seq: 1, Offset: 1, Room: room, Payload: payload}), start)
		}},
		{"parse append", func() {
			x := must(ParseAppend(oneMessage[HeaderSize:]))
			var e Entry
			for raw, ok := x.Entries.NextRaw(); ok; raw, ok = x.Entries.NextRaw() {
				check(ParseEntry(raw, &e))
			}
			check(x.Entries.Err())
		}},
		{"append stored", func() { AppendStored(buf, &Stored{Partition: 1, Term: 2, Index: 3}) }},
		{"parse stored", func() { must(ParseStored(frames[FrameStored])) }},
		{"append credit", func() { AppendCredit(buf, 9) }},
		{"parse credit", func() { must(ParseCredit(frames[FrameCredit])) }},
		{"append ping", func() { AppendEmpty(buf, FramePing) }},
		{"parse header", func() { ParseHeader(payload); ParseHeader(golden[0].frame) }},
		{"parse head", func() { ParseHead(frames[FramePublish]) }},
		{"append position", func() { AppendPosition(buf, Position{testEpoch, 42}) }},
		{"parse position", func() { must(ParsePosition("00000000000ab.1234567")) }},
		{"check room", func() { check(CheckRoom("lobby/ж/茶")) }},
		{"check room, bytes", func() { check(CheckRoom(room)) }},
		{"partition of", func() { PartitionOf(room, Partitions); PartitionOfString("lobby", Partitions) }},
	}
	for _, tt := range tests {
		if n := testing.AllocsPerRun(100, tt.f); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

func must[T any](x T, err error) T {
	check(err)
	return x
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// rewrite parses a body and writes the frame again from what was read. It is
// the identity on every body that the parsers accept.
func rewrite(t FrameType, body []byte) ([]byte, error) {
	switch t {
	case FramePublish:
		x, err := ParsePublish(body)
		if err != nil {
			return nil, err
		}
		return AppendPublish(nil, &x), nil
	case FrameAck:
		x, err := ParseAck(body)
		if err != nil {
			return nil, err
		}
		var results []Result
		for r, ok := x.Results.Next(); ok; r, ok = x.Results.Next() {
			results = append(results, r)
		}
		return AppendAck(nil, x.Partition, x.Term, x.Upto, results), nil
	case FrameExpect, FrameHold, FrameGo, FrameMoved, FrameFenced:
		x, err := ParseSignal(t, body)
		if err != nil {
			return nil, err
		}
		return AppendSignal(nil, t, x), nil
	case FrameAttach, FrameAttached, FrameDetach, FrameMembers:
		return rewriteBatch(t, body)
	case FrameDeliver:
		x, err := ParseDeliver(body)
		if err != nil {
			return nil, err
		}
		b, start := BeginDeliver(nil, x.Partition, x.Term, x.Room, x.Epoch, x.Offset)
		return rewriteMessages(b, start, x.Messages)
	case FrameFetch:
		x, err := ParseFetch(body)
		if err != nil {
			return nil, err
		}
		return AppendFetch(nil, &x), nil
	case FrameFetched:
		x, err := ParseFetched(body)
		if err != nil {
			return nil, err
		}
		b, start := BeginFetched(nil, x.Partition, x.Term, x.Room, x.Epoch, x.After, x.Last)
		return rewriteMessages(b, start, x.Messages)
	case FrameAppend, FrameSnapshot, FrameStored:
		return rewriteCopy(t, body)
	case FramePromise:
		list, err := ParsePromises(body)
		return AppendPromises(nil, list), err
	case FramePromised:
		list, err := ParsePromised(body)
		return AppendPromised(nil, list), err
	case FrameWish:
		list, err := ParseWishes(body)
		return AppendWishes(nil, list), err
	case FrameCredit:
		n, err := ParseCredit(body)
		if err != nil {
			return nil, err
		}
		return AppendCredit(nil, n), nil
	case FrameAsk:
		x, err := ParseAsk(body)
		if err != nil {
			return nil, err
		}
		return AppendAsk(nil, &x), nil
	case FrameReply:
		x, err := ParseReply(body)
		if err != nil {
			return nil, err
		}
		return AppendReply(nil, &x), nil
	case FrameGoodbye:
		x, err := ParseGoodbye(body)
		if err != nil {
			return nil, err
		}
		return AppendGoodbye(nil, &x), nil
	case FramePing, FramePong:
		return AppendBytes(nil, t, body), nil
	}
	return nil, fmt.Errorf("no parser for %v", t)
}

func rewriteBatch(t FrameType, body []byte) ([]byte, error) {
	x, err := ParseBatch(body)
	if err != nil {
		return nil, err
	}
	b, start := BeginBatch(nil, t, x.Partition, x.Term)
	for ok := true; ok; {
		switch t {
		case FrameAttach:
			var e AttachEntry
			if e, ok = x.NextAttach(); ok {
				b = AppendAttachEntry(b, e.Room, e.Epoch, e.Offset)
			}
		case FrameAttached:
			var e AttachedEntry
			if e, ok = x.NextAttached(); ok {
				b = AppendAttachedEntry(b, &e)
			}
		case FrameDetach:
			var room []byte
			if room, ok = x.NextDetach(); ok {
				b = AppendDetachEntry(b, room)
			}
		case FrameMembers:
			var room []byte
			var n uint32
			if room, n, ok = x.NextMembers(); ok {
				b = AppendMembersEntry(b, room, n)
			}
		}
	}
	return End(b, start), x.Err()
}

func rewriteCopy(t FrameType, body []byte) ([]byte, error) {
	switch t {
	case FrameAppend:
		x, err := ParseAppend(body)
		if err != nil {
			return nil, err
		}
		b, start := BeginAppend(nil, &x)
		return rewriteEntries(b, start, x.Entries)
	case FrameSnapshot:
		x, err := ParseSnapshot(body)
		if err != nil {
			return nil, err
		}
		first := x
		first.Last = false
		b, start := BeginSnapshot([]byte("in front"), &first)
		if x.Last {
			SetSnapshotLast(b, start)
		}
		return rewriteEntries(b[start:], 0, x.Entries)
	}
	x, err := ParseStored(body)
	if err != nil {
		return nil, err
	}
	return AppendStored(nil, &x), nil
}

// rewriteEntries writes what Next reads. What NextRaw gives must be the same.
func rewriteEntries(b []byte, start int, list Entries) ([]byte, error) {
	raws, from := list, len(b)
	var x Entry
	for list.Next(&x) {
		b = AppendEntry(b, &x)
		raw, ok := raws.NextRaw()
		if !ok || !bytes.Equal(raw, b[len(b)-len(raw):]) || len(raw) != EntrySize(&x) || cap(raw) != len(raw) {
			return nil, fmt.Errorf("raw %v %x, size %d", ok, raw, EntrySize(&x))
		}
		if err := ParseEntry(raw, &x); err != nil {
			return nil, err
		}
	}
	if raw, ok := raws.NextRaw(); ok || raws.Err() != list.Err() || raws.Len() != list.Len() {
		return nil, fmt.Errorf("raw %x, %v; entries end with %v", raw, raws.Err(), list.Err())
	}
	if list.Err() == nil && list.Len() != 0 {
		return nil, fmt.Errorf("%d bytes left behind %d", list.Len(), len(b)-from)
	}
	return End(b, start), list.Err()
}

func rewriteMessages(b []byte, start int, list Messages) ([]byte, error) {
	for m, ok := list.Next(); ok; m, ok = list.Next() {
		b = AppendMessage(b, m.Kind, m.Conn, m.Payload)
	}
	return End(b, start), list.Err()
}

// writeHex writes 16 bytes a line, behind a line that says what it is.
func writeHex(t *testing.T, path string, typ FrameType, b []byte) {
	t.Helper()
	var out strings.Builder
	fmt.Fprintf(&out, "# %v, %d bytes with the header\n", typ, len(b))
	for len(b) > 0 {
		n := min(16, len(b))
		fmt.Fprintf(&out, "% x\n", b[:n])
		b = b[n:]
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readHex(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			digits.WriteString(strings.Join(strings.Fields(line), ""))
		}
	}
	return unhex(t, digits.String())
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

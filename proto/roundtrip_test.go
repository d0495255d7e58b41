package proto

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What a writer is given, a reader gets, for any values.

func rooms() *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), 1, MaxRoom) }

func epochs() *rapid.Generator[Epoch] {
	return rapid.Custom(func(t *rapid.T) Epoch {
		if rapid.Bool().Draw(t, "none") {
			return Epoch{}
		}
		return MintEpoch(rapid.Uint64().Draw(t, "bits"))
	})
}

func payloads() *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), 0, 300) }

// body checks the header of the one frame in b and returns its body.
func body(t *rapid.T, b []byte, want FrameType) []byte {
	typ, size, err := ParseHeader(b)
	if typ != want || size != len(b) || err != nil {
		t.Fatalf("header %v %d %v, want %v %d", typ, size, err, want, len(b))
	}
	return b[HeaderSize:]
}

func same(t *rapid.T, have, want any) {
	if d := cmp.Diff(want, have, cmp.Transformer("empty", func(b []byte) string { return string(b) })); d != "" {
		t.Fatalf("read is not what was written:\n%s", d)
	}
}

func TestRoundTripPublish(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Publish{
			Partition: Partition(rapid.Uint16().Draw(t, "partition")),
			Term:      Term(rapid.Uint64().Draw(t, "term")),
			Seq:       Seq(rapid.Uint64Min(1).Draw(t, "seq")),
			Kind:      Kind(rapid.IntRange(0, int(KindVoid)).Draw(t, "kind")),
			Conn:      rapid.Uint64().Draw(t, "conn"),
			Room:      rooms().Draw(t, "room"),
			Payload:   payloads().Draw(t, "payload"),
		}
		want.Base = Seq(rapid.Uint64Range(1, uint64(want.Seq)).Draw(t, "base"))
		have, err := ParsePublish(body(t, AppendPublish(nil, &want), FramePublish))
		if err != nil {
			t.Fatal(err)
		}
		same(t, have, want)
	})
}

func TestRoundTripAck(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Result {
			return Result{Seq(rapid.Uint64().Draw(t, "seq")), Code(rapid.Byte().Draw(t, "code")), epochs().Draw(t, "epoch"), Offset(rapid.Uint64().Draw(t, "offset"))}
		}), 0, 20).Draw(t, "results")
		p, term, upto := Partition(rapid.Uint16().Draw(t, "p")), Term(rapid.Uint64().Draw(t, "term")), Seq(rapid.Uint64().Draw(t, "upto"))
		x, err := ParseAck(body(t, AppendAck(nil, p, term, upto, want), FrameAck))
		if err != nil || x.Partition != p || x.Term != term || x.Upto != upto {
			t.Fatalf("read %+v, %v", x, err)
		}
		have := []Result{}
		for r, ok := x.Results.Next(); ok; r, ok = x.Results.Next() {
			have = append(have, r)
		}
		same(t, have, want)
	})
}

func TestRoundTripAttached(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) AttachedEntry {
			return AttachedEntry{rooms().Draw(t, "room"), epochs().Draw(t, "epoch"), Offset(rapid.Uint64().Draw(t, "offset")), Offset(rapid.Uint64().Draw(t, "first")), Status(rapid.IntRange(0, int(StatusRefused)).Draw(t, "status"))}
		}), 0, 10).Draw(t, "entries")
		b, start := BeginBatch(nil, FrameAttached, 9, 8)
		for i := range want {
			b = AppendAttachedEntry(b, &want[i])
		}
		x, err := ParseBatch(body(t, End(b, start), FrameAttached))
		if err != nil {
			t.Fatal(err)
		}
		have := []AttachedEntry{}
		for e, ok := x.NextAttached(); ok; e, ok = x.NextAttached() {
			have = append(have, e)
		}
		same(t, have, want)
		if x.Err() != nil || x.Partition != 9 || x.Term != 8 {
			t.Fatalf("read %+v, %v", x, x.Err())
		}
	})
}

// TestRoundTripAttach also splits the entries at random: entries of two frames
// are the entries of one.
func TestRoundTripAttach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) AttachEntry {
			return AttachEntry{rooms().Draw(t, "room"), epochs().Draw(t, "epoch"), Offset(rapid.Uint64().Draw(t, "offset"))}
		}), 0, 10).Draw(t, "entries")
		cut := rapid.IntRange(0, len(want)).Draw(t, "cut")
		have := []AttachEntry{}
		for _, part := range [][]AttachEntry{want[:cut], want[cut:]} {
			b, start := BeginBatch(nil, FrameAttach, 9, 8)
			for _, e := range part {
				b = AppendAttachEntry(b, e.Room, e.Epoch, e.Offset)
			}
			x, err := ParseBatch(body(t, End(b, start), FrameAttach))
			if err != nil {
				t.Fatal(err)
			}
			for e, ok := x.NextAttach(); ok; e, ok = x.NextAttach() {
				have = append(have, e)
			}
			if x.Err() != nil {
				t.Fatal(x.Err())
			}
		}
		same(t, have, want)
	})
}

func messages() *rapid.Generator[[]Message] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Message {
		return Message{Kind(rapid.IntRange(0, int(KindBinary)).Draw(t, "kind")), rapid.Uint64().Draw(t, "conn"), payloads().Draw(t, "payload")}
	}), 0, 10)
}

func readMessages(t *rapid.T, list Messages) []Message {
	have := []Message{}
	for m, ok := list.Next(); ok; m, ok = list.Next() {
		have = append(have, m)
	}
	if list.Err() != nil {
		t.Fatal(list.Err())
	}
	return have
}

func TestRoundTripDeliver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room, epoch, first := rooms().Draw(t, "room"), epochs().Draw(t, "epoch"), Offset(rapid.Uint64Min(1).Draw(t, "first"))
		want := messages().Draw(t, "messages")
		b, start := BeginDeliver(nil, 9, 8, room, epoch, first)
		for _, m := range want {
			b = AppendMessage(b, m.Kind, m.Conn, m.Payload)
		}
		x, err := ParseDeliver(body(t, End(b, start), FrameDeliver))
		if err != nil || x.Partition != 9 || x.Term != 8 || x.Epoch != epoch || x.Offset != first || !bytes.Equal(x.Room, room) {
			t.Fatalf("read %+v, %v", x, err)
		}
		same(t, readMessages(t, x.Messages), want)
	})
}

func TestRoundTripFetched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room, epoch, after := rooms().Draw(t, "room"), epochs().Draw(t, "epoch"), Offset(rapid.Uint64().Draw(t, "after"))
		want, last := messages().Draw(t, "messages"), rapid.Bool().Draw(t, "last")
		b, start := BeginFetched(nil, 9, 8, room, epoch, after, last)
		for _, m := range want {
			b = AppendMessage(b, m.Kind, m.Conn, m.Payload)
		}
		x, err := ParseFetched(body(t, End(b, start), FrameFetched))
		if err != nil || x.Epoch != epoch || x.After != after || x.Last != last || !bytes.Equal(x.Room, room) {
			t.Fatalf("read %+v, %v", x, err)
		}
		same(t, readMessages(t, x.Messages), want)
	})
}

func TestRoundTripFetch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Fetch{Partition: 9, Term: 8, Room: rooms().Draw(t, "room"), Epoch: epochs().Draw(t, "epoch"), Upto: Offset(rapid.Uint64().Draw(t, "upto"))}
		want.After = Offset(rapid.Uint64Range(0, uint64(want.Upto)).Draw(t, "after"))
		have, err := ParseFetch(body(t, AppendFetch(nil, &want), FrameFetch))
		if err != nil {
			t.Fatal(err)
		}
		same(t, have, want)
	})
}

func TestRoundTripSignal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom([]FrameType{FrameExpect, FrameHold, FrameGo, FrameMoved, FrameFenced}).Draw(t, "type")
		want := Signal{Partition: Partition(rapid.Uint16().Draw(t, "p")), Term: Term(rapid.Uint64().Draw(t, "term"))}
		if typ.hasSeq() {
			want.Seq = Seq(rapid.Uint64().Draw(t, "seq"))
		}
		have, err := ParseSignal(typ, body(t, AppendSignal(nil, typ, want), typ))
		if err != nil {
			t.Fatal(err)
		}
		same(t, have, want)
	})
}

func nodeNames() *rapid.Generator[NodeName] {
	return rapid.Custom(func(t *rapid.T) NodeName {
		id := rapid.StringMatching(`[a-z0-9-]{1,63}`).Draw(t, "id")
		return MakeNodeName(NodeID(id), Incarnation(rapid.Uint64().Draw(t, "incarnation")))
	})
}

// entries draws entries of the given kinds. It draws every field, so that one
// that a kind should carry and does not is seen, and then clears those that the
// kind does not have.
func entries(kinds ...EntryKind) *rapid.Generator[[]Entry] {
	refusals := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Result {
		return Result{Seq: Seq(rapid.Uint64Min(1).Draw(t, "seq")), Code: Code(rapid.IntRange(1, int(Unavailable)).Draw(t, "code"))}
	}), 0, MaxRefusals)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry {
		x := Entry{
			Kind:      rapid.SampledFrom(kinds).Draw(t, "kind"),
			At:        rapid.Uint64Max(math.MaxInt64).Draw(t, "at"),
			Publisher: rapid.Uint32().Draw(t, "publisher"),
			Seq:       Seq(rapid.Uint64Min(1).Draw(t, "seq")),
			Conn:      rapid.Uint64().Draw(t, "conn"),
			Code:      Code(rapid.IntRange(1, int(Unavailable)).Draw(t, "code")),
			Offset:    Offset(rapid.Uint64Min(1).Draw(t, "offset")),
			Room:      rooms().Draw(t, "room"),
			Epoch:     MintEpoch(rapid.Uint64().Draw(t, "epoch")),
			Message:   Kind(rapid.IntRange(0, int(KindBinary)).Draw(t, "message")),
			Payload:   payloads().Draw(t, "payload"),
			Name:      []byte(nodeNames().Draw(t, "name")),
			Committed: Seq(rapid.Uint64().Draw(t, "committed")),
			Left:      rapid.Uint64Max(1<<63).Draw(t, "left"),
			Refused:   refusals.Draw(t, "refused"),
			Touched:   rapid.Uint64Max(math.MaxInt64).Draw(t, "touched"),
		}
		if len(x.Refused) == 0 {
			x.Refused = nil // as it is read
		}
		return only(x)
	}), 0, 10)
}

// only has the fields of x that its kind carries, by the table at Entry.
func only(x Entry) Entry {
	y := Entry{Kind: x.Kind, At: x.At}
	switch x.Kind {
	case EntryMessage:
		y.Publisher, y.Seq, y.Conn, y.Offset, y.Message, y.Room, y.Payload = x.Publisher, x.Seq, x.Conn, x.Offset, x.Message, x.Room, x.Payload
	case EntryRefusal:
		y.Publisher, y.Seq, y.Code = x.Publisher, x.Seq, x.Code
	case EntryVoid:
		y.Publisher, y.Seq = x.Publisher, x.Seq
	case EntryCreated:
		y.Epoch, y.Room = x.Epoch, x.Room
	case EntryTrimmed, EntryForgotten, EntryRoomEnd:
		y.Room = x.Room
	case EntryMet:
		y.Publisher, y.Name = x.Publisher, x.Name
	case EntryLeft, EntryDropped:
		y.Publisher = x.Publisher
	case EntryPublisher:
		y.Publisher, y.Committed, y.Left, y.Name, y.Refused = x.Publisher, x.Committed, x.Left, x.Name, x.Refused
	case EntryRoom:
		y.Offset, y.Touched, y.Epoch, y.Room = x.Offset, x.Touched, x.Epoch, x.Room
	}
	return y
}

func readEntries(t *rapid.T, list Entries) []Entry {
	have := []Entry{}
	var x Entry
	for ; list.Next(&x); x.Refused = nil { // each keeps its own
		have = append(have, x)
	}
	if list.Err() != nil {
		t.Fatal(list.Err())
	}
	return have
}

func TestRoundTripAppend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Append{
			Partition: Partition(rapid.Uint16().Draw(t, "partition")),
			Term:      Term(rapid.Uint64().Draw(t, "term")),
			Prev:      Index(rapid.Uint64().Draw(t, "prev")),
			Commit:    Index(rapid.Uint64().Draw(t, "commit")),
		}
		want.PrevTerm = Term(rapid.Uint64Max(uint64(want.Term)).Draw(t, "prev term"))
		want.EntryTerm = Term(rapid.Uint64Max(uint64(want.Term)).Draw(t, "entry term"))
		list := entries(EntryMessage, EntryRefusal, EntryVoid, EntryCreated, EntryTrimmed, EntryForgotten, EntryMet, EntryLeft, EntryDropped).Draw(t, "entries")
		have, err := ParseAppend(body(t, replicated(&want, list...), FrameAppend))
		if err != nil {
			t.Fatal(err)
		}
		same(t, readEntries(t, have.Entries), list)
		if have.Entries = (Entries{}); !reflect.DeepEqual(have, want) {
			t.Fatalf("read %+v, want %+v", have, want)
		}
	})
}

func TestRoundTripSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Snapshot{
			Partition: Partition(rapid.Uint16().Draw(t, "partition")),
			Term:      Term(rapid.Uint64().Draw(t, "term")),
			Index:     Index(rapid.Uint64().Draw(t, "index")),
			Teaching:  rapid.Uint8().Draw(t, "teaching"),
			First:     rapid.Bool().Draw(t, "first"),
			Last:      rapid.Bool().Draw(t, "last"),
		}
		list := entries(EntryMessage, EntryDropped, EntryPublisher, EntryRoom, EntryRoomEnd).Draw(t, "entries")
		have, err := ParseSnapshot(body(t, learned(&want, list...), FrameSnapshot))
		if err != nil {
			t.Fatal(err)
		}
		same(t, readEntries(t, have.Entries), list)
		if have.Entries = (Entries{}); !reflect.DeepEqual(have, want) {
			t.Fatalf("read %+v, want %+v", have, want)
		}
	})
}

func TestRoundTripStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Stored{Partition(rapid.Uint16().Draw(t, "p")), Term(rapid.Uint64().Draw(t, "term")), Index(rapid.Uint64().Draw(t, "index")), rapid.Uint8().Draw(t, "teaching"), rapid.Bool().Draw(t, "whole"), rapid.Bool().Draw(t, "gap")}
		have, err := ParseStored(body(t, AppendStored(nil, &want), FrameStored))
		if err != nil {
			t.Fatal(err)
		}
		same(t, have, want)
	})
}

func TestRoundTripWishes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Wish {
			x := Wish{Partition: Partition(rapid.Uint16().Draw(t, "p")), Term: Term(rapid.Uint64().Draw(t, "term")), Kind: WishKind(rapid.IntRange(int(WishDrop), int(WishRenew)).Draw(t, "kind"))}
			if x.Kind == WishRenew {
				x.Above = Term(rapid.Uint64().Draw(t, "above"))
			} else {
				x.Node = nodeNames().Draw(t, "node")
			}
			return x
		}), 0, 20).Draw(t, "wishes")
		b := AppendWishes(nil, want)
		have, err := ParseWishes(body(t, b, FrameWish))
		if err != nil {
			t.Fatal(err)
		}
		same(t, have, want)
		size := HeaderSize
		for i := range want {
			size += WishSize(&want[i])
		}
		if size != len(b) {
			t.Fatalf("%d wishes take %d bytes, WishSize says %d", len(want), len(b), size)
		}
	})
}

func TestRoundTripPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Promise {
			return Promise{Partition(rapid.Uint16().Draw(t, "p")), Term(rapid.Uint64().Draw(t, "term")), PromiseStatus(rapid.IntRange(0, int(KnowsHigher)).Draw(t, "status"))}
		}), 0, 20).Draw(t, "promises")
		have, err := ParsePromised(body(t, AppendPromised(nil, want), FramePromised))
		if err != nil {
			t.Fatal(err)
		}
		same(t, have, want)
		have, err = ParsePromises(body(t, AppendPromises(nil, want), FramePromise))
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			want[i].Status = 0 // a question has none
		}
		same(t, have, want)
	})
}

func TestRoundTripAskReply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ask := Ask{rapid.Uint64().Draw(t, "id"), rapid.Byte().Draw(t, "kind"), payloads().Draw(t, "body")}
		haveAsk, err := ParseAsk(body(t, AppendAsk(nil, &ask), FrameAsk))
		if err != nil {
			t.Fatal(err)
		}
		same(t, haveAsk, ask)
		reply := Reply{ask.ID, rapid.Uint16().Draw(t, "status"), ask.Body}
		haveReply, err := ParseReply(body(t, AppendReply(nil, &reply), FrameReply))
		if err != nil {
			t.Fatal(err)
		}
		same(t, haveReply, reply)
	})
}

func TestRoundTripNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := Incarnation(rapid.Uint64().Draw(t, "incarnation"))
		have, err := ParseIncarnation(i.String())
		if err != nil || have != i || len(i.String()) != 13 {
			t.Fatalf("%d: %q read as %d, %v", i, i, have, err)
		}
		id := NodeID(rapid.StringMatching(`[a-z0-9-]{1,63}`).Draw(t, "id"))
		n, err := ParseNodeName(string(MakeNodeName(id, i)))
		if err != nil || n.ID() != id || n.Incarnation() != i {
			t.Fatalf("%q %d: read as %q, %v", id, i, n, err)
		}
		p := Position{MintEpoch(uint64(i)), Offset(rapid.Uint64().Draw(t, "offset"))}
		q, err := ParsePosition(p.String())
		if err != nil || p != q {
			t.Fatalf("%v: read as %v, %v", p, q, err)
		}
	})
}

// TestFramesInARow: frames that follow each other are found again, wherever the
// stream is cut.
func TestFramesInARow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want []string
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(golden)-1), 0, 10).Draw(t, "frames") {
			stream = append(stream, golden[i].frame...)
			want = append(want, string(golden[i].frame))
		}
		var have []string
		var kept []byte
		for len(stream) > 0 {
			n := rapid.IntRange(1, len(stream)).Draw(t, "cut")
			kept, stream = append(kept, stream[:n]...), stream[n:]
			for {
				_, size, err := ParseHeader(kept)
				if err != nil {
					t.Fatal(err)
				}
				if size == 0 || size > len(kept) {
					break
				}
				have, kept = append(have, string(kept[:size])), kept[size:]
			}
		}
		if d := cmp.Diff(want, have); d != "" || len(kept) > 0 {
			t.Fatalf("%d bytes left over, %s", len(kept), d)
		}
	})
}

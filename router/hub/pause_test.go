package hub

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/proto"
)

// manyRooms is a hub with rooms in some partitions, all of one owner.
func manyRooms(t *testing.T, partitions, rooms int) (h *Hub, members map[string]*Member) {
	h = New(Config{Partitions: partitions}, &recorder{got: map[uint64][]byte{}, budget: map[uint64]int{}})
	now := time.Unix(9, 0)
	members = map[string]*Member{}
	for i := range rooms {
		room := fmt.Sprint("room-", i)
		m := &Member{ID: uint64(i + 1)}
		h.Join(m, []byte(room), JoinOptions{}, now)
		members[room] = m
	}
	h.LinkUp(benchNode, 0, 1, now)
	for p := range partitions {
		h.SetRow(proto.Partition(p), benchNode, 1, now)
	}
	return h, members
}

// order is what is written in b: rooms attached and messages published, as words.
func order(t *testing.T, b []byte) (words []string) {
	for len(b) > 0 {
		typ, size, err := proto.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		body := b[proto.HeaderSize:size]
		b = b[size:]
		switch typ {
		case proto.FrameAttach:
			x, _ := proto.ParseBatch(body)
			for e, ok := x.NextAttach(); ok; e, ok = x.NextAttach() {
				words = append(words, "+"+string(e.Room))
			}
		case proto.FramePublish:
			x, _ := proto.ParsePublish(body)
			words = append(words, string(x.Room))
		}
	}
	return words
}

// What a new owner hears first is what somebody waits for: a message goes right
// behind its room, before the rooms of all other partitions. And everything is
// on its way at once: no timer, no tick.
func TestWaitingPublishesGoFirst(t *testing.T) {
	h, members := manyRooms(t, 8, 200)
	now := time.Unix(10, 0)
	h.Fill(benchNode, 0, nil, 1<<20)
	waits := []string{"room-150", "room-3", "room-77"}
	for _, room := range waits[:2] {
		h.Publish(members[room], proto.KindText, []byte("hi"), now)
	}
	for p := range proto.Partition(8) {
		h.SetRow(p, otherNode, 2, now)
	}
	h.LinkUp(otherNode, 0, 1, now)
	h.Publish(members[waits[2]], proto.KindText, []byte("hi"), now) // it came while nothing was sent yet
	offered := false
	h.Work(func(node proto.NodeName, _ int) { offered = offered || node == otherNode })
	if !offered {
		t.Fatal("the new owner is not offered anything")
	}
	words := order(t, h.Fill(otherNode, 0, nil, 1<<20))
	for _, room := range waits {
		at, published := slices.Index(words, "+"+room), slices.Index(words, room)
		if at < 0 || published < at {
			t.Errorf("%s is attached as %d, published as %d", room, at, published)
		}
		// One in four is served in between, with all its rooms.
		if published > 2*len(waits)+200/8*2 {
			t.Errorf("%s was published as number %d of %d", room, published, len(words))
		}
	}
	seen := map[string]bool{}
	for _, w := range words {
		if seen[w] {
			t.Errorf("%s twice", w)
		}
		seen[w] = true
	}
	if len(words) != 203 {
		t.Errorf("%d words, want 200 rooms and 3 messages", len(words))
	}
}

// However much is published meanwhile, rooms that nobody publishes in become
// attached.
func TestRoomsAreNotKeptWaiting(t *testing.T) {
	h, members := manyRooms(t, 2, 100)
	now := time.Unix(10, 0)
	attached := 0
	for turn := 0; attached < 100; turn++ {
		if turn > 1000 {
			t.Fatalf("%d rooms are attached after 1000 turns", attached)
		}
		for range 4 {
			h.Publish(members["room-1"], proto.KindText, make([]byte, 100), now)
			h.Publish(members["room-2"], proto.KindText, make([]byte, 100), now)
		}
		for _, w := range order(t, h.Fill(benchNode, 0, nil, 200)) {
			if strings.HasPrefix(w, "+") {
				attached++
			}
		}
	}
}

// Whatever kept an owner's partition back ends with the next row, not with a
// time.
func TestANewRowEndsEveryWait(t *testing.T) {
	for name, story := range map[string]func(b *bench){
		"moved":              func(b *bench) { b.signal(proto.FrameMoved, 1, 0) },
		"moved, newer term":  func(b *bench) { b.signal(proto.FrameMoved, 2, 0) },
		"fenced, newer term": func(b *bench) { b.signal(proto.FrameFenced, 2, 0) },
		"hold":               func(b *bench) { b.signal(proto.FrameHold, 1, 1) },
		"expect":             func(b *bench) { b.signal(proto.FrameExpect, 1, 1) },
		"expect twice": func(b *bench) {
			b.signal(proto.FrameExpect, 1, 1)
			b.sent()
			b.signal(proto.FrameExpect, 1, 1)
		},
		"the owner is away": func(b *bench) { b.h.LinkDown(benchNode, 0, b.now) },
		"no owner":          func(b *bench) { b.h.SetRow(0, "", 2, b.now) },
		"a repair that waits": func(b *bench) {
			for range 4 {
				b.deliver(9, "x")
				b.sent()
				b.attached(epochA, 0, 1, proto.StatusWhole)
			}
		},
		"a refused room": func(b *bench) { b.attached(epochA, proto.Offset(proto.Full), 0, proto.StatusRefused) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Config{})
			m := b.join(1, JoinOptions{})
			b.sent()
			b.attached(epochA, 0, 1, proto.StatusWhole)
			b.h.Publish(m, proto.KindText, []byte("x"), b.now)
			b.sent()
			story(b)
			b.sent()
			b.h.LinkUp(otherNode, 0, 1, b.now)
			b.h.SetRow(0, otherNode, 3, b.now)
			words := order(t, b.h.Fill(otherNode, 0, nil, 1<<20))
			if got := strings.Join(words, " "); got != "+r r" {
				t.Errorf("sent at once: %q", got)
			}
			b.log = nil
			b.from(otherNode, attachedIn(3, 0, 1), deliverIn(3, 1, "x"))
			b.h.FanOut(b.now)
			if want := text("x"); string(b.got[1]) != string(want) {
				t.Errorf("heard %q", b.got[1])
			}
			b.said() // the member stayed
		})
	}
}

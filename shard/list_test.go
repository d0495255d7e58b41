package shard

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// say has a router publish in a room of a shard, and go.
func say(t *testing.T, s *Shard, seqs map[proto.Partition]proto.Seq, room string, texts ...string) {
	t.Helper()
	p := proto.PartitionOfString(room, s.cfg.Partitions)
	l := s.lanes[int(p)%len(s.lanes)]
	err := l.ask(t.Context(), func() {
		r := l.core.RouterUp("r1/0000000000001", 0, 1)
		defer l.core.Down(r)
		for _, text := range texts {
			seqs[p]++
			f := proto.AppendPublish(nil, &proto.Publish{Partition: p, Term: 1, Seq: seqs[p], Base: seqs[p], Conn: 7, Room: []byte(room), Payload: []byte(text)})
			if err := l.core.Frame(r, proto.FramePublish, f[proto.HeaderSize:], l.loop.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// owner runs a shard that owns all its partitions.
func owner(t *testing.T) (s *Shard, stop func()) {
	s, stop = start(t, 4)
	rows := make([]Row, 32)
	for p := range rows {
		rows[p] = Row{proto.Partition(p), partition.Row{Owner: self, Term: 1, Since: 1}}
	}
	s.SetTable(rows)
	return s, stop
}

// Lists are of all lanes together.
func TestRoomsAreListedAcrossLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := owner(t)
		defer stop()
		seqs := map[proto.Partition]proto.Seq{}
		for i := range 300 {
			say(t, s, seqs, fmt.Sprintf("room-%03d", (i*7)%300), "hello")
		}
		at := 0
		for q, more := (partition.RoomsQuery{Limit: 70}), true; more; {
			list, err := s.ListRooms(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list.Rooms {
				if want := fmt.Sprintf("room-%03d", at); r.Room != want || r.Offset != 1 {
					t.Fatalf("number %d is %+v, want %s", at, r, want)
				}
				at++
			}
			more, q.After = list.More, fmt.Sprintf("room-%03d", at-1)
		}
		if at != 300 {
			t.Errorf("%d rooms are listed", at)
		}
	})
}

// The busiest rooms are known a second after the first question, and at once after
// the next ones.
func TestBusiestRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := owner(t)
		defer stop()
		seqs := map[proto.Partition]proto.Seq{}
		for i := range 20 {
			say(t, s, seqs, fmt.Sprint("room-", i), "hello")
		}
		ask := func(want string, took time.Duration) {
			t.Helper()
			begin := time.Now()
			list, err := s.ListRooms(t.Context(), partition.RoomsQuery{Sort: partition.SortMessages, Limit: 3})
			if err != nil || len(list.Rooms) != 3 {
				t.Fatalf("%+v, %v", list, err)
			}
			got := ""
			for _, r := range list.Rooms {
				got += fmt.Sprintf(" %s %.1f", r.Room, r.MessagesPerSecond)
			}
			if over := time.Since(begin); got != want || over.Round(100*time.Millisecond) != took {
				t.Errorf("after %v:%s, want after %v:%s", over, got, took, want)
			}
		}
		go func() {
			time.Sleep(500 * time.Millisecond)
			say(t, s, seqs, "room-3", "a", "b", "c")
			say(t, s, seqs, "room-5", "d")
		}()
		ask(" room-3 3.0 room-5 1.0 room-0 0.0", time.Second)
		time.Sleep(2 * time.Second)
		say(t, s, seqs, "room-9", "a", "b")
		ask(" room-9 1.0 room-0 0.0 room-1 0.0", 0)
	})
}

func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := owner(t)
		say(t, s, map[proto.Partition]proto.Seq{}, "lobby", "a", "b", "c")
		at, err := s.Tail(t.Context(), partition.TailQuery{Room: "lobby"})
		if err != nil || !at.Found || at.Head != 3 || len(at.Messages) != 0 {
			t.Errorf("from now: %+v, %v", at, err)
		}
		got, err := s.Tail(t.Context(), partition.TailQuery{Room: "lobby", Epoch: at.Epoch, After: 1, Limit: 9, Payload: true})
		if err != nil || len(got.Messages) != 2 || string(got.Messages[1].Payload) != "c" {
			t.Errorf("the last two: %+v, %v", got, err)
		}
		stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Tail(ctx, partition.TailQuery{Room: "lobby"}); !errors.Is(err, ErrStopped) {
			t.Errorf("tail = %v", err)
		}
		for _, sort := range []partition.Sort{partition.SortName, partition.SortMessages} {
			if _, err := s.ListRooms(ctx, partition.RoomsQuery{Sort: sort}); !errors.Is(err, ErrStopped) {
				t.Errorf("list by %s = %v", sort, err)
			}
		}
	})
}

package node_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
)

// namesOf are the rooms of a list.
func namesOf(doc admin.RoomsDocument) (list []string) {
	for _, r := range doc.Rooms {
		list = append(list, r.Room)
	}
	return list
}

// Every node lists the rooms of all, in pages and in three orders.
func TestRoomsOfAll(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		var want []string
		members := map[string]*member{}
		for i := range 50 {
			name := fmt.Sprintf("room-%02d", i)
			want = append(want, name)
			members[name] = w.join("r1", "room="+name)
		}
		for range 3 {
			w.join("r2", "room=room-17")
		}
		w.join("r2", "room=room-33")
		w.join("r2", "room=other").say("x")
		members["room-17"].say("12345", "678")
		time.Sleep(2 * time.Second) // members are counted by then
		for id, r := range w.running {
			list := func(q admin.RoomsQuery) admin.RoomsDocument {
				t.Helper()
				doc, err := r.Source().Rooms(t.Context(), q)
				if err != nil || len(doc.Missing) != 0 || doc.Unowned != 0 || doc.Missing == nil {
					t.Fatalf("%s, %+v: %+v, %v", id, q, doc, err)
				}
				return doc
			}
			var got []string
			q := admin.RoomsQuery{Prefix: "room-", Limit: 7, Sort: admin.SortName}
			for more := true; more; {
				doc := list(q)
				got = append(got, namesOf(doc)...)
				more, q.After = doc.More, doc.Rooms[len(doc.Rooms)-1].Room
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s lists %v", id, got)
			}
			doc := list(admin.RoomsQuery{Prefix: "room-17", Limit: 10, Sort: admin.SortName})
			table := r.Table()
			p := proto.PartitionOfString("room-17", partitions)
			if doc.More || len(doc.Rooms) != 1 {
				t.Fatalf("%s has of room-17: %+v", id, doc)
			}
			if x := doc.Rooms[0]; x.Partition != p || x.Owner != table.Row(p).Owner.ID() || len(x.Epoch) != 13 || x.Offset != 2 || x.Kept != 2 || x.Bytes != 8 || x.Members != 4 {
				t.Errorf("%s has of room-17: %+v", id, x)
			}
			doc = list(admin.RoomsQuery{Limit: 3, Sort: admin.SortMembers})
			if names := strings.Join(namesOf(doc), " "); names != "room-17 room-33 other" || !doc.More {
				t.Errorf("%s says that the fullest are %s, more %v", id, names, doc.More)
			}
			if doc = list(admin.RoomsQuery{Prefix: "nothing", Limit: 3, Sort: admin.SortName}); doc.More || len(doc.Rooms) != 0 || doc.Rooms == nil {
				t.Errorf("%s finds %+v", id, doc)
			}
			if doc = list(admin.RoomsQuery{Limit: 51, Sort: admin.SortName}); len(doc.Rooms) != 51 || doc.More {
				t.Errorf("%s lists %d of 51, more %v", id, len(doc.Rooms), doc.More)
			}
		}
	})
}

// The busiest rooms of all come first.
func TestBusiestRooms(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		var members []*member
		for i := range 8 {
			members = append(members, w.join("r1", fmt.Sprint("room=", i)))
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 100 {
				for i, m := range members {
					for range i {
						m.send([]byte{0x81, 0x81, 0, 0, 0, 0, 'x'})
					}
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
		source := w.running["r2"].Source()
		for range 3 {
			doc, err := source.Rooms(t.Context(), admin.RoomsQuery{Limit: 3, Sort: admin.SortMessages})
			if err != nil || strings.Join(namesOf(doc), " ") != "7 6 5" {
				t.Errorf("busiest are %+v, %v", doc, err)
			}
			for i, r := range doc.Rooms {
				if want := float64(10 * (7 - i)); r.MessagesPerSecond < 0.7*want || r.MessagesPerSecond > 1.3*want {
					t.Errorf("%s has %.1f messages a second, want %.0f", r.Room, r.MessagesPerSecond, want)
				}
			}
			time.Sleep(time.Second)
		}
		<-done
	})
}

// An owner that is silent is named, and the others' rooms are there all the same.
func TestRoomsOfASilentOwner(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		for i := range 30 {
			w.join("r1", fmt.Sprint("room=", i))
		}
		all, err := w.running["r1"].Source().Rooms(t.Context(), admin.RoomsQuery{Limit: 1000, Sort: admin.SortName})
		if err != nil || len(all.Rooms) != 30 {
			t.Fatalf("%d rooms, %v", len(all.Rooms), err)
		}
		w.cut("s2")
		began := time.Now()
		doc, err := w.running["r1"].Source().Rooms(t.Context(), admin.RoomsQuery{Limit: 1000, Sort: admin.SortName})
		took(t, "the answer", began, time.Now(), 0, 4100*time.Millisecond)
		if err != nil || !slices.Equal(doc.Missing, []proto.NodeID{"s2"}) {
			t.Errorf("missing %v, %v", doc.Missing, err)
		}
		want := slices.DeleteFunc(slices.Clone(all.Rooms), func(r admin.RoomFigures) bool { return r.Owner == "s2" })
		byName := func(a, b admin.RoomFigures) int { return cmp.Compare(a.Room, b.Room) }
		if len(want) == 30 || !slices.EqualFunc(doc.Rooms, want, func(a, b admin.RoomFigures) bool { return byName(a, b) == 0 }) {
			t.Errorf("%d rooms, want %d", len(doc.Rooms), len(want))
		}
		w.heal("s2")
		w.settle(30 * time.Second)
	})
}

// As many rooms as may be asked for, with the longest names, of which JSON makes the most.
func TestRoomsWithLongNames(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.config = func(c *node.Config) { c.Followers = 1 }
		w.cluster(1, 1)
		w.router("r2", router.Config{})
		w.settle(20 * time.Second)
		const n = 1200
		for i := range n {
			name := fmt.Sprintf("%04d", i) + strings.Repeat("%22", 251)
			w.open("r1", "room="+name)
		}
		time.Sleep(time.Second)
		q, seen := admin.RoomsQuery{Limit: admin.MaxRooms, Sort: admin.SortName}, 0
		for more := true; more; {
			doc, err := w.running["r2"].Source().Rooms(t.Context(), q)
			if err != nil || len(doc.Missing) != 0 || len(doc.Rooms) == 0 {
				t.Fatalf("after %d: %d rooms, missing %v, %v", seen, len(doc.Rooms), doc.Missing, err)
			}
			for _, r := range doc.Rooms {
				if !strings.HasPrefix(r.Room, fmt.Sprintf("%04d", seen)) {
					t.Fatalf("%q is number %d", r.Room, seen)
				}
				seen++
			}
			more, q.After = doc.More, doc.Rooms[len(doc.Rooms)-1].Room
		}
		if seen != n {
			t.Errorf("%d rooms", seen)
		}
	})
}

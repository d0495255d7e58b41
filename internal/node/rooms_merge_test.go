package node

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

// Whatever parts of their lists owners give, what is merged is the beginning of the whole list, and says
// when it is not all.
func TestMerge(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		for _, sort := range []string{admin.SortName, admin.SortMembers, admin.SortMessages} {
			order := func(a, b admin.RoomFigures) int { return orders[sort](&a, &b) }
			limit := 1 + random.IntN(20)
			m := merger{query: admin.RoomsQuery{Limit: limit, Sort: sort}, owner: func(p proto.Partition) proto.NodeID { return proto.NodeID(fmt.Sprint("s", p)) }}
			var all []admin.RoomFigures
			for owner := range 4 {
				var list admin.RoomsDocument
				for i := range random.IntN(30) {
					r := admin.RoomFigures{
						Room: fmt.Sprintf("%03d-%d", random.IntN(1000), i*4+owner), Owner: proto.NodeID(fmt.Sprint("s", owner)), Partition: proto.Partition(owner),
						Members: random.IntN(5), MessagesPerSecond: float64(random.IntN(5)),
					}
					list.Rooms = append(list.Rooms, r)
				}
				all = append(all, list.Rooms...)
				slices.SortFunc(list.Rooms, order)
				if fits := 1 + random.IntN(limit); len(list.Rooms) > fits { // less than asked for: it did not fit
					list.Rooms, list.More = list.Rooms[:fits], true
				}
				m.add(list)
				if random.IntN(2) == 0 && len(list.Rooms) > 0 { // the one before still says that it owns one
					stray := list.Rooms[0]
					stray.Owner = "old"
					m.add(admin.RoomsDocument{Rooms: []admin.RoomFigures{stray}})
				}
			}
			slices.SortFunc(all, order)
			got, more := m.merged()
			if len(got) > limit || len(got) > len(all) || len(got) == 0 && len(all) > 0 || !slices.Equal(got, all[:len(got)]) || more != (len(got) < len(all)) {
				t.Fatalf("seed %d, %s, limit %d: %d of %d, more %v", seed, sort, limit, len(got), len(all), more)
			}
		}
	}
}

package admin

import (
	"context"
	"net/http"
	"net/url"

	"github.com/roomring/roomring/proto"
)

// Orders of /v1/rooms.
const (
	SortName     = "name"     // by name, in pages
	SortMessages = "messages" // the busiest first
	SortMembers  = "members"  // the fullest first
)

// Bounds of RoomsQuery.Limit.
const (
	DefaultRooms = 100
	MaxRooms     = 1000
)

// RoomsQuery is what /v1/rooms is asked.
type RoomsQuery struct {
	Prefix string `json:"prefix"` // of names; "" is all
	After  string `json:"after"`  // only names above it; with SortName alone
	Limit  int    `json:"limit"`  // 1 to MaxRooms
	Sort   string `json:"sort"`
}

// RoomsDocument is the answer of /v1/rooms.
type RoomsDocument struct {
	Rooms []RoomFigures `json:"rooms"`
	// More is whether rooms above the last one were left out for Limit; ask
	// again with after = its name.
	More bool `json:"more"`
	// Missing are the owners that gave no answer in time: their rooms are not
	// among these. Partitions without an owner are counted in Unowned.
	Missing []proto.NodeID `json:"missing"`
	Unowned int            `json:"unowned"`
}

// RoomFigures is one room of a list.
type RoomFigures struct {
	Room      string          `json:"room"`
	Partition proto.Partition `json:"partition"`
	Owner     proto.NodeID    `json:"owner"`
	Epoch     string          `json:"epoch"`
	Offset    proto.Offset    `json:"offset"`
	Kept      int             `json:"kept"`  // messages
	Bytes     int64           `json:"bytes"` // of the kept messages' payloads
	Members   int             `json:"members"`
	// MessagesPerSecond is over the last second or more in which somebody asked
	// for it (SortMessages); 0 in other orders while nobody does.
	MessagesPerSecond float64 `json:"messages_per_second"`
}

func (s *Server) rooms(w http.ResponseWriter, r *http.Request) error {
	v, err := query(r)
	if err != nil {
		return err
	}
	q, err := roomsQuery(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), RoomTimeout)
	defer cancel()
	d, err := s.config.Source.Rooms(ctx, q)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, d.filled())
	return nil
}

func roomsQuery(v url.Values) (q RoomsQuery, err error) {
	q = RoomsQuery{Prefix: v.Get("prefix"), After: v.Get("after"), Sort: SortName}
	if err := checkStart("prefix", q.Prefix); err != nil {
		return q, err
	}
	if err := checkStart("after", q.After); err != nil {
		return q, err
	}
	if q.Limit, err = count(v, "limit", DefaultRooms, MaxRooms); err != nil {
		return q, err
	}
	if v.Has("sort") {
		q.Sort = v.Get("sort")
	}
	switch q.Sort {
	case SortName:
		return q, nil
	case SortMessages, SortMembers:
		if q.After != "" {
			return q, badQuery("after: only sort=name has pages")
		}
		return q, nil
	}
	return q, badQuery("sort: want name, members or messages")
}

// checkStart refuses what no room's name could begin with; "" is any name.
func checkStart(param, s string) error {
	if s == "" {
		return nil
	}
	if err := proto.CheckRoom(s); err != nil {
		return &Refusal{http.StatusBadRequest, "bad_room", param + ": " + err.Error()}
	}
	return nil
}

// filled has empty lists where d has none.
func (d RoomsDocument) filled() RoomsDocument {
	if d.Rooms == nil {
		d.Rooms = []RoomFigures{}
	}
	if d.Missing == nil {
		d.Missing = []proto.NodeID{}
	}
	return d
}

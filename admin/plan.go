package admin

import (
	"context"
	"net/http"
	"net/url"

	"github.com/roomring/roomring/proto"
)

// MaxAdd bounds the shards that /v1/ring/plan adds.
const MaxAdd = 64

// PlanQuery is what /v1/ring/plan is asked: exactly one of the two.
type PlanQuery struct {
	Add    int    // so many shards, named new-1, new-2, …; 1 to MaxAdd
	Remove string // id of a shard that drains or is taken away
}

// PlanDocument is the answer of /v1/ring/plan: what the coordinator would bring
// about from how things are now. Nothing is changed.
type PlanDocument struct {
	Add     int            `json:"add"`
	Remove  string         `json:"remove"`
	Settled bool           `json:"settled"` // if false, some of Moves are under way already
	Shards  []PlannedShard `json:"shards"`  // by id
	Moves   []PlannedMove  `json:"moves"`   // by partition: those that get another owner
	// Copies is how many partitions get another follower.
	Copies int `json:"copies"`
	// Ideal is the fewest partitions that any placement as even as possible
	// would have to move.
	Ideal int `json:"ideal"`
}

// PlannedShard is one shard before and after.
type PlannedShard struct {
	ID            proto.NodeID `json:"id"`
	Zone          string       `json:"zone"`
	New           bool         `json:"new"`     // it is not there yet
	Removed       bool         `json:"removed"` // it will not be there
	Owned         int          `json:"owned"`
	OwnedThen     int          `json:"owned_then"`
	Following     int          `json:"following"`
	FollowingThen int          `json:"following_then"`
	Ideal         int          `json:"ideal"` // of owned_then, were all shards alike; rounded
}

// PlannedMove is a partition that gets another owner. From is "" when nobody
// owns it now.
type PlannedMove struct {
	Partition proto.Partition `json:"partition"`
	From      proto.NodeID    `json:"from"`
	To        proto.NodeID    `json:"to"`
}

// DrainDocument is the answer of /v1/drain.
type DrainDocument struct {
	Node proto.NodeName `json:"node"` // the run that drains now
}

func (s *Server) plan(w http.ResponseWriter, r *http.Request) error {
	v, err := query(r)
	if err != nil {
		return err
	}
	q, err := planQuery(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), RoomTimeout)
	defer cancel()
	d, err := s.config.Source.Plan(ctx, q)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, d.filled())
	return nil
}

func planQuery(v url.Values) (q PlanQuery, err error) {
	if v.Has("add") == v.Has("remove") {
		return q, badQuery("want either add or remove")
	}
	if v.Has("add") {
		q.Add, err = count(v, "add", 0, MaxAdd)
		return q, err
	}
	q.Remove = v.Get("remove")
	if err := proto.CheckNodeID(q.Remove); err != nil {
		return q, &Refusal{http.StatusBadRequest, "bad_node", "remove: " + err.Error()}
	}
	return q, nil
}

// filled has empty lists where d has none.
func (d PlanDocument) filled() PlanDocument {
	if d.Shards == nil {
		d.Shards = []PlannedShard{}
	}
	if d.Moves == nil {
		d.Moves = []PlannedMove{}
	}
	return d
}

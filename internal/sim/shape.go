package sim

import (
	"fmt"
	"time"

	"github.com/roomring/roomring/proto"
)

// shape is what a seed decides before anything happens: how large the cluster
// is, how bad its network, how narrow its bounds.
type shape struct {
	routers, shards, clients int
	late                     int // of the shards, that start in the midst of the trouble
	zones                    int
	routerLanes, shardLanes  int // powers of two
	partitions               int
	rooms                    []string

	followers, minCopies int
	maxMoves             int
	snapshotRate         int64

	// Tight: logs keep so little that routers and members fall behind, and gaps
	// are allowed, if they are said. Else none may ever be.
	tight bool

	// Narrow: routers keep so little that members fall off their tails.
	narrow bool

	// Bulky: messages are so large that a shard cannot keep all those of a term
	// that it does not know yet.
	bulky      bool
	maxMessage int // the owners' limit: clients go above it at times

	delay, jitter time.Duration // of a frame
	overtake      float64       // how often a control frame passes data
	credit        int           // bytes of data frames that a link may have unstored
	socket        int           // bytes that a client's socket buffers

	talk           time.Duration // between two messages of a client, about
	publishTimeout time.Duration
	joinTimeout    time.Duration
	faultEvery     time.Duration
	trouble        time.Duration // how long there are faults
	careful        bool          // no fault kills the last copy of anything
	faults         [faultKinds]bool
	resting        time.Duration // how long all is to stay as it is once it is settled
}

// patience is how long publishes are tried where none shall be given up.
const patience = time.Minute

func drawShape(w *World) shape {
	r := w.Rand
	pick := func(v ...int) int { return v[r.IntN(len(v))] }
	s := shape{
		routers: pick(1, 2, 2, 3), shards: pick(1, 2, 3, 3, 4), clients: 2 + r.IntN(8),
		zones:       pick(1, 1, 2, 3),
		routerLanes: pick(1, 1, 1, 2), shardLanes: pick(1, 1, 1, 2),
		partitions: pick(1, 2, 3, 5),
		followers:  pick(0, 1, 1, 1, 1), minCopies: pick(1, 1, 1, 2),
		maxMoves: pick(1, 2, 32), snapshotRate: int64(pick(-1, -1, 50<<10)),
		tight:      r.IntN(3) == 0,
		narrow:     r.IntN(6) == 0,
		delay:      w.Between(50*time.Microsecond, 10*time.Millisecond),
		jitter:     w.Between(50*time.Microsecond, 20*time.Millisecond),
		overtake:   []float64{0, 0.2, 0.9}[r.IntN(3)],
		credit:     pick(700, 4<<10, 64<<10),
		socket:     pick(100, 1000, 16<<10),
		talk:       time.Duration(pick(30, 100, 300)) * time.Millisecond,
		faultEvery: time.Duration(pick(100, 300, 1000)) * time.Millisecond,
		trouble:    time.Duration(pick(3, 5, 8)) * time.Second,
	}
	if s.shards > 2 && r.IntN(3) == 0 {
		s.late = 1 // so that those who found are more than half: two foundings would be the operator's mistake
	}
	if s.followers == 0 || s.shards < 2 {
		s.minCopies = 1
	}
	s.resting = time.Duration(pick(2500, 2500, 2500, 2500, 8000)) * time.Millisecond
	s.publishTimeout = patience
	if r.IntN(4) == 0 {
		s.publishTimeout = 700 * time.Millisecond
	}
	s.joinTimeout = time.Duration(pick(1, 5)) * time.Second
	if s.maxMessage = 160; r.IntN(16) == 0 {
		s.bulky, s.maxMessage, s.credit, s.socket = true, 60<<10, 256<<10, 256<<10
	}
	for i := range 1 + r.IntN(4) {
		s.rooms = append(s.rooms, fmt.Sprintf("room-%d", i))
	}
	s.careful = r.IntN(3) > 0
	for k := range s.faults {
		s.faults[k] = r.IntN(2) == 0
	}
	if s.bulky {
		// All in one partition that moves, to shards that hear late of it.
		s.partitions, s.clients, s.shards, s.talk, s.trouble = 1, 8, 3, 30*time.Millisecond, 2*time.Second
		s.late, s.snapshotRate = 0, -1
		s.faultEvery, s.faults[faultDeaf], s.faults[faultShard] = 100*time.Millisecond, true, true
	}
	if w.opt.Directed != 0 {
		s.directed()
	}
	return s
}

// part is the partition of a room.
func (s *shape) part(room string) proto.Partition {
	return proto.PartitionOfString(room, s.partitions)
}

func (s *shape) roomsOf(p proto.Partition) (rooms []string) {
	for _, name := range s.rooms {
		if s.part(name) == p {
			rooms = append(rooms, name)
		}
	}
	return rooms
}

// largest is the size of a frame with the largest message.
func (s *shape) largest() int { return s.maxMessage + 512 }

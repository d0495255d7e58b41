package partition

import (
	"cmp"
	"slices"
	"strings"

	"github.com/roomring/roomring/proto"
)

// Info is one room as operators see it.
type Info struct {
	Room      string
	Partition proto.Partition
	Term      proto.Term
	Epoch     proto.Epoch
	Offset    proto.Offset // of the last committed message
	First     proto.Offset // lowest kept; Offset + 1 when nothing is
	Kept      int          // messages
	Bytes     int64        // of their payloads
	Members   int          // at all routers
	Routers   []RouterInfo // attached routers by name; nil from Rooms
}

// RouterInfo is one attached router.
type RouterInfo struct {
	Name    proto.NodeName
	Members int
}

// Room describes a room of an owned partition.
func (l *Lane) Room(name string) (Info, bool) {
	rm := l.rooms[name]
	if rm == nil {
		return Info{}, false
	}
	i := rm.info()
	for c := rm.cursors; c != nil; c = c.later {
		if !c.fetch && !c.peer.down {
			i.Routers = append(i.Routers, RouterInfo{Name: c.peer.Name(), Members: int(c.members)})
		}
	}
	slices.SortFunc(i.Routers, func(a, b RouterInfo) int { return cmp.Compare(a.Name, b.Name) })
	return i, true
}

func (rm *roomState) info() Info {
	i := Info{
		Room: rm.name, Partition: rm.part.number, Term: rm.part.term,
		Epoch: rm.log.Epoch(), Offset: rm.log.Committed(), First: rm.log.First(),
		Kept: rm.log.Kept(), Bytes: rm.log.Bytes(),
	}
	for c := rm.cursors; c != nil; c = c.later {
		if !c.fetch && !c.peer.down {
			i.Members += int(c.members)
		}
	}
	return i
}

// Rooms appends the rooms whose names begin with prefix, partition by
// partition from the given one on and in the order of their creation, until at
// least limit are appended or many were looked at, so that a call is short. It
// returns the partition to go on from, and whether there is one. A call looks at
// whole partitions only, so it may append more than limit.
func (l *Lane) Rooms(infos []Info, from proto.Partition, prefix string, limit int) (_ []Info, next proto.Partition, more bool) {
	start := (int(from) - l.cfg.Lane + l.cfg.Lanes - 1) / l.cfg.Lanes
	enough, seen := len(infos)+limit, 0
	for i := max(start, 0); i < len(l.parts); i++ {
		p := &l.parts[i]
		if len(infos) >= enough || seen >= maxSeen {
			return infos, p.number, true
		}
		for rm := p.first; rm != nil; rm = rm.next {
			seen++
			if strings.HasPrefix(rm.name, prefix) {
				infos = append(infos, rm.info())
			}
		}
	}
	return infos, 0, false
}

// Stats counts what a lane has (now) and did (since it was made).
type Stats struct {
	Owned        int    // partitions, now
	Rooms        int    // now
	HistoryBytes int64  // memory of all logs, now
	HeldBytes    int    // of frames that wait for the Table, now
	Created      uint64 // rooms
	Forgotten    uint64 // rooms, with their partition too
	Published    uint64 // messages committed
	Refused      uint64 // publishes that used up their seq
	Repeated     uint64 // publishes that were in the log already
	Gaps         uint64 // times a publisher was told what is expected
	Delivered    uint64 // copies of messages sent to routers
	Fetched      uint64 // copies of messages sent as history
	FellBehind   uint64 // times a router fell behind what is kept
	Fenced       uint64 // frames of an old term
	Moved        uint64 // frames about partitions that are not ours
	Held         uint64 // frames that had to wait for the Table
	HeldDropped  uint64 // publishes that there was no room to hold
	Shed         uint64 // chunks of history that went for lack of memory
}

// Stats returns the counters.
func (l *Lane) Stats() Stats {
	s := l.stats
	s.Rooms, s.HistoryBytes, s.HeldBytes, s.Shed = len(l.rooms), l.store.Bytes(), l.heldAll, l.store.Shed()
	return s
}

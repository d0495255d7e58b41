package partition

import (
	"cmp"
	"slices"

	"github.com/roomring/roomring/internal/latency"
	"github.com/roomring/roomring/proto"
)

// Info is one room as operators see it.
type Info struct {
	Room      string
	Partition proto.Partition
	Term      proto.Term
	Epoch     proto.Epoch
	Offset    proto.Offset     // of the last committed message
	First     proto.Offset     // lowest kept; Offset + 1 when nothing is
	Kept      int              // messages
	Bytes     int64            // of their payloads
	Members   int              // at all routers
	Routers   []RouterInfo     // attached routers by name; nil from a Walk
	Followers []proto.NodeName // those of the row: in sync; not to be changed

	// MessagesPerSecond is that of a Walk while somebody watches, else 0.
	MessagesPerSecond float64
}

// RouterInfo is one attached router.
type RouterInfo struct {
	Name    proto.NodeName
	Members int
}

// Room describes a room of an owned partition.
func (l *Lane) Room(name string) (Info, bool) {
	rm := l.rooms[name]
	if rm == nil || !rm.part.owned || rm.pending {
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

// RoomsOf is how many rooms there are of a partition, owned or copied.
func (l *Lane) RoomsOf(number proto.Partition) int {
	p := l.part(number)
	if p == nil {
		return 0
	}
	return p.rooms
}

func (rm *roomState) info() Info {
	return Info{
		Room: rm.name, Partition: rm.part.number, Term: rm.part.row.Term,
		Epoch: rm.log.Epoch(), Offset: rm.log.Head(), First: rm.log.First(),
		Kept: rm.log.Kept(), Bytes: rm.log.Bytes(), Members: rm.members(), Followers: rm.part.row.Followers,
	}
}

// members is how many there are at all routers with a link.
func (rm *roomState) members() (n int) {
	for c := rm.cursors; c != nil; c = c.later {
		if !c.fetch && !c.peer.down {
			n += int(c.members)
		}
	}
	return n
}

// Stats counts what a lane has (now) and did (since it was made).
type Stats struct {
	Owned         int    `name:"owned_partitions" metric:"gauge" help:"Partitions owned."`
	Following     int    `name:"following_partitions" metric:"gauge" help:"Partitions followed: a whole copy is here."`
	Learning      int    `name:"learning_partitions" metric:"gauge" help:"Partitions of which a copy is not whole yet."`
	Missing       int    `name:"missing_partitions" metric:"gauge" help:"Partitions of which the Table says that a copy is here, and there is none."`
	Rooms         int    `metric:"gauge" help:"Rooms with a log here, followed ones too."`
	Owning        int    `name:"owned_rooms" metric:"gauge" help:"Rooms of owned partitions."`
	Members       int    `metric:"gauge" help:"Members of the rooms of owned partitions, at all routers."`
	LagEntries    int    `metric:"max" help:"Entries that the follower furthest behind an owner here has not stored."`
	LagBytes      int64  `metric:"gauge" help:"Bytes of entries of owned partitions that not every follower has stored."`
	HistoryBytes  int64  `metric:"gauge" help:"Memory of all logs of rooms."`
	PendingBytes  int64  `metric:"gauge" help:"Bytes of entries that are not applied, or not stored by all copies."`
	HeldBytes     int    `metric:"gauge" help:"Bytes of frames that wait for the Table."`
	Created       uint64 `help:"Rooms created."`
	Forgotten     uint64 `help:"Rooms forgotten, with their partition too."`
	Published     uint64 `help:"Messages committed."`
	Refused       uint64 `help:"Publishes refused; they used up their seq."`
	Repeated      uint64 `help:"Publishes that were in the log already."`
	Gaps          uint64 `name:"expects" help:"Times that a publisher was told what is expected."`
	Delivered     uint64 `help:"Copies of messages sent to routers."`
	Attaches      uint64 `help:"Rooms that routers attached to, again after a change of owner or link."`
	Fetches       uint64 `help:"Times that a router asked for history, or whether a position exists."`
	Fetched       uint64 `help:"Copies of messages sent as history."`
	FellBehind    uint64 `help:"Times that a router fell behind what is kept."`
	Fenced        uint64 `help:"Frames of an old term."`
	Outdated      uint64 `help:"Times that another node told of a newer term of a partition owned here."`
	Moved         uint64 `help:"Frames about partitions that are not ours."`
	Held          uint64 `help:"Frames that had to wait for the Table."`
	HeldDropped   uint64 `help:"Publishes that there was no room to hold."`
	HeldBack      uint64 `help:"Times that a router was told to hold its publishes."`
	Shed          uint64 `help:"Chunks of history given up for lack of memory."`
	AppendedBytes uint64 `help:"Bytes of entries appended to owned partitions."`
	Stored        uint64 `help:"Entries stored as a follower."`
	SnapshotBytes uint64 `help:"Bytes sent to learners beside what was appended."`
	Taught        uint64 `help:"Learners whose copy became whole."`
	Learned       uint64 `help:"Copies that became whole here."`
	Relearned     uint64 `help:"Times that a learner had to begin again."`
	Promised      uint64 `help:"Times that a term was promised."`
	Cut           uint64 `help:"Entries of an earlier owner that were cut."`
	Undone        uint64 `help:"Hand-offs that took too long."`
	Corrupt       uint64 `help:"Copies given up because an entry did not fit."`

	Commit   latency.Histogram `help:"From an entry's being appended by the owner to its being committed, where it has followers; one at a time of each partition."`
	Handover latency.Histogram `help:"From when an owner sequenced nothing any more, for another was to be it, to when the Table named that one."`
}

// Stats returns the counters.
func (l *Lane) Stats() Stats {
	s := l.stats
	s.Rooms, s.HistoryBytes, s.HeldBytes, s.Shed = len(l.rooms), l.store.Bytes(), l.heldAll, l.store.Shed()
	s.Owning, s.Members = l.owning, l.audience
	for i := range l.parts {
		p := &l.parts[i]
		if size := int64(p.log.size(p.log.first - 1)); size > 0 {
			s.PendingBytes += size
			entries, bytes := p.lag()
			s.LagEntries = max(s.LagEntries, entries)
			s.LagBytes += bytes
		}
		switch {
		case p.owned:
			s.Owned++
		case p.row.names(l.cfg.Self) && p.copy == whole:
			s.Following++
		case p.row.names(l.cfg.Self):
			s.Missing++
		case p.copy != nothing:
			s.Learning++
		}
	}
	return s
}

// lag is how many entries the follower furthest behind has not stored, and the
// bytes of them; zero where nothing is owned.
func (p *part) lag() (entries int, bytes int64) {
	if !p.owned {
		return 0, 0
	}
	stored := p.log.last()
	for _, x := range p.lead.replicas {
		if x.follower {
			stored = min(stored, x.stored)
		}
	}
	return int(p.log.last() - stored), int64(p.log.size(stored))
}

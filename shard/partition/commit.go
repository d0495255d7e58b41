package partition

import (
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// entry is one entry of a partition's replication log (rule R1) at its owner.
type entry struct {
	room   *roomState   // nil for a refusal or a void
	offset proto.Offset // in the room's log, which has the payload
	kind   proto.Kind
	code   proto.Code // why it is refused
	at     time.Duration
	pub    *publisher
	seq    proto.Seq
}

func message(x *proto.Publish, publisher uint32, at time.Duration) room.Message {
	return room.Message{Kind: x.Kind, Publisher: publisher, Conn: x.Conn, At: at, Payload: x.Payload}
}

// append puts an entry at the end of the partition's log. Its index is
// p.index; its term is the partition's.
func (l *Lane) append(p *part, e entry) {
	p.index++
	p.log = append(p.log, e)
}

// commit takes every entry up to index as held by all in-sync followers: now,
// and not before, it is acknowledged and may be delivered. It wakes the cursors
// that have something to read by it: one per router, so a million members
// behind ten routers cost ten.
func (l *Lane) commit(p *part, upto proto.Index) {
	n := len(p.log) - int(p.index-upto)
	for i := range p.log[:n] {
		e := &p.log[i]
		if e.room != nil {
			l.stats.Published++
			l.store.Commit(&e.room.log, e.offset, e.at)
			l.wake(e.room)
		}
		if e.code != proto.OK {
			l.stats.Refused++
			e.pub.refuse(e.seq, e.code)
		}
		e.pub.committed = max(e.pub.committed, e.seq)
		l.note(e.pub.peer, p, noteAck)
	}
	rest := copy(p.log, p.log[n:])
	clear(p.log[rest:]) // lets go of rooms
	p.log = p.log[:rest]
}

func (l *Lane) wake(rm *roomState) {
	if rm.bucket == 0 || rm.relaxed && rm.log.Windowed() {
		l.wheel.remove(rm)
		l.schedule(rm)
	}
	for c := rm.cursors; c != nil; c = c.later {
		if !c.fetch {
			l.ready(c)
		}
	}
}

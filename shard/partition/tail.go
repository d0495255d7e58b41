package partition

import (
	"bytes"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/room"
)

// Bounds of a TailQuery.
const (
	MaxTail      = 100
	MaxTailBytes = 256 << 10
	// MaxTailPayload is the largest payload that is told, in bytes: it fits into a
	// frame, in base64 too.
	MaxTailPayload = 512 << 10
)

// TailQuery asks for messages of a room that this shard owns.
type TailQuery struct {
	Room     string
	Epoch    proto.Epoch  // the zero one asks where the room is now, and for no messages
	After    proto.Offset // for those above it
	Limit    int          // at most so many, 1 to MaxTail; what is beyond is taken as the bound
	MaxBytes int          // at most so many bytes of payload, but for the first message; if not 1 to MaxTailBytes, that
	Payload  bool         // for what they say, too: else MaxBytes is nothing
}

// Tail is the answer to a TailQuery.
type Tail struct {
	Owned bool // the partition is owned here; nothing else is said if not
	Found bool // the room is there; nothing else is said if not

	Epoch proto.Epoch
	Head  proto.Offset // of the last committed message; 0 before the first
	First proto.Offset // lowest kept; Head + 1 when nothing is
	// Reset says that the epoch is another one than the query's: messages are
	// those from First on.
	Reset bool
	// From is where Messages begin: above it. If it is above the query's After,
	// and there was no reset, the ones between are not kept any more. Who asks
	// again does so from the last of Messages, or from here if there are none.
	From     proto.Offset
	Messages []TailMessage
}

// TailMessage is a committed message.
type TailMessage struct {
	Offset    proto.Offset
	Kind      proto.Kind     // text or binary
	Bytes     int            // of the payload
	Publisher proto.NodeName // the router that it came by; "" when that is forgotten
	Conn      uint64         // which of its conns
	Payload   []byte         // a copy; nil if it was not asked for, or is above MaxTailPayload
}

// Tail tells of the messages of a room.
func (l *Lane) Tail(q TailQuery) (t Tail) {
	number := proto.PartitionOfString(q.Room, l.cfg.Partitions)
	p := l.part(number)
	if p == nil || !p.owned {
		return t
	}
	t.Owned = true
	rm := l.rooms[q.Room]
	if rm == nil || rm.pending {
		return t
	}
	log := &rm.log
	t.Found, t.Epoch, t.Head, t.First = true, log.Epoch(), log.Head(), log.First()
	switch {
	case q.Epoch.IsZero():
		t.From = t.Head
		return t
	case q.Epoch != t.Epoch:
		t.Reset, t.From = true, t.First-1
	default:
		t.From = max(min(q.After, t.Head), t.First-1)
	}
	t.read(p, log, &q)
	return t
}

// read takes what the query allows of a log.
func (t *Tail) read(p *part, log *room.Log, q *TailQuery) {
	left := q.MaxBytes
	if left < 1 || left > MaxTailBytes {
		left = MaxTailBytes
	}
	limit := min(max(q.Limit, 1), MaxTail)
	log.Walk(t.From, t.Head, func(o proto.Offset, m *room.Message) bool {
		x := TailMessage{Offset: o, Kind: m.Kind, Bytes: len(m.Payload), Conn: m.Conn &^ proto.TimedConn}
		if pub := p.publisher(m.Publisher); pub != nil {
			x.Publisher = pub.name
		}
		if q.Payload && x.Bytes <= MaxTailPayload {
			if left -= x.Bytes; left < 0 && len(t.Messages) > 0 {
				return false
			}
			x.Payload = bytes.Clone(m.Payload)
		}
		t.Messages = append(t.Messages, x)
		return len(t.Messages) < limit
	})
}

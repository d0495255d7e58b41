package room

import "github.com/roomring/roomring/proto"

// Read appends messages to b, as a Deliver frame carries them: those
// above after, up to and including upto, as many as take no more than limit
// bytes. It returns the offset of the last one appended, or after. Messages of
// the given publisher carry their conn, others zero.
//
// The cursor must not have fallen behind: after is at least First - 1.
func (l *Log) Read(b []byte, after, upto proto.Offset, limit int, publisher uint32) ([]byte, proto.Offset) {
	upto = min(upto, l.head)
	if after >= upto {
		return b, after
	}
	end := len(b) + limit
	for c := l.find(after + 1); c != nil && after < upto; c = c.next {
		last := min(upto, c.last())
		var n int
		b, n = c.read(b, int(after+1-c.first), int(last-c.first), end-len(b), publisher)
		after = c.first + proto.Offset(n) - 1
		if after < last {
			break
		}
	}
	return b, after
}

// Walk calls f with the messages above after, up to and including upto, until f
// returns false. It begins with the lowest kept one when after is below that.
// The message is f's for the call; its payload aliases the log, and is not to be
// held on to.
func (l *Log) Walk(after, upto proto.Offset, f func(o proto.Offset, m *Message) bool) {
	upto = min(upto, l.head)
	after = max(after, l.First()-1)
	if after >= upto {
		return
	}
	var m Message
	for c := l.find(after + 1); c != nil && after < upto; c = c.next {
		for last := min(upto, c.last()); after < last; {
			after++
			c.message(int(after-c.first), &m)
			if !f(after, &m) {
				return
			}
		}
	}
}

// find returns the chunk of a kept message. Cursors are near the head, so the
// search begins there.
func (l *Log) find(o proto.Offset) *chunk {
	c := l.kept.newest
	for c.first > o {
		c = c.prev
	}
	return c
}

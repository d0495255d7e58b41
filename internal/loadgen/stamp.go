package loadgen

import (
	"encoding/binary"
	"encoding/hex"
)

// stamp is the head of every payload. It is written in hex so that text frames can carry it.
type stamp struct {
	run  uint32 // which run of a generator: strangers may use the same rooms
	room uint32
	pub  uint16 // place among the room's publishers
	seq  uint32 // counts the publisher's messages, from 1
	at   int64  // when it was sent, or due, in nanoseconds since the run began
}

const (
	stampMark  = "rr"
	stampBytes = 4 + 4 + 2 + 4 + 8
	// MinSize is the smallest message: one that has just room for the stamp.
	MinSize = len(stampMark) + 2*stampBytes
)

// put writes the stamp over the head of payload.
func (s stamp) put(payload []byte) {
	var b [stampBytes]byte
	binary.BigEndian.PutUint32(b[0:], s.run)
	binary.BigEndian.PutUint32(b[4:], s.room)
	binary.BigEndian.PutUint16(b[8:], s.pub)
	binary.BigEndian.PutUint32(b[10:], s.seq)
	binary.BigEndian.PutUint64(b[14:], uint64(s.at))
	copy(payload, stampMark)
	hex.Encode(payload[len(stampMark):], b[:])
}

// readStamp reads the head of payload; false when it is none of ours.
func readStamp(payload []byte) (s stamp, ok bool) {
	var b [stampBytes]byte
	if len(payload) < MinSize || string(payload[:len(stampMark)]) != stampMark {
		return s, false
	}
	if _, err := hex.Decode(b[:], payload[len(stampMark):MinSize]); err != nil {
		return s, false
	}
	return stamp{
		run:  binary.BigEndian.Uint32(b[0:]),
		room: binary.BigEndian.Uint32(b[4:]),
		pub:  binary.BigEndian.Uint16(b[8:]),
		seq:  binary.BigEndian.Uint32(b[10:]),
		at:   int64(binary.BigEndian.Uint64(b[14:])),
	}, true
}

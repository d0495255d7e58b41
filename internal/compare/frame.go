//go:build linux

package main

import (
	"encoding/binary"
	"errors"
)

// messageSize is the size of every message, stamp and padding, in bytes.
const messageSize = 128

// stamp stands at the head of a message: who published it, as what number, and when it was due.
type stamp struct {
	run, room uint32
	publisher uint32 // of the room, from 0
	number    uint32 // of the publisher's messages, from 0
	due       int64  // nanoseconds on the load's clock
}

const stampSize = 24

func (s *stamp) put(b []byte) {
	binary.LittleEndian.PutUint32(b, s.run)
	binary.LittleEndian.PutUint32(b[4:], s.room)
	binary.LittleEndian.PutUint32(b[8:], s.publisher)
	binary.LittleEndian.PutUint32(b[12:], s.number)
	binary.LittleEndian.PutUint64(b[16:], uint64(s.due))
}

// readStamp reads the stamp of a message, which must be messageSize long.
func readStamp(b []byte) (s stamp) {
	s.run = binary.LittleEndian.Uint32(b)
	s.room = binary.LittleEndian.Uint32(b[4:])
	s.publisher = binary.LittleEndian.Uint32(b[8:])
	s.number = binary.LittleEndian.Uint32(b[12:])
	s.due = int64(binary.LittleEndian.Uint64(b[16:]))
	return s
}

// WebSocket opcodes.
const (
	opBinary = 2
	opClose  = 8
	opPing   = 9
)

// maskKey masks all that the load sends. It is always the same, for no browser is at stake, and not
// zero, so that servers have something to unmask.
var maskKey = [4]byte{0x3d, 0xa1, 0x7c, 0x95}

// appendMasked appends a whole frame of a client. The payload is shorter than 64 KiB.
func appendMasked(b []byte, op byte, payload []byte) []byte {
	b = append(b, 0x80|op)
	if len(payload) < 126 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = append(b, 0x80|126, byte(len(payload)>>8), byte(len(payload)))
	}
	b = append(b, maskKey[:]...)
	for i, c := range payload {
		b = append(b, c^maskKey[i&3])
	}
	return b
}

// errFrame is an answer that no server should give.
var errFrame = errors.New("not a whole, unmasked WebSocket frame of less than 64 KiB")

// readFrame reads the server's frame at the head of b; size is 0 while it is not whole.
func readFrame(b []byte) (op byte, payload []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	length, head := int(b[1]), 2
	if length == 126 {
		if len(b) < 4 {
			return 0, nil, 0, nil
		}
		length, head = int(binary.BigEndian.Uint16(b[2:])), 4
	}
	if b[0]&0xf0 != 0x80 || head == 2 && length > 126 {
		return 0, nil, 0, errFrame
	}
	size = head + length
	if len(b) < size {
		return 0, nil, 0, nil
	}
	return b[0] & 0x0f, b[head:size], size, nil
}

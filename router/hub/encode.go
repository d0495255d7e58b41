package hub

import (
	"encoding/binary"
	"strconv"

	"github.com/roomring/roomring/proto"
)

// A server's WebSocket frame: FIN and opcode, size in one of three forms, the
// payload as it is.
const (
	opText   = 0x81
	opBinary = 0x82
)

func opcode(k proto.Kind) byte {
	if k == proto.KindBinary {
		return opBinary
	}
	return opText
}

// headerSize is the size of the header of a frame with n payload bytes.
func headerSize(n int) int {
	switch {
	case n < 126:
		return 2
	case n < 1<<16:
		return 4
	}
	return 10
}

func appendHeader(b []byte, op byte, n int) []byte {
	switch {
	case n < 126:
		return append(b, op, byte(n))
	case n < 1<<16:
		return append(b, op, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(b, op, 127), uint64(n))
}

// prefixSize is the size of what numbering puts before a payload: the offset
// in decimal and a space, or in 8 bytes.
func prefixSize(k proto.Kind, o proto.Offset) int {
	if k == proto.KindBinary {
		return 8
	}
	n := 2
	for ; o > 9; o /= 10 {
		n++
	}
	return n
}

func appendPrefix(b []byte, k proto.Kind, o proto.Offset) []byte {
	if k == proto.KindBinary {
		return binary.BigEndian.AppendUint64(b, uint64(o))
	}
	return append(strconv.AppendUint(b, uint64(o), 10), ' ')
}

// The suffixes of a line.
const (
	whole  = ""
	gapped = " gap"
	fresh  = " reset"
)

// firstLine is the frame "!EPOCH.OFFSET" with a suffix. It is valid until the
// next call.
func (h *Hub) firstLine(p proto.Position, suffix string) []byte {
	// At most 1 + 13 + 1 + 20 + 6 bytes of payload: a header of two.
	b := append(h.line[:0], opText, 0, '!')
	b = append(proto.AppendPosition(b, p), suffix...)
	b[1] = byte(len(b) - 2)
	h.line = b
	return b
}

package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/gobwas/ws"
)

// maxFrame bounds a frame in either direction.
const maxFrame = 16 << 20

// MaxSize is the largest message, in bytes.
const MaxSize = maxFrame

// appendFrame appends a masked frame. The mask is the same for all frames of a conn: it hides nothing
// here, and the server has the same work with it.
func appendFrame(b []byte, op ws.OpCode, mask [4]byte, payload []byte) []byte {
	b = append(b, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, mask[:]...)
	start := len(b)
	b = append(b, payload...)
	ws.Cipher(b[start:], mask, 0)
	return b
}

// frame is one frame from the server. The payload aliases what was parsed.
type frame struct {
	fin     bool
	op      ws.OpCode
	payload []byte
}

// parseFrame parses the first frame of b. size is 0 while b is too short for it; need is then how
// long b must be at least.
func parseFrame(b []byte) (f frame, size, need int, err error) {
	if len(b) < 2 {
		return f, 0, 2, nil
	}
	if b[1]&0x80 != 0 || b[0]&0x70 != 0 {
		return f, 0, 0, errors.New("a frame with mask or reserved bits from the server")
	}
	head, n := 2, uint64(b[1])
	switch n {
	case 126:
		if head = 4; len(b) < head {
			return f, 0, head, nil
		}
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return f, 0, head, nil
		}
		n = binary.BigEndian.Uint64(b[2:])
	}
	if n > maxFrame {
		return f, 0, 0, fmt.Errorf("a frame of %d bytes from the server", n)
	}
	size = head + int(n)
	if len(b) < size {
		return f, 0, size, nil
	}
	return frame{b[0]&0x80 != 0, ws.OpCode(b[0] & 0x0f), b[head:size:size]}, size, size, nil
}

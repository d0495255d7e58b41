package verify

import (
	"encoding/binary"
	"strings"

	"github.com/roomring/roomring/proto"
)

// A numbered conn (num=1) hears lines, which say where it is, and messages with their offset.

// line is what a numbered conn is told of its position.
type line struct {
	at   proto.Position
	told told
}

// told is what a line announces.
type told uint8

const (
	whole told = iota // nothing is missing
	missed
	anew
)

// parseLine reads !EPOCH.OFFSET, perhaps with " gap" or " reset" behind it.
func parseLine(text string) (l line, ok bool) {
	rest, ok := strings.CutPrefix(text, "!")
	if !ok {
		return l, false
	}
	position, suffix, more := strings.Cut(rest, " ")
	switch {
	case !more:
	case suffix == "gap":
		l.told = missed
	case suffix == "reset":
		l.told = anew
	default:
		return l, false
	}
	at, err := proto.ParsePosition(position)
	l.at = at
	return l, err == nil
}

// parseNumber splits a message into its offset and what was published; false when it has none.
func parseNumber(frame []byte, isBinary bool) (offset uint64, payload []byte, ok bool) {
	if isBinary {
		if len(frame) < 8 {
			return 0, nil, false
		}
		return binary.BigEndian.Uint64(frame), frame[8:], true
	}
	const digits = 20 // of 64 bits
	for i, c := range frame {
		switch {
		case c == ' ' && i > 0 && frame[0] != '0':
			return offset, frame[i+1:], true
		case c < '0' || c > '9' || i == digits:
			return 0, nil, false
		}
		offset = offset*10 + uint64(c-'0') // 20 digits may wrap: a far jump, which nobody accepts
	}
	return 0, nil, false
}

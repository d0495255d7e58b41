package proto

import (
	"errors"
	"strconv"
)

const epochSize = 13

// Epoch is one life of a room's log: 13 characters of [a-z0-9], minted from 64
// random bits when the room is created. A room that was forgotten or lost and
// comes back has a new one. The zero value means "none".
type Epoch [epochSize]byte

// MintEpoch writes 64 random bits as an epoch.
func MintEpoch(bits uint64) Epoch { return base36(bits) }

// IsZero reports whether there is no epoch.
func (e Epoch) IsZero() bool { return e == Epoch{} }

func (e Epoch) String() string {
	if e.IsZero() {
		return ""
	}
	return string(e[:])
}

// base36 writes v in 13 digits: 36^13 is above 2^64, so every value fits.
func base36(v uint64) (out [epochSize]byte) {
	for i := epochSize - 1; i >= 0; i-- {
		out[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[v%36]
		v /= 36
	}
	return out
}

func digit36(c byte) (int, bool) {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0'), true
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 10, true
	}
	return 0, false
}

// Position is what a client resumes from.
type Position struct {
	Epoch  Epoch
	Offset Offset
}

// ErrPosition is returned for a text that is not EPOCH.OFFSET.
var ErrPosition = errors.New("position: want EPOCH.OFFSET, 13 characters of a-z and 0-9, a dot, and a number without leading zeros")

// ParsePosition reads EPOCH.OFFSET. Any 13 characters of the alphabet are a
// well-formed epoch, also those that no room ever had.
func ParsePosition(s string) (Position, error) {
	var p Position
	if len(s) < epochSize+2 || s[epochSize] != '.' {
		return p, ErrPosition
	}
	for i := range epochSize {
		if _, ok := digit36(s[i]); !ok {
			return p, ErrPosition
		}
	}
	digits := s[epochSize+1:]
	if digits[0] == '0' && len(digits) > 1 || digits[0] == '+' {
		return p, ErrPosition
	}
	o, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return p, ErrPosition
	}
	copy(p.Epoch[:], s)
	p.Offset = Offset(o)
	return p, nil
}

// AppendPosition writes p as EPOCH.OFFSET.
func AppendPosition(b []byte, p Position) []byte {
	b = append(b, p.Epoch[:]...)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(p.Offset), 10)
}

func (p Position) String() string { return string(AppendPosition(nil, p)) }

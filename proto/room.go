package proto

import (
	"errors"
	"unicode/utf8"
)

// MaxRoom bounds a room's name, in bytes.
const MaxRoom = 255

// Errors of CheckRoom.
var (
	ErrRoomSize    = errors.New("room name: want 1 to 255 bytes")
	ErrRoomUTF8    = errors.New("room name: not valid UTF-8")
	ErrRoomControl = errors.New("room name: control characters are not allowed")
)

// CheckRoom says whether name may name a room: 1 to 255 bytes of UTF-8 without
// control characters (C0, DEL and C1). Names compare byte for byte.
func CheckRoom[T string | []byte](name T) error {
	if len(name) == 0 || len(name) > MaxRoom {
		return ErrRoomSize
	}
	for i := 0; i < len(name); {
		if c := name[i]; c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return ErrRoomControl
			}
			i++
			continue
		}
		// At most four bytes are looked at, so the copy is free of allocation.
		r, size := utf8.DecodeRuneInString(string(name[i:min(i+utf8.UTFMax, len(name))]))
		if r == utf8.RuneError && size <= 1 {
			return ErrRoomUTF8
		}
		if r >= 0x80 && r < 0xa0 {
			return ErrRoomControl
		}
		i += size
	}
	return nil
}

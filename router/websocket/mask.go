package websocket

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

const highBits = 0x8080808080808080

// wide is the size from which vector instructions win, even with a second pass
// over the bytes for their UTF-8 (BenchmarkUnmask).
const wide = 1024

// unmask applies key to p in place and reports whether the result is known to
// be ASCII. Both in one pass, because most text is short and ASCII and then
// needs no look at its UTF-8 at all.
func unmask(p []byte, key uint32) (ascii bool) {
	if len(p) >= wide {
		ws.Cipher(p, [4]byte{byte(key), byte(key >> 8), byte(key >> 16), byte(key >> 24)}, 0)
		return false
	}
	k := uint64(key)<<32 | uint64(key)
	var seen uint64
	for len(p) >= 32 {
		// Fixed offsets into a slice of known length cost no bounds checks.
		q := p[:32]
		w0 := binary.LittleEndian.Uint64(q) ^ k
		w1 := binary.LittleEndian.Uint64(q[8:]) ^ k
		w2 := binary.LittleEndian.Uint64(q[16:]) ^ k
		w3 := binary.LittleEndian.Uint64(q[24:]) ^ k
		binary.LittleEndian.PutUint64(q, w0)
		binary.LittleEndian.PutUint64(q[8:], w1)
		binary.LittleEndian.PutUint64(q[16:], w2)
		binary.LittleEndian.PutUint64(q[24:], w3)
		seen |= w0 | w1 | w2 | w3
		p = p[32:]
	}
	for len(p) >= 8 {
		w := binary.LittleEndian.Uint64(p) ^ k
		binary.LittleEndian.PutUint64(p, w)
		seen |= w
		p = p[8:]
	}
	for i := range p {
		p[i] ^= byte(k)
		seen |= uint64(p[i])
		k >>= 8
	}
	return seen&highBits == 0
}

// rotate turns key so that it starts n bytes into the mask.
func rotate(key uint32, n int) uint32 { return bits.RotateLeft32(key, -8*(n&3)) }

// validPrefix reports how much of p is whole, valid runes, and whether the rest
// (at most three bytes) can still become one.
func validPrefix(p []byte) (n int, ok bool) {
	n = len(p)
	// A rune that is not whole starts within the last three bytes. FullRune
	// calls what can never become valid a full rune, so that stays in p[:n].
	for i := max(0, len(p)-utf8.UTFMax+1); i < len(p); i++ {
		if utf8.RuneStart(p[i]) && !utf8.FullRune(p[i:]) {
			n = i
			break
		}
	}
	return n, utf8.Valid(p[:n])
}

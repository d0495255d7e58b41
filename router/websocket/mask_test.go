package websocket

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

func TestUnmask(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		for high := -1; high < n; high += 1 + n/16 {
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(random.IntN(128))
			}
			if high >= 0 {
				p[high] |= 0x80
			}
			key := random.Uint32()
			mask := [4]byte{byte(key), byte(key >> 8), byte(key >> 16), byte(key >> 24)}
			// A piece that starts in the middle of the mask, as later pieces do.
			q := bytes.Clone(p)
			ws.Cipher(q, mask, n)
			if ascii := unmask(q, rotate(key, n)); !bytes.Equal(p, q) || ascii != (high < 0) {
				t.Fatalf("%d bytes, high bit at %d: ascii %v, got %x, want %x", n, high, ascii, q, p)
			}
		}
	}
}

// TestValidPrefix holds validPrefix against its definition, for all short
// sequences of bytes that mean something in UTF-8.
func TestValidPrefix(t *testing.T) {
	alphabet := []byte("a\x80\x8f\x90\x9f\xa0\xbf\xc0\xc2\xdf\xe0\xe1\xed\xef\xf0\xf1\xf4\xf5\xff")
	ends := [][]byte{nil, {0x80}, {0xa0}, {0x90}, {0x80, 0x80}, {0xa0, 0x80}, {0x90, 0x80}, {0x80, 0x80, 0x80}, {0x90, 0x80, 0x80}}
	for code := range 19 * 19 * 19 * 19 {
		p := make([]byte, 0, 4)
		for c := code; len(p) < 4; c /= 19 {
			p = append(p, alphabet[c%19])
		}
		completable := false
		for _, end := range ends {
			completable = completable || utf8.Valid(append(p[:4:4], end...))
		}
		n, ok := validPrefix(p)
		if ok != completable || ok && (!utf8.Valid(p[:n]) || len(p)-n > 3 || n < len(p) && utf8.FullRune(p[n:])) {
			t.Fatalf("%x: got %d, %v; can become valid: %v", p, n, ok, completable)
		}
	}
}

func BenchmarkUnmask(b *testing.B) {
	for _, n := range []int{16, 128, 1024, 64 << 10} {
		p := make([]byte, n)
		b.Run(fmt.Sprintf("ours/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				unmask(p, 0x3d21fa37)
			}
		})
		b.Run(fmt.Sprintf("gobwas/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				ws.Cipher(p, [4]byte{0x37, 0xfa, 0x21, 0x3d}, 0)
			}
		})
		b.Run(fmt.Sprintf("gobwas and utf8/%d", n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				ws.Cipher(p, [4]byte{0, 0, 0, 0}, 0)
				utf8.Valid(p)
			}
		})
	}
}

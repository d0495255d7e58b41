package loadgen

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// FuzzFrame: what a server sends is read as gobwas/ws reads it, within what came;
// and a piece of a frame says honestly how much is needed at least.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x81\x05hello"), 3)
	f.Add([]byte("\x02\x7e\x01\x00"+strings.Repeat("x", 256)), 200)
	f.Add([]byte("\x88\x7f\x00\x00\x00\x00\x00\x01\x00\x00"), 9)
	f.Add([]byte("\x81\x85\x01\x02\x03\x04hello"), 1)
	f.Add([]byte("\x8a\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), 10)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		got, size, need, err := parseFrame(b)
		h, e := ws.ReadHeader(bytes.NewReader(b))
		head := ws.HeaderSize(h)
		if n := len(b); n >= 2 && b[1]&0x7f < 126 {
			head = 2
		} else if n >= 2 {
			head = 4 + 6*int(b[1]&1) // 126 and 127 may stand for less than they are needed for
		}
		switch {
		case err != nil:
			if e == nil && !h.Masked && h.Rsv == 0 && h.Length <= 16<<20 {
				t.Fatalf("%x: %v, and gobwas/ws reads %+v", b, err, h)
			}
		case size == 0:
			if need <= len(b) || e == nil && need != head+int(h.Length) {
				t.Fatalf("%x: %d are needed, gobwas/ws reads %+v", b, need, h)
			}
		case e != nil || size > len(b) || h.Fin != got.fin || h.OpCode != got.op || size != head+int(h.Length) || !bytes.Equal(got.payload, b[head:size]):
			t.Fatalf("%x: %d bytes, %+v, gobwas/ws reads %+v, %v", b, size, got, h, e)
		}
		if cut < 0 || cut > len(b) {
			return
		}
		if _, n, least, _ := parseFrame(b[:cut]); err == nil && size > 0 && (n == 0) != (cut < size) || n == 0 && size > 0 && least > size {
			t.Fatalf("%x cut at %d: %d bytes, %d needed, whole %d", b, cut, n, least, size)
		}
	})
}

// FuzzStamp: what is taken for a stamp is one, to the digit.
func FuzzStamp(f *testing.F) {
	b := make([]byte, MinSize+3)
	stamp{1, 2, 3, 4, 5}.put(b)
	f.Add(b)
	f.Add([]byte("rr"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := readStamp(b)
		if !ok {
			return
		}
		again := make([]byte, MinSize)
		s.put(again)
		if !strings.EqualFold(string(again), string(b[:MinSize])) {
			t.Fatalf("%q read as %+v", b[:MinSize], s)
		}
	})
}

package verify

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"testing"
)

// FuzzNumbered: what a numbered conn hears is split as it was put together, in
// one way only.
func FuzzNumbered(f *testing.F) {
	f.Add([]byte("!0123456789abc.7 gap"), false)
	f.Add([]byte("!0123456789abc.0"), false)
	f.Add([]byte("17 hello"), false)
	f.Add([]byte("18446744073709551616 x"), false)
	f.Add([]byte("017 hello"), false)
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x09hello"), true)
	f.Fuzz(func(t *testing.T, frame []byte, isBinary bool) {
		if l, ok := parseLine(string(frame)); ok {
			again := "!" + l.at.String() + map[told]string{whole: "", missed: " gap", anew: " reset"}[l.told]
			if again != string(frame) {
				t.Fatalf("%q was read as %q", frame, again)
			}
		}
		offset, payload, ok := parseNumber(frame, isBinary)
		if !ok {
			return
		}
		again := binary.BigEndian.AppendUint64(nil, offset)
		if !isBinary {
			again = append(strconv.AppendUint(nil, offset, 10), ' ')
		}
		wrapped := !isBinary && bytes.IndexByte(frame, ' ') == 20 // no room has so many messages
		if !wrapped && !bytes.Equal(append(again, payload...), frame) {
			t.Fatalf("%q was read as %d, %q", frame, offset, payload)
		}
	})
}

// FuzzPayload: a payload that passes is one that was published, to the bit; any
// change of it shows.
func FuzzPayload(f *testing.F) {
	c := codec{run: 7, size: 80}
	s := stamp{room: 1, member: 2, conn: 3, seq: 4, at: 5}
	f.Add(c.append(nil, s, false), uint32(7), uint16(100), byte(1))
	f.Add(c.append(nil, s, true), uint32(1<<24), uint16(3), byte(128))
	f.Add([]byte("rv"), uint32(0), uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, n uint32, at uint16, flip byte) {
		if s, what := c.read(b, false); what == good && !bytes.Equal(c.append(nil, s, false), b) {
			t.Fatalf("%q was read as %+v", b, s)
		}
		s := stamp{room: n & 0xffffff, member: uint32(at), conn: at, seq: n, at: int64(n) << 10}
		own := c.append(nil, s, flip&1 != 0)
		if back, what := c.read(own, flip&1 != 0); what != good || back != s {
			t.Fatalf("%+v came back as %+v, %v", s, back, what)
		}
		if _, what := c.read(own, flip&1 == 0); what != changed {
			t.Fatalf("text for binary is %v", what)
		}
		own[int(at)%len(own)] ^= flip
		if _, what := c.read(own, flip&1 != 0); flip != 0 && what != changed {
			t.Fatalf("a changed byte is %v", what)
		}
	})
}

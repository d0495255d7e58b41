package verify

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// stamp says which message of the run it is. It is the head of every payload.
type stamp struct {
	room   uint32 // by number, 24 bits
	member uint32 // who sent it, by number within the room, 24 bits
	conn   uint16 // counts the member's sockets, from 0
	seq    uint32 // counts the socket's messages, from 1
	at     int64  // when it was due, in nanoseconds since the run began, 48 bits
}

// A payload is the mark, the stamp with a checksum in base64, and letters that follow from the stamp.
// It is text, so that it can go in text frames and binary ones.
const (
	mark       = "rv"
	plainBytes = 4 + 3 + 3 + 2 + 4 + 6
	stampBytes = plainBytes + 8 // and the checksum
	headBytes  = len(mark) + stampBytes*4/3
)

// codec writes and reads the payloads of a run.
type codec struct {
	run  uint32 // strangers may use the same rooms
	size int
}

// append appends the payload of a message. Binary messages differ from text ones in their checksum.
func (c codec) append(b []byte, s stamp, isBinary bool) []byte {
	var raw [stampBytes]byte
	binary.BigEndian.PutUint32(raw[0:], c.run)
	put24(raw[4:], s.room)
	put24(raw[7:], s.member)
	binary.BigEndian.PutUint16(raw[10:], s.conn)
	binary.BigEndian.PutUint32(raw[12:], s.seq)
	put24(raw[16:], uint32(s.at>>24))
	put24(raw[19:], uint32(s.at))
	sum := c.checksum(raw[:plainBytes], isBinary)
	binary.BigEndian.PutUint64(raw[plainBytes:], sum)
	b = append(b, mark...)
	b = base64.RawStdEncoding.AppendEncode(b, raw[:])
	return appendLetters(b, sum, c.size-headBytes)
}

func (c codec) checksum(plain []byte, isBinary bool) uint64 {
	var b [plainBytes + 5]byte
	copy(b[:], plain)
	binary.BigEndian.PutUint32(b[plainBytes:], uint32(c.size))
	if isBinary {
		b[plainBytes+4] = 1
	}
	return xxhash.Sum64(b[:])
}

// content is what a payload turned out to be.
type content uint8

const (
	good    content = iota
	changed         // one of ours once
	strange         // none of ours
)

// read tells whose message a payload is. Unless it is good, s means nothing.
func (c codec) read(payload []byte, isBinary bool) (s stamp, what content) {
	bad := strange
	if len(payload) == c.size || len(payload) >= len(mark) && string(payload[:len(mark)]) == mark {
		bad = changed
	}
	var raw [stampBytes]byte
	if len(payload) != c.size || string(payload[:len(mark)]) != mark {
		return s, bad
	}
	if _, err := base64.RawStdEncoding.Decode(raw[:], payload[len(mark):headBytes]); err != nil {
		return s, bad
	}
	sum := binary.BigEndian.Uint64(raw[plainBytes:])
	if sum != c.checksum(raw[:plainBytes], isBinary) || !sameLetters(payload[headBytes:], sum) {
		return s, bad
	}
	if binary.BigEndian.Uint32(raw[0:]) != c.run {
		return s, strange
	}
	return stamp{
		room:   get24(raw[4:]),
		member: get24(raw[7:]),
		conn:   binary.BigEndian.Uint16(raw[10:]),
		seq:    binary.BigEndian.Uint32(raw[12:]),
		at:     int64(get24(raw[16:]))<<24 | int64(get24(raw[19:])),
	}, good
}

// appendLetters appends n letters that follow from a seed.
func appendLetters(b []byte, seed uint64, n int) []byte {
	for ; n > 0; n -= 16 {
		word := letters(&seed)
		b = append(b, word[:min(n, len(word))]...)
	}
	return b
}

func sameLetters(b []byte, seed uint64) bool {
	for len(b) > 0 {
		word := letters(&seed)
		n := min(len(b), len(word))
		if string(b[:n]) != string(word[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// letters returns the next 16 letters and moves the seed on (splitmix64, public domain).
func letters(seed *uint64) (word [16]byte) {
	*seed += 0x9e3779b97f4a7c15
	x := *seed
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	for i := range word {
		word[i] = 'a' + byte(x&15)
		x >>= 4
	}
	return word
}

// identity tells contents apart; it is never 0.
func identity(payload []byte, isBinary bool) uint64 {
	h := xxhash.Sum64(payload)
	if isBinary {
		h = ^h
	}
	return max(h, 1)
}

func put24(b []byte, v uint32) { b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v) }
func get24(b []byte) uint32    { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

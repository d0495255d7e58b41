package websocket

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf8"
)

// EventType says what Reader.Next found.
type EventType uint8

// The events. After EventClose nothing more is to be read.
const (
	EventNone   EventType = iota // all bytes are used up, nothing is complete
	EventText                    // a message of valid UTF-8
	EventBinary                  // a message
	EventPing                    // to be answered with a pong of the same payload
	EventPong
	EventClose // Code and, as Payload, the reason
)

// Event is one thing that a client said.
type Event struct {
	Type EventType

	// Code is a close frame's code, CloseNoCode when it has none.
	Code uint16

	// Payload is a message, a ping's or pong's payload, or a close frame's
	// reason. It aliases the bytes given to Next, or a buffer of the reader:
	// valid until the next call of either's owner.
	Payload []byte
}

// CloseError says why a connection must end: the close code to send and a
// reason for people. The values are shared; do not change them.
type CloseError struct {
	Code   uint16
	Reason string
}

func (e *CloseError) Error() string { return fmt.Sprintf("close %d: %s", e.Code, e.Reason) }

// What a client can do wrong.
var (
	errReserved     = &CloseError{CloseProtocol, "reserved bits are set"}
	errOpcode       = &CloseError{CloseProtocol, "unknown opcode"}
	errUnmasked     = &CloseError{CloseProtocol, "a client's frames must be masked"}
	errControlSize  = &CloseError{CloseProtocol, "control frame over 125 bytes"}
	errControlPart  = &CloseError{CloseProtocol, "control frame in fragments"}
	errLength       = &CloseError{CloseProtocol, "length is not in its shortest form"}
	errLengthTop    = &CloseError{CloseProtocol, "length has its top bit set"}
	errContinuation = &CloseError{CloseProtocol, "continuation without a message"}
	errInterleaved  = &CloseError{CloseProtocol, "new message inside an unfinished one"}
	errCloseSize    = &CloseError{CloseProtocol, "close frame of one byte"}
	errCloseCode    = &CloseError{CloseProtocol, "invalid close code"}
	errCloseUTF8    = &CloseError{CloseBadUTF8, "close reason is not UTF-8"}
	errUTF8         = &CloseError{CloseBadUTF8, "text is not UTF-8"}
	errTooBig       = &CloseError{CloseTooBig, "message too big"}
	errFragments    = &CloseError{ClosePolicy, "too many fragments"}
	errSlow         = &CloseError{ClosePolicy, "message took too long"}
)

// Reader reads a client's frames. The zero value is ready; it belongs to one
// connection and is small, because every idle connection has one.
//
// Invariant: unfinished is nil exactly between messages and frames, so an idle
// connection holds nothing.
type Reader struct {
	unfinished *unfinished
}

// Next reads from b and returns the first thing that is complete, with the
// bytes that it used up; the caller goes on with the rest until EventNone. With
// EventNone all of b is used up: what is incomplete is kept by the reader, so
// the caller keeps nothing. Payloads are unmasked in place, so b is changed.
//
// An error ends the connection, as EventClose does: do not call again. What
// was complete before it has been returned before it.
//
// now is compared with the time of an unfinished message's first byte, by
// Limits.MessageTime.
func (r *Reader) Next(b []byte, l *Limits, now time.Time) (Event, int, *CloseError) {
	if r.unfinished == nil {
		if len(b) == 0 {
			return Event{}, 0, nil
		}
		h, n, err := parseHeader(b, false, l.message())
		if err != nil {
			return Event{}, 0, err
		}
		// The common case: a whole frame that is a whole message, in place.
		if n > 0 && h.fin && len(b)-n >= h.size {
			end := n + h.size
			ev, err := whole(h.op, b[n:end:end], h.key)
			return ev, end, err
		}
		r.unfinished = &unfinished{started: now}
	}
	return r.resume(b, l, now)
}

// Started returns when the first byte of an unfinished message or frame came;
// false when there is none.
func (r *Reader) Started() (time.Time, bool) {
	if r.unfinished == nil {
		return time.Time{}, false
	}
	return r.unfinished.started, true
}

// Overdue returns an error when an unfinished message has taken longer than
// Limits.MessageTime: for a sweep over connections that have gone silent.
func (r *Reader) Overdue(l *Limits, now time.Time) *CloseError {
	if r.unfinished != nil && now.Sub(r.unfinished.started) > l.messageTime() {
		return errSlow
	}
	return nil
}

// Buffered returns the bytes of memory that an unfinished message holds.
func (r *Reader) Buffered() int {
	if r.unfinished == nil {
		return 0
	}
	return unfinishedSize + cap(r.unfinished.payload)
}

// whole turns a complete frame into its event.
func whole(op Opcode, p []byte, key uint32) (Event, *CloseError) {
	ascii := unmask(p, key)
	switch op {
	case OpText:
		if !ascii && !utf8.Valid(p) {
			return Event{}, errUTF8
		}
		return Event{Type: EventText, Payload: p}, nil
	case OpBinary:
		return Event{Type: EventBinary, Payload: p}, nil
	}
	return control(op, p)
}

// control turns a complete, unmasked control frame into its event.
func control(op Opcode, p []byte) (Event, *CloseError) {
	switch op {
	case OpPing:
		return Event{Type: EventPing, Payload: p}, nil
	case OpPong:
		return Event{Type: EventPong, Payload: p}, nil
	}
	switch {
	case len(p) == 0:
		return Event{Type: EventClose, Code: CloseNoCode}, nil
	case len(p) == 1:
		return Event{}, errCloseSize
	}
	code := binary.BigEndian.Uint16(p)
	switch {
	case !validCloseCode(code):
		return Event{}, errCloseCode
	case !utf8.Valid(p[2:]):
		return Event{}, errCloseUTF8
	}
	return Event{Type: EventClose, Code: code, Payload: p[2:]}, nil
}

// header is a frame's header. size is at most the message limit.
type header struct {
	size int
	key  uint32 // the mask, its first byte lowest
	op   Opcode
	fin  bool
}

const maxHeader = 14 // a client's frame header, bytes

// parseHeader reads a frame's header and returns its size in b; 0 when b holds
// only a part of it, and nothing wrong is in that part. open says whether it
// comes inside a message; limit bounds a data frame's payload. Everything is
// judged in the order of the bytes, each as soon as it is there, so the outcome
// does not depend on how they were cut into pieces.
func parseHeader(b []byte, open bool, limit int) (h header, n int, err *CloseError) {
	h.op, h.fin = Opcode(b[0]&0xF), b[0]&finBit != 0
	if err := checkFirst(b[0], open); err != nil {
		return h, 0, err
	}
	if len(b) < 2 {
		return h, 0, nil
	}
	if b[1]&maskBit == 0 {
		return h, 0, errUnmasked
	}
	h.size, n, err = parseLength(b, h.op)
	switch {
	case err != nil || n == 0:
		return h, 0, err
	case h.size > limit && !h.op.control():
		return h, 0, errTooBig
	case len(b) < n+4:
		return h, 0, nil
	}
	h.key = binary.LittleEndian.Uint32(b[n:])
	return h, n + 4, nil
}

// checkFirst judges a frame's first byte.
func checkFirst(first byte, open bool) *CloseError {
	op := Opcode(first & 0xF)
	switch {
	case first&rsvBits != 0:
		return errReserved
	case !op.known():
		return errOpcode
	case op.control():
		if first&finBit == 0 {
			return errControlPart
		}
	case op == OpContinuation && !open:
		return errContinuation
	case op != OpContinuation && open:
		return errInterleaved
	}
	return nil
}

// parseLength reads the length of a frame whose first two bytes are there, and
// returns where the mask starts; 0 when the length is not there yet.
func parseLength(b []byte, op Opcode) (size, n int, err *CloseError) {
	short := int(b[1] &^ maskBit)
	switch {
	case short <= maxControl:
		return short, 2, nil
	case op.control():
		return 0, 0, errControlSize
	case short == 126:
		if len(b) < 4 {
			return 0, 0, nil
		}
		if size = int(binary.BigEndian.Uint16(b[2:])); size <= maxControl {
			return 0, 0, errLength
		}
		return size, 4, nil
	}
	if len(b) < 10 {
		return 0, 0, nil
	}
	long := binary.BigEndian.Uint64(b[2:])
	switch {
	case long>>63 != 0:
		return 0, 0, errLengthTop
	case long < 1<<16:
		return 0, 0, errLength
	case long > maxInt:
		return 0, 0, errTooBig // only where int has 32 bits
	}
	return int(long), 10, nil
}

const maxInt = uint64(^uint(0) >> 1)

package websocket

import (
	"time"
	"unsafe"
)

// firstBuffer is the least that a message in pieces allocates for its payload,
// unless it is known to be smaller, bytes.
const firstBuffer = 512

const unfinishedSize = int(unsafe.Sizeof(unfinished{}))

// unfinished is what is known of a frame or message whose end has not come.
//
// A control frame may stand between the fragments of a message, so both have
// room here. Memory grows with what has arrived, never with what a header
// promises: at most twice the payload so far, and never over the message limit.
type unfinished struct {
	started time.Time // of its first byte

	// The message. op is OpContinuation while there is none.
	op        Opcode
	payload   []byte // unmasked
	valid     int    // payload[:valid] is whole runes, when it is text
	fragments int

	// The frame that is being read, once inFrame; before that, part of its
	// header.
	frame   header
	read    int // bytes of its payload that have come
	inFrame bool

	head    [maxHeader]byte
	headLen int

	control [maxControl]byte // payload of a control frame
}

// resume reads on in an unfinished message or frame.
func (r *Reader) resume(b []byte, l *Limits, now time.Time) (ev Event, n int, err *CloseError) {
	if err := r.Overdue(l, now); err != nil && len(b) > 0 {
		return Event{}, 0, err
	}
	u := r.unfinished
	for {
		if !u.inFrame {
			used, err := u.readHeader(b[n:], l)
			n += used
			if err != nil || !u.inFrame {
				return Event{}, n, err
			}
		}
		used, err := u.readPayload(b[n:])
		n += used
		if err != nil || u.read < u.frame.size {
			return Event{}, n, err
		}
		u.inFrame, u.headLen = false, 0
		if ev, done, err := r.finishFrame(u); done || err != nil {
			return ev, n, err
		}
	}
}

// finishFrame returns the event that the end of a frame brings; done is false
// when it is a fragment that others follow.
func (r *Reader) finishFrame(u *unfinished) (ev Event, done bool, err *CloseError) {
	if u.frame.op.control() {
		if !u.open() {
			r.unfinished = nil
		}
		ev, err = control(u.frame.op, u.control[:u.read])
		return ev, true, err
	}
	if !u.frame.fin {
		return ev, false, nil
	}
	r.unfinished = nil
	if u.op == OpBinary {
		return Event{Type: EventBinary, Payload: u.payload}, true, nil
	}
	if u.valid != len(u.payload) {
		return ev, true, errUTF8
	}
	return Event{Type: EventText, Payload: u.payload}, true, nil
}

// open says whether the first fragment of a message has come.
func (u *unfinished) open() bool { return u.op != OpContinuation }

// readHeader collects a frame's header from b and begins the frame when it is
// whole.
func (u *unfinished) readHeader(b []byte, l *Limits) (used int, err *CloseError) {
	before := u.headLen
	u.headLen += copy(u.head[before:], b)
	if u.headLen == 0 {
		return 0, nil
	}
	head := u.head[:u.headLen]
	if head[0]&^finBit == byte(OpContinuation) && u.fragments >= l.fragments() {
		return 0, errFragments
	}
	h, n, err := parseHeader(head, u.open(), l.message()-len(u.payload))
	if err != nil || n == 0 {
		return u.headLen - before, err
	}
	u.begin(h)
	// More than the header may have been copied; only the header is used up.
	return n - before, nil
}

func (u *unfinished) begin(h header) {
	u.frame, u.read, u.inFrame = h, 0, true
	if h.op.control() {
		return
	}
	u.fragments++
	if h.op != OpContinuation {
		u.op = h.op
	}
}

// readPayload takes what b holds of the frame's payload.
func (u *unfinished) readPayload(b []byte) (used int, err *CloseError) {
	b = b[:min(len(b), u.frame.size-u.read)]
	key := rotate(u.frame.key, u.read)
	if u.frame.op.control() {
		p := u.control[u.read : u.read+copy(u.control[u.read:], b)]
		unmask(p, key)
		u.read += len(p)
		return len(p), nil
	}
	u.grow(len(b))
	at := len(u.payload)
	u.payload = append(u.payload, b...)
	unmask(u.payload[at:], key)
	u.read += len(b)
	if u.op != OpText {
		return len(b), nil
	}
	n, ok := validPrefix(u.payload[u.valid:])
	u.valid += n
	if !ok {
		return len(b), errUTF8
	}
	return len(b), nil
}

// grow makes room for n more bytes of payload: doubling, so that a byte at a
// time is not quadratic, but not beyond the end of the frame.
func (u *unfinished) grow(n int) {
	have := len(u.payload)
	need := have + n
	if need <= cap(u.payload) {
		return
	}
	end := have + u.frame.size - u.read
	p := make([]byte, have, min(end, max(need, 2*cap(u.payload), firstBuffer)))
	copy(p, u.payload)
	u.payload = p
}

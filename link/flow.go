package link

import (
	"errors"
	"fmt"

	"github.com/roomring/roomring/proto"
)

const (
	// Window is how many bytes of data frames may be on their way in one
	// direction of a link: sent, but not yet returned as credit.
	Window = 4 << 20

	// HighWater is how many bytes of data frames a link holds back before Space
	// says 0. One frame may overshoot it.
	HighWater = 256 << 10

	// joinLimit is up to how many bytes data frames are copied behind control
	// frames to make one write of both: copying them costs less than a second
	// system call.
	joinLimit = 32 << 10

	// maxControl is how many bytes of control frames may wait for a peer that
	// takes nothing. They need no credit, so this is their only bound: beyond
	// it the link is closed.
	maxControl = 8 << 20

	// smallBuffer is what an idle link may keep in each direction.
	smallBuffer = 4 << 10
)

// Errors that end a link. What breaks the protocol is a bug of the other side,
// or not a node at all.
var (
	ErrCreditExceeded = errors.New("peer sent more than its credit")
	ErrCreditReturned = errors.New("peer returned more credit than it had")
	ErrControlFull    = errors.New("peer takes no control frames")
	ErrHelloAgain     = errors.New("peer said hello again")
)

// flow is the pure core of a link: frames in, frames out, credit. It knows no
// connection and no clock.
//
// Sending: whole frames wait in two buffers. next says what to write, wrote how
// much of it was taken. Control goes before data, but never into the middle of
// a frame. A data frame is begun only when all of it has credit; else a control
// frame could be stuck behind half a frame that waits for the credit that the
// other side's control frame, stuck likewise, would bring.
//
// Why credit cannot run dry: the receiver returns it when a quarter of the
// window is owed. When nothing is on its way, less than that is missing here,
// and three quarters are more than the largest frame.
type flow struct {
	control buffer
	data    buffer
	out     *buffer // what next returned a part of; nil for nothing
	given   int     // how much of it
	mid     int     // bytes of data that belong to a frame already begun

	granted  uint64 // bytes of data frames that the peer has allowed, in all
	encoded  uint64 // bytes of data frames put into data, in all
	received uint64 // bytes of data frames handled, in all
	returned uint64 // of these, returned to the peer as credit
	stalled  bool   // space has been 0 for want of credit since the last Credit

	n tally
}

// tally counts what happened since the owner last took it.
type tally struct {
	framesIn, framesOut, bytesIn, bytesOut, stalls uint64

	granted, used, returned uint64 // bytes of data frames: allowed by the peer, encoded, allowed to the peer
}

func newFlow() flow { return flow{granted: Window, n: tally{granted: Window}} }

// space is how many bytes of data frames may be encoded now.
func (f *flow) space() int {
	credit := int64(f.granted - f.encoded) // negative after an overshoot
	if credit <= 0 && !f.stalled {
		f.stalled = true
		f.n.stalls++
	}
	return int(max(0, min(credit, int64(HighWater-f.data.len()))))
}

// putData has the caller append data frames.
func (f *flow) putData(fill func(b []byte) []byte) {
	added := f.data.put(fill)
	f.encoded += uint64(len(added))
	f.n.used += uint64(len(added))
	f.n.framesOut += countFrames(added, true)
}

// putControl has the caller append control frames.
func (f *flow) putControl(fill func(b []byte) []byte) {
	f.n.framesOut += countFrames(f.control.put(fill), false)
}

// countFrames also checks what lanes append: half a frame, or one in the wrong
// class, would break the link far from the mistake.
func countFrames(b []byte, data bool) (n uint64) {
	for len(b) > 0 {
		t, size, err := proto.ParseHeader(b)
		if err != nil || size == 0 || size > len(b) || t.Data() != data {
			panic(fmt.Sprintf("link: bad frame appended: %s, %d of %d bytes, data %v: %v", t, size, len(b), data, err))
		}
		b = b[size:]
		n++
	}
	return n
}

// next is what to write now; nothing when all is written or waits for credit.
func (f *flow) next() []byte {
	if f.mid > 0 {
		return f.give(&f.data, f.mid)
	}
	ready := f.ready()
	if f.control.len() == 0 {
		return f.give(&f.data, ready)
	}
	if ready > 0 && f.control.len()+ready <= joinLimit {
		f.control.put(func(b []byte) []byte { return append(b, f.data.waiting()[:ready]...) })
		f.data.drop(ready)
	}
	return f.give(&f.control, f.control.len())
}

func (f *flow) give(from *buffer, n int) []byte {
	f.out, f.given = from, n
	return from.waiting()[:n]
}

// ready is how many bytes of data, in whole frames, have credit.
func (f *flow) ready() int {
	if f.encoded <= f.granted {
		return f.data.len()
	}
	covered := f.data.len() - int(f.encoded-f.granted)
	n := 0
	for b := f.data.waiting(); n < covered; {
		_, size, _ := proto.ParseHeader(b[n:])
		if n+size > covered {
			break
		}
		n += size
	}
	return n
}

// wrote says that the first n bytes of what next returned were taken.
func (f *flow) wrote(n int) {
	f.n.bytesOut += uint64(n)
	if f.out == &f.data {
		f.mid = f.restOfFrame(n)
	}
	f.out.drop(n)
}

// restOfFrame is how much of the frame that byte n falls into is still to be
// written then.
func (f *flow) restOfFrame(n int) int {
	if n == f.given {
		return 0 // next ends at the end of a frame
	}
	if f.mid > 0 {
		return f.mid - n
	}
	end := 0
	for b := f.data.waiting(); end < n; {
		_, size, _ := proto.ParseHeader(b[end:])
		end += size
	}
	return end - n
}

// idle reports whether nothing waits to be written.
func (f *flow) idle() bool { return f.control.len() == 0 && f.data.len() == 0 }

// frames is who is called with each frame that comes in. An error ends the
// reading; so does a false.
type frames interface {
	frame(t proto.FrameType, body []byte) (bool, error)
}

// receive takes whole frames off the front of b and returns how many bytes that
// were. A data frame counts as handled once frame has returned.
func (f *flow) receive(b []byte, to frames) (n int, err error) {
	for {
		t, size, err := proto.ParseHeader(b[n:])
		if err != nil || size == 0 {
			return n, err
		}
		data := t.Data()
		// Judged by the header, before the body is even here.
		if data && f.received+uint64(size)-f.returned > Window {
			return n, ErrCreditExceeded
		}
		if len(b)-n < size {
			return n, nil
		}
		body := b[n+proto.HeaderSize : n+size : n+size]
		n += size
		f.n.framesIn++
		f.n.bytesIn += uint64(size)
		if t == proto.FrameCredit {
			if err := f.credit(body); err != nil {
				return n, err
			}
			continue
		}
		if more, err := to.frame(t, body); err != nil || !more {
			return n, err
		}
		if data {
			f.received += uint64(size)
		}
	}
}

// credit adds what the peer gives. It can give back no more than it got.
func (f *flow) credit(body []byte) error {
	more, err := proto.ParseCredit(body)
	if err != nil {
		return err
	}
	sent := f.encoded - uint64(f.data.len())
	if more > Window || f.granted+more > sent+Window {
		return ErrCreditReturned
	}
	f.granted += more
	f.n.granted += more
	f.stalled = false
	return nil
}

// repay appends a Credit frame once a quarter of the window is owed.
func (f *flow) repay() {
	owed := f.received - f.returned
	if owed < Window/4 {
		return
	}
	f.returned = f.received
	f.n.returned += owed
	f.putControl(func(b []byte) []byte { return proto.AppendCredit(b, owed) })
}

// shrink gives back memory that a burst has left. It is called about once a
// second.
func (f *flow) shrink() {
	f.control.shrink()
	f.data.shrink()
}

// buffer is bytes that wait to be written.
type buffer struct {
	b    []byte
	off  int // of the first that waits
	peak int // most that b held since the last shrink
}

func (x *buffer) len() int { return len(x.b) - x.off }

func (x *buffer) waiting() []byte { return x.b[x.off:] }

// put has the caller append and returns what was added.
func (x *buffer) put(fill func([]byte) []byte) []byte {
	if x.off > 0 && x.off >= x.len() { // moves less than was written since: cheap on average
		x.b = x.b[:copy(x.b, x.b[x.off:])]
		x.off = 0
	}
	n := len(x.b)
	x.b = fill(x.b)
	x.peak = max(x.peak, len(x.b))
	return x.b[n:]
}

func (x *buffer) drop(n int) {
	if x.off += n; x.off == len(x.b) {
		x.b, x.off = x.b[:0], 0
	}
}

// shrink drops an empty buffer that is far larger than was needed lately.
func (x *buffer) shrink() {
	if x.len() == 0 && cap(x.b) > smallBuffer && x.peak < cap(x.b)/4 {
		x.b = nil
	}
	x.peak = x.len()
}

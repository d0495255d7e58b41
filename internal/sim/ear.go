package sim

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/roomring/roomring/proto"
)

// ear takes what a conn hears apart and holds it against the ledger.
type ear struct {
	conn  *conn
	buf   []byte // of a frame that is not whole
	lines int

	// A numbered member knows where it is.
	epoch *epoch
	at    proto.Offset

	// A plain one can only be at some places: the same message may be in two
	// epochs, and what comes later tells which one was heard.
	places []place
}

// place says that a member may have heard anything from lo to hi last.
type place struct {
	epoch  *epoch
	lo, hi proto.Offset
}

// spot is where a message is in a log.
type spot struct {
	epoch *epoch
	at    proto.Offset
}

// told is what a member can be told beside messages.
type told uint8

const (
	toldWhole   told = iota // a first line
	toldGap                 // lines with gap
	toldReset               // lines with reset
	toldSlow                // closed because it fell behind
	toldExpired             // closed because a message could not be placed
	toldPaused              // not read until acknowledgements come
	toldRefused             // could not join in time
	toldKinds
)

func (t told) String() string {
	return [...]string{"whole", "gap", "reset", "slow", "expired", "paused", "refused"}[t]
}

// begin is the moment of joining: what was appended before may be heard, what
// is appended from here on must be.
func (a *ear) begin() {
	if a.conn.client.numbered {
		return
	}
	for _, e := range a.conn.client.w.ledger.epochsOf(a.conn.client.room) {
		a.places = append(a.places, place{e, 0, e.head()})
	}
}

const (
	opText   = 0x81
	opBinary = 0x82
)

// hear takes bytes of the stream.
func (a *ear) hear(b []byte) {
	a.buf = append(a.buf, b...)
	for len(a.buf) >= 2 {
		op, n, head := a.buf[0], int(a.buf[1]), 2
		if n == 126 {
			if len(a.buf) < 4 {
				return
			}
			n, head = int(binary.BigEndian.Uint16(a.buf[2:])), 4
		}
		if op != opText && op != opBinary || n > 126 && head == 2 {
			a.fail("heard a broken frame: % x", a.buf[:head])
		}
		if len(a.buf) < head+n {
			return
		}
		payload := a.buf[head : head+n]
		if a.conn.client.numbered {
			a.numbered(op, payload)
		} else {
			a.plain(op, payload)
		}
		a.buf = a.buf[head+n:]
	}
}

// end is the end of the stream.
func (a *ear) end() {
	if len(a.buf) > 0 {
		a.fail("was closed inside a frame")
	}
}

func (a *ear) fail(format string, args ...any) {
	k := a.conn
	k.client.w.Fail("client %d, conn %d at %s in %s %+v "+format,
		append([]any{k.client.number, k.id, k.lane.router.name, k.client.room, k.opt}, args...)...)
}

// skippable says whether a member may not hear an offset without a word about
// it: its own message, if it asked for that.
func (a *ear) skippable(e *epoch, o proto.Offset) bool {
	x := e.log[o-1]
	return x != nil && x.conn == a.conn && a.conn.client.noEcho
}

// whole says whether all of (from, to] may be skipped; with trimmed, also what
// the owner did not keep.
func (a *ear) whole(e *epoch, from, to proto.Offset, trimmed bool) bool {
	for o := from + 1; o <= to; o++ {
		if !a.skippable(e, o) && !(trimmed && o <= e.floor) {
			return false
		}
	}
	return true
}

func (a *ear) numbered(op byte, p []byte) {
	if op == opText && len(p) > 0 && p[0] == '!' {
		a.line(string(p[1:]))
		a.lines++
		a.conn.client.since = proto.Position{Epoch: a.epoch.name, Offset: a.at}
		return
	}
	if a.lines == 0 {
		a.fail("heard %.40q before its first line", p)
	}
	o, text := a.number(op, p)
	a.conn.client.w.report.Heard++
	if o <= a.at || o > a.epoch.head() || !a.whole(a.epoch, a.at, o-1, false) {
		a.fail("heard offset %d of epoch %s behind %d; the log has %d", o, a.epoch.name, a.at, a.epoch.head())
	}
	if x := a.epoch.log[o-1]; x != nil && (x.payload != string(text) || (x.kind == proto.KindBinary) != (op == opBinary)) {
		a.fail("heard %.40q at %s.%d, which is %.40q", text, a.epoch.name, o, x.payload)
	}
	if a.skippable(a.epoch, o) {
		a.fail("heard its own %.40q", text)
	}
	a.at = o
	a.conn.client.since.Offset = o
}

// number takes the offset off a numbered message.
func (a *ear) number(op byte, p []byte) (proto.Offset, []byte) {
	if op == opBinary {
		if len(p) < 8 {
			a.fail("heard a binary message without an offset: %.40q", p)
		}
		return proto.Offset(binary.BigEndian.Uint64(p)), p[8:]
	}
	digits, text, ok := bytes.Cut(p, []byte{' '})
	o, err := strconv.ParseUint(string(digits), 10, 64)
	if !ok || err != nil {
		a.fail("heard a text without an offset: %.40q", p)
	}
	return proto.Offset(o), text
}

// line takes "EPOCH.OFFSET", perhaps with " gap" or " reset".
func (a *ear) line(s string) {
	w, k := a.conn.client.w, a.conn
	text, suffix, _ := strings.Cut(s, " ")
	pos, err := proto.ParsePosition(text)
	e := w.ledger.byEpoch[pos.Epoch]
	if err != nil || e == nil || e.room != k.client.room || pos.Offset > e.head() {
		a.fail("heard the line %.40q: no such place", s)
	}
	was := proto.Position{}
	switch {
	case a.lines > 0:
		was = proto.Position{Epoch: a.epoch.name, Offset: a.at}
	case k.opt.Resume:
		was = k.opt.Since
	}
	kept := w.shape.tight || w.shape.narrow || pos.Offset == 0 // all that there was, was kept
	switch {
	case suffix == "" && a.lines == 0 && k.opt.Resume && pos == was:
	case suffix == "" && a.lines == 0 && k.opt.All && kept:
	case suffix == "" && a.lines == 0 && !k.opt.All && !k.opt.Resume:
	case suffix == "gap" && pos.Epoch == was.Epoch && pos.Offset > was.Offset && (pos.Offset <= e.floor || w.shape.narrow):
	case suffix == "reset" && a.lines == 0 && k.opt.Resume && pos.Epoch != was.Epoch && kept: // this router may know an older Table
	case suffix == "reset" && a.lines > 0 && e.later(a.epoch) && kept:
	default:
		a.fail("heard line number %d: %.40q after %v; tight %v, trimmed up to %d", a.lines+1, s, was, w.shape.tight, e.floor)
	}
	w.report.Told[map[string]told{"": toldWhole, "gap": toldGap, "reset": toldReset}[suffix]]++
	a.epoch, a.at = e, pos.Offset
}

func (a *ear) plain(op byte, p []byte) {
	w := a.conn.client.w
	w.report.Heard++
	x := w.ledger.messages[string(p)]
	if x == nil || x.room != a.conn.client.room || (x.kind == proto.KindBinary) != (op == opBinary) {
		a.fail("heard %.40q, which nobody published there", p)
	}
	if x.conn == a.conn && a.conn.client.noEcho {
		a.fail("heard its own %.40q", p)
	}
	var next []place
	for _, s := range x.spots {
		for _, from := range a.places {
			if a.follows(from, s) {
				next = append(next, place{s.epoch, s.at, s.at})
				break
			}
		}
	}
	if len(next) == 0 {
		a.fail("heard %.40q, which is at %v and does not follow %v", p, show(x.spots), showPlaces(a.places))
	}
	a.places = next
}

// follows says whether a member at a place may hear the message at a spot next.
func (a *ear) follows(from place, s spot) bool {
	tight := a.conn.client.w.shape.tight
	if s.epoch == from.epoch {
		return s.at > from.lo && (s.at <= from.hi+1 || a.whole(s.epoch, from.hi, s.at-1, tight))
	}
	return s.epoch.later(from.epoch) && a.whole(s.epoch, 0, s.at-1, tight)
}

func show(spots []spot) (all []string) {
	for _, s := range spots {
		all = append(all, proto.Position{Epoch: s.epoch.name, Offset: s.at}.String())
	}
	return all
}

func showPlaces(places []place) (all []string) {
	for _, p := range places {
		all = append(all, proto.Position{Epoch: p.epoch.name, Offset: p.lo}.String()+"-"+strconv.Itoa(int(p.hi)))
	}
	return all
}

// complete says whether the member has heard all of the room's present log.
func (a *ear) complete(now *epoch) bool {
	tight := a.conn.client.w.shape.tight
	if a.conn.client.numbered {
		return a.epoch == now && a.whole(now, a.at, now.head(), false)
	}
	for _, p := range a.places {
		if p.epoch == now && a.whole(now, p.hi, now.head(), tight) || now.later(p.epoch) && a.whole(now, 0, now.head(), tight) {
			return true
		}
	}
	return false
}

package rfc6455

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Kind says what an Event is.
type Kind uint8

// The kinds.
const (
	Text Kind = iota + 1
	Binary
	Ping // to be answered with a pong of the same payload
	Pong // to be ignored
)

// Event is one thing that a server hears.
type Event struct {
	Kind    Kind
	Payload string
}

// Stream is what a client sends behind its handshake, and what must come of it.
type Stream struct {
	Name  string
	Bytes []byte

	// Events are heard in this order, before the end if there is one.
	Events []Event

	// Close is the code of the close frame that the server sends: 0 when the
	// connection stays open, 1005 for a close frame without a code.
	Close uint16

	// ByClient says that the client began the closing; the server's close frame
	// then repeats the code.
	ByClient bool
}

// Opcodes and bits of a frame's first byte.
const (
	Fin   = 0x80
	Rsv1  = 0x40
	Rsv2  = 0x20
	Rsv3  = 0x10
	Cont  = 0x0
	OText = 0x1
	OBin  = 0x2
	OEnd  = 0x8
	OPing = 0x9
	OPong = 0xA
)

var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// Frame returns a masked frame with the given first byte.
func Frame(first byte, payload string) []byte {
	b := append(Header(first, len(payload)), mask[:]...)
	return append(b, Mask(payload)...)
}

// Mask returns payload as it stands in a frame of Frame.
func Mask(payload string) []byte {
	b := []byte(payload)
	for i := range b {
		b[i] ^= mask[i%4]
	}
	return b
}

// Header returns the header of a masked frame, without the mask itself.
func Header(first byte, size int) []byte {
	switch {
	case size <= 125:
		return []byte{first, 0x80 | byte(size)}
	case size < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(size))
	}
	return binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, uint64(size))
}

func closing(code uint16, reason string) []byte {
	return Frame(Fin|OEnd, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

func text(s string) Event { return Event{Text, s} }
func bin(s string) Event  { return Event{Binary, s} }

// Streams returns the table.
func Streams() []Stream {
	return slices.Concat(goodStreams(), closes(), badFrames(), badFragments(), utf8Streams(), tooMuch())
}

func open(name string, frames [][]byte, events ...Event) Stream {
	return Stream{Name: name, Bytes: slices.Concat(frames...), Events: events}
}

func refused(name string, code uint16, frames [][]byte, events ...Event) Stream {
	s := open(name, frames, events...)
	s.Close = code
	return s
}

type frames = [][]byte

func goodStreams() []Stream {
	k := strings.Repeat
	return []Stream{
		open("a text", frames{Frame(Fin|OText, "Hello")}, text("Hello")),
		open("a binary", frames{Frame(Fin|OBin, "\x00\xff\x80")}, bin("\x00\xff\x80")),
		open("an empty text", frames{Frame(Fin|OText, "")}, text("")),
		open("an empty binary", frames{Frame(Fin|OBin, "")}, bin("")),
		open("several", frames{Frame(Fin|OText, "a"), Frame(Fin|OBin, "b"), Frame(Fin|OText, "c")}, text("a"), bin("b"), text("c")),
		open("125 bytes", frames{Frame(Fin|OText, k("x", 125))}, text(k("x", 125))),
		open("126 bytes", frames{Frame(Fin|OText, k("x", 126))}, text(k("x", 126))),
		open("128 bytes", frames{Frame(Fin|OBin, k("xyz\x00", 32))}, bin(k("xyz\x00", 32))),
		open("65535 bytes", frames{Frame(Fin|OBin, k("x", 65535))}, bin(k("x", 65535))),
		open("64 KiB", frames{Frame(Fin|OText, k("x", 65536))}, text(k("x", 65536))),
		open("64 KiB in two fragments", frames{Frame(OText, k("x", 65535)), Frame(Fin|Cont, "y")}, text(k("x", 65535)+"y")),
		open("a mask of zeros", frames{append([]byte{Fin | OText, 0x85, 0, 0, 0, 0}, "Hello"...)}, text("Hello")),
		open("two fragments", frames{Frame(OText, "Hel"), Frame(Fin|Cont, "lo")}, text("Hello")),
		open("three fragments", frames{Frame(OBin, "a"), Frame(Cont, "\xff"), Frame(Fin|Cont, "c")}, bin("a\xffc")),
		open("empty fragments", frames{Frame(OText, ""), Frame(Cont, ""), Frame(Fin|Cont, "")}, text("")),
		open("128 fragments", frames{Frame(OText, "a"), []byte(k(string(Frame(Cont, "b")), 126)), Frame(Fin|Cont, "c")}, text("a"+k("b", 126)+"c")),
		open("a message behind a fragmented one", frames{Frame(OText, "a"), Frame(Fin|Cont, "b"), Frame(Fin|OText, "c")}, text("ab"), text("c")),
		open("a ping", frames{Frame(Fin|OPing, "")}, Event{Ping, ""}),
		open("a ping with a payload", frames{Frame(Fin|OPing, "\xff\x00x")}, Event{Ping, "\xff\x00x"}),
		open("a ping of 125 bytes", frames{Frame(Fin|OPing, k("p", 125))}, Event{Ping, k("p", 125)}),
		open("a pong that nobody asked for", frames{Frame(Fin|OPong, "x"), Frame(Fin|OText, "a")}, Event{Pong, "x"}, text("a")),
		open("a ping between fragments", frames{Frame(OText, "a"), Frame(Fin|OPing, "p"), Frame(Fin|Cont, "b")}, Event{Ping, "p"}, text("ab")),
		open("pings around fragments", frames{Frame(Fin|OPing, "1"), Frame(OBin, "a"), Frame(Fin|OPing, "2"), Frame(Fin|OPong, "3"), Frame(Cont, "b"), Frame(Fin|OPing, "4"), Frame(Fin|Cont, "c"), Frame(Fin|OPing, "5")},
			Event{Ping, "1"}, Event{Ping, "2"}, Event{Pong, "3"}, Event{Ping, "4"}, bin("abc"), Event{Ping, "5"}),
		open("half a header", frames{Frame(Fin|OText, "a"), {Fin | OText}}, text("a")),
		open("half a payload", frames{Frame(Fin|OText, "a"), Frame(Fin|OText, "bcd")[:8]}, text("a")),
	}
}

func closes() (all []Stream) {
	byClient := func(name string, code uint16, f ...[]byte) {
		s := refused(name, code, f)
		s.ByClient = true
		all = append(all, s)
	}
	byClient("close without a code", 1005, Frame(Fin|OEnd, ""))
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		byClient("close "+number(code), code, closing(code, ""))
	}
	byClient("close with a reason", 1000, closing(1000, "bye, čau"))
	byClient("close with the longest reason", 1000, closing(1000, strings.Repeat("x", 123)))
	byClient("close between fragments", 1000, Frame(OText, "a"), closing(1000, ""))
	byClient("close, then more", 1001, closing(1001, ""), Frame(Fin|OText, "too late"))
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		all = append(all, refused("bad close code "+number(code), 1002, frames{closing(code, "x")}))
	}
	return append(all,
		refused("close of one byte", 1002, frames{Frame(Fin|OEnd, "\x03")}),
		refused("close with a bad reason", 1007, frames{closing(1000, "\xff")}),
		refused("close with half a rune", 1007, frames{closing(1000, "a\xc3")}),
		refused("close of 126 bytes", 1002, frames{closing(1000, strings.Repeat("x", 124))}),
		refused("close in fragments", 1002, frames{Frame(OEnd, "\x03\xe8")}),
	)
}

func number(v uint16) string {
	var b []byte
	for ; v > 0 || len(b) == 0; v /= 10 {
		b = append(b, byte('0'+v%10))
	}
	slices.Reverse(b)
	return string(b)
}

func badFrames() (all []Stream) {
	bad := func(name string, f []byte) {
		// A message before the fault is still heard.
		all = append(all, refused(name, 1002, frames{Frame(Fin|OText, "before"), f, Frame(Fin|OText, "behind")}, text("before")))
	}
	bad("RSV1", Frame(Fin|Rsv1|OText, "a"))
	bad("RSV2", Frame(Fin|Rsv2|OText, "a"))
	bad("RSV3", Frame(Fin|Rsv3|OText, "a"))
	bad("RSV1 on a ping", Frame(Fin|Rsv1|OPing, "a"))
	for _, op := range []byte{0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		bad("opcode "+string("0123456789ABCDEF"[op]), Frame(Fin|op, ""))
	}
	bad("no mask", []byte("\x81\x05Hello"))
	bad("no mask on an empty frame", []byte("\x81\x00"))
	bad("no mask on a ping", []byte("\x89\x00"))
	bad("no mask on a close", []byte("\x88\x02\x03\xe8"))
	bad("16-bit length for 125 bytes", slices.Concat([]byte{Fin | OText, 0xFE, 0, 125}, mask[:], Mask(strings.Repeat("x", 125))))
	bad("16-bit length for 0 bytes", slices.Concat([]byte{Fin | OText, 0xFE, 0, 0}, mask[:]))
	bad("64-bit length for 65535 bytes", slices.Concat([]byte{Fin | OBin, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, mask[:]))
	bad("64-bit length for 1 byte", slices.Concat([]byte{Fin | OBin, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1}, mask[:], Mask("x")))
	bad("length with its top bit set", slices.Concat([]byte{Fin | OBin, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0}, mask[:]))
	bad("length of all ones", slices.Concat([]byte{Fin | OBin, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, mask[:]))
	bad("a ping of 126 bytes", Frame(Fin|OPing, strings.Repeat("p", 126)))
	bad("a pong with a 64-bit length", Header(Fin|OPong, 1<<20))
	bad("a ping in fragments", Frame(OPing, "a"))
	bad("a pong in fragments", Frame(OPong, "a"))
	return all
}

func badFragments() []Stream {
	return []Stream{
		refused("a continuation of nothing", 1002, frames{Frame(Fin|Cont, "a")}),
		refused("an open continuation of nothing", 1002, frames{Frame(Cont, "a")}),
		refused("a continuation of nothing, too big", 1002, frames{Header(Cont, 1<<30)}),
		refused("a continuation behind a whole message", 1002, frames{Frame(Fin|OText, "a"), Frame(Fin|Cont, "b")}, text("a")),
		refused("a continuation behind the last", 1002, frames{Frame(OText, "a"), Frame(Fin|Cont, "b"), Frame(Fin|Cont, "c")}, text("ab")),
		refused("a text inside a text", 1002, frames{Frame(OText, "a"), Frame(Fin|OText, "b")}),
		refused("a binary inside a text", 1002, frames{Frame(OText, "a"), Frame(OBin, "b")}),
		refused("a text inside a binary, behind a ping", 1002, frames{Frame(OBin, "a"), Frame(Fin|OPing, "p"), Frame(Fin|OText, "b")}, Event{Ping, "p"}),
		refused("RSV1 on a continuation", 1002, frames{Frame(OText, "a"), Frame(Fin|Rsv1|Cont, "b")}),
		refused("no mask on a continuation", 1002, frames{Frame(OText, "a"), []byte("\x80\x01b")}),
		refused("a ping in fragments inside a text", 1002, frames{Frame(OText, "a"), Frame(OPing, "p")}),
	}
}

// utf8Texts are valid; each must pass in every cut and in fragments.
var utf8Texts = []string{"é", "κόσμε", "€", "😀", "\u0000", "\u007f", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff\ue000", "\ufeff", "a é € 😀 z, 8 bytes and more of it"}

// badUTF8 is invalid from some byte on, whatever follows.
var badUTF8 = []string{
	"\x80", "\xbf", "a\x80", "\xfe", "\xff", // no start of anything
	"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", // overlong
	"\xed\xa0\x80", "\xed\xbf\xbf", // surrogates
	"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", // above U+10FFFF
	"\xc3a", "\xe2\x82a", "\xf0\x9f\x98a", "\xc3\xc3", "\xe2\x28\xa1", // cut short
	"eight bytes of text, then \xff, then more of it",
	"κόσμε\xed\xa0\x80edited",
}

func utf8Streams() (all []Stream) {
	for _, s := range utf8Texts {
		all = append(all, open("UTF-8 "+s, frames{Frame(Fin|OText, s)}, text(s)))
		// Each byte a fragment of its own, a ping between them.
		f, events := frames{Frame(OText, "")}, []Event(nil)
		for i := range len(s) {
			f = append(f, Frame(Cont, s[i:i+1]), Frame(Fin|OPing, "p"))
			events = append(events, Event{Ping, "p"})
		}
		all = append(all, open("UTF-8 in fragments "+s, append(f, Frame(Fin|Cont, "")), append(events, text(s))...))
	}
	for _, s := range badUTF8 {
		all = append(all,
			refused("bad UTF-8 "+quote(s), 1007, frames{Frame(Fin|OText, s)}),
			refused("bad UTF-8, the end does not come "+quote(s), 1007, frames{Frame(OText, s)}),
			refused("bad UTF-8, the frame does not end "+quote(s), 1007, frames{Header(Fin|OText, 1000), mask[:], Mask(s)}),
			refused("bad UTF-8 in the second fragment "+quote(s), 1007, frames{Frame(OText, "ok é"), Frame(Cont, s)}),
			open("bad UTF-8 in a binary "+quote(s), frames{Frame(Fin|OBin, s)}, bin(s)),
		)
	}
	for _, s := range []string{"\xc3", "a\xe2\x82", "\xf0\x9f\x98", "12345678\xf0"} {
		all = append(all,
			refused("half a rune at the end "+quote(s), 1007, frames{Frame(Fin|OText, s)}),
			refused("half a rune at the end of the last fragment "+quote(s), 1007, frames{Frame(OText, s), Frame(Fin|Cont, "")}),
			open("half a rune, more to come "+quote(s), frames{Frame(OText, s), Frame(Fin|OPing, "p")}, Event{Ping, "p"}),
		)
	}
	return all
}

func quote(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(hex[s[i]>>4])
		b.WriteByte(hex[s[i]&0xF])
	}
	return b.String()
}

func tooMuch() []Stream {
	k := strings.Repeat
	return []Stream{
		// The header alone is enough.
		refused("a header of 64 KiB and a byte", 1009, frames{Header(Fin|OBin, 65537)}),
		refused("a header of 8 EiB less a byte", 1009, frames{Header(Fin|OText, 1<<31-1)[:2], {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}),
		refused("a message, then a header too big", 1009, frames{Frame(Fin|OText, "a"), Header(OText, 1<<20)}, text("a")),
		refused("two fragments over 64 KiB", 1009, frames{Frame(OBin, k("x", 65000)), Header(Cont, 537)}),
		refused("a byte behind 64 KiB", 1009, frames{Frame(OBin, k("x", 65536)), Header(Fin|Cont, 1)}),
		refused("the 129th fragment", 1008, frames{Frame(OText, ""), []byte(k(string(Frame(Cont, "")), 127)), {Cont}}),
		refused("the 129th fragment is the last", 1008, frames{Frame(OText, "a"), []byte(k(string(Frame(Cont, "b")), 127)), Frame(Fin|Cont, "c")}),
		refused("the 129th fragment, pings between", 1008, frames{Frame(OText, "a"), []byte(k(string(Frame(Cont, "b"))+string(Frame(Fin|OPong, "")), 127)), Frame(Fin|Cont, "c")},
			slices.Repeat([]Event{{Pong, ""}}, 127)...),
	}
}

package websocket

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// Opcode says what a frame is (RFC 6455, section 5.2).
type Opcode byte

// The opcodes there are; all others are reserved.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

func (o Opcode) control() bool { return o&0x8 != 0 }

func (o Opcode) known() bool { return o <= OpBinary || o >= OpClose && o <= OpPong }

// Close codes that this package gives or names. 1005 stands for "no code" and
// is never on the wire.
const (
	CloseProtocol = 1002
	CloseNoCode   = 1005
	CloseBadUTF8  = 1007
	ClosePolicy   = 1008
	CloseTooBig   = 1009
	CloseRestart  = 1012 // "service restart": come back at once
	CloseTryLater = 1013
	maxControl    = 125            // payload of a control frame, bytes
	maxReason     = maxControl - 2 // reason in a close frame, bytes
)

const (
	finBit  = 0x80
	rsvBits = 0x70
	maskBit = 0x80
)

// Ping is a whole ping frame without payload.
const Ping = "\x89\x00"

// AppendHeader appends the header of a whole, unmasked frame with a payload of
// size bytes, which the caller appends behind it. A control frame's payload
// must not be over 125 bytes.
func AppendHeader(b []byte, op Opcode, size int) []byte {
	first := finBit | byte(op)
	switch {
	case size <= maxControl:
		return append(b, first, byte(size))
	case size < 1<<16:
		return append(b, first, 126, byte(size>>8), byte(size))
	}
	return binary.BigEndian.AppendUint64(append(b, first, 127), uint64(size))
}

// AppendFrame appends a whole, unmasked frame. A control frame's payload must
// not be over 125 bytes: a ping's, that a pong repeats, never is.
func AppendFrame[T string | []byte](b []byte, op Opcode, payload T) []byte {
	return append(AppendHeader(b, op, len(payload)), payload...)
}

// AppendClose appends a close frame. CloseNoCode gives one without code and
// reason. A reason over 123 bytes is cut before the rune that does not fit;
// bytes that are not UTF-8 become U+FFFD.
func AppendClose(b []byte, code uint16, reason string) []byte {
	if code == CloseNoCode || code == 0 {
		return AppendHeader(b, OpClose, 0)
	}
	reason = cutReason(strings.ToValidUTF8(reason, "\uFFFD"))
	b = AppendHeader(b, OpClose, 2+len(reason))
	return append(binary.BigEndian.AppendUint16(b, code), reason...)
}

func cutReason(s string) string {
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// validCloseCode says whether a peer may send code: registered ones and those
// for libraries and applications. 1004 is reserved, 1005, 1006 and 1015 stand
// for what happened without a close frame.
func validCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	}
	return code >= 3000 && code <= 4999
}

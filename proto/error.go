package proto

import "fmt"

// Code tells the far side of a link what to do; the detail of an error stays
// in the log of the node where it happened. Numbers are never reused.
type Code uint8

// The codes.
const (
	OK          Code = 0
	BadRoom     Code = 1 // the room's name is not allowed
	TooBig      Code = 2 // the message is above the owner's limit
	Full        Code = 3 // a bound of the owner is reached: try later
	Denied      Code = 4 // not allowed
	Unrecovered Code = 5 // history does not reach: the client must see a gap, not guess
	NotFound    Code = 6 // no such room or node
	Malformed   Code = 7 // the frame breaks the protocol: the link is closed
	Unavailable Code = 8 // nobody could answer in time
)

var codeNames = [...]string{"ok", "bad_room", "too_big", "full", "denied", "unrecovered", "not_found", "malformed", "unavailable"}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}

// Error is an error that crosses a link: its Code travels.
type Error struct {
	Code Code
	Op   string // what we were doing, lower case
	Err  error  // the detail, for our own log; may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Op, e.Code, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Op, e.Code)
}

func (e *Error) Unwrap() error { return e.Err }

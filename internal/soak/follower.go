package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// follower is the position of a numbered conn. It judges every text that comes.
type follower struct {
	epoch string // "" before the first line
	at    uint64
	since string // the position that it came back with; "" if it did not
	holes bool   // gaps are allowed: it may be slow

	// gone reports whether an offset is old enough to be forgotten. Up to there it may be told of a gap, if
	// there was no time to hear it before. nil for never.
	gone  func(offset uint64) bool
	plain bool // it is not numbered after all: whatever comes is right

	told  int // gaps that it was told of, being slow
	aged  int // those up to what is old
	heard uint64
}

// errReset says that the room began anew. That is right if everything in it was old, and its router could
// not attach for long.
var errReset = errors.New("its room began anew")

// take judges a text and returns the message in it, "" for a line about the position.
func (f *follower) take(text string) (message string, err error) {
	if f.plain {
		return text, nil
	}
	if strings.HasPrefix(text, "!") {
		return "", f.takeLine(text[1:])
	}
	number, body, ok := strings.Cut(text, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || f.epoch == "" {
		return "", fmt.Errorf("message %.40q at %q.%d", text, f.epoch, f.at)
	}
	if n != f.at+1 {
		return "", fmt.Errorf("offset %d after %d", n, f.at)
	}
	f.at = n
	f.heard++
	return body, nil
}

func (f *follower) takeLine(line string) error {
	position, suffix, _ := strings.Cut(line, " ")
	epoch, offset, _ := strings.Cut(position, ".")
	at, err := strconv.ParseUint(offset, 10, 64)
	if err != nil || len(epoch) != 13 {
		return fmt.Errorf("line %.40q", line)
	}
	was := *f
	f.epoch, f.at = epoch, at
	switch {
	case was.epoch == "" && was.since == "" && suffix == "":
		return nil
	case was.epoch == "" && was.since != "" && position == was.since && suffix == "":
		return nil
	case suffix == "gap" && f.gone != nil && (was.epoch == epoch && at > was.at || was.epoch == "" && f.above(was.since)) && f.gone(at):
		f.aged++
		return nil
	case was.epoch != "" && was.epoch != epoch && suffix == "reset":
		return errReset
	case was.epoch == epoch && suffix == "gap" && at > was.at && was.holes:
		f.told++
		return nil
	}
	return fmt.Errorf("told %q at %q.%d, came with %q", line, was.epoch, was.at, was.since)
}

// above reports whether it is in the epoch of a position, and above it.
func (f *follower) above(position string) bool {
	epoch, offset, _ := strings.Cut(position, ".")
	at, err := strconv.ParseUint(offset, 10, 64)
	return err == nil && epoch == f.epoch && f.at > at
}

// position is what it would come back with.
func (f *follower) position() string { return f.epoch + "." + strconv.FormatUint(f.at, 10) }

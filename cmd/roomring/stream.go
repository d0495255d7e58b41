package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/roomring/roomring/admin"
)

// maxEvent bounds one event of a stream, in bytes. A whole ring is about 60 KB.
const maxEvent = 16 << 20

// watch asks the node for a stream of events and tells them one by one, until ctx ends, the stream does
// (an error) or tell returns one. data is valid until tell returns.
func (n *asked) watch(ctx context.Context, path string, query url.Values, tell func(name string, data []byte) error) error {
	answer, err := n.open(ctx, http.MethodGet, url.URL{Path: path, RawQuery: query.Encode()}, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxEvent))
		if err != nil {
			return n.unreachable(err)
		}
		return n.refused(answer, body)
	}
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("%s does not answer like a node: %q is no stream of events", n.Node, kind)
	}
	s := newStream(answer.Body)
	for {
		name, data, err := s.next()
		if err != nil {
			return n.cutOff(err)
		}
		if name == admin.EventError {
			return n.broke(data)
		}
		if err := tell(name, data); err != nil {
			return err
		}
	}
}

// broke says in the node's words why a stream cannot go on.
func (n *asked) broke(data []byte) error {
	var fault admin.ErrorEvent
	if err := n.readEvent(admin.EventError, data, &fault); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s: %s (%s)", errCutOff, n.Node, printable(fault.Message), printable(fault.Code))
}

// errCutOff is the end of a stream that nobody asked to end.
var errCutOff = errors.New("the stream ended")

// cutOff says in words why a stream ended.
func (n *asked) cutOff(err error) error {
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Errorf("%s does not answer like a node: %w", n.Node, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %s has stopped, or is about to", errCutOff, n.Node)
	}
	return fmt.Errorf("%w: %w", errCutOff, n.unreachable(err))
}

// readEvent parses the data of an event.
func (n *asked) readEvent(name string, data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s does not answer like a node: event %s: %w", n.Node, printable(name), err)
	}
	return nil
}

// writeEvent prints an event as a line of JSON: the data as it came, and the event's name with it.
func (n *asked) writeEvent(w io.Writer, name string, data []byte) error {
	var line bytes.Buffer
	if err := json.Compact(&line, data); err != nil || line.Len() < 2 || line.Bytes()[0] != '{' {
		return fmt.Errorf("%s does not answer like a node: event %s is no object", n.Node, printable(name))
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		return err
	}
	rest := line.Bytes()[1:]
	comma := ","
	if rest[0] == '}' {
		comma = ""
	}
	_, err = fmt.Fprintf(w, "{\"event\":%s%s%s\n", quoted, comma, rest)
	return err
}

var errTooLong = fmt.Errorf("an event is longer than %d MiB", maxEvent>>20)

// stream reads server-sent events: lines "event: NAME" and "data: TEXT", an empty line after each
// event, and lines that begin with a colon, which are there to keep the conn alive.
type stream struct {
	r    *bufio.Reader
	line []byte // reused
	data []byte // reused
}

func newStream(r io.Reader) *stream { return &stream{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next event that has data. What it returns is valid until it is called again. An
// event that the stream ends in is not told.
func (s *stream) next() (name string, data []byte, err error) {
	name, s.data = "message", s.data[:0]
	has := false
	for {
		line, err := s.readLine()
		if err != nil {
			return "", nil, err
		}
		if len(line) == 0 {
			if has {
				return name, s.data, nil
			}
			name = "message"
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = string(value)
		case "data":
			if has {
				s.data = append(s.data, '\n')
			}
			if len(s.data)+len(value) > maxEvent {
				return "", nil, errTooLong
			}
			s.data, has = append(s.data, value...), true
		}
	}
}

// readLine returns the next line without its end.
func (s *stream) readLine() ([]byte, error) {
	s.line = s.line[:0]
	for {
		piece, err := s.r.ReadSlice('\n')
		if len(s.line)+len(piece) > maxEvent {
			return nil, errTooLong
		}
		s.line = append(s.line, piece...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return nil, err
		}
		return bytes.TrimSuffix(bytes.TrimSuffix(s.line, []byte("\n")), []byte("\r")), nil
	}
}

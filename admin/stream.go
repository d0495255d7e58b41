package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/roomring/roomring/proto"
)

// How long a stream waits for its first event before it begins without one:
// until then an error can still become the answer's status. A watch has
// something to tell at once; a tail asks the room's owner first.
const (
	watchPatience = time.Second
	tailPatience  = StreamHeartbeat
)

// streamPiece bounds in bytes what a reader has WriteTimeout for, so that a
// slow one that takes something is told from one that takes nothing.
const streamPiece = 16 << 10

var (
	errStreams = &Refusal{http.StatusServiceUnavailable, proto.Full.String(), "this node has " + strconv.Itoa(MaxStreams) + " streams open, more it does not serve: close one, or ask another node"}
	errPayload = &Refusal{http.StatusForbidden, "forbidden", "payload=1 needs the full token, this one may only read"}
)

func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	v, err := query(r)
	if err != nil {
		return err
	}
	onlyFeed := v.Has("only")
	if onlyFeed && v.Get("only") != EventFeed {
		return badQuery("only: want feed")
	}
	return s.stream(w, r, watchPatience, func(ctx context.Context, tell func(Event) error) error {
		return s.config.Source.Watch(ctx, onlyFeed, tell)
	})
}

func (s *Server) tail(w http.ResponseWriter, r *http.Request) error {
	v, err := query(r)
	if err != nil {
		return err
	}
	q := TailQuery{Room: v.Get("room"), Payload: v.Get("payload") == "1"}
	if err := proto.CheckRoom(q.Room); err != nil {
		return &Refusal{http.StatusBadRequest, "bad_room", err.Error()}
	}
	if v.Has("payload") && !q.Payload && v.Get("payload") != "0" {
		return badQuery("payload: want 0 or 1")
	}
	if q.Payload && s.guard.access(r) != accessFull {
		return errPayload
	}
	return s.stream(w, r, tailPatience, func(ctx context.Context, tell func(Event) error) error {
		return s.config.Source.Tail(ctx, q, tell)
	})
}

// stream answers with what run tells, as server-sent events, until run ends,
// the reader is gone or takes nothing for WriteTimeout, or the server stops.
// Until the first event, or patience has passed, an error of run is an answer
// of its own; then it is the last event.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, patience time.Duration, run func(context.Context, func(Event) error) error) error {
	// While there is a body, net/http does not notice that the reader is gone.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return cutBody(err)
	}
	if r.Method == http.MethodHead {
		beginStream(w)
		return nil
	}
	select {
	case s.streams <- struct{}{}:
		s.stats.Streams.Add(1)
		defer func() {
			s.stats.Streams.Add(-1)
			<-s.streams
		}()
	default:
		return errStreams
	}
	ctx, cancel := context.WithCancel(r.Context())
	st := &stream{w: w, control: http.NewResponseController(w), ctx: ctx, cancel: cancel, events: &s.stats.Events, turn: make(chan struct{}, 1)}
	err := st.run(patience, run)
	switch {
	case st.begun && (err == nil || r.Context().Err() != nil):
		return nil
	case st.begun:
		f := s.explain(r, err)
		if text, err := render(Event{EventError, ErrorEvent{f.Code, f.Message}}); err == nil {
			st.write(text)
		}
		return nil
	case err == nil:
		beginStream(w)
	}
	return err
}

// stream is server-sent events to one reader. Last-Event-ID is not known: a
// stream begins with all that its reader needs.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
	cancel  context.CancelFunc // ends beat
	events  *atomic.Uint64     // that were told

	// turn is with who writes; the fields below are theirs. It is a channel
	// because who waits for it stops when ctx ends.
	turn  chan struct{}
	begun bool      // the answer's head is out
	wrote time.Time // when a write last ended
}

// run has f tell events and keeps the conn alive meanwhile. Nobody else writes
// once it returns.
func (st *stream) run(patience time.Duration, f func(context.Context, func(Event) error) error) error {
	beating := make(chan struct{})
	defer func() {
		st.cancel()
		<-beating
	}()
	go func() {
		defer close(beating)
		st.beat(patience)
	}()
	return f(st.ctx, st.tell)
}

// beat writes a comment whenever nothing was written for a while.
func (st *stream) beat(wait time.Duration) {
	for {
		select {
		case <-time.After(wait):
		case <-st.ctx.Done():
			return
		}
		if st.take() != nil {
			return
		}
		if silent := time.Since(st.wrote); silent < StreamHeartbeat {
			wait = StreamHeartbeat - silent
		} else {
			st.write([]byte(":\n\n"))
			wait = StreamHeartbeat
		}
		st.give()
	}
}

// tell writes one event.
func (st *stream) tell(e Event) error {
	text, err := render(e)
	if err != nil {
		return err
	}
	if err := st.take(); err != nil {
		return err
	}
	defer st.give()
	st.events.Add(1)
	return st.write(text)
}

func (st *stream) take() error {
	select {
	case st.turn <- struct{}{}:
	case <-st.ctx.Done():
		return st.ctx.Err()
	}
	if err := st.ctx.Err(); err != nil {
		st.give()
		return err
	}
	return nil
}

func (st *stream) give() { <-st.turn }

// write sends b at once.
func (st *stream) write(b []byte) error {
	if !st.begun {
		st.begun = true
		beginStream(st.w)
	}
	for piece := range slices.Chunk(b, streamPiece) {
		// A writer without deadlines is a test's, or of another server than Run's.
		st.control.SetWriteDeadline(time.Now().Add(WriteTimeout))
		_, err := st.w.Write(piece)
		if err == nil {
			err = st.control.Flush()
		}
		if err != nil {
			return err // net/http ends ctx too: run may be waiting for something else
		}
	}
	st.wrote = time.Now()
	return nil
}

// beginStream writes the head of a stream.
func beginStream(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Connection", "close")
	h.Set("X-Accel-Buffering", "no") // a proxy that collects answers would hold events back
	w.WriteHeader(http.StatusOK)
}

// render writes an event as it goes over the wire. JSON is one line, so a data
// field is all that its value needs.
func render(e Event) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("event: " + e.Name + "\ndata: ")
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	if err := j.Encode(whole(e.Data)); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// whole is an event's data with empty lists where it has none.
func whole(data any) any {
	switch d := data.(type) {
	case RingEvent:
		return d.filled()
	case NodesDocument:
		return d.filled()
	case FeedEvent:
		return d.filled()
	}
	return data
}

package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
)

// tail opens a stream of a room's messages at a node.
func (w *world) tail(id string, q admin.TailQuery) *stream {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &stream{t: w.t, stop: stop, err: make(chan error, 1)}
	source := w.running[id].Source()
	go func() { s.err <- source.Tail(ctx, q, s.take) }()
	w.t.Cleanup(stop)
	synctest.Wait()
	return s
}

// follows checks that a tail told messages first to last, without a gap or anything twice, and returns them.
func (s *stream) follows(first, last int) (messages []admin.TailMessage) {
	s.t.Helper()
	data, _ := s.of(admin.EventMessage)
	for _, d := range data {
		messages = append(messages, d.(admin.TailMessage))
	}
	if gaps, _ := s.of(admin.EventGap); len(gaps) > 0 || len(messages) != last-first+1 {
		s.t.Fatalf("%d messages and gaps %v, want %d to %d", len(messages), gaps, first, last)
	}
	for i, m := range messages {
		if m.Offset != proto.Offset(first+i) {
			s.t.Fatalf("message %d is %d", i, m.Offset)
		}
	}
	return messages
}

// opens are the opens that a tail told.
func (s *stream) opens() (list []admin.TailOpen) {
	data, _ := s.of(admin.EventOpen)
	for _, d := range data {
		list = append(list, d.(admin.TailOpen))
	}
	return list
}

// A tail tells what is said from now on, at any node, and what it is made of; payload only if asked for.
func TestTail(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		m := w.join("r1", "room=a")
		m.say("before")
		doc := w.room("r1", "a")
		var tails []*stream
		for _, id := range w.living() {
			tails = append(tails, w.tail(id, admin.TailQuery{Room: "a"}), w.tail(id, admin.TailQuery{Room: "a", Payload: true}))
		}
		m.say("hello")
		m.send(rfc6455.Frame(0x82, "\x00\x01\x02"))
		time.Sleep(time.Second)
		for i, s := range tails {
			open := s.opens()
			if len(open) != 1 || open[0] != (admin.TailOpen{Room: "a", Owner: doc.Owner, Epoch: doc.Epoch, Offset: 1}) {
				t.Errorf("opened %+v", open)
			}
			got := s.follows(2, 3)
			a, b := got[0], got[1]
			if a.Kind != "text" || a.Bytes != 5 || a.Publisher != "r1" || len(a.Conn) != 16 || a.Conn == "0000000000000000" || a.Seen == 0 || b.Kind != "binary" || b.Bytes != 3 || a.Conn != b.Conn {
				t.Errorf("told %+v", got)
			}
			if with := i%2 == 1; with != bytes.Equal(a.Payload, []byte("hello")) || with != bytes.Equal(b.Payload, []byte{0, 1, 2}) || !with && a.Payload != nil {
				t.Errorf("payload %q, %q", a.Payload, b.Payload)
			}
			s.close()
		}
	})
}

// A message over HTTP has no conn.
func TestTailOfAPost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 0)
		w.router("r1", router.Config{APIKeys: []string{"secret-of-a-key"}})
		w.waitFor("r1 is ready", 10*time.Second, func() bool { return len(w.reasons("r1")) == 0 })
		w.join("r1", "room=a").say("x")
		s := w.tail("r1", admin.TailQuery{Room: "a"})
		resp, body := w.request(clientIP, "r1", "POST /v1/rooms/a/messages HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret-of-a-key\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nhi")
		if resp.StatusCode/100 != 2 {
			t.Fatalf("post: %s %s", resp.Status, body)
		}
		time.Sleep(time.Second)
		if m := s.follows(2, 2)[0]; m.Conn != "0000000000000000" || m.Publisher != "r1" || m.Bytes != 2 {
			t.Errorf("told %+v", m)
		}
	})
}

// A room that is not there has no tail; nor has one whose owner is not there.
func TestTailOfNothing(t *testing.T) {
	inCopies(t, 2, func(t *testing.T, w *world) {
		var e *proto.Error
		source, tell := w.running["r1"].Source(), func(admin.Event) error { return nil }
		if err := source.Tail(t.Context(), admin.TailQuery{Room: "a"}, tell); !errors.As(err, &e) || e.Code != proto.NotFound {
			t.Errorf("tail = %v", err)
		}
		w.join("r1", "room=a")
		broken := errors.New("broken pipe")
		if err := source.Tail(t.Context(), admin.TailQuery{Room: "a"}, func(admin.Event) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("tail = %v", err)
		}
		w.kill("s1", "s2")
		began := time.Now()
		if err := source.Tail(t.Context(), admin.TailQuery{Room: "a"}, tell); !errors.As(err, &e) || e.Code != proto.Unavailable {
			t.Errorf("tail = %v", err)
		}
		took(t, "the refusal", began, time.Now(), 0, 6*time.Second)
	})
}

// A tail follows its room through a drain and a fail-over, and misses nothing; where every copy was lost, it
// says that the room began anew.
func TestTailFollowsTheOwner(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		m := w.join("r1", "room=a")
		m.say("1")
		s := w.tail("r2", admin.TailQuery{Room: "a"})
		said := 1
		speak := func(n int) {
			for range n {
				said++
				m.say(fmt.Sprint(said))
				time.Sleep(50 * time.Millisecond)
			}
		}
		speak(10)
		first := w.room("r1", "a")
		drained := w.running[string(first.Owner)]
		if _, err := w.running["r2"].Source().Drain(t.Context(), string(first.Owner)); err != nil {
			t.Fatal(err)
		}
		speak(40)
		<-drained.ended
		w.settle(20 * time.Second)
		second := w.room("r1", "a")
		w.kill(string(second.Owner))
		speak(40)
		w.settle(20 * time.Second)
		time.Sleep(2 * time.Second)
		s.follows(2, said)
		opens := s.opens()
		if len(opens) != 3 || opens[0].Owner != first.Owner || opens[1].Owner != second.Owner || opens[2].Owner == second.Owner {
			t.Errorf("opened %+v", opens)
		}
		for _, o := range opens {
			if o.Reset || o.Epoch != first.Epoch {
				t.Errorf("opened %+v", o)
			}
		}
	})
}

func TestTailOfARoomThatBeginsAnew(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		w.router("r3", router.Config{}) // or two dead shards would take the majority with them
		w.agree(10 * time.Second)
		m := w.join("r1", "room=a")
		m.say("1", "2", "3")
		doc := w.room("r1", "a")
		s := w.tail("r2", admin.TailQuery{Room: "a"})
		w.kill(string(doc.Owner), string(doc.Followers[0]))
		w.waitFor("the room is back", 10*time.Second, func() bool {
			status, _ := w.ask("r1", http.MethodGet, "/v1/room?room=a", "")
			return status == http.StatusOK
		})
		m.say("4", "5")
		time.Sleep(2 * time.Second)
		opens := s.opens()
		if len(opens) != 2 || !opens[1].Reset || opens[1].Epoch == doc.Epoch || opens[1].Offset != 0 {
			t.Errorf("opened %+v", opens)
		}
		s.follows(1, 2)
	})
}

// A room that says more than a tail can tell has gaps in it, which are told, and the tail stays near the end.
func TestTailOfABusyRoom(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		m := w.join("r1", "room=a")
		m.say("x")
		s := w.tail("r2", admin.TailQuery{Room: "a", Payload: true})
		began := time.Now()
		for range 100 { // 2000 a second
			for range 40 {
				m.send(rfc6455.Frame(finText, "x"))
			}
			time.Sleep(20 * time.Millisecond)
		}
		lasted := time.Since(began)
		time.Sleep(2 * time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		next, told := proto.Offset(2), 0
		for i, e := range s.events {
			switch d := e.Data.(type) {
			case admin.TailMessage:
				if d.Offset != next {
					t.Fatalf("event %d is message %d, want %d", i, d.Offset, next)
				}
				next, told = next+1, told+1
			case admin.TailGap:
				if d.From != next || d.To < d.From {
					t.Fatalf("event %d is a gap from %d to %d, want it from %d", i, d.From, d.To, next)
				}
				next = d.To + 1
			}
		}
		if next != 4002 {
			t.Errorf("it ends before %d", next)
		}
		if most := int(400*lasted.Seconds()) + 800; told > most || told < 400 {
			t.Errorf("%d messages told in %v", told, lasted)
		}
	})
}

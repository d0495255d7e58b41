package node_test

import (
	"bufio"
	"context"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/openapi"
)

// TestAnswersAreAsDescribed: what nodes of both roles answer is what docs/openapi.yaml says, at rest and while a
// shard leaves. Package admin holds the file against all that it can know; this is about what nodes fill in.
func TestAnswersAreAsDescribed(t *testing.T) {
	description, err := openapi.Read("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, func(t *testing.T, w *world) {
		w.copies(3)
		m := w.join("r1", "room=r&num=1")
		m.say("hello")
		check := func(id, path, target string) {
			t.Helper()
			status, answer := w.ask(id, "GET", target, "")
			err := description.CheckJSON(answer, description.Paths[path]["GET"].Answers[status]["application/json"].Schema)
			if status != 200 || err != nil {
				t.Errorf("%s of %s: %d %.300s: %v", target, id, status, answer, err)
			}
		}
		all := func() {
			t.Helper()
			for _, id := range []string{"r1", "s1"} {
				for _, target := range []string{"/v1/ring", "/v1/ring?table=0", "/v1/nodes", "/v1/rooms?limit=1", "/v1/rooms?sort=messages", "/v1/room?room=r",
					"/v1/ring/plan?add=1", "/v1/ring/plan?remove=s2", "/healthz"} {
					path, _, _ := strings.Cut(target, "?")
					check(id, path, target)
				}
			}
		}
		all()
		seen, tail := w.stream(description, "r1", "/v1/events"), w.stream(description, "s1", "/v1/tail?room=r&payload=1")
		if status, answer := w.ask("r1", "POST", "/v1/drain", `{"node":"s3"}`); status != 202 || description.CheckJSON(answer, description.Schema("DrainDocument")) != nil {
			t.Errorf("drain: %d %s", status, answer)
		}
		all()
		m.say("again")
		told := seen(20 * time.Second)
		maps.Copy(told, tail(0))
		for _, name := range []string{"ring", "change", "nodes", "feed", "open", "message"} {
			if told[name] == 0 {
				t.Errorf("no event %s among %v", name, told)
			}
		}
		all()
	})
}

// stream reads events and checks them. What it returns is called to end it after a while, and tells how many of
// each there were.
func (w *world) stream(d *openapi.Document, id, target string) func(time.Duration) map[string]int {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return w.net.DialContext(ctx, addr) },
	}}
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+w.running[id].Addresses().Admin+target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil || res.StatusCode != 200 {
		w.t.Fatalf("%s: %v, %v", target, res, err)
	}
	path, _, _ := strings.Cut(target, "?")
	schemas := d.Paths[path]["GET"].Answers[200]["text/event-stream"].Events
	names := map[string]int{}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		name := ""
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if event, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				name = event
			} else if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				names[name]++
				if err := d.CheckJSON([]byte(data), schemas[name]); err != nil {
					w.t.Errorf("%s: %.300s: %v", name, data, err)
				}
			}
		}
	}()
	return func(after time.Duration) map[string]int {
		time.Sleep(after) // fake time
		stop()
		<-ended
		res.Body.Close()
		return names
	}
}

package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/roomring/roomring/proto"
)

// reasonNames is the values of the label, in the order of the constants.
var reasonNames = func() []string {
	f, _ := reflect.TypeFor[stats]().FieldByName("Refused")
	return strings.Split(f.Tag.Get("labels"), ",")
}()

// checkRefused checks that the server counted these reasons and no others.
func checkRefused(t *testing.T, s *Server, reasons ...string) {
	t.Helper()
	var have []string
	for i, name := range reasonNames {
		for range s.stats.Refused[i].Load() {
			have = append(have, name)
		}
	}
	want := slices.DeleteFunc(slices.Clone(reasons), func(name string) bool { return name == "" })
	if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(have)), want) {
		t.Errorf("counted %q, want %q", have, want)
	}
}

// TestRefusalsAreCounted: every way to be refused counts once, under its own reason; an answer counts
// nowhere.
func TestRefusalsAreCounted(t *testing.T) {
	full, read := []string{"Authorization", "Bearer full"}, []string{"Authorization", "Bearer read"}
	tests := []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		reason                     string
	}{
		{"an answer", "GET", "/v1/nodes", "", read, 200, ""},
		{"the page", "GET", "/", "", nil, 200, ""},
		{"a stream", "GET", "/v1/events", "", read, 200, ""},
		{"a change", "POST", "/v1/drain", "{}", full, 202, ""},
		{"a node that is not well", "GET", "/healthz", "", nil, 503, ""},

		{"no token", "GET", "/v1/nodes", "", nil, 401, "token"},
		{"no token for what is not there", "GET", "/v1/nothing", "", nil, 401, "token"},
		{"a wrong token", "GET", "/v1/rooms", "", []string{"Authorization", "Bearer nothing"}, 401, "token"},
		{"a token that may only read", "POST", "/v1/drain", "{}", read, 403, "token"},
		{"a token that may only read, profiles", "GET", "/debug/pprof/heap", "", read, 403, "token"},
		{"a token that may only read, payload", "GET", "/v1/tail?room=r&payload=1", "", read, 403, "token"},
		{"another site", "GET", "/v1/nodes", "", append(full, "Origin", "http://evil.example"), 403, "origin"},
		{"another site at the page", "GET", "/", "", []string{"Origin", "null"}, 403, "origin"},
		{"another name", "GET", "/v1/events", "", append(full, "Host", "evil.example"), 403, "host"},
		{"no such path", "GET", "/v1/nothing", "", read, 404, "path"},
		{"no such profile", "GET", "/debug/pprof/nothing", "", full, 404, "state"},
		{"another method", "DELETE", "/v1/rooms", "", full, 405, "method"},
		{"another method of the page", "POST", "/", "", nil, 405, "method"},
		{"a large body", "POST", "/v1/drain", strings.Repeat(" ", MaxBody+1), full, 413, "body"},
		{"a body of another type", "POST", "/v1/drain", "{}", append(full, "Content-Type", "text/plain"), 415, "body"},
		{"a body that is not understood", "POST", "/v1/drain", "[]", full, 400, "body"},
		{"a body with a bad node", "POST", "/v1/forget", `{"node":"S2"}`, full, 400, "body"},
		{"a query that is not there", "GET", "/v1/nodes?x=1", "", read, 400, "query"},
		{"a query of a change", "POST", "/v1/drain?node=s2", "{}", full, 400, "query"},
		{"a bad parameter", "GET", "/v1/rooms?limit=0", "", read, 400, "query"},
		{"a bad room", "GET", "/v1/room?room=%00", "", read, 400, "query"},
		{"a bad room in the path", "GET", "/v1/rooms/%00", "", read, 400, "query"},
		{"a bad node", "GET", "/v1/ring/plan?remove=S2", "", read, 400, "query"},
		{"a bad duration", "GET", "/debug/pprof/heap?seconds=61", "", full, 400, "query"},
		{"no such room", "GET", "/v1/room?room=none", "", read, 404, "state"},
	}
	for _, tt := range tests {
		s := newServer(t, Config{Token: "full", ReadToken: "read", Source: &source{sick: "very"}})
		r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
		r.Host = "127.0.0.1:8001"
		if tt.method == "POST" && !slices.Contains(tt.headers, "Content-Type") {
			r.Header.Set("Content-Type", jsonType)
		}
		for i := 0; i < len(tt.headers); i += 2 {
			if r.Header.Add(tt.headers[i], tt.headers[i+1]); tt.headers[i] == "Host" {
				r.Host = tt.headers[i+1]
			}
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != tt.status || s.stats.Requests.Load() != 1 {
			t.Errorf("%s: %d, want %d; %d requests counted", tt.name, w.Code, tt.status, s.stats.Requests.Load())
		}
		t.Run(tt.name, func(t *testing.T) { checkRefused(t, s, tt.reason) })
	}
}

// TestSourceErrorsAreCounted: why a node could not answer, before and after a stream has begun.
func TestSourceErrorsAreCounted(t *testing.T) {
	for _, tt := range []struct {
		err    error
		reason string
	}{
		{UnknownNode("s9"), "state"},
		{NotAlive("s2/0123456789abc", "draining"), "state"},
		{NoMajority(), "unavailable"},
		{&proto.Error{Code: proto.Unavailable}, "unavailable"},
		{&proto.Error{Code: proto.Full}, "full"},
		{&proto.Error{Code: proto.NotFound}, "state"},
		{context.DeadlineExceeded, "unavailable"},
		{errors.New("odd"), "internal"},
	} {
		s := newServer(t, Config{Source: &source{err: tt.err, watch: func(_ context.Context, tell func(Event) error) error {
			tell(Event{EventLost, LostEvent{}})
			return tt.err
		}}})
		ask(s.Handler(), "GET", "/v1/ring/plan?add=1")
		post(s.Handler(), "/v1/drain", "{}", "Content-Type", jsonType)
		ask(s.Handler(), "GET", "/v1/events")
		checkRefused(t, s, tt.reason, tt.reason, tt.reason)
		if s.stats.Events.Load() != 1 || s.stats.Streams.Load() != 0 {
			t.Errorf("%d events, %d streams", s.stats.Events.Load(), s.stats.Streams.Load())
		}
	}
}

func TestPanicsAreCounted(t *testing.T) {
	s := newServer(t, Config{Source: &source{ring: func(bool) any { panic("a broken invariant") }}})
	ask(s.Handler(), "GET", "/v1/ring")
	if checkRefused(t, s, "internal"); s.stats.Panics.Load() != 1 {
		t.Errorf("%d panics", s.stats.Panics.Load())
	}
}

// TestCountsAreMetrics: with every reason from the start.
func TestCountsAreMetrics(t *testing.T) {
	families := scrape(t, Config{Source: &source{watch: forever}})
	f := families["roomring_admin_refused_total"]
	if f.GetType() != dto.MetricType_COUNTER || f.GetHelp() == "" || len(f.GetMetric()) != int(reasons) {
		t.Fatalf("%v", f)
	}
	for _, m := range f.GetMetric() {
		if l := m.GetLabel(); len(l) != 1 || l[0].GetName() != "reason" || !slices.Contains(reasonNames, l[0].GetValue()) || m.GetCounter().GetValue() != 0 {
			t.Errorf("%v", m)
		}
	}
	for _, name := range []string{"roomring_admin_requests_total", "roomring_admin_panics_total", "roomring_admin_streams", "roomring_admin_events_total"} {
		if families[name].GetHelp() == "" {
			t.Errorf("%s: %v", name, families[name])
		}
	}
	if n := families["roomring_admin_requests_total"].GetMetric()[0].GetCounter().GetValue(); n != 1 {
		t.Errorf("%v requests before the answer to the first", n)
	}
}

// TestRefusalsOverSockets: the same over TCP, as an operator sees it, and the port serves on.
func TestRefusalsOverSockets(t *testing.T) {
	s := newServer(t, Config{Token: "full", ReadToken: "read"})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, ln) }()
	const auth = "Authorization: Bearer full\r\n"
	for _, request := range []string{
		"GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /v1/nodes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer fulll\r\n\r\n",
		"GET /v1/tail?room=r&payload=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer read\r\n\r\n",
		"POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer read\r\nContent-Length: 2\r\n\r\n{}",
		"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n" + auth + "\r\n",
		"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET /v1/rooms?limit=1001 HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n",
		"POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + auth + "Content-Length: 99999\r\n\r\n",
		"PUT /v1/ring/plan HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n",
		"GET /v2/rooms HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", MaxHead+5000) + "\r\n\r\n",
		"\x16\x03\x01\r\n\r\n",
	} {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		go io.WriteString(c, request)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode < 400 || res.StatusCode >= 500 || !res.Close {
			t.Errorf("%.60q: %v, %v", request, res, err)
		}
		c.Close()
	}
	stop() // conns are counted when they are closed
	if err := <-done; err != nil {
		t.Error(err)
	}
	checkRefused(t, s, "token", "token", "token", "token", "origin", "host", "query", "body", "method", "path", "malformed", "malformed")
}

// TestFloodOfOddRequests: ten times as many cost ten times nothing: every one is refused, counted and gone, and
// who asks properly is answered at once.
func TestFloodOfOddRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 200
		p := start(t, Config{Source: &source{watch: forever}})
		stream := p.open(p.dial(), streamRequest)
		began := time.Now()
		for range each {
			for _, request := range []string{"hello\r\n\r\n", "GET /v1/rooms?limit=x HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"} {
				c := p.dial()
				p.say(c, request)
				c.Close()
			}
		}
		if status, _ := p.say(p.dial(), simple); status != 200 || time.Since(began) > 0 {
			t.Errorf("status %d after %v", status, time.Since(began))
		}
		if p.stats.Streams.Load() != 1 || stream.StatusCode != 200 {
			t.Error("the stream beside it has ended")
		}
		synctest.Wait()
		checkRefused(t, p.Server, slices.Concat(slices.Repeat([]string{"malformed"}, each), slices.Repeat([]string{"query"}, each), slices.Repeat([]string{"host"}, each))...)
		p.end()
	})
}

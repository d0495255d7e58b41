package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/proto"
)

// source is a Source made of what a test wants to be told.
type source struct {
	rooms   map[string]RoomDocument
	err     error // of Room, for all rooms, and of changes
	reasons []string
	sick    string // why Health is false, "" when it is true
	ring    func(withTable bool) any

	forgotten ForgetDocument
	recovered RecoverDocument
	drained   DrainDocument
	stuck     bool     // changes wait for the end of their ctx
	changes   []string // that were asked for

	nodes   NodesDocument
	listed  RoomsDocument
	planned PlanDocument
	asked   []any // queries of rooms, plans and tails

	watch func(ctx context.Context, tell func(Event) error) error // and tail; if nil, one EventOpen

	broken bool // whatever is asked panics
}

func (s *source) use() {
	if s.broken {
		panic("a broken invariant")
	}
}

func (s *source) Nodes(context.Context) NodesDocument {
	s.use()
	return s.nodes
}

func (s *source) Rooms(_ context.Context, q RoomsQuery) (RoomsDocument, error) {
	s.use()
	s.asked = append(s.asked, q)
	return s.listed, s.err
}

func (s *source) Plan(_ context.Context, q PlanQuery) (PlanDocument, error) {
	s.use()
	s.asked = append(s.asked, q)
	return s.planned, s.err
}

func (s *source) Drain(ctx context.Context, node string) (DrainDocument, error) {
	return s.drained, s.change(ctx, "drain "+node)
}

func (s *source) Watch(ctx context.Context, onlyFeed bool, tell func(Event) error) error {
	s.use()
	if s.watch != nil {
		return s.watch(ctx, tell)
	}
	return tell(Event{EventOpen, map[string]bool{"only_feed": onlyFeed}})
}

func (s *source) Tail(ctx context.Context, q TailQuery, tell func(Event) error) error {
	s.asked = append(s.asked, q)
	return s.Watch(ctx, false, tell)
}

func (s *source) Ring(withTable bool) any {
	s.use()
	if s.ring != nil {
		return s.ring(withTable)
	}
	d := map[string]any{"cluster": "test", "settled": true}
	if withTable {
		d["table"] = []int{0, 1, 2}
	}
	return d
}

func (s *source) Room(ctx context.Context, name string) (RoomDocument, error) {
	s.use()
	if s.err != nil {
		return RoomDocument{}, s.err
	}
	d, ok := s.rooms[name]
	if !ok {
		return d, fmt.Errorf("ask the owner: %w", &proto.Error{Code: proto.NotFound, Op: "room"})
	}
	return d, nil
}

func (s *source) Forget(ctx context.Context, node string) (ForgetDocument, error) {
	return s.forgotten, s.change(ctx, "forget "+node)
}

func (s *source) Recover(ctx context.Context) (RecoverDocument, error) {
	return s.recovered, s.change(ctx, "recover")
}

func (s *source) change(ctx context.Context, what string) error {
	s.use()
	s.changes = append(s.changes, what)
	if s.stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.err
}

func (s *source) Ready() (bool, []string) {
	s.use()
	return !slices.Contains(s.reasons, "no_majority"), s.reasons
}

func (s *source) Health() (bool, string) {
	s.use()
	return s.sick == "", s.sick
}

func newTest(t *testing.T, c Config) http.Handler {
	t.Helper()
	return newServer(t, c).Handler()
}

func newServer(t *testing.T, c Config) *Server {
	t.Helper()
	if c.Source == nil {
		c.Source = &source{}
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends one request; headers are name, value, name, value; "Host" is the
// Host header.
func ask(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:8001"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// code is the code of an error answer, "" for one that is none.
func code(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var d struct {
		Error struct{ Code, Message string }
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
			t.Errorf("answer %q: %v", w.Body, err)
		}
	}
	if d.Error.Code != "" && d.Error.Message == "" {
		t.Errorf("%s comes without a message", d.Error.Code)
	}
	return d.Error.Code
}

func TestAnswers(t *testing.T) {
	lobby := RoomDocument{Room: "lobby", Partition: 17, Owner: "s1", Followers: []proto.NodeID{"s2"}, Term: 3, Epoch: "00000000001ka",
		Offset: 42, First: 12, Kept: 31, Bytes: 900, Members: 5, Routers: map[proto.NodeID]int{"r1": 3, "r2": 2}}
	h := newTest(t, Config{Source: &source{rooms: map[string]RoomDocument{
		"lobby": lobby, "a/b": {Room: "a/b"}, "..": {Room: ".."}, "a b": {Room: "a b"}, "a+b": {Room: "a+b"}, "%": {Room: "%"}, "<кухня>": {Room: "<кухня>"},
	}}})
	tests := []struct {
		method, target string
		status         int
		want           string // the code of an error, else a part of the body
	}{
		{"GET", "/v1/ring", 200, `"table":[0,1,2]`},
		{"GET", "/v1/ring?table=1", 200, `"table":[0,1,2]`},
		{"GET", "/v1/ring?table=0", 200, `{"cluster":"test","settled":true}` + "\n"},
		{"GET", "/v1/ring?pretty&other=1", 200, `"table"`},
		{"GET", "/v1/ring?table=", 400, "bad_request"},
		{"GET", "/v1/ring?table=2", 400, "bad_request"},
		{"GET", "/v1/ring?table=0&table=0", 400, "bad_request"},
		{"GET", "/v1/ring?table=%zz", 400, "bad_request"},
		{"GET", "/v1/ring?a;b", 400, "bad_request"},

		{"GET", "/v1/room?room=lobby", 200, `{"room":"lobby","partition":17,"owner":"s1","followers":["s2"],"term":3,"epoch":"00000000001ka","offset":42,"first":12,"kept":31,"bytes":900,"members":5,"routers":{"r1":3,"r2":2}}` + "\n"},
		{"GET", "/v1/room?room=a+b", 200, `"room":"a b"`},
		{"GET", "/v1/room?room=a%2bb&x=1", 200, `"room":"a+b","partition":0,"owner":"","followers":[],`},
		{"GET", "/v1/room?room=a/b", 200, `"routers":{}`},
		{"GET", "/v1/room?room=%3C%D0%BA%D1%83%D1%85%D0%BD%D1%8F%3E", 200, `"room":"<кухня>"`},
		{"GET", "/v1/room?room=nobody", 404, "not_found"},
		{"GET", "/v1/room", 400, "bad_room"},
		{"GET", "/v1/room?room=", 400, "bad_room"},
		{"GET", "/v1/room?room=lobby&room=lobby", 400, "bad_room"},
		{"GET", "/v1/room?room=%00", 400, "bad_room"},
		{"GET", "/v1/room?room=%ff", 400, "bad_room"},
		{"GET", "/v1/room?room=" + strings.Repeat("x", 256), 400, "bad_room"},
		{"GET", "/v1/room?room=%f", 400, "bad_request"},
		{"GET", "/v1/room/?room=lobby", 404, "not_found"},

		{"GET", "/v1/rooms/lobby", 200, `"offset":42`},
		{"GET", "/v1/rooms/lobby?room=other", 200, `"room":"lobby"`},
		{"GET", "/v1/rooms/a%2Fb", 200, `"room":"a/b"`},
		{"GET", "/v1/rooms/a%2fb", 200, `"room":"a/b"`},
		{"GET", "/v1/rooms/a%20b", 200, `"room":"a b"`},
		{"GET", "/v1/rooms/a+b", 200, `"room":"a+b"`},
		{"GET", "/v1/rooms/%2e%2E", 200, `"room":".."`},
		{"GET", "/v1/rooms/%25", 200, `"room":"%"`},
		{"GET", "/v1/rooms/nobody", 404, "not_found"},
		{"GET", "/v1/rooms/a%0Ab", 400, "bad_room"},
		{"GET", "/v1/rooms/%C2%85", 400, "bad_room"},
		{"GET", "/v1/rooms/", 400, "bad_room"},
		{"GET", "/v1/rooms/{room}", 404, "not_found"},
		{"GET", "/v1/rooms/a/b", 404, "not_found"},
		{"GET", "/v1/rooms/lobby/", 404, "not_found"},

		{"GET", "/healthz", 200, `{"ok":true}` + "\n"},
		{"GET", "/readyz", 200, `{"ready":true,"reasons":[],"messages":{}}` + "\n"},
		{"GET", "/metrics", 200, "go_goroutines"},
		{"GET", "/debug/pprof/", 200, "goroutine"},
		{"GET", "/debug/pprof/goroutine?debug=1", 200, "goroutine profile"},
		{"GET", "/debug/pprof/heap", 200, ""},
		{"GET", "/debug/pprof/none-such", 404, ""},
		{"GET", "/debug/pprof/profile?seconds=61", 400, "bad_request"},
		{"GET", "/debug/pprof/trace?seconds=1e9", 400, "bad_request"},
		{"GET", "/debug/pprof/heap?seconds=-1", 400, "bad_request"},
		{"GET", "/debug/pprof/heap?seconds=NaN", 400, "bad_request"},
		{"GET", "/debug/pprof/goroutine/deeper", 404, "not_found"},

		{"GET", "/", 200, "<!doctype html>"},
		{"GET", "/index.html", 404, "not_found"},
		{"GET", "/%2f", 404, "not_found"},
		{"GET", "/favicon.ico", 404, "not_found"},
		{"GET", "/v1", 404, "not_found"},
		{"GET", "/v1/ring/", 404, "not_found"},
		{"GET", "//v1/ring", 404, "not_found"},
		{"GET", "/v1/../v1/ring", 404, "not_found"},
		{"GET", "/V1/ring", 404, "not_found"},
		{"GET", "/v1/%72ing", 404, "not_found"},
		{"OPTIONS", "*", 404, "not_found"},
	}
	for _, tt := range tests {
		w := ask(h, tt.method, tt.target)
		if w.Code != tt.status {
			t.Errorf("%s %s: %d, want %d: %s", tt.method, tt.target, w.Code, tt.status, w.Body)
		}
		if c := code(t, w); c != tt.want && (c != "" || !strings.Contains(w.Body.String(), tt.want)) {
			t.Errorf("%s %s: %s, want %s", tt.method, tt.target, w.Body, tt.want)
		}
	}
}

func TestMethods(t *testing.T) {
	h := newTest(t, Config{Source: &source{rooms: map[string]RoomDocument{"r": {Room: "r"}}}})
	for _, path := range []string{"/v1/ring", "/v1/room?room=r", "/v1/rooms/r", "/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/pprof/heap"} {
		if w := ask(h, "HEAD", path); w.Code != 200 {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
		for _, m := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "QUERY"} {
			w := ask(h, m, path)
			if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" || code(t, w) != "method_not_allowed" {
				t.Errorf("%s %s: %d, Allow %q, %s", m, path, w.Code, w.Header().Get("Allow"), w.Body)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	h := newTest(t, Config{Source: &source{sick: "a lane is stuck", reasons: []string{"no_majority", "draining"}}})
	if w := ask(h, "GET", "/healthz"); w.Code != 503 || w.Body.String() != `{"ok":false,"reason":"a lane is stuck"}`+"\n" {
		t.Errorf("healthz: %d %s", w.Code, w.Body)
	}
	if w := ask(h, "GET", "/readyz"); w.Code != 503 || w.Body.String() != `{"ready":false,"reasons":["no_majority","draining"],`+
		`"messages":{"draining":"this node is about to leave","no_majority":"no leader was heard of for 3 s: without a majority of the voters the table cannot change"}}`+"\n" {
		t.Errorf("readyz: %d %s", w.Code, w.Body)
	}
	h = newTest(t, Config{Source: &source{reasons: []string{"single_copy"}}})
	if w := ask(h, "GET", "/readyz"); w.Code != 200 || w.Body.String() != `{"ready":true,"reasons":["single_copy"],"messages":{}}`+"\n" {
		t.Errorf("readyz with a warning: %d %s", w.Code, w.Body)
	}
}

func TestRoomErrors(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
		logged int
	}{
		{&proto.Error{Code: proto.NotFound}, 404, "not_found", 0},
		{&proto.Error{Code: proto.BadRoom}, 400, "bad_room", 0},
		{&proto.Error{Code: proto.Full}, 503, "full", 0},
		{fmt.Errorf("wrapped: %w", &proto.Error{Code: proto.Unavailable}), 503, "unavailable", 0},
		{context.DeadlineExceeded, 503, "unavailable", 0},
		{context.Canceled, 503, "unavailable", 0},
		{&proto.Error{Code: proto.Malformed}, 500, "internal", 1},
		{errors.New("secret detail"), 500, "internal", 1},
	}
	for _, tt := range tests {
		core, logs := observer.New(zap.DebugLevel)
		w := ask(newTest(t, Config{Source: &source{err: tt.err}, Logger: zap.New(core)}), "GET", "/v1/room?room=r")
		if w.Code != tt.status || code(t, w) != tt.code || logs.Len() != tt.logged {
			t.Errorf("%v: %d %s, %d logged", tt.err, w.Code, w.Body, logs.Len())
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("the answer tells the detail: %s", w.Body)
		}
	}
}

func TestPanicIsContained(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	h := newTest(t, Config{Source: &source{ring: func(bool) any { panic("a broken invariant") }}, Logger: zap.New(core)})
	if w := ask(h, "GET", "/v1/ring"); w.Code != 500 || code(t, w) != "internal" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if logs.FilterMessage("admin request panicked").Len() != 1 {
		t.Errorf("logged: %v", logs.All())
	}
}

func TestUnrenderable(t *testing.T) {
	h := newTest(t, Config{Source: &source{ring: func(bool) any { return map[string]any{"a": "first", "b": func() {}} }}})
	if w := ask(h, "GET", "/v1/ring"); w.Code != 500 || code(t, w) != "internal" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTokens(t *testing.T) {
	const full, read = "full-token", "read-token"
	auth := func(s string) []string { return []string{"Authorization", s} }
	both := Config{Token: full, ReadToken: read}
	tests := []struct {
		name           string
		config         Config
		method, target string
		headers        []string
		status         int
		code           string
	}{
		{"none needed", Config{}, "GET", "/v1/ring", nil, 200, ""},
		{"none needed, a stray one is ignored", Config{}, "GET", "/v1/ring", auth("Bearer whatever"), 200, ""},
		{"none needed for profiles", Config{}, "GET", "/debug/pprof/", nil, 200, ""},

		{"none", both, "GET", "/v1/ring", nil, 401, "unauthorized"},
		{"full", both, "GET", "/v1/ring", auth("Bearer " + full), 200, ""},
		{"read", both, "GET", "/v1/ring", auth("Bearer " + read), 200, ""},
		{"read, HEAD", both, "HEAD", "/v1/ring", auth("Bearer " + read), 200, ""},
		{"scheme in lower case", both, "GET", "/v1/ring", auth("bearer " + read), 200, ""},
		{"wrong", both, "GET", "/v1/ring", auth("Bearer nothing"), 401, "unauthorized"},
		{"a prefix", both, "GET", "/v1/ring", auth("Bearer full-toke"), 401, "unauthorized"},
		{"more", both, "GET", "/v1/ring", auth("Bearer full-tokens"), 401, "unauthorized"},
		{"empty", both, "GET", "/v1/ring", auth("Bearer "), 401, "unauthorized"},
		{"no scheme", both, "GET", "/v1/ring", auth(full), 401, "unauthorized"},
		{"basic", both, "GET", "/v1/ring", auth("Basic " + full), 401, "unauthorized"},
		{"twice", both, "GET", "/v1/ring", append(auth("Bearer "+full), auth("Bearer "+full)...), 401, "unauthorized"},
		{"in the query", both, "GET", "/v1/ring?token=" + full, nil, 401, "unauthorized"},
		{"in a cookie", both, "GET", "/v1/ring", []string{"Cookie", "token=" + full}, 401, "unauthorized"},

		{"full, profiles", both, "GET", "/debug/pprof/", auth("Bearer " + full), 200, ""},
		{"read, profiles", both, "GET", "/debug/pprof/", auth("Bearer " + read), 403, "forbidden"},
		{"read, one profile", both, "GET", "/debug/pprof/heap", auth("Bearer " + read), 403, "forbidden"},
		{"read, CPU", both, "GET", "/debug/pprof/profile", auth("Bearer " + read), 403, "forbidden"},
		{"none, metrics", both, "GET", "/metrics", nil, 401, "unauthorized"},
		{"read, metrics", both, "GET", "/metrics", auth("Bearer " + read), 200, ""},
		{"read, wrong method", both, "POST", "/v1/ring", auth("Bearer " + read), 405, "method_not_allowed"},
		{"none, wrong method", both, "POST", "/v1/ring", nil, 401, "unauthorized"},
		{"none, unknown path", both, "GET", "/v1/nothing", nil, 401, "unauthorized"},
		{"read, unknown path", both, "GET", "/v1/nothing", auth("Bearer " + read), 404, "not_found"},
		{"none, health", both, "GET", "/healthz", nil, 200, ""},
		{"none, ready", both, "GET", "/readyz", nil, 200, ""},
		{"wrong, health", both, "GET", "/healthz", auth("Bearer nothing"), 200, ""},

		{"only full set, none", Config{Token: full}, "GET", "/v1/ring", nil, 401, "unauthorized"},
		{"only full set, empty", Config{Token: full}, "GET", "/v1/ring", auth("Bearer"), 401, "unauthorized"},
		{"only full set", Config{Token: full}, "GET", "/v1/ring", auth("Bearer " + full), 200, ""},
		{"only read set", Config{ReadToken: read}, "GET", "/v1/ring", auth("Bearer " + read), 200, ""},
		{"only read set, none", Config{ReadToken: read}, "GET", "/v1/ring", nil, 401, "unauthorized"},
		{"only read set, profiles", Config{ReadToken: read}, "GET", "/debug/pprof/", auth("Bearer " + read), 403, "forbidden"},
	}
	for _, tt := range tests {
		w := ask(newTest(t, tt.config), tt.method, tt.target, tt.headers...)
		if c := code(t, w); w.Code != tt.status || c != tt.code {
			t.Errorf("%s: %d %s, want %d %s", tt.name, w.Code, c, tt.status, tt.code)
		}
		if have := w.Header().Get("WWW-Authenticate"); (have != "") != (w.Code == 401) {
			t.Errorf("%s: %d with WWW-Authenticate %q", tt.name, w.Code, have)
		}
	}
}

func TestOrigin(t *testing.T) {
	tests := []struct {
		host, origin string
		ok           bool
	}{
		{"127.0.0.1:8001", "http://127.0.0.1:8001", true},
		{"localhost:8001", "http://localhost:8001", true},
		{"localhost:8001", "HTTP://LocalHost:8001", true},
		{"localhost", "http://localhost", true},
		{"localhost", "http://localhost:80", true},
		{"localhost:80", "http://localhost", true},
		{"[::1]:8001", "http://[::1]:8001", true},
		{"127.0.0.1:8001", "", false},
		{"127.0.0.1:8001", "null", false},
		{"127.0.0.1:8001", "http://127.0.0.1:8000", false},
		{"127.0.0.1:8001", "http://127.0.0.1", false},
		{"127.0.0.1:8001", "https://127.0.0.1:8001", false},
		{"127.0.0.1:8001", "http://localhost:8001", false},
		{"127.0.0.1:8001", "http://evil.example", false},
		{"127.0.0.1:8001", "http://evil.example:8001", false},
		{"127.0.0.1:8001", "http://127.0.0.1:8001.evil.example", false},
		{"127.0.0.1:8001", "http://127.0.0.1:8001@evil.example", false},
		{"127.0.0.1:8001", "http://127.0.0.1:8001/", false},
		{"127.0.0.1:8001", "http://127.0.0.1:8001 http://evil.example", false},
		{"127.0.0.1:8001", "http://127.0.0.1:08001", false},
		{"127.0.0.1:8001", "127.0.0.1:8001", false},
		{"127.0.0.1:8001", "file://", false},
	}
	h := newTest(t, Config{})
	for _, tt := range tests {
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "DELETE"} {
			for _, path := range []string{"/v1/ring", "/healthz", "/nothing"} {
				w := ask(h, method, path, "Host", tt.host, "Origin", tt.origin)
				if refused := w.Code == 403 && code(t, w) == "forbidden_origin"; refused == tt.ok {
					t.Errorf("%s %s from %q at %s: %d %s", method, path, tt.origin, tt.host, w.Code, w.Body)
				}
				if w.Header().Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s %s: an allowance for other origins", method, path)
				}
			}
		}
	}
	if w := ask(h, "GET", "/v1/ring", "Origin", "http://127.0.0.1:8001", "Origin", "http://evil.example"); w.Code != 403 {
		t.Errorf("two origins: %d", w.Code)
	}
	guarded := newTest(t, Config{Token: "full"})
	if w := ask(guarded, "GET", "/v1/ring", "Origin", "http://evil.example", "Authorization", "Bearer full"); w.Code != 403 {
		t.Errorf("a foreign origin with a token: %d", w.Code)
	}
}

func TestHost(t *testing.T) {
	open := map[string]bool{
		"localhost": true, "localhost:8001": true, "LOCALHOST:1": true, "127.0.0.1": true, "127.0.0.1:65535": true, "[::1]": true, "[::1]:8001": true,
		"": false, ":8001": false, "evil.example": false, "evil.example:8001": false, "localhost.evil.example": false, "127.0.0.1.evil.example:8001": false,
		"localhost.": false, "127.1": false, "127.0.0.2": false, "0.0.0.0:8001": false, "::1": false, "[::1": false, "[::1]8001": false, "[localhost]:1": false,
		"localhost:": false, "localhost:80a": false, "localhost:65536": false, "localhost:1:2": false, "evil.example@localhost": false, "10.0.0.1:8001": false,
	}
	for _, listen := range []string{"", "127.0.0.1:8001", "localhost:8001", "[::1]:8001"} {
		h := newTest(t, Config{Listen: listen})
		for host, ok := range open {
			for _, path := range []string{"/v1/ring", "/healthz"} {
				w := ask(h, "GET", path, "Host", host)
				if have := w.Code == 200; have != ok || !ok && code(t, w) != "forbidden_host" {
					t.Errorf("listening on %q, asked as %q: %d %s", listen, host, w.Code, w.Body)
				}
			}
		}
	}
	own := newTest(t, Config{Listen: "127.0.0.9:8001"})
	if w := ask(own, "GET", "/v1/ring", "Host", "127.0.0.9:8001"); w.Code != 200 {
		t.Errorf("the listener's own address: %d", w.Code)
	}
	far := newTest(t, Config{Listen: "0.0.0.0:8001", Token: "full"})
	if w := ask(far, "GET", "/v1/ring", "Host", "node7.example", "Authorization", "Bearer full"); w.Code != 200 {
		t.Errorf("any name on a port that is not loopback: %d", w.Code)
	}
}

func TestSecurityHeaders(t *testing.T) {
	h := newTest(t, Config{Token: "full"})
	want := map[string]string{
		"X-Content-Type-Options":       "nosniff",
		"Cache-Control":                "no-store",
		"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Referrer-Policy":              "no-referrer",
	}
	for _, path := range []string{"/v1/ring", "/v1/room?room=x", "/metrics", "/healthz", "/readyz", "/debug/pprof/", "/nothing"} {
		for _, headers := range [][]string{nil, {"Authorization", "Bearer full"}, {"Origin", "null"}} {
			w := ask(h, "GET", path, headers...)
			for name := range maps.Keys(want) {
				if have := w.Header().Values(name); len(have) != 1 || have[0] != want[name] {
					t.Errorf("%s with %v: %s %q, want %q", path, headers, name, have, want[name])
				}
			}
			if w.Header().Get("Set-Cookie") != "" {
				t.Errorf("%s sets a cookie", path)
			}
		}
	}
}

func TestCheckConfig(t *testing.T) {
	tests := []struct {
		config Config
		want   string // a part of the error, "" for none
	}{
		{Config{}, ""},
		{Config{Listen: "127.0.0.1:8001"}, ""},
		{Config{Listen: "127.8.8.8:0"}, ""},
		{Config{Listen: "localhost:8001"}, ""},
		{Config{Listen: "[::1]:8001"}, ""},
		{Config{Listen: "[::ffff:127.0.0.1]:8001"}, ""},
		{Config{Listen: "0.0.0.0:8001"}, "--admin-token"},
		{Config{Listen: ":8001"}, "--admin-token"},
		{Config{Listen: "[::]:8001"}, "--admin-token"},
		{Config{Listen: "10.0.0.1:8001"}, "--admin-token"},
		{Config{Listen: "node7.example:8001"}, "--admin-token"},
		{Config{Listen: "localhost.example:8001"}, "--admin-token"},
		{Config{Listen: "0.0.0.0:8001", Token: "x"}, ""},
		{Config{Listen: "0.0.0.0:8001", ReadToken: "x"}, ""},
		{Config{Listen: "8001"}, "--admin 8001"},
		{Config{Token: "s4m3-s4m3", ReadToken: "s4m3-s4m3"}, "--admin-read-token"},
		{Config{Token: "with space"}, "--admin-token"},
		{Config{ReadToken: "line\n"}, "--admin-read-token"},
		{Config{ReadToken: "ж"}, "--admin-read-token"},
	}
	for _, tt := range tests {
		err := CheckConfig(tt.config)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.config.Listen, err, tt.want)
		}
		for _, secret := range []string{tt.config.Token, tt.config.ReadToken} {
			if err != nil && len(secret) > 1 && strings.Contains(err.Error(), secret) {
				t.Errorf("the error tells the token: %v", err)
			}
		}
		if _, err2 := New(Config{Listen: tt.config.Listen, Token: tt.config.Token, ReadToken: tt.config.ReadToken, Source: &source{}}); (err2 == nil) != (err == nil) {
			t.Errorf("%q: New says %v, CheckConfig %v", tt.config.Listen, err2, err)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a server without a source")
	}
}

// Tokens are replaced at once, both of them, and never all taken away.
func TestTokensAreReplaced(t *testing.T) {
	s := newServer(t, Config{Token: "full-token", ReadToken: "read-token"})
	status := func(token, method, target string) int {
		return ask(s.Handler(), method, target, "Authorization", "Bearer "+token).Code
	}
	if err := s.SetTokens("next-full-token", "next-read-token"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		token, target string
		status        int
	}{
		{"full-token", "/v1/ring", 401}, {"read-token", "/v1/ring", 401},
		{"next-full-token", "/v1/ring", 200}, {"next-read-token", "/v1/ring", 200},
		{"next-full-token", "/debug/pprof/", 200}, {"next-read-token", "/debug/pprof/", 403},
	} {
		if got := status(c.token, "GET", c.target); got != c.status {
			t.Errorf("%s, %s: %d, want %d", c.token, c.target, got, c.status)
		}
	}
	for _, bad := range [][2]string{{"", ""}, {"the-same-token", "the-same-token"}, {"a token", "next-read-token"}} {
		if err := s.SetTokens(bad[0], bad[1]); err == nil {
			t.Errorf("%q were taken", bad)
		}
	}
	if got := status("next-full-token", "GET", "/v1/ring"); got != 200 {
		t.Errorf("behind what was refused: %d", got)
	}
	if err := newServer(t, Config{}).SetTokens("full-token", ""); err == nil {
		t.Error("a port without a token got one")
	}
}

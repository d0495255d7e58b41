package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/roomring/roomring/proto"
)

const (
	fuzzToken = "full-token-of-16"
	fuzzRead  = "read-token-of-16"
)

// witnessed is a Source that holds what it is asked against what an asker may
// ask, and in which form.
type witnessed struct {
	source
	t     *testing.T
	token string
	rooms []string
}

func (w *witnessed) Room(ctx context.Context, name string) (RoomDocument, error) {
	if proto.CheckRoom(name) != nil || w.token == "" {
		w.t.Errorf("asked for room %q with token %q", name, w.token)
	}
	w.rooms = append(w.rooms, name)
	return RoomDocument{Room: name}, nil
}

func (w *witnessed) Forget(ctx context.Context, node string) (ForgetDocument, error) {
	if CheckNode(node) != nil || w.token != fuzzToken {
		w.t.Errorf("asked to forget %q with token %q", node, w.token)
	}
	return w.source.Forget(ctx, node)
}

func (w *witnessed) Recover(ctx context.Context) (RecoverDocument, error) {
	if w.token != fuzzToken {
		w.t.Errorf("asked to recover with token %q", w.token)
	}
	return w.source.Recover(ctx)
}

func (w *witnessed) Drain(ctx context.Context, node string) (DrainDocument, error) {
	if node != "" && CheckNode(node) != nil || w.token != fuzzToken {
		w.t.Errorf("asked to drain %q with token %q", node, w.token)
	}
	return w.source.Drain(ctx, node)
}

func (w *witnessed) Nodes(ctx context.Context) NodesDocument {
	w.needsToken()
	return w.source.Nodes(ctx)
}

func (w *witnessed) Rooms(ctx context.Context, q RoomsQuery) (RoomsDocument, error) {
	w.needsToken()
	return w.source.Rooms(ctx, q)
}

func (w *witnessed) Plan(ctx context.Context, q PlanQuery) (PlanDocument, error) {
	w.needsToken()
	return w.source.Plan(ctx, q)
}

func (w *witnessed) Watch(ctx context.Context, onlyFeed bool, tell func(Event) error) error {
	w.needsToken()
	w.asked = append(w.asked, onlyFeed)
	return tell(Event{EventLost, LostEvent{1}})
}

func (w *witnessed) Tail(ctx context.Context, q TailQuery, tell func(Event) error) error {
	if proto.CheckRoom(q.Room) != nil || w.token == "" || q.Payload && w.token != fuzzToken {
		w.t.Errorf("asked for the tail %+v with token %q", q, w.token)
	}
	w.rooms, w.asked = append(w.rooms, q.Room), append(w.asked, q)
	return tell(Event{EventOpen, TailOpen{Room: q.Room}})
}

func (w *witnessed) needsToken() {
	if w.token == "" {
		w.t.Error("asked without a token")
	}
}

// FuzzRequest hands whole requests to a port with two tokens. None is answered
// by 500, which a panic would be; nothing is asked of the node without the right
// token, from a page elsewhere or in a form that is not allowed; what is asked is
// what net/url and encoding/json read in the request; and every answer is whole.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET /v1/room?room=a+b%2Fc HTTP/1.1\r\nHost: 127.0.0.1:8001\r\nAuthorization: Bearer " + fuzzRead + "\r\n\r\n",
		"GET /v1/rooms/a%2Fb HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + fuzzRead + "\r\n\r\n",
		"GET /v1/ring?table=0 HTTP/1.1\r\nHost: [::1]:8001\r\nOrigin: http://[::1]:8001\r\nAuthorization: bearer " + fuzzToken + "\r\n\r\n",
		"POST /v1/forget HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + fuzzToken + "\r\nContent-Length: 13\r\n\r\n{\"node\":\"s2\"}",
		"POST /v1/recover HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json; x=y\r\nAuthorization: Bearer " + fuzzToken + "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /v1/recover HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + fuzzRead + "\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + fuzzToken + "\r\nContent-Length: 13\r\n\r\n{\"node\":\"s2\"}",
		"POST /v1/drain?node=s2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + fuzzToken + "\r\nContent-Length: 2\r\n\r\n{}",
		"GET /v1/rooms?prefix=a%2F&limit=7&sort=members HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + fuzzRead + "\r\n\r\n",
		"HEAD /v1/ring/plan?remove=s2 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + fuzzRead + "\r\n\r\n",
		"GET /v1/events?only=feed HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 7\r\nAuthorization: Bearer " + fuzzRead + "\r\n\r\n",
		"GET /v1/tail?room=a&payload=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + fuzzRead + "\r\n\r\n",
		"GET /v1/tail?payload=1&room=a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + fuzzToken + "\r\nContent-Length: 3\r\n\r\nabc",
		"GET /inspector.js HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
		"GET /readyz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
		"GET /debug/pprof/heap?debug=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + fuzzRead + "\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	w := &witnessed{}
	h := fuzzed(f, w)
	f.Fuzz(func(t *testing.T, raw []byte) {
		*w = witnessed{t: t}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil || strings.HasPrefix(r.URL.Path, profilePrefix) && r.Header.Get("Authorization") == "Bearer "+fuzzToken {
			return // profiles take their time, and are net/http/pprof's
		}
		if strings.ContainsFunc(r.Host, func(c rune) bool { return c >= utf8.RuneSelf }) {
			return // a server of net/http refuses it
		}
		if kind, token, _ := strings.Cut(strings.Join(r.Header["Authorization"], "\n"), " "); strings.EqualFold(kind, "Bearer") {
			if token = strings.Trim(token, " \t"); token == fuzzToken || token == fuzzRead {
				w.token = token
			}
		}
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		checkWhole(t, answer)
		if len(w.rooms)+len(w.changes)+len(w.asked) > 0 {
			checkAsked(t, w, r)
		}
		if origin := r.Header["Origin"]; answer.Code < 300 && len(origin) > 0 {
			if u, err := url.Parse(origin[0]); err != nil || len(origin) > 1 || !strings.EqualFold(u.Hostname(), (&url.URL{Host: r.Host}).Hostname()) {
				t.Errorf("a page of %q was answered %d", origin, answer.Code)
			}
		}
	})
}

// fuzzed is a port for many requests: to make one takes longer than to ask it.
func fuzzed(f *testing.F, s Source) http.Handler {
	f.Helper()
	server, err := New(Config{Listen: "127.0.0.1:8001", Token: fuzzToken, ReadToken: fuzzRead, Source: s})
	if err != nil {
		f.Fatal(err)
	}
	return server.Handler()
}

// checkWhole checks what every answer is.
func checkWhole(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code == http.StatusInternalServerError {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", w.Header())
	}
	if events, ok := strings.CutSuffix(w.Body.String(), "}\n\n"); w.Header().Get("Content-Type") == "text/event-stream" && w.Body.Len() > 0 && (!ok || !strings.HasPrefix(events, "event: ") || strings.Count(events, "\n") != 1) {
		t.Errorf("%q is no event", w.Body)
	}
	if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
		t.Errorf("%q is no json", w.Body)
	}
	if c := code(t, w); w.Code >= 400 && c == "" && w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d without a code: %s", w.Code, w.Body)
	}
}

// checkAsked checks that the request says what the node was asked.
func checkAsked(t *testing.T, w *witnessed, r *http.Request) {
	t.Helper()
	if host := strings.ToLower((&url.URL{Host: r.Host}).Hostname()); !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, host) {
		t.Errorf("asked by the host %q", r.Host)
	}
	for _, room := range w.rooms {
		path, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), roomPrefix))
		byPath := err == nil && path == room && strings.HasPrefix(r.URL.EscapedPath(), roomPrefix)
		if !byPath && (r.URL.Path != "/v1/room" && r.URL.Path != "/v1/tail" || r.URL.Query().Get("room") != room) {
			t.Errorf("%s asked for room %q", r.URL, room)
		}
		if r.Method != "GET" && r.Method != "HEAD" {
			t.Errorf("asked by %s", r.Method)
		}
	}
	if len(w.asked) > 0 {
		checkQuestion(t, w, r.URL.Path, r.URL.RawQuery)
	}
	for _, change := range w.changes {
		if path := "/v1/" + strings.Fields(change)[0]; r.Method != "POST" || r.URL.Path != path || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Type"))), jsonType) {
			t.Errorf("%s %s as %q: %s", r.Method, r.URL, r.Header.Get("Content-Type"), change)
		}
	}
}

// understood is what a query asks of a path, as its description says; nil when it is none that may be asked.
func understood(path, query string) any {
	v, err := url.ParseQuery(query)
	takes := map[string][]string{"/v1/rooms": {"prefix", "after", "limit", "sort"}, "/v1/ring/plan": {"add", "remove"}, "/v1/events": {"only"}, "/v1/tail": {"room", "payload"}}[path]
	for name, values := range v {
		if !slices.Contains(takes, name) || len(values) != 1 {
			return nil
		}
	}
	if err != nil {
		return nil
	}
	within := func(name string, top int) (n int, ok bool) {
		for n = 1; n <= top; n++ {
			if v.Get(name) == fmt.Sprint(n) {
				return n, true
			}
		}
		return 0, false
	}
	switch path {
	case "/v1/rooms":
		q := RoomsQuery{Prefix: v.Get("prefix"), After: v.Get("after"), Limit: 100, Sort: "name"}
		ok := true
		if v.Has("limit") {
			q.Limit, ok = within("limit", 1000)
		}
		if v.Has("sort") {
			q.Sort = v.Get("sort")
		}
		if !ok || q.Prefix != "" && proto.CheckRoom(q.Prefix) != nil || q.After != "" && (proto.CheckRoom(q.After) != nil || q.Sort != "name") ||
			!slices.Contains([]string{"name", "members", "messages"}, q.Sort) {
			return nil
		}
		return q
	case "/v1/ring/plan":
		add, ok := within("add", 64)
		switch {
		case ok && !v.Has("remove"):
			return PlanQuery{Add: add}
		case !v.Has("add") && proto.CheckNodeID(v.Get("remove")) == nil:
			return PlanQuery{Remove: v.Get("remove")}
		}
	case "/v1/events":
		if only := v.Get("only"); !v.Has("only") || only == "feed" {
			return only == "feed"
		}
	case "/v1/tail":
		if p := v.Get("payload"); proto.CheckRoom(v.Get("room")) == nil && (!v.Has("payload") || p == "0" || p == "1") {
			return TailQuery{Room: v.Get("room"), Payload: p == "1"}
		}
	}
	return nil
}

func checkQuestion(t *testing.T, w *witnessed, path, query string) {
	t.Helper()
	if want := understood(path, query); len(w.asked) != 1 || w.asked[0] != want {
		t.Errorf("%s?%q asked for %+v, want %+v", path, query, w.asked, want)
	}
}

// FuzzQuery: a query is asked of the node exactly when its description allows it, and as it says.
func FuzzQuery(f *testing.F) {
	paths := []string{"/v1/rooms", "/v1/ring/plan", "/v1/events", "/v1/tail"}
	for _, q := range []string{"", "prefix=a&limit=10", "sort=members&after=a", "limit=1001", "add=64", "add=065", "remove=s2", "add=1&remove=s2", "only=feed",
		"room=%F0%9F%8D%B5&payload=1", "room=a&room=b", "payload=2", "a;b", "%zz", "prefix=%00", "=&=", "limit=1&", "&&"} {
		for i := range paths {
			f.Add(byte(i), q)
		}
	}
	w := &witnessed{}
	h := fuzzed(f, w)
	f.Fuzz(func(t *testing.T, path byte, query string) {
		*w = witnessed{t: t, token: fuzzToken}
		at := paths[int(path)%len(paths)]
		r := httptest.NewRequest("GET", at, nil)
		r.Host, r.URL.RawQuery = "localhost", query
		r.Header.Set("Authorization", "Bearer "+fuzzToken)
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		checkWhole(t, answer)
		if want := understood(at, query); want == nil {
			if answer.Code != 400 || len(w.asked) > 0 {
				t.Errorf("%s?%q: %d, asked for %+v", at, query, answer.Code, w.asked)
			}
			return
		}
		if checkQuestion(t, w, at, query); answer.Code != 200 {
			t.Errorf("%s?%q: %d %s", at, query, answer.Code, answer.Body)
		}
	})
}

// FuzzDrain: a body names the node that drains, or says that it is the asked one; there is no third way.
func FuzzDrain(f *testing.F) {
	for _, s := range []string{`{"node":"s2"}`, `{}`, ` {"node":"s2/0123456789abc"} `, `null`, `{"node":null}`, `{"node":""}`, `{"node":"s2","node":null}`, `{"Node":"s2"}`, `{"node":7}`, `{"node":{}}`, `{"x":1}`, `{}{}`} {
		f.Add(s)
	}
	w := &witnessed{}
	h := fuzzed(f, w)
	f.Fuzz(func(t *testing.T, body string) {
		*w = witnessed{t: t, token: fuzzToken}
		if len(body) > MaxBody {
			return
		}
		answer := post(h, "/v1/drain", body, "Content-Type", jsonType, "Authorization", "Bearer "+fuzzToken)
		checkWhole(t, answer)
		var want map[string]*string
		err := json.Unmarshal([]byte(body), &want)
		if len(w.changes) == 0 {
			if answer.Code != 400 {
				t.Errorf("%q is answered %d", body, answer.Code)
			}
			if err == nil && want != nil && len(want) == 0 || len(want) == 1 && want["node"] != nil && CheckNode(*want["node"]) == nil {
				t.Errorf("%q is refused: %s", body, answer.Body)
			}
			return
		}
		if answer.Code != 202 || err != nil || want == nil {
			t.Fatalf("%q is done: %d, %v", body, answer.Code, err)
		}
		for key, value := range want {
			if !strings.EqualFold(key, "node") {
				t.Errorf("%q is done, with %q in it", body, key)
			}
			if len(want) == 1 && (value == nil || w.changes[0] != "drain "+*value) {
				t.Errorf("%q is taken for %q", body, w.changes[0])
			}
		}
		if (len(want) == 0) != (w.changes[0] == "drain ") {
			t.Errorf("%q is taken for %q", body, w.changes[0])
		}
	})
}

// FuzzForget: a body that is understood names a node once, as encoding/json
// reads it, and is nothing else.
func FuzzForget(f *testing.F) {
	for _, s := range []string{`{"node":"s2"}`, ` {"node":"s2/0123456789abc"} ` + "\n", `{}`, `null`, `{"node":"s2"}{}`, `{"node":"s2","x":1}`, `{"NODE":"s2"}`, `[]`} {
		f.Add(s)
	}
	w := &witnessed{}
	h := fuzzed(f, w)
	f.Fuzz(func(t *testing.T, body string) {
		*w = witnessed{t: t, token: fuzzToken}
		if len(body) > MaxBody || strings.Contains(body, "null") {
			return // encoding/json passes over null in a struct, not in a map
		}
		answer := post(h, "/v1/forget", body, "Content-Type", jsonType, "Authorization", "Bearer "+fuzzToken)
		checkWhole(t, answer)
		var want map[string]string
		err := json.Unmarshal([]byte(body), &want)
		if len(w.changes) == 0 {
			if err == nil && len(want) == 1 && CheckNode(want["node"]) == nil {
				t.Errorf("%q is answered %d", body, answer.Code)
			}
			return
		}
		if answer.Code != 200 || err != nil || len(want) == 0 {
			t.Fatalf("%q is done: %d, %v", body, answer.Code, err)
		}
		for key, value := range want {
			if !strings.EqualFold(key, "node") {
				t.Errorf("%q is done, with %q in it", body, key)
			}
			if len(want) == 1 && w.changes[0] != "forget "+value {
				t.Errorf("%q is taken for %q", body, w.changes[0])
			}
		}
	})
}

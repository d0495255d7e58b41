package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
)

const ours = "http://127.0.0.1:8000"

// port is a server of a cluster of fakes, at a port of its own.
type port struct {
	t       *testing.T
	base    string
	cluster *Cluster
	end     context.CancelFunc
	done    chan error
}

// adminAt is a router whose admin port is somewhere.
type adminAt struct {
	*fake
	admin string
}

func (a adminAt) Addresses() node.Addresses { return node.Addresses{Admin: a.admin} }

func serve(t *testing.T, admin string) *port {
	t.Helper()
	c, err := New(Config{
		Routers: []Node{adminAt{newFake("r1", 1), admin}}, Shards: 2,
		OpenShard: func(id proto.NodeID) (Node, error) { return newFake(id, 1), nil },
		Voters:    func(context.Context) ([]proto.NodeName, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	p := &port{t: t, base: "http://" + ln.Addr().String(), cluster: c, end: end, done: make(chan error, 1)}
	up, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		p.done <- c.Run(ctx, func(ctx context.Context) error {
			close(up)
			return NewServer(c, []string{ours, "http://localhost:8000"}).Run(ctx, ln)
		})
	}()
	<-up
	t.Cleanup(func() {
		end()
		<-gone
	})
	return p
}

// ask sends a request with what a page of ours says; change alters it.
func (p *port) ask(method, path, body string, change func(*http.Request)) (*http.Response, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Origin", ours)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(ActHeader, "1")
	}
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer, string(text)
}

func TestWhoMayAsk(t *testing.T) {
	p := serve(t, "127.0.0.1:1")
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	kill := `{"node":"s2"}`
	for name, c := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		status             int
		code               string
	}{
		"the page":                     {method: "GET", path: "/state", status: 200},
		"as localhost":                 {method: "GET", path: "/state", change: host("localhost:8123"), status: 200},
		"as an address of version 6":   {method: "GET", path: "/state", change: host("[::1]:8123"), status: 200},
		"a name that is rebound":       {method: "GET", path: "/state", change: host("evil.example:8123"), status: 403, code: "forbidden_host"},
		"a name that ends like ours":   {method: "GET", path: "/state", change: host("localhost.evil.example:8123"), status: 403, code: "forbidden_host"},
		"another site":                 {method: "GET", path: "/state", change: header("Origin", "http://evil.example"), status: 403, code: "forbidden_origin"},
		"another port here":            {method: "GET", path: "/state", change: header("Origin", "http://127.0.0.1:9000"), status: 403, code: "forbidden_origin"},
		"a page without origin":        {method: "GET", path: "/state", change: header("Origin", "null"), status: 403, code: "forbidden_origin"},
		"no origin":                    {method: "GET", path: "/state", change: header("Origin"), status: 403, code: "forbidden_origin"},
		"two origins":                  {method: "GET", path: "/state", change: header("Origin", ours, ours), status: 403, code: "forbidden_origin"},
		"another site acts":            {method: "POST", path: "/kill", body: kill, change: header("Origin", "http://evil.example"), status: 403, code: "forbidden_origin"},
		"another site asks whether":    {method: "OPTIONS", path: "/kill", change: header("Origin", "http://evil.example"), status: 403, code: "forbidden_origin"},
		"without the header":           {method: "POST", path: "/kill", body: kill, change: header(ActHeader), status: 403, code: "forbidden"},
		"as a form would":              {method: "POST", path: "/kill", body: kill, change: header("Content-Type", "text/plain"), status: 415, code: "bad_request"},
		"without a type":               {method: "POST", path: "/kill", body: kill, change: header("Content-Type"), status: 415, code: "bad_request"},
		"an act by GET":                {method: "GET", path: "/kill", status: 405, code: "method_not_allowed"},
		"an answer by POST":            {method: "POST", path: "/state", status: 405, code: "method_not_allowed"},
		"another method":               {method: "DELETE", path: "/kill", status: 405, code: "method_not_allowed"},
		"nothing there":                {method: "GET", path: "/v1/ring", status: 404, code: "not_found"},
		"a parameter":                  {method: "GET", path: "/state?x=1", status: 400, code: "bad_request"},
		"no body":                      {method: "POST", path: "/kill", status: 400, code: "bad_request"},
		"half a body":                  {method: "POST", path: "/kill", body: `{"node":`, status: 400, code: "bad_request"},
		"two bodies":                   {method: "POST", path: "/kill", body: kill + kill, status: 400, code: "bad_request"},
		"another field":                {method: "POST", path: "/kill", body: `{"node":"s2","now":true}`, status: 400, code: "bad_request"},
		"a field that is not known":    {method: "POST", path: "/add", body: `{"id":"s9"}`, status: 400, code: "bad_request"},
		"a list":                       {method: "POST", path: "/kill", body: `["s2"]`, status: 400, code: "bad_request"},
		"no node":                      {method: "POST", path: "/kill", body: `{}`, status: 400, code: "bad_request"},
		"a name that no node has":      {method: "POST", path: "/kill", body: `{"node":"S 2/../"}`, status: 400, code: "bad_request"},
		"a large body":                 {method: "POST", path: "/kill", body: `{"node":"` + strings.Repeat("s", 4000) + `"}`, status: 413, code: "too_large"},
		"a node that is not there":     {method: "POST", path: "/kill", body: `{"node":"s7"}`, status: 404, code: "unknown_node"},
		"what runs is not started":     {method: "POST", path: "/restart", body: kill, status: 409, code: "running"},
		"no room to be found":          {method: "GET", path: "/partitions", status: 400, code: "bad_request"},
		"too many rooms":               {method: "GET", path: "/partitions?" + strings.Repeat("room=a&", maxRooms+1), status: 400, code: "bad_request"},
		"nobody tells of events":       {method: "GET", path: "/events", status: 503, code: "unavailable"},
		"the page asks whether it may": {method: "OPTIONS", path: "/kill", status: 204},
	} {
		answer, body := p.ask(c.method, c.path, c.body, c.change)
		if answer.StatusCode != c.status {
			t.Errorf("%s: %d %s, want %d", name, answer.StatusCode, body, c.status)
		}
		var refusal struct {
			Error struct{ Code, Message string }
		}
		if c.code != "" && (json.Unmarshal([]byte(body), &refusal) != nil || refusal.Error.Code != c.code || refusal.Error.Message == "") {
			t.Errorf("%s: %s, want the code %s and a reason", name, body, c.code)
		}
		allowed := answer.Header.Get("Access-Control-Allow-Origin")
		if foreign := c.code == "forbidden_host" || c.code == "forbidden_origin"; foreign != (allowed == "") || !foreign && (allowed != ours || answer.Header.Get("Vary") != "Origin") {
			t.Errorf("%s: readable by %q, which varies by %q", name, allowed, answer.Header.Get("Vary"))
		}
	}
	for _, s := range p.cluster.State().Shards {
		if s.State != Running {
			t.Errorf("%s is %s: something was done", s.ID, s.State)
		}
	}
}

func TestPreflight(t *testing.T) {
	p := serve(t, "127.0.0.1:1")
	answer, _ := p.ask(http.MethodOptions, "/kill", "", func(r *http.Request) {
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "content-type,x-roomring-demo")
	})
	headers := answer.Header.Get("Access-Control-Allow-Headers")
	if answer.StatusCode != http.StatusNoContent || !strings.Contains(headers, strings.ToLower(ActHeader)) || !strings.Contains(headers, "content-type") ||
		!strings.Contains(answer.Header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("%d %v", answer.StatusCode, answer.Header)
	}
	if credentials := answer.Header.Get("Access-Control-Allow-Credentials"); credentials != "" {
		t.Errorf("credentials are %s", credentials)
	}
}

func TestActOverHTTP(t *testing.T) {
	p := serve(t, "127.0.0.1:1")
	for _, step := range []struct {
		path, body string
		want       string
	}{
		{"/kill", `{"node":"s2"}`, "s2 killed"},
		{"/add", `{}`, "s3 running"},
	} {
		answer, body := p.ask(http.MethodPost, step.path, step.body, nil)
		var d Document
		if err := json.Unmarshal([]byte(body), &d); answer.StatusCode != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s", step.path, answer.StatusCode, body)
		}
		words := ""
		for _, s := range d.Shards {
			words += fmt.Sprintf("%s %s, ", s.ID, s.State)
		}
		if !strings.Contains(words, step.want) {
			t.Errorf("%s: %s, want %s", step.path, words, step.want)
		}
	}
	if answer, body := p.ask(http.MethodGet, "/partitions?room=lobby&room=a%26b", "", nil); answer.StatusCode != http.StatusOK ||
		strings.TrimSpace(body) != fmt.Sprintf(`{"partitions":[%d,%d]}`, proto.PartitionOfString("lobby", proto.Partitions), proto.PartitionOfString("a&b", proto.Partitions)) {
		t.Errorf("partitions: %d %s", answer.StatusCode, body)
	}
}

// TestEventsArePassedOn: as they come, without the page's Origin, which the admin port would refuse.
func TestEventsArePassedOn(t *testing.T) {
	more, left := make(chan string), make(chan struct{})
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		if r.URL.Path != "/v1/events" || r.Header.Get("Origin") != "" || r.Header.Get("Referer") != "" {
			t.Errorf("asked for %s with %v", r.URL, r.Header)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case line := <-more:
				fmt.Fprint(w, line)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer router.Close()
	p := serve(t, strings.TrimPrefix(router.URL, "http://"))
	ctx, leave := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/events", nil)
	r.Header.Set("Origin", ours)
	go func() { more <- "event: ring\ndata: {}\n\n" }() // the head goes out with the first words
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" || answer.Header.Get("Access-Control-Allow-Origin") != ours {
		t.Errorf("%v", answer.Header)
	}
	lines := bufio.NewReader(answer.Body)
	for _, want := range []string{"event: ring\n", "data: {}\n", "\n"} {
		if got, err := lines.ReadString('\n'); got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	more <- "event: feed\n"
	if got, err := lines.ReadString('\n'); got != "event: feed\n" {
		t.Fatalf("%q, %v", got, err)
	}
	leave() // the page is closed: the router is not asked any longer
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the router is still asked")
	}
}

// TestStreamsEndWithTheCluster: an open page does not hold up Ctrl-C.
func TestStreamsEndWithTheCluster(t *testing.T) {
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer router.Close()
	p := serve(t, strings.TrimPrefix(router.URL, "http://"))
	open := func() *http.Response {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.base+"/events", nil)
		r.Header.Set("Origin", ours)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { answer.Body.Close() })
		return answer
	}
	for range maxStreams {
		if answer := open(); answer.StatusCode != http.StatusOK {
			t.Fatalf("%d", answer.StatusCode)
		}
	}
	if answer := open(); answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Errorf("one stream too many: %d", answer.StatusCode)
	}
	began := time.Now()
	p.end()
	if err := <-p.done; err != nil {
		t.Errorf("ended with %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

// TestBounds: a head that does not fit is refused, and conns have a limit.
func TestBounds(t *testing.T) {
	p := serve(t, "127.0.0.1:1")
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.base+"/state", nil)
	r.Header.Set("Origin", ours)
	r.Header.Set("X-Long", strings.Repeat("x", 2*admin.MaxHead))
	if answer, err := http.DefaultClient.Do(r); err == nil { // else it was reset while it still wrote
		answer.Body.Close()
		if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a long head: %d", answer.StatusCode)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	address := strings.TrimPrefix(p.base, "http://")
	var conns []net.Conn
	for range admin.MaxConns + 1 {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	last := conns[len(conns)-1]
	answered := make(chan []byte, 1)
	go func() {
		fmt.Fprintf(last, "GET /state HTTP/1.1\r\nHost: %s\r\nOrigin: %s\r\n\r\n", address, ours)
		b := make([]byte, 64)
		n, _ := last.Read(b)
		answered <- b[:n]
	}()
	select {
	case b := <-answered:
		t.Errorf("one conn too many is answered: %q", b)
	case <-time.After(200 * time.Millisecond):
	}
	conns[0].Close()
	select {
	case b := <-answered:
		if !bytes.HasPrefix(b, []byte("HTTP/1.1 200")) {
			t.Errorf("after another one closed: %q", b)
		}
	case <-time.After(10 * time.Second):
		t.Error("a conn that waits is never served")
	}
}

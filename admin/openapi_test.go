package admin

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomring/roomring/admin/inspector"
	"github.com/roomring/roomring/internal/openapi"
	"github.com/roomring/roomring/proto"
)

func description(t *testing.T) *openapi.Document {
	t.Helper()
	d, err := openapi.Read("../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// described is the routes but for the files that the page loads: which these are is the page's.
func described(s *Server) map[string]*route {
	routes := s.table()
	for _, f := range inspector.Files() {
		if f.Path != "/" {
			delete(routes, f.Path)
		}
	}
	return routes
}

// TestEveryRouteIsDescribed: the file has every route with its methods, parameters and tokens, and no more.
func TestEveryRouteIsDescribed(t *testing.T) {
	d := description(t)
	routes := described(newServer(t, Config{}))
	for path := range d.Paths {
		if routes[path] == nil {
			t.Errorf("%s is described, and not there", path)
		}
	}
	for path, route := range routes {
		operations := d.Paths[path]
		if have := slices.Sorted(maps.Keys(operations)); !slices.Equal(have, slices.Sorted(slices.Values(route.methods))) {
			t.Errorf("%s: described with %v, takes %v", path, have, route.methods)
		}
		for method, o := range operations {
			var inQuery, inPath []string
			for _, p := range o.Parameters {
				if p.InPath {
					inPath = append(inPath, "{"+p.Name+"}")
				} else {
					inQuery = append(inQuery, p.Name)
				}
			}
			if !slices.Equal(slices.Sorted(slices.Values(inQuery)), slices.Sorted(slices.Values(route.params))) {
				t.Errorf("%s %s: described with %v, takes %v", method, path, inQuery, route.params)
			}
			_, segment, _ := strings.Cut(path, "{")
			if have := strings.Join(inPath, ""); have != strings.TrimSuffix("{"+segment, "{") {
				t.Errorf("%s %s: the path has %v", method, path, inPath)
			}
			if want := tokens(route, method); !slices.Equal(o.Tokens, want) && method != "HEAD" {
				t.Errorf("%s %s: described with tokens %v, needs one of %v", method, path, o.Tokens, want)
			}
			if (o.Body != nil) != (method == "POST") {
				t.Errorf("%s %s: described with the body %v", method, path, o.Body)
			}
		}
	}
}

func tokens(r *route, method string) []string {
	switch {
	case r.open:
		return nil
	case r.full || method == "POST":
		return []string{"full"}
	}
	return []string{"full", "read"}
}

// TestEverySchemaIsItsType: by reflection, both ways. Schemas whose names begin with RingDocument are of package
// cluster, which this one does not know: internal/openapi holds them.
func TestEverySchemaIsItsType(t *testing.T) {
	d := description(t)
	types := map[string]reflect.Type{
		"HealthDocument": reflect.TypeFor[healthDocument](), "ReadyDocument": reflect.TypeFor[readyDocument](),
		"DrainRequest": reflect.TypeFor[drainRequest](), "DrainDocument": reflect.TypeFor[DrainDocument](),
		"ForgetRequest": reflect.TypeFor[forgetRequest](), "ForgetDocument": reflect.TypeFor[ForgetDocument](),
		"RecoverRequest": reflect.TypeFor[struct{}](), "RecoverDocument": reflect.TypeFor[RecoverDocument](),
		"NodesDocument": reflect.TypeFor[NodesDocument](), "NodeFigures": reflect.TypeFor[NodeFigures](),
		"MemoryFigures": reflect.TypeFor[MemoryFigures](), "DescriptorFigures": reflect.TypeFor[DescriptorFigures](),
		"RoomDocument": reflect.TypeFor[RoomDocument](), "RoomsDocument": reflect.TypeFor[RoomsDocument](), "RoomFigures": reflect.TypeFor[RoomFigures](),
		"PlanDocument": reflect.TypeFor[PlanDocument](), "PlannedShard": reflect.TypeFor[PlannedShard](), "PlannedMove": reflect.TypeFor[PlannedMove](),
		"RingEvent": reflect.TypeFor[RingEvent](), "RingNode": reflect.TypeFor[RingNode](), "RingMove": reflect.TypeFor[RingMove](),
		"FeedEvent": reflect.TypeFor[FeedEvent](), "LostEvent": reflect.TypeFor[LostEvent](), "ErrorEvent": reflect.TypeFor[ErrorEvent](),
		"TailOpen": reflect.TypeFor[TailOpen](), "TailMessage": reflect.TypeFor[TailMessage](), "TailGap": reflect.TypeFor[TailGap](),
		"Error": reflect.TypeFor[struct {
			Error ErrorEvent `json:"error"`
		}](),
		"Code": reflect.TypeFor[string](), "Role": reflect.TypeFor[string](), "State": reflect.TypeFor[string](), "MoveState": reflect.TypeFor[string](),
	}
	for name, typ := range types {
		for _, difference := range d.Conform(name, typ) {
			t.Error(difference)
		}
	}
	for _, name := range d.Schemas() {
		if types[name] == nil && !strings.HasPrefix(name, "RingDocument") {
			t.Errorf("the schema %s is held against nothing", name)
		}
	}
}

// TestEveryWordIsDescribed: codes, kinds of the feed and names of events are those of the code.
func TestEveryWordIsDescribed(t *testing.T) {
	d := description(t)
	same := func(what string, have, want []string) {
		t.Helper()
		slices.Sort(have)
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(have, want) || len(want) == 0 {
			t.Errorf("%s: described are %q, the code has %q", what, have, want)
		}
	}
	same("codes", enum(d.Schema("Code")), codes(t))
	feed := d.Schema("FeedEvent").(map[string]any)["properties"].(map[string]any)["kind"]
	same("kinds", enum(feed), constants(t, "Feed"))
	var names []string
	for _, path := range []string{"/v1/events", "/v1/tail"} {
		names = slices.AppendSeq(names, maps.Keys(d.Paths[path]["GET"].Answers[200]["text/event-stream"].Events))
	}
	slices.Sort(names)
	same("events", slices.Compact(names), constants(t, "Event"))
}

func enum(schema any) (words []string) {
	for _, v := range schema.(map[string]any)["enum"].([]any) {
		words = append(words, v.(string))
	}
	return words
}

// source files of a directory, but for tests.
func parse(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatal(dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// constants are the values of this package's constants whose names begin so.
func constants(t *testing.T, prefix string) (values []string) {
	t.Helper()
	for _, f := range parse(t, ".") {
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 && strings.HasPrefix(v.Names[0].Name, prefix) {
				if word, ok := literal(v.Values[0]); ok {
					values = append(values, word)
				}
			}
			return true
		})
	}
	return values
}

// codes are those of all Refusals that this package and the node make, and of what a far node may say.
func codes(t *testing.T) (words []string) {
	t.Helper()
	for code := range codeStatus {
		words = append(words, code.String())
	}
	for _, f := range append(parse(t, "."), parse(t, "../internal/node")...) {
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CompositeLit)
			if !ok || !named(c.Type, "Refusal") {
				return true
			}
			for i, e := range c.Elts {
				pair, keyed := e.(*ast.KeyValueExpr)
				if !keyed && i != 1 || keyed && !named(pair.Key, "Code") {
					continue
				}
				if keyed {
					e = pair.Value
				}
				if word, ok := literal(e); ok {
					words = append(words, word)
				}
			}
			return true
		})
	}
	return words
}

func named(e ast.Expr, name string) bool {
	if s, ok := e.(*ast.SelectorExpr); ok {
		e = s.Sel
	}
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	word, err := strconv.Unquote(l.Value)
	return word, err == nil
}

// TestParametersAreAsDescribed: what the file allows is taken, what it does not is refused.
func TestParametersAreAsDescribed(t *testing.T) {
	d := description(t)
	h := newTest(t, Config{Source: &source{rooms: map[string]RoomDocument{"r": {}}}})
	needed := map[string]string{"/v1/tail": "room=r&"}
	for path, operations := range d.Paths {
		o := operations["GET"]
		if o == nil || strings.HasPrefix(path, profilePrefix) {
			continue // net/http/pprof takes what it likes
		}
		for _, p := range o.Parameters {
			good, bad := samples(p)
			for i, value := range append(good, bad...) {
				target := path + "?" + needed[path] + p.Name + "=" + value
				if p.InPath {
					target = strings.Replace(path, "{"+p.Name+"}", value, 1)
				} else if p.Required {
					target = path + "?" + p.Name + "=" + value
				}
				w := ask(h, "GET", target)
				if refused := w.Code == 400; refused != (i >= len(good)) {
					t.Errorf("%s: %d %s", target, w.Code, w.Body)
				}
			}
			if w := ask(h, "GET", strings.TrimSuffix(path, "{room}")+"?"+needed[path]); p.Required && p.Name != "payload" && needed[path] == "" && w.Code != 400 {
				t.Errorf("%s without %s: %d", path, p.Name, w.Code)
			}
		}
	}
}

// samples are values at the bounds of a parameter, and beyond.
func samples(p openapi.Parameter) (good, bad []string) {
	if words, ok := p.Schema["enum"].([]any); ok {
		for _, w := range words {
			good = append(good, w.(string))
		}
		return good, []string{"", "other"}
	}
	if least, ok := p.Schema["minimum"].(int); ok {
		most := p.Schema["maximum"].(int)
		return []string{strconv.Itoa(least), strconv.Itoa(most)}, []string{strconv.Itoa(least - 1), strconv.Itoa(most + 1), "", "x"}
	}
	if most, ok := p.Schema["maxLength"].(int); ok {
		good, bad = []string{strings.Repeat("x", most)}, []string{strings.Repeat("x", most+1), "%00"}
		if p.Schema["minLength"] != nil {
			bad = append(bad, "")
		}
		if p.Required {
			good = []string{"r"}
		}
		return good, bad
	}
	return []string{strings.Repeat("s", 63)}, []string{"", "S", strings.Repeat("s", 64)} // a node's id
}

// fullSource is a source whose answers have something in every list.
func fullSource() *source {
	ids := []proto.NodeID{"s1"}
	figures := NodeFigures{ID: "s1", Incarnation: "0123456789abc", Role: "shard", State: "alive", Reached: true, Told: Told{
		Reasons: []string{ReasonCopies}, Settings: map[string]string{"followers": "1"}, Protocols: [2]uint16{1, 2}, MessagesTotal: 1 << 40}}
	return &source{
		rooms:     map[string]RoomDocument{"r": {Room: "r", Owner: "s1", Followers: ids, Epoch: "0123456789abc", Routers: map[proto.NodeID]int{"r1": 2}}},
		forgotten: ForgetDocument{"s1/0123456789abc"}, drained: DrainDocument{"s1/0123456789abc"}, recovered: RecoverDocument{Nodes: []proto.NodeName{"s1/0123456789abc"}},
		nodes:   NodesDocument{Asked: "s1", Complete: true, Nodes: []NodeFigures{figures, {Role: "router", State: "dead"}}},
		listed:  RoomsDocument{Rooms: []RoomFigures{{Room: "r", MessagesPerSecond: 0.5}}, Missing: ids},
		planned: PlanDocument{Shards: []PlannedShard{{ID: "new-1", New: true}}, Moves: []PlannedMove{{1, "s1", "new-1"}}},
		reasons: []string{ReasonCopies},
		ring: func(bool) any {
			return map[string]any{"cluster": "", "instance": "", "settled": true, "single_copy": 0, "voters": ids, "leader": "s1", "fingerprint": "0", "version": 1, "nodes": []any{}, "moves": []any{}}
		},
	}
}

// TestAnswersAreAsDescribed asks a running server for everything that the file lists, and for what may go wrong:
// every answer is of a status, a type and a schema that are listed, and every status that is listed was seen.
func TestAnswersAreAsDescribed(t *testing.T) {
	far := func(codes ...proto.Code) (all []error) {
		for _, c := range codes {
			all = append(all, &proto.Error{Code: c})
		}
		return all
	}
	odd := errors.New("odd")
	tests := map[string]struct {
		good, bad string  // targets, for a change bodies
		errs      []error // that the source may return, by its contract
	}{
		"/":                      {good: "/"},
		"/v1/ring":               {good: "/v1/ring", bad: "/v1/ring?table=2"},
		"/v1/nodes":              {good: "/v1/nodes", bad: "/v1/nodes?x=1"},
		"/v1/rooms":              {good: "/v1/rooms?limit=1", bad: "/v1/rooms?limit=0", errs: append(far(proto.Full, proto.Unavailable), odd)},
		"/v1/room":               {good: "/v1/room?room=r", bad: "/v1/room", errs: append(far(proto.NotFound, proto.Unavailable), odd)},
		"/v1/rooms/{room}":       {good: "/v1/rooms/r", bad: "/v1/rooms/%00", errs: append(far(proto.NotFound, proto.Unavailable), odd)},
		"/v1/ring/plan":          {good: "/v1/ring/plan?add=1", bad: "/v1/ring/plan", errs: []error{UnknownNode("s9"), &Refusal{409, "only_shard", "of two words"}, context.DeadlineExceeded, odd}},
		"/v1/events":             {good: "/v1/events", bad: "/v1/events?only=x", errs: append(far(proto.Unavailable), odd)},
		"/v1/tail":               {good: "/v1/tail?room=r&payload=1", bad: "/v1/tail", errs: append(far(proto.NotFound, proto.Unavailable), odd)},
		"/v1/drain":              {good: `{}`, bad: `{"node":""}`, errs: []error{UnknownNode("s9"), NotAlive("s1/0", "dead"), context.DeadlineExceeded, odd}},
		"/v1/forget":             {good: `{"node":"s1"}`, bad: `{}`, errs: []error{UnknownNode("s9"), AliveNode("s1/0"), AmbiguousNode(nil), NoMajority(), odd}},
		"/v1/recover":            {good: `{}`, bad: `[]`, errs: []error{HasMajority("s1/0"), NoTable(), odd}},
		"/metrics":               {good: "/metrics"},
		"/healthz":               {good: "/healthz"},
		"/readyz":                {good: "/readyz"},
		"/debug/pprof/":          {good: "/debug/pprof/"},
		"/debug/pprof/{profile}": {good: "/debug/pprof/heap", bad: "/debug/pprof/heap?seconds=61"},
		"/debug/pprof/profile":   {good: "/debug/pprof/profile?seconds=1", bad: "/debug/pprof/profile?seconds=61"},
		"/debug/pprof/trace":     {good: "/debug/pprof/trace?seconds=0.01", bad: "/debug/pprof/trace?seconds=x"},
	}
	d := description(t)
	for path := range described(newServer(t, Config{})) {
		tt, known := tests[path]
		if !known {
			t.Errorf("%s is asked by nobody here", path)
			continue
		}
		in := synctest.Test
		if strings.HasPrefix(path, profilePrefix) {
			in = func(t *testing.T, f func(*testing.T)) { f(t) } // profiles are of real time
		}
		in(t, func(t *testing.T) {
			c := newCaller(t, d, path)
			c.head(tt.good, c.ask(tt.good))
			if tt.bad != "" {
				c.head(tt.bad, c.ask(tt.bad))
			}
			for _, err := range tt.errs {
				c.source.err, c.source.watch = err, func(context.Context, func(Event) error) error { return err }
				c.ask(tt.good)
			}
			c.source.err, c.source.watch = nil, c.watch
			c.askOddly(tt.good)
			c.end()
		})
	}
}

// caller asks one path of a running server, and holds the answers against the file.
type caller struct {
	*port
	source *source // what the server is made of, to be changed between requests
	d      *openapi.Document
	path   string
	method string
	client *http.Client
	seen   map[int]bool    // statuses
	told   map[string]bool // events
	scrape chan chan bool  // gets a channel from each scrape while it is not nil, and closes it to let it go on
}

func newCaller(t *testing.T, d *openapi.Document, path string) *caller {
	c := &caller{d: d, path: path, method: "GET", seen: map[int]bool{}, told: map[string]bool{}, source: fullSource()}
	if d.Paths[path]["POST"] != nil {
		c.method = "POST"
	}
	c.source.watch = c.watch
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(func() []Sample {
		if c.scrape != nil {
			held := make(chan bool)
			c.scrape <- held
			<-held
		}
		return nil
	}))
	c.port = start(t, Config{Token: "full", ReadToken: "read", Registry: registry, Source: c.source})
	c.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: ReadTimeout, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return c.net.DialContext(ctx, addr)
	}}}
	return c
}

// watch tells every event there is, and then cannot go on.
func (c *caller) watch(_ context.Context, tell func(Event) error) error {
	events := []Event{
		{EventRing, RingEvent{Nodes: []RingNode{{ID: "s1", Role: "shard", State: "alive"}}, Rows: [][4]int{{0, 0, -1, 0}}, Moves: []RingMove{{1, "s1", "s2", "learning"}}}},
		{EventChange, RingEvent{}},
		{EventNodes, c.source.nodes},
		{EventFeed, FeedEvent{Seq: 1, Kind: FeedFailover, Some: []proto.Partition{1}}},
		{EventLost, LostEvent{1}},
	}
	if c.path == "/v1/tail" {
		events = []Event{{EventOpen, TailOpen{}}, {EventMessage, TailMessage{Offset: 1, Kind: "text", Payload: []byte("hello")}}, {EventGap, TailGap{1, 2}}}
	}
	for _, e := range events {
		if err := tell(e); err != nil {
			return err
		}
	}
	return NoMajority()
}

// request makes a request; headers are name, value, name, value.
func (c *caller) request(target string, headers ...string) *http.Request {
	c.t.Helper()
	body := ""
	if c.method == "POST" {
		target, body = c.path, target
	}
	r, err := http.NewRequestWithContext(c.t.Context(), c.method, "http://"+c.addr+target, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer full")
	r.Header.Set("Content-Type", jsonType)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (c *caller) ask(target string, headers ...string) *http.Response {
	return c.do(c.request(target, headers...))
}

// head asks once more with HEAD.
func (c *caller) head(target string, want *http.Response) {
	c.t.Helper()
	if c.method == "POST" || want == nil || want.StatusCode == 200 && c.path == profilePrefix+"profile" {
		return // a profile takes its second with HEAD too
	}
	r := c.request(target)
	r.Method = "HEAD"
	res, err := c.client.Do(r)
	if err != nil {
		c.t.Errorf("HEAD %s: %v", target, err)
		return
	}
	res.Body.Close()
	if res.StatusCode != want.StatusCode || res.Header.Get("Content-Type") != want.Header.Get("Content-Type") {
		c.t.Errorf("HEAD %s: %d %v, but GET %d %v", target, res.StatusCode, res.Header, want.StatusCode, want.Header)
	}
}

// do checks the answer to one request.
func (c *caller) do(r *http.Request) *http.Response {
	c.t.Helper()
	res, err := c.client.Do(r)
	if err != nil {
		c.t.Errorf("%s: %v", r.URL, err)
		return nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Errorf("%s: %v", r.URL, err)
	}
	c.seen[res.StatusCode] = true
	c.check(r.Method+" "+r.URL.String(), res, body)
	return res
}

func (c *caller) check(what string, res *http.Response, body []byte) {
	c.t.Helper()
	answer, listed := c.d.Paths[c.path][c.method].Answers[res.StatusCode]
	kind := res.Header.Get("Content-Type")
	content, known := answer[kind]
	if base, _, err := mime.ParseMediaType(kind); !known && err == nil {
		content, known = answer[base]
	}
	switch {
	case !listed:
		c.t.Errorf("%s: the status %d is not listed: %s", what, res.StatusCode, body)
	case !known:
		c.t.Errorf("%s: %d as %s is not listed", what, res.StatusCode, kind)
	case kind == "application/json":
		if err := c.d.CheckJSON(body, content.Schema); err != nil {
			c.t.Errorf("%s: %d %s: %v", what, res.StatusCode, body, err)
		}
	case kind == "text/event-stream":
		c.checkEvents(what, string(body), content.Events)
	}
}

func (c *caller) checkEvents(what, body string, schemas map[string]any) {
	c.t.Helper()
	for text := range strings.SplitSeq(strings.TrimSuffix(body, "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(strings.TrimPrefix(text, "event: "), "\ndata: ")
		if schemas[name] == nil || !ok {
			c.t.Errorf("%s: %q is not listed", what, text)
			continue
		}
		c.told[name] = true
		if err := c.d.CheckJSON([]byte(data), schemas[name]); err != nil {
			c.t.Errorf("%s: %s: %v", what, text, err)
		}
	}
}

// askOddly asks what no client should, and what a server cannot always do.
func (c *caller) askOddly(good string) {
	c.ask(good, "Authorization", "Bearer nothing")
	c.ask(good, "Origin", "http://evil.example")
	large := c.request(good, "Expect", "100-continue") // the answer comes before the body is sent
	large.Body, large.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat(" ", MaxBody+1))), MaxBody+1
	c.do(large)
	if c.method == "POST" {
		c.ask(good, "Content-Type", "text/plain")
	}
	if _, asks := c.d.Paths[c.path][c.method].Answers[500][jsonType]; asks {
		c.source.broken = true
		c.ask(good)
		c.source.broken = false
	}
	switch c.path {
	case "/healthz", "/readyz":
		c.source.sick, c.source.reasons = "a lane is stuck", []string{ReasonNoMajority}
		c.ask(good)
	case "/metrics":
		c.whileScraped(func() { c.ask(good) })
	case "/debug/pprof/{profile}":
		c.ask("/debug/pprof/nothing")
	case "/debug/pprof/profile":
		if pprof.StartCPUProfile(io.Discard) == nil {
			defer pprof.StopCPUProfile()
		}
		c.ask(good)
	case "/debug/pprof/trace":
		if trace.Start(io.Discard) == nil {
			defer trace.Stop()
		}
		c.ask(good)
	}
}

// whileScraped calls f while as many scrapes are under way as may be.
func (c *caller) whileScraped(f func()) {
	c.scrape = make(chan chan bool)
	var held []chan bool
	done := make(chan bool)
	for range maxScrapes {
		r := c.request(c.path)
		go func() {
			defer func() { done <- true }()
			if res, err := c.client.Do(r); err == nil {
				res.Body.Close()
			}
		}()
		held = append(held, <-c.scrape)
	}
	f()
	for _, h := range held {
		close(h)
		<-done
	}
}

// end checks that all that is listed was seen.
func (c *caller) end() {
	o := c.d.Paths[c.path][c.method]
	for status, answer := range o.Answers {
		if !c.seen[status] {
			c.t.Errorf("%s: the status %d is listed, and never came", c.path, status)
		}
		for name := range answer["text/event-stream"].Events {
			if !c.told[name] {
				c.t.Errorf("%s: the event %s is listed, and never came", c.path, name)
			}
		}
	}
	c.client.CloseIdleConnections()
	c.port.end()
}

// TestThePageNamesEverything: docs/admin-api.md has each path with its methods, each parameter, code, event,
// kind and reason, and no code that there is not.
func TestThePageNamesEverything(t *testing.T) {
	text, err := os.ReadFile("../docs/admin-api.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	d := description(t)
	for path, route := range described(newServer(t, Config{})) {
		if !strings.Contains(page, "`"+route.methods[0]+" "+path+"`") && !strings.Contains(page, "`"+path+"`") {
			t.Errorf("%s is not named", path)
		}
		for _, p := range route.params {
			if !strings.Contains(page, "`"+p+"`") && !strings.Contains(page, "`"+p+"=") && !strings.Contains(page, "?"+p+"=") && !strings.HasPrefix(path, profilePrefix) {
				t.Errorf("%s of %s is not named", p, path)
			}
		}
	}
	words := slices.Concat(enum(d.Schema("Code")), constants(t, "Feed"), constants(t, "Event"), reasonNames)
	for _, word := range words {
		if !strings.Contains(page, "`"+word+"`") {
			t.Errorf("%s is not named", word)
		}
	}
	_, table, _ := strings.Cut(page, "## Errors")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| \\d+ \\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1) {
		if !slices.Contains(enum(d.Schema("Code")), row[1]) {
			t.Errorf("there is no code %s", row[1])
		}
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/proto"
)

// onTerminal runs a command line as if stdout were a terminal of 80 columns.
func onTerminal(ctx context.Context, colour bool, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	err := run(&world{ctx: ctx, stdout: &out, stderr: &errs, width: usualWidth, colour: colour}, args)
	code = process.Report(&errs, name, err)
	return out.String(), errs.String(), code
}

// answering is a node that answers questions by path with what a test says, and keeps what it was asked.
type answering struct {
	address string

	mu      sync.Mutex // guards what follows
	answers map[string][]string
	asked   []string
}

// newAnswering answers a path with each of its answers in turn, the last one for ever. An answer that
// begins with a number has that status; one that begins with "event:" is a stream, which ends where the
// text does.
func newAnswering(t *testing.T, answers map[string][]string) *answering {
	a := &answering{answers: answers}
	h := httptest.NewServer(a)
	t.Cleanup(h.Close)
	a.address = strings.TrimPrefix(h.URL, "http://")
	return a
}

func (a *answering) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, q.Method+" "+q.URL.String())
	list := a.answers[q.URL.Path]
	text := ""
	if len(list) > 0 {
		text = list[0]
	}
	if len(list) > 1 {
		a.answers[q.URL.Path] = list[1:]
	}
	a.mu.Unlock()
	status := http.StatusOK
	if _, err := fmt.Sscanf(text, "%d ", &status); err == nil {
		_, text, _ = strings.Cut(text, " ")
	}
	switch {
	case len(list) == 0:
		http.NotFound(w, q)
	case strings.HasPrefix(text, "event:") || strings.HasPrefix(text, ":"):
		w.Header().Set("Content-Type", "text/event-stream")
		stays := strings.HasSuffix(text, forever)
		fmt.Fprint(w, strings.TrimSuffix(text, forever))
		if stays {
			w.(http.Flusher).Flush()
			<-q.Context().Done()
		}
	default:
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

// forever ends a stream that goes on without a word.
const forever = "<forever>"

// questions are what was asked so far.
func (a *answering) questions() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asked...)
}

// event is one event of a stream.
func event(name string, data any) string {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return "event: " + name + "\ndata: " + string(text) + "\n\n"
}

const hostile = "x\x1b[31m\u202e\u0007\u200b"

func figuresAnswer(t *testing.T, seconds int64, change func(*admin.NodesDocument)) string {
	t.Helper()
	const begun = 1_800_000_000_000
	told := func(started int64, messages, deliveries uint64) admin.Told {
		return admin.Told{Started: begun - started, Now: begun + 1000*seconds, Ready: true, MessagesTotal: messages, DeliveriesTotal: deliveries,
			Memory: admin.MemoryFigures{Used: 123 << 20, Heap: 50 << 20, Limit: 1 << 30}, Descriptors: admin.DescriptorFigures{Open: 100, Limit: 20000},
			Protocols: [2]uint16{1, 2}}
	}
	s1 := admin.NodeFigures{ID: "s1", Incarnation: "1", Role: "shard", State: "alive", Version: "v1.0.0", Voter: true, Leader: true, Owned: 2047, Following: 2046, Reached: true, Told: told(90_000, 1000, 2000)}
	s1.Rooms, s1.Members, s1.LagEntries = 120_000, 600_000, 12
	s1.MessagesTotal += 2000 * uint64(seconds)
	s1.DeliveriesTotal += 4000 * uint64(seconds)
	s2 := admin.NodeFigures{ID: "s2", Incarnation: "2", Role: "shard", State: "suspect", Version: "v1.0.0"}
	r1 := admin.NodeFigures{ID: "router-with-a-long-name-" + hostile + "that-does-not-fit-a-terminal", Incarnation: "3", Role: "router", State: "draining", Version: "v1.0.1", Reached: true, Told: told(26*3_600_000, 0, 0)}
	r1.Conns, r1.Rooms, r1.Members = 1_000_000, 80_000, 600_000
	r1.DeliveriesTotal += 1_000_000 * uint64(seconds)
	doc := admin.NodesDocument{Asked: "s1", Now: begun + 1000*seconds, Nodes: []admin.NodeFigures{s1, s2, r1}}
	if change != nil {
		change(&doc)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func TestFigures(t *testing.T) {
	first, second := figuresAnswer(t, 0, nil), figuresAnswer(t, 2, nil)
	node := newAnswering(t, map[string][]string{"/v1/nodes": {first, second}})
	out, errs, code := onTerminal(t.Context(), false, "ring", "--figures", "--node", node.address)
	if want := "roomring: not all of the cluster: no figures from s2\n"; code != process.Failed || errs != want {
		t.Errorf("code %d, %q, want %q", code, errs, want)
	}
	golden(t, "figures.txt", out)
	fits(t, out)

	whole := figuresAnswer(t, 0, func(d *admin.NodesDocument) { d.Complete, d.Nodes = true, d.Nodes[:1] })
	node = newAnswering(t, map[string][]string{"/v1/nodes": {whole}})
	if out, errs, code := command(t.Context(), "ring", "--figures", "--json", "--node", node.address); code != process.Good || out != whole {
		t.Errorf("--json: code %d, %s, %s", code, errs, out)
	}
}

// fits checks that no line is wider than a terminal, and that nothing in it moves the cursor.
func fits(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if cells(line) > usualWidth {
			t.Errorf("%d columns: %s", cells(line), line)
		}
		if printable(line) != line {
			t.Errorf("not printable: %q", line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("blanks at the end: %q", line)
		}
	}
}

func roomsAnswer(t *testing.T, more bool, missing []string, unowned int, names ...string) string {
	t.Helper()
	rooms := []map[string]any{}
	for i, name := range names {
		rooms = append(rooms, map[string]any{"room": name, "partition": 4000 + i, "owner": "s1", "epoch": "0k3f9x2m7q1ab", "offset": 1234567 * i, "kept": i * 1000,
			"bytes": i * 1_048_576, "members": 10 * i, "messages_per_second": 12.34 * float64(i)})
	}
	text, err := json.Marshal(map[string]any{"rooms": rooms, "more": more, "missing": missing, "unowned": unowned})
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func TestRooms(t *testing.T) {
	page := roomsAnswer(t, true, []string{}, 0, "a room", strings.Repeat("long", 40), "遊び部屋の名前はとても長いのでここには入りきらない", "it's "+hostile)
	node := newAnswering(t, map[string][]string{"/v1/rooms": {page}})
	out, errs, code := onTerminal(t.Context(), false, "rooms", "--node", node.address, "--prefix", "a b&c", "--limit", "4", "--after", "0")
	if code != process.Good || errs != "" {
		t.Errorf("code %d %s", code, errs)
	}
	golden(t, "rooms.txt", out)
	if lines := strings.SplitAfter(out, "\n"); len(lines) > 5 {
		fits(t, strings.Join(lines[:5], ""))
	}
	if asked := strings.Join(node.questions(), " "); asked != "GET /v1/rooms?after=0&limit=4&prefix=a+b%26c&sort=name" {
		t.Errorf("asked %s", asked)
	}
	if out, _, _ := command(t.Context(), "rooms", "--node", node.address); !strings.Contains(out, strings.Repeat("long", 40)) || strings.ContainsAny(out, "\x1b\u202e") {
		t.Errorf("in a file, names are cut or raw:\n%s", out)
	}
	if out, _, _ := command(t.Context(), "rooms", "--node", node.address, "--json"); out != page {
		t.Errorf("--json is not the node's answer: %s", out)
	}
}

func TestRoomsByOrder(t *testing.T) {
	page := roomsAnswer(t, true, []string{}, 0, "cold", "hot")
	node := newAnswering(t, map[string][]string{"/v1/rooms": {page}})
	out, errs, code := onTerminal(t.Context(), false, "rooms", "--node", node.address, "--sort", "messages")
	if code != process.Good || errs != "" {
		t.Errorf("code %d %s", code, errs)
	}
	golden(t, "rooms-messages.txt", out)
}

func TestAllRooms(t *testing.T) {
	node := newAnswering(t, map[string][]string{"/v1/rooms": {roomsAnswer(t, true, nil, 0, "a", "b"), roomsAnswer(t, true, nil, 0, "c"), roomsAnswer(t, false, nil, 0, "d")}})
	out, errs, code := command(t.Context(), "rooms", "--all", "--node", node.address)
	if code != process.Good || errs != "" || !strings.Contains(out, "\nd ") || !strings.HasSuffix(out, "\n\n4 rooms\n") || strings.Count(out, "ROOM") != 1 {
		t.Errorf("code %d %s\n%s", code, errs, out)
	}
	if asked := strings.Join(node.questions(), " "); asked != "GET /v1/rooms?limit=1000&sort=name GET /v1/rooms?after=b&limit=1000&sort=name GET /v1/rooms?after=c&limit=1000&sort=name" {
		t.Errorf("asked %s", asked)
	}
	// A node that says "more" for ever must not keep us for ever.
	node = newAnswering(t, map[string][]string{"/v1/rooms": {roomsAnswer(t, true, nil, 0, "a", "b")}})
	if _, _, code := command(t.Context(), "rooms", "--all", "--node", node.address); code != process.Good || len(node.questions()) != 2 {
		t.Errorf("code %d after %d questions", code, len(node.questions()))
	}
}

func TestRoomsNotWhole(t *testing.T) {
	node := newAnswering(t, map[string][]string{"/v1/rooms": {roomsAnswer(t, false, []string{"s2", "s\x1b3"}, 1365, "a")}})
	for _, more := range [][]string{nil, {"--json"}} {
		out, errs, code := command(t.Context(), append([]string{"rooms", "--node", node.address}, more...)...)
		if want := "roomring: the list is not whole: s2 gave no answer, s?3 gave no answer, nobody owns 1365 partitions\n"; code != process.Failed || errs != want || out == "" {
			t.Errorf("code %d, %q\n%s", code, errs, out)
		}
	}
}

func planAnswer(t *testing.T, shards, added int, settled bool) string {
	t.Helper()
	d := admin.PlanDocument{Add: added, Settled: settled, Copies: 2046, Ideal: 1023}
	for i := range shards {
		d.Shards = append(d.Shards, admin.PlannedShard{ID: nodeID("s", i+1), Zone: "east", Owned: 1365, OwnedThen: 1024, Following: 1364, FollowingThen: 1023, Ideal: 1023})
		for j := range added {
			for range i + j + 1 {
				d.Moves = append(d.Moves, admin.PlannedMove{From: nodeID("s", i+1), To: nodeID("new-", j+1)})
			}
		}
	}
	for j := range added {
		d.Shards = append(d.Shards, admin.PlannedShard{ID: nodeID("new-", j+1), New: true, OwnedThen: 1023, FollowingThen: 1023, Ideal: 1023})
	}
	d.Moves = append(d.Moves, admin.PlannedMove{To: "new-1"})
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

func TestPlan(t *testing.T) {
	small, large := planAnswer(t, 3, 2, true), planAnswer(t, 30, 10, false)
	node := newAnswering(t, map[string][]string{"/v1/ring/plan": {small, large, small}})
	for _, file := range []string{"plan.txt", "plan-large.txt"} {
		out, errs, code := onTerminal(t.Context(), false, "plan", "--add", "2", "--node", node.address)
		if code != process.Good || errs != "" {
			t.Errorf("%s: code %d %s", file, code, errs)
		}
		golden(t, file, out)
		fits(t, out)
	}
	if out, _, _ := command(t.Context(), "plan", "--remove", "s2", "--json", "--node", node.address); out != small {
		t.Errorf("--json is not the node's answer: %s", out)
	}
	if asked := strings.Join(node.questions(), " "); asked != "GET /v1/ring/plan?add=2 GET /v1/ring/plan?add=2 GET /v1/ring/plan?remove=s2" {
		t.Errorf("asked %s", asked)
	}
}

var feed = []admin.FeedEvent{
	{Seq: 1, At: 1_700_000_000_000, Kind: "founded"},
	{Seq: 2, At: 1_700_000_001_000, Kind: "join", Node: "s3"},
	{Seq: 3, At: 1_700_086_400_000, Kind: "death", Node: "s3", Reason: "its port refuses, seen by r1 and s1" + hostile},
	{Seq: 4, At: 1_700_086_400_100, Kind: "failover", From: "s3", To: "s1", Partitions: 682, Reason: "s3 died"},
	{Seq: 5, At: 1_700_086_400_200, Kind: "leader"},
	{Seq: 6, At: 1_700_086_400_300, Kind: "reset", To: "s1", Partitions: 1},
	{Seq: 7, At: 1_700_086_400_400, Kind: "something-new" + hostile, Node: "s1"},
}

func feedStream(events ...admin.FeedEvent) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(event("feed", e))
	}
	return b.String()
}

func TestEvents(t *testing.T) {
	t.Setenv("TZ", "UTC")
	utc(t)
	stream := ": hello\n\n" + feedStream(feed...) + event("lost", admin.LostEvent{Events: 3}) + event("later", "what we do not know")
	node := newAnswering(t, map[string][]string{"/v1/events": {stream + forever, stream}})
	out, errs, code := onTerminal(t.Context(), false, "events", "--no-follow", "--node", node.address)
	if code != process.Good || errs != "" {
		t.Errorf("code %d %s", code, errs)
	}
	golden(t, "events.txt", out)
	fits(t, out)
	out, errs, code = command(t.Context(), "events", "--kind", "failover,reset", "--json", "--node", node.address)
	if want := "roomring: the stream ended: " + node.address + " has stopped, or is about to\n"; code != process.Failed || errs != want {
		t.Errorf("a stream that ends: code %d %q", code, errs)
	}
	golden(t, "events.json", out)
}

// utc has times shown alike everywhere.
func utc(t *testing.T) {
	was := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = was })
}

func TestEventsReconnect(t *testing.T) {
	utc(t)
	again := append(append([]admin.FeedEvent(nil), feed[:3]...), admin.FeedEvent{Seq: 4, At: 1_700_086_401_000, Kind: "settled"})
	restarted := admin.FeedEvent{Seq: 1, At: 1_700_086_409_000, Kind: "founded", Reason: "by another run"}
	node := newAnswering(t, map[string][]string{"/v1/events": {feedStream(feed[:3]...), "503 {}", feedStream(again...), feedStream(restarted) + forever}})
	ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
	defer interrupt()
	var errs bytes.Buffer
	out := lines{make(chan string, 64)}
	node.answers["/v1/events"][1] = feedStream(feed[:1]...)
	done := make(chan error, 1)
	go func() {
		done <- run(&world{ctx: ctx, stdout: out, stderr: &errs}, []string{"events", "--reconnect", "--node", node.address})
	}()
	var text string
	for !strings.Contains(text, "another run") {
		select {
		case line := <-out.heard:
			text += line
		case err := <-done:
			t.Fatalf("ended with %v after\n%s", err, text)
		}
	}
	interrupt()
	if err := <-done; err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	if strings.Count(text, "join") != 1 || strings.Count(text, "founded") != 2 || strings.Count(text, "settled") != 1 {
		t.Errorf("told twice, or not:\n%s", text)
	}
	if !strings.Contains(errs.String(), "waiting for it") {
		t.Errorf("no word on stderr: %s", errs.String())
	}
}

func TestTail(t *testing.T) {
	utc(t)
	stream := event("open", admin.TailOpen{Room: "lobby", Owner: "s1", Epoch: "0k3f9x2m7q1ab", Offset: 12}) +
		event("message", admin.TailMessage{Offset: 13, Kind: "text", Bytes: 5, Publisher: "r1", Conn: "00000000000000a7", Seen: 1_700_000_000_123, Payload: []byte("hello\n" + hostile)}) +
		event("gap", admin.TailGap{From: 14, To: 20}) +
		event("open", admin.TailOpen{Room: "lobby", Owner: "s2", Epoch: "0k3f9x2m7q1ab", Offset: 20}) +
		event("open", admin.TailOpen{Room: "lobby", Owner: "s2", Epoch: "1k3f9x2m7q1ab", Reset: true}) +
		event("message", admin.TailMessage{Offset: 1, Kind: "binary", Bytes: 200, Publisher: "r1", Conn: "0000000000000000", Seen: 1_700_000_000_456, Payload: bytes.Repeat([]byte{0, 'a'}, 100)})
	broken := event("error", map[string]string{"code": "unavailable", "message": "the owner is silent" + hostile})
	node := newAnswering(t, map[string][]string{"/v1/room": {roomAnswer}, "/v1/tail": {stream + broken}})
	out, errs, code := onTerminal(t.Context(), false, "room", "lobby", "--tail", "--payload", "--node", node.address)
	if want := "roomring: the stream ended: " + node.address + ": the owner is silentx?[31m??? (unavailable)\n"; code != process.Failed || errs != want {
		t.Errorf("code %d %q", code, errs)
	}
	golden(t, "tail.txt", out)
	fits(t, out)
	if asked := strings.Join(node.questions(), " "); asked != "GET /v1/room?room=lobby GET /v1/tail?payload=1&room=lobby" {
		t.Errorf("asked %s", asked)
	}
	out, _, _ = command(t.Context(), "room", "lobby", "--tail", "--json", "--node", node.address)
	golden(t, "tail.json", out)
}

func TestColours(t *testing.T) {
	node := newAnswering(t, map[string][]string{"/v1/ring": {ringAnswer}})
	out, _, _ := onTerminal(t.Context(), true, "ring", "--node", node.address)
	for _, want := range []string{"\x1b[32malive\x1b[0m ", "\x1b[33msuspect\x1b[0m", "\x1b[32msettled\x1b[0m;"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%q", want, out)
		}
	}
	bare, _, _ := onTerminal(t.Context(), false, "ring", "--node", node.address)
	if strings.NewReplacer("\x1b[32m", "", "\x1b[33m", "", "\x1b[31m", "", "\x1b[0m", "").Replace(out) != bare {
		t.Errorf("colours change more than colours:\n%q\n%q", out, bare)
	}
	fits(t, bare)
}

// TestBrokenAnswers: what is no answer of a node gives words and a code, never a panic or raw bytes.
func TestBrokenAnswers(t *testing.T) {
	long := "event: feed\ndata: " + strings.Repeat("x", maxEvent) + "\n\n"
	answers := map[string]string{
		"empty": "", "not JSON": "<html>", "a list": "[]", "a word": `"x"`, "wrong types": `{"nodes":7,"rooms":"x","shards":{},"partition":"x","settled":1,"room":[]}`,
		"null": "null", "cut": `{"nodes":[{"id":"s1"`, "error as text": "500 boom" + hostile, "error as JSON": `418 {"error":{"code":"x\u001b","message":"\u001b[31m"}}`,
		"redirect": "302 x", "empty event": "event:\n\n", "event of a list": "event: feed\ndata: []\n\n", "event of wrong types": event("feed", map[string]any{"seq": "x"}) + event("open", map[string]any{"offset": -1}),
		"half an event": "event: feed\ndata: {\"seq\":1", "no JSON": "event: feed\ndata: {\n\nevent: open\ndata: }\n\n", "a long event": long,
		"error event": "event: error\ndata: 7\n\n", "hostile event": event("feed", map[string]any{"kind": hostile, "node": hostile, "partitions": -7, "at": -1 << 62}),
	}
	commands := []string{"ring", "ring --figures", "ring --wide", "rooms", "rooms --all", "room lobby", "room lobby --tail --json", "room lobby --tail", "plan --add 1",
		"events", "events --json", "drain s1 --yes", "forget s1 --yes", "recover --yes", "doctor --json"}
	for what, text := range answers {
		paths := map[string][]string{}
		for _, path := range []string{"ring", "nodes", "rooms", "room", "ring/plan", "events", "tail", "drain", "forget", "recover"} {
			paths["/v1/"+path] = []string{text}
		}
		node := newAnswering(t, paths)
		for _, args := range commands {
			if strings.HasPrefix(args, "ring --figures") && what == "null" {
				continue // an empty cluster, twice, a second apart
			}
			out, errs, code := command(t.Context(), append(strings.Fields(args), "--node", node.address)...)
			if code != process.Failed && what != "null" {
				t.Errorf("%s, %s: code %d\n%s%s", args, what, code, out, errs)
			}
			if text := strings.ReplaceAll(errs, "\n", ""); printable(text) != text || len(errs) > 4096 {
				t.Errorf("%s, %s: raw bytes on stderr: %.200q", args, what, errs)
			}
			if text := strings.ReplaceAll(out, "\n", ""); printable(text) != text && !strings.Contains(args, "--json") {
				t.Errorf("%s, %s: raw bytes: %.200q", args, what, out)
			}
		}
	}
}

func nodeID(letter string, i int) proto.NodeID { return proto.NodeID(fmt.Sprintf("%s%d", letter, i)) }

// TestFeedKinds holds the list of kinds against the constants of package admin.
func TestFeedKinds(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "admin", "event.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Feed") {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, text)
		}
		return true
	})
	if !slices.Equal(kinds, feedKinds) {
		t.Errorf("kinds %q, want %q", feedKinds, kinds)
	}
}

func TestCells(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "日本": 4, "e\u0301": 1, "né": 2, "→…": 2, "😀": 2} {
		if got := cells(text); got != want {
			t.Errorf("cells(%q) = %d, want %d", text, got, want)
		}
	}
	for _, tt := range []struct {
		text  string
		width int
		want  string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"e\u0301e\u0301e\u0301", 2, "e\u0301…"}} {
		if got := cut(tt.text, tt.width); got != tt.want || cells(got) > tt.width {
			t.Errorf("cut(%q, %d) = %q, want %q", tt.text, tt.width, got, tt.want)
		}
	}
	if natural("s2", "s10") >= 0 || natural("s10", "s2") <= 0 || natural("a2", "b1") >= 0 || natural("s1", "s1") != 0 || natural("s", "s1") >= 0 {
		t.Error("s2 does not come before s10")
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte(": hi\n\nevent: feed\ndata: {}\n\n"))
	f.Add([]byte("data: a\r\ndata:b\r\n\r\ndata: c"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newStream(bytes.NewReader(text))
		told := 0
		for {
			name, data, err := s.next()
			if err != nil {
				break
			}
			told += len(data)
			if bytes.ContainsRune([]byte(name), '\n') {
				t.Errorf("name %q", name)
			}
		}
		if told > len(text) {
			t.Errorf("%d bytes told of %d", told, len(text))
		}
	})
}

// endless is a line that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ':'
	}
	return len(p), nil
}

func TestStreamIsBounded(t *testing.T) {
	s := newStream(io.LimitReader(endless{}, 2*maxEvent))
	if _, _, err := s.next(); !errors.Is(err, errTooLong) || cap(s.line) > 2*maxEvent {
		t.Errorf("%v after %d bytes", err, len(s.line))
	}
}

func TestStream(t *testing.T) {
	s := newStream(strings.NewReader(": alive\n\nevent: a\ndata: 1\n\ndata: 2\r\ndata:3\r\nid: 9\r\n\r\nevent: lonely\n\nevent:b\ndata\n\nevent: cut\ndata: x\n"))
	var got []string
	for {
		name, data, err := s.next()
		if err != nil {
			break
		}
		got = append(got, name+"="+string(data))
	}
	if want := []string{"a=1", "message=2\n3", "b="}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRingWaits asks until the answer is that the cluster is settled.
func TestRingWaits(t *testing.T) {
	unsettled := strings.Replace(ringAnswer, `"settled":true`, `"settled":false`, 1)
	a := newAnswering(t, map[string][]string{"/v1/ring": {"503 no table yet", unsettled, unsettled, ringAnswer}})
	out, errs, code := command(t.Context(), "ring", "--wait", "1m", "--node", a.address)
	if code != process.Failed || !strings.Contains(errs, "answered 503") {
		t.Errorf("a node that refuses: code %d, %s\n%s", code, errs, out)
	}
	out, errs, code = command(t.Context(), "ring", "--wait", "1m", "--node", a.address)
	if code != process.Good || errs != "" || !strings.Contains(out, "; settled;") || len(a.asked) != 5 {
		t.Errorf("code %d, asked %v, %s\n%s", code, a.asked, errs, out)
	}
	b := newAnswering(t, map[string][]string{"/v1/ring": {unsettled}})
	out, errs, code = command(t.Context(), "ring", "--wait", "1ms", "--node", b.address)
	if code != process.Failed || errs != "roomring: the cluster is not settled, or lacks voters, after 1ms\n" || !strings.Contains(out, "; not settled;") {
		t.Errorf("never: code %d, %s\n%s", code, errs, out)
	}
	if _, errs, code := command(t.Context(), "ring", "--wait", "1ms", "--node", refusing(t)); code != process.Failed || !strings.Contains(errs, "nothing answers") {
		t.Errorf("nobody: code %d, %s", code, errs)
	}
	for was, is := range map[string]string{`"leader":"s1"`: `"leader":""`, `"voters":["s1"]`: `"voters":["s2","s2"]`} {
		c := newAnswering(t, map[string][]string{"/v1/ring": {strings.Replace(ringAnswer, was, is, 1)}})
		if _, errs, code := command(t.Context(), "ring", "--wait", "1ms", "--node", c.address); code != process.Failed || !strings.Contains(errs, "lacks voters") {
			t.Errorf("%s: code %d, %s", is, code, errs)
		}
	}
	ctx, interrupt := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer interrupt()
	if out, _, code := command(ctx, "ring", "--wait", "1m", "--node", b.address); code != process.Failed || out != "" {
		t.Errorf("interrupted: code %d\n%s", code, out)
	}
	if _, errs, code := command(t.Context(), "ring", "--wait", "-1s", "--node", b.address); code != process.Misuse || !strings.Contains(errs, "--wait") {
		t.Errorf("a wait of less than nothing: code %d, %s", code, errs)
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cmd/internal/process"
)

const drainRing = `{"cluster":"prod","instance":"ab","settled":true,"voters":["s1","s2","s3"],"leader":"s1","version":7,
"nodes":[
{"id":"r1","incarnation":"0000000000001","role":"router","state":"alive"},
{"id":"s1","incarnation":"0000000000002","role":"shard","state":"alive","owned":2},
{"id":"s2","incarnation":"0000000000003","role":"shard","state":"alive","owned":2},
{"id":"s3","incarnation":"0000000000004","role":"shard","state":"draining","owned":1},
{"id":"s4","incarnation":"0000000000005","role":"shard","state":"dead"}],
"table":[],"moves":[]}`

// drainNow is the wall clock of the node that is asked.
const drainNow = 1_700_000_000_000

// seen is an event of how the cluster looks: what s2 is and owns; "" is that it is not seen.
func seen(asked, state string, owned int) string {
	ring := admin.RingEvent{Asked: nodeID(asked, 1), Moves: make([]admin.RingMove, 3)}
	if asked == "s2" {
		ring.Asked = "s2"
	}
	if state != "" {
		ring.Nodes = []admin.RingNode{{ID: "s2", Incarnation: "0000000000003", Role: "shard", State: state, Owned: owned}}
	}
	return event("ring", ring)
}

func TestDrain(t *testing.T) {
	tick := event("nodes", admin.NodesDocument{})
	said := func(kind, reason string, at int64) string {
		return event("feed", admin.FeedEvent{At: drainNow + at, Kind: kind, Node: "s2", Reason: reason})
	}
	for _, tt := range []struct {
		what   string
		stream string
		code   int
		want   string // on stdout or stderr
	}{
		{"it leaves", said("left", "", -5) + seen("r", "draining", 2) + seen("r", "draining", 0) + said("left", "", 5), process.Good, "s2/0000000000003 has left after"},
		{"an earlier run died", said("death", "long ago", -5) + seen("r", "draining", 0) + said("left", "", 5), process.Good, "has left after"},
		{"nobody says how", seen("r", "draining", 0) + seen("r", "", 0) + tick + tick + tick, process.Good, "has left after"},
		{"it vanishes", seen("r", "draining", 2) + seen("r", "dead", 1) + tick + tick + tick, process.Failed, "did not leave but died: it is gone and owned 1 partition"},
		{"it dies", seen("r", "draining", 2) + said("death", "its port refuses", 5), process.Failed, "did not leave but died: its port refuses"},
		{"its goodbye is seen first", seen("r", "draining", 2) + said("left", "", 5) + tick + seen("r", "dead", 0), process.Good, "has left after"},
		{"its time is up", seen("r", "draining", 2) + said("left", "", 5) + tick + tick + tick, process.Failed, "has left and still owned 2 partitions"},
		{"the stream ends", seen("r", "draining", 2), process.Failed, "whether s2/0000000000003 has left, roomring ring tells"},
		{"it is asked itself", seen("s2", "draining", 0), process.Good, "has left after"},
		{"it is asked itself and dies", seen("s2", "draining", 2), process.Failed, "whether s2/0000000000003 has left"},
	} {
		node := newAnswering(t, map[string][]string{"/v1/ring": {drainRing}, "/v1/ring/plan": {planAnswer(t, 3, 1, true)}, "/v1/nodes": {`{"now":1700000000000}`},
			"/v1/drain": {`202 {"node":"s2/0000000000003"}`}, "/v1/events": {tt.stream}})
		out, errs, code := command(t.Context(), "drain", "s2", "--yes", "--node", node.address)
		if code != tt.code || !strings.Contains(out+errs, tt.want) || !strings.HasPrefix(out, "s2/0000000000003 drains\n") {
			t.Errorf("%s: code %d, want %d with %q\n%s\n%s", tt.what, code, tt.code, tt.want, out, errs)
		}
		if asked := strings.Join(node.questions(), " "); asked != "GET /v1/ring GET /v1/nodes GET /v1/ring/plan?remove=s2 POST /v1/drain GET /v1/events" {
			t.Errorf("%s: asked %s", tt.what, asked)
		}
	}
}

func TestDrainShowsWhatMoves(t *testing.T) {
	nodes, err := json.Marshal(admin.NodesDocument{Nodes: []admin.NodeFigures{{ID: "r1", Incarnation: "0000000000001", Reached: true, Told: admin.Told{Conns: 1200}}}})
	if err != nil {
		t.Fatal(err)
	}
	node := newAnswering(t, map[string][]string{"/v1/ring": {drainRing}, "/v1/ring/plan": {planAnswer(t, 3, 1, true), "503 {}"}, "/v1/nodes": {string(nodes)},
		"/v1/drain": {`202 {"node":"s2/0000000000003"}`}})
	_, errs, code := command(t.Context(), "drain", "s2", "--yes", "--no-wait", "--node", node.address)
	if code != process.Good {
		t.Errorf("code %d", code)
	}
	golden(t, "drain-shard.txt", errs)
	if _, errs, code := command(t.Context(), "drain", "s2/0000000000003", "--yes", "--no-wait", "--node", node.address); code != process.Good || !strings.Contains(errs, "What will move is not known: ") {
		t.Errorf("no plan: code %d\n%s", code, errs)
	}
	out, errs, code := command(t.Context(), "drain", "r1", "--yes", "--no-wait", "--json", "--node", node.address)
	if code != process.Good || out != `{"node":"s2/0000000000003"}` {
		t.Errorf("code %d, --json is not the node's answer: %s", code, out)
	}
	golden(t, "drain-router.txt", errs)
}

func TestDrainRefuses(t *testing.T) {
	node := newAnswering(t, map[string][]string{"/v1/ring": {drainRing}})
	for args, want := range map[string]string{
		"s3":               "s3/0000000000004 is draining: there is nothing to drain",
		"s4":               "s4/0000000000005 is dead: there is nothing to drain",
		"s9":               "s9 is not among the nodes that are seen",
		"s2/0000000000009": "s2/0000000000009 is not among the nodes that are seen",
	} {
		if _, errs, code := command(t.Context(), "drain", args, "--yes", "--node", node.address); code != process.Failed || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d %s", args, code, errs)
		}
	}
}

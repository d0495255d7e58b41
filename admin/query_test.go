package admin

import (
	"reflect"
	"strings"
	"testing"

	"github.com/roomring/roomring/proto"
)

// TestQuestions: what is asked of the node, or why not, word for word where a person could wonder.
func TestQuestions(t *testing.T) {
	long := strings.Repeat("x", 255)
	tests := []struct {
		target string
		status int
		want   string // the code of an error, a space, and a part of its message; else a part of the body
		asked  any
	}{
		{"/v1/nodes", 200, `{"asked":"s1","now":0,"complete":false,"nodes":[{"id":"s1",`, nil},
		{"/v1/nodes", 200, `"reasons":[],`, nil},
		{"/v1/nodes", 200, `"settings":{},`, nil},
		{"/v1/nodes?pretty=1", 400, "bad_request takes no query", nil},
		{"/v1/nodes?%zz", 400, "bad_request not form-encoded", nil},
		{"/v1/nodes/", 404, "not_found", nil},

		{"/v1/rooms", 200, `{"rooms":[],"more":false,"missing":[],"unowned":0}` + "\n", RoomsQuery{Limit: 100, Sort: "name"}},
		{"/v1/rooms?", 200, `"rooms"`, RoomsQuery{Limit: 100, Sort: "name"}},
		{"/v1/rooms?prefix=&after=", 200, `"rooms"`, RoomsQuery{Limit: 100, Sort: "name"}},
		{"/v1/rooms?prefix=a+b&after=a%2fb&limit=1&sort=name", 200, `"rooms"`, RoomsQuery{"a b", "a/b", 1, "name"}},
		{"/v1/rooms?limit=1000&sort=members", 200, `"rooms"`, RoomsQuery{Limit: 1000, Sort: "members"}},
		{"/v1/rooms?sort=messages&after=&prefix=" + long, 200, `"rooms"`, RoomsQuery{Prefix: long, Limit: 100, Sort: "messages"}},
		{"/v1/rooms?limit=0", 400, "bad_request limit: want a whole number from 1 to 1000", nil},
		{"/v1/rooms?limit=1001", 400, "bad_request limit", nil},
		{"/v1/rooms?limit=", 400, "bad_request limit", nil},
		{"/v1/rooms?limit=+5", 400, "bad_request limit", nil},
		{"/v1/rooms?limit=%2b5", 400, "bad_request limit", nil},
		{"/v1/rooms?limit=05", 400, "bad_request limit", nil},
		{"/v1/rooms?limit=-1", 400, "bad_request limit", nil},
		{"/v1/rooms?limit=5e1", 400, "bad_request limit", nil},
		{"/v1/rooms?limit=99999999999999999999", 400, "bad_request limit", nil},
		{"/v1/rooms?limit=5&limit=5", 400, "bad_request limit: want it once", nil},
		{"/v1/rooms?sort=", 400, "bad_request sort: want name, members or messages", nil},
		{"/v1/rooms?sort=Name", 400, "bad_request sort", nil},
		{"/v1/rooms?sort=members&after=a", 400, "bad_request after: only sort=name has pages", nil},
		{"/v1/rooms?prefix=" + long + "x", 400, "bad_room prefix: room name", nil},
		{"/v1/rooms?prefix=%ff", 400, "bad_room prefix", nil},
		{"/v1/rooms?prefix=%00", 400, "bad_room prefix", nil},
		{"/v1/rooms?after=%0a", 400, "bad_room after", nil},
		{"/v1/rooms?order=name", 400, "bad_request this path takes prefix, after, limit, sort", nil},
		{"/v1/rooms?PREFIX=a", 400, "bad_request this path takes", nil},
		{"/v1/rooms?prefix=a;limit=5", 400, "bad_request not form-encoded", nil},

		{"/v1/ring/plan?add=1", 200, `{"add":0,"remove":"","settled":false,"shards":[],"moves":[],"copies":0,"ideal":0}` + "\n", PlanQuery{Add: 1}},
		{"/v1/ring/plan?add=64", 200, `"moves":[]`, PlanQuery{Add: 64}},
		{"/v1/ring/plan?remove=s2", 200, `"moves":[]`, PlanQuery{Remove: "s2"}},
		{"/v1/ring/plan", 400, "bad_request want either add or remove", nil},
		{"/v1/ring/plan?add=1&remove=s2", 400, "bad_request want either add or remove", nil},
		{"/v1/ring/plan?add=0", 400, "bad_request add: want a whole number from 1 to 64", nil},
		{"/v1/ring/plan?add=65", 400, "bad_request add", nil},
		{"/v1/ring/plan?add=", 400, "bad_request add", nil},
		{"/v1/ring/plan?add=one", 400, "bad_request add", nil},
		{"/v1/ring/plan?remove=", 400, "bad_node remove: node id", nil},
		{"/v1/ring/plan?remove=S2", 400, "bad_node remove: node id", nil},
		{"/v1/ring/plan?remove=s2/0123456789abc", 400, "bad_node remove", nil},
		{"/v1/ring/plan?remove=" + strings.Repeat("s", 64), 400, "bad_node remove", nil},
		{"/v1/ring/plan?remove=s1&remove=s2", 400, "bad_request remove: want it once", nil},
		{"/v1/ring/plan?table=0&add=1", 400, "bad_request this path takes add, remove", nil},

		{"/v1/events", 200, `{"only_feed":false}`, nil},
		{"/v1/events?only=feed", 200, `{"only_feed":true}`, nil},
		{"/v1/events?only=", 400, "bad_request only: want feed", nil},
		{"/v1/events?only=ring", 400, "bad_request only: want feed", nil},
		{"/v1/events?only=feed&only=feed", 400, "bad_request only: want it once", nil},
		{"/v1/events?lastEventId=7", 400, "bad_request this path takes only", nil},

		{"/v1/tail?room=a+b", 200, "event: open", TailQuery{Room: "a b"}},
		{"/v1/tail?room=r&payload=0", 200, "event: open", TailQuery{Room: "r"}},
		{"/v1/tail?payload=1&room=r", 200, "event: open", TailQuery{Room: "r", Payload: true}},
		{"/v1/tail", 400, "bad_room room name", nil},
		{"/v1/tail?room=", 400, "bad_room room name", nil},
		{"/v1/tail?room=%c2%85", 400, "bad_room control", nil},
		{"/v1/tail?room=" + long + "x", 400, "bad_room", nil},
		{"/v1/tail?room=a&room=b", 400, "bad_request room: want it once", nil},
		{"/v1/tail?room=r&payload=", 400, "bad_request payload: want 0 or 1", nil},
		{"/v1/tail?room=r&payload=true", 400, "bad_request payload: want 0 or 1", nil},
		{"/v1/tail?room=r&since=1", 400, "bad_request this path takes room, payload", nil},
	}
	for _, tt := range tests {
		s := &source{nodes: NodesDocument{Asked: "s1", Nodes: []NodeFigures{{ID: "s1"}}}}
		h := newTest(t, Config{Source: s})
		for _, method := range []string{"GET", "HEAD"} {
			s.asked = nil
			w := ask(h, method, tt.target)
			if w.Code != tt.status {
				t.Errorf("%s %s: %d, want %d: %s", method, tt.target, w.Code, tt.status, w.Body)
			}
			if method == "HEAD" && strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
				if len(s.asked) > 0 || w.Body.Len() > 0 {
					t.Errorf("HEAD %s: asked for %v, answered %q", tt.target, s.asked, w.Body)
				}
				continue
			}
			if tt.asked != nil && (len(s.asked) != 1 || !reflect.DeepEqual(s.asked[0], tt.asked)) || tt.asked == nil && len(s.asked) > 0 {
				t.Errorf("%s %s: asked for %+v, want %+v", method, tt.target, s.asked, tt.asked)
			}
			c, part, _ := strings.Cut(tt.want, " ")
			if tt.status == 200 {
				c, part = "", tt.want
			}
			if code(t, w) != c || !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s %s: %s, want %s", method, tt.target, w.Body, tt.want)
			}
		}
	}
}

// TestAnswersStayTheirMakers: what an answer has instead of null is not written into the source's own.
func TestAnswersStayTheirMakers(t *testing.T) {
	s := &source{nodes: NodesDocument{Nodes: []NodeFigures{{ID: "s1"}}}}
	ask(newTest(t, Config{Source: s}), "GET", "/v1/nodes")
	if s.nodes.Nodes[0].Reasons != nil || s.nodes.Nodes[0].Settings != nil {
		t.Errorf("the document is another one now: %+v", s.nodes)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	for _, e := range []Event{{EventRing, RingEvent{}}, {EventNodes, NodesDocument{Nodes: []NodeFigures{{}}}}, {EventFeed, FeedEvent{}}} {
		text, err := render(e)
		if err != nil || strings.Contains(string(text), "null") {
			t.Errorf("%s, %v", text, err)
		}
	}
	if text, err := render(Event{EventFeed, FeedEvent{Some: []proto.Partition{7}, Reason: "a <b>\n\u2028c"}}); err != nil ||
		!strings.HasPrefix(string(text), "event: feed\ndata: {") || !strings.HasSuffix(string(text), `"some":[7],"reason":"a <b>\n\u2028c"}`+"\n\n") || strings.Count(string(text), "\n") != 3 {
		t.Errorf("%q, %v", text, err)
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/roomring/roomring/cmd/internal/process"
)

// splitRing is a ring whose leader is gone with two of three voters; s4 was restarted, s5 has died twice.
const splitRing = `{"cluster":"prod","instance":"ab","voters":["s1","s2","s3"],"leader":"LEADER","fingerprint":"77fca024e3bbbde5","version":4294967303,
"nodes":[
{"id":"r1","incarnation":"0000000000001","role":"router","state":"alive"},
{"id":"s1","incarnation":"0000000000002","role":"shard","state":"alive","owned":2},
{"id":"s2","incarnation":"0000000000003","role":"shard","state":"suspect","owned":1},
{"id":"s3","incarnation":"0000000000004","role":"shard","state":"dead","owned":1},
{"id":"s4","incarnation":"0000000000005","role":"shard","state":"dead","owned":1},
{"id":"s4","incarnation":"0000000000006","role":"shard","state":"alive","owned":0},
{"id":"s5","incarnation":"0000000000007","role":"shard","state":"dead","owned":0},
{"id":"s5","incarnation":"0000000000008","role":"shard","state":"suspect","owned":0}],
"table":[{"owner":"s1"},{"owner":"s1"},{"owner":"s2"},{"owner":"s3"},{"owner":"s4"}],"moves":[]}`

// changing is a node that takes changes, and what it was asked to do.
type changing struct {
	address string
	leader  string // what its ring says
	refuse  string // an error to answer changes with
	asked   []string
}

func newChanging(t *testing.T) *changing {
	n := &changing{}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v1/ring" {
			fmt.Fprint(w, strings.Replace(splitRing, "LEADER", n.leader, 1))
			return
		}
		body, err := io.ReadAll(q.Body)
		if err != nil || q.Method != "POST" || q.Header.Get("Content-Type") != "application/json" || q.Header.Get("Authorization") != "Bearer hush" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		n.asked = append(n.asked, q.URL.Path+" "+string(body))
		switch {
		case n.refuse != "":
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, n.refuse)
		case q.URL.Path == "/v1/forget":
			fmt.Fprint(w, `{"node":"s2/0000000000003"}`)
		case q.URL.Path == "/v1/recover":
			fmt.Fprint(w, `{"generation":2,"kept":2,"reset":3,"nodes":["s1/0000000000002"]}`)
		}
	}))
	t.Cleanup(h.Close)
	n.address = strings.TrimPrefix(h.URL, "http://")
	return n
}

// typed runs a command line in front of a person who types something.
func typed(ctx context.Context, input io.Reader, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	err := run(&world{ctx: ctx, stdout: &out, stderr: &errs, stderrTerminal: true, stdin: input, stdinTerminal: true}, args)
	code = process.Report(&errs, name, err)
	return out.String(), errs.String(), code
}

func TestForgetAndRecover(t *testing.T) {
	t.Setenv("ROOMRING_ADMIN_TOKEN", "hush")
	const forgotten, recovered = "s2/0000000000003 is forgotten\n", "founded anew as generation 2 from the tables of 1 node: 2 partitions kept, 3 begin anew\n"
	tests := []struct {
		name   string
		args   string
		leader string
		input  string // "-" without a terminal
		code   int
		out    string
		errs   string // a part
		asked  string // of the node; "" for nothing
	}{
		{"an id", "forget s2", "s1", "yes\n", process.Good, forgotten, "s2/0000000000003: shard, suspect, owns 1 partition, a voter", `/v1/forget {"node":"s2/0000000000003"}`},
		{"a run", "forget s2/0000000000003", "", "yes\n", process.Good, forgotten, "no leader: the table cannot change (no_majority)", `/v1/forget {"node":"s2/0000000000003"}`},
		{"the dead run of an id", "forget s4", "s1", "yes\n", process.Good, forgotten, "s4/0000000000005: shard, dead, owns 1 partition\n", `/v1/forget {"node":"s4/0000000000005"}`},
		{"a node that only the table knows", "forget s9", "s1", "yes\n", process.Good, forgotten, "s9 is not among the nodes that are seen", `/v1/forget {"node":"s9"}`},
		{"unasked", "forget s2 --yes", "s1", "-", process.Good, forgotten, "a voter", `/v1/forget {"node":"s2/0000000000003"}`},
		{"for a program", "forget s2 --yes --json", "s1", "-", process.Good, `{"node":"s2/0000000000003"}`, "a voter", `/v1/forget {"node":"s2/0000000000003"}`},
		{"no", "forget s2", "s1", "no\n", process.Failed, "", "nothing was done", ""},
		{"nearly yes", "forget s2", "s1", "y\n", process.Failed, "", "nothing was done", ""},
		{"an empty line", "forget s2", "s1", "\n", process.Failed, "", "nothing was done", ""},
		{"no terminal", "forget s2", "s1", "-", process.Misuse, "", "give --yes", ""},
		{"a terminal with nobody at it", "forget s2", "s1", "", process.Misuse, "", "give --yes", ""},
		{"alive", "forget s1 --yes", "s1", "-", process.Failed, "", "s1/0000000000002 is alive: drain it", ""},
		{"ambiguous", "forget s5 --yes", "s1", "-", process.Failed, "", "name one: s5/0000000000007, s5/0000000000008", ""},

		{"recover", "recover", "", "yes\n", process.Good, recovered, "alive: r1, s1, s4\nnot alive: s2, s3, s4, s5, s5\n", "/v1/recover {}"},
		{"recover, what is lost", "recover", "", " yes \n", process.Good, recovered, "2 partitions of 5 keep their rooms, and in 3 they begin anew", "/v1/recover {}"},
		{"recover unasked", "recover --yes --json", "", "-", process.Good, `{"generation":2,"kept":2,"reset":3,"nodes":["s1/0000000000002"]}`, "no leader", "/v1/recover {}"},
		{"recover, no", "recover", "", "recover\n", process.Failed, "", "nothing was done", ""},
		{"recover without a terminal", "recover", "", "-", process.Misuse, "", "give --yes", ""},
		{"recover with a leader", "recover --yes", "s1", "-", process.Failed, "", "the voters have a leader, s1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newChanging(t)
			n.leader = tt.leader
			args := append(strings.Fields(tt.args), "--node", n.address)
			run := func() (string, string, int) { return typed(t.Context(), strings.NewReader(tt.input), args...) }
			if tt.input == "-" {
				run = func() (string, string, int) { return command(t.Context(), args...) }
			}
			out, errs, code := run()
			if code != tt.code || out != tt.out || !strings.Contains(errs, tt.errs) {
				t.Errorf("code %d, want %d\n%s\n%s", code, tt.code, out, errs)
			}
			if want := slices.DeleteFunc([]string{tt.asked}, func(s string) bool { return s == "" }); !slices.Equal(n.asked, want) {
				t.Errorf("the node was asked for %q, want %q", n.asked, want)
			}
		})
	}
}

// TestRefusedByTheNode: the node's word is last, and its message is shown.
func TestRefusedByTheNode(t *testing.T) {
	t.Setenv("ROOMRING_ADMIN_TOKEN", "hush")
	n := newChanging(t)
	n.refuse = `{"error":{"code":"alive","message":"s2 is alive"}}`
	for _, args := range []string{"forget s2 --yes", "recover --yes"} {
		out, errs, code := command(t.Context(), append(strings.Fields(args), "--node", n.address)...)
		if code != process.Failed || out != "" || !strings.HasSuffix(errs, "roomring: "+n.address+": s2 is alive (alive)\n") {
			t.Errorf("%s: code %d\n%s\n%s", args, code, out, errs)
		}
	}
}

// silent is a person who types nothing, and sends a signal when asked.
type silent struct {
	io.Reader
	signal func()
}

func (s silent) Read(b []byte) (int, error) {
	s.signal()
	return s.Reader.Read(b)
}

// TestInterruptedQuestion: a signal is an answer too.
func TestInterruptedQuestion(t *testing.T) {
	n := newChanging(t)
	nothing, end := io.Pipe()
	defer end.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	if _, errs, code := typed(ctx, silent{nothing, interrupt}, "recover", "--node", n.address); code != process.Failed || !strings.Contains(errs, "nothing was done") || len(n.asked) > 0 {
		t.Errorf("code %d, %s, asked for %q", code, errs, n.asked)
	}
}

func TestCouncil(t *testing.T) {
	for want, ring := range map[string]*ringDocument{
		"voters s1, s2; leader s1":                                                     {Instance: "ab", Voters: []string{"s1", "s2"}, Leader: "s1"},
		"voters s1, s2; no leader: the table cannot change (no_majority)":              {Instance: "ab", Voters: []string{"s1", "s2"}},
		"no table: the cluster is not founded yet, or this node has not learned of it": {},
	} {
		if got := council(ring); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for v, want := range map[uint64]string{0: "version 0", 7: "version 7", 2<<32 | 9: "version 9 of generation 2"} {
		if got := version(v); got != want {
			t.Errorf("%d: %q, want %q", v, got, want)
		}
	}
}

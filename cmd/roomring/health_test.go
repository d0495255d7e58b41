package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/roomring/roomring/cmd/internal/process"
)

// healthNode answers as a node's admin port does that runs, and is ready from the given question on.
func healthNode(t *testing.T, readyAt int64) (address string) {
	t.Helper()
	var asked atomic.Int64
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case q.URL.Path == "/healthz":
			fmt.Fprint(w, `{"ok":true}`)
		case q.URL.Path != "/readyz":
			http.NotFound(w, q)
		case asked.Add(1) >= readyAt:
			fmt.Fprint(w, `{"ready":true,"reasons":[],"messages":{}}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"ready":false,"reasons":["voters","new\u001b[31m"],"messages":{"voters":"the cluster has fewer voters than it should"}}`)
		}
	}))
	t.Cleanup(h.Close)
	return strings.TrimPrefix(h.URL, "http://")
}

const never = 1 << 40

func TestHealth(t *testing.T) {
	node, none := healthNode(t, never), refusing(t)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for _, test := range []struct {
		admin string // ROOMRING_ADMIN
		args  string
		code  int
		want  string // on stdout or stderr
	}{
		{"", "--node=" + node, process.Good, node + " is healthy\n"},
		{node, "", process.Good, node + " is healthy\n"},
		{"0.0.0.0" + node[strings.Index(node, ":"):], "", process.Good, node + " is healthy\n"},
		{"[::]" + node[strings.Index(node, ":"):], "", process.Good, node + " is healthy\n"},
		{node[strings.Index(node, ":"):], "", process.Good, node + " is healthy\n"},
		{none, "--node=" + node, process.Good, node + " is healthy\n"},
		{node, "--ready", process.Failed, node + " is not ready: voters (the cluster has fewer voters than it should), new?[31m\n"},
		{none, "", process.Failed, "nothing answers at " + none + ": is a node running"},
		{none, "--wait=1ms", process.Failed, "nothing answers at " + none + ": is a node running"},
		{strings.TrimPrefix(other.URL, "http://"), "", process.Failed, " is not healthy: it answered 404 Not Found: is this a node's --admin address?\n"},
		{"8001", "", process.Misuse, `ROOMRING_ADMIN: "8001" is not HOST:PORT`},
	} {
		t.Setenv("ROOMRING_ADMIN", test.admin)
		out, errs, code := command(t.Context(), append([]string{"health"}, strings.Fields(test.args)...)...)
		if code != test.code || !strings.Contains(out+errs, test.want) {
			t.Errorf("%q %s: code %d, %s%s\nwant code %d, %s", test.admin, test.args, code, out, errs, test.code, test.want)
		}
	}
}

// A shard listens elsewhere than a router: the one that is there is asked.
func TestHealthFindsTheNode(t *testing.T) {
	t.Setenv("ROOMRING_ADMIN", "")
	c := healthCommand{}
	nodes, err := c.nodes()
	if diff := cmp.Diff([]string{"127.0.0.1:8001", "127.0.0.1:7402"}, nodes); err != nil || diff != "" {
		t.Errorf("asks %v, %v", nodes, err)
	}
	node, none := healthNode(t, 1), refusing(t)
	if asked, err := c.ask(t.Context(), []string{none, node}); asked != node || err != nil {
		t.Errorf("asked %s: %v", asked, err)
	}
	if _, err := c.ask(t.Context(), []string{none, none}); err == nil || !strings.Contains(err.Error(), none+" or "+none) {
		t.Errorf("nobody is there: %v", err)
	}
}

// --wait ends with the answer, and says once what it waits for.
func TestHealthWaits(t *testing.T) {
	node := healthNode(t, 3)
	began := time.Now()
	out, errs, code := command(t.Context(), "health", "--ready", "--wait=10m", "--node", node)
	if code != process.Good || out != node+" is ready\n" || strings.Count(errs, "waiting: ") != 1 || time.Since(began) > time.Minute {
		t.Errorf("code %d after %s\n%s%s", code, time.Since(began), out, errs)
	}
}

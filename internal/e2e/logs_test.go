//go:build linux

package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLogsKeepSecrets has nodes that log all they can be told every secret that there is, in the right
// places and in wrong ones. No log has any of them, and every line of it is what programs can read.
func TestLogsKeepSecrets(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, "s1", "s2", "r1")
	read, api, guess, query := secret(rand.Text()), secret(rand.Text()), secret(rand.Text()), secret(rand.Text())
	debug := []string{"--log-level", "debug", "--admin-read-token", read}
	c.shardFlags = debug
	c.routerFlags = append(slices.Clone(debug), "--api-key", api)
	c.startAll("s1", "s2", "r1")
	r1 := c.nodes["r1"]

	for _, n := range c.nodes {
		for _, token := range []string{c.token, read, guess, "Basic " + guess, guess + "\t" + guess} {
			for _, path := range []string{"/metrics", "/v1/ring?token=" + query, "/v1/rooms/" + guess, "/v1/drain?" + guess, "/debug/pprof/cmdline", "/" + query} {
				tell(t, "GET", "http://"+n.admin+path, token, "")
			}
			if token != c.token {
				tell(t, "POST", "http://"+n.admin+"/v1/drain", token, `{"node":"`+query+`"}`)
			}
		}
		shout(t, n.admin, "GET /metrics HTTP/1.1\r\nHost: "+n.admin+"\r\nAuthorization: Bearer "+guess+"\x00\r\n"+query+"\r\n\r\n")
		shout(t, n.link, guess+"\r\n\r\n")
	}
	for _, key := range []string{api, guess, c.token} {
		tell(t, "POST", "http://"+r1.listen+"/v1/rooms/lobby/messages?token="+query, key, "hello")
	}
	shout(t, r1.listen, "GET /ws?room=lobby&token="+query+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+guess+"\r\n"+query+"\r\n\r\n")
	shout(t, r1.listen, "GET /ws?room=%zz&token="+query+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "+guess+"\r\nSec-WebSocket-Version: 13\r\n\r\n")

	stranger := newCluster(t, 1, "s9") // its key and token are others
	stranger.name, stranger.seeds, stranger.shardFlags = c.name, c.seeds+","+stranger.seeds, debug
	strange := stranger.start("s9")
	strange.waitOutput(t, strange.log, "trouble with the key", patience, func(text string) bool {
		return strings.Contains(text, "does not understand us")
	})

	for _, n := range []*node{strange, r1, c.nodes["s1"], c.nodes["s2"]} {
		n.signal(syscall.SIGTERM)
	}
	for _, n := range []*node{strange, r1, c.nodes["s1"], c.nodes["s2"]} {
		n.exit(t, patience)
		checkLog(t, n, []string{c.token, c.key, stranger.token, stranger.key, read, api, guess, query})
	}
}

// tell asks with a token, and does not care for the answer.
func tell(t *testing.T, method, url, token, body string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+token)
	if a, err := http.DefaultClient.Do(q); err == nil {
		io.Copy(io.Discard, a.Body)
		a.Body.Close()
	}
}

// shout writes bytes to a port, and waits until it has hung up.
func shout(t *testing.T, address, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, text)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	io.Copy(io.Discard, conn)
}

var logTime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)

// checkLog reads a node's log as a program would.
func checkLog(t *testing.T, n *node, secrets []string) {
	t.Helper()
	lines := 0
	for line := range strings.Lines(n.log.String()) {
		lines++
		for _, s := range secrets {
			if strings.Contains(line, s) {
				t.Errorf("%s tells a secret (%s…): %s", n.id, s[:4], line)
			}
		}
		fields, again, err := fieldsOf(line)
		switch message, _ := fields["message"].(string); {
		case err != nil || again != "":
			t.Errorf("%s: %v, twice %q: %s", n.id, err, again, line)
		case !logTime.MatchString(text(fields["time"])) || text(fields["self"]) != n.id || !slices.Contains([]string{"debug", "info", "warn", "error"}, text(fields["level"])):
			t.Errorf("%s: a line without time, level or self: %s", n.id, line)
		case message == "" || message != strings.ToLower(message[:1])+message[1:]:
			t.Errorf("%s: message %q", n.id, message)
		}
	}
	if lines < 10 {
		t.Errorf("%s logged %d lines only", n.id, lines)
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// fieldsOf reads one line, and names a key that is there twice.
func fieldsOf(line string) (fields map[string]any, again string, err error) {
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		return nil, "", err
	}
	d := json.NewDecoder(bytes.NewReader([]byte(line)))
	d.Token() // the brace
	seen := make(map[string]bool)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return fields, "", err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return fields, "", err
		}
		if seen[text(key)] {
			again = text(key)
		}
		seen[text(key)] = true
	}
	return fields, again, nil
}

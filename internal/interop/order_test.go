package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// inOrder is what a room's member heard: that it is all that was published, and
// what each publisher said in its order.
func inOrder(t *testing.T, heard []string, publishers []string, each int) {
	t.Helper()
	next := map[string]int{}
	for i, body := range heard {
		var name string
		var n int
		if _, err := fmt.Sscanf(body, "%s %d", &name, &n); err != nil {
			t.Fatalf("message %d is %q: %v", i+1, body, err)
		}
		if n != next[name] {
			t.Fatalf("message %d is %q, want number %d of %s", i+1, body, next[name], name)
		}
		next[name]++
	}
	for _, name := range publishers {
		if next[name] != each {
			t.Errorf("heard %d messages of %s, want %d", next[name], name, each)
		}
	}
}

// bodies is the next n messages, which must be text.
func (c *conn) bodies(n int) []string {
	c.t.Helper()
	list := make([]string, n)
	for i := range list {
		m := c.next()
		if m.binary {
			c.t.Fatalf("heard %v, want text", m)
		}
		list[i] = m.body
	}
	return list
}

// TestOneOrder has every library publish at once, at both routers. All of them
// hear the same.
func TestOneOrder(t *testing.T) {
	t.Parallel()
	const each = 500
	room := newRoom(t)
	var conns []*conn
	var names []string
	for i, lib := range libraries {
		conns = append(conns, lib.join(t, i%2, room, ""), lib.join(t, (i+1)%2, room, ""))
		names = append(names, lib.name+"-a", lib.name+"-b")
	}
	names = append(names, "ws-a", "ws-b")
	total := each * len(names)
	peers := []*peer{startPeer(t, address(0, room, ""), "ws-a", each, total), startPeer(t, address(1, room, ""), "ws-b", each, total)}

	conns[0].say(text("go")) // the peers publish when they hear it, the others now
	for _, c := range conns {
		c.want(text("go"))
	}
	var writers sync.WaitGroup
	for i, c := range conns {
		writers.Go(func() {
			for n := range each {
				if err := c.write(text(fmt.Sprint(names[i], " ", n))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var first []string
	for i, c := range conns {
		heard := c.bodies(total)
		inOrder(t, heard, names, each)
		if i == 0 {
			first = heard
		}
		sameOrder(t, names[i], heard, first)
	}
	for i, p := range peers {
		sameOrder(t, names[len(conns)+i], p.rest(t), first)
	}
	writers.Wait()
}

func sameOrder(t *testing.T, who string, heard, first []string) {
	t.Helper()
	for i := range min(len(heard), len(first)) {
		if heard[i] != first[i] {
			t.Fatalf("message %d is %q for %s and %q for the first", i+1, heard[i], who, first[i])
		}
	}
	if !slices.Equal(heard, first) {
		t.Errorf("%s heard %d messages, the first %d", who, len(heard), len(first))
	}
}

// peer is a member of a room that npm's ws drives, in a process of its own.
type peer struct {
	lines  *bufio.Scanner
	wait   func() error
	stderr *strings.Builder
}

// startPeer returns when the peer has joined.
func startPeer(t *testing.T, url, name string, each, total int) *peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	cmd := nodeCommand(ctx, t, "peer.mjs", url, name, fmt.Sprint(each), fmt.Sprint(total))
	p := &peer{stderr: &strings.Builder{}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start node: %v", err)
	}
	p.lines = bufio.NewScanner(out)
	p.wait = sync.OnceValue(func() error {
		io.Copy(io.Discard, out)
		return cmd.Wait()
	})
	t.Cleanup(func() {
		cancel()
		p.wait()
	})
	if got := p.line(t); got != "joined" {
		t.Fatalf("%s said %q, want joined", name, got)
	}
	return p
}

func (p *peer) line(t *testing.T) (s string) {
	t.Helper()
	if !p.lines.Scan() {
		t.Fatalf("the peer ended early: %v\n%s", p.wait(), p.stderr)
	}
	if err := json.Unmarshal(p.lines.Bytes(), &s); err != nil {
		t.Fatalf("the peer said %q: %v", p.lines.Text(), err)
	}
	return s
}

// rest is all that the peer heard. It has ended then.
func (p *peer) rest(t *testing.T) []string {
	t.Helper()
	var list []string
	if got := p.line(t); got != "go" {
		t.Fatalf("the peer heard %q first, want go", got)
	}
	for p.lines.Scan() {
		var s string
		if err := json.Unmarshal(p.lines.Bytes(), &s); err != nil {
			t.Fatalf("the peer said %q: %v", p.lines.Text(), err)
		}
		list = append(list, s)
	}
	if err := p.wait(); err != nil {
		t.Fatalf("the peer ended with %v after %d messages\n%s", err, len(list), p.stderr)
	}
	return list
}

// nodeCommand runs a script of this folder. Ctx bounds how long.
func nodeCommand(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatalf("Node 20 or newer is needed: %v", err)
	}
	if _, err := os.Stat("node_modules/ws/package.json"); err != nil {
		t.Fatalf("npm's ws is not installed: run npm ci in internal/interop, or make interop")
	}
	return exec.CommandContext(ctx, "node", args...)
}

// TestConcurrentWriters has many goroutines publish in one room, where the
// library allows it several on one conn, while others ping.
func TestConcurrentWriters(t *testing.T) {
	each(t, func(t *testing.T, lib library) {
		const conns, each = 6, 100
		perConn := 1
		if lib.shared {
			perConn = 4
		}
		room := newRoom(t)
		witness := lib.join(t, 1, room, "")
		var names []string
		var writers sync.WaitGroup
		for i := range conns {
			c := lib.join(t, i%2, room, "echo=0")
			for j := range perConn {
				name := fmt.Sprintf("%d/%d", i, j)
				names = append(names, name)
				writers.Go(func() {
					for n := range each {
						if err := c.write(text(fmt.Sprint(name, " ", n))); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			writers.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				for range 20 {
					if err := c.ping(ctx); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		inOrder(t, witness.bodies(len(names)*each), names, each)
		writers.Wait()
	})
}

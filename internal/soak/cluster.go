package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	shards = 3

	// Small, so that rooms are forgotten and readers fall behind within seconds.
	historyAge = 10 * time.Second
	window     = "512KiB"
	maxMessage = "64KiB"

	// Long: a machine with too much to do is slow, and no proof of anything.
	settleWithin = 5 * time.Minute
	drainTime    = 5 * time.Minute
	drainWithin  = drainTime + time.Minute
)

// cluster is the processes, and the directory of all files.
type cluster struct {
	dir     string // of programs and logs; it is removed
	logs    string
	keep    string // for logs and profiles; "" for none
	apiKey  string
	routers []*node

	mu     sync.Mutex
	shards []*node
	guest  bool // a fourth shard is there
	busy   bool // it comes or goes
	fault  error

	giveUp func() // called at the first fault; set by soak
}

// newCluster builds the programs. What it keeps is in the directory keep, if that is not "".
func newCluster(ctx context.Context, keep string, progress io.Writer) (*cluster, error) {
	dir, err := os.MkdirTemp("", "roomring-soak-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, logs: dir, keep: keep, apiKey: rand.Text()}
	if keep != "" {
		c.logs = keep
		if err := os.MkdirAll(keep, 0o700); err != nil {
			c.end()
			return nil, err
		}
	}
	fmt.Fprintln(progress, "building")
	for _, program := range []string{"roomring-shard", "roomring-router"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, program), "github.com/roomring/roomring/cmd/"+program)
		if text, err := cmd.CombinedOutput(); err != nil {
			c.end()
			return nil, fmt.Errorf("build %s: %w\n%s", program, err, text)
		}
	}
	return c, nil
}

// found starts shards and routers and waits until they are settled.
func (c *cluster) found(ctx context.Context) error {
	for i := range shards {
		if err := c.addShard(fmt.Sprintf("s%d", i+1)); err != nil {
			return err
		}
	}
	for i := range 2 {
		n, err := launch(filepath.Join(c.dir, "roomring-router"), c.logs, fmt.Sprintf("r%d", i+1), "--listen", "127.0.0.1:0", "--link", "127.0.0.1:0",
			"--gossip", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--join", c.seeds(), "--window", window, "--max-message", maxMessage, "--api-key", c.apiKey)
		if err != nil {
			return err
		}
		c.routers = append(c.routers, n)
	}
	return c.settle(ctx)
}

func (c *cluster) addShard(id string) error {
	args := []string{"--link", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bootstrap-expect", fmt.Sprint(shards),
		"--history-age", historyAge.String(), "--window", window, "--max-moves", "256", "--drain-time", drainTime.String()}
	if seeds := c.seeds(); seeds != "" {
		args = append(args, "--join", seeds)
	}
	n, err := launch(filepath.Join(c.dir, "roomring-shard"), c.logs, id, args...)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shards = append(c.shards, n)
	return nil
}

func (c *cluster) seeds() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, n := range c.shards[:min(shards, len(c.shards))] {
		all = append(all, n.gossip)
	}
	return strings.Join(all, ",")
}

// settle waits until every partition has its copies and none moves.
func (c *cluster) settle(ctx context.Context) error {
	timeout := time.After(settleWithin)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	c.mu.Lock()
	count := len(c.shards)
	c.mu.Unlock()
	for {
		if c.settled(count) {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("the cluster did not settle within %s", settleWithin)
		}
	}
}

// settled reports whether the routers see that many shards, which share all partitions.
func (c *cluster) settled(count int) bool {
	for _, r := range c.routers {
		var ring struct {
			Settled bool
			Nodes   []struct {
				Role, State string
				Owned       int
			}
		}
		body, err := r.ask("/v1/ring?table=0")
		if err != nil || json.Unmarshal(body, &ring) != nil || !ring.Settled {
			return false
		}
		have := 0
		for _, n := range ring.Nodes {
			if n.Role == "shard" && n.State == "alive" && n.Owned > 0 {
				have++
			}
		}
		if have != count {
			return false
		}
	}
	return len(c.routers) > 0
}

// move has a fourth shard join and drain in turn, at each pace, and returns how often it did. A turn
// that the one before takes up is left out.
func (c *cluster) move(ctx context.Context, pace time.Duration) (moves int) {
	if pace == 0 {
		return 0
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return moves
		case <-tick.C:
		}
		if err := c.turn(ctx); err != nil {
			if ctx.Err() == nil {
				c.fail(err)
			}
			return moves
		}
		moves++
	}
}

func (c *cluster) turn(ctx context.Context) error {
	c.setPhase(c.phase().guest, true)
	if !c.phase().guest {
		if err := c.addShard("guest"); err != nil {
			return err
		}
		if err := c.settle(ctx); err != nil {
			return fmt.Errorf("a shard joined: %w", err)
		}
		c.setPhase(true, false)
		return nil
	}
	c.mu.Lock()
	guest := c.shards[shards]
	c.shards = c.shards[:shards:shards]
	c.mu.Unlock()
	if err := guest.drain(drainWithin); err != nil {
		guest.kill()
		return err
	}
	if err := c.settle(ctx); err != nil {
		return fmt.Errorf("a shard drained: %w", err)
	}
	c.setPhase(false, false)
	return nil
}

// phase is what the cluster is like: samples are compared with others of their phase.
type phase struct{ guest, busy bool }

func (p phase) String() string {
	switch {
	case p.busy && p.guest:
		return "a shard drains"
	case p.busy:
		return "a shard joins"
	case p.guest:
		return "four shards"
	}
	return "three shards"
}

func (c *cluster) phase() phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	return phase{c.guest, c.busy}
}

func (c *cluster) setPhase(guest, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guest, c.busy = guest, busy
}

func (c *cluster) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == nil {
		c.fault = err
		c.giveUp()
	}
}

// failed says what went wrong with the processes.
func (c *cluster) failed() error {
	for _, n := range c.steady() {
		if n.lost() {
			return fmt.Errorf("%s ended: %v", n.id, n.err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}

// steady are the nodes that are there from the beginning to the end.
func (c *cluster) steady() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(append([]*node(nil), c.shards[:min(shards, len(c.shards))]...), c.routers...)
}

// end ends all processes and removes all files.
func (c *cluster) end() {
	c.mu.Lock()
	all := append(append([]*node(nil), c.shards...), c.routers...)
	c.mu.Unlock()
	for _, n := range all {
		n.kill()
	}
	if err := os.RemoveAll(c.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
}

// tellLogs shows what the nodes said last that a person should know.
func (c *cluster) tellLogs(w io.Writer) {
	logs, _ := filepath.Glob(filepath.Join(c.logs, "*.log")) // the pattern is well formed
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, `"level":"warn"`) || strings.Contains(line, `"level":"error"`) {
				lines = append(lines, line)
			}
		}
		fmt.Fprintf(w, "-- %s, %d warnings and errors\n%s", filepath.Base(name), len(lines), strings.Join(lines[max(0, len(lines)-10):], ""))
	}
}

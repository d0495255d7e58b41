//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cluster is the nodes of a round.
type cluster struct {
	// Set by newCluster, then only read.
	ctx     context.Context // ends everything that waits
	options *options
	starter *starter
	network *network // nil on loopback
	dir     string   // of the programs
	logs    string
	data    string // nodes' --data-dir are in it; if empty, they have none
	name    string
	key     string
	keyFile string
	token   string

	nodes     map[string]*node // by id, the last run of each
	runs      map[string]int   // how often each was started
	processes []*process       // all there were
}

func newCluster(s *stage, r round) (*cluster, error) {
	c := &cluster{
		ctx: s.ctx, options: s.options, starter: s.starter, network: s.network, dir: s.dir,
		logs: filepath.Join(s.dir, "logs", fmt.Sprintf("round-%d", r.number)),
		name: "chaos-" + strings.ToLower(rand.Text()[:8]), token: rand.Text(),
		nodes: map[string]*node{}, runs: map[string]int{},
	}
	b := make([]byte, 32)
	rand.Read(b) // never fails
	c.key = base64.StdEncoding.EncodeToString(b)
	c.keyFile = filepath.Join(s.dir, "key")
	if r.disk {
		c.data = filepath.Join(s.dir, fmt.Sprintf("data-%d", r.number))
	}
	if err := os.MkdirAll(c.logs, 0o755); err != nil {
		return nil, err
	}
	return c, os.WriteFile(c.keyFile, []byte(c.key+"\n"), 0o600)
}

// close ends all processes.
func (c *cluster) close() {
	for _, p := range c.processes {
		p.want = true
		p.kill()
	}
	if c.data != "" {
		os.RemoveAll(c.data)
	}
}

// running are the nodes that should live, by id.
func (c *cluster) running() (list []*node) {
	for _, n := range c.nodes {
		if !n.want {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b *node) int { return strings.Compare(a.id, b.id) })
	return list
}

// fallen says which process ended by itself, "" if none did.
func (c *cluster) fallen() string {
	for _, p := range c.processes {
		if !p.want && p.ended() {
			return fmt.Sprintf("%s ended by itself: %s; see %s", p.name, p.cmd.ProcessState, p.log)
		}
	}
	return ""
}

// until waits until f has nothing to complain about. Nobody tells when a node's view changes, so it asks
// again and again.
func (c *cluster) until(what string, within time.Duration, f func() (complaint string)) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(within)
	for {
		complaint := f()
		if complaint == "" {
			return nil
		}
		if died := c.fallen(); died != "" {
			return fmt.Errorf("waiting until %s: %s", what, died)
		}
		select {
		case <-again.C:
		case <-deadline:
			return fmt.Errorf("not within %s: %s: %s", within, what, complaint)
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}

// settleWithin bounds how long a cluster may take to settle when nothing is wrong any more. It is a
// bound for machines that are busy: some seconds are usual.
const settleWithin = 2 * time.Minute

// settled waits until all nodes that run say the same, and that it is as it should be. It returns what
// they say.
func (c *cluster) settled() (r *ring, err error) {
	var ids []string
	running := c.running()
	for _, n := range running {
		ids = append(ids, n.id)
	}
	err = c.until("the cluster is settled", settleWithin, func() (complaint string) {
		r, complaint = agreement(running, ids)
		return complaint
	})
	return r, err
}

// agreement asks all nodes; first for little, since rows cost a node some milliseconds.
func agreement(nodes []*node, ids []string) (r *ring, complaint string) {
	for _, n := range nodes {
		got, err := n.summary()
		if err != nil {
			return nil, err.Error()
		}
		if complaint := got.unsettled(ids); complaint != "" {
			return nil, n.id + ": " + complaint
		}
	}
	for _, n := range nodes {
		got, err := n.ring()
		if err != nil {
			return nil, err.Error()
		}
		if r == nil {
			r = got
		}
		if complaint := got.differs(r); complaint != "" {
			return nil, fmt.Sprintf("%s and %s: %s", nodes[0].id, n.id, complaint)
		}
		if complaint := n.ready(); complaint != "" {
			return nil, fmt.Sprintf("%s is not ready: %s", n.id, complaint)
		}
	}
	return r, ""
}

// unsettled says what is not as it should be with these nodes.
func (r *ring) unsettled(ids []string) string {
	voters := 1
	switch {
	case len(ids) >= 5:
		voters = 5
	case len(ids) >= 3:
		voters = 3
	}
	switch {
	case !slices.Equal(r.alive(), ids):
		return fmt.Sprintf("alive are %v, want %v", r.alive(), ids)
	case !r.Settled:
		return fmt.Sprintf("not settled: %d single copies, version %d", r.SingleCopy, r.Version)
	case r.Leader == "" || len(r.Voters) != voters:
		return fmt.Sprintf("leader %q, voters %v", r.Leader, r.Voters)
	}
	return ""
}

// differs says in what two nodes do not agree.
func (r *ring) differs(o *ring) string {
	switch {
	case r.Instance != o.Instance || r.Version != o.Version || r.Leader != o.Leader || !slices.Equal(r.Voters, o.Voters):
		return fmt.Sprintf("version %d, leader %q, voters %v, instance %s; version %d, leader %q, voters %v, instance %s",
			r.Version, r.Leader, r.Voters, r.Instance, o.Version, o.Leader, o.Voters, o.Instance)
	case !slices.EqualFunc(r.Table, o.Table, row.equal):
		return fmt.Sprintf("of the same version %d, the rows differ", r.Version)
	}
	return ""
}

// wake wakes whoever is still stopped.
func (c *cluster) wake() {
	for _, n := range c.running() {
		n.signal(syscall.SIGCONT)
	}
}

// metric is the sum of a metric over its labels, 0 if the node does not answer.
func (n *node) metric(name string) (sum float64) {
	_, body, err := n.ask("/metrics")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(body)) {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if its, _, _ := strings.Cut(line[:at], "{"); its == name {
			v, _ := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			sum += v
		}
	}
	return sum
}

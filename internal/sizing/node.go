//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// node is a process of the cluster.
type node struct {
	id     string
	log    string // file of its stderr
	cmd    *exec.Cmd
	done   chan struct{} // closed when it has ended
	gossip string
	admin  string
	listen string // routers only
}

// startWithin bounds how long nodes may take until they serve.
const startWithin = time.Minute

// nodes are a router and two shards, so that each room has an owner and a follower.
type nodes []*node

// start starts them with default settings, on ports that the system chooses. With a certificate the router
// does TLS. Only moves are not limited, so that the empty cluster settles in a second.
func start(ctx context.Context, programs, dir, certificate, key string) (all nodes, err error) {
	defer func() {
		if err != nil {
			all.stop()
			all = nil
		}
	}()
	for _, id := range []string{"s1", "s2", "r1"} {
		args := []string{"--max-moves", "1024", "--link", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
		program := "roomring-shard"
		switch {
		case id == "r1":
			program = "roomring-router"
			args = append(args, "--listen", "127.0.0.1:0")
			if certificate != "" {
				args = append(args, "--tls-cert", certificate, "--tls-key", key)
			}
		case id == "s1":
			args = append(args, "--bootstrap-expect", "1")
		}
		if len(all) > 0 {
			args = append(args, "--join", all[0].gossip)
		}
		n, err := launch(ctx, filepath.Join(programs, program), dir, id, args...)
		if err != nil {
			return all, err
		}
		all = append(all, n)
	}
	return all, all.settle(ctx)
}

// launch starts a program and waits until its ports are open.
func launch(ctx context.Context, program, dir, id string, args ...string) (*node, error) {
	n := &node{id: id, log: filepath.Join(dir, id+".log"), done: make(chan struct{})}
	file, err := os.Create(n.log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	n.cmd = exec.Command(program, append([]string{"--id", id, "--log-format", "json"}, args...)...)
	n.cmd.Stderr = file
	// A group of its own, so that an interrupt from a terminal reaches us alone.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = n.cmd.Wait() // how it ended is nobody's concern
		close(n.done)
	}()
	if err := every(ctx, n.up); err != nil {
		_ = n.cmd.Process.Kill()
		<-n.done
		words, _ := os.ReadFile(n.log)
		return nil, fmt.Errorf("start %s: %w: %s", id, err, bytes.TrimSpace(words[max(0, len(words)-2000):]))
	}
	return n, nil
}

// up reads the node's addresses from its log, once they are there.
func (n *node) up() (bool, error) {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return false, err
	}
	for line := range bytes.Lines(text) {
		var e struct {
			Message   string
			Addresses struct{ Gossip, Admin, Listen string }
		}
		if json.Unmarshal(line, &e) == nil && e.Message == "node up" {
			n.gossip, n.admin, n.listen = e.Addresses.Gossip, e.Addresses.Admin, e.Addresses.Listen
			return true, nil
		}
	}
	select {
	case <-n.done:
		return false, fmt.Errorf("it ended")
	default:
		return false, nil
	}
}

// every asks ready each 20 ms until it says yes, for startWithin at most.
func every(ctx context.Context, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits until every node sees all others, and every partition has its copies.
func (all nodes) settle(ctx context.Context) error {
	return every(ctx, func() (bool, error) {
		for _, n := range all {
			if !n.settled(ctx, len(all)) {
				return false, nil
			}
		}
		return true, nil
	})
}

var admins = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (n *node) settled(ctx context.Context, want int) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+"/v1/ring?table=0", nil)
	if err != nil {
		return false
	}
	answer, err := admins.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	var ring struct {
		Settled bool
		Single  int                      `json:"single_copy"`
		Nodes   []struct{ State string } `json:"nodes"`
	}
	err = json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(&ring)
	return err == nil && answer.StatusCode == http.StatusOK && ring.Settled && ring.Single == 0 && len(ring.Nodes) == want
}

// stop ends all nodes at once and waits until they have.
func (all nodes) stop() {
	for _, n := range all {
		_ = n.cmd.Process.Kill() // it may have ended
	}
	for _, n := range all {
		<-n.done
	}
}

// use is what nodes have in memory, and have used of CPUs.
type use struct {
	router, shards       int64 // bytes
	routerCPU, shardsCPU time.Duration
}

func (all nodes) use() (u use, err error) {
	for _, n := range all {
		memory, cpu, err := processUse(n.cmd.Process.Pid)
		switch {
		case err != nil:
			return u, fmt.Errorf("%s: %w", n.id, err)
		case n.listen != "":
			u.router, u.routerCPU = u.router+memory, u.routerCPU+cpu
		default:
			u.shards, u.shardsCPU = u.shards+memory, u.shardsCPU+cpu
		}
	}
	return u, nil
}

func (u use) cpu() time.Duration { return u.routerCPU + u.shardsCPU }

// router is the node that clients connect to.
func (all nodes) router() *node { return all[len(all)-1] }

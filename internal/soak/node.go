package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// node is a process of the cluster.
type node struct {
	id     string
	log    string // file of its stderr
	cmd    *exec.Cmd
	gossip string
	admin  string
	listen string // routers only

	done chan struct{} // closed when it has ended
	err  error         // of Wait, then

	mu      sync.Mutex
	leaving bool // it was told to end
}

// upWithin bounds how long a node takes to open its ports.
const upWithin = time.Minute

// launch starts a program and waits until its ports are open.
func launch(program, dir, id string, args ...string) (*node, error) {
	n := &node{id: id, log: filepath.Join(dir, id+".log"), done: make(chan struct{})}
	file, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	n.cmd = exec.Command(program, append([]string{"--id", id, "--log-format", "json"}, args...)...)
	n.cmd.Stderr = file
	endWithUs(n.cmd)
	before, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		n.err = n.cmd.Wait()
		close(n.done)
	}()
	if err := n.findPorts(before); err != nil {
		n.kill()
		return nil, fmt.Errorf("start %s: %w", id, err)
	}
	return n, nil
}

// findPorts reads the node's addresses from its log, behind what earlier runs of it wrote.
func (n *node) findPorts(from int64) error {
	timeout := time.After(upWithin)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		text, err := os.ReadFile(n.log)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(text[min(int(from), len(text)):]) {
			var e struct {
				Message   string
				Addresses struct{ Gossip, Admin, Listen string }
			}
			if json.Unmarshal(line, &e) == nil && e.Message == "node up" {
				n.gossip, n.admin, n.listen = e.Addresses.Gossip, e.Addresses.Admin, e.Addresses.Listen
				return nil
			}
		}
		select {
		case <-again.C:
		case <-n.done:
			return fmt.Errorf("it ended: %w", n.err)
		case <-timeout:
			return fmt.Errorf("no open ports within %s", upWithin)
		}
	}
}

// drain asks the node to hand over what it has, and waits for its end.
func (n *node) drain(within time.Duration) error {
	n.mu.Lock()
	n.leaving = true
	n.mu.Unlock()
	if err := terminate(n.cmd.Process); err != nil {
		return fmt.Errorf("drain %s: %w", n.id, err)
	}
	select {
	case <-n.done:
		if n.err != nil {
			return fmt.Errorf("drain %s: %w", n.id, n.err)
		}
		return nil
	case <-time.After(within):
		return fmt.Errorf("drain %s: it did not end within %s", n.id, within)
	}
}

// kill ends the process at once and waits until it has.
func (n *node) kill() {
	n.mu.Lock()
	n.leaving = true
	n.mu.Unlock()
	_ = n.cmd.Process.Kill() // it may have ended
	<-n.done
}

// lost reports whether the node ended though nobody told it to.
func (n *node) lost() bool {
	select {
	case <-n.done:
		n.mu.Lock()
		defer n.mu.Unlock()
		return !n.leaving
	default:
		return false
	}
}

// admins asks admin ports; each answer is read whole.
var admins = http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// ask gets a path of the node's admin port.
func (n *node) ask(path string) ([]byte, error) {
	answer, err := admins.Get("http://" + n.admin + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", n.id, path, err)
	}
	return body, nil
}

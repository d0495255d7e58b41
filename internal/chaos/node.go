//go:build linux

package main

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// node is a process of the cluster, with its addresses.
type node struct {
	*process
	id            string
	listen, admin string
	token         string
}

// The ports of a node, on an address of its own or counted from a base of its own.
const (
	portLink = iota
	portGossip
	portAdmin
	portListen
	portsPerNode = 10
)

// address is where a node listens.
func (c *cluster) address(id string, port int) string {
	host, base := "127.0.0.1", c.options.port
	if c.network != nil {
		host, base = hosts[id], 7400
	} else {
		base += portsPerNode * placeOf[id]
	}
	return net.JoinHostPort(host, strconv.Itoa(base+port))
}

// placeOf gives each node ports on loopback that no other one has.
var placeOf = map[string]int{"s1": 0, "s2": 1, "s3": 2, "s4": 3, "r1": 4, "r2": 5, "r3": 6}

// routerDrain is how long routers take to close their conns, and shardDrain how long a shard may take
// to hand over.
const (
	routerDrain = 3 * time.Second
	shardDrain  = 60 * time.Second
)

// command is what starts a node.
func (c *cluster) command(id string) *exec.Cmd {
	args := []string{"--id", id, "--cluster", c.name,
		"--link", c.address(id, portLink), "--gossip", c.address(id, portGossip), "--admin", c.address(id, portAdmin),
		"--join", c.seeds(), "--cluster-key-file", c.keyFile, "--admin-token", c.token,
		"--log-format", "json", "--max-moves", strconv.Itoa(c.options.moves)}
	if c.data != "" {
		args = append(args, "--data-dir", c.dataDir(id))
	}
	program := "roomring-shard"
	if isRouter(id) {
		program = "roomring-router"
		args = append(args, "--listen", c.address(id, portListen), "--auth", "none", "--drain-time", routerDrain.String())
	} else {
		args = append(args, "--bootstrap-expect", strconv.Itoa(len(shards)), "--drain-time", shardDrain.String())
	}
	return exec.Command(filepath.Join(c.dir, program), args...)
}

func (c *cluster) seeds() (list string) {
	for i, id := range everyone {
		if i > 0 {
			list += ","
		}
		list += c.address(id, portGossip)
	}
	return list
}

func (c *cluster) dataDir(id string) string { return filepath.Join(c.data, id) }

// start starts a node, the first time or again, and returns when its admin port answers.
func (c *cluster) start(id string) (*node, error) {
	return c.startCommand(id, c.command(id))
}

func (c *cluster) startCommand(id string, cmd *exec.Cmd) (*node, error) {
	if old := c.nodes[id]; old != nil && !old.ended() {
		return nil, fmt.Errorf("%s runs already", id)
	}
	c.runs[id]++
	log := filepath.Join(c.logs, fmt.Sprintf("%s.%d.log", id, c.runs[id]))
	namespace := ""
	if c.network != nil {
		namespace = id
	}
	cmd.Env = environment()
	p, err := c.starter.launch(namespace, id, log, cmd)
	if err != nil {
		return nil, err
	}
	n := &node{process: p, id: id, listen: c.address(id, portListen), admin: c.address(id, portAdmin), token: c.token}
	c.nodes[id] = n
	c.processes = append(c.processes, p)
	return n, c.until("the admin port of "+id+" answers", time.Minute, func() string {
		if n.ended() {
			return fmt.Sprintf("it ended with %s; see %s", n.cmd.ProcessState, log)
		}
		if _, _, err := n.ask("/healthz"); err != nil {
			return err.Error()
		}
		return ""
	})
}

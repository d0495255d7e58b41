//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// network is a bridge in the stage's own network namespace, and one namespace per node on it. Clients,
// verify among them, are in the stage's: they reach every node whatever is cut between nodes.
type network struct {
	starter *starter
	rules   map[pair]rule // what is in force between nodes; nothing for who hears all
	noise   string        // share of packets that nodes lose from each other; "" for none

	loss, slow error // why these cannot be had; nil if they can
}

// pair is packets from one node to another.
type pair struct{ from, to string }

// rule is what happens to packets.
type rule string

const (
	drop   rule = "drop"   // silence
	reject rule = "reject" // an answer as if nobody listened there
)

const (
	namespaceDir = "/run/netns/"
	bridge       = "ring"
	clientHost   = "10.77.0.1"
	nodesNet     = "10.77.0.128/25" // every node is in it, and no client
)

// hosts are the nodes' addresses.
var hosts = map[string]string{
	"s1": "10.77.0.129", "s2": "10.77.0.130", "s3": "10.77.0.131", "s4": "10.77.0.132",
	"r1": "10.77.0.141", "r2": "10.77.0.142", "r3": "10.77.0.143",
}

// hide makes this process's mounts its own, so that nobody else sees them and they go with it.
func hide() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Names of network namespaces and the lock of iptables are kept under /run.
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	return nil
}

// openNetwork makes the bridge and a namespace for every node that may ever be, and tries out what cuts
// are made of.
func openNetwork(s *starter) (*network, error) {
	n := &network{starter: s, rules: map[pair]rule{}}
	steps := []string{
		"link set lo up",
		"link add " + bridge + " type bridge",
		"addr add " + clientHost + "/24 dev " + bridge,
		"link set " + bridge + " up",
	}
	for id, host := range hosts {
		steps = append(steps,
			"netns add "+id,
			"link add "+id+" type veth peer name eth0 netns "+id,
			"link set "+id+" master "+bridge+" up",
			"-n "+id+" link set lo up",
			"-n "+id+" addr add "+host+"/24 dev eth0",
			"-n "+id+" link set eth0 up",
		)
	}
	for _, step := range steps {
		if err := n.do("", "ip "+step); err != nil {
			return nil, err
		}
	}
	if err := n.load("s1", []string{"-s " + hosts["s2"] + " -p tcp -j REJECT --reject-with tcp-reset"}); err != nil {
		return nil, err
	}
	n.loss = n.load("s1", []string{lossOf("0.5")})
	if err := n.load("s1", nil); err != nil {
		return nil, err
	}
	if n.slow = n.do("s1", slower("eth0")); n.slow == nil {
		n.slow = n.do("s1", faster("eth0"))
	}
	return n, nil
}

// do runs a command in a namespace; "" is that of the stage.
func (n *network) do(namespace, command string) error {
	words := strings.Fields(command)
	_, err := n.starter.run(namespace, exec.Command(words[0], words[1:]...))
	return err
}

// load sets what a node's namespace does to packets that come in, all at once.
func (n *network) load(id string, rules []string) error {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT ACCEPT [0:0]\n")
	for _, r := range rules {
		b.WriteString("-A INPUT " + r + "\n")
	}
	b.WriteString("COMMIT\n")
	cmd := exec.Command("iptables-restore")
	cmd.Stdin = strings.NewReader(b.String())
	_, err := n.starter.run(id, cmd)
	return err
}

// cut has packets between two sides dropped or answered, both ways.
func (n *network) cut(a, b []string, as rule) error {
	n.note(a, b, as)
	n.note(b, a, as)
	return n.apply(append(slices.Clone(a), b...))
}

// cutOneWay has packets from one side to the other dropped.
func (n *network) cutOneWay(from, to []string) error {
	n.note(from, to, drop)
	return n.apply(to)
}

func (n *network) note(from, to []string, as rule) {
	for _, f := range from {
		for _, t := range to {
			if f != t {
				n.rules[pair{f, t}] = as
			}
		}
	}
}

// lose has nodes lose a share of each other's packets.
func (n *network) lose(share string) error {
	n.noise = share
	return n.apply(allHosts())
}

// heal takes back all cuts and losses.
func (n *network) heal() error {
	touched := map[string]bool{}
	for p := range n.rules {
		touched[p.to] = true
	}
	if n.noise != "" {
		for id := range hosts {
			touched[id] = true
		}
	}
	clear(n.rules)
	n.noise = ""
	var ids []string
	for id := range touched {
		ids = append(ids, id)
	}
	return n.apply(ids)
}

// apply has the rules take effect, in all these namespaces at about the same time.
func (n *network) apply(ids []string) error {
	errs := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() { errs[i] = n.load(id, n.rulesOf(id)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (n *network) rulesOf(id string) (rules []string) {
	for p, r := range n.rules {
		switch from := "-s " + hosts[p.from]; {
		case p.to != id:
		case r == drop:
			rules = append(rules, from+" -j DROP")
		case r == reject:
			rules = append(rules, from+" -p tcp -j REJECT --reject-with tcp-reset", from+" -j REJECT")
		}
	}
	if n.noise != "" {
		rules = append(rules, lossOf(n.noise))
	}
	return rules
}

func lossOf(share string) string {
	return "-s " + nodesNet + " -m statistic --mode random --probability " + share + " -j DROP"
}

// slow has a node send and hear no more than 2 Mbit/s. Its clients are behind the same link.
func (n *network) slowDown(id string) error {
	if err := n.do(id, slower("eth0")); err != nil {
		return err
	}
	return n.do("", slower(id))
}

func (n *network) speedUp(id string) error {
	if err := n.do(id, faster("eth0")); err != nil {
		return err
	}
	return n.do("", faster(id))
}

func slower(device string) string {
	return "tc qdisc replace dev " + device + " root tbf rate 2mbit burst 16kb latency 200ms"
}

func faster(device string) string { return "tc qdisc del dev " + device + " root" }

func allHosts() (ids []string) {
	for id := range hosts {
		ids = append(ids, id)
	}
	return ids
}

// tools says which program is missing.
func tools() error {
	for _, tool := range []string{"ip", "iptables-restore", "iptables-save"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	if _, err := os.Stat("/proc/self/ns/net"); err != nil {
		return err
	}
	return nil
}

//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A fault that did not happen is survived by everybody: a rule that matches nothing, a namespace that is not the
// node's, a signal that went elsewhere. So what can be seen of a fault is looked for before it is taken back.

// felt is an error when one of the nodes whose packets are dropped or answered has lost none. Nodes beat twice a
// second over each link; only routers need have nothing to say to each other.
func (n *network) felt() error {
	if n.noise != "" {
		total := 0
		for _, id := range allHosts() { // a node may lose none of its few packets
			met, err := n.met(id)
			if err != nil {
				return err
			}
			total += met
		}
		if total == 0 {
			return fmt.Errorf("no packet was lost with a loss of %s", n.noise)
		}
	}
	heard := map[string]bool{}
	for p := range n.rules {
		if !isRouter(p.from) || !isRouter(p.to) {
			heard[p.to] = true
		}
	}
	for id := range heard {
		met, err := n.met(id)
		if err == nil && met == 0 {
			err = fmt.Errorf("no packet to %s met the rules that should have cut it off", id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// met is how many packets the rules of a node's namespace were for.
func (n *network) met(id string) (packets int, err error) {
	out, err := n.starter.run(id, exec.Command("iptables-save", "-c", "-t", "filter"))
	if err != nil {
		return 0, err
	}
	return metBy(out)
}

// metBy adds up the counters of iptables-save -c: "[packets:bytes] -A INPUT …".
func metBy(saved string) (packets int, err error) {
	for line := range strings.Lines(saved) {
		count, ok := strings.CutPrefix(line, "[")
		if !ok || !strings.Contains(line, "] -A INPUT ") {
			continue
		}
		count, _, _ = strings.Cut(count, ":")
		c, err := strconv.Atoi(count)
		if err != nil {
			return 0, fmt.Errorf("counter of a rule: %w", err)
		}
		packets += c
	}
	return packets, nil
}

// slowed is an error when what a node sends did not go through a slow queue.
func (n *network) slowed(id string) error {
	out, err := n.starter.run(id, exec.Command("tc", "-s", "qdisc", "show", "dev", "eth0"))
	if err != nil {
		return err
	}
	if !strings.Contains(out, " tbf ") || !strings.Contains(out, "rate 2Mbit") || strings.Contains(out, "Sent 0 bytes") {
		return fmt.Errorf("the link of %s was not slow: %s", id, strings.TrimSpace(out))
	}
	return nil
}

// stoppedWithin bounds how long a process goes on behind a SIGSTOP, on a machine that is busy.
const stoppedWithin = 10 * time.Second

// freeze stops a node, and waits until it has stopped.
func (c *cluster) freeze(id string) error {
	c.nodes[id].signal(syscall.SIGSTOP)
	return c.until(id+" stands still", stoppedWithin, func() (complaint string) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.nodes[id].cmd.Process.Pid))
		if err != nil {
			return err.Error()
		}
		if state := stateIn(string(stat)); state != "T" {
			return "its state is " + state
		}
		return ""
	})
}

// stateIn is the third field of /proc/PID/stat; the second one, in brackets, may contain anything.
func stateIn(stat string) string {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) == 0 {
		return "unknown"
	}
	return fields[0]
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/doctor"
	"github.com/roomring/roomring/internal/settings"
)

type doctorCommand struct {
	Role   string   `arg:"" optional:"" name:"role" help:"What is to run on this machine, with its settings from --config and the environment: router or shard. Without it, both with their defaults."`
	Flags  []string `arg:"" optional:"" name:"flags" help:"Further flags of that node, after --."`
	Config string   `name:"config" placeholder:"FILE" help:"The --config of that node."`
	asked

	named bool // --node was given
}

func (doctorCommand) Help() string {
	return `Checks this machine: descriptors, backlog, ports, memory, swap, clock, and what else may end in conns that are
refused or nodes that are silent. Then the cluster, as the node at --node sees it: the table, voters, owners,
copies, zones, and whether the nodes agree in settings, versions and clocks. Changes nothing. What the system
does not tell is "skipped".

  roomring doctor
  roomring doctor router --config /etc/roomring/router.yaml
  roomring doctor shard --node 10.0.0.7:7402 -- --memory-limit 4GiB
  roomring doctor --json | jq '.machine + .cluster | map(select(.state == "bad"))'

The limits are those of a process that is started as this one was: run it as the node's user. When nothing
answers at the usual --node, only the machine is checked.
Exit code: 0 nothing is bad, 1 something is, or the --node that was given does not answer, 2 wrong use.`
}

// AfterApply remembers whether a node was named: then it must answer.
func (c *doctorCommand) AfterApply(ctx *kong.Context) error {
	for _, step := range ctx.Path {
		c.named = c.named || step.Flag != nil && step.Flag.Name == "node" && !step.Resolved
	}
	return nil
}

// diagnosis is the answer of doctor --json.
type diagnosis struct {
	Machine []doctor.Finding `json:"machine"`
	Cluster []doctor.Finding `json:"cluster"`
	Bad     int              `json:"bad"`
	Warn    int              `json:"warn"`
}

// Run checks and tells.
func (c *doctorCommand) Run(w *world) error {
	machine, err := c.machine()
	if err != nil {
		return err
	}
	found, err := c.cluster(w)
	if err != nil {
		return err
	}
	d := diagnosis{Machine: machine, Cluster: found}
	for _, f := range append(append([]doctor.Finding{}, machine...), found...) {
		switch f.State {
		case doctor.Bad:
			d.Bad++
		case doctor.Warn:
			d.Warn++
		}
	}
	if c.JSON {
		e := json.NewEncoder(w.stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		err = e.Encode(d)
	} else {
		err = c.print(w.screen(), &d)
	}
	if err == nil && d.Bad > 0 {
		err = fmt.Errorf("%s found", plural(d.Bad, "problem"))
	}
	return err
}

// machine checks this machine for the nodes that are to run here.
func (c *doctorCommand) machine() ([]doctor.Finding, error) {
	roles := []string{c.Role}
	switch {
	case c.Role == "" && (c.Config != "" || len(c.Flags) > 0):
		return nil, usage("say whose settings these are: doctor router or doctor shard")
	case c.Role == "":
		roles = []string{"router", "shard"}
	case c.Role != "router" && c.Role != "shard":
		return nil, usage(fmt.Sprintf("%q is not one of router, shard", c.Role))
	}
	physical, cgroup := settings.SystemMemory()
	m := &doctor.Machine{Memory: int64(physical), Cgroup: int64(cgroup)}
	for _, role := range roles {
		c.plan(m, role)
	}
	for i := range m.Ports {
		m.Ports[i].Try("/")
	}
	doctor.Gather(m, "/")
	return doctor.JudgeMachine(m), nil
}

// plan adds to m what a node of a role would take. Nothing is made: to print settings makes no directory.
func (c *doctorCommand) plan(m *doctor.Machine, role string) {
	p := settings.Program{Name: "roomring-" + role}
	args := []string{"--print-config"}
	if c.Role != "" {
		p.Getenv = os.Getenv
		args = append(args, c.Flags...)
	}
	if c.Config != "" {
		args = append(args, "--config", c.Config)
	}
	n := doctor.Planned{Role: role}
	var node *settings.Node
	var err error
	others := len(m.Ports)
	if role == "router" {
		var r *settings.Router
		if r, err = settings.LoadRouter(p, args); r != nil {
			node, n.MaxConns = &r.Node, r.MaxConns
			m.Ports = append(m.Ports, doctor.Port{Role: role, Flag: "listen", Address: r.Listen})
		}
	} else {
		var s *settings.Shard
		if s, err = settings.LoadShard(p, args); s != nil {
			node = &s.Node
		}
	}
	if err != nil && !errors.Is(err, settings.ErrDone) || node == nil {
		m.Ports, n = m.Ports[:others], doctor.Planned{Role: role, Wrong: fmt.Sprint(err)}
		m.Nodes = append(m.Nodes, n)
		return
	}
	n.MemoryLimit = int64(node.MemoryLimit)
	_, cgroup := settings.SystemMemory()
	n.Chosen = node.MemoryLimit == cgroup || int64(node.MemoryLimit) == m.Memory/2>>20<<20
	m.Nodes = append(m.Nodes, n)
	m.Ports = append(m.Ports, doctor.Port{Role: role, Flag: "link", Address: node.Link}, doctor.Port{Role: role, Flag: "gossip", Address: node.Gossip, UDP: true},
		doctor.Port{Role: role, Flag: "admin", Address: node.Admin})
}

// cluster checks the cluster, if a node answers. That none does at the usual address is no fault: there
// may be none here yet.
func (c *doctorCommand) cluster(w *world) ([]doctor.Finding, error) {
	ring, err := c.askRing(w)
	var away *awayError
	switch {
	case err == nil:
	case isUsage(err) || w.ctx.Err() != nil:
		return nil, err
	case !c.named && errors.As(err, &away):
		return []doctor.Finding{{Check: "cluster", State: doctor.Skipped, Text: "only this machine was checked: " + err.Error(), Mend: "--node HOST:PORT of a node, its --admin address"}}, nil
	default:
		return []doctor.Finding{{Check: "cluster", State: doctor.Bad, Text: err.Error(), Mend: "--node HOST:PORT of a node that runs, its --admin address"}}, nil
	}
	sent := time.Now()
	nodes, _, err := c.nodes(w.ctx)
	if err != nil {
		return []doctor.Finding{{Check: "cluster", State: doctor.Bad, Text: err.Error(), Mend: "ask a node of this version or a later one"}}, nil
	}
	return doctor.JudgeCluster(&doctor.Cluster{Ring: ring, Nodes: nodes, Sent: sent, Received: time.Now()}), nil
}

func (c *doctorCommand) askRing(w *world) (*cluster.RingDocument, error) {
	body, err := c.get(w.ctx, "/v1/ring", url.Values{})
	if err != nil {
		return nil, err
	}
	ring := &cluster.RingDocument{}
	return ring, c.read(body, ring)
}

func isUsage(err error) bool {
	var wrong *settings.UsageError
	return errors.As(err, &wrong)
}

// stateWidth and checkWidth are the widest words of the first two columns.
const stateWidth, checkWidth = 7, 11

func (c *doctorCommand) print(s screen, d *diagnosis) error {
	var b strings.Builder
	b.WriteString("this machine\n")
	printFindings(&b, s, d.Machine)
	fmt.Fprintf(&b, "\nthe cluster, asked at %s\n", printable(c.Node))
	printFindings(&b, s, d.Cluster)
	fmt.Fprintf(&b, "\n%d bad, %s\n", d.Bad, plural(d.Warn, "warning"))
	_, err := s.w.Write([]byte(b.String()))
	return err
}

func printFindings(b *strings.Builder, s screen, found []doctor.Finding) {
	colours := map[doctor.State]paint{doctor.OK: good, doctor.Warn: warned, doctor.Bad: bad}
	indent := strings.Repeat(" ", 2+stateWidth+gutter+checkWidth+gutter)
	for _, f := range found {
		state, check := string(f.State), printable(f.Check)
		fmt.Fprintf(b, "  %s%s%s%s", s.stroke(colours[f.State], state), strings.Repeat(" ", max(0, stateWidth-len(state))+gutter),
			check, strings.Repeat(" ", max(0, checkWidth-cells(check))+gutter))
		text := wrapped(f.Text, usualWidth-len(indent))
		if f.Mend != "" && f.State != doctor.OK {
			text = append(text, wrapped("mend: "+f.Mend, usualWidth-len(indent))...)
		}
		b.WriteString(strings.Join(text, "\n"+indent) + "\n")
	}
}

// wrapped breaks a text into lines at blanks. A word that is wider than a line stays whole: it may be a
// command to copy.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(printable(text)) {
		if line != "" && cells(line)+1+cells(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

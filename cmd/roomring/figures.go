package main

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/roomring/roomring/admin"
)

// figuresEvery is how far apart the two answers are that a rate is made of.
const figuresEvery = time.Second

// figures prints what every node has to do: totals are of the second of two answers, rates of both.
func (c *ringCommand) figures(w *world) error {
	first, body, err := c.nodes(w.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		if _, err := w.stdout.Write(body); err != nil {
			return err
		}
		return whole(first)
	}
	if err := pause(w.ctx, figuresEvery); err != nil {
		return err
	}
	second, _, err := c.nodes(w.ctx)
	if err != nil {
		return err
	}
	if err := printFigures(w.screen(), first, second); err != nil {
		return err
	}
	return whole(second)
}

// nodes asks for the figures of all nodes. body is the answer as it came.
func (n *asked) nodes(ctx context.Context) (doc *admin.NodesDocument, body []byte, err error) {
	body, err = n.get(ctx, "/v1/nodes", url.Values{})
	if err != nil {
		return nil, nil, err
	}
	doc = &admin.NodesDocument{}
	return doc, body, n.read(body, doc)
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// whole is an error if nodes that live gave no figures.
func whole(doc *admin.NodesDocument) error {
	var silent []string
	for _, n := range doc.Nodes {
		if !n.Reached && n.State != "dead" {
			silent = append(silent, printable(string(n.ID)))
		}
	}
	switch {
	case len(silent) > 0:
		return fmt.Errorf("not all of the cluster: no figures from %s", strings.Join(silent, ", "))
	case !doc.Complete:
		return fmt.Errorf("not all of the cluster: %s says that nodes gave no figures", printable(string(doc.Asked)))
	}
	return nil
}

func printFigures(s screen, first, second *admin.NodesDocument) error {
	t := &table{columns: []column{{title: "NODE", shrinks: true}, {title: "STATE"}, {title: "UP", right: true}, {title: "CONNS", right: true},
		{title: "ROOMS", right: true}, {title: "MEMBERS", right: true}, {title: "MSG/S", right: true}, {title: "DELIV/S", right: true},
		{title: "MEMORY", right: true}, {title: "LAG", right: true}}}
	for i := range second.Nodes {
		n := &second.Nodes[i]
		if !n.Reached {
			t.row(string(n.ID), n.State, "", "", "", "", "", "", "", "")
		} else {
			messages, deliveries := rates(first, n)
			conns, lag := fmt.Sprint(n.Conns), fmt.Sprint(n.LagEntries)
			if n.Role == "shard" {
				conns = ""
			} else {
				lag = ""
			}
			t.row(string(n.ID), n.State, age(n.Now-n.Started), conns, fmt.Sprint(n.Rooms), fmt.Sprint(n.Members), messages, deliveries, size(n.Memory.Used), lag)
		}
		t.tint(1, statePaint(n.State))
	}
	if err := t.flush(s); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.w, "\n%s\n", versions(second))
	return err
}

// rates are what the node did per second between two answers, "" where only one knows of this run.
func rates(first *admin.NodesDocument, n *admin.NodeFigures) (messages, deliveries string) {
	for i := range first.Nodes {
		was := &first.Nodes[i]
		if was.ID != n.ID || was.Incarnation != n.Incarnation || !was.Reached {
			continue
		}
		seconds := float64(n.Now-was.Now) / 1000
		if seconds <= 0 || n.MessagesTotal < was.MessagesTotal || n.DeliveriesTotal < was.DeliveriesTotal {
			return "", "" // somebody set the clock
		}
		return fmt.Sprintf("%.0f", float64(n.MessagesTotal-was.MessagesTotal)/seconds),
			fmt.Sprintf("%.0f", float64(n.DeliveriesTotal-was.DeliveriesTotal)/seconds)
	}
	return "", ""
}

// versions says which program the nodes run.
func versions(doc *admin.NodesDocument) string {
	nodes := map[string][]string{}
	for _, n := range doc.Nodes {
		if n.State != "dead" {
			nodes[n.Version] = append(nodes[n.Version], printable(string(n.ID)))
		}
	}
	if len(nodes) == 1 {
		for version := range nodes {
			return "all run version " + dash(version)
		}
	}
	var lines []string
	for _, version := range slices.Sorted(maps.Keys(nodes)) {
		lines = append(lines, fmt.Sprintf("version %s: %s", dash(version), strings.Join(nodes[version], ", ")))
	}
	return strings.Join(lines, "\n")
}

// age words a time in milliseconds in its largest unit.
func age(ms int64) string {
	d := time.Duration(max(ms, 0)) * time.Millisecond
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// size words a number of bytes with three digits or less; 0 is not known.
func size(bytes int64) string {
	if bytes <= 0 {
		return ""
	}
	n, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	for len(units) > 1 && n >= 1000 {
		n, units = n/1024, units[1:]
	}
	if n < 10 && units[0] != "B" {
		return fmt.Sprintf("%.1f%s", n, units[0])
	}
	return fmt.Sprintf("%.0f%s", n, units[0])
}

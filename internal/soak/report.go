package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// report is what a soak found.
type report struct {
	Seconds     float64      `json:"seconds"`
	Moves       int          `json:"moves"`
	Flat        bool         `json:"flat"`
	Whole       bool         `json:"whole"`
	Counts      counts       `json:"counts"`
	Comparisons []comparison `json:"comparisons"`
	Samples     []sample     `json:"samples"`
}

func (r *report) write(name string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "node\tquantity\t2nd quarter\tlast quarter\tbound\t")
	for _, c := range r.Comparisons {
		verdict := ""
		if !c.Flat {
			verdict = "GROWS"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Node, c.Quantity, c.figure(c.Early), c.figure(c.Late), c.figure(c.Bound), verdict)
	}
	t.Flush()
	fmt.Fprintf(w, "%.0f s, %d moves: ", r.Seconds, r.Moves)
	r.Counts.print(w)
	fmt.Fprintf(w, "flat: %v, whole: %v, %d faults\n", r.Flat, r.Whole, r.Counts.Faults)
}

// print tells all counts, and the first of everything that was wrong.
func (n *counts) print(w io.Writer) {
	fmt.Fprintf(w, "%d conns opened, %d not; %d messages checked, %d resumed whole, %d rooms born; %d slow readers closed, %d told of gaps; %d posts, %d refused\n",
		n.Opened, n.Unopened, n.Messages, n.Resumed, n.Born, n.Slow, n.Gaps, n.Posts, n.Refused)
	for _, text := range n.First {
		fmt.Fprintln(w, "FAULT", text)
	}
	if n.Late > 0 {
		fmt.Fprintf(w, "LATE %d conns ended when this process had no time, first: %s\n", n.Late, n.FirstLate)
	}
	for what, text := range map[string]string{"conn": n.FirstFail, "post": n.FirstPost} {
		if text != "" {
			fmt.Fprintf(w, "first %s that failed: %s\n", what, text)
		}
	}
}

func (c *comparison) figure(v float64) string {
	for _, q := range quantities {
		if q.name == c.Quantity && q.bytes {
			return fmt.Sprintf("%.1f MB", v/(1<<20))
		}
	}
	return fmt.Sprintf("%.0f", v)
}

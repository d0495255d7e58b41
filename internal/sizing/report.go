//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// The tables stand between these marks in the document.
const (
	beginMark = "<!-- sizing: the output of `make sizing`, as printed -->\n"
	endMark   = "<!-- end of sizing -->\n"
)

// median of a figure over the rounds.
func (l *lab) median(name, figure string) float64 {
	var all []float64
	for _, f := range l.found[name] {
		all = append(all, f[figure])
	}
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// tables prints the medians as markdown.
func (l *lab) tables(machine string, when time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Rounds: %d, of which these are the medians, on %s, %s. Other work on the machine: %.2f cores at most. With nothing to do, a shard used %.1f %% of a core, the router %.1f %%.\n\n",
		l.rounds, machine, when.Format("January 2006"), l.noise, 100*l.median(busies()[0].name, "shard"), 100*l.median(busies()[0].name, "router"))
	b.WriteString("| idle conns, each has spoken or heard once | user memory at the router | kernel memory at the router | user memory at the shards, two copies | conns per GB of a router | CPU to open one | CPU per ping |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, x := range idles() {
		router, kernel := l.median(x.name, "router"), l.median(x.name, "kernel")
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", x.title, size2(router), size2(kernel), size2(l.median(x.name, "shards")),
			thousands(1e9/(router+kernel)), micros(l.median(x.name, "open")), micros(l.median(x.name, "ping")))
	}
	b.WriteString("\n| rooms that nobody is in | memory of each of the two copies | rooms per GB of a shard, owned and followed |\n| --- | --- | --- |\n")
	for _, x := range keeps() {
		each := l.median(x.name, "copy")
		fmt.Fprintf(&b, "| %s | %s | %s |\n", x.title, size2(each), thousands(1e9/each))
	}
	b.WriteString("\n| load, messages of 128 bytes | router CPU per delivery | deliveries per second and core of a router | owner and follower: CPU per message |\n| --- | --- | --- | --- |\n")
	for _, x := range busies() {
		delivery, message := l.median(x.name, "delivery"), "too little to tell" // in a large room
		if x.members < 100 {
			message = micros(l.median(x.name, "message"))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", x.title, micros(delivery), thousands(1e6/delivery), message)
	}
	return b.String()
}

// size2 is a size with two digits that count.
func size2(bytes float64) string {
	switch {
	case bytes < 0:
		return "0" // the process gave back what it had before
	case bytes < 999.5:
		return fmt.Sprintf("%.0f B", rounded(bytes))
	case bytes < 999.5e3:
		return fmt.Sprintf("%v KB", rounded(bytes)/1e3)
	}
	return fmt.Sprintf("%v MB", rounded(bytes)/1e6)
}

// rounded keeps two digits that count.
func rounded(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(x)))-1)
	return math.Round(x/unit) * unit
}

func micros(us float64) string {
	if us >= 1000 {
		return fmt.Sprintf("%.1f ms", us/1000)
	}
	if us < 0 {
		us = 0
	}
	return fmt.Sprintf("%.3g µs", rounded(us))
}

// thousands is a number with two digits that count, in groups of three.
func thousands(n float64) string {
	if math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
		return "–"
	}
	text := fmt.Sprintf("%.0f", rounded(n))
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// insert replaces what stands between the marks of a document.
func insert(path, text string) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(document, []byte(beginMark))
	_, tail, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("%s: no %q with a %q behind it", path, strings.TrimSpace(beginMark), strings.TrimSpace(endMark))
	}
	return os.WriteFile(path, slices.Concat(head, []byte(beginMark), []byte(text), []byte(endMark), tail), 0o644)
}

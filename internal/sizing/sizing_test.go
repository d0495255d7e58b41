//go:build linux

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var quick = flag.Bool("quick", false, "run all measurements, small: it takes a minute")

// A small run of everything ends well and fills every cell.
func TestQuick(t *testing.T) {
	if !*quick {
		t.Skip("it starts processes and takes a minute: -quick")
	}
	var out, says bytes.Buffer
	if code := run([]string{"-quick"}, &out, &says); code != 0 {
		t.Fatalf("exit code %d: %s", code, &says)
	}
	if strings.Contains(out.String(), "NaN") {
		t.Errorf("a figure is missing:\n%s", &out)
	}
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"more"}, {"-rounds", "0"}, {"-quick", "-into", "x"}, {"-nonsense"}} {
		if code := run(args, new(bytes.Buffer), new(bytes.Buffer)); code != 2 {
			t.Errorf("%q: exit code %d, want 2", args, code)
		}
	}
}

func TestSystem(t *testing.T) {
	cpu, err := cpuTime([]byte("17 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0"))
	if err != nil || cpu != 4*time.Second {
		t.Errorf("CPU time is %s, %v; want 4s", cpu, err)
	}
	if pages, err := resident([]byte("100 42 7\n")); err != nil || pages != 42 {
		t.Errorf("resident %d, %v; want 42", pages, err)
	}
	const sockstat = "sockets: used 9\nTCP: inuse 139 orphan 1 tw 2 alloc 139 mem 199\nUDP: inuse 1 mem 7\n"
	if n, err := wordBehind([]byte(sockstat), "TCP:", "mem"); err != nil || n != 199 {
		t.Errorf("buffers of %d pages, %v; want 199", n, err)
	}
	if n, err := wordBehind([]byte("MemFree: 1 kB\nSlab:             726980 kB\n"), "Slab:", ""); err != nil || n != 726980 {
		t.Errorf("slab of %d, %v; want 726980", n, err)
	}
	for _, text := range []string{"", "TCP:", "TCP: inuse 1\n"} {
		if n, err := wordBehind([]byte(text), "TCP:", "mem"); err == nil {
			t.Errorf("%q: %d without an error", text, n)
		}
	}
	if _, err := kernelMemory(); err != nil {
		t.Error(err)
	}
	if memory, _, err := processUse(os.Getpid()); err != nil || memory < 1<<20 {
		t.Errorf("this process uses %d bytes, %v", memory, err)
	}
	from := machineUse{at: time.Unix(0, 0), busy: 10 * time.Second}
	if others := otherCores(from, machineUse{at: time.Unix(10, 0), busy: 25 * time.Second}, 5*time.Second); others != 1 {
		t.Errorf("others used %g cores, want 1", others)
	}
}

// The tables have the medians of the rounds, rounded to what they are worth.
func TestTables(t *testing.T) {
	l := &lab{settings: settings{rounds: 3}, found: map[string][]figures{}}
	for _, x := range idles() {
		for _, router := range []float64{900, 612, 240} {
			l.found[x.name] = append(l.found[x.name], figures{"router": router, "kernel": 3988, "shards": -3, "open": 61.4, "ping": 12.34})
		}
	}
	for _, x := range keeps() {
		l.found[x.name] = []figures{{"copy": 1_234_567}}
	}
	for _, x := range busies() {
		l.found[x.name] = []figures{{"delivery": 0.156, "message": 1234, "shard": 0.015, "router": 0.02}}
	}
	text := l.tables("a machine", time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	for _, want := range []string{
		"Rounds: 3, of which these are the medians, on a machine, November 2026.",
		"With nothing to do, a shard used 1.5 % of a core, the router 2.0 %.",
		"| rooms of 5 | 610 B | 4 KB | 0 | 220,000 | 61 µs | 12 µs |\n",
		"| full: 1 MiB in messages of 4 KiB | 1.2 MB | 810 |\n",
		"| 400 rooms of 5, one message in flight in each | 0.16 µs | 6,400,000 | 1.2 ms |\n",
		"| one room of 1000, 64 messages in flight | 0.16 µs | 6,400,000 | too little to tell |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestInsert(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	for _, c := range []struct{ before, after string }{
		{"head\n" + beginMark + "old\n" + endMark + "tail\n", "head\n" + beginMark + "new\n" + endMark + "tail\n"},
		{"head\n" + beginMark + endMark, "head\n" + beginMark + "new\n" + endMark},
		{"head\n" + beginMark + "old\n", ""},
		{"head\n" + endMark + beginMark, ""},
	} {
		if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
			t.Fatal(err)
		}
		err := insert(path, "new\n")
		if after, _ := os.ReadFile(path); err == nil && string(after) != c.after || err != nil && (c.after != "" || string(after) != c.before) {
			t.Errorf("%q became %q, %v", c.before, after, err)
		}
	}
}

//go:build linux

package main

import (
	"fmt"
	"os"
	"testing"
)

func TestMetBy(t *testing.T) {
	const saved = "# Generated\n*filter\n:INPUT ACCEPT [12:720]\n:FORWARD ACCEPT [0:0]\n" +
		"[3:180] -A INPUT -s 10.77.0.129/32 -j DROP\n[4:200] -A INPUT -s 10.77.0.130/32 -p tcp -j REJECT --reject-with tcp-reset\n[5:6] -A FORWARD -j DROP\nCOMMIT\n"
	if n, err := metBy(saved); n != 7 || err != nil {
		t.Errorf("%d packets, %v, want 7: a chain's own counter is not of a rule", n, err)
	}
	if _, err := metBy("[x:1] -A INPUT -j DROP\n"); err == nil {
		t.Error("a counter that is no number is taken")
	}
}

func TestStateIn(t *testing.T) {
	for stat, want := range map[string]string{
		"12 (roomring-shard) T 1 12": "T",
		"12 (a) R (b)) S 1":          "S",
		"":                           "unknown",
	} {
		if got := stateIn(stat); got != want {
			t.Errorf("state in %q is %q, want %q", stat, got, want)
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if state := stateIn(string(stat)); state == "T" || state == "unknown" {
		t.Errorf("this process is in state %s", state)
	}
}

//go:build linux

package main

import (
	"slices"
	"testing"
)

func TestRules(t *testing.T) {
	n := &network{rules: map[pair]rule{}}
	n.note([]string{"s1"}, []string{"s2", "s1"}, drop)
	n.note([]string{"r1"}, []string{"s2"}, reject)
	n.noise = "0.01"
	got := n.rulesOf("s2")
	want := []string{
		"-s " + hosts["s1"] + " -j DROP",
		"-s " + hosts["r1"] + " -p tcp -j REJECT --reject-with tcp-reset",
		"-s " + hosts["r1"] + " -j REJECT",
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("rules of s2 are %q, without %q", got, w)
		}
	}
	if tcp, rest := slices.Index(got, want[1]), slices.Index(got, want[2]); tcp > rest {
		t.Errorf("rules of s2 are %q: what is not TCP must come last", got)
	}
	if got := n.rulesOf("s1"); len(got) != 1 {
		t.Errorf("rules of s1 are %q: a node always hears itself, and s2 was not cut off", got)
	}
	if len(hosts) != len(placeOf) {
		t.Errorf("%d nodes have an address, %d have ports", len(hosts), len(placeOf))
	}
}

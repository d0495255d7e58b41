//go:build linux

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test's program be a bare loop, as compare's own is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "-serve-bare" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestNonsenseIsRefused(t *testing.T) {
	for _, args := range []string{"-pairs 0", "-for -1s", "-port 1", "-port 65000", "-colour red", "more"} {
		var says bytes.Buffer
		if code := run(strings.Fields(args), &says, &says); code != 2 || says.Len() == 0 {
			t.Errorf("%q: exit %d, %q; want 2 and why", args, code, &says)
		}
	}
}

func TestChoices(t *testing.T) {
	var notes []string
	note := func(format string, _ ...any) { notes = append(notes, format) }
	chosen, err := chooseSubjects(programs{}, "roomring,nginx", note)
	if err != nil || len(chosen) != 2 || chosen[0].name != bareName || chosen[1].name != "roomring" {
		t.Errorf("chosen %v, %v; want the bare loop and Roomring", chosen, err)
	}
	if len(notes) != 1 {
		t.Errorf("notes %q; want one, that nginx is not installed", notes)
	}
	if _, err := chooseSubjects(programs{}, "roomring,apache", note); err == nil {
		t.Error("a subject that does not exist is taken")
	}
	if _, err := chooseScenarios("fanout,storm", note); err == nil {
		t.Error("a scenario that does not exist is taken")
	}
}

func TestScenariosFit(t *testing.T) {
	for _, c := range []struct {
		name                  string
		may, rooms, members   int
		smaller               bool
		rooms2000, publishers int
	}{
		{name: "rooms", may: 10_000, rooms: 2000, members: 5, publishers: 5},
		{name: "rooms", may: 9_999, rooms: 1999, members: 5, publishers: 5, smaller: true},
		{name: "fanout", may: 400, rooms: 1, members: 400, publishers: 10, smaller: true},
		{name: "fanout", may: 4, rooms: 1, members: 4, publishers: 4, smaller: true},
	} {
		for _, s := range scenarios() {
			if s.name != c.name {
				continue
			}
			if smaller := s.fit(c.may); smaller != c.smaller || s.rooms != c.rooms || s.members != c.members || s.publishers != c.publishers {
				t.Errorf("%s in %d conns: %d rooms of %d, %d publish, smaller %v; want %d, %d, %d, %v", c.name, c.may,
					s.rooms, s.members, s.publishers, smaller, c.rooms, c.members, c.publishers, c.smaller)
			}
		}
	}
}

//go:build linux

package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	for _, args := range []string{"-only nothing", "-rounds -1", "-runs 0", "-members 1", "-rounds 2 -for 1m", "-table -ci", "-port 80", "more", "-unknown"} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
}

// TestAgain checks that the command that is printed for who wants to repeat a run has the same schedule.
func TestAgain(t *testing.T) {
	for _, args := range []string{"", "-ci", "-only split,kill-shard -rounds 9", "-for 2m -rate 500", "-seed 12 -table -runs 3 -logs /x"} {
		o, err := parse(strings.Fields(args), io.Discard)
		if err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		again, err := parse(strings.Fields(strings.TrimPrefix(o.again(), "go run ./internal/chaos")), io.Discard)
		if err != nil {
			t.Fatalf("%s: %v", o.again(), err)
		}
		if again.seed != o.seed || o.seed == 0 || again.ci != o.ci || strings.Join(again.only, " ") != strings.Join(o.only, " ") ||
			again.rounds != o.rounds || again.lasts != o.lasts || again.rate != o.rate || again.table != o.table || again.runs != o.runs {
			t.Errorf("%q became %q, which says %+v, not %+v", args, o.again(), again, o)
		}
	}
}

// TestSweep checks that what a killed run left is removed, and what belongs to a run that goes on is not.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	dirs := map[string]string{}
	for _, name := range []string{"dead", "alive", "born"} {
		dirs[name] = filepath.Join(parent, dirPrefix+name)
		if err := os.Mkdir(dirs[name], 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := lock(dirs[name])
		if err != nil {
			t.Fatal(err)
		}
		if name != "alive" {
			f.Close()
		}
		defer f.Close()
		old := time.Now().Add(-time.Minute)
		if name == "born" {
			old = time.Now()
		}
		if err := os.Chtimes(dirs[name], old, old); err != nil {
			t.Fatal(err)
		}
	}
	foreign := filepath.Join(parent, "somebody")
	if err := os.Mkdir(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	sweep(parent)
	for dir, stays := range map[string]bool{dirs["dead"]: false, dirs["alive"]: true, dirs["born"]: true, foreign: true} {
		if _, err := os.Stat(dir); (err == nil) != stays {
			t.Errorf("%s: %v", filepath.Base(dir), err)
		}
	}
}

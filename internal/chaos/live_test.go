//go:build linux

package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var live = flag.Bool("live", false, "run chaos and interrupt it; takes a minute")

// TestLeavesNothing ends runs in the middle of a fault, in every way there is, and looks for what is left.
func TestLeavesNothing(t *testing.T) {
	if !*live {
		t.Skip("without -live")
	}
	program := filepath.Join(t.TempDir(), "chaos")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := devices(t)
	for _, test := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, exitInterrupted}, {syscall.SIGTERM, exitInterrupted}, {syscall.SIGKILL, -1}} {
		temp := t.TempDir()
		r := begin(t, program, temp)
		r.waitFor(t, "stopped for")
		r.cmd.Process.Signal(test.signal)
		began := time.Now()
		<-r.done
		if code := r.cmd.ProcessState.ExitCode(); code != test.code {
			out, _ := os.ReadFile(r.out)
			t.Errorf("%s: exit code %d\n%s", test.signal, code, out)
		}
		within(t, "no process of "+temp, func() bool { return processes(t, temp) == 0 })
		t.Logf("%s: all ended after %.2f s", test.signal, time.Since(began).Seconds())
		if now := devices(t); now != before {
			t.Errorf("%s: there is %q, was %q", test.signal, now, before)
		}
		if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || bytes.Contains(mounts, []byte(temp)) {
			t.Errorf("%s: mounts are left, or %v", test.signal, err)
		}
		if test.signal == syscall.SIGKILL { // then it is the next run that sweeps
			if left := content(t, temp); len(left) != 1 {
				t.Errorf("%s: left are %q", test.signal, left)
			}
			within(t, "the directory is old enough", func() bool {
				sweep(temp)
				return len(content(t, temp)) == 0
			})
		}
		if left := content(t, temp); len(left) > 0 {
			t.Errorf("%s: left are %q", test.signal, left)
		}
	}
}

// running is chaos as a process, and what it says.
type running struct {
	cmd  *exec.Cmd
	out  string // file
	done chan struct{}
}

func begin(t *testing.T, program, temp string) *running {
	t.Helper()
	r := &running{cmd: exec.Command(program, "-seed", "1", "-only", "silent-copies"), out: filepath.Join(t.TempDir(), "out"), done: make(chan struct{})}
	out, err := os.Create(r.out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r.cmd.Stdout, r.cmd.Stderr = out, out
	r.cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.done
	})
	return r
}

func (r *running) waitFor(t *testing.T, text string) {
	t.Helper()
	within(t, text, func() bool {
		out, err := os.ReadFile(r.out)
		select {
		case <-r.done:
			t.Fatalf("it ended before %q:\n%s", text, out)
		default:
		}
		return err == nil && strings.Contains(string(out), text)
	})
}

// within waits for what nobody tells.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !f(); <-again.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in five minutes: %s", what)
		}
	}
}

func content(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// processes counts those whose command line or environment names the directory.
func processes(t *testing.T, dir string) (n int) {
	t.Helper()
	for _, file := range []string{"cmdline", "environ"} {
		list, err := filepath.Glob("/proc/[0-9]*/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range list {
			if text, _ := os.ReadFile(path); bytes.Contains(text, []byte(dir)) {
				n++
			}
		}
	}
	return n
}

// devices is what there is of networks: their devices, and namespaces with a name.
func devices(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	namespaces, _ := os.ReadDir(namespaceDir) // there may never have been one
	return fmt.Sprint(names, namespaces)
}

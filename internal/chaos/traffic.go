//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// traffic is roomring verify at work, as a process.
type traffic struct {
	*process
	events io.WriteCloser
	report string // file
}

// outcome is what we read of its report.
type outcome struct {
	Held      bool
	Verdict   string
	Published uint64
	Delivered uint64
	NotOpened int `json:"not_opened"`
	Away      int
	counts
	Events   []period
	Examples json.RawMessage
}

// period is a step, as verify saw it.
type period struct {
	Name string
	counts
}

// drive starts verify on routers. It ends when it is told to, or with the stage.
func (c *cluster) drive(name string, rooms, members int, rate float64, routers ...string) (*traffic, error) {
	args := []string{"verify", "--rooms", strconv.Itoa(rooms), "--members", strconv.Itoa(members),
		"--rate", strconv.FormatFloat(rate, 'f', -1, 64), "--for", "24h", "--reconnect", "--events", "-", "--json", "--no-progress",
		"--allow", "gaps,resets,closed"} // what each step allows is judged by step
	for _, id := range routers {
		args = append(args, "--url", "ws://"+c.address(id, portListen)+"/ws")
	}
	cmd := exec.Command(filepath.Join(c.dir, "roomring"), args...)
	cmd.Env = environment()
	t := &traffic{report: filepath.Join(c.logs, name+".json")}
	out, err := os.Create(t.report)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout = out
	if t.events, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	t.process, err = c.starter.launch("", name, filepath.Join(c.logs, name+".stderr"), cmd)
	if err == nil {
		c.processes = append(c.processes, t.process)
	}
	return t, err
}

// markAhead is how long before its cause an event is told: what was sent before must have arrived, or
// its pause would count for the time before.
const markAhead = 100 * time.Millisecond

// mark begins an event.
func (t *traffic) mark(name string) error {
	_, err := io.WriteString(t.events, name+"\n")
	return err
}

// end has verify wait for what is owed and report.
func (t *traffic) end() (*outcome, error) {
	t.want = true
	t.signal(syscall.SIGINT)
	select {
	case <-t.done:
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("%s does not end within a minute of SIGINT", t.name)
	}
	if code := t.cmd.ProcessState.ExitCode(); code != 0 && code != 1 { // 1: a promise broke, and the report says which
		return nil, fmt.Errorf("%s: %s; see %s", t.name, t.cmd.ProcessState, t.log)
	}
	b, err := os.ReadFile(t.report)
	if err != nil {
		return nil, err
	}
	o := &outcome{}
	if err := json.Unmarshal(b, o); err != nil {
		return nil, fmt.Errorf("report of %s: %w; see %s", t.name, err, t.log)
	}
	return o, nil
}

// environment is what our processes get: nothing that would set a flag of theirs.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
}

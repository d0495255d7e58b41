package verify

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// outcome is what became of a command. It is set when the command has ended.
type outcome struct {
	code   int
	output string
	took   time.Duration
}

// maxOutput bounds what is kept of what a command wrote.
const maxOutput = 4 << 10

// command begins an event and runs the command, until ctx ends.
func (r *run) command(ctx context.Context, c Command) {
	began := r.now()
	p := r.begin(printable(c.Line), began)
	code, output := execute(ctx, c.Line)
	took := time.Duration(r.now() - began)
	if p != nil {
		r.tally.ended(p, &outcome{code, output, took})
	}
	if r.cfg.Done != nil {
		r.telling.Lock()
		defer r.telling.Unlock()
		r.cfg.Done(Done{Command: c, ExitCode: code, Output: output, Took: took})
	}
}

// execute has a shell run a line. It returns -1 when that did not end by itself. What the line leaves
// running goes on, as a node does that was started again: so its output is a file and no pipe, whose
// reader would be gone one day.
func execute(ctx context.Context, line string) (code int, output string) {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	apart(cmd)
	out, err := os.CreateTemp("", "roomring-verify-")
	if err == nil { // else nobody hears what it says, and it runs all the same
		defer os.Remove(out.Name())
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
	}
	err = cmd.Run()
	if out != nil {
		output = head(out)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return -1, output + err.Error()
	}
	return cmd.ProcessState.ExitCode(), output
}

// head returns the first part of a file.
func head(f *os.File) string {
	b := make([]byte, maxOutput+1)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return err.Error()
	}
	s := strings.ToValidUTF8(string(b[:min(n, maxOutput)]), "?")
	if n > maxOutput {
		s += "…\n"
	}
	return s
}

// events begins an event for each line, until the reader ends. Nobody waits for it.
func (r *run) events(in io.Reader) {
	s := bufio.NewScanner(in)
	for s.Scan() {
		if name := strings.TrimSpace(s.Text()); name != "" {
			r.begin(printable(name), r.now())
		}
	}
}

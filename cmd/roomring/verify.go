package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/roomring/roomring/internal/verify"
)

type verifyCommand struct {
	URL        []string      `name:"url" sep:"none" placeholder:"URL" default:"ws://127.0.0.1:8000/ws" help:"Router; again for more. A room's members are spread over them."`
	Rooms      int           `name:"rooms" placeholder:"N" default:"100" help:"Rooms. Their names begin with verify-."`
	Members    int           `name:"members" placeholder:"N" default:"5" help:"Members of each room. All publish, in turn."`
	Rate       float64       `name:"rate" placeholder:"N" default:"2000" help:"Deliveries per second that are due, over all rooms."`
	Size       int           `name:"size" placeholder:"BYTES" default:"128" help:"Size of a message."`
	For        time.Duration `name:"for" placeholder:"TIME" default:"30s" help:"How long to send. Ctrl-C or SIGTERM ends it earlier; what is under way is still judged."`
	Quiet      time.Duration `name:"quiet" placeholder:"TIME" default:"8s" help:"How long nothing must come, at the end, until what is missing counts as lost."`
	Reconnect  bool          `name:"reconnect" help:"Open a conn again that closed, at the next --url, with since= its last position. One that does not open at the start is tried again for 15 s."`
	MaxPause   time.Duration `name:"max-pause" placeholder:"TIME" help:"Longest pause that a room may have, for example 1s. Without it, any."`
	Allow      []string      `name:"allow" placeholder:"WHAT" help:"What breaks no promise in this run: gaps, resets, closed; with commas."`
	At         []string      `name:"at" sep:"none" placeholder:"TIME='COMMAND'" help:"Run a command so long after the first message; again for more. It begins an event."`
	Events     string        `name:"events" placeholder:"FILE" help:"Each line that can be read here begins an event of that name. - is stdin."`
	JSON       bool          `name:"json" help:"Print the report as JSON instead of a table."`
	HTML       string        `name:"html" placeholder:"FILE" help:"Write the report as a page too, with a plot over time."`
	NoProgress bool          `name:"no-progress" help:"Say nothing on stderr while it runs."`
	trusting
}

func (verifyCommand) Help() string {
	return `Fills rooms of its own with members at the routers, all of whom publish numbered messages, and follows
every message to every member by the offsets that the cluster gives them (num=1). Meanwhile you, or --at,
kill, stop, drain and cut what you like. In the end it says whether the promises held, and for each event
how long the rooms stood still: a room's pause is its longest time from when a message was due to its
delivery, among the messages of that period.

  lost        a message that any member received, or whose socket stayed open, is missing at a member that
              was there, and that member was told neither gap nor reset
  doubled     it came again: at the same offset, or at another one of the same epoch
  reordered   it came after a later one, or out of its publisher's order
  invented    nobody sent it            altered   a byte of it is not as it was sent
  two contents, disagree                an offset with two contents; members that heard another one
  malformed   a frame that num=1 does not allow
  unplaced    the socket on which it was sent closed and nobody saw it: its fate is unknown, no promise broken
  taken       a member received it, and another one was told of a gap or a reset instead: what that cost

Each of the above but the last two breaks the promises. So does, unless --allow says that it may happen: a
gap or a reset that was announced; a socket that closed, but for one closed with 1001 or 1012 (going away)
and, with --reconnect, one that came back. So does a pause above --max-pause; the way back of a conn that
closed counts to its room's pause, and so does time for which this machine had nothing to spare.

  roomring verify --url ws://127.0.0.1:8000/ws --url ws://127.0.0.1:8010/ws --at 10s='kill -9 123' \
      --max-pause 1s --html report.html

Exit code 1 when a promise did not hold, no conn opened or nothing was delivered.`
}

// Run drives a cluster and judges it.
func (c *verifyCommand) Run(w *world) error {
	cfg, err := c.config()
	if err != nil {
		return usage(err.Error())
	}
	if err := verify.Check(cfg); err != nil {
		return usage(err.Error())
	}
	ctx, end := context.WithCancel(w.ctx)
	defer end()
	if cfg.Events, err = c.events(ctx, w); err != nil {
		return usage(err.Error())
	}
	page, err := c.page()
	if err != nil {
		return usage(err.Error())
	}
	defer page.Close() // again, when all went well
	say := &teller{line: statusLine{w: w.stderr, rewrite: w.stderrTerminal}}
	cfg.Done = say.done
	if !c.NoProgress {
		cfg.Progress = say.progress
	}
	report, err := verify.Run(w.ctx, cfg)
	say.clear()
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	err = c.print(w, report)
	if page != nil {
		err = errors.Join(err, report.WriteHTML(page), page.Close())
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !report.Held {
		return errPromise
	}
	return nil
}

// errPromise is the end of a run in which a promise did not hold; the report has said which.
var errPromise = errors.New("a promise did not hold")

func (c *verifyCommand) config() (verify.Config, error) {
	cfg := verify.Config{URLs: c.URL, Rooms: c.Rooms, Members: c.Members, Rate: c.Rate, Size: c.Size, For: c.For,
		Reconnect: c.Reconnect, Quiet: c.Quiet, MaxPause: c.MaxPause}
	if c.Rooms == 0 || c.Members == 0 || c.Rate == 0 || c.Size == 0 || c.For == 0 || c.Quiet == 0 {
		return cfg, errors.New("rooms, members, rate, size and times must be more than 0") // which a Config takes for its defaults
	}
	for _, what := range c.Allow {
		switch what {
		case "gaps":
			cfg.Allow.Gaps = true
		case "resets":
			cfg.Allow.Resets = true
		case "closed":
			cfg.Allow.Closed = true
		default:
			return cfg, fmt.Errorf("--allow %s: want gaps, resets or closed", what)
		}
	}
	var err error
	if cfg.TLS, err = c.trusting.config(); err != nil {
		return cfg, err
	}
	for _, text := range c.At {
		when, line, ok := strings.Cut(text, "=")
		at, err := time.ParseDuration(strings.TrimSpace(when))
		if !ok || err != nil {
			return cfg, fmt.Errorf("--at %q: want a time and a command, for example 10s='kill -9 123'", text)
		}
		cfg.At = append(cfg.At, verify.Command{At: at, Line: line})
	}
	return cfg, nil
}

// events opens where events are read; nil when nowhere. It is closed when ctx ends.
func (c *verifyCommand) events(ctx context.Context, w *world) (io.Reader, error) {
	switch c.Events {
	case "":
		return nil, nil
	case "-":
		return w.stdin, nil
	}
	info, err := os.Stat(c.Events)
	if err != nil {
		return nil, fmt.Errorf("--events: %w", err)
	}
	if info.Mode()&fs.ModeNamedPipe == 0 {
		f, err := os.Open(c.Events)
		if err != nil {
			return nil, fmt.Errorf("--events: %w", err)
		}
		context.AfterFunc(ctx, func() { f.Close() })
		return f, nil
	}
	f, err := os.OpenFile(c.Events, os.O_RDWR, 0) // a pipe opens at once so, and outlives its writers
	if err != nil {
		return nil, fmt.Errorf("--events: %w", err)
	}
	context.AfterFunc(ctx, func() { f.Close() })
	return f, nil
}

func (c *verifyCommand) print(w *world, report *verify.Report) error {
	if !c.JSON {
		return report.WriteText(w.stdout)
	}
	e := json.NewEncoder(w.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// page opens the file of the page, nil when none is wanted: before the run, which takes long.
func (c *verifyCommand) page() (*os.File, error) {
	if c.HTML == "" {
		return nil, nil
	}
	f, err := os.Create(c.HTML)
	if err != nil {
		return nil, fmt.Errorf("--html: %w", err)
	}
	return f, nil
}

// teller says on stderr what goes on.
type teller struct {
	mu   sync.Mutex // held while a line is written
	line statusLine
}

func (t *teller) progress(p verify.Progress) {
	line := fmt.Sprintf("%s: %d of %d conns", p.Phase, p.Conns, p.Want)
	if p.Phase != "connecting" {
		line += fmt.Sprintf(", %s deliveries/s", thousands(p.PerSecond))
	} else if p.DialErrors > 0 {
		line += fmt.Sprintf(", %d tries failed, first: %s", p.DialErrors, p.FirstError)
	}
	if p.Missing > 0 {
		line += fmt.Sprintf(", %d missing", p.Missing)
	}
	if p.Faults > 0 {
		line += fmt.Sprintf(", %d FAULTS", p.Faults)
	}
	if p.Event != "" {
		line += ", after " + p.Event
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line.show(line)
}

// done tells how a command ended.
func (t *teller) done(d verify.Done) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line.clear()
	fmt.Fprintf(t.line.w, "%s: %s: exit code %d after %s\n", d.At, d.Line, d.ExitCode, d.Took.Round(time.Millisecond))
	if out := strings.TrimRight(d.Output, "\n"); out != "" {
		fmt.Fprintf(t.line.w, "  %s\n", strings.ReplaceAll(out, "\n", "\n  "))
	}
}

func (t *teller) clear() { t.line.clear() }

// Command roomring is the operator's and developer's tool: a whole cluster in one process (dev), a look
// at a running one (ring, rooms, room, events), what a change would move (plan) and the change (drain),
// what is wrong and how to mend it (doctor), whether one node is well (health), two decisions that no
// program can take (forget, recover), a load on any WebSocket room server (bench), a test of the promises
// (verify), keys (key) and certificates (cert).
//
// Read main.go, ask.go and stream.go (how a node is asked), screen.go (how a person is told), then the
// file of a command.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/internal/settings"
)

const name = "roomring"

// commands is the command line.
type commands struct {
	Dev     devCommand     `cmd:"" help:"Run a whole cluster in this process: 2 routers, 3 shards, and a page to try it."`
	Ring    ringCommand    `cmd:"" help:"Show the nodes of a cluster and what they own."`
	Rooms   roomsCommand   `cmd:"" help:"List the rooms of a cluster, by name or the busiest or fullest first."`
	Room    roomCommand    `cmd:"" help:"Show one room: who owns it, how far it is, who listens. Or its messages as they come."`
	Plan    planCommand    `cmd:"" help:"Say what would move if shards were added, or one taken away. Changes nothing."`
	Drain   drainCommand   `cmd:"" help:"Have a node hand over what it has and leave, and watch it do so."`
	Events  eventsCommand  `cmd:"" help:"Tell joins, deaths, fail-overs, hand-offs and resets as they happen."`
	Doctor  doctorCommand  `cmd:"" help:"Check this machine and the cluster, and say how to mend what is wrong."`
	Health  healthCommand  `cmd:"" help:"Ask whether a node runs, or is ready: a health check, and something to wait with."`
	Forget  forgetCommand  `cmd:"" help:"Say that a node is dead for good, so that its rooms wait for it no longer."`
	Recover recoverCommand `cmd:"" help:"Found a cluster anew that has lost the majority of its voters for good."`
	Bench   benchCommand   `cmd:"" help:"Load any WebSocket room server and check what comes back."`
	Verify  verifyCommand  `cmd:"" help:"Drive a cluster with numbered messages and say whether its promises held."`
	Key     keyCommand     `cmd:"" help:"Make a new cluster key, or token."`
	Cert    certCommand    `cmd:"" help:"Make certificates for links between nodes, and for clients on a first day."`

	Version kong.VersionFlag `name:"version" group:"Process" help:"Print the version, then exit."`
}

const examples = `Examples:
  roomring dev
  roomring ring --node 127.0.0.1:8001
  roomring rooms --sort messages
  roomring plan --add 1
  roomring doctor --node 127.0.0.1:8001
  roomring bench fanout --url 'ws://127.0.0.1:8000/ws?room={room}'
  roomring verify --url ws://127.0.0.1:8000 --url ws://127.0.0.1:8010 --at 10s='kill -9 PID'

The nodes are programs of their own: roomring-router --help, roomring-shard --help.
Exit code: 0 good, 1 failed, a promise broken or a problem found, 2 wrong use.`

// world is what a command sees of the outside. It is a value so that tests can be the outside.
type world struct {
	ctx            context.Context // ends at the first SIGINT or SIGTERM
	stdout, stderr io.Writer
	width          int  // columns of the terminal that stdout is; 0 when it is none
	colour         bool // on stdout
	stderrTerminal bool // a person watches stderr
	stdin          io.Reader
	stdinTerminal  bool // a person types
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	w := &world{ctx: ctx, stdout: os.Stdout, stderr: os.Stderr, stderrTerminal: process.Terminal(os.Stderr),
		stdin: os.Stdin, stdinTerminal: process.Terminal(os.Stdin)}
	w.width, w.colour = terminal(os.Stdout)
	code := process.Report(os.Stderr, name, run(w, os.Args[1:]))
	stop()
	os.Exit(code)
}

// usualWidth is how wide a terminal is that does not say it, leastWidth what we make do with.
const usualWidth, leastWidth = 80, 40

// terminal returns how wide a terminal f is, 0 if it is none, and whether colours are wanted there
// (see no-color.org).
func terminal(f *os.File) (width int, colour bool) {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return 0, false
	}
	if width = columns(f); width == 0 {
		width = usualWidth
	}
	return max(width, leastWidth), process.Terminal(f) && os.Getenv("NO_COLOR") == ""
}

// run carries out a command line.
func run(w *world, args []string) error {
	helped := false
	parser, err := kong.New(&commands{},
		kong.Name(name), kong.Description("A room-sharded WebSocket gateway: tools."),
		kong.Vars{"version": name + " " + process.Build()},
		kong.Writers(w.stdout, w.stderr), kong.Exit(func(int) { helped = true }),
		kong.Help(settings.HelpPrinter(examples)))
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if helped {
		return settings.ErrDone
	}
	if err != nil {
		return &settings.UsageError{Err: err}
	}
	return ctx.Run(w)
}

// usage is a mistake in the command line that only a command can see.
func usage(text string) error { return &settings.UsageError{Err: errors.New(text)} }

//go:build linux

package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// options are what the run was told.
type options struct {
	seed    uint64
	rounds  int
	lasts   time.Duration // if set, rounds begin until it has passed
	only    []string      // names of faults; empty: all
	list    bool
	ci      bool
	strict  bool
	table   bool
	runs    int
	report  string // file for the table as JSON
	network bool   // must be there
	logs    string // where logs are kept when something failed
	keep    bool   // also when nothing did
	port    int    // the first of a hundred on loopback, where there are no namespaces

	rooms, members int
	rate           float64
	moves          int

	given []string // the flags, but for some
}

// parse reads flags. It returns flag.ErrHelp when it has printed them.
func parse(args []string, out io.Writer) (*options, error) {
	o := &options{}
	only := ""
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.SetOutput(out)
	f.Uint64Var(&o.seed, "seed", 0, "of the schedule; 0 takes a new one")
	f.IntVar(&o.rounds, "rounds", 0, "how many clusters are lived through; 0 deals every fault once")
	f.DurationVar(&o.lasts, "for", 0, "begin rounds for so long")
	f.StringVar(&only, "only", "", "faults, with commas; -list has their names")
	f.BoolVar(&o.list, "list", false, "print the faults and end")
	f.BoolVar(&o.ci, "ci", false, "each kind of fault once, with short times, in about three minutes")
	f.BoolVar(&o.strict, "strict", false, "pauses beyond the promise fail the run: for machines with nothing else to do")
	f.BoolVar(&o.table, "table", false, "run each row of the promise table and print it as Markdown")
	f.IntVar(&o.runs, "runs", 10, "with -table: how often each row is run")
	f.StringVar(&o.report, "report", "", "with -table: also write it to this file, as JSON")
	f.BoolVar(&o.network, "require-network", false, "fail where faults of the network cannot be had, instead of naming and skipping them")
	f.StringVar(&o.logs, "logs", filepath.Join(os.TempDir(), fmt.Sprintf("roomring-logs-%d", os.Getpid())), "directory for the nodes' logs if something fails")
	f.BoolVar(&o.keep, "keep", false, "keep the nodes' logs of a good run too")
	f.IntVar(&o.port, "port", 14000, "the first of 100 ports on loopback, where namespaces cannot be had")
	f.IntVar(&o.rooms, "rooms", 60, "rooms of the traffic")
	f.IntVar(&o.members, "members", 5, "members of each room")
	f.Float64Var(&o.rate, "rate", 3000, "deliveries per second over all rooms")
	f.IntVar(&o.moves, "moves", 0, "--max-moves of the nodes; 0 = 32, their default, with -table, else 512, so that less time is spent on empty partitions")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	f.Visit(o.note)
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if err := o.check(f.Args()); err != nil {
		return nil, err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1 << 32) // short enough to type
	}
	if o.moves == 0 {
		if o.moves = 512; o.table {
			o.moves = 32
		}
	}
	return o, nil
}

func (o *options) check(rest []string) error {
	for _, name := range o.only {
		if findFault(name) == nil {
			return fmt.Errorf("there is no fault %q; -list has their names", name)
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag", rest[0])
	case o.rounds < 0 || o.lasts < 0 || o.runs < 1 || o.rooms < 1 || o.members < 2 || o.rate <= 0 || o.moves < 0:
		return fmt.Errorf("numbers must be positive, and rooms need two members")
	case o.rounds > 0 && o.lasts > 0:
		return fmt.Errorf("-rounds and -for exclude each other")
	case o.table && (o.ci || o.rounds > 0 || o.lasts > 0 || len(o.only) > 0):
		return fmt.Errorf("-table decides by itself what is run")
	case o.port < 1024 || o.port > 65000:
		return fmt.Errorf("-port %d: want 1024 to 65000", o.port)
	}
	return nil
}

// again is the command that runs the same schedule.
func (o *options) again() string {
	return strings.Join(append([]string{"go run ./internal/chaos -seed", strconv.FormatUint(o.seed, 10)}, o.given...), " ")
}

// note keeps a flag that was given, if it matters to who repeats the run.
func (o *options) note(f *flag.Flag) {
	switch {
	case f.Name == "seed" || f.Name == "logs" || f.Name == "keep" || f.Name == "report":
	case f.Value.String() == "true":
		o.given = append(o.given, "-"+f.Name)
	case f.Value.String() != "false":
		o.given = append(o.given, "-"+f.Name, f.Value.String())
	}
}

//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Servers are ended by the kernel when the thread ends that started them: it must be one that lasts.
func init() { runtime.LockOSThread() }

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// portCount is how many ports are used in turn.
const portCount = 1000

// options is the command line.
type options struct {
	pairs               int
	scenarios, subjects string
	settings            settings
	json, from          string
	profiles            string
	programs            string
	firstPort           int
	serversCore         int
	loadCore            int
	serveBare           string
}

func parse(args []string, says io.Writer) (o options, err error) {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(says)
	f.IntVar(&o.pairs, "pairs", 5, "rounds; in each, every subject meets the bare loop once in every scenario")
	f.StringVar(&o.scenarios, "scenarios", "fanout,rooms,rate,idle", "what to do to them")
	f.StringVar(&o.subjects, "subjects", "roomring,roomring-0,nginx,haproxy", "what to compare with the bare loop")
	f.DurationVar(&o.settings.measure, "for", 4*time.Second, "how long a run is measured")
	f.DurationVar(&o.settings.warm, "warm", time.Second, "how long messages flow before that")
	f.DurationVar(&o.settings.rest, "rest", 5*time.Second, "how long idle conns rest before their memory is read")
	o.settings.quiet = 10 * time.Second
	f.StringVar(&o.json, "json", "", "write all runs to this `file`")
	f.StringVar(&o.from, "from", "", "measure nothing: print the tables of such a `file`")
	f.StringVar(&o.profiles, "profiles", "", "have Roomring's nodes write profiles to this `directory`, of the CPU, or of the heap for idle conns; it costs them some")
	f.StringVar(&o.programs, "bin", "", "`directory` with roomring-router and roomring-shard (default: build them)")
	f.IntVar(&o.firstPort, "port", 17000, fmt.Sprintf("first of %d ports of 127.0.0.1 to use", portCount))
	f.IntVar(&o.serversCore, "servers-core", -1, "core for the servers (default: the first that may be used)")
	f.IntVar(&o.loadCore, "load-core", -1, "core for the load (default: the second)")
	f.StringVar(&o.serveBare, "serve-bare", "", "be a bare loop at this `address`, and nothing else")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected %q", f.Arg(0))
	case o.pairs < 1 || o.settings.measure <= 0 || o.settings.warm < 0 || o.settings.rest < 0:
		err = errors.New("want one round or more, and times that are not negative")
	case o.firstPort < 1024 || o.firstPort > 1<<16-portCount:
		err = fmt.Errorf("-port: want 1024 to %d", 1<<16-portCount)
	}
	return o, err
}

// run is the whole program. It returns 0, 1 when a run failed, or 2 when it was asked for nonsense.
func run(args []string, out, says io.Writer) int {
	o, err := parse(args, says)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(says, "compare:", err)
		return 2
	case o.serveBare != "":
		err = serveBare(o.serveBare)
	case o.from != "":
		err = reprint(o.from, out)
	default:
		err = compare(o, out, says)
	}
	if err != nil {
		fmt.Fprintln(says, "compare:", err)
		return 1
	}
	return 0
}

func reprint(path string, out io.Writer) error {
	r, err := readReport(path)
	if err != nil {
		return err
	}
	return r.write(out)
}

var (
	errFailed      = errors.New("some runs failed")
	errInterrupted = errors.New("interrupted: the tables lack the rest")
)

// compare measures, and prints the tables of what there is, also when it was interrupted.
func compare(o options, out, says io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "roomring-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &report{When: time.Now().UTC(), Machine: thisMachine(runtime.Version(), runtime.NumCPU()), Rounds: o.pairs,
		Warm: o.settings.warm.Seconds(), Measure: o.settings.measure.Seconds(), Rest: o.settings.rest.Seconds()}
	c, err := prepare(ctx, o, dir, r, says)
	if err != nil {
		return err
	}
	err = c.run(ctx, func(m measurement) { r.Runs = append(r.Runs, m) })
	if errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	if len(r.Runs) > 0 {
		err = errors.Join(err, r.write(out))
	}
	if o.json != "" {
		err = errors.Join(err, r.save(o.json))
	}
	if err == nil && r.failed() {
		err = errFailed
	}
	return err
}

// prepare finds and builds what is measured, and settles on a core and descriptors for it. What is not
// as the figures are meant to be is noted in r.
func prepare(ctx context.Context, o options, dir string, r *report, says io.Writer) (*comparison, error) {
	note := func(format string, args ...any) {
		r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
		fmt.Fprintf(says, "note: "+format+"\n", args...)
	}
	c := &comparison{rounds: o.pairs, settings: o.settings, dir: dir, profiles: o.profiles, ports: &ports{first: o.firstPort, count: portCount}, progress: says}
	p, err := findPrograms(o.programs, dir)
	if err != nil {
		return nil, err
	}
	if c.subjects, err = chooseSubjects(p, o.subjects, note); err != nil {
		return nil, err
	}
	if c.scenarios, err = chooseScenarios(o.scenarios, note); err != nil {
		return nil, err
	}
	if o.programs == "" && c.needsRoomring() {
		fmt.Fprintln(says, "building roomring-router and roomring-shard")
		if err := build(ctx, dir, says); err != nil {
			return nil, err
		}
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return nil, err
		}
	}
	if c.cores, err = o.cores(note); err != nil {
		return nil, err
	}
	if err := pinAll(c.cores.load); err != nil { // after the build, which may use all cores
		return nil, err
	}
	debug.SetGCPercent(400) // the load makes hardly any garbage, and shall not look for it
	for _, s := range c.scenarios {
		r.Scenarios = append(r.Scenarios, label{s.name, s.title})
	}
	for _, s := range c.subjects {
		r.Subjects = append(r.Subjects, label{s.name, s.title})
	}
	return c, nil
}

// chooseSubjects takes those that are asked for, the bare loop always and first.
func chooseSubjects(p programs, names string, note func(string, ...any)) (chosen []subject, err error) {
	all, missing := subjects(p)
	asked := strings.Split(names, ",")
	for _, s := range all {
		if s.name == bareName || slices.Contains(asked, s.name) {
			chosen = append(chosen, s)
		}
	}
	for _, name := range asked {
		switch {
		case slices.Contains(missing, name):
			note("%s is not installed, and left out.", name)
		case !slices.ContainsFunc(all, func(s subject) bool { return s.name == name }):
			return nil, fmt.Errorf("-subjects: there is no %q", name)
		}
	}
	return chosen, nil
}

// chooseScenarios takes those that are asked for, and makes them small enough for the descriptors that
// there may be. All subjects meet the same.
func chooseScenarios(names string, note func(string, ...any)) (chosen []scenario, err error) {
	all := scenarios()
	for _, name := range strings.Split(names, ",") {
		at := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if at < 0 {
			return nil, fmt.Errorf("-scenarios: there is no %q", name)
		}
		chosen = append(chosen, all[at])
	}
	most := 0
	for i := range chosen {
		most = max(most, chosen[i].conns())
	}
	may := conns(raiseDescriptors(descriptors(most)))
	for i := range chosen {
		if chosen[i].fit(may) {
			note("%s has %d rooms of %d: more conns than %d take more descriptors than ulimit -Hn allows.",
				chosen[i].name, chosen[i].rooms, chosen[i].members, may)
		}
	}
	return chosen, nil
}

// cores are the ones that were asked for, else the first two.
func (o *options) cores(note func(string, ...any)) (cores, error) {
	c, err := chooseCores()
	if err != nil {
		return c, err
	}
	if o.serversCore >= 0 {
		c.servers = o.serversCore
	}
	if o.loadCore >= 0 {
		c.load = o.loadCore
	}
	if c.servers == c.load {
		note("servers and load share one core: figures of saturated servers are of no use.")
	}
	return c, nil
}

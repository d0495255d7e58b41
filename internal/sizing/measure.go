//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

// idle are conns that are there and say next to nothing.
type idle struct {
	name, title    string
	rooms, members int
	tls            bool
}

// kept are rooms that nobody is in any more.
type kept struct {
	name, title           string
	rooms, messages, size int
}

// busy are rooms in which everybody talks.
type busy struct {
	name, title                        string
	rooms, members, publishers, window int
	tls                                bool
}

func idles() []idle {
	return []idle{
		{"idle-5", "rooms of 5", 2000, 5, false},
		{"idle-1000", "rooms of 1000", 10, 1000, false},
		{"idle-1", "each in a room of its own", 10_000, 1, false},
		{"idle-5-tls", "rooms of 5, TLS at the router", 2000, 5, true},
		{"idle-1000-tls", "rooms of 1000, TLS at the router", 10, 1000, true},
	}
}

func keeps() []kept {
	return []kept{
		{"one", "1 message of 128 bytes", 20_000, 1, 128},
		{"ten", "10 messages of 128 bytes", 20_000, 10, 128},
		{"thousand", "full: 1000 messages of 128 bytes", 400, 1000, 128},
		{"mebibyte", "full: 1 MiB in messages of 4 KiB", 100, 256, 4096},
	}
}

func busies() []busy {
	return []busy{
		{"rooms", "400 rooms of 5, one message in flight in each", 400, 5, 5, 1, false},
		{"rooms-tls", "the same, TLS at the router", 400, 5, 5, 1, true},
		{"fanout", "one room of 1000, 64 messages in flight", 1, 1000, 10, 64, false},
		{"fanout-tls", "the same, TLS at the router", 1, 1000, 10, 64, true},
	}
}

// settings are how large and how long runs are.
type settings struct {
	rest    time.Duration // before memory is read
	watch   time.Duration // idle conns, for what their pings cost
	busy    time.Duration // measured under load
	shrink  int           // conns and rooms are divided by it
	rounds  int
	dir     string // for logs and certificates
	program string // directory of the nodes' programs
	says    io.Writer
}

// figures of one run, by name. Memory is in bytes, CPU time in microseconds.
type figures map[string]float64

// line says what a run found.
func (f figures) line() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(&b, "%s %.3g  ", name, f[name])
	}
	return b.String()
}

// lab does the runs.
type lab struct {
	settings
	sources sources
	ca      *authority
	found   map[string][]figures // by the name of what was measured; one per round
	noise   float64              // the most cores that others used during a run
}

// measure does everything, round by round.
func (l *lab) measure(ctx context.Context) error {
	l.found = map[string][]figures{}
	for round := range l.rounds {
		for _, x := range idles() {
			if err := l.one(ctx, round, x.name, x.tls, func(ctx context.Context, all nodes, t *target) (figures, error) { return l.idle(ctx, all, t, x) }); err != nil {
				return err
			}
		}
		for _, x := range keeps() {
			if err := l.one(ctx, round, x.name, false, func(ctx context.Context, all nodes, t *target) (figures, error) { return l.keep(ctx, all, t, x) }); err != nil {
				return err
			}
		}
		for _, x := range busies() {
			if err := l.one(ctx, round, x.name, x.tls, func(ctx context.Context, all nodes, t *target) (figures, error) { return l.load(ctx, all, t, x) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// one starts a cluster, has it measured, and ends it.
func (l *lab) one(ctx context.Context, round int, name string, tls bool, do func(context.Context, nodes, *target) (figures, error)) error {
	dir, err := os.MkdirTemp(l.dir, name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	certificate, key := "", ""
	t := new(target)
	if tls {
		certificate, key, t.tls = l.ca.certificate, l.ca.key, l.ca.client
	}
	all, err := start(ctx, l.program, dir, certificate, key)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer all.stop()
	t.address = all.router().listen
	from, fromUse := useOfMachine(), use{}
	if fromUse, err = all.use(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	f, err := do(ctx, all, t)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	to, toUse := useOfMachine(), use{}
	if toUse, err = all.use(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	others := otherCores(from, to, toUse.cpu()-fromUse.cpu()+to.own-from.own)
	l.noise = max(l.noise, others)
	l.found[name] = append(l.found[name], f)
	fmt.Fprintf(l.says, "%d/%d %-14s %s(others %.2f cores)\n", round+1, l.rounds, name, f.line(), others)
	return nil
}

// rests waits.
func rests(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pingEvery is how often a router pings a client that says nothing.
const pingEvery = 25 * time.Second

// watched reads what the nodes use now, and after the time for which they are watched.
func (l *lab) watched(ctx context.Context, all nodes) (from, to use, err error) {
	if from, err = all.use(); err != nil {
		return from, to, err
	}
	if err = rests(ctx, l.watch); err != nil {
		return from, to, err
	}
	to, err = all.use()
	return from, to, err
}

// idle measures what conns cost that have talked once: memory, opening, and being there.
func (l *lab) idle(ctx context.Context, all nodes, t *target, x idle) (figures, error) {
	rooms := max(1, x.rooms/l.shrink)
	conns := float64(rooms * x.members)
	empty, before, err := l.watched(ctx, all)
	if err != nil {
		return nil, err
	}
	kernel, err := kernelMemory()
	if err != nil {
		return nil, err
	}
	members := new(clients)
	defer members.close()
	if err := members.join(ctx, t, &l.sources, rooms, x.members); err != nil {
		return nil, err
	}
	joined, err := all.use()
	if err != nil {
		return nil, err
	}
	// In a large room ten speak; in a small one everybody, so that no buffer is unused.
	if err := members.say(ctx, max(1, x.members/10), x.members); err != nil {
		return nil, err
	}
	if err := rests(ctx, l.rest); err != nil {
		return nil, err
	}
	kernelAfter, err := kernelMemory()
	if err != nil {
		return nil, err
	}
	after, later, err := l.watched(ctx, all)
	if err != nil {
		return nil, err
	}
	if n := members.closed.Load(); n > 0 {
		return nil, fmt.Errorf("%d conns were closed", n)
	}
	pings := conns * l.watch.Seconds() / pingEvery.Seconds()
	resting := later.routerCPU - after.routerCPU - (before.routerCPU - empty.routerCPU)
	return figures{
		"router": float64(after.router-before.router) / conns,
		"shards": float64(after.shards-before.shards) / conns,
		"kernel": float64(kernelAfter-kernel) / 2 / conns, // both ends are here
		"open":   float64((joined.routerCPU - before.routerCPU).Microseconds()) / conns,
		"ping":   float64(resting.Microseconds()) / pings,
	}, nil
}

// keep measures what rooms cost that have been spoken in and left.
func (l *lab) keep(ctx context.Context, all nodes, t *target, x kept) (figures, error) {
	if err := rests(ctx, l.rest/2); err != nil {
		return nil, err
	}
	before, err := all.use()
	if err != nil {
		return nil, err
	}
	rooms := max(1, x.rooms/l.shrink)
	if err := fill(ctx, t, &l.sources, rooms, x.messages, x.size); err != nil {
		return nil, err
	}
	if err := rests(ctx, l.rest); err != nil {
		return nil, err
	}
	after, err := all.use()
	if err != nil {
		return nil, err
	}
	return figures{"copy": float64(after.shards-before.shards) / 2 / float64(rooms)}, nil
}

// load measures CPU time under load, from the first to the last second of the measured part, less what the
// nodes use when nobody is there.
func (l *lab) load(ctx context.Context, all nodes, t *target, x busy) (figures, error) {
	empty, before, err := l.watched(ctx, all)
	if err != nil {
		return nil, err
	}
	var marks []mark
	report, err := loadgen.Run(ctx, loadgen.Config{
		URLs: []string{t.url("{room}")}, TLS: t.tls, Rooms: x.rooms, Members: x.members, Publishers: x.publishers, Window: x.window,
		Size: messageSize, Warm: time.Second, For: l.busy,
		Progress: func(p loadgen.Progress) {
			if u, err := all.use(); err == nil && p.Phase == "measuring" {
				marks = append(marks, mark{u, time.Now(), p.Delivered})
			}
		},
	})
	if err != nil {
		return nil, err
	}
	if report.Failed() || len(marks) < 2 || marks[len(marks)-1].delivered == marks[0].delivered {
		return nil, fmt.Errorf("%d lost, %d doubled, %d reordered, %d closed, %d delivered, looked at %d times: %s",
			report.Lost, report.Doubled, report.Reordered, report.Closed, report.Delivered, len(marks), report.FirstError)
	}
	first, last := marks[0], marks[len(marks)-1]
	deliveries := float64(last.delivered - first.delivered)
	share := last.at.Sub(first.at).Seconds() / l.watch.Seconds()
	router := (last.use.routerCPU - first.use.routerCPU).Seconds() - share*(before.routerCPU-empty.routerCPU).Seconds()
	shards := (last.use.shardsCPU - first.use.shardsCPU).Seconds() - share*(before.shardsCPU-empty.shardsCPU).Seconds()
	return figures{
		"delivery": router * 1e6 / deliveries,
		"message":  shards * 1e6 / deliveries * float64(x.members),
		"router":   (before.routerCPU - empty.routerCPU).Seconds() / l.watch.Seconds(),
		"shard":    (before.shardsCPU - empty.shardsCPU).Seconds() / l.watch.Seconds() / 2,
	}, nil
}

// mark is how far a load was at a moment.
type mark struct {
	use       use
	at        time.Time
	delivered uint64
}

// programs builds the nodes if there are none.
func (l *lab) programs(ctx context.Context, dir string) error {
	if dir != "" {
		absolute, err := filepath.Abs(dir)
		l.program = absolute
		return err
	}
	fmt.Fprintln(l.says, "building roomring-router and roomring-shard")
	l.program = l.dir
	return build(ctx, l.dir, l.says)
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

type benchCommand struct {
	Fanout fanoutBench `cmd:"" help:"Few large rooms: how many deliveries per second."`
	Rooms  roomsBench  `cmd:"" help:"Many small rooms: how many deliveries per second, how late."`
	Idle   idleBench   `cmd:"" help:"Many conns that say nothing: do they open, and do they stay."`
}

const benchHelp = `Every message is followed to every member of its room. Without --rate, --window messages are in flight
in each room: that finds the most a server can do. With --rate, messages are due at fixed times and latency
counts from then, as a user would feel it.
The generator shares the machine with whatever else runs on it; give it cores of its own to measure a server.
Exit code 1 when a delivery was lost, doubled or reordered, or a conn did not open or stay.`

// benchFlags are common to all scenarios.
type benchFlags struct {
	URL      []string      `name:"url" sep:"none" placeholder:"URL" default:"ws://127.0.0.1:8000/ws?room={room}" help:"Server, {room} is replaced; again for more servers."`
	For      time.Duration `name:"for" placeholder:"TIME" default:"10s" help:"How long to measure."`
	JSON     bool          `name:"json" help:"Print the result as JSON instead of a table."`
	Progress bool          `name:"progress" help:"Show a line each second though stderr is no terminal."`
	trusting
}

// loadFlags are for the scenarios that publish.
type loadFlags struct {
	Size       int           `name:"size" placeholder:"BYTES" default:"128" help:"Size of a message."`
	Rate       float64       `name:"rate" placeholder:"N" default:"0" help:"Deliveries per second that are due, over all rooms. 0 = as --window allows."`
	Warm       time.Duration `name:"warm" placeholder:"TIME" default:"1s" help:"How long to publish before measuring."`
	Binary     bool          `name:"binary" help:"Send binary frames, not text."`
	OthersOnly bool          `name:"others-only" help:"The server does not send a publisher its own messages."`
}

type fanoutBench struct {
	benchFlags
	loadFlags
	Rooms      int `name:"rooms" placeholder:"N" default:"1" help:"Rooms."`
	Members    int `name:"members" placeholder:"N" default:"1000" help:"Members of each room."`
	Publishers int `name:"publishers" placeholder:"N" default:"10" help:"How many of them publish."`
	Window     int `name:"window" placeholder:"N" default:"64" help:"Messages in flight per room."`
}

func (fanoutBench) Help() string { return benchHelp }

// Run loads few large rooms.
func (c *fanoutBench) Run(w *world) error {
	cfg := c.loadFlags.config(c.Rooms, c.Members, c.Publishers, c.Window)
	return c.benchFlags.run(w, "fanout", cfg)
}

type roomsBench struct {
	benchFlags
	loadFlags
	Rooms      int `name:"rooms" placeholder:"N" default:"2000" help:"Rooms."`
	Members    int `name:"members" placeholder:"N" default:"5" help:"Members of each room."`
	Publishers int `name:"publishers" placeholder:"N" default:"5" help:"How many of them publish."`
	Window     int `name:"window" placeholder:"N" default:"1" help:"Messages in flight per room."`
}

func (roomsBench) Help() string { return benchHelp }

// Run loads many small rooms.
func (c *roomsBench) Run(w *world) error {
	cfg := c.loadFlags.config(c.Rooms, c.Members, c.Publishers, c.Window)
	return c.benchFlags.run(w, "rooms", cfg)
}

type idleBench struct {
	benchFlags
	Rooms   int `name:"rooms" placeholder:"N" default:"1000" help:"Rooms."`
	Members int `name:"members" placeholder:"N" default:"10" help:"Members of each room."`
}

func (idleBench) Help() string {
	return `Opens all conns, answers pings, and counts the conns that end before the time is over.
A process holds as many conns as it may have file descriptors (ulimit -n).`
}

// Run opens conns and watches them.
func (c *idleBench) Run(w *world) error {
	return c.benchFlags.run(w, "idle", loadgen.Config{Rooms: c.Rooms, Members: c.Members})
}

func (l *loadFlags) config(rooms, members, publishers, window int) loadgen.Config {
	return loadgen.Config{Rooms: rooms, Members: members, Publishers: publishers, Window: window,
		Size: l.Size, Rate: l.Rate, Warm: l.Warm, Binary: l.Binary, OthersOnly: l.OthersOnly}
}

// errBroken is the end of a bench that found something wrong; the report has said what.
var errBroken = errors.New("the server failed the check")

func (b *benchFlags) run(w *world, scenario string, cfg loadgen.Config) error {
	cfg.URLs, cfg.For = b.URL, b.For
	var err error
	if cfg.TLS, err = b.trusting.config(); err != nil {
		return usage(err.Error())
	}
	if err := loadgen.Check(cfg); err != nil {
		return usage(err.Error())
	}
	p := statusLine{w: w.stderr, rewrite: w.stderrTerminal}
	if b.Progress || w.stderrTerminal {
		cfg.Progress = func(s loadgen.Progress) { p.show(benchLine(s)) }
	}
	report, err := loadgen.Run(w.ctx, cfg)
	p.clear()
	if err != nil {
		return fmt.Errorf("bench %s: %w", scenario, err)
	}
	if b.JSON {
		err = printJSON(w.stdout, scenario, b.URL, report)
	} else {
		err = printReport(w.stdout, scenario, report)
	}
	if err == nil && report.Failed() {
		err = errBroken
	}
	return err
}

// benchLine words how far a bench is.
func benchLine(s loadgen.Progress) string {
	line := fmt.Sprintf("%s: %d of %d conns", s.Phase, s.Conns, s.Want)
	if s.Phase != "connecting" {
		line += fmt.Sprintf(", %s deliveries/s", thousands(s.PerSecond))
	}
	if s.Faults > 0 {
		line += fmt.Sprintf(", %d FAULTS", s.Faults)
	}
	return line
}

func printJSON(w io.Writer, scenario string, urls []string, report *loadgen.Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Scenario string   `json:"scenario"`
		URLs     []string `json:"urls"`
		*loadgen.Report
	}{scenario, urls, report})
}

func printReport(w io.Writer, scenario string, r *loadgen.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(label, format string, args ...any) { fmt.Fprintf(t, label+"\t"+format+"\n", args...) }
	size := plural(r.Rooms, "room") + " of " + plural(r.Members, "member")
	if r.Publishers > 0 {
		size += fmt.Sprintf(", %d publishing, %d bytes", r.Publishers, r.Size)
	}
	line(scenario, "%s", size)
	line("conns", "%s opened in %.2f s, %d failed to open, %d ended early", thousands(float64(r.Conns)), r.ConnectSeconds, r.ConnectErrors, r.Closed)
	if r.Publishers > 0 {
		line("deliveries/s", "%s", thousands(r.DeliveriesPerSecond))
		line("messages/s", "%s over %.1f s", thousands(r.MessagesPerSecond), r.Seconds)
		line("latency ms", "p50 %s   p99 %s   p99.9 %s   max %s", millis(r.P50), millis(r.P99), millis(r.P999), millis(r.Max))
		line("faults", "%d lost, %d doubled, %d reordered", r.Lost, r.Doubled, r.Reordered)
	}
	for _, extra := range []struct {
		count uint64
		text  string
	}{
		{uint64(r.Disagree), "rooms whose members saw different orders of several publishers"},
		{r.Foreign, "messages that are not of this bench or of another room"},
		{r.Stalls, "times a room stood still"},
		{r.Unsent, "messages that were due and could not be sent"},
	} {
		if extra.count > 0 {
			line("note", "%d %s", extra.count, extra.text)
		}
	}
	if r.FirstError != "" {
		line("first error", "%s", printable(r.FirstError))
	}
	return t.Flush()
}

func millis(ms float64) string { return fmt.Sprintf("%.3g", ms) }

// thousands writes a count with a space between groups of three digits.
func thousands(n float64) string {
	digits := fmt.Sprintf("%.0f", n)
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), " ")
}

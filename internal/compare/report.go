//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// report is all that was measured, as -json writes it.
type report struct {
	When      time.Time     `json:"when"`
	Machine   machine       `json:"machine"`
	Rounds    int           `json:"rounds"`
	Warm      float64       `json:"warm_seconds"`
	Measure   float64       `json:"measure_seconds"`
	Rest      float64       `json:"rest_seconds"`
	Scenarios []label       `json:"scenarios"`
	Subjects  []label       `json:"subjects"`
	Notes     []string      `json:"notes"`
	Runs      []measurement `json:"runs"`
}

type label struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

// measurement is one run: one subject in one scenario. Cores are CPU seconds per second.
type measurement struct {
	Round    int    `json:"round"`
	Scenario string `json:"scenario"`
	Subject  string `json:"subject"`
	Error    string `json:"error,omitempty"` // why there is nothing else

	Seconds    float64            `json:"seconds"`
	Deliveries uint64             `json:"deliveries"`
	PerSecond  float64            `json:"deliveries_per_second"`
	CPU        float64            `json:"cpu_us_per_delivery"`         // user and system time of all the subject's processes
	Processes  map[string]float64 `json:"cpu_us_by_process,omitempty"` // its parts
	P50        float64            `json:"p50_ms,omitempty"`            // from when a message was due; at a fixed rate only
	P99        float64            `json:"p99_ms,omitempty"`
	Memory     float64            `json:"bytes_per_conn,omitempty"` // growth of resident memory; of idle conns only
	Memories   map[string]float64 `json:"bytes_per_conn_by_process,omitempty"`

	ServerCores float64 `json:"server_cores"`
	LoadCores   float64 `json:"load_cores"`
	OtherCores  float64 `json:"other_cores"`  // all else that ran on this machine
	StolenCores float64 `json:"stolen_cores"` // what the machine's own host kept back

	Faults  uint64 `json:"faults"`  // messages that were not their publisher's next one, or foreign
	Missing int    `json:"missing"` // deliveries that never came
}

// measure is a figure of a run.
type measure func(*measurement) float64

func cpuOf(m *measurement) float64    { return m.CPU }
func p50Of(m *measurement) float64    { return m.P50 }
func p99Of(m *measurement) float64    { return m.P99 }
func memoryOf(m *measurement) float64 { return m.Memory }

// good tells whether the run's figures count.
func (m *measurement) good() bool { return m.Error == "" && m.Faults == 0 && m.Missing == 0 }

// noisy tells whether others wanted the cores, by more than a tenth of one.
func (m *measurement) noisy() bool { return m.OtherCores+m.StolenCores > 0.1 }

// full is how much of its core a saturated server must use to count as saturated.
const full = 0.9

// line says what a run found.
func (m *measurement) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-7s%-12s", m.Scenario, m.Subject)
	if m.Error != "" {
		return b.String() + "FAILED: " + m.Error
	}
	switch {
	case m.Memory != 0:
		fmt.Fprintf(&b, "%6.0f bytes per conn", m.Memory)
	case m.P50 != 0:
		fmt.Fprintf(&b, "%6.2f µs/delivery  p50 %.2f ms  p99 %.2f ms", m.CPU, m.P50, m.P99)
	default:
		fmt.Fprintf(&b, "%6.2f µs/delivery  %.0f deliveries/s", m.CPU, m.PerSecond)
	}
	fmt.Fprintf(&b, "  (cores: servers %.2f, load %.2f, others %.2f, stolen %.2f)", m.ServerCores, m.LoadCores, m.OtherCores, m.StolenCores)
	if !m.good() {
		fmt.Fprintf(&b, "  FAULTS: %d out of order or foreign, %d missing", m.Faults, m.Missing)
	}
	if m.noisy() {
		b.WriteString("  NOISY")
	}
	return b.String()
}

// column is a figure in the table.
type column struct {
	scenario, title, unit string
	of                    measure
	scale                 float64
	digits                int
}

func columns() []column {
	return []column{
		{"fanout", "one room of 1000, saturated", "µs", cpuOf, 1, 2},
		{"rooms", "2000 rooms of 5, saturated", "µs", cpuOf, 1, 1},
		{"rate", "20,000 deliveries/s into rooms of 5: p50", "ms", p50Of, 1, 2},
		{"rate", "20,000 deliveries/s into rooms of 5: p99", "ms", p99Of, 1, 2},
		{"idle", "user memory per idle conn, ten to a room", "KB", memoryOf, 1e-3, 2},
		{"alone", "user memory per idle conn, each in a room of its own", "KB", memoryOf, 1e-3, 2},
	}
}

// write prints the report as markdown: what a reader looks for first, then how far the rounds differ.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s · %s, %d cores · Linux %s · %s · %d rounds, %g s measured after %g s\n\n", r.When.UTC().Format("2006-01-02 15:04 UTC"),
		r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Rounds, r.Measure, r.Warm)
	shown := r.shown()
	r.summary(&b, shown)
	for _, c := range shown {
		r.details(&b, c)
	}
	b.WriteString("\n")
	for _, note := range append(r.Notes, r.noise()...) {
		fmt.Fprintf(&b, "* %s\n", note)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shown are the columns that there are figures for.
func (r *report) shown() (list []column) {
	has := map[string]bool{}
	for _, s := range r.Scenarios {
		has[s.Name] = true
	}
	for _, c := range columns() {
		if has[c.scenario] {
			list = append(list, c)
		}
	}
	return list
}

// summary is medians, with the median ratio to the bare loop behind them.
func (r *report) summary(b *strings.Builder, shown []column) {
	b.WriteString("| |")
	for _, c := range shown {
		fmt.Fprintf(b, " %s |", c.title)
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(shown)+1) + "\n")
	for _, x := range r.Subjects {
		fmt.Fprintf(b, "| %s |", x.Title)
		for _, c := range shown {
			fmt.Fprintf(b, " %s |", r.cell(c, x.Name))
		}
		b.WriteString("\n")
	}
}

func (r *report) cell(c column, subject string) string {
	s, ok := spreadOf(r.values(c.scenario, subject, c.of))
	if !ok {
		return "–"
	}
	text := fmt.Sprintf("%.*f %s", c.digits, s.median*c.scale, c.unit)
	if ratio, ok := spreadOf(r.ratios(c.scenario, subject, c.of)); ok && subject != bareName {
		text += fmt.Sprintf(" (%.2f ×)", ratio.median)
	}
	return text
}

func (r *report) details(b *strings.Builder, c column) {
	fmt.Fprintf(b, "\n**%s**\n\n| | median | least to most | × bare loop, median | least to most | deliveries/s | %s | cores: servers, load, others |\n", c.title, c.partsTitle())
	b.WriteString("|" + strings.Repeat(" --- |", 8) + "\n")
	for _, x := range r.Subjects {
		s, ok := spreadOf(r.values(c.scenario, x.Name, c.of))
		if !ok {
			continue
		}
		ratio := "– | –"
		if q, ok := spreadOf(r.ratios(c.scenario, x.Name, c.of)); ok && x.Name != bareName {
			ratio = fmt.Sprintf("%.2f | %.2f–%.2f", q.median, q.min, q.max)
		}
		fmt.Fprintf(b, "| %s | %.*f %s | %.*f–%.*f | %s | %.0f | %s | %.2f, %.2f, %.2f |\n", x.Title, c.digits, s.median*c.scale, c.unit,
			c.digits, s.min*c.scale, c.digits, s.max*c.scale, ratio, r.middle(c, x.Name, func(m *measurement) float64 { return m.PerSecond }), r.shares(c, x.Name),
			r.middle(c, x.Name, func(m *measurement) float64 { return m.ServerCores }),
			r.middle(c, x.Name, func(m *measurement) float64 { return m.LoadCores }),
			r.middle(c, x.Name, func(m *measurement) float64 { return m.OtherCores + m.StolenCores }))
	}
}

// parts is what each process had of a run's figure, and for latencies of the CPU per delivery.
func (c *column) parts(m *measurement) map[string]float64 {
	if c.unit == "KB" {
		return m.Memories
	}
	return m.Processes
}

func (c *column) partsTitle() string {
	if c.unit == "KB" {
		return "bytes by process"
	}
	return "CPU by process, µs"
}

// shares says what each of the subject's processes costs.
func (r *report) shares(c column, subject string) string {
	names := map[string]bool{}
	for i := range r.Runs {
		if m := &r.Runs[i]; m.Scenario == c.scenario && m.Subject == subject && m.good() {
			for name := range c.parts(m) {
				names[name] = true
			}
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		parts = append(parts, fmt.Sprintf("%s %.3g", name, r.middle(c, subject, func(m *measurement) float64 { return c.parts(m)[name] })))
	}
	return strings.Join(parts, ", ")
}

func (r *report) middle(c column, subject string, of measure) float64 {
	s, _ := spreadOf(r.values(c.scenario, subject, of))
	return s.median
}

// noise says what makes the figures worth less.
func (r *report) noise() (notes []string) {
	noisy, worst, idle, bad := 0, 0.0, 0, 0
	saturated := map[string]bool{"fanout": true, "rooms": true}
	for i := range r.Runs {
		m := &r.Runs[i]
		switch {
		case !m.good():
			bad++
			continue
		case m.noisy():
			noisy++
		}
		worst = max(worst, m.OtherCores+m.StolenCores)
		if saturated[m.Scenario] && m.ServerCores < full {
			idle++
		}
	}
	notes = append(notes, fmt.Sprintf("Other work on the machine: %.2f cores at most.", worst))
	if noisy > 0 {
		notes = append(notes, fmt.Sprintf("**The machine was not quiet**: in %d of %d runs other work used more than 0.1 cores. Ratios suffer less than figures; latencies suffer most.", noisy, len(r.Runs)))
	}
	if idle > 0 {
		notes = append(notes, fmt.Sprintf("In %d saturated runs the servers used less than %.1f cores: they were not full, so their batches were smaller and a delivery cost more than it need.", idle, full))
	}
	if bad > 0 {
		notes = append(notes, fmt.Sprintf("**%d runs failed** and are not in the tables.", bad))
	}
	return notes
}

// failed tells whether a run's figures do not count.
func (r *report) failed() bool {
	for i := range r.Runs {
		if !r.Runs[i].good() {
			return true
		}
	}
	return false
}

func (r *report) save(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func readReport(path string) (*report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

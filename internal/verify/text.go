package verify

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteText writes the report for a person.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, write := range []func(io.Writer){r.summary, r.table, r.commands, r.examples} {
		write(&b)
	}
	b.WriteString(r.Verdict + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// row is a line of the summary.
type row struct{ label, text string }

// textWidth is how wide the text is, but for examples and the verdict, which are one line each.
const textWidth = 79

func (r *Report) summary(w io.Writer) {
	const labels = 12
	for _, row := range r.rows() {
		label := row.label
		for _, line := range wrapped(row.text, textWidth-labels) {
			fmt.Fprintf(w, "%-*s%s\n", labels, label, line)
			label = ""
		}
	}
	fmt.Fprintln(w)
}

// wrapped cuts a text into lines at its single spaces. A word that is too long has a line of its own.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if line != "" && runes(line)+1+runes(word) > width {
			lines, line = append(lines, strings.TrimRight(line, " ")), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// rows says what was done and found, but for the events.
func (r *Report) rows() []row {
	rows := []row{
		{"load", r.loadText()},
		{"conns", r.connsText()},
		{"messages", fmt.Sprintf("%s sent, %s received; %s deliveries, %s/s%s", thousands(float64(r.Published)), thousands(float64(r.Acked)),
			thousands(float64(r.Delivered)), thousands(r.PerSecond), r.oddText())},
		{"latency ms", fmt.Sprintf("p50 %s   p99 %s   p99.9 %s   max %s", millis(r.P50), millis(r.P99), millis(r.P999), millis(r.Max))},
		{"pause ms", fmt.Sprintf("p50 %s   p99 %s   max %s   over %s: the longest time from send to delivery in each%s",
			millis(r.PauseP50), millis(r.PauseP99), millis(r.PauseMax), plural(r.Rooms, "room"), r.limitText())},
		{"faults", fmt.Sprintf("%d lost, %d doubled, %d reordered, %d invented, %d altered; %s with two contents, %s that disagree, %s against the protocol",
			r.Lost, r.Doubled, r.Reordered, r.Invented, r.Altered, plural(int(r.Conflicts), "offset"), plural(int(r.Disagree), "member"), plural(int(r.Malformed), "frame"))},
		{"announced", r.announcedText()},
	}
	if r.Reconnects > 0 {
		rows = append(rows, row{"reconnects", fmt.Sprintf("%d: %d resumed whole, %d with a gap, %d with a reset; way back ms p50 %s   p99 %s   max %s",
			r.Reconnects, r.ResumedWhole, r.ResumedGap, r.ResumedReset, millis(r.BackP50), millis(r.BackP99), millis(r.BackMax))})
	}
	return rows
}

func (r *Report) loadText() string {
	text := fmt.Sprintf("%s of %s at %s, messages of %d bytes, %s deliveries/s due for %.1f s",
		plural(r.RoomCount, "room"), plural(r.MemberCount, "member"), plural(len(r.URLs), "router"), r.Size, thousands(r.Rate), r.Seconds)
	if r.interrupted() {
		text += fmt.Sprintf(": interrupted, before %.1f s were over", r.For)
	}
	return text
}

// interrupted tells whether the sending ended before its time, and commands may not have been run.
func (r *Report) interrupted() bool { return r.Conns > 0 && r.Seconds < r.For }

// announcedText says what members were told, and what that took from them.
func (r *Report) announcedText() string {
	text := fmt.Sprintf("%s, %s", plural(int(r.Gaps), "gap"), plural(int(r.Resets), "reset"))
	if r.Gaps+r.Resets > 0 {
		text += fmt.Sprintf("; %s that other members received", pluralOf(int(r.Taken), "message taken", "messages taken"))
	}
	return text
}

// limitText says how the pauses stand to the limit, if there is one.
func (r *Report) limitText() string {
	if r.MaxPause == 0 {
		return ""
	}
	return fmt.Sprintf("; %d above the limit of %s", r.TooLong, seconds(r.MaxPause))
}

func (r *Report) connsText() string {
	text := fmt.Sprintf("%d opened, %d did not, %d closed", r.Conns, r.NotOpened, r.Closed)
	var kinds []string
	for _, c := range r.Closes {
		kinds = append(kinds, fmt.Sprintf("%s ×%d", c, c.Count))
	}
	if len(kinds) > 0 {
		text += " (" + strings.Join(kinds, ", ") + ")"
	}
	if r.Away > 0 {
		text += fmt.Sprintf(", %d not open at the end", r.Away)
	}
	if r.DialErrors > 0 {
		text += fmt.Sprintf("; %s to connect failed, first: %s", pluralOf(r.DialErrors, "try", "tries"), r.FirstError)
	}
	return text
}

// String is 1012 "draining", or the reason alone when there was no close frame.
func (c Close) String() string {
	if c.Code == 0 {
		return c.Reason
	}
	return fmt.Sprintf("%d %q", c.Code, c.Reason)
}

// oddText says what became of messages that nobody received, and breaks no promise.
func (r *Report) oddText() (text string) {
	if r.Unplaced > 0 {
		text += fmt.Sprintf("; %d unplaced: sent on a socket that closed, and nobody saw them", r.Unplaced)
	}
	if r.Excused > 0 {
		text += fmt.Sprintf("; %d gone with an announced gap or reset", r.Excused)
	}
	if r.Unsent > 0 {
		text += fmt.Sprintf("; %d that were due could not be sent", r.Unsent)
	}
	return text
}

// column is one of the table of events.
type column struct {
	head   string
	cell   func(*Event) string
	always bool // also when there is nothing in it
	fault  bool // it breaks a promise
}

func count(n func(*Event) uint64) func(*Event) string {
	return func(e *Event) string { return fmt.Sprint(n(e)) }
}

var columns = []column{
	{"at s", at, true, false},
	{"rooms", func(e *Event) string { return fmt.Sprint(e.Rooms) }, true, false},
	{"pause ms p50", func(e *Event) string { return millis(e.PauseP50) }, true, false},
	{"p99", func(e *Event) string { return millis(e.PauseP99) }, true, false},
	{"max", func(e *Event) string { return millis(e.PauseMax) }, true, false},
	{"above", count(func(e *Event) uint64 { return e.TooLong }), false, true},
	{"lost", count(func(e *Event) uint64 { return e.Lost }), true, true},
	{"doubled", count(func(e *Event) uint64 { return e.Doubled }), true, true},
	{"reordered", count(func(e *Event) uint64 { return e.Reordered }), true, true},
	{"invented", count(func(e *Event) uint64 { return e.Invented }), false, true},
	{"altered", count(func(e *Event) uint64 { return e.Altered }), false, true},
	{"two contents", count(func(e *Event) uint64 { return e.Conflicts }), false, true},
	{"disagree", count(func(e *Event) uint64 { return e.Disagree }), false, true},
	{"malformed", count(func(e *Event) uint64 { return e.Malformed }), false, true},
	{"gaps", count(func(e *Event) uint64 { return e.Gaps }), true, false},
	{"resets", count(func(e *Event) uint64 { return e.Resets }), true, false},
	{"taken", count(func(e *Event) uint64 { return e.Taken }), false, false},
	{"closed", count(func(e *Event) uint64 { return e.Closed }), true, false},
	{"back", count(func(e *Event) uint64 { return e.Reconnects }), false, false},
	{"whole", count(func(e *Event) uint64 { return e.ResumedWhole }), false, false},
	{"back ms p50", func(e *Event) string { return millis(e.BackP50) }, false, false},
	{"max", func(e *Event) string { return millis(e.BackMax) }, false, false},
	{"unplaced", count(func(e *Event) uint64 { return e.Unplaced }), false, false},
}

// at is when an event began; their sum has no time.
func at(e *Event) string {
	if e.isSum() {
		return ""
	}
	return fmt.Sprintf("%.1f", e.At)
}

// used returns the columns that have something in them.
func (r *Report) used() (list []column) {
	for _, c := range columns {
		for i := range r.Events {
			if c.always || c.cell(&r.Events[i]) != "0" {
				list = append(list, c)
				break
			}
		}
	}
	return list
}

// everything returns the events and their sum.
func (r *Report) everything() []Event {
	return append(slices.Clone(r.Events), Event{Name: "in all", At: -1, Counts: r.Counts})
}

func (e *Event) isSum() bool { return e.At < 0 }

// table writes the events, one per line, in as many blocks as it takes for all columns.
func (r *Report) table(w io.Writer) {
	all := r.everything()
	names := []string{"event"}
	for i := range all {
		names = append(names, shortened(all[i].Name))
	}
	names = alignLeft(names)
	var block []string
	for _, c := range r.used() {
		cells := []string{c.head}
		for i := range all {
			cells = append(cells, c.cell(&all[i]))
		}
		cells = alignRight(cells)
		if block != nil && runes(block[0])+2+runes(cells[0]) > textWidth {
			writeLines(w, block)
			block = nil
		}
		if block == nil {
			block = slices.Clone(names)
		}
		for i := range block {
			block[i] += "  " + cells[i]
		}
	}
	writeLines(w, block)
}

func runes(s string) int { return len([]rune(s)) }

func widest(list []string) (n int) {
	for _, s := range list {
		n = max(n, runes(s))
	}
	return n
}

func alignLeft(list []string) (out []string) {
	for _, s := range list {
		out = append(out, s+strings.Repeat(" ", widest(list)-runes(s)))
	}
	return out
}

func alignRight(list []string) (out []string) {
	for _, s := range list {
		out = append(out, strings.Repeat(" ", widest(list)-runes(s))+s)
	}
	return out
}

func writeLines(w io.Writer, lines []string) {
	fmt.Fprintf(w, "%s\n\n", strings.Join(lines, "\n"))
}

// maxName bounds an event's name in the table.
const maxName = 24

func shortened(name string) string {
	if r := []rune(name); len(r) > maxName {
		return string(r[:maxName-1]) + "…"
	}
	return name
}

// commands says which commands failed.
func (r *Report) commands(w io.Writer) {
	failed := false
	for i := range r.Events {
		e := &r.Events[i]
		if !e.Command || e.ExitCode == 0 {
			continue
		}
		failed = true
		how := fmt.Sprintf("ended with %d", e.ExitCode)
		if e.ExitCode < 0 {
			how = "did not end by itself"
		}
		fmt.Fprintf(w, "command at %.1f s %s: %s\n", e.At, how, e.Name)
		if out := strings.TrimSpace(e.Output); out != "" {
			fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(printableLines(out), "\n", "\n  "))
		}
	}
	if failed {
		fmt.Fprintln(w)
	}
}

// printableLines makes the output of a command fit to show.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}

func (r *Report) examples(w io.Writer) {
	if len(r.Examples) == 0 {
		return
	}
	fmt.Fprintln(w, "what broke, is unplaced or was taken; at most ten of each kind:")
	for i := range r.Examples {
		fmt.Fprintf(w, "  %s\n", r.Examples[i].Text)
	}
	fmt.Fprintln(w)
}

func millis(ms float64) string {
	switch {
	case ms == 0:
		return "0"
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}

func plural(n int, what string) string { return pluralOf(n, what, what+"s") }

func pluralOf(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// thousands writes a count with a space between groups of three digits.
func thousands(n float64) string {
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}

package doctor

import (
	"fmt"
	"strings"
)

// State is how a check ended.
type State string

const (
	OK      State = "ok"
	Warn    State = "warn"    // it works now, and may not later
	Bad     State = "bad"     // it does not work, or the next failure costs something
	Skipped State = "skipped" // the facts were not to be had
)

// Finding is what one check found.
type Finding struct {
	Check string `json:"check"` // one word
	State State  `json:"state"`
	Text  string `json:"text"` // one line, for people
	Mend  string `json:"mend"` // what to do; "" where there is nothing to mend
}

// findings gathers them in the order of the checks.
type findings []Finding

func (f *findings) add(check string, state State, mend, format string, args ...any) {
	*f = append(*f, Finding{Check: check, State: state, Mend: mend, Text: fmt.Sprintf(format, args...)})
}

func (f *findings) ok(check, format string, args ...any) { f.add(check, OK, "", format, args...) }

func (f *findings) warn(check, mend, format string, args ...any) {
	f.add(check, Warn, mend, format, args...)
}

func (f *findings) bad(check, mend, format string, args ...any) {
	f.add(check, Bad, mend, format, args...)
}

func (f *findings) skip(check, format string, args ...any) {
	f.add(check, Skipped, "", format, args...)
}

// sized words a size.
func sized(bytes int64) string {
	n, units := float64(bytes), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && n >= 1024 {
		n, units = n/1024, units[1:]
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0") + " " + units[0]
}

// maxNamed bounds how many names one line has.
const maxNamed = 8

// list words names, the first of them.
func list(names []string) string {
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d more", len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

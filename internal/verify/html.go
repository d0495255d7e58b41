package verify

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the template shows.
type page struct {
	Held     bool
	Verdict  string
	Rows     []pageRow
	Plot     *plot
	Heads    []string
	Table    []pageEvent
	Commands []pageCommand
	Examples []Example
}

type pageRow struct{ Label, Text string }

type pageEvent struct {
	Name  string
	Cells []pageCell
	Total bool
}

type pageCell struct{ Text, Class string }

type pageCommand struct {
	Name, At, Took, Output string
	Code                   int
}

// WriteHTML writes the report as a page that needs nothing from elsewhere and has no scripts.
func (r *Report) WriteHTML(w io.Writer) error {
	p := page{Held: r.Held, Verdict: r.Verdict, Plot: r.plot(), Examples: r.Examples}
	for _, row := range r.rows() {
		p.Rows = append(p.Rows, pageRow{row.label, row.text})
	}
	used := r.used()
	for _, c := range used {
		p.Heads = append(p.Heads, c.head)
	}
	all := r.everything()
	for i := range all {
		e := &all[i]
		p.Table = append(p.Table, pageEvent{numberedName(i, e), cells(e, used), e.isSum()})
		if e.Command {
			p.Commands = append(p.Commands, pageCommand{numberedName(i, e), fmt.Sprintf("%.1f", e.At), fmt.Sprintf("%.2f", e.Took), printableLines(e.Output), e.ExitCode})
		}
	}
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// numberedName puts an event's number before its name, by which the plot calls it.
func numberedName(i int, e *Event) string {
	if i == 0 || e.isSum() {
		return e.Name
	}
	return fmt.Sprintf("%d. %s", i, e.Name)
}

func cells(e *Event, used []column) (list []pageCell) {
	for _, c := range used {
		cell := pageCell{Text: c.cell(e)}
		switch {
		case cell.Text == "0":
			cell.Class = "zero"
		case c.fault:
			cell.Class = "fault"
		}
		list = append(list, cell)
	}
	return list
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// screen is where a command shows what a person reads.
type screen struct {
	w io.Writer
	// width is how many columns a line has; what does not fit is cut. If zero, lines have no end: the
	// output goes to a file or a program, which must get whole names.
	width  int
	colour bool
}

func (w *world) screen() screen { return screen{w.stdout, w.width, w.colour} }

// paint is a colour of the terminal. It repeats what the word says, and never says more.
type paint string

const (
	plain  paint = ""
	good   paint = "\x1b[32m"
	warned paint = "\x1b[33m"
	bad    paint = "\x1b[31m"
)

// stroke writes text in a colour, where there are colours.
func (s screen) stroke(p paint, text string) string {
	if !s.colour || p == plain {
		return text
	}
	return string(p) + text + "\x1b[0m"
}

// statePaint is the colour of a node's state.
func statePaint(state string) paint {
	switch state {
	case "alive":
		return good
	case "suspect", "draining":
		return warned
	case "dead":
		return bad
	}
	return plain
}

// table lays out rows. A column is as wide as its widest cell; when a line does not fit, the columns
// that may shrink give way, the widest first, down to leastColumn.
type table struct {
	columns []column
	rows    [][]cell
	widths  []int // from flush to flush, so that pages stay in line
	headed  bool  // the titles are printed
}

type column struct {
	title   string
	right   bool // numbers stand below each other
	shrinks bool // names may be cut
}

// cell is a text, printable, and its colour.
type cell struct {
	text  string
	paint paint
}

const (
	leastColumn = 8
	gutter      = 2
)

// row adds a row of texts; an empty one shows as a dash.
func (t *table) row(texts ...string) {
	cells := make([]cell, len(texts))
	for i, text := range texts {
		cells[i] = cell{text: dash(text)}
	}
	t.rows = append(t.rows, cells)
}

// tint gives a cell of the newest row a colour.
func (t *table) tint(column int, p paint) { t.rows[len(t.rows)-1][column].paint = p }

// flush prints the rows, below the titles the first time, and forgets them.
func (t *table) flush(s screen) error {
	t.measure(s.width)
	var b strings.Builder
	if !t.headed {
		t.headed = true
		titles := make([]cell, len(t.columns))
		for i, c := range t.columns {
			titles[i].text = c.title
		}
		t.line(&b, s, titles)
	}
	for _, cells := range t.rows {
		t.line(&b, s, cells)
	}
	t.rows = t.rows[:0]
	_, err := io.WriteString(s.w, b.String())
	return err
}

// measure finds the widths of all columns.
func (t *table) measure(width int) {
	if t.widths == nil {
		t.widths = make([]int, len(t.columns))
		for i, c := range t.columns {
			t.widths[i] = cells(c.title)
		}
	}
	total := gutter * (len(t.columns) - 1)
	for i := range t.columns {
		for _, row := range t.rows {
			t.widths[i] = max(t.widths[i], cells(row[i].text))
		}
		total += t.widths[i]
	}
	for ; width > 0 && total > width; total-- {
		widest := -1
		for i, c := range t.columns {
			if c.shrinks && t.widths[i] > leastColumn && (widest < 0 || t.widths[i] > t.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return // the numbers alone do not fit: the terminal breaks the lines
		}
		t.widths[widest]--
	}
}

// fits reports whether whole lines have no more columns than that.
func (t *table) fits(width int) bool {
	t.measure(0)
	total := gutter * (len(t.columns) - 1)
	for _, w := range t.widths {
		total += w
	}
	return total <= width
}

// line writes one row, without blanks at its end.
func (t *table) line(b *strings.Builder, s screen, row []cell) {
	blanks := 0
	for i, c := range row {
		text := cut(c.text, t.widths[i])
		room := t.widths[i] - cells(text)
		if t.columns[i].right {
			blanks += room
		}
		b.WriteString(strings.Repeat(" ", blanks))
		b.WriteString(s.stroke(c.paint, text))
		if blanks = gutter; !t.columns[i].right {
			blanks += room
		}
	}
	b.WriteByte('\n')
}

// statusLine shows how far something is: over what it said last on a terminal, below it elsewhere.
type statusLine struct {
	w       io.Writer
	rewrite bool
	shown   string // what a terminal shows now
}

func (l *statusLine) show(text string) {
	if l.rewrite {
		if text == l.shown {
			return
		}
		l.shown = text
		fmt.Fprintf(l.w, "\r\x1b[K%s", cut(text, usualWidth-1))
		return
	}
	fmt.Fprintln(l.w, text)
}

// clear makes place for other lines.
func (l *statusLine) clear() {
	if l.rewrite && l.shown != "" {
		l.shown = ""
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

// dash makes a text from the network fit to be seen, and an empty one visible.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// printable keeps names from the network from moving the cursor of somebody's terminal, or turning
// the direction of what follows.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // no control characters, no formats, no blanks but the usual one
			return '?'
		}
		return r
	}, s)
}

// natural orders names as a person would: s2 before s10.
func natural[S ~string](a, b S) int {
	prefix := func(s S) (S, int) {
		digits := len(s) - len(strings.TrimRight(string(s), "0123456789"))
		return s[:len(s)-digits], digits
	}
	headA, digitsA := prefix(a)
	headB, digitsB := prefix(b)
	if headA == headB && digitsA != digitsB {
		return cmp.Compare(digitsA, digitsB)
	}
	return cmp.Compare(a, b)
}

// cells is how many columns of a terminal a printable text takes.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n += cellsOf(r)
	}
	return n
}

// cut shortens a printable text to so many columns. The last one says that something is missing.
func cut(s string, width int) string {
	if cells(s) <= width {
		return s
	}
	n := 0
	for i, r := range s {
		if n += cellsOf(r); n > width-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// cellsOf is 0 for marks that sit on the letter before, 2 for the letters that terminals draw wide:
// those of East Asia, and pictures.
func cellsOf(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0x303e, r >= 0x3041 && r <= 0xa4cf, r >= 0xa960 && r <= 0xa97c,
		r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff01 && r <= 0xff60,
		r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1f64f, r >= 0x1f680 && r <= 0x1f6ff, r >= 0x1f900 && r <= 0x1faff,
		r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

package main

import (
	"fmt"
	"strings"
)

// table is one of Markdown in the making.
type table struct{ b strings.Builder }

func text(write func(*table)) string {
	var t table
	write(&t)
	return t.b.String()
}

// head begins the table; row goes on. Cells are printed as they are.
func (t *table) head(cells ...any) {
	t.row(cells...)
	fmt.Fprintln(&t.b, strings.Repeat("| --- ", len(cells))+"|")
}

func (t *table) row(cells ...any) {
	for _, c := range cells {
		fmt.Fprintf(&t.b, "| %v ", c)
	}
	fmt.Fprintln(&t.b, "|")
}

// number writes whole numbers with a comma for each thousand.
func number[T int | int64 | float64](x T) string {
	s := fmt.Sprintf("%.0f", float64(x))
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes bytes with two or three digits, in units of 1000.
func size[T int | int64 | float64](bytes T) string {
	x, units := float64(bytes), []string{"B", "KB", "MB", "GB", "TB"}
	for len(units) > 1 && x >= 999.5 {
		x, units = x/1000, units[1:]
	}
	if x < 9.95 && units[0] != "B" {
		return fmt.Sprintf("%.1f %s", x, units[0])
	}
	return fmt.Sprintf("%.0f %s", x, units[0])
}

func percent(part, whole int) string {
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

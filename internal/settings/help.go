package settings

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// helpWidth is where help lines break: the usual terminal is wider today, a wall of text is not.
const helpWidth = 110

// HelpPrinter prints help for people: groups as headings, a line per flag with its default, and
// examples at the end.
func HelpPrinter(footer string) kong.HelpPrinter {
	return func(_ kong.HelpOptions, ctx *kong.Context) error {
		node := ctx.Selected()
		if node == nil {
			node = ctx.Model.Node
		}
		p := helpPage{w: ctx.Stdout}
		p.usage(ctx.Model.Name, node)
		p.commands(node)
		p.flags(node)
		if node.Detail != "" {
			fmt.Fprintf(p.w, "\n%s\n", strings.TrimSpace(node.Detail))
		}
		if footer != "" && node == ctx.Model.Node {
			fmt.Fprintf(p.w, "\n%s\n", footer)
		}
		return nil
	}
}

// groupOrder is the order in which groups of settings are shown: what everybody sets comes first.
var groupOrder = []string{"Addresses", "Cluster", "Clients", "Security", "Limits", "Process"}

type helpPage struct{ w io.Writer }

func (p helpPage) usage(program string, node *kong.Node) {
	line := program
	if node.Type != kong.ApplicationNode {
		line += " " + node.Path()
	}
	line = strings.TrimPrefix(line, program+" "+program) // Path starts with the program for commands
	if !strings.HasPrefix(line, program) {
		line = program + line
	}
	if len(node.Children) > 0 {
		line += " COMMAND"
	}
	line += " [flags]"
	for _, arg := range node.Positional {
		line += " " + arg.Summary()
	}
	fmt.Fprintf(p.w, "Usage: %s\n\n%s\n", line, node.Help)
	if len(node.Positional) > 0 {
		fmt.Fprintf(p.w, "\nArguments\n")
		var rows [][2]string
		for _, arg := range node.Positional {
			rows = append(rows, [2]string{arg.Summary(), arg.Help})
		}
		p.columns(rows)
	}
}

func (p helpPage) commands(node *kong.Node) {
	var rows [][2]string
	for _, leaf := range node.Leaves(true) {
		if leaf == node {
			continue
		}
		name := leaf.Path()
		if _, rest, ok := strings.Cut(name, " "); ok && leaf.Depth() > 0 && strings.HasPrefix(name, rootName(leaf)+" ") {
			name = rest
		}
		rows = append(rows, [2]string{name, leaf.Help})
	}
	if len(rows) > 0 {
		fmt.Fprintf(p.w, "\nCommands\n")
		p.columns(rows)
	}
}

func rootName(node *kong.Node) string {
	for node.Parent != nil {
		node = node.Parent
	}
	return node.Name
}

func (p helpPage) flags(node *kong.Node) {
	var order []string
	groups := map[string][][2]string{}
	for _, level := range node.AllFlags(true) {
		for _, flag := range level {
			title := "Flags"
			if flag.Group != nil {
				title = flag.Group.Title
			}
			if flag.Name == "help" {
				title, flag.Help = "Process", "Print this help, then exit."
			}
			if groups[title] == nil {
				order = append(order, title)
			}
			groups[title] = append(groups[title], flagRow(flag))
		}
	}
	slices.SortStableFunc(order, func(a, b string) int {
		return slices.Index(groupOrder, a) - slices.Index(groupOrder, b) // a group not listed comes first
	})
	for _, title := range order {
		fmt.Fprintf(p.w, "\n%s\n", title)
		p.columns(groups[title])
	}
}

func flagRow(flag *kong.Flag) [2]string {
	name := "--" + flag.Name
	if !flag.IsBool() {
		placeholder := flag.PlaceHolder
		if placeholder == "" {
			placeholder = strings.ToUpper(flag.Name)
		}
		name += " " + placeholder
	}
	help := flag.Help
	if flag.HasDefault && flag.Default != "0" && flag.Default != "" {
		help += " (" + flag.Default + ")"
	}
	return [2]string{name, help}
}

// columns prints names and texts side by side; a text too long for its line goes on below itself.
func (p helpPage) columns(rows [][2]string) {
	const most = 32
	wide := 0
	for _, row := range rows {
		if len(row[0]) <= most {
			wide = max(wide, len(row[0]))
		}
	}
	for _, row := range rows {
		lines := wrap(row[1], helpWidth-wide-4)
		if len(row[0]) > wide {
			fmt.Fprintf(p.w, "  %s\n", row[0])
			row[0] = ""
		}
		for _, line := range lines {
			fmt.Fprintf(p.w, "  %s\n", strings.TrimRight(fmt.Sprintf("%-*s  %s", wide, row[0], line), " "))
			row[0] = ""
		}
	}
}

func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

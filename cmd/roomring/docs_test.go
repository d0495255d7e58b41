package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/roomring/roomring/internal/settings"
)

const top = "../../"

// pages are the documents that people copy commands from.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, root := range []string{"docs", "deploy", "README.md", "SECURITY.md", "CONTRIBUTING.md"} {
		err := filepath.WalkDir(top+root, func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
				return err
			}
			text, err := os.ReadFile(path)
			texts[strings.TrimPrefix(filepath.ToSlash(path), top)] = strings.ReplaceAll(string(text), "\\\n", " ")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

// known is what our programs can be told: the flags of each, by "roomring ring", "roomring-shard" and so on.
func known(t *testing.T) map[string][]string {
	t.Helper()
	parser, err := kong.New(&commands{}, kong.Vars{"version": ""})
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string][]string{name: {"help", "version"}}
	var walk func(*kong.Node, string)
	walk = func(n *kong.Node, called string) {
		flags[called] = append(flags[called], "help", "version")
		for _, f := range n.Flags {
			flags[called] = append(flags[called], f.Name)
		}
		for _, child := range n.Children {
			walk(child, called+" "+child.Name)
			flags[called] = append(flags[called], flags[called+" "+child.Name]...)
		}
	}
	for _, child := range parser.Model.Children {
		walk(child, name+" "+child.Name)
	}
	flags["roomring-router"] = append(flagsOf(reflect.TypeFor[settings.Router]()), "help")
	flags["roomring-shard"] = append(flagsOf(reflect.TypeFor[settings.Shard]()), "help")
	return flags
}

// flagsOf are the names in a struct of settings.
func flagsOf(of reflect.Type) (names []string) {
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Anonymous {
			names = append(names, flagsOf(f.Type)...)
		} else if flag := f.Tag.Get("name"); flag != "" {
			names = append(names, flag)
		}
	}
	return names
}

var (
	span   = regexp.MustCompile("`[^`\n]+`")
	fence  = regexp.MustCompile("^ *```(\\w*)")
	option = regexp.MustCompile(`(?:^|[\s=("'\[|])--([a-z][a-z0-9-]*)`)
	joint  = regexp.MustCompile(`&&|\|\||[;|]|\$\(`)
	remark = regexp.MustCompile(`(?:^|\s)#\s.*`)
	prefix = regexp.MustCompile(`^(?:(?:\$|sudo|exec|timeout \S+|[A-Z_]+=\S*)\s+|go run \./cmd/)`)
)

// others are flags of kubectl, helm and docker, which pages may name alone.
var others = []string{
	"build-arg", "cap-drop", "cpus", "memory", "network", "platform", "publish", "read-only", "stop-timeout", "ulimit", "user", "volume", // docker
	"atomic", "dry-run", "force", "grace-period", "namespace", "replicas", "set", "set-file", "timeout", "values", // helm, kubectl
}

// Flags, commands and programs that a page names are there: who copies a line gets what it says. What is
// said of other programs is not judged.
func TestPagesNameWhatThereIs(t *testing.T) {
	flags, found := known(t), 0
	var every []string
	for _, list := range flags {
		every = append(every, list...)
	}
	for page, text := range pages(t) {
		for _, code := range codes(text) {
			code = remark.ReplaceAllString(strings.Trim(code, "`"), "")
			for _, command := range joint.Split(code, -1) {
				command = strings.TrimSpace(command)
				for prefix.MatchString(command) {
					command = prefix.ReplaceAllString(command, "")
				}
				called, ok := whose(flags, command)
				if !ok {
					t.Errorf("%s: there is no such command: %s", page, command)
				}
				may := flags[called]
				switch {
				case strings.HasPrefix(command, "--"), called == name: // no line to copy, but words about one
					may = append(slices.Clone(every), others...)
				case called == "":
					continue // another program's
				}
				command, _, _ = strings.Cut(command, " -- ") // behind it are a node's
				for _, f := range option.FindAllStringSubmatch(command, -1) {
					if found++; !slices.Contains(may, f[1]) {
						t.Errorf("%s: there is no --%s: %s", page, f[1], command)
					}
				}
			}
		}
	}
	if found < 200 {
		t.Errorf("only %d flags found", found)
	}
}

// codes are the lines of commands of a page, and what stands between backquotes.
func codes(text string) (list []string) {
	fenced, shell := false, false
	for line := range strings.Lines(text) {
		mark := fence.FindStringSubmatch(line)
		switch {
		case mark != nil:
			fenced, shell = !fenced, slices.Contains([]string{"", "sh", "bash", "shell", "console"}, mark[1])
		case fenced && shell, !fenced && (strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t")):
			list = append(list, line)
		case !fenced:
			list = append(list, span.FindAllString(line, -1)...)
		}
	}
	return list
}

// whose says which of our commands a line calls, "" for none, and whether there is one of that name.
func whose(flags map[string][]string, line string) (called string, ok bool) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", true
	}
	called = filepath.Base(words[0])
	if _, ours := flags[called]; !ours {
		return "", true
	}
	if called != name || len(words) == 1 || !regexp.MustCompile(`^[a-z]+$`).MatchString(words[1]) {
		return called, true
	}
	for _, word := range words[1:] {
		if _, there := flags[called+" "+word]; !there {
			break
		}
		called += " " + word
	}
	return called, called != name
}

// Paths that a page names are in openapi.yaml, which tests hold against the handlers, or the client's.
func TestPagesNamePathsThatThereAre(t *testing.T) {
	document, err := os.ReadFile(top + "docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{"/ws": true, "/v1/rooms/{room}/messages": true}
	for _, line := range regexp.MustCompile(`(?m)^  (/\S*):$`).FindAllStringSubmatch(string(document), -1) {
		paths[line[1]] = true
	}
	// Behind small letters they are another program's: /api/v1/alerts is Prometheus'.
	in := regexp.MustCompile(`(?:^|[^a-z])(/v1/[A-Za-z0-9_/{}%.-]*|/(?:healthz|readyz|metrics)\b|/debug/pprof/\w*)`)
	room := regexp.MustCompile(`^/v1/rooms/[^/]+`)
	found := 0
	for page, text := range pages(t) {
		for _, match := range in.FindAllStringSubmatch(text, -1) {
			path := strings.TrimRight(match[1], "./")
			if strings.HasPrefix(path, "/debug/pprof") {
				path = "/debug/pprof/{profile}"
			}
			found++
			if path = room.ReplaceAllString(path, "/v1/rooms/{room}"); !paths[path] && path != "/v1" {
				t.Errorf("%s: there is no %s", page, path)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d paths found", found)
	}
}

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
	span   = regexp.MustCompile("`[^`\n]+`|(?m)^(?: {4}|\t).+$")
	option = regexp.MustCompile(`(?:^|[\s=("'\[|])--([a-z][a-z0-9-]*)`)
	call   = regexp.MustCompile(`(?:^|[\s/;|(])(roomring(?:-router|-shard)?)\b((?: +[a-z]+)*)`)
	// foreign are programs of others, whose flags we do not judge.
	foreign = regexp.MustCompile(`\b(docker|podman|kubectl|helm|systemctl|systemd-[a-z]+|journalctl|curl|git|npm|nginx|haproxy|prometheus|promtool|openssl|ssh|apt|apt-get|go|goreleaser|traefik|gh|cosign|syft|useradd|install|ulimit|jq|ip|iptables|sysctl|make|watch|nofile)\b`)
)

// Flags, commands and programs that a page names are there: who copies a line gets what it says.
func TestPagesNameWhatThereIs(t *testing.T) {
	flags, found := known(t), 0
	var every []string
	for _, list := range flags {
		every = append(every, list...)
	}
	for page, text := range pages(t) {
		for _, code := range span.FindAllString(text, -1) {
			code = strings.Trim(code, "`")
			if at := strings.Index(code, "# "); at > 0 && strings.HasPrefix(code, "    ") {
				code = code[:at] // a remark
			}
			may, called, ours := every, "", call.FindStringSubmatch(code)
			if ours != nil {
				var ok bool
				if called, ok = longest(flags, ours[1], strings.Fields(ours[2])); !ok {
					t.Errorf("%s: there is no such command: %s", page, strings.TrimSpace(code))
					continue
				}
				may = flags[called]
			} else if foreign.MatchString(code) {
				continue
			}
			if called == name { // the program as such, not a line to copy
				may = every
			}
			for _, f := range option.FindAllStringSubmatch(code, -1) {
				found++
				if !slices.Contains(may, f[1]) && !elsewhere(code, f[1]) {
					t.Errorf("%s: %s has no --%s: %s", page, orAny(called), f[1], strings.TrimSpace(code))
				}
			}
		}
	}
	if found < 200 {
		t.Errorf("only %d flags found", found)
	}
}

// longest finds the command that words name: they may go on with its arguments.
func longest(flags map[string][]string, program string, words []string) (called string, ok bool) {
	called = program
	if program != name || len(words) == 0 {
		return called, true
	}
	for _, word := range words {
		if _, known := flags[called+" "+word]; !known && called+" "+word != name+" bench" {
			break
		}
		called += " " + word
	}
	return called, called != name
}

// elsewhere reports whether a flag is behind a word of another program on the line, or behind --, where a
// node's own flags go.
func elsewhere(code, flag string) bool {
	before, _, _ := strings.Cut(code, "--"+flag)
	return foreign.MatchString(before) || strings.Contains(before, " -- ")
}

func orAny(called string) string {
	if called == "" {
		return "no program of ours"
	}
	return called
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
	in := regexp.MustCompile(`/v1/[A-Za-z0-9_/{}%.-]*|/(?:healthz|readyz|metrics)\b|/debug/pprof/\w*`)
	room := regexp.MustCompile(`^/v1/rooms/[^/]+`)
	found := 0
	for page, text := range pages(t) {
		for _, path := range in.FindAllString(text, -1) {
			path = strings.TrimRight(path, "./")
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

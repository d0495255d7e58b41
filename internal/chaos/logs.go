//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// said is what nodes log as errors when what it is about was done to them.
var said = []struct {
	message string
	faults  []string // beginnings of names
}{
	{"rooms are lost: every copy is dead", []string{"kill-copies", copiesTrial}},
	{"no majority of the voters is reached: the table cannot change", []string{""}}, // also where the machine is busy
	{"register cannot use its data directory: it takes no part until it can", []string{"full-disk"}},
}

// excused says whether a message is what one of a round's faults brings about.
func excused(message string, events []event) bool {
	for _, x := range said {
		if x.message != message {
			continue
		}
		for _, e := range events {
			if slices.ContainsFunc(x.faults, func(begin string) bool { return strings.HasPrefix(e.fault, begin) }) {
				return true
			}
		}
	}
	return false
}

// maxLogged bounds how many lines of a round are complained about.
const maxLogged = 10

// searchLogs returns what must not be in the logs of a round: secrets, panics, and errors that nothing
// explains.
func searchLogs(dir string, secrets []string, events []event) (complaints []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(text) {
			if why := complaint(bytes.TrimSpace(line), secrets, events); why != "" && len(complaints) < maxLogged {
				complaints = append(complaints, fmt.Sprintf("%s: %s", filepath.Base(file), why))
			}
		}
	}
	return complaints, nil
}

// complaint is "" for a line that may be there.
func complaint(line []byte, secrets []string, events []event) string {
	for _, s := range secrets {
		if bytes.Contains(line, []byte(s)) {
			return "a secret is in it"
		}
	}
	var entry struct{ Level, Message string }
	switch {
	case len(line) == 0:
	case json.Unmarshal(line, &entry) != nil:
		return "not a log line: " + string(line[:min(len(line), 200)])
	case entry.Level == "panic" || entry.Level == "dpanic" || entry.Level == "fatal" || strings.Contains(entry.Message, "panic") || strings.Contains(entry.Message, "bug"):
		return string(line)
	case entry.Level == "error" && !excused(entry.Message, events):
		return string(line)
	}
	return ""
}

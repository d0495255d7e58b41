package process

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// What the linker is told where a build has no repository to look at, or should not depend on it: a
// release, and an image that is built from a copy of the source. They are strings and not constants
// because that is all that the linker can set:
//
//	go build -ldflags "-X github.com/roomring/roomring/cmd/internal/process.version=v1.2.3 -X ….commit=HASH -X ….date=TIME"
var (
	version string // v1.2.3
	commit  string // the whole hash
	date    string // of the commit, ISO 8601 in UTC
)

// Version returns the version that the binary was built from, in one word, or "unknown".
func Version() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(info)
}

// versionOf prefers what the linker was told. Else Go knows: the version that go install was asked for;
// of a build in a clone its tag, or where there is none, a version made of time and commit, with +dirty
// when files had been changed; (devel) without a repository.
func versionOf(info *debug.BuildInfo) string {
	if info == nil {
		info = &debug.BuildInfo{}
	}
	return cmp.Or(version, info.Main.Version, "unknown")
}

// Build describes the binary in a line: the version, then as much as is known of where it comes from.
func Build() string {
	info, _ := debug.ReadBuildInfo()
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) string {
	hash, when, changed := commit, date, ""
	if info != nil {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && hash == "":
				hash = s.Value
			case s.Key == "vcs.time" && when == "":
				when = s.Value
			case s.Key == "vcs.modified" && s.Value == "true" && commit == "":
				changed = "with changes"
			}
		}
	}
	facts := []string{}
	for _, fact := range []string{word("commit ", hash), changed, when, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH} {
		if fact != "" {
			facts = append(facts, fact)
		}
	}
	return fmt.Sprintf("%s (%s)", versionOf(info), strings.Join(facts, ", "))
}

// word is text behind a prefix, "" when there is none. Of a commit, twelve digits are enough.
func word(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text[:min(12, len(text))]
}

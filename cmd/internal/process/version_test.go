package process

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef01234567"
	set := func(pairs ...string) (list []debug.BuildSetting) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return list
	}
	repository := set("vcs.revision", hash, "vcs.time", "2026-11-22T18:31:00Z", "vcs.modified", "false")
	changed := set("vcs.revision", hash, "vcs.time", "2026-11-22T18:31:00Z", "vcs.modified", "true")
	for name, test := range map[string]struct {
		linker [3]string
		info   *debug.BuildInfo
		word   string
		line   string // without the machine
	}{
		"nothing is known":     {word: "unknown", line: "unknown ("},
		"no repository":        {info: &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, word: "(devel)", line: "(devel) ("},
		"go install":           {info: &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, word: "v1.2.3", line: "v1.2.3 ("},
		"a clone":              {info: &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: repository}, word: "v1.2.3", line: "v1.2.3 (commit 0123456789ab, 2026-11-22T18:31:00Z, "},
		"a clone with changes": {info: &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3+dirty"}, Settings: changed}, word: "v1.2.3+dirty", line: "v1.2.3+dirty (commit 0123456789ab, with changes, 2026-11-22T18:31:00Z, "},
		"a release": {
			linker: [3]string{"v2.0.0", strings.Repeat("f", 40), "2027-01-01T00:00:00Z"},
			info:   &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: changed},
			word:   "v2.0.0", line: "v2.0.0 (commit ffffffffffff, 2027-01-01T00:00:00Z, ",
		},
		"an image that was told the version alone": {linker: [3]string{"v2.0.0"}, info: &debug.BuildInfo{}, word: "v2.0.0", line: "v2.0.0 ("},
		"a short hash": {linker: [3]string{"v2.0.0", "abc"}, word: "v2.0.0", line: "v2.0.0 (commit abc, "},
	} {
		t.Run(name, func(t *testing.T) {
			version, commit, date = test.linker[0], test.linker[1], test.linker[2]
			t.Cleanup(func() { version, commit, date = "", "", "" })
			if got := versionOf(test.info); got != test.word {
				t.Errorf("version %q, want %q", got, test.word)
			}
			want := test.line + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
			if got := buildOf(test.info); got != want {
				t.Errorf("build %q, want %q", got, want)
			}
		})
	}
}

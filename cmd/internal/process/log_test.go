package process

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/settings"
)

// write makes a logger, has use write with it, and returns what is in the file then.
func write(t *testing.T, format string, use func(log *zap.Logger)) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log, err := Logger(f, &settings.Node{ID: "s1", LogLevel: "info", LogFormat: format})
	if err != nil {
		t.Fatal(err)
	}
	use(log)
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLoggerFormats(t *testing.T) {
	for format, want := range map[string]string{"json": `"message":"hello"`, "auto": `"self":"s1"`, "console": "\tINFO\thello\t"} {
		text := write(t, format, func(log *zap.Logger) {
			log.Debug("quiet")
			log.Info("hello", zap.Any("token", settings.Secret("hush")))
		})
		if !strings.Contains(text, want) || strings.Contains(text, "hush") || strings.Contains(text, "quiet") {
			t.Errorf("%s: %s", format, text)
		}
	}
}

// TestLogKeys: what programs that read logs rely on.
func TestLogKeys(t *testing.T) {
	text := write(t, "json", func(log *zap.Logger) {
		log.With(zap.String("room", "r")).Warn("room refused", zap.Duration("after", 1500*time.Millisecond))
	})
	var line map[string]any
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	at, _ := line["time"].(string)
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`).MatchString(at) {
		t.Errorf("time %q", at)
	}
	if when, err := time.Parse(time.RFC3339Nano, at); err != nil || time.Since(when) > time.Minute || time.Since(when) < 0 {
		t.Errorf("time %q: %v, %v", at, when, err)
	}
	delete(line, "time")
	for key, want := range map[string]any{"level": "warn", "message": "room refused", "self": "s1", "room": "r", "after": 1.5} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
		delete(line, key)
	}
	if len(line) != 0 {
		t.Errorf("more keys: %v", line)
	}
}

// TestLogsShowWhatIsThere: no name can begin a line, colour a terminal or turn text around; and a program
// reads it as it was.
func TestLogsShowWhatIsThere(t *testing.T) {
	for _, name := range []string{
		"a\nlevel=error b", "\x1b[31mred\x1b[0m", "\u009b31mred", "\u202eegnar\u202c", "a\u200bb", "\x00\x07\x7f", "\u2028next", "\U000e0041tag",
		`back\\slash "quoted"`, "\\\u202e", "Zürich 房间 😀",
	} {
		for _, format := range []string{"json", "console"} {
			text := write(t, format, func(log *zap.Logger) { log.Info("room refused", zap.String("room", name)) })
			line, ended := strings.CutSuffix(text, "\n")
			if !ended || strings.Contains(line, "\n") {
				t.Errorf("%s: %q is not one line: %q", format, name, text)
			}
			for _, r := range line {
				if r != '\t' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || strings.ContainsRune("\u200b\u202c\u202e\u2028\U000e0041", r)) {
					t.Errorf("%s: %q is written with %U in it", format, name, r)
				}
			}
			var fields struct{ Room string }
			if err := json.Unmarshal([]byte(line[strings.IndexByte(line, '{'):]), &fields); err != nil || fields.Room != name {
				t.Errorf("%s: %q is read as %q: %v", format, name, fields.Room, err)
			}
			if strings.HasPrefix(name, "Z") && !strings.Contains(line, name) {
				t.Errorf("%s: what everybody can read is escaped: %s", format, line)
			}
		}
	}
	broken := "a\xff\xc0b" // no room's name, but an address or a header may have such
	if text := write(t, "json", func(log *zap.Logger) { log.Info("odd", zap.String("from", broken)) }); !json.Valid([]byte(text)) {
		t.Errorf("%q", text)
	}
}

// TestLogsAreSampled: a flood of one kind is thinned, counted, and hides no other.
func TestLogsAreSampled(t *testing.T) {
	const lines = 5000
	var dropped uint64
	began := time.Now()
	text := write(t, "json", func(log *zap.Logger) {
		child := log.With(zap.String("of", "a flood"))
		for i := range lines {
			child.Info("frame refused", zap.Int("number", i))
		}
		log.Info("node up")
		dropped = Dropped(log)
		if n := Dropped(child.Named("x")); n != dropped {
			t.Errorf("one made from it says %d", n)
		}
	})
	seconds := int(time.Since(began)/time.Second) + 2 // the sampler's seconds begin with its lines
	written := strings.Count(text, "frame refused")
	if most := seconds * (firstLines + lines/thereafter); written < firstLines || written > most {
		t.Errorf("%d lines are written, want %d to %d", written, firstLines, most)
	}
	if written+int(dropped) != lines {
		t.Errorf("%d lines are written and %d said to be dropped, of %d", written, dropped, lines)
	}
	if !strings.Contains(text, "node up") {
		t.Error("another kind is hidden")
	}
	if Dropped(zap.NewNop()) != 0 {
		t.Error("nothing is known of other loggers")
	}
}

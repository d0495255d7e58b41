package settings

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// key is 32 bytes in base64 that are easy to find in an output.
const key = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI="

// outside is a Program with an environment and a place for its output.
func outside(env map[string]string) (Program, *bytes.Buffer) {
	out := &bytes.Buffer{}
	return Program{Name: "roomring-router", Version: "v0", Getenv: func(k string) string { return env[k] }, Stdout: out}, out
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPrecedence(t *testing.T) {
	file := write(t, "max-message: 3KiB\ndrain-time: 3s\nmax-conns: 3\njoin: [c:1, d:2]\n")
	env := map[string]string{"ROOMRING_MAX_MESSAGE": "2KiB", "ROOMRING_DRAIN_TIME": "2s", "ROOMRING_ID": ""}
	tests := []struct {
		name  string
		env   map[string]string
		args  []string
		size  Bytes
		drain time.Duration
		conns int
		join  []string
	}{
		{"defaults", nil, []string{"--max-conns=9"}, 64 << 10, 10 * time.Second, 9, nil},
		{"file", nil, []string{"--config", file}, 3 << 10, 3 * time.Second, 3, []string{"c:1", "d:2"}},
		{"environment over file", env, []string{"--config", file}, 2 << 10, 2 * time.Second, 3, []string{"c:1", "d:2"}},
		{"flags over all", env, []string{"--config", file, "--max-message=1KiB", "--join=a:1,b:2"}, 1 << 10, 2 * time.Second, 3, []string{"a:1", "b:2"}},
		{"file named by the environment", map[string]string{"ROOMRING_CONFIG": file}, nil, 3 << 10, 3 * time.Second, 3, []string{"c:1", "d:2"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, _ := outside(test.env)
			r, err := LoadRouter(p, test.args)
			if err != nil {
				t.Fatal(err)
			}
			if r.MaxMessage != test.size || r.DrainTime != test.drain || r.MaxConns != test.conns || !cmp.Equal(r.Join, test.join) {
				t.Errorf("got %s %s %d %q", r.MaxMessage, r.DrainTime, r.MaxConns, r.Join)
			}
		})
	}
}

// refusals: what an operator may get wrong, and a part of what must be answered.
var refusals = []struct {
	name string
	args string
	env  string // NAME=value
	file string
	want string
}{
	{name: "unknown flag", args: "--max-mesage=1", want: "did you mean"},
	{name: "unknown key", file: "max-mesage: 1\n", want: `line 1: unknown setting "max-mesage": did you mean max-message?`},
	{name: "key with capitals", file: "\nMax_Message: 1\n", want: `line 2: unknown setting "Max_Message": did you mean max-message?`},
	{name: "key like nothing", file: "colour: red\n", want: "--help lists them all"},
	{name: "key of a shard", file: "history-bytes: 1\n", want: "history-bytes: is a setting of the other kind of node"},
	{name: "key that is a question", file: "print-config: true\n", want: `unknown setting "print-config"`},
	{name: "key twice", file: "zone: a\nzone: b\n", want: "said twice"},
	{name: "key without a value", file: "zone:\n", want: "has no value"},
	{name: "nested", file: "zone: {a: b}\n", want: "want a value or a list of values"},
	{name: "not a mapping", file: "- a\n", want: "line 1: want lines like"},
	{name: "no YAML", file: "zone: [\n", want: "--config"},
	{name: "no file", args: "--config=/nowhere.yaml", want: "no such file"},
	{name: "no number", args: "--max-conns=many", want: "--max-conns"},
	{name: "no number, from file", file: "max-conns: many\n", want: "(from the --config file)"},
	{name: "no size", args: "--max-message=64k", want: `"64k" is not a size: write it as`},
	{name: "no duration, from environment", env: "ROOMRING_DRAIN_TIME=soon", want: "(from ROOMRING_DRAIN_TIME)"},
	{name: "too large", args: "--max-message=1MiB", want: "--max-message: 1MiB is out of bounds: want 1 to 1023KiB"},
	{name: "too large, from environment", env: "ROOMRING_MAX_MESSAGE=1MiB", want: "(from ROOMRING_MAX_MESSAGE)"},
	{name: "negative", args: "--max-conns=-1", want: "--max-conns: -1 is out of bounds"},
	{name: "too long", args: "--drain-time=2h", want: "want 0s to 1h"},
	{name: "window below messages", args: "--window=64KiB", want: "at least twice --max-message"},
	{name: "little memory", args: "--memory-limit=1MiB", want: "give 64MiB or more"},
	{name: "no address", args: "--listen=8000", want: "not HOST:PORT"},
	{name: "no port", args: "--listen=127.0.0.1:http", want: "must be a number"},
	{name: "port twice", args: "--link=127.0.0.1:8000", want: "already taken by --listen"},
	{name: "open clients", args: "--listen=:8000", want: "say --auth none"},
	{name: "open link", args: "--link=0.0.0.0:8003", want: "--link: 0.0.0.0:8003 can be reached by others, so a cluster key"},
	{name: "open gossip", args: "--gossip=10.0.0.1:8002", want: "--gossip: 10.0.0.1:8002 can be reached by others, so a cluster key"},
	{name: "link on a name", args: "--link=shard:8003", want: "a cluster key must protect it"},
	{name: "open admin", args: "--admin=0.0.0.0:8001", want: "give --admin-token"},
	{name: "everywhere", args: "--link=0.0.0.0:8003 --cluster-key=" + key, want: "--advertise HOST"},
	{name: "advertise nothing", args: "--advertise=0.0.0.0", want: "not a host that others can dial"},
	{name: "advertise a port", args: "--advertise=a:1", want: "without a port"},
	{name: "advertise in vain", args: "--advertise=10.0.0.1", want: "loopback only"},
	{name: "key of 3 bytes", args: "--cluster-key=" + key + ",YWJj", want: "key 2 of 2 has 3 bytes, not 32"},
	{name: "key that is none", args: "--cluster-key=?", want: "key 1 of 1 is not base64"},
	{name: "key said twice", args: "--cluster-key=" + key + " --cluster-key-file=x", want: "not both"},
	{name: "key file is missing", args: "--cluster-key-file=/nowhere", want: "no such file"},
	{name: "short api key", args: "--api-key=0123456789abcdef,secret", want: "--api-key: key 2 of 2: want 16"},
	{name: "no api key", args: "--api-key=,", want: "--api-key: no key in it"},
	{name: "api key said twice", args: "--api-key=0123456789abcdef --api-key-file=x", want: "not both"},
	{name: "api key file is missing", args: "--api-key-file=/nowhere", want: "no such file"},
	{name: "short token", args: "--admin-token=secret", want: "--admin-token: want 16"},
	{name: "token said twice", args: "--admin-token=0123456789abcdef --admin-token-file=x", want: "--admin-token-file: give this or --admin-token, not both"},
	{name: "read token said twice", args: "--admin-read-token=0123456789abcdef --admin-read-token-file=x", want: "--admin-read-token-file: give this or --admin-read-token, not both"},
	{name: "token file is missing", args: "--admin-token-file=/nowhere", want: "--admin-token-file: open /nowhere"},
	{name: "read token file is missing", args: "--admin-read-token-file=/nowhere", want: "--admin-read-token-file: open /nowhere"},
	{name: "token file from environment", env: "ROOMRING_ADMIN_TOKEN_FILE=/nowhere", want: "(from ROOMRING_ADMIN_TOKEN_FILE)"},
	{name: "open admin, a token for no one", args: "--admin=0.0.0.0:8001 --admin-token-file=/dev/null", want: "--admin-token-file: /dev/null: want 16"},
	{name: "same tokens", args: "--admin-token=0123456789abcdef --admin-read-token=0123456789abcdef", want: "must differ"},
	{name: "other auth", args: "--auth=token", want: "none is the only one"},
	{name: "half a certificate", args: "--tls-cert=a.pem", want: "--tls-cert: needs --tls-key too"},
	{name: "part of mutual TLS", args: "--link-cert=a --link-key=b", want: "needs --link-ca too"},
	{name: "origin with a path", args: "--allow-origin=https://a.b/c", want: "want an origin"},
	{name: "origin without a scheme", args: "--allow-origin=a.b", want: "want an origin"},
	{name: "no proxy", args: "--trusted-proxies=10.0.0.0/99", want: "not an address or network"},
	{name: "PROXY headers of anybody", args: "--proxy-protocol", want: "--proxy-protocol: needs --trusted-proxies"},
	{name: "PROXY headers of anybody, from environment", env: "ROOMRING_PROXY_PROTOCOL=true", want: "(from ROOMRING_PROXY_PROTOCOL)"},
	{name: "PROXY headers of anybody, from a file", file: "proxy-protocol: true", want: "(from the --config file)"},
	{name: "bad id", args: "--id=S_1", want: "--id"},
	{name: "data without an id", args: "--data-dir=/nowhere/at/all", want: "--data-dir: needs --id"},
	{name: "data without an id, from environment", env: "ROOMRING_DATA_DIR=/nowhere/at/all", want: "(from ROOMRING_DATA_DIR)"},
	{name: "bad zone", args: "--zone=a/b", want: "--zone"},
	{name: "bad cluster", args: "--cluster=a/b", want: "--cluster"},
	{name: "seed without a port", args: "--join=a", want: "--join"},
	{name: "log level", args: "--log-level=loud", want: `"loud": want debug, info, warn or error`},
	{name: "argument", args: "start", want: "unexpected argument start"},
}

func TestRefusals(t *testing.T) {
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			args := strings.Fields(test.args)
			if test.file != "" {
				args = append(args, "--config", write(t, test.file))
			}
			name, value, _ := strings.Cut(test.env, "=")
			p, out := outside(map[string]string{name: value})
			_, err := LoadRouter(p, args)
			var wrong *UsageError
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("err = %v, want a usage error with %q", err, test.want)
			}
			if text := fmt.Sprint(err) + out.String(); strings.Contains(text, key) {
				t.Errorf("a secret is shown: %s", text)
			}
		})
	}
}

func TestOpenPortsWithProtection(t *testing.T) {
	p, _ := outside(nil)
	r, err := LoadRouter(p, []string{"--listen=0.0.0.0:8000", "--auth=none", "--link=0.0.0.0:8003", "--gossip=0.0.0.0:8002", "--admin=:8001",
		"--admin-token=0123456789abcdef", "--advertise=10.0.0.5", "--cluster-key=" + key + "," + NewKey(),
		"--trusted-proxies=10.1.2.3/8,::1", "--allow-origin=https://app.example.com,http://localhost:3000"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Keys()) != 2 || string(r.Keys()[0]) != "secretsecretsecretsecretsecret12" {
		t.Errorf("keys = %q", r.Keys())
	}
	if got := fmt.Sprint(r.Proxies()); got != "[10.0.0.0/8 ::1/128]" {
		t.Errorf("proxies = %s", got)
	}
}

func TestAPIKeys(t *testing.T) {
	p, _ := outside(nil)
	for _, args := range [][]string{
		{"--api-key=0123456789abcdef,fedcba9876543210"},
		{"--api-key-file", write(t, "0123456789abcdef\nfedcba9876543210\n")},
	} {
		r, err := LoadRouter(p, args)
		if err != nil || fmt.Sprint(r.APIKeys()) != "[0123456789abcdef fedcba9876543210]" {
			t.Errorf("%v: %v, %v", args, r, err)
		}
	}
	if r, err := LoadRouter(p, nil); err != nil || len(r.APIKeys()) != 0 {
		t.Errorf("without a key: %v", err)
	}
}

// TestTokenFiles: what white space stands around a token is no part of it; all else is.
func TestTokenFiles(t *testing.T) {
	const all, read = "0123456789abcdef", "fedcba9876543210"
	p, out := outside(nil)
	r, err := LoadRouter(p, []string{"--admin=0.0.0.0:8001", "--admin-token-file", write(t, "\n "+all+"\r\n"), "--admin-read-token-file", write(t, read)})
	if err != nil || r.AdminTokens() != (AdminTokens{Full: all, Read: read}) {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err = LoadRouter(p, []string{"--admin-token=" + all, "--admin-read-token-file", write(t, read)}); err != nil || r.AdminTokens() != (AdminTokens{Full: all, Read: read}) {
		t.Errorf("one inline, one in a file: %+v, %v", r, err)
	}
	for name, text := range map[string]string{
		"empty": "", "short": "0123456789abcde", "two words": all + " " + read, "two lines": all + "\n" + read, "not ASCII": all + "é",
		"too long": strings.Repeat("x", 513), "far too long": strings.Repeat("x", 5000),
	} {
		_, err := LoadRouter(p, []string{"--admin-token-file", write(t, text)})
		var wrong *UsageError
		if !errors.As(err, &wrong) || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadRouter(p, []string{"--admin-token=" + all, "--admin-read-token-file", write(t, all+"\n")}); err == nil || !strings.Contains(err.Error(), "must differ") {
		t.Errorf("the same token twice: %v", err)
	}
	if _, err := LoadRouter(p, []string{"--print-config", "--admin-token-file", write(t, all)}); !errors.Is(err, ErrDone) || strings.Contains(out.String(), all) {
		t.Errorf("%v, printed %s", err, out)
	}
}

func TestKeyFile(t *testing.T) {
	p, _ := outside(nil)
	r, err := LoadRouter(p, []string{"--cluster-key-file", write(t, NewKey()+"\n"+NewKey()+"\n")})
	if err != nil || len(r.Keys()) != 2 {
		t.Errorf("two keys in a file: %v, %v", r, err)
	}
}

// TestDataDir: a directory is made, tried, and left empty; what cannot be one is refused at the start.
func TestDataDir(t *testing.T) {
	p, _ := outside(nil)
	home := t.TempDir()
	dir := filepath.Join(home, "new", "data")
	if _, err := LoadRouter(p, []string{"--id=r1", "--data-dir", dir, "--print-config"}); err != ErrDone {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("--print-config made the directory")
	}
	for range 2 { // the second time it is there
		h, err := LoadShard(p, []string{"--id=s1", "--data-dir", dir})
		if err != nil || h.DataDir != dir {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, %v: others may read it", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	file := write(t, "not a directory")
	bad := map[string]string{file: file, filepath.Join(file, "below"): file}
	if runtime.GOOS == "linux" {
		bad["/proc"] = "/proc cannot be written" // not even by root
	}
	for dir, want := range bad {
		var wrong *UsageError
		if _, err := LoadShard(p, []string{"--id=s1", "--data-dir", dir}); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "--data-dir: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// TestKeysChangeByRollingRestart: while nodes go one by one from each list of keys to the next, any two
// of them can talk: what one encrypts with is among those the other decrypts with. A list that is left
// out breaks that.
func TestKeysChangeByRollingRestart(t *testing.T) {
	before, after := NewKey(), NewKey()
	lists := []string{before, before + "," + after, after + "," + before, after}
	keys := make([][][]byte, len(lists))
	for i, list := range lists {
		p, _ := outside(map[string]string{"ROOMRING_CLUSTER_KEY": list})
		said, err := LoadShard(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, _ = outside(nil)
		filed, err := LoadRouter(p, []string{"--cluster-key-file", write(t, strings.ReplaceAll(list, ",", "\n"))})
		if err != nil || !cmp.Equal(said.Keys(), filed.Keys()) {
			t.Fatalf("a file gives other keys than a flag: %v", err)
		}
		keys[i] = said.Keys()
	}
	talk := func(a, b [][]byte) bool {
		return slices.ContainsFunc(a, func(k []byte) bool { return bytes.Equal(k, b[0]) }) &&
			slices.ContainsFunc(b, func(k []byte) bool { return bytes.Equal(k, a[0]) })
	}
	for i := range keys {
		for j := range keys {
			if near := i-j <= 1 && j-i <= 1; talk(keys[i], keys[j]) != near {
				t.Errorf("nodes with list %d and %d talk: %v, want %v", i, j, !near, near)
			}
		}
	}
}

func TestBootstrapExpect(t *testing.T) {
	for args, want := range map[string]int{"": 1, "--join=a:1": 3, "--join=a:1 --bootstrap-expect=5": 5} {
		p, _ := outside(nil)
		if s, err := LoadShard(p, strings.Fields(args)); err != nil || s.BootstrapExpect != want {
			t.Errorf("%q: %v %v, want %d", args, s, err, want)
		}
	}
}

// TestMaxConns: without a number, a router takes as many conns as its descriptors allow, and as fit into
// half of its memory.
func TestMaxConns(t *testing.T) {
	for _, tt := range []struct {
		memory      Bytes
		tls         bool
		descriptors int
		want        int
		why         string
	}{
		{8 << 30, false, 20_000, 19_488, "20000 file descriptors"},
		{8 << 30, false, 1_000, 750, "1000 file descriptors"},
		{128 << 20, false, 20_000, 8192, "half of --memory-limit, at 8KiB each"},
		{128 << 20, true, 20_000, 1638, "half of --memory-limit, at 40KiB each"},
		{1, false, 20_000, 1, "half of --memory-limit"},
	} {
		r := &Router{Node: Node{MemoryLimit: tt.memory}}
		if tt.tls {
			r.TLSCert = "cert.pem"
		}
		s := &source{chosen: map[string]string{}}
		if s.chooseMaxConns(r, tt.descriptors); r.MaxConns != tt.want || !strings.Contains(s.chosen["max-conns"], tt.why) {
			t.Errorf("%+v: %d, because of %s", tt, r.MaxConns, s.chosen["max-conns"])
		}
	}
}

func TestDefaultIDs(t *testing.T) {
	p, _ := outside(nil)
	a, _ := LoadShard(p, nil)
	b, _ := LoadShard(p, nil)
	if a.ID == b.ID || !strings.HasPrefix(a.ID, "shard-") || len(a.ID) != len("shard-")+5 {
		t.Errorf("ids %q and %q", a.ID, b.ID)
	}
}

func TestPrintConfigShowsSourcesAndNoSecrets(t *testing.T) {
	file := write(t, "window: 16MiB\n")
	p, out := outside(map[string]string{"ROOMRING_ADMIN_TOKEN": "0123456789abcdef"})
	_, err := LoadRouter(p, []string{"--print-config", "--config", file, "--cluster-key", key, "--max-conns=7", "--id=r1", "--memory-limit=1GiB", "--join=a:1,b:2"})
	if err != ErrDone {
		t.Fatal(err)
	}
	golden(t, "print-config.txt", out.String())
	for _, secret := range []string{key, "0123456789abcdef"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is shown", secret)
		}
	}
}

// TestPrintConfigIsAFile: without secrets, what is printed has the same effect as a file.
func TestPrintConfigIsAFile(t *testing.T) {
	for _, args := range [][]string{
		{"--id=r1"},
		{"--id=r1", "--trusted-proxies=10.0.0.0/8,::1,fd00::/8", "--allow-origin=*,https://[::1]:8443", "--join=[::1]:7401,a:1"},
		{"--id=r1", "--cluster=yes", "--zone=1.0", "--link=[::1]:1", "--window=1MB", "--drain-time=0s"},
	} {
		p, out := outside(nil)
		load := func(args ...string) string {
			out.Reset()
			if _, err := LoadRouter(p, append(args, "--print-config")); err != ErrDone {
				t.Fatalf("%q: %v", args, err)
			}
			return valuesOf(out.String())
		}
		first := load(args...)
		if diff := cmp.Diff(first, load("--config", write(t, out.String()))); diff != "" {
			t.Errorf("%q (-printed +read again):\n%s", args, diff)
		}
	}
}

// valuesOf leaves out where values came from.
func valuesOf(printed string) string {
	var b strings.Builder
	for line := range strings.Lines(printed) {
		value, _, _ := strings.Cut(line, " # ")
		b.WriteString(strings.TrimSpace(value) + "\n")
	}
	return b.String()
}

func TestPrintConfigShowsNoEmptyGroup(t *testing.T) {
	p, out := outside(nil)
	if _, err := LoadShard(p, []string{"--print-config"}); err != ErrDone {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "# Clients") || !strings.Contains(text, "\n\n# Cluster\njoin:") {
		t.Error(text)
	}
}

func TestPrintedConfigIsAConfig(t *testing.T) {
	p, out := outside(nil)
	args := []string{"--id=r1", "--max-conns=7", "--drain-time=90s", "--join=a:1", "--allow-origin=*"}
	want, err := LoadRouter(p, args)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadRouter(p, append(args, "--print-config")); err != ErrDone {
		t.Fatal(err)
	}
	file := write(t, out.String())
	got, err := LoadRouter(p, []string{"--config", file})
	if err != nil {
		t.Fatal(err)
	}
	got.Config, got.memoryWhy = "", want.memoryWhy // the file is where it is from now
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read again: %+v\nwant: %+v", got, want)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	s := Secret("hush")
	if text := fmt.Sprintf("%v %s %+v %#v", s, s, struct{ S Secret }{s}, s); strings.Contains(text, "hush") {
		t.Error(text)
	}
}

func TestHelp(t *testing.T) {
	p, out := outside(nil)
	if _, err := LoadRouter(p, []string{"--help"}); err != ErrDone {
		t.Fatal(err)
	}
	golden(t, "help-router.txt", out.String())
	out.Reset()
	p.Name = "roomring-shard"
	if _, err := LoadShard(p, []string{"--help"}); err != ErrDone {
		t.Fatal(err)
	}
	golden(t, "help-shard.txt", out.String())
	for line := range strings.Lines(out.String()) {
		if len(line) > helpWidth+1 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}

func TestExamplesOfTheHelpAreAccepted(t *testing.T) {
	keys := write(t, NewKey())
	for role, text := range examples {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\\\n", ""), "/etc/roomring/key", keys)
		for line := range strings.Lines(text) {
			words := strings.Fields(line)
			if len(words) == 0 || !strings.HasPrefix(words[0], "roomring-") {
				continue
			}
			p, _ := outside(nil)
			var err error
			if role == "router" {
				_, err = LoadRouter(p, words[1:])
			} else {
				_, err = LoadShard(p, words[1:])
			}
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	p, out := outside(nil)
	if _, err := LoadShard(p, []string{"--version"}); err != ErrDone || out.String() != "roomring-router v0\n" {
		t.Errorf("%v, %q", err, out)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{"0": 0, "17": 17, "64KiB": 64 << 10, "1 MiB": 1 << 20, "2GiB": 2 << 30, "5kB": 5000, "1MB": 1e6, "9B": 9} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q = %d, %v", text, b, err)
		}
		var again Bytes
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%q does not survive as %s", text, b)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "KiB", "1KiBMiB", "9999999999GiB", "1mib"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q = %d, want an error", text, b)
		}
	}
}

func TestCgroupLimit(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  Bytes
	}{
		{"none", nil, 0},
		{"container, v2", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 << 20},
		{"no limit, v2", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0},
		{"tightest of the path", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "100\n", "sys/fs/cgroup/a/b/memory.max": "200\n"}, 100},
		{"v1", map[string]string{"proc/self/cgroup": "3:cpu:/x\n2:memory:/y\n", "sys/fs/cgroup/memory/y/memory.limit_in_bytes": "300\n"}, 300},
		{"nested, no limit in between", map[string]string{
			"proc/self/cgroup": "0::/a/b/c\n", "sys/fs/cgroup/a/memory.max": "900\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/c/memory.max": "max\n",
		}, 900},
		{"throttled, v2", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "900\n", "sys/fs/cgroup/a/memory.high": "800\n"}, 800},
		{"both versions", map[string]string{"proc/self/cgroup": "2:memory:/y\n0::/a\n", "sys/fs/cgroup/memory/y/memory.limit_in_bytes": "300\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 300},
		{"container, v1", map[string]string{"proc/self/cgroup": "2:memory:/docker/x\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "400\n"}, 400},
		{"a pod's limit, v1", map[string]string{
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.stat": "cache 1\nhierarchical_memory_limit 500\nhierarchical_memsw_limit 600\n",
		}, 500},
		{"not a number", map[string]string{"sys/fs/cgroup/memory.max": "12 MiB\n", "sys/fs/cgroup/memory.high": ""}, 0},
		{"no limit, v1", map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
	}
	for _, test := range tests {
		root := t.TempDir()
		for name, text := range test.files {
			name = filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := cgroupLimit(root); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// TestMemoryLimitSaysWhereItIsFrom: an operator who is told a limit wants to know whose it is.
func TestMemoryLimitSaysWhereItIsFrom(t *testing.T) {
	env := func(name string) string { return map[string]string{"ROOMRING_MEMORY_LIMIT": "256MiB"}[name] }
	for _, test := range []struct {
		args   []string
		getenv func(string) string
		want   string
	}{
		{[]string{"--memory-limit=128MiB"}, env, "flag"},
		{nil, env, "ROOMRING_MEMORY_LIMIT"},
	} {
		h, err := LoadShard(Program{Name: "shard", Getenv: test.getenv}, test.args)
		if err != nil || h.MemoryLimitSource() != test.want {
			t.Errorf("%v: %q, %v, want %q", test.args, h.MemoryLimitSource(), err, test.want)
		}
	}
	h, err := LoadShard(Program{Name: "shard"}, nil)
	if err != nil || h.MemoryLimitSource() == "" || h.MemoryLimit < 1<<20 {
		t.Errorf("by itself: %d, %q, %v", h.MemoryLimit, h.MemoryLimitSource(), err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", name, diff)
	}
}

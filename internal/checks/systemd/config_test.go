//go:build linux

package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/roomring/roomring/internal/checks"
)

// programs are the three programs, built once.
var programs = sync.OnceValues(func() (string, error) {
	to, err := os.MkdirTemp("", "roomring-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(to, 0o755); err != nil { // the nodes run as somebody else
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", to, "./cmd/...")
	cmd.Dir = "../../.." // a test runs in its package's directory
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return to, err
})

func TestMain(m *testing.M) {
	if confinedChild() {
		return
	}
	code := m.Run()
	if dir, err := programs(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// settled is what a program makes of a configuration file: all settings, defaults too.
func settled(t *testing.T, role, file string) (map[string]any, error) {
	t.Helper()
	key := filepath.Join(t.TempDir(), "cluster.key")
	if out, err := exec.Command(program(t, "roomring"), "key").Output(); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(key, out, 0o600); err != nil {
		t.Fatal(err)
	}
	// The key is all that is not in the file.
	out, err := exec.Command(program(t, "roomring-"+role), "--config", file, "--cluster-key-file", key, "--print-config").Output()
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	return all, yaml.Unmarshal(out, &all)
}

func TestConfig(t *testing.T) {
	at := checks.Copy(t, dir)
	for _, role := range []string{"shard", "router"} {
		t.Run(role, func(t *testing.T) {
			config, err := settled(t, role, filepath.Join(at, role+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			unit := readUnit(t, filepath.Join(at, "roomring-"+role+".service"))
			if want := "roomring-" + role + " --config /etc/roomring/" + role + ".yaml"; unit.last("ExecStart") != want {
				t.Errorf("it is started as %q", unit.last("ExecStart"))
			}
			if got, want := config["data-dir"], "/var/lib/"+unit.last("StateDirectory"); got != want {
				t.Errorf("data-dir is %v, and the unit may write to %s", got, want)
			}
			// Beside the drain, a node waits 5 s for its vote to be taken, and 1 s for its goodbye.
			drain, err := time.ParseDuration(config["drain-time"].(string))
			stop, err2 := time.ParseDuration(unit.last("TimeoutStopSec"))
			if err != nil || err2 != nil || stop < drain+10*time.Second {
				t.Errorf("it drains for %v and is killed after %v: %v, %v", config["drain-time"], stop, err, err2)
			}
			if wrong, _ := strconv.Atoi(unit.last("RestartPreventExitStatus")); wrong != misuse(t, role) {
				t.Errorf("exit code %d keeps it from being started again", wrong)
			}
		})
	}
}

// misuse is how a program ends that is told nonsense.
func misuse(t *testing.T, role string) int {
	t.Helper()
	cmd := exec.Command(program(t, "roomring-"+role), "--no-such-flag")
	if err := cmd.Run(); err == nil {
		t.Fatal("nonsense is taken")
	}
	return cmd.ProcessState.ExitCode()
}

func TestBrokenConfig(t *testing.T) {
	for _, broken := range []struct{ name, role, old, broken string }{
		{"an unknown key", "shard", "data-dir:", "data-directory:"},
		{"a key of the other kind of node", "shard", "data-dir: ", "listen: 127.0.0.1:1\ndata-dir: "},
		{"no id", "shard", "id: s1", "# "},
		{"a name that is none", "router", "id: r1", "id: R_1"},
		{"nobody knows where it is", "router", "advertise: 10.0.0.5", "# "},
		{"everybody may connect, and nobody said so", "router", "auth: none", "# "},
		{"an admin port for everybody", "shard", "admin: 127.0.0.1:7402", "admin: 0.0.0.0:7402"},
		{"a port twice", "router", "gossip: 0.0.0.0:8002", "gossip: 0.0.0.0:8003"},
		{"a seed without a port", "shard", "10.0.0.8:7401", "10.0.0.8"},
		{"no YAML", "router", "listen: 0.0.0.0:8000", "listen 0.0.0.0:8000"},
	} {
		t.Run(broken.name, func(t *testing.T) {
			file := filepath.Join(checks.Copy(t, dir), broken.role+".yaml")
			checks.Broken(t, file, broken.old, broken.broken)
			if config, err := settled(t, broken.role, file); err == nil {
				t.Errorf("it is taken as %v", config)
			}
		})
	}
}

// TestUncommented: what stands in the files as a comment to be taken out works, too.
func TestUncommented(t *testing.T) {
	for role, lines := range map[string][]string{
		"shard":  {"zone"},
		"router": {"zone", "trusted-proxies", "proxy-protocol", "drain-delay", "allow-origin", "tls-cert", "tls-key"},
	} {
		file := filepath.Join(checks.Copy(t, dir), role+".yaml")
		for _, key := range lines {
			checks.Broken(t, file, "# "+key+":", key+":")
		}
		config, err := settled(t, role, file)
		if err != nil {
			t.Errorf("%s: %v", role, err)
		}
		for _, key := range lines {
			if value := config[key]; value == nil || value == "" || value == false || value == "0s" {
				t.Errorf("%s: %s is %v", role, key, value)
			}
		}
	}
}

// unit is the directives of a unit, in order.
type unit []struct{ name, value string }

func readUnit(t *testing.T, file string) (u unit) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && name[0] != '#' {
			u = append(u, struct{ name, value string }{name, value})
		}
	}
	return u
}

func (u unit) all(name string) (values []string) {
	for _, d := range u {
		if d.name == name {
			values = append(values, d.value)
		}
	}
	return values
}

func (u unit) last(name string) string {
	values := u.all(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

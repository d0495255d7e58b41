//go:build linux

package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/roomring/roomring/internal/checks"
)

// TestUserAndFiles has systemd make the user and set who may read the configuration, in a root of its own.
func TestUserAndFiles(t *testing.T) {
	root := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("only root makes users")
	}
	at := checks.Copy(t, dir)
	if said := makeUser(t, root, at); said != "" {
		t.Fatal(said)
	}
	users, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	user := strings.Split(strings.TrimSpace(string(users)), ":")
	if err != nil || user[0] != "roomring" || user[len(user)-1] != "/usr/sbin/nologin" {
		t.Errorf("%s %v", users, err)
	}
	key := filepath.Join(root, "etc/roomring/cluster.key")
	info, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o640 {
		t.Errorf("a key has %v", info.Mode())
	}
	if above, err := os.Stat(filepath.Dir(key)); err != nil || above.Mode().Perm() != 0o750 {
		t.Errorf("%v %v", above.Mode(), err)
	}
}

func TestBrokenUserAndFiles(t *testing.T) {
	for _, broken := range []struct{ file, old, broken string }{
		{"sysusers.conf", "u roomring", "v roomring"},
		{"sysusers.conf", "u roomring - ", "u room/ring - "},
		{"tmpfiles.conf", "d /etc/roomring 0750", "d etc/roomring 0750"},
		{"tmpfiles.conf", "root roomring", "root roomrings"},
		{"tmpfiles.conf", "~0750", "~rwx"},
	} {
		if os.Getuid() != 0 {
			t.Skip("only root makes users")
		}
		at := checks.Copy(t, dir)
		checks.Broken(t, filepath.Join(at, broken.file), broken.old, broken.broken)
		if makeUser(t, t.TempDir(), at) == "" {
			t.Errorf("%+v passes", broken)
		}
	}
}

// makeUser returns what was complained about.
func makeUser(t *testing.T, root, at string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "etc/roomring"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/roomring/cluster.key"), []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for _, c := range [][]string{
		{"systemd-sysusers", filepath.Join(at, "sysusers.conf")},
		{"systemd-tmpfiles", "--create", filepath.Join(at, "tmpfiles.conf")},
	} {
		out, err := exec.Command(checks.Program(t, c[0]), append([]string{"--root=" + root}, c[1:]...)...).CombinedOutput()
		if err != nil {
			said = append(append(said, out...), err.Error()...)
		}
	}
	return string(said)
}

// TestKernelSettings: each is one that the kernel has, and takes.
func TestKernelSettings(t *testing.T) {
	for name, value := range kernelSettings(t, checks.Copy(t, dir)) {
		file := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		was, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(strings.Fields(string(was))) != len(strings.Fields(value)) {
			t.Errorf("%s = %s: the kernel has %s", name, value, was)
		}
	}
}

// TestKernelSettingsPleaseDoctor: what the product's own doctor asks of a machine is in the file.
func TestKernelSettingsPleaseDoctor(t *testing.T) {
	settings := kernelSettings(t, checks.Copy(t, dir))
	for name, least := range map[string]int{"net.core.somaxconn": 1024, "net.ipv4.tcp_max_syn_backlog": 512, "net.ipv4.tcp_syncookies": 1} {
		if n, err := strconv.Atoi(settings[name]); err != nil || n < least {
			t.Errorf("%s = %s, want %d at least", name, settings[name], least)
		}
	}
	// Conns that go out must not take the ports that nodes listen at.
	if low, _, _ := strings.Cut(settings["net.ipv4.ip_local_port_range"], " "); low < "10000" {
		t.Errorf("conns that go out begin at port %s", low)
	}
}

func kernelSettings(t *testing.T, at string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(at, "sysctl.conf"))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, " = ")
		if !ok {
			t.Errorf("%q sets nothing", line)
		}
		settings[name] = value
	}
	return settings
}

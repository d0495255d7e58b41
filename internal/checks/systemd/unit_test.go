//go:build linux

package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomring/roomring/internal/checks"
)

// exposure is the most that systemd-analyze security may find, in tenths, of 100. A node needs the
// network, and lists in /proc; the rest it can do without.
const exposure = "13"

const dir = "deploy/systemd"

var units = []string{"roomring-shard.service", "roomring-router.service"}

func TestUnits(t *testing.T) {
	at := checks.Copy(t, dir)
	for _, unit := range units {
		if said := judge(t, at, unit); said != "" {
			t.Errorf("%s: %s", unit, said)
		}
	}
}

func TestBrokenUnits(t *testing.T) {
	for _, broken := range []struct{ name, file, old, broken string }{
		{"an unknown key", "roomring-shard.service", "WatchdogSec=", "WatchdogSeconds="},
		{"a value that is no time", "roomring-shard.service", "RestartSec=5s", "RestartSec=soon"},
		{"a policy that is none", "roomring-router.service", "Restart=on-failure", "Restart=on-crash"},
		{"a type that is none", "roomring-router.service", "Type=notify", "Type=tell"},
		{"a section that is none", "roomring-router.service", "[Service]", "[Services]"},
		{"an unknown group of system calls", "roomring-shard.service", "@system-service", "@system-services"},
		{"an unknown address family", "roomring-router.service", "AF_INET6", "AF_INET7"},
		{"nothing to start", "roomring-shard.service", "ExecStart=", "# "},
		{"a program that there is not", "roomring-shard.service", "ExecStart=roomring-shard", "ExecStart=roomring-shards"},
		{"a key of the drop-in", "credentials.conf", "LoadCredential=", "LoadCredentials="},
		{"system calls for everything", "roomring-shard.service", "SystemCallFilter=", "# "},
		{"a file system to write to", "roomring-router.service", "ProtectSystem=strict", "ProtectSystem=no"},
		{"all capabilities", "roomring-router.service", "CapabilityBoundingSet=", "# "},
	} {
		t.Run(broken.name, func(t *testing.T) {
			at := checks.Copy(t, dir)
			checks.Broken(t, filepath.Join(at, broken.file), broken.old, broken.broken)
			unit := broken.file
			if unit == "credentials.conf" {
				unit = units[0]
			}
			if judge(t, at, unit) == "" {
				t.Error("it passes")
			}
		})
	}
}

// judge has systemd-analyze look at a unit with its drop-in, in a root of its own with the units of this
// machine, and returns its complaints. It says most of them without an exit code.
func judge(t *testing.T, at, unit string) (complaints string) {
	t.Helper()
	analyze := checks.Program(t, "systemd-analyze")
	root := t.TempDir()
	system := filepath.Join(root, "usr/lib/systemd/system")
	if err := os.CopyFS(system, os.DirFS("/usr/lib/systemd/system")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(system, os.DirFS(at)); err != nil {
		t.Fatal(err)
	}
	drop := filepath.Join(root, "etc/systemd/system", unit+".d")
	for _, d := range []string{drop, filepath.Join(root, "usr/bin")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(system, "credentials.conf"), filepath.Join(drop, "credentials.conf")); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"roomring-shard", "roomring-router", "kill"} {
		if err := os.WriteFile(filepath.Join(root, "usr/bin", program), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"verify", "--man=no"},
		{"security", "--offline=true", "--threshold=" + exposure, "--no-pager"},
	} {
		cmd := exec.Command(analyze, append([]string{"--root=" + root}, append(args, filepath.Join(system, unit))...)...)
		out, err := cmd.CombinedOutput()
		if args[0] == "verify" || err != nil {
			complaints += string(out)
		}
		if err != nil {
			complaints += err.Error()
		}
	}
	return strings.TrimSpace(complaints)
}

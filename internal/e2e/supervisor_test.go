//go:build linux

package e2e

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSupervisor runs both kinds of node as systemd does, and hears what they tell it.
func TestSupervisor(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"roomring-shard", "roomring-router"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			m := newManager(t)
			// As the units have it: so that a crash is a signal, and not exit code 2, which is wrong use.
			p := m.start(t, program, "GOTRACEBACK=crash", "WATCHDOG_USEC=200000")
			m.hear(t, "READY=1")
			if program == "roomring-shard" { // alone, it founds a cluster
				m.hear(t, "STATUS=ready")
			} else {
				m.hear(t, "STATUS=not ready: waiting_for_shards (")
			}
			m.hear(t, "WATCHDOG=1")
			p.signal(syscall.SIGHUP)
			m.hear(t, "RELOADING=1\nMONOTONIC_USEC=")
			m.hear(t, "READY=1")
			p.signal(syscall.SIGTERM)
			m.hear(t, "STOPPING=1")
			if code := p.exit(t, patience); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// TestWatchdogKillIsNoMisuse: systemd ends a node that does not answer with SIGABRT. The Go runtime
// makes exit code 2 of that, as of every crash, which a unit must not start again: it is for wrong use.
// With what the units have in the environment, it is a signal.
func TestWatchdogKillIsNoMisuse(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	p := m.start(t, "roomring-shard", "GOTRACEBACK=crash")
	m.hear(t, "READY=1")
	p.signal(syscall.SIGABRT)
	p.exit(t, patience)
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Errorf("it ended with %v", p.cmd.ProcessState)
	}
}

// manager is a service manager's socket.
type manager struct {
	address string
	conn    *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	address := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &manager{address, conn}
}

// start starts a node without any seed, on free ports.
func (m *manager) start(t *testing.T, program string, env ...string) *process {
	t.Helper()
	args := []string{"--link", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--admin", "127.0.0.1:0"}
	if program == "roomring-router" {
		args = append(args, "--listen", "127.0.0.1:0", "--drain-time", "1s")
	}
	cmd := exec.Command(filepath.Join(programs, program), args...)
	cmd.Env = append(append(os.Environ(), "NOTIFY_SOCKET="+m.address), env...)
	cmd.Dir = t.TempDir() // where a core would be dumped
	return startCommand(t, program, cmd)
}

// hear waits for a word that begins so.
func (m *manager) hear(t *testing.T, begin string) {
	t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	for {
		n, err := m.conn.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("no %q", begin)
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(b[:n]), begin) {
			return
		}
	}
}

//go:build linux

package container

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

const patience = time.Minute

// TestNetwork: who is plugged into one switch is reached, by name and from aside, and by nobody else.
func TestNetwork(t *testing.T) {
	Need(t)
	hub, place := NewNetwork(t), NewNetwork(t)
	hub.Switch(t, "here")
	hub.IP(t, "addr add 10.1.2.1/24 dev here")
	hub.Plug(t, place, "here", "10.1.2.3/24")
	listening := make(chan struct{})
	if err := place.do(func() error {
		ln, err := net.Listen("tcp4", "10.1.2.3:80")
		if err != nil {
			return err
		}
		t.Cleanup(func() { ln.Close() })
		close(listening)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	<-listening
	conn, err := hub.Dial(t.Context(), "tcp", "10.1.2.3:80")
	if err != nil {
		t.Fatal(err)
	}
	if from := conn.LocalAddr().String(); !strings.HasPrefix(from, "10.1.2.1:") {
		t.Errorf("dialed from %s", from)
	}
	conn.Close()
}

// TestSpec: what a container is given it has, and nothing else.
func TestSpec(t *testing.T) {
	Need(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("given\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := Spec{Root: "/", ReadOnly: true, UID: 65532, GID: 65532, Files: 100, Hosts: "10.1.2.3 somebody\n", Env: []string{"PATH=/usr/bin:/bin"},
		Mounts: []Mount{{Target: "/given", Source: dir, ReadOnly: true}, {Target: "/tmp", Options: "uid=65532,mode=0700,size=64k"}}}
	for _, test := range []struct {
		script string
		code   int
		want   string
	}{
		{"cat /given/file", 0, "given\n"},
		{"echo x > /tmp/x && cat /tmp/x", 0, "x\n"},
		{"dd if=/dev/zero of=/tmp/x bs=1k count=100", 1, "No space left"},
		{"echo x > /given/x", 2, "Read-only file system"},
		{"echo x > /x", 2, "Read-only file system"},
		{"id -u; id -G; echo $$; env", 0, "65532\n65532\n1\nPATH=/usr/bin:/bin\nPWD=/\n"},
		{"ulimit -n; grep -c . /proc/net/dev", 0, "100\n3\n"},
		{"grep Cap /proc/self/status | sort -u -k2 | wc -l; grep NoNewPrivs /proc/self/status", 0, "1\nNoNewPrivs:\t1\n"},
		{"cat /etc/hosts", 0, "127.0.0.1 localhost\n10.1.2.3 somebody\n"},
		{"echo to stderr > /dev/stderr", 0, "to stderr\n"},
		{"exit 7", 7, ""},
	} {
		s.Args = []string{"sh", "-c", test.script}
		if code, out := s.Run(t, patience); code != test.code || !strings.Contains(out, test.want) {
			t.Errorf("%s: code %d, %q\nwant %d, %q", test.script, code, out, test.code, test.want)
		}
	}
	s.Args = []string{"no-such-program"}
	if code, out := s.Run(t, patience); code != noStart || !strings.Contains(out, "nowhere in PATH") {
		t.Errorf("code %d, %s", code, out)
	}
}

// TestThreads: a container lives on when the thread that asked for it has gone.
func TestThreads(t *testing.T) {
	Need(t)
	var p *Process
	if err := aside(func() error {
		s := Spec{Root: "/", Args: []string{"sleep", "3600"}, Env: []string{"PATH=/usr/bin:/bin"}}
		p = s.Start(t)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := aside(func() error { return nil }); err != nil || p.Ended() {
			t.Fatalf("it has ended: %v", err)
		}
	}
	p.Signal(syscall.SIGKILL)
	if code := p.Exit(t, patience); code != -1 {
		t.Errorf("code %d", code)
	}
}

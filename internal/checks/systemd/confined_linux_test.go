package systemd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/checks"
)

// patience bounds every wait for what should take moments.
const patience = time.Minute

// TestConfinedCluster runs three shards and a router as confined as their units say, from founding over
// traffic, a reload and a new start on their data to their drains. A system call that the units do not
// allow ends a node here, with SIGSYS.
func TestConfinedCluster(t *testing.T) {
	w := newWorld(t, checks.Copy(t, dir))
	for _, id := range []string{"s1", "s2", "s3", "r1"} {
		w.start(id)
	}
	for _, id := range []string{"s1", "s2", "s3", "r1"} {
		w.nodes[id].hear("READY=1")
		w.nodes[id].hear("STATUS=ready")
	}
	w.verify()
	for _, id := range []string{"s1", "r1"} {
		n := w.nodes[id]
		n.signal(syscall.SIGHUP)
		n.hear("RELOADING=1")
		n.hear("READY=1")
	}
	w.nodes["s2"].signal(syscall.SIGKILL)
	w.nodes["s2"].exit()
	w.start("s2").hear("STATUS=ready")
	w.verify()
	for _, id := range []string{"r1", "s3"} {
		n := w.nodes[id]
		n.signal(syscall.SIGTERM)
		n.hear("STOPPING=1")
		if state := n.exit(); !state.Success() {
			t.Errorf("%s: %v\n%s", id, state, n.log())
		}
	}
}

// TestTooConfined: what the units say is really tried.
func TestTooConfined(t *testing.T) {
	for _, broken := range []struct{ name, old, broken string }{
		{"no sockets", "SystemCallFilter=~@privileged", "SystemCallFilter=~@network-io @privileged"},
		{"no epoll", "SystemCallFilter=~@privileged", "SystemCallFilter=~@io-event @privileged"},
		{"no fsync for the vote", "SystemCallFilter=~@privileged", "SystemCallFilter=~@sync @privileged"},
		{"no TCP", "AF_INET AF_INET6 AF_UNIX", "AF_UNIX"},
		{"nowhere to write", "StateDirectory=roomring/shard", "StateDirectory="},
	} {
		t.Run(broken.name, func(t *testing.T) {
			at := checks.Copy(t, dir)
			checks.Broken(t, filepath.Join(at, "roomring-shard.service"), broken.old, broken.broken)
			w := newWorld(t, at)
			n := w.start("alone")
			if state := n.exit(); state.Success() || state.ExitCode() == 99 {
				t.Errorf("%v\n%s", state, n.log())
			}
		})
	}
}

// world is nodes that run under their units.
type world struct {
	t     *testing.T
	at    string // where the copied files are
	dir   string
	ports map[string]int
	seeds string
	nodes map[string]*node
}

func newWorld(t *testing.T, at string) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can confine as systemd does")
	}
	dir, err := os.MkdirTemp("", "roomring-") // t.TempDir is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	key, err := exec.Command(program(t, "roomring"), "key").Output()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cluster.key"), key, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, at: at, dir: dir, ports: map[string]int{}, nodes: map[string]*node{}}
	var seeds []string
	for i, id := range []string{"s1", "s2", "s3", "r1", "alone"} {
		w.ports[id] = freePorts(t, 23000+os.Getpid()%500*10+i*4000)
		seeds = append(seeds, fmt.Sprintf("127.0.0.1:%d", w.ports[id]))
	}
	w.seeds = strings.Join(seeds[:3], ",")
	return w
}

// freePorts finds four ports in a row.
func freePorts(t *testing.T, from int) int {
	t.Helper()
	for port := from; port < from+4000; port += 4 {
		free := true
		for p := port; p < port+4; p++ {
			l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", p))
			if free = free && err == nil; err == nil {
				l.Close()
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

// node is one run of a node.
type node struct {
	t    *testing.T
	id   string
	cmd  *exec.Cmd
	conn *net.UnixConn // what it tells systemd
	done chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

// start starts a node with the unit and the configuration of its kind. Flags say what differs from the
// example, which is for several machines.
func (w *world) start(id string) *node {
	w.t.Helper()
	role, port := "shard", w.ports[id]
	if id[0] == 'r' {
		role = "router"
	}
	u := readUnit(w.t, filepath.Join(w.at, "roomring-"+role+".service"))
	state := filepath.Join(w.dir, id)
	if err := os.MkdirAll(state, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chown(state, 65534, 65534); err != nil {
		w.t.Fatal(err)
	}
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", port+i) }
	config := filepath.Join(w.dir, role+".yaml")
	text, err := os.ReadFile(filepath.Join(w.at, role+".yaml"))
	if err == nil {
		err = os.WriteFile(config, text, 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	args := []string{program(w.t, "roomring-"+role), "--config", config, "--cluster-key-file", filepath.Join(w.dir, "cluster.key"),
		"--id", id, "--advertise", "127.0.0.1", "--gossip", address(0), "--link", address(1), "--admin", address(2),
		"--data-dir", filepath.Join(state, "data"), "--join", w.seeds}
	if role == "router" {
		args = append(args, "--listen", address(3), "--drain-time", "1s")
	}
	writes := state
	if u.last("StateDirectory") == "" {
		writes = "/proc/self" // somewhere else
	}
	n := &node{t: w.t, id: id, cmd: confine(w.t, u, writes, args...), done: make(chan struct{})}
	n.listen(filepath.Join(w.dir, id+".notify"))
	n.cmd.Stdout, n.cmd.Stderr = n, n
	if err := n.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(n.done)
		_ = n.cmd.Wait() // its state tells
	}()
	w.t.Cleanup(func() {
		n.signal(syscall.SIGKILL)
		<-n.done
		if w.t.Failed() {
			w.t.Logf("%s:\n%s", id, n.log())
		}
	})
	w.nodes[id] = n
	return n
}

// listen is systemd's socket, where the node may write.
func (n *node) listen(path string) {
	n.t.Helper()
	os.Remove(path) // of an earlier run
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o777)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	n.conn = conn
	n.cmd.Env = append(n.cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=30000000")
}

// hear waits until the node tells what begins so.
func (n *node) hear(begin string) {
	n.t.Helper()
	if err := n.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		n.t.Fatal(err)
	}
	heard := make(chan struct{})
	defer close(heard)
	go func() {
		select {
		case <-n.done: // whoever is dead says nothing more
			_ = n.conn.SetReadDeadline(time.Now().Add(time.Second))
		case <-heard:
		}
	}()
	b := make([]byte, 4096)
	for {
		size, err := n.conn.Read(b)
		if err != nil {
			n.t.Fatalf("%s does not say %s: %v, %v", n.id, begin, err, n.cmd.ProcessState)
		}
		if strings.HasPrefix(string(b[:size]), begin) {
			return
		}
	}
}

func (n *node) signal(s syscall.Signal) { _ = n.cmd.Process.Signal(s) } // it may have ended

func (n *node) exit() *os.ProcessState {
	n.t.Helper()
	select {
	case <-n.done:
	case <-time.After(patience):
		n.t.Fatalf("%s does not end", n.id)
	}
	return n.cmd.ProcessState
}

// Write takes what the node logs.
func (n *node) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.said.Write(b)
}

func (n *node) log() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.said.String()
}

// verify drives the cluster for a moment.
func (w *world) verify() {
	w.t.Helper()
	url := fmt.Sprintf("ws://127.0.0.1:%d/ws", w.ports["r1"]+3)
	out, err := exec.Command(program(w.t, "roomring"), "verify", "--no-progress", "--url", url, "--rooms", "20", "--rate", "400", "--for", "2s", "--quiet", "2s").CombinedOutput()
	if err != nil {
		w.t.Errorf("%v\n%s", err, out)
	}
}

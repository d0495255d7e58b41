package interop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds every wait of these tests: for a message, a close, a process.
const patience = 10 * time.Second

// What TestMain started. Set before the first test, then only read.
var (
	program string    // path of the roomring binary
	routers [2]string // host:port of the two routers' client ports
)

func TestMain(m *testing.M) {
	code, err := withCluster(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

// withCluster builds roomring, runs f while roomring dev serves, and ends it.
func withCluster(f func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "roomring-interop-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "roomring.exe")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..", "cmd", "roomring") // its module is another one than ours
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build roomring: %w\n%s", err, out)
	}
	d, err := startAnywhere()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	return f(), nil
}

// startAnywhere starts roomring dev on free ports. Another program may take one
// of them before dev does: then others are tried.
func startAnywhere() (*dev, error) {
	var failures error
	for range 5 {
		base, err := freeBase()
		if err != nil {
			return nil, err
		}
		d, err := startDev(base)
		if err == nil {
			routers = [2]string{local(base), local(base + 10)}
			return d, nil
		}
		failures = errors.Join(failures, err)
	}
	return nil, failures
}

// freeBase finds a port of which dev's others are free too: the next one, and both ten above.
// It stays below those that systems give out as free ones, of which dev takes many.
func freeBase() (int, error) {
	for range 100 {
		base := 10_000 + rand.IntN(20_000)
		if free(base) && free(base+1) && free(base+10) && free(base+11) {
			return base, nil
		}
	}
	return 0, errors.New("no four free ports, 0, 1, 10 and 11 above one")
}

func free(port int) bool {
	l, err := net.Listen("tcp4", local(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// dev is a running roomring dev.
type dev struct {
	process *os.Process
	ended   chan error // has what Wait said
}

// startDev returns when dev says that everything is up.
func startDev(port int) (*dev, error) {
	cmd := exec.Command(program, "dev", "--port", strconv.Itoa(port))
	cmd.Stderr = os.Stderr
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	d := &dev{cmd.Process, make(chan error, 1)}
	go func() { d.ended <- cmd.Wait() }()
	up := make(chan struct{})
	go awaitBanner(out, up)
	select {
	case <-up:
		return d, nil
	case err := <-d.ended:
		return nil, fmt.Errorf("roomring dev --port %d ended: %w", port, err)
	case <-time.After(patience):
		return nil, errors.Join(fmt.Errorf("roomring dev --port %d is not up after %s", port, patience), d.stop())
	}
}

// awaitBanner closes up at the banner's last line, and reads on so that dev can write.
func awaitBanner(out io.ReadCloser, up chan<- struct{}) {
	defer out.Close()
	for s := bufio.NewScanner(out); s.Scan(); {
		if up != nil && strings.HasPrefix(s.Text(), "Ctrl-C") {
			close(up)
			up = nil
		}
	}
}

// stop ends dev as Ctrl-C does. What does not end by that is killed, and that is an error.
func (d *dev) stop() error {
	if err := d.process.Signal(os.Interrupt); err != nil { // not on Windows
		d.process.Kill()
		<-d.ended
		return nil
	}
	select {
	case err := <-d.ended:
		if err != nil {
			err = fmt.Errorf("roomring dev: %w", err)
		}
		return err
	case <-time.After(patience):
		d.process.Kill()
		<-d.ended
		return fmt.Errorf("roomring dev did not end %s after Ctrl-C", patience)
	}
}

var roomNumber atomic.Uint64

// newRoom names a room that nobody had before.
func newRoom(t testing.TB) string {
	return fmt.Sprintf("%s %d", t.Name(), roomNumber.Add(1))
}

// address is the URL of a room at router i, counted from 0. The query goes behind it as it is.
func address(i int, room, query string) string {
	u := "ws://" + routers[i] + "/ws?room=" + url.QueryEscape(room)
	if query != "" {
		u += "&" + query
	}
	return u
}

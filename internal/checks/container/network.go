//go:build linux

package container

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Network is a network namespace. It has no name: it goes with who uses it.
type Network struct{ file *os.File }

// NewNetwork makes a network with nothing in it but loopback. It ends with the test.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	n := &Network{}
	if err := aside(n.open); err != nil {
		t.Fatalf("make a network: %v", err)
	}
	t.Cleanup(func() { n.file.Close() })
	return n
}

func (n *Network) open() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	n.file = file
	return loopbackUp()
}

// aside runs f on a thread of its own, which ends with it: nobody else gets to be in its network.
func aside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// do runs f in the network.
func (n *Network) do(f func() error) error {
	return aside(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// IP runs ip in the network, with a command line of words.
func (n *Network) IP(t testing.TB, words string) {
	t.Helper()
	err := n.do(func() error {
		out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("ip %s: %v", words, err)
	}
}

// Switch makes a switch: what is plugged in hears all the others that are.
func (n *Network) Switch(t testing.TB, name string) {
	t.Helper()
	n.IP(t, "link add "+name+" type bridge")
	n.IP(t, "link set "+name+" up")
}

// Plug connects other to a switch of this network, with an address such as 10.0.0.2/24. The link has the
// switch's name there. Here its name is a new one.
func (n *Network) Plug(t testing.TB, other *Network, name, address string) {
	t.Helper()
	end := "p" + strings.Map(func(r rune) rune {
		if r == '.' || r == '/' {
			return -1
		}
		return r
	}, address)
	n.IP(t, fmt.Sprintf("link add %s type veth peer name %s netns /proc/%d/fd/%d", end, name, os.Getpid(), other.file.Fd()))
	n.IP(t, "link set "+end+" master "+name+" up")
	other.IP(t, "addr add "+address+" dev "+name)
	other.IP(t, "link set "+name+" up")
}

// Dial connects to an address, as somebody in the network.
func (n *Network) Dial(ctx context.Context, kind, address string) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	err = n.do(func() error {
		conn, err = d.DialContext(ctx, kind, address)
		return err
	})
	return conn, err
}

package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	here  = "10.0.0.1"
	there = "10.0.0.2"
)

// pair returns a connection from here to there.
func pair(t *testing.T, n *Network) (near, far net.Conn) {
	t.Helper()
	l, err := n.Listen(there + ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err = n.Host(here).DialContext(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// run runs a test in a bubble: a goroutine that stays behind fails it.
func run(t *testing.T, f func(t *testing.T, n *Network)) {
	synctest.Test(t, func(t *testing.T) { f(t, New()) })
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v, want %q", b, err, want)
	}
}

func readError(t *testing.T, c net.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("read = %d, %v, want %v", n, err, want)
	}
}

func TestAddressesAreAddresses(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		at, err := netip.ParseAddrPort(far.RemoteAddr().String())
		if err != nil || at.Addr().String() != here || near.LocalAddr().String() != at.String() {
			t.Errorf("remote address %v, %v; dialled from %v", at, err, near.LocalAddr())
		}
	})
}

func TestBothWaysAndHalfClose(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		write(t, near, "ping")
		near.(*Conn).CloseWrite()
		read(t, far, "ping")
		readError(t, far, io.EOF)
		write(t, far, "pong")
		far.Close()
		read(t, near, "pong")
		readError(t, near, io.EOF)
		if _, err := near.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after CloseWrite = %v", err)
		}
		readError(t, far, net.ErrClosed)
	})
}

func TestPeerClosedAnswersWithEPIPE(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		far.Close()
		if _, err := near.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write = %v", err)
		}
	})
}

func TestAFullBufferStopsTheWriter(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		near.SetWriteDeadline(time.Now().Add(time.Second))
		got, err := near.Write(make([]byte, capacity+1))
		if got != capacity || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("write = %d, %v", got, err)
		}
		near.SetWriteDeadline(time.Time{})
		go near.Write([]byte("z"))
		read(t, far, string(make([]byte, capacity))+"z")
	})
}

func TestReadDeadlineWakesTheReader(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, _ := pair(t, n)
		time.AfterFunc(time.Minute, func() { near.SetReadDeadline(time.Now()) })
		readError(t, near, os.ErrDeadlineExceeded)
	})
}

func TestDelayKeepsOrderAndTakesItsTime(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		start := time.Now()
		n.Delay(here, there, 80*time.Millisecond)
		write(t, near, "slow ")
		n.Delay(here, there, 0)
		write(t, near, "fast")
		near.Close()
		read(t, far, "slow fast")
		readError(t, far, io.EOF)
		if took := time.Since(start); took != 80*time.Millisecond {
			t.Errorf("took %v", took)
		}
		n.Delay(there, here, 20*time.Millisecond)
		start = time.Now()
		pair(t, n)
		if took := time.Since(start); took != 20*time.Millisecond {
			t.Errorf("connecting took %v", took)
		}
	})
}

func TestACutHoldsBytesUntilItHeals(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		n.Cut(here, there)
		write(t, near, "held")
		write(t, far, "the other way goes")
		read(t, near, "the other way goes")
		far.SetReadDeadline(time.Now().Add(time.Hour))
		readError(t, far, os.ErrDeadlineExceeded)
		far.SetReadDeadline(time.Time{})

		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		l, _ := n.Listen(there + ":7400")
		defer l.Close()
		if _, err := n.Host(here).DialContext(ctx, there+":7400"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial over a cut = %v", err)
		}
		time.AfterFunc(time.Hour, func() { n.Heal(here, there) })
		read(t, far, "held")
	})
}

func TestACutHidesAClosedPeer(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		n.Cut(there, here)
		far.Close()
		write(t, near, "into the void")
		near.SetReadDeadline(time.Now().Add(time.Hour))
		readError(t, near, os.ErrDeadlineExceeded)
		near.SetReadDeadline(time.Time{})
		n.Heal(there, here)
		readError(t, near, io.EOF)
	})
}

func TestBreakResetsAllOfAPairAndNoOther(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		l, _ := n.Listen("10.0.0.3:80")
		defer l.Close()
		other, err := n.Host(here).DialContext(t.Context(), "10.0.0.3:80")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		write(t, near, "lost")
		time.AfterFunc(time.Second, func() { n.Break(there, here) })
		readError(t, near, syscall.ECONNRESET)
		readError(t, far, syscall.ECONNRESET)
		write(t, other, "still here")
	})
}

func TestNobodyListens(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		if _, err := n.DialContext(t.Context(), "10.0.0.9:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial = %v", err)
		}
		l, _ := n.Listen("10.0.0.9:1")
		if _, err := n.Listen("10.0.0.9:1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listen = %v", err)
		}
		c, err := n.DialContext(t.Context(), "10.0.0.9:1")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		readError(t, c, syscall.ECONNRESET)
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept = %v", err)
		}
	})
}

func TestConnectionsAreForgotten(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		for range 10 {
			near, far := pair(t, n)
			near.Close()
			far.Close()
		}
		for d, r := range n.routes {
			if len(r.pipes) != 0 {
				t.Errorf("%v keeps %d pipes", d, len(r.pipes))
			}
		}
	})
}

func TestManyBytesThroughSmallBuffer(t *testing.T) {
	run(t, func(t *testing.T, n *Network) {
		near, far := pair(t, n)
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		go func() {
			near.Write(sent)
			near.Close()
		}()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	})
}

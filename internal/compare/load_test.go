//go:build linux

package main

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func command(t *testing.T, program string, args ...string) ([]byte, error) {
	t.Helper()
	return exec.CommandContext(t.Context(), program, args...).CombinedOutput()
}

func TestFramesAreThoseOfTheStandard(t *testing.T) {
	for _, size := range []int{0, 5, 125, 126, messageSize, 65_535} {
		payload := bytes.Repeat([]byte{'p'}, size)
		sent := bytes.NewReader(appendMasked(nil, opBinary, payload))
		head, err := ws.ReadHeader(sent)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(sent) // from memory
		ws.Cipher(body, head.Mask, 0)
		if !head.Fin || !head.Masked || head.OpCode != ws.OpBinary || head.Length != int64(size) || !bytes.Equal(body, payload) {
			t.Errorf("%d bytes are sent as %+v", size, head)
		}
		whole := ws.MustCompileFrame(ws.NewTextFrame(payload))
		op, got, n, err := readFrame(append(whole, "behind"...))
		if err != nil || op != byte(ws.OpText) || n != len(whole) || !bytes.Equal(got, payload) {
			t.Errorf("%d bytes are read as %d, op %d, size %d, %v", size, len(got), op, n, err)
		}
		for cut := range min(len(whole), 200) {
			if _, _, n, err := readFrame(whole[:cut]); n != 0 || err != nil {
				t.Errorf("%d of %d bytes are taken for a whole frame: %d, %v", cut, len(whole), n, err)
			}
		}
	}
	for _, bad := range []string{"\x02\x01a", "\xc2\x01a", "\x82\x81aaaaa", "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"} {
		if _, _, _, err := readFrame([]byte(bad)); err == nil {
			t.Errorf("% x is read as a frame", bad)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("\x82\x01a"))
	f.Add([]byte("\x82\x7e\x00\x80"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, payload, size, err := readFrame(b)
		if size < 0 || size > len(b) || len(payload) > size || err != nil && size != 0 {
			t.Errorf("size %d, payload %d of %d bytes, %v", size, len(payload), len(b), err)
		}
	})
}

// TestFaultsAreSeen feeds a member what a faulty server would send.
func TestFaultsAreSeen(t *testing.T) {
	sc := scenario{rooms: 2, members: 2, publishers: 2}
	for name, c := range map[string]struct {
		numbers []uint32
		room    uint32
		faults  uint64
	}{
		"whole":     {numbers: []uint32{0, 1, 2}},
		"lost":      {numbers: []uint32{0, 2, 3}, faults: 1},
		"doubled":   {numbers: []uint32{0, 0}, faults: 1},
		"reordered": {numbers: []uint32{1, 0}, faults: 2},
		"foreign":   {numbers: []uint32{0}, room: 1, faults: 1},
	} {
		l, err := newLoad(netip.AddrPort{}, "", &sc)
		if err != nil {
			t.Fatal(err)
		}
		message := make([]byte, messageSize)
		for _, n := range c.numbers {
			s := stamp{run: l.run, room: c.room, publisher: 1, number: n}
			s.put(message)
			l.receive(l.clients[0], message)
		}
		l.receive(l.clients[1], message[:10])
		if want := c.faults + 1; l.faults != want {
			t.Errorf("%s: %d faults, want %d with the short message", name, l.faults, want)
		}
		l.close()
	}
}

func TestStampsSurvive(t *testing.T) {
	want := stamp{run: 1 << 31, room: 2, publisher: 3, number: 4, due: 1 << 60}
	b := make([]byte, stampSize)
	want.put(b)
	if got := readStamp(b); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestMissingIsCounted loads a server that keeps every tenth message to itself.
func TestMissingIsCounted(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go serveLossy(listener)
	times := quick()
	times.quiet = 200 * time.Millisecond
	m := measureWithin(t, &group{}, listener.Addr().(*net.TCPAddr).Port, scenario{rooms: 1, members: 3, publishers: 1, rate: 1500}, times)
	if m.Missing == 0 || m.Faults == 0 || m.good() {
		t.Errorf("%+v, want messages that are missing and some that are not next", m)
	}
}

// serveLossy has one room, until the listener is closed.
func serveLossy(listener net.Listener) {
	var (
		mu      sync.Mutex
		members []net.Conn
		count   int
	)
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		if _, err := ws.Upgrade(c); err != nil {
			return
		}
		mu.Lock()
		members = append(members, c)
		mu.Unlock()
		go func() {
			defer c.Close()
			for {
				message, op, err := wsutil.ReadClientData(c)
				if err != nil {
					return
				}
				mu.Lock()
				if count++; count%10 != 0 {
					for _, m := range members {
						_ = wsutil.WriteServerMessage(m, op, message) // it may have left
					}
				}
				mu.Unlock()
			}
		}()
	}
}

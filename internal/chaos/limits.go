//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The flood: more conns than the router can have.
const (
	fewDescriptors = 256
	floodConns     = 400
	floodAnswer    = 20 * time.Second // until each handshake must be answered, on a busy machine
)

// playDescriptors floods a router that may have 256 descriptors. Who finds no room is told so at once,
// who is in stays in, and the node stays a part of the cluster.
func playDescriptors(s *stage, _ event) error {
	if err := s.step(exhausted, 0, "r3 joins with %d descriptors", fewDescriptors); err != nil {
		return err
	}
	node := s.cluster.command("r3")
	shell := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, fewDescriptors)}, node.Args...)...)
	r3, err := s.cluster.startCommand("r3", shell)
	if err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	if err := s.step(exhausted, 0, "%d conns at r3", floodConns); err != nil {
		return err
	}
	f := newFlood(r3.listen)
	defer f.close()
	in, refused, other := f.count()
	s.say("   %d conns got in, %d were answered 503", in, refused)
	if in < fewDescriptors/2 || refused == 0 || len(other) > 0 {
		s.fail("of %d conns at a router with %d descriptors %d got in and %d were answered 503; %d others: %q",
			floodConns, fewDescriptors, in, refused, len(other), other[:min(3, len(other))])
	}
	for range 10 {
		if status, _, err := r3.ask("/healthz"); err != nil || status != http.StatusOK {
			s.fail("the flooded router's admin port: status %d, %v", status, err)
		}
	}
	if err := f.talk(); err != nil {
		s.fail("those who got in: %v", err)
	}
	if err := s.settle(); err != nil { // links live, else it would not be
		return err
	}
	f.close()
	err = s.cluster.until("the flooded router takes new conns", noticeWithin, func() string {
		one := newFloodConn(r3.listen)
		defer one.close()
		return one.complaint()
	})
	if err != nil {
		return err
	}
	return s.drain(exhausted, "r3")
}

// flood is many conns in one room.
type flood struct{ conns []*floodConn }

type floodConn struct {
	conn   net.Conn
	r      *bufio.Reader
	status int  // of the handshake
	retry  bool // Retry-After was there
	err    error
}

func newFlood(address string) *flood {
	f := &flood{conns: make([]*floodConn, floodConns)}
	var all sync.WaitGroup
	for i := range f.conns {
		all.Go(func() { f.conns[i] = newFloodConn(address) })
	}
	all.Wait()
	return f
}

// newFloodConn dials and does a handshake, for which it waits.
func newFloodConn(address string) *floodConn {
	c := &floodConn{}
	if c.conn, c.err = net.DialTimeout("tcp", address, floodAnswer); c.err != nil {
		return c
	}
	c.conn.SetDeadline(time.Now().Add(floodAnswer))
	io.WriteString(c.conn, "GET /ws?room=flood HTTP/1.1\r\nHost: "+address+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	c.r = bufio.NewReader(c.conn)
	answer, err := http.ReadResponse(c.r, nil)
	if c.err = err; err == nil {
		c.status, c.retry = answer.StatusCode, answer.Header.Get("Retry-After") != ""
	}
	return c
}

func (c *floodConn) in() bool { return c.err == nil && c.status == http.StatusSwitchingProtocols }

// complaint is "" for a conn that got in.
func (c *floodConn) complaint() string {
	switch {
	case c.err != nil:
		return c.err.Error()
	case !c.in():
		return fmt.Sprintf("status %d", c.status)
	}
	return ""
}

func (c *floodConn) close() {
	if c.conn != nil {
		c.conn.Close()
	}
}

// count says how the conns fared. Others should not be: who waits in vain, or is hung up on.
func (f *flood) count() (in, refused int, other []string) {
	for _, c := range f.conns {
		switch {
		case c.in():
			in++
		case c.err == nil && c.status == http.StatusServiceUnavailable && c.retry:
			refused++
		default:
			other = append(other, c.complaint())
		}
	}
	return in, refused, other
}

// talk has one conn of those who got in say something, and all of them hear it.
func (f *flood) talk() error {
	const hello = "\x81\x85\x00\x00\x00\x00hello" // a masked text frame, the mask being zeros
	said := false
	for _, c := range f.conns {
		if !c.in() {
			continue
		}
		c.conn.SetDeadline(time.Now().Add(floodAnswer))
		if !said {
			if _, err := io.WriteString(c.conn, hello); err != nil {
				return err
			}
			said = true
		}
	}
	for _, c := range f.conns {
		if !c.in() {
			continue
		}
		heard := make([]byte, len("\x81\x05hello"))
		if err := c.skipPings(); err != nil {
			return err
		}
		if _, err := io.ReadFull(c.r, heard); err != nil {
			return err
		}
		if string(heard) != "\x81\x05hello" {
			return fmt.Errorf("heard %q", heard)
		}
	}
	return nil
}

// skipPings reads the pings that are next: on a busy machine a conn may be old enough for one.
func (c *floodConn) skipPings() error {
	for {
		next, err := c.r.Peek(2)
		if err != nil || string(next) != "\x89\x00" {
			return err
		}
		c.r.Discard(len(next))
	}
}

func (f *flood) close() {
	for _, c := range f.conns {
		c.close()
	}
}

// diskSize is of every node's --data-dir in rounds in which one will be full.
const diskSize = "24m"

// mountDisks gives each node a small disk.
func (s *stage) mountDisks() error {
	for id := range placeOf {
		dir := s.cluster.dataDir(id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+diskSize); err != nil {
			return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
		}
	}
	return nil
}

// unmountDisks takes the small disks away, in the end of the round.
func (s *stage) unmountDisks() {
	for id := range placeOf {
		syscall.Unmount(s.cluster.dataDir(id), syscall.MNT_DETACH)
	}
}

// playFullDisk fills a voter's disk and has the Table change. The voter says that it cannot take part,
// and stays a part of the cluster; the others go on without its vote. With room on the disk, it votes
// again.
func playFullDisk(s *stage, e event) error {
	id := e.nodes[0]
	n := s.cluster.nodes[id]
	if err := s.step(exhausted, 0, "the disk of %s is full", id); err != nil {
		return err
	}
	filler := filepath.Join(s.cluster.dataDir(id), "filler")
	if err := fill(filler); err != nil {
		return err
	}
	// Another shard leaves and comes back: the Table changes thousands of times.
	other := shards[0]
	if other == id {
		other = shards[1]
	}
	if err := s.replace(other, exhausted, exhausted); err != nil {
		return err
	}
	err := s.cluster.until(id+" says that its disk is full", noticeWithin, func() string {
		text, err := os.ReadFile(n.log)
		if err == nil && !strings.Contains(string(text), "no space left on device") {
			err = errors.New("its log does not mention it")
		}
		if err != nil {
			return err.Error()
		}
		return ""
	})
	if err != nil {
		return err
	}
	if err := s.step(exhausted, 0, "the disk of %s has room", id); err != nil {
		return err
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	return s.replace(other, exhausted, exhausted)
}

// fill writes a file until the disk is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	for size := len(b); size > 0; size /= 2 { // to the last page
		for err == nil {
			_, err = f.Write(b[:size])
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("fill a disk: %w", err)
		}
		err = nil
	}
	return nil
}

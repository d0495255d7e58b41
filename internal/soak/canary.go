package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// canary is how late this process is at reading what lies in its sockets. A router closes a conn that
// does not answer a ping in time: when that happens, it must be known which of the two had no time.
//
// Times go over a conn to ourselves; each says when it should have been written.
type canary struct {
	began time.Time

	mu   sync.Mutex // guards what is below
	read time.Time  // the last time that came
	late []lateness // by time, of the last keepLate
}

type lateness struct {
	at time.Time
	by time.Duration
}

const (
	canaryPace = 100 * time.Millisecond
	keepLate   = 2 * time.Minute // what a stall did to others may show much later

	// A router waits 8 s for the answer to a ping. It may have been held up itself for 2 s without noticing,
	// and rounds. Who is less late than the rest did answer in time.
	tooLate = 5 * time.Second
)

// newCanary measures until ctx ends. The caller waits for group.
func newCanary(ctx context.Context, group *sync.WaitGroup) (*canary, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	in, err := l.Accept()
	if err != nil {
		out.Close()
		return nil, err
	}
	now := time.Now()
	c := &canary{began: now, read: now}
	group.Go(func() {
		defer out.Close()
		c.write(ctx, out)
	})
	group.Go(func() {
		defer in.Close()
		c.listen(in)
	})
	return c, nil
}

// write writes what is due. It is behind when the process is.
func (c *canary) write(ctx context.Context, out io.Writer) {
	for n := time.Duration(1); ; n++ {
		due := n * canaryPace
		if pause(ctx, due-time.Since(c.began)); ctx.Err() != nil {
			return
		}
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(due))
		if _, err := out.Write(b[:]); err != nil {
			return
		}
	}
}

func (c *canary) listen(in io.Reader) {
	var b [8]byte
	for {
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return
		}
		c.came(c.began.Add(time.Duration(binary.BigEndian.Uint64(b[:]))), time.Now())
	}
}

// came notes a time that was due and came now.
func (c *canary) came(due, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = due
	for len(c.late) > 0 && now.Sub(c.late[0].at) > keepLate {
		c.late = c.late[1:]
	}
	c.late = append(c.late, lateness{now, now.Sub(due)})
}

// worst is how late this process was, within the last keepLate.
func (c *canary) worst(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := now.Sub(c.read) - canaryPace // of what is under way
	for _, l := range c.late {
		if now.Sub(l.at) <= keepLate {
			most = max(most, l.by)
		}
	}
	return most
}

//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomring/roomring/internal/loadgen"
)

const (
	dialing       = 64   // handshakes under way at once
	perSource     = 5000 // clients with one address of their own: ports are few
	writePatience = 30 * time.Second
	messageSize   = 128
)

// clients are conns that answer pings and count what comes.
type clients struct {
	mu      sync.Mutex
	open    []*client
	readers sync.WaitGroup

	came   atomic.Int64 // messages
	closed atomic.Int64 // conns that ended though nobody closed them
}

// client is one of them.
type client struct {
	all  *clients
	conn *loadgen.Conn
}

func (c *client) Begin() {}
func (c *client) End()   {}

// Message counts what came.
func (c *client) Message(bool, []byte) { c.all.came.Add(1) }

// Ping answers.
func (c *client) Ping(payload []byte) error {
	return c.conn.Write(c.conn.AppendPong(nil, payload), writePatience)
}

// sources hands out addresses of this machine, so that no two measurements share ports.
type sources struct{ next int }

func (s *sources) take() net.IP {
	s.next++
	return net.IPv4(127, 0, byte(1+s.next/200%200), byte(2+s.next%200))
}

// target is where clients go, and how.
type target struct {
	address string
	tls     *tls.Config // if nil, plain
}

func (t *target) url(room string) string {
	scheme := "ws"
	if t.tls != nil {
		scheme = "wss"
	}
	return scheme + "://" + t.address + "/ws?room=" + room
}

// dial opens a conn that leaves nothing behind: the kernel forgets it at once when it is closed, or the next
// measurement would find the rests of this one.
func (t *target) dial(ctx context.Context, from net.IP, room string) (*loadgen.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	d := loadgen.Dialer{TLS: t.tls, Mask: [4]byte{0x3d, 0xa1, 0x7c, 0x95},
		Net: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if tcp, ok := c.(*net.TCPConn); ok {
				err = tcp.SetLinger(0)
			}
			return c, err
		}}
	return d.Dial(ctx, t.url(room))
}

// join opens conns: members of each of so many rooms, in turn.
func (all *clients) join(ctx context.Context, t *target, from *sources, rooms, members int) error {
	var address net.IP
	return spread(rooms*members, func(i int) {
		if i%perSource == 0 {
			address = from.take()
		}
	}, func(i int) error { return all.add(ctx, t, address, fmt.Sprintf("sizing-%d", i/members)) })
}

func (all *clients) add(ctx context.Context, t *target, from net.IP, room string) error {
	conn, err := t.dial(ctx, from, room)
	if err != nil {
		return err
	}
	c := &client{all, conn}
	all.mu.Lock()
	all.open = append(all.open, c)
	all.mu.Unlock()
	all.readers.Go(func() {
		if err := conn.Read(c); err != nil {
			all.closed.Add(1)
		}
	})
	return nil
}

// close ends all conns and waits until nobody reads any more.
func (all *clients) close() {
	for _, c := range all.open {
		c.conn.Close()
	}
	all.readers.Wait()
}

// say lets one client of every so many publish a message, and waits until everybody who should has heard.
func (all *clients) say(ctx context.Context, every, heardBy int) error {
	want := all.came.Load()
	for i := 0; i < len(all.open); i += every {
		c := all.open[i]
		if err := c.conn.Write(c.conn.AppendMessage(nil, false, payload(messageSize)), writePatience); err != nil {
			return err
		}
		want += int64(heardBy)
	}
	return await(ctx, &all.came, want)
}

func payload(size int) []byte { return []byte(strings.Repeat("x", size)) }

func await(ctx context.Context, count *atomic.Int64, want int64) error {
	if err := every(ctx, func() (bool, error) { return count.Load() >= want, nil }); err != nil {
		return fmt.Errorf("%d messages of %d came: %w", count.Load(), want, err)
	}
	return nil
}

// fill makes rooms that nobody is in, with so many messages each.
func fill(ctx context.Context, t *target, from *sources, rooms, messages, size int) error {
	var address net.IP
	return spread(rooms, func(i int) {
		if i%perSource == 0 {
			address = from.take()
		}
	}, func(i int) error { return fillOne(ctx, t, address, fmt.Sprintf("sizing-%d", i), messages, size) })
}

func fillOne(ctx context.Context, t *target, from net.IP, room string, messages, size int) error {
	all := new(clients)
	if err := all.add(ctx, t, from, room); err != nil {
		return err
	}
	defer all.close()
	c := all.open[0].conn
	b, text := []byte(nil), payload(size)
	for range messages {
		if b = c.AppendMessage(b, false, text); len(b) > 32<<10 {
			if err := c.Write(b, writePatience); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	if err := c.Write(b, writePatience); err != nil {
		return err
	}
	return await(ctx, &all.came, int64(messages))
}

// spread calls f for each number below n, on as many goroutines as may dial at once, and before it first,
// in order. The first error ends it.
func spread(n int, before func(int), f func(int) error) error {
	var working sync.WaitGroup
	free, failed := make(chan struct{}, dialing), make(chan error, 1)
	for i := range n {
		if i%perSource == 0 {
			working.Wait() // those under way read what before changes
		}
		before(i)
		free <- struct{}{}
		if len(failed) > 0 {
			break
		}
		working.Go(func() {
			defer func() { <-free }()
			if err := f(i); err != nil {
				select {
				case failed <- err:
				default: // the first one is enough
				}
			}
		})
	}
	working.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

package router

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// There may be a million of them: DESIGN.md allows 1 KiB for everything that an
// idle connection needs.
func TestConnIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 256 {
		t.Errorf("a conn takes %d bytes, at most 256 are allowed", size)
	}
}

func TestConnOfItsMember(t *testing.T) {
	c := new(conn)
	if connOf(&c.member) != c {
		t.Error("member is not the first field of conn")
	}
}

func TestWheelLooksAtEachOnceAndInTime(t *testing.T) {
	w := new(wheel)
	now := time.Now()
	w.start(now)
	w.advance(now, nil)
	var conns []*conn
	at := map[*conn]time.Time{}
	for i := range 400 {
		c := new(conn)
		conns = append(conns, c)
		w.set(c, time.Duration(i)*73*time.Millisecond)
	}
	w.set(conns[7], time.Minute)           // later than was said first
	w.set(conns[300], time.Second)         // sooner
	w.set(conns[9], 7*73*time.Millisecond) // and back to nearly the same
	w.set(conns[11], time.Hour)            // as far as it reaches
	conns[13].due = 0                      // given up
	began := now
	for range 200 * 20 {
		now = now.Add(50 * time.Millisecond)
		w.advance(now, func(c *conn) {
			if c.due != 0 || !at[c].IsZero() {
				t.Error("looked at twice")
			}
			at[c] = now
		})
	}
	for i, c := range conns {
		want := time.Duration(i) * 73 * time.Millisecond
		switch i {
		case 7:
			want = time.Minute
		case 300:
			want = time.Second
		case 9:
			want = 7 * 73 * time.Millisecond
		case 11:
			want = (wheelSlots - 1) * wheelTick
		case 13:
			if !at[c].IsZero() {
				t.Error("looked at what was given up")
			}
			continue
		}
		if took := at[c].Sub(began); took < want-wheelTick || took > want+2*wheelTick {
			t.Errorf("conn %d was looked at after %v, want %v", i, took, want)
		}
	}
}

// A loop that was held up judges nobody by the time that it missed.
func TestWheelForgivesItsOwnDelay(t *testing.T) {
	w := new(wheel)
	now := time.Now()
	w.start(now)
	w.advance(now, nil)
	c := new(conn)
	w.set(c, 8*time.Second)
	looks := 0
	look := func(*conn) { looks++ }
	now = now.Add(time.Minute)
	w.advance(now, look)
	if looks != 0 {
		t.Error("looked at right after a minute's stop")
	}
	for range 30 {
		now = now.Add(wheelTick)
		w.advance(now, look)
	}
	if looks != 0 {
		t.Error("looked at before its time")
	}
	now = now.Add(2 * wheelTick)
	if w.advance(now, look); looks != 1 {
		t.Errorf("looked at %d times", looks)
	}
}

func TestAddressesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := addresses{limit: 2, rate: 1000}
		ip := func(i int) netip.Addr {
			return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		}
		stays := netip.MustParseAddr("192.0.2.1")
		a.enter(stays)
		a.enter(stays)
		for i := range 5 * maxAddresses {
			if err := a.enter(ip(i)); err != nil {
				t.Fatal(err)
			}
			a.leave(ip(i))
		}
		if len(a.seen) > maxAddresses {
			t.Errorf("%d addresses are remembered", len(a.seen))
		}
		if a.enter(stays) == nil {
			t.Error("one with conns was forgotten")
		}
	})
}

// Looking for room must not cost more the more addresses have conns.
func TestManyAddressesStayCheap(t *testing.T) {
	a := addresses{limit: 1}
	looks := 0
	for i := range 3 * maxAddresses {
		before := a.crowd
		a.enter(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		if a.crowd != before {
			looks++
		}
	}
	if looks > 2 {
		t.Errorf("looked through all addresses %d times", looks)
	}
}

package poll

import (
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestListenAndStop(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ln, dial := b.listen(t)
		r := b.start(t, Config{})
		accepted := make(chan Socket, 8)
		r.do(func() {
			if err := r.loop.Listen(ln, func(s Socket) { accepted <- s }); err != nil {
				t.Fatal(err)
			}
			if err := r.loop.Listen(ln, nil); err == nil {
				t.Error("listens twice")
			}
		})
		for range 3 {
			far, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			s := await(t, accepted)
			if got, want := s.RemoteAddr().String(), far.LocalAddr().String(); got != want {
				t.Errorf("accepted %s, want %s", got, want)
			}
			s.Close()
			far.Close()
		}
		r.do(r.loop.StopListening)
		r.do(r.loop.StopListening)
		if far, err := dial(); err == nil { // the kernel may take it; we do not
			defer far.Close()
		}
		r.do(func() {})
		if len(accepted) != 0 {
			t.Error("accepted after StopListening")
		}
	})
}

// The owner closes the listener while the loop waits for it.
func TestListenerClosed(t *testing.T) {
	each(t, func(t *testing.T, b backend) {
		ln, _ := b.listen(t)
		r := b.start(t, Config{AcceptFailed: func(err error, _ time.Duration) { t.Errorf("failed: %v", err) }})
		r.do(func() {
			if err := r.loop.Listen(ln, func(s Socket) { s.Close() }); err != nil {
				t.Fatal(err)
			}
		})
		ln.Close()
		r.do(r.loop.StopListening)
	})
}

// flaky is a listener that fails as long as it has errors left.
type flaky struct {
	errs   atomic.Int32
	conns  chan net.Conn
	closed chan struct{}
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.errs.Add(-1) >= 0 {
		return nil, errInjected
	}
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}
func (f *flaky) Close() error   { close(f.closed); return nil }
func (f *flaky) Addr() net.Addr { return &net.TCPAddr{} }

func TestAcceptBacksOffUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		r := start(t, Config{Portable: true, AcceptFailed: func(err error, d time.Duration) {
			if !errors.Is(err, errInjected) {
				t.Errorf("failed: %v", err)
			}
			waits = append(waits, d)
		}})
		ln := &flaky{conns: make(chan net.Conn), closed: make(chan struct{})}
		ln.errs.Store(10)
		accepted := make(chan Socket, 1)
		begin := time.Now()
		r.do(func() { r.loop.Listen(ln, func(s Socket) { accepted <- s }) })
		near, far := net.Pipe()
		defer far.Close()
		ln.conns <- near
		s := <-accepted
		defer s.Close()
		var sum time.Duration
		for _, d := range waits {
			sum += d
		}
		if took := time.Since(begin); took != sum || len(waits) != 10 ||
			!slices.IsSorted(waits) || waits[0] != 5*time.Millisecond || waits[9] != time.Second {
			t.Errorf("%v: waited %v", took, waits)
		}
	})
}

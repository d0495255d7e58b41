package node

import "sync"

// bell tells many that something is new. Who is slow is told once, however often
// it rang. The zero bell has no listeners.
type bell struct {
	mu        sync.Mutex // guards what is below
	listeners map[chan struct{}]struct{}
}

// listen returns a channel that receives a value after the bell rang, and a
// function that ends it.
func (b *bell) listen() (rang <-chan struct{}, stop func()) {
	l := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners == nil {
		b.listeners = map[chan struct{}]struct{}{}
	}
	b.listeners[l] = struct{}{}
	return l, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, l)
	}
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.listeners {
		select {
		case l <- struct{}{}:
		default:
		}
	}
}

// heard reports whether anybody listens.
func (b *bell) heard() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.listeners) > 0
}

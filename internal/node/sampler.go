package node

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/roomring/roomring/admin"
)

// sampleEvery is how often all nodes are asked for their figures while somebody
// watches.
const sampleEvery = time.Second

// sampler asks all nodes for their figures once a second, for all who watch:
// however many they are, a node is asked once. While nobody watches it asks
// nobody.
type sampler struct {
	ask  func(context.Context) admin.NodesDocument
	news bell          // rings when last is another one
	wake chan struct{} // one slot: somebody began to watch

	last atomic.Pointer[admin.NodesDocument] // nil while nobody watches
}

func newSampler(ask func(context.Context) admin.NodesDocument) *sampler {
	return &sampler{ask: ask, wake: make(chan struct{}, 1)}
}

// run samples until ctx ends.
func (s *sampler) run(ctx context.Context) error {
	for {
		select {
		case <-s.wake:
			s.sample(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// sample goes on while somebody watches.
func (s *sampler) sample(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	defer s.last.Store(nil)
	for s.news.heard() && ctx.Err() == nil {
		doc := s.ask(ctx)
		s.last.Store(&doc)
		s.news.ring()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// watch returns a channel that receives a value when latest has a new document,
// and a function that ends it.
func (s *sampler) watch() (news <-chan struct{}, stop func()) {
	news, stop = s.news.listen()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return news, stop
}

// latest is the last document, nil before the first; it must not be changed.
func (s *sampler) latest() *admin.NodesDocument { return s.last.Load() }

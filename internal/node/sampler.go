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

	last atomic.Pointer[sample] // nil before the first
}

// sample is what all nodes told at a time.
type sample struct {
	doc admin.NodesDocument
	at  time.Time // when they were asked
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

// sample goes on while somebody watches. Who comes right after somebody went does
// not have nodes asked sooner.
func (s *sampler) sample(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	if last := s.last.Load(); last != nil {
		next.Reset(max(0, sampleEvery-time.Since(last.at)))
	}
	for {
		select {
		case <-next.C:
		case <-ctx.Done():
			return
		}
		if !s.news.heard() {
			return
		}
		at := time.Now()
		s.last.Store(&sample{s.ask(ctx), at})
		s.news.ring()
		next.Reset(max(0, sampleEvery-time.Since(at)))
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

// latest is the last document, nil when there is none that is fresh; it must not
// be changed.
func (s *sampler) latest() *admin.NodesDocument {
	last := s.last.Load()
	if last == nil || time.Since(last.at) > 2*sampleEvery {
		return nil
	}
	return &last.doc
}

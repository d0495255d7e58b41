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
	doc   admin.NodesDocument
	asked time.Time // when they were asked
	told  time.Time // when the last of them had answered, or was not waited for
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
		next.Reset(max(0, sampleEvery-time.Since(last.asked)))
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
		asked := time.Now()
		doc := s.ask(ctx)
		s.last.Store(&sample{doc, asked, time.Now()})
		s.news.ring()
		next.Reset(max(0, sampleEvery-time.Since(asked)))
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

// latest is the last document, nil when it is not of this second: another one is
// on its way then. It must not be changed.
func (s *sampler) latest() *admin.NodesDocument {
	last := s.last.Load()
	if last == nil || time.Since(last.told) > sampleEvery {
		return nil
	}
	return &last.doc
}

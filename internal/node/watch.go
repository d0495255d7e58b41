package node

import (
	"context"
	"time"

	"github.com/roomring/roomring/admin"
)

// changeEvery is the least time between two changes of the ring that a stream
// tells. A join has hundreds of Tables: who watches sees where things are ten
// times a second.
const changeEvery = 100 * time.Millisecond

// Watch is /v1/events. Nothing queues for a reader: what it has not been told
// is the difference of two values, however long that takes.
func (s *source) Watch(ctx context.Context, onlyFeed bool, tell func(admin.Event) error) error {
	w := &watcher{node: (*Node)(s), tell: tell}
	noted, deaf := w.node.chronicle.news.listen()
	defer deaf()
	if onlyFeed {
		return w.run(ctx, noted, nil, nil)
	}
	changed, stop := w.node.cluster.Watch()
	defer stop()
	sampled, leave := w.node.sampler.watch()
	defer leave()
	w.shown = w.node.picture()
	if err := tell(admin.Event{Name: admin.EventRing, Data: w.shown.event}); err != nil {
		return err
	}
	return w.run(ctx, noted, changed, sampled)
}

// watcher is one reader of /v1/events.
type watcher struct {
	node *Node
	tell func(admin.Event) error

	shown   *picture // the last one that it was told
	sampled *admin.NodesDocument
	read    uint64 // of the feed, by Seq
	begun   bool   // it was told what the feed had when it came
}

// run tells what is new until ctx ends. Channels that are nil never have news.
func (w *watcher) run(ctx context.Context, noted, changed, sampled <-chan struct{}) error {
	pace := time.NewTimer(0)
	defer pace.Stop()
	<-pace.C
	last, waits := time.Now(), false // when a change was told, and whether the next one waits for its time
	err := w.tellFeed()
	if err == nil && sampled != nil {
		err = w.tellNodes() // of another stream's asking
	}
	for err == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-noted:
			err = w.tellFeed()
		case <-sampled:
			err = w.tellNodes()
		case <-changed:
			if !waits {
				waits = true
				pace.Reset(max(0, changeEvery-time.Since(last)))
			}
		case <-pace.C:
			waits = false
			err = w.tellChange()
			last = time.Now()
		}
	}
	return err
}

// tellChange tells what has changed since the last time, if that shows.
func (w *watcher) tellChange() error {
	now := w.node.picture()
	if now == w.shown {
		return nil
	}
	change := now.since(w.shown)
	w.shown = now
	return w.tell(admin.Event{Name: admin.EventChange, Data: change})
}

// tellNodes tells the last figures of all nodes, once.
func (w *watcher) tellNodes() error {
	now := w.node.sampler.latest()
	if now == nil || now == w.sampled {
		return nil
	}
	w.sampled = now
	return w.tell(admin.Event{Name: admin.EventNodes, Data: *now})
}

// tellFeed tells what the feed has that it was not told yet.
func (w *watcher) tellFeed() error {
	events, lost := w.node.chronicle.after(w.read)
	came := !w.begun // who has just come has lost nothing
	w.begun = true
	if lost > 0 && !came {
		if err := w.tell(admin.Event{Name: admin.EventLost, Data: admin.LostEvent{Events: lost}}); err != nil {
			return err
		}
	}
	for _, e := range events {
		w.read = e.Seq
		if err := w.tell(admin.Event{Name: admin.EventFeed, Data: e}); err != nil {
			return err
		}
	}
	return nil
}

//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// watchedPhase is how long each node is watched, and then not. Of the first watchedSettle of each
// nothing is counted: streams open, and what the phase before began comes to its end.
const (
	watchedPhases = 20
	watchedPhase  = 10 * time.Second
	watchedSettle = time.Second
)

// TestWatched looks at every node of a loaded cluster as people and programs do: a page is open at each,
// with the lists of rooms that it asks for, and Prometheus scrapes each every second. With -figures it
// measures what that costs while 20,000 messages a second are delivered: watched for 10 s, then not, and so
// on, in one run of the processes. It judges no figure: a busy machine has others.
func TestWatched(t *testing.T) {
	c := newCluster(t, 3, "s1", "s2", "s3", "r1")
	c.startAll("s1", "s2", "s3", "r1")
	c.load("rooms", "--rooms", "400", "--members", "5", "--rate", "20000", "--for", "30m")
	c.nodes["r1"].waitDelivering(t)
	if !*figures {
		w := watchAll(t, c)
		w.waitServed(t)
		w.end(t)
		return
	}
	cost := map[string][]float64{}
	before := c.loaded(t)
	for range watchedPhases {
		w := watchAll(t, c)
		on := c.loaded(t)
		w.end(t)
		after := c.loaded(t)
		for id := range on {
			cost[id] = append(cost[id], on[id]-(before[id]+after[id])/2)
		}
		before = after
	}
	for _, id := range []string{"s1", "s2", "s3", "r1"} {
		list := slices.Sorted(slices.Values(cost[id]))
		t.Logf("%s: watched costs %.2f %% of a core (median of %d; from %.2f to %.2f), beside %.1f %% for the load",
			id, 100*list[len(list)/2], len(list), 100*list[0], 100*list[len(list)-1], 100*before[id])
	}
}

// load has roomring bench load the first router until the test ends.
func (c *cluster) load(scenario string, more ...string) *process {
	c.t.Helper()
	args := append([]string{"bench", scenario, "--url", "ws://" + c.nodes["r1"].listen + "/ws?room={room}"}, more...)
	return start(c.t, "roomring", args...)
}

// waitDelivering waits until messages reach members.
func (n *node) waitDelivering(t *testing.T) {
	t.Helper()
	eventually(t, "messages at "+n.id, patience, func() bool { return n.metrics(t)["roomring_router_messages_total"] >= 1000 })
}

// loaded returns how much of a core each node uses in a phase.
func (c *cluster) loaded(t *testing.T) map[string]float64 {
	t.Helper()
	<-time.After(watchedSettle)
	began, used := time.Now(), map[string]float64{}
	for id, n := range c.nodes {
		used[id] = -n.cpu(t).Seconds()
	}
	<-time.After(watchedPhase - watchedSettle)
	took := time.Since(began).Seconds()
	for id, n := range c.nodes {
		used[id] = (used[id] + n.cpu(t).Seconds()) / took
	}
	return used
}

// watchers look at all nodes of a cluster.
type watchers struct {
	nodes   int
	stop    context.CancelFunc
	running sync.WaitGroup
	events  atomic.Int64 // that streams told
	scrapes atomic.Int64
	lists   atomic.Int64

	mu   sync.Mutex // guards what is below
	errs []error
}

// watchAll opens at each node a stream of events, and asks for what a page and Prometheus ask for.
func watchAll(t *testing.T, c *cluster) *watchers {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watchers{nodes: len(c.nodes), stop: stop}
	for _, n := range c.nodes {
		w.running.Go(func() { w.note(n.stream(ctx, "/v1/events", func(string) { w.events.Add(1) })) })
		w.running.Go(func() { w.note(w.every(ctx, n, time.Second, &w.scrapes, "/metrics")) })
		w.running.Go(func() {
			w.note(w.every(ctx, n, 2*time.Second, &w.lists, "/v1/rooms?sort=messages&limit=20", "/v1/rooms?sort=members&limit=20"))
		})
	}
	return w
}

func (w *watchers) note(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, err)
}

// every asks for the paths again and again.
func (w *watchers) every(ctx context.Context, n *node, period time.Duration, count *atomic.Int64, paths ...string) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		for _, path := range paths {
			if err := n.fetch(ctx, path); err != nil {
				return err
			}
			count.Add(1)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// waitServed waits until every kind of question was answered three times for every node.
func (w *watchers) waitServed(t *testing.T) {
	t.Helper()
	eventually(t, "events, scrapes and lists from all nodes", patience, func() bool {
		enough := int64(3 * w.nodes)
		return w.events.Load() >= enough && w.scrapes.Load() >= enough && w.lists.Load() >= enough
	})
}

// end stops them, and fails when somebody was not answered.
func (w *watchers) end(t *testing.T) {
	t.Helper()
	w.stop()
	w.running.Wait()
	for _, err := range w.errs {
		t.Error(err)
	}
}

// open asks for a path of the admin port with one conn for all questions, as browsers and Prometheus do.
func (n *node) open(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+n.token)
	answer, err := http.DefaultClient.Do(request)
	if err == nil && answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		answer.Body.Close()
		err = fmt.Errorf("%s of %s: status %d: %s", path, n.id, answer.StatusCode, text)
	}
	return answer, err
}

func (n *node) fetch(ctx context.Context, path string) error {
	answer, err := n.open(ctx, path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// stream reads events until ctx ends, and tells the name of each.
func (n *node) stream(ctx context.Context, path string, tell func(name string)) error {
	return n.events(ctx, path, func(name, _ string) { tell(name) })
}

// events reads server-sent events until ctx ends.
func (n *node) events(ctx context.Context, path string, tell func(name, data string)) error {
	answer, err := n.open(ctx, path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines, name := bufio.NewReaderSize(answer.Body, 64<<10), ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s of %s: %w", path, n.id, err)
		}
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "event: "); ok {
			name = rest
		} else if data, ok := strings.CutPrefix(line, "data: "); ok {
			tell(name, data)
		}
	}
}

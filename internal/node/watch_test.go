package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// stream is a reader of /v1/events that keeps all that it is told, and what its reader would know of the
// ring.
type stream struct {
	t    *testing.T
	stop context.CancelFunc
	err  chan error

	mu     sync.Mutex
	events []admin.Event
	at     []time.Time
	ring   admin.RingEvent
	rows   [][4]int
}

// watch opens a stream of a node's events. It is closed when the test ends.
func (w *world) watch(id string, onlyFeed bool) *stream {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &stream{t: w.t, stop: stop, err: make(chan error, 1)}
	source := w.running[id].Source()
	go func() { s.err <- source.Watch(ctx, onlyFeed, s.take) }()
	w.t.Cleanup(stop)
	return s
}

func (s *stream) take(e admin.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events, s.at = append(s.events, e), append(s.at, time.Now())
	switch e.Name {
	case admin.EventRing:
		s.ring = e.Data.(admin.RingEvent)
		s.rows = slices.Clone(s.ring.Rows)
	case admin.EventChange:
		s.ring = e.Data.(admin.RingEvent)
		for _, row := range s.ring.Rows {
			s.rows[row[0]] = row
		}
	}
	return nil
}

// close ends the stream and waits for its end.
func (s *stream) close() {
	s.t.Helper()
	s.stop()
	if err := <-s.err; !errors.Is(err, context.Canceled) {
		s.t.Errorf("watch = %v", err)
	}
}

// of are the events of a name, and when they came.
func (s *stream) of(name string) (data []any, at []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range s.events {
		if e.Name == name {
			data, at = append(data, e.Data), append(at, s.at[i])
		}
	}
	return data, at
}

// shows checks that the reader knows of the ring what the node knows.
func (s *stream) shows(n *node.Node) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	name := func(i int) proto.NodeName {
		if i < 0 {
			return ""
		}
		inc, err := proto.ParseIncarnation(s.ring.Nodes[i].Incarnation)
		if err != nil {
			s.t.Fatal(err)
		}
		return proto.MakeNodeName(s.ring.Nodes[i].ID, inc)
	}
	for p, row := range n.Table().Rows() {
		var follower proto.NodeName
		if len(row.Followers) > 0 {
			follower = row.Followers[0]
		}
		shown := s.rows[p]
		if shown[0] != int(p) || name(shown[1]) != row.Owner || name(shown[2]) != follower || name(shown[3]) != n.Ring().Wanted(p) {
			s.t.Errorf("partition %d is shown as %v of %+v, and is %+v", p, shown, s.ring.Nodes, row)
		}
	}
	if s.ring.Version != n.Table().Version || s.ring.Settled != n.Settled() || s.ring.SingleCopy != n.SingleCopy() || s.ring.Fingerprint != n.Table().Fingerprint() {
		s.t.Errorf("shown are version %d, settled %v, single copies %d", s.ring.Version, s.ring.Settled, s.ring.SingleCopy)
	}
}

// figuresOf are a node's, in a document.
func figuresOf(doc admin.NodesDocument, id string) *admin.NodeFigures {
	for i := range doc.Nodes {
		if string(doc.Nodes[i].ID) == id {
			return &doc.Nodes[i]
		}
	}
	return &admin.NodeFigures{}
}

// Every node tells the figures of all, also those of routers that it has no link to.
func TestNodesAnswerForEachOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.config = func(c *node.Config) { c.Followers, c.MaxMoves, c.Zone, c.Version = 1, 0, "z-"+string(c.ID), "v1" }
		for _, id := range []string{"s1", "s2", "s3"} {
			w.shard(id, 3, shard.Config{MinCopies: 1, HistoryBytes: 1 << 20})
		}
		for i := range 6 {
			w.router(fmt.Sprint("r", i+1), router.Config{MaxMessage: 3000, APIKeys: []string{"secret-of-a-key"}})
		}
		w.settle(20 * time.Second)
		w.join("r6", "room=a").say("x", "y")
		w.join("r1", "room=a")
		for id, r := range w.running {
			doc := r.Source().Nodes(t.Context())
			if len(doc.Nodes) != 9 || !doc.Complete || string(doc.Asked) != id {
				t.Fatalf("%s tells of %d nodes, complete %v, asked %s", id, len(doc.Nodes), doc.Complete, doc.Asked)
			}
			var order []string
			leaders, voters, owned := 0, 0, 0
			for i := range doc.Nodes {
				f := &doc.Nodes[i]
				order = append(order, string(f.ID))
				if !f.Reached || f.State != "alive" || f.Zone != "z-"+string(f.ID) || f.Version != "v1" || f.Admin != w.running[string(f.ID)].Addresses().Admin {
					t.Errorf("%s says of %s: %+v", id, f.ID, f)
				}
				if !f.Ready || len(f.Reasons) != 0 || f.Table != r.Table().Version || f.Term == 0 || f.Started == 0 || f.Now < f.Started || f.Links < 3 || f.Memory.Heap == 0 {
					t.Errorf("%s has of %s: %+v", id, f.ID, f.Told)
				}
				if f.Protocols != [2]uint16{proto.VersionMin, proto.VersionMax} || f.Settings["cluster"] != "roomring" {
					t.Errorf("%s has of %s: %v, %v", id, f.ID, f.Protocols, f.Settings)
				}
				if f.Leader {
					leaders++
				}
				if f.Voter {
					voters++
				}
				owned += f.Owned
			}
			if want := "s1 s2 s3 r1 r2 r3 r4 r5 r6"; strings.Join(order, " ") != want {
				t.Errorf("the order is %v", order)
			}
			if leaders != 1 || voters != len(r.Table().Voters) || owned != partitions {
				t.Errorf("%d leaders, %d voters, %d partitions", leaders, voters, owned)
			}
			r6, s1 := figuresOf(doc, "r6"), figuresOf(doc, "s1")
			if r6.Members != 1 || r6.Rooms != 1 || r6.Conns != 1 || r6.MessagesTotal != 2 || r6.BytesInTotal != 2 {
				t.Errorf("of r6 it is told %+v", r6.Told)
			}
			if r6.Settings["max-message"] != "3000" || s1.Settings["history-bytes"] != "1MiB" || s1.Settings["followers"] != "1" || s1.Settings["min-copies"] != "1" {
				t.Errorf("settings %v, %v", r6.Settings, s1.Settings)
			}
			if r6.Settings["api-key"] != "1 set" {
				t.Errorf("of keys it says %q", r6.Settings["api-key"])
			}
		}
	})
}

// Routers answer for each other also when no shard is left.
func TestNodesWithoutAShard(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 8)
		w.agree(20 * time.Second)
		time.Sleep(5 * time.Second) // there are five voters by then
		w.kill("s1")
		time.Sleep(5 * time.Second)
		for _, id := range w.living() {
			doc := w.running[id].Source().Nodes(t.Context())
			if !doc.Complete || len(doc.Nodes) != 9 || figuresOf(doc, "s1").State != "dead" {
				t.Errorf("%s: complete %v, %d nodes, s1 is %s", id, doc.Complete, len(doc.Nodes), figuresOf(doc, "s1").State)
			}
		}
	})
}

// A node that is silent costs a second, is told of without figures, and the answer says that it is not
// complete.
func TestNodesWithOneSilent(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		w.cut("s2")
		began := time.Now()
		doc := w.running["r1"].Source().Nodes(t.Context())
		took(t, "the answer", began, time.Now(), time.Second, 1100*time.Millisecond)
		if f := figuresOf(doc, "s2"); doc.Complete || f.Reached || f.Now != 0 || f.Owned == 0 {
			t.Errorf("complete %v, s2 is %+v", doc.Complete, f)
		}
		for _, id := range []string{"s1", "s3", "r1", "r2"} {
			if !figuresOf(doc, id).Reached {
				t.Errorf("%s is not reached", id)
			}
		}
		time.Sleep(10 * time.Second) // now that is known
		began = time.Now()
		doc = w.running["r1"].Source().Nodes(t.Context())
		took(t, "the next answer", began, time.Now(), 0, 1100*time.Millisecond)
		w.heal("s2")
		w.settle(30 * time.Second)
		if doc = w.running["r1"].Source().Nodes(t.Context()); !doc.Complete {
			t.Errorf("not complete: %+v", doc.Nodes)
		}
		w.kill("s2")
		if doc = w.running["r1"].Source().Nodes(t.Context()); !doc.Complete || figuresOf(doc, "s2").State != "dead" || figuresOf(doc, "s2").Reached {
			t.Errorf("complete %v with a dead node: %+v", doc.Complete, figuresOf(doc, "s2"))
		}
	})
}

// However many watch, a node is asked once a second; and not at all when nobody does.
func TestWatchersShareTheAsking(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		s1 := w.running["s1"]
		quiet := s1.Answered()
		time.Sleep(time.Minute)
		if n := s1.Answered() - quiet; n != 0 {
			t.Fatalf("%d questions while nobody watches", n)
		}
		var streams []*stream
		for range 16 {
			streams = append(streams, w.watch("s2", false))
		}
		feed := w.watch("s2", true)
		synctest.Wait()
		before := s1.Answered()
		time.Sleep(time.Minute)
		if n := s1.Answered() - before; n < 59 || n > 61 {
			t.Errorf("%d questions in a minute", n)
		}
		for _, s := range streams {
			if docs, _ := s.of(admin.EventNodes); len(docs) < 60 || len(docs) > 62 {
				t.Errorf("a stream was told %d times", len(docs))
			}
			if rings, _ := s.of(admin.EventRing); len(rings) != 1 {
				t.Errorf("%d rings", len(rings))
			}
			if changes, _ := s.of(admin.EventChange); len(changes) != 0 {
				t.Errorf("%d changes of a settled cluster", len(changes))
			}
			s.shows(w.running["s2"].Node)
			s.close()
		}
		feed.close()
		for _, e := range feed.events {
			if e.Name != admin.EventFeed && e.Name != admin.EventLost {
				t.Errorf("a reader of the feed was told %s", e.Name)
			}
		}
		before = s1.Answered()
		for range 100 { // a page that is reloaded all the time
			again := w.watch("s2", false)
			time.Sleep(100 * time.Millisecond)
			again.close()
			if docs, _ := again.of(admin.EventNodes); len(docs) == 0 {
				t.Error("who came again was told nothing of the nodes")
			}
		}
		if n := s1.Answered() - before; n < 9 || n > 11 {
			t.Errorf("%d questions in ten seconds of reloads", n)
		}
		time.Sleep(2 * time.Second)
		before = s1.Answered()
		time.Sleep(time.Minute)
		if n := s1.Answered() - before; n != 0 {
			t.Errorf("%d questions when nobody watches any more", n)
		}
	})
}

// Whoever watches sees a join, a drain and a fail-over as they happen, ten times a second at most.
func TestWatchShowsChanges(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		streams := map[string]*stream{"r1": w.watch("r1", false), "s3": w.watch("s3", false)}
		check := func() {
			t.Helper()
			time.Sleep(time.Second)
			for id, s := range streams {
				s.shows(w.running[id].Node)
				_, at := s.of(admin.EventChange)
				for i := 1; i < len(at); i++ {
					if apart := at[i].Sub(at[i-1]); apart < 100*time.Millisecond {
						t.Errorf("changes %v apart", apart)
					}
				}
			}
		}
		s4 := w.shard("s4", 3, shard.Config{})
		w.waitFor("s4 is on the ring", 10*time.Second, func() bool { return len(w.running["r1"].Ring().Shards()) == 4 })
		w.settle(30 * time.Second)
		check()
		if changes, _ := streams["r1"].of(admin.EventChange); len(changes) < 3 {
			t.Errorf("a join was shown in %d changes", len(changes))
		}
		close(s4.drain)
		<-s4.ended
		w.settle(30 * time.Second)
		check()
		w.kill("s1")
		w.settle(30 * time.Second)
		check()
		w.running["s1"].again()
		w.settle(30 * time.Second)
		check()
	})
}

// A reader that takes nothing for a while holds nobody up, and is told what changed in one piece.
func TestWatchOfASlowReader(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		s, release, ended := &stream{t: t}, make(chan struct{}), make(chan error)
		go func() {
			ended <- w.running["r1"].Source().Watch(ctx, false, func(e admin.Event) error {
				<-release
				return s.take(e)
			})
		}()
		synctest.Wait()
		w.shard("s4", 3, shard.Config{})
		w.waitFor("s4 is on the ring", 10*time.Second, func() bool { return len(w.running["r1"].Ring().Shards()) == 4 })
		w.settle(30 * time.Second)
		close(release)
		time.Sleep(time.Second)
		s.shows(w.running["r1"].Node)
		if changes, _ := s.of(admin.EventChange); len(changes) != 1 {
			t.Errorf("it was told %d changes", len(changes))
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("watch = %v", err)
		}
	})
}

// A reader whose conn broke ends.
func TestWatchEndsWithItsReader(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		broken := errors.New("broken pipe")
		if err := w.running["r1"].Source().Watch(t.Context(), false, func(admin.Event) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("watch = %v", err)
		}
	})
}

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
)

// fake is a node without sockets. It ends when its ctx does, when it has drained for as long as hold says,
// or by itself when fail has an error.
type fake struct {
	name   proto.NodeName
	fail   chan error
	hold   chan struct{} // closed: a drain ends at once
	runs   atomic.Int32
	polite atomic.Bool // it left politely
}

func newFake(id proto.NodeID, run int) *fake {
	inc, err := proto.ParseIncarnation(fmt.Sprintf("%013d", run))
	if err != nil {
		panic(err)
	}
	f := &fake{name: proto.MakeNodeName(id, inc), fail: make(chan error, 1), hold: make(chan struct{})}
	close(f.hold)
	return f
}

func (f *fake) Name() proto.NodeName { return f.name }

func (f *fake) Addresses() node.Addresses {
	return node.Addresses{Admin: "127.0.0.1:1", Listen: "127.0.0.1:2"}
}

func (f *fake) Run(ctx context.Context, drain <-chan struct{}) error {
	f.runs.Add(1)
	select {
	case <-ctx.Done():
		return nil
	case err := <-f.fail:
		return err
	case <-drain:
	}
	select {
	case <-ctx.Done():
		return errors.New("cut short")
	case <-f.hold:
		f.polite.Store(true)
		return nil
	}
}

// world is a cluster of fakes that runs until the test ends.
type world struct {
	t *testing.T
	*Cluster
	routers   []*fake
	opened    map[proto.NodeID][]*fake // every run of every shard
	voters    atomic.Pointer[[]proto.NodeName]
	openFails atomic.Bool
	slow      chan struct{} // drains of new shards end when it is closed; nil: at once
	end       context.CancelFunc
	done      chan error    // what Run returned
	gone      chan struct{} // closed when it has
}

func start(t *testing.T, shards int) *world {
	t.Helper()
	w := &world{t: t, opened: map[proto.NodeID][]*fake{}, done: make(chan error, 1), gone: make(chan struct{})}
	var routers []Node
	for i, id := range []proto.NodeID{"r1", "r2"} {
		f := newFake(id, 1000+i)
		w.routers, routers = append(w.routers, f), append(routers, f)
	}
	w.voters.Store(&[]proto.NodeName{})
	c, err := New(Config{
		Routers: routers, Shards: shards,
		OpenShard: func(id proto.NodeID) (Node, error) {
			if w.openFails.Load() {
				return nil, errors.New("no port is free")
			}
			f := newFake(id, 1+len(w.opened[id]))
			if w.slow != nil {
				f.hold = w.slow
			}
			w.opened[id] = append(w.opened[id], f)
			return f, nil
		},
		Voters: func(context.Context) ([]proto.NodeName, error) {
			v := w.voters.Load()
			if v == nil {
				return nil, errors.New("nobody answers")
			}
			return *v, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Cluster = c
	ctx, end := context.WithCancel(t.Context())
	w.end = end
	up := make(chan struct{})
	go func() {
		defer close(w.gone)
		w.done <- c.Run(ctx, func(context.Context) error {
			close(up)
			return nil
		})
	}()
	<-up
	t.Cleanup(func() {
		end()
		<-w.gone
	})
	return w
}

// states is one word per shard.
func (w *world) states() string {
	var words []string
	for _, s := range w.State().Shards {
		words = append(words, string(s.ID)+" "+string(s.State))
	}
	return strings.Join(words, ", ")
}

// await wants the shards to be in these states once all that goes on has come to rest.
func (w *world) await(want string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.states(); got != want {
		w.t.Fatalf("the shards are %s, want %s", got, want)
	}
}

// wantRefused wants an action to be refused with a code, and a reason that has some words.
func wantRefused(t *testing.T, err error, status int, code, words string) {
	t.Helper()
	var r *admin.Refusal
	if !errors.As(err, &r) || r.Status != status || r.Code != code || !strings.Contains(r.Message, words) {
		t.Errorf("%v (%#v), want %d %s with %q", err, err, status, code, words)
	}
}

func TestShardsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t, 3), t.Context()
		steps := []struct {
			name string
			do   func() error
			then string
		}{
			{"kill", func() error { return w.Kill(ctx, "s2") }, "s1 running, s2 killed, s3 running"},
			{"restart", func() error { return w.Restart(ctx, "s2") }, "s1 running, s2 running, s3 running"},
			{"drain", func() error { return w.Drain(ctx, "s1") }, "s1 left, s2 running, s3 running"},
			{"add", func() error { _, err := w.Add(ctx); return err }, "s1 left, s2 running, s3 running, s4 running"},
			{"restart what left", func() error { return w.Restart(ctx, "s1") }, "s1 running, s2 running, s3 running, s4 running"},
			{"kill the new one", func() error { return w.Kill(ctx, "s4") }, "s1 running, s2 running, s3 running, s4 killed"},
		}
		for _, s := range steps {
			if err := s.do(); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			w.await(s.then)
		}
		if runs := w.opened["s2"]; len(runs) != 2 || runs[0].name == runs[1].name || runs[0].polite.Load() {
			t.Error("a restart is no new run, or the killed one said goodbye")
		}
		if !w.opened["s1"][0].polite.Load() {
			t.Error("the drained one did not leave politely")
		}
	})
}

func TestActionsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t, 2), t.Context()
		conflict := http.StatusConflict
		wantRefused(t, w.Kill(ctx, "s9"), http.StatusNotFound, "unknown_node", `no shard "s9"`)
		wantRefused(t, w.Kill(ctx, "r1"), http.StatusNotFound, "unknown_node", "r1")
		wantRefused(t, w.Restart(ctx, "s1"), conflict, "running", "kill or drain it first")

		if err := w.Kill(ctx, "s2"); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, w.Kill(ctx, "s2"), conflict, "not_running", "does not run")
		wantRefused(t, w.Drain(ctx, "s2"), conflict, "not_running", "does not run")
		wantRefused(t, w.Kill(ctx, "s1"), conflict, "last_shard", "no rooms")
		wantRefused(t, w.Drain(ctx, "s1"), conflict, "last_shard", "no rooms")

		w.openFails.Store(true)
		wantRefused(t, w.Restart(ctx, "s2"), http.StatusInternalServerError, "not_started", "no port is free")
		w.openFails.Store(false)
		for range MaxShards - 2 {
			if _, err := w.Add(ctx); err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.Add(ctx)
		wantRefused(t, err, conflict, "too_many", "8 shards are the most")

		w.voters.Store(nil)
		wantRefused(t, w.Kill(ctx, "s3"), http.StatusServiceUnavailable, "unavailable", "no router")
	})
}

// TestMajorityStays: whom the others need to agree on anything may not be killed.
func TestMajorityStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t, 4), t.Context()
		voters := []proto.NodeName{w.routers[0].name}
		for _, id := range []proto.NodeID{"s1", "s2", "s3"} {
			voters = append(voters, w.opened[id][0].name)
		}
		w.voters.Store(&voters)
		if err := w.Kill(ctx, "s1"); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, w.Kill(ctx, "s2"), http.StatusConflict, "no_majority", "s2 is one of 4 voters")
		if err := w.Kill(ctx, "s4"); err != nil { // does not vote
			t.Error(err)
		}
		voters = slices.DeleteFunc(slices.Clone(voters), func(v proto.NodeName) bool { return v.ID() == "s1" })
		w.voters.Store(&voters) // the dead one was replaced
		if err := w.Kill(ctx, "s2"); err != nil {
			t.Error(err)
		}
	})
}

func TestDrainTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t, 3), t.Context()
		w.slow = make(chan struct{})
		if err := w.Kill(ctx, "s3"); err != nil {
			t.Fatal(err)
		}
		if err := w.Restart(ctx, "s3"); err != nil {
			t.Fatal(err)
		}
		if err := w.Drain(ctx, "s3"); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, w.Drain(ctx, "s3"), http.StatusConflict, "draining", "leaving already")
		wantRefused(t, w.Restart(ctx, "s3"), http.StatusConflict, "running", "s3 is draining")
		if s := w.State().Shards[2]; s.Drain == "" || s.Kill != "" || s.Restart == "" {
			t.Errorf("what may be done: %+v", s)
		}
		if err := w.Drain(ctx, "s2"); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, w.Kill(ctx, "s1"), http.StatusConflict, "last_shard", "s1 is the last shard") // s3 is about to go
		close(w.slow)
		w.await("s1 running, s2 left, s3 left")
	})
}

// TestKillWhileDraining: what leaves can still die.
func TestKillWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ctx := start(t, 2), t.Context()
		w.slow = make(chan struct{})
		if _, err := w.Add(ctx); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Drain(ctx, "s3"), w.Kill(ctx, "s3")); err != nil {
			t.Fatal(err)
		}
		w.await("s1 running, s2 running, s3 killed")
		if err := w.Restart(ctx, "s3"); err != nil {
			t.Error(err)
		}
	})
}

// TestNodeEndsByItself: the others go on, and the page is told why.
func TestNodeEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, 2)
		w.opened["s1"][0].fail <- errors.New("the disk is full")
		w.await("s1 failed, s2 running")
		if s := w.State().Shards[0]; s.Reason != "the disk is full" || s.Restart != "" {
			t.Errorf("%+v", s)
		}
		if err := w.Restart(t.Context(), "s1"); err != nil {
			t.Fatal(err)
		}
		w.opened["s2"][0].fail <- nil // drained at its own admin port
		w.await("s1 running, s2 left")
	})
}

// TestEndsWithItsRouters: without a router there is nothing to reach.
func TestEndsWithItsRouters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, 1)
		w.routers[1].fail <- nil
		w.routers[0].fail <- errors.New("no more descriptors")
		if err := <-w.done; !errors.Is(err, errNoRouter) || !strings.Contains(err.Error(), "r1: no more descriptors") {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestEndWhileActing: Ctrl-C ends all that an action starts, or keeps it from starting.
func TestEndWhileActing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for round := range 20 {
			w := start(t, 3)
			w.slow = make(chan struct{}) // drains do not end by themselves
			w.opened["s2"][0].hold = w.slow
			ctx := t.Context()
			go w.Kill(ctx, "s1")
			go w.Drain(ctx, "s2")
			go w.Restart(ctx, "s1")
			go w.Add(ctx)
			if round%2 == 0 {
				synctest.Wait() // behind them, else somewhere in the middle
			}
			began := time.Now()
			w.end()
			if err := <-w.done; err != nil {
				t.Fatalf("ended with %v", err)
			}
			if states := w.states(); strings.Contains(states, string(Failed)) {
				t.Errorf("what was cut short counts as a failure: %s", states)
			}
			if took := time.Since(began); took > GoodbyeTime {
				t.Errorf("took %s", took)
			}
			_, err := w.Add(ctx)
			wantRefused(t, err, http.StatusServiceUnavailable, "ending", "is ending")
		}
	})
}

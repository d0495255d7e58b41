package node_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// listen collects what nodes that are started from now on log, from the level on.
func (w *world) listen(level zapcore.Level) *observer.ObservedLogs {
	core, said := observer.New(level)
	w.log = []zap.Option{zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, core) })}
	return said
}

// by keeps what one node said.
func by(said *observer.ObservedLogs, id string) *observer.ObservedLogs {
	return said.Filter(func(e observer.LoggedEntry) bool {
		return e.LoggerName == id || strings.HasSuffix(e.LoggerName, "."+id)
	})
}

// links is how many links a node has, as its metrics say.
func (w *world) links(id string) string {
	w.t.Helper()
	_, page := w.ask(id, "GET", "/metrics", "")
	m := regexp.MustCompile(`(?m)^roomring_link_open (\S+)$`).FindSubmatch(page)
	if m == nil {
		w.t.Fatalf("%s does not say how many links it has", id)
	}
	return string(m[1])
}

// Two clusters that were founded apart and then hear of each other do not mix: no link, no row of a
// Table, no room is touched. Both say what is wrong, and the smaller one is not ready.
func TestTwoInstances(t *testing.T) {
	for _, small := range []string{"s3 s4", "s3"} {
		t.Run(small, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				said := w.listen(zap.WarnLevel)
				group := append(strings.Fields(small), "r2")
				for _, id := range group {
					w.groups[id] = "small"
				}
				w.apart.Store(true)
				for _, id := range append([]string{"s1", "s2"}, strings.Fields(small)...) {
					expect := 2
					if small == "s3" && id == "s3" {
						expect = 1
					}
					w.shard(id, expect, shard.Config{})
				}
				for _, id := range []string{"r1", "r2", "r3", "r4"} {
					w.router(id, router.Config{})
				}
				large := without(w.living(), group...)
				w.agree(10*time.Second, group...)
				w.agree(10*time.Second, large...)
				w.keepArchive()
				c, links := w.sing(3, "r1", "r2"), map[string]string{}
				for _, id := range w.living() {
					links[id] = w.links(id)
				}
				a, b := w.running["r1"].Table(), w.running["r2"].Table()
				if a.Instance == b.Instance {
					t.Fatal("they are one cluster")
				}
				time.Sleep(time.Second)

				c.flows(func() {
					w.apart.Store(false)
					w.directory.Set(w.running["r1"].Name(), cluster.Alive) // which wakes everybody
					time.Sleep(20 * time.Second)
				}, func(string, string) bool { return true })
				for _, id := range w.living() {
					n, was := w.running[id], a
					if slices.Contains(group, id) {
						was = b
					}
					if n.Table().Mark() != was.Mark() || n.Table().Instance != was.Instance {
						t.Errorf("%s has another Table now", id)
					}
					if now := w.links(id); now != links[id] {
						t.Errorf("%s had %s links and has %s", id, links[id], now)
					}
					if got := by(said, id).FilterMessage("nodes of another cluster instance are seen").Len(); got != 1 {
						t.Errorf("%s complained %d times", id, got)
					}
					if other := slices.Contains(w.reasons(id), admin.ReasonOtherInstance); other != slices.Contains(group, id) {
						t.Errorf("%s: reasons %v", id, w.reasons(id))
					}
				}
				// The rooms of one name are two rooms: each router's members hear their own cluster's.
				for _, s := range c.singers {
					for _, l := range s.story() {
						if !strings.HasPrefix(l.text, s.router+"/") {
							t.Fatalf("at %s: heard %q", s.router, l.text)
						}
					}
				}
				// An operator takes the smaller one away, and the larger one is what it was.
				for _, id := range group {
					w.kill(id)
				}
				time.Sleep(5 * time.Second)
				w.agree(0, large...)
				for _, id := range large {
					if r := w.reasons(id); len(r) > 0 {
						t.Errorf("in the end %s is not ready because of %v", id, r)
					}
				}
			})
		})
	}
}

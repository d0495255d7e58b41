package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// A node that does not fit is refused by everybody, says why in the words in which the others say it,
// once, and harms nothing: not even when a shard dies and the ring has to do without the stranger.
func TestStranger(t *testing.T) {
	key := func(b byte) [][]byte { return [][]byte{[]byte(strings.Repeat(string(b), 32))} }
	for _, stranger := range []struct {
		name   string
		ours   func(*node.Config)
		config func(*node.Config)
		text   string
		unseen bool // real gossip would never show it: what the ring makes of it is no matter
	}{
		{"other partition count", nil, func(c *node.Config) { c.Partitions = 64 }, "partition counts differ", false},
		{"later protocol", nil, func(c *node.Config) { c.VersionMin, c.VersionMax = 8, 9 }, "no common protocol version", false},
		{"other cluster name", nil, func(c *node.Config) { c.Cluster = "elsewhere" }, "cluster names differ", true},
		{"other key", func(c *node.Config) { c.Keys = key('a') }, func(c *node.Config) { c.Keys = key('b') }, "key", true},
		{"no key", func(c *node.Config) { c.Keys = key('a') }, func(c *node.Config) { c.Keys = nil }, "has a cluster key", true},
		{"a key too many", nil, func(c *node.Config) { c.Keys = key('b') }, "has a cluster key", true},
	} {
		for _, role := range []string{"shard", "router"} {
			t.Run(stranger.name+", "+role, func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					said := w.listen(zap.WarnLevel)
					w.config = stranger.ours
					all, _, other := w.five()
					w.keepArchive()
					c := w.sing(6, "r1", "r2")
					time.Sleep(time.Second)
					owners, before := c.owners("r1"), w.running["r1"].Table()
					w.config = func(c *node.Config) {
						if stranger.ours != nil {
							stranger.ours(c)
						}
						stranger.config(c)
					}
					said.TakeAll()
					c.flows(func() {
						if role == "shard" {
							w.shard("x", 1, shard.Config{})
						} else {
							w.router("x", router.Config{})
						}
						time.Sleep(8 * time.Second)
					}, func(string, string) bool { return true })
					checkRefusals(t, w, all, func(id string) (texts []string) {
						for _, e := range by(said, id).All() {
							text, _ := e.ContextMap()["text"].(string)
							if e.Message != "link refused" || !strings.Contains(text, stranger.text) {
								t.Errorf("%s says %q %v", id, e.Message, e.ContextMap())
							}
							texts = append(texts, text)
						}
						return texts
					})
					if now := w.running["r1"].Table(); now.Mark() != before.Mark() {
						t.Errorf("the Table went from version %d to %d", before.Version, now.Version)
					}
					if r := w.reasons("x"); len(r) == 0 {
						t.Error("the stranger calls itself ready")
					}
					if w.running["x"].Table() != nil {
						t.Error("the stranger holds a Table")
					}

					dead := w.running[other].Name()
					if stranger.unseen {
						w.directory.Forget(w.running["x"].Name())
					}
					w.kill(other)
					w.waitFor("new owners", 3*time.Second, func() bool { return w.owns("r1", dead) == 0 })
					if n := w.owns("r1", w.running["x"].Name()); n > 0 {
						t.Errorf("the stranger owns %d partitions", n)
					}
					w.agree(5*time.Second, without(all, other)...)
					time.Sleep(time.Second)
					c.whole(func(room string) bool { return owners[room] == other })
				})
			})
		}
	}
}

// checkRefusals checks that the stranger and each of the others said one line about each other, and the
// same one.
func checkRefusals(t *testing.T, w *world, all []string, lines func(id string) []string) {
	t.Helper()
	mine := lines("x")
	if len(mine) != len(all) {
		t.Errorf("the stranger says %q, want a line for each of %v", mine, all)
	}
	for _, id := range all {
		theirs := lines(id)
		if len(theirs) != 1 {
			t.Errorf("%s says %q, want one line", id, theirs)
		}
		for _, text := range theirs {
			if !slices.Contains(mine, text) {
				t.Errorf("%s says %q, the stranger %q", id, text, mine)
			}
			for _, name := range []proto.NodeName{w.running[id].Name(), w.running["x"].Name()} {
				if !strings.Contains(text, string(name)) {
					t.Errorf("%s says %q, which does not name %s", id, text, name)
				}
			}
		}
	}
}

// A cluster goes from one protocol version to the next node by node, by way of programs that speak
// both. It serves all the while, and closes no socket but those at the router that is restarted.
func TestRollingUpgrade(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		speak := func(low, high uint16) {
			w.config = func(c *node.Config) { c.VersionMin, c.VersionMax, c.MaxMoves = low, high, 0 }
		}
		speak(1, 1)
		all, _, _ := w.five()
		w.keepArchive()
		upgrade := func(id string) {
			t.Helper()
			routers := without([]string{"r1", "r2"}, id)
			c := w.sing(3, routers...)
			time.Sleep(500 * time.Millisecond)
			r := w.running[id]
			c.flows(func() {
				close(r.drain)
				<-r.ended
				r.again()
				w.agree(5 * time.Second)
				time.Sleep(time.Second)
			}, func(string, string) bool { return true })
			c.flows(func() { time.Sleep(time.Second) }, func(string, string) bool { return true })
			c.whole(never)
			for _, s := range c.singers {
				s.Close()
			}
		}
		for _, versions := range [][2]uint16{{1, 2}, {2, 2}} {
			speak(versions[0], versions[1])
			for _, id := range all {
				upgrade(id)
			}
		}
		// Who still speaks the old one only has no business here any more.
		speak(1, 1)
		w.router("x", router.Config{})
		time.Sleep(3 * time.Second)
		if w.running["x"].Table() != nil {
			t.Error("a node of the old version was let in")
		}
	})
}

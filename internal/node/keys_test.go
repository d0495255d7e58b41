package node_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

func clusterKey(b byte) []byte { return []byte(strings.Repeat(string(b), 32)) }

func keyList(letters string) (keys [][]byte) {
	for i := range letters {
		keys = append(keys, clusterKey(letters[i]))
	}
	return keys
}

// setKeys has a node read other keys.
func (w *world) setKeys(id, letters string) {
	w.t.Helper()
	if err := w.running[id].SetKeys(keyList(letters)); err != nil {
		w.t.Fatalf("%s, keys %s: %v", id, letters, err)
	}
}

// downs is how many links of a node have ended, and refused how many hellos for the key.
func (w *world) downs(id string) (downs, refused string) {
	w.t.Helper()
	_, page := w.ask(id, "GET", "/metrics", "")
	one := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(page)
		if m == nil {
			w.t.Fatalf("%s has no %s", id, name)
		}
		return string(m[1])
	}
	return one("roomring_link_downs_total"), one(`roomring_link_refused_total\{reason="key"\}`)
}

// keyInfo is what a node says of its cluster keys: in a metric, and among its settings as any node shows them.
func (w *world) keyInfo(id, asked string) (metric, setting string) {
	w.t.Helper()
	_, page := w.ask(id, "GET", "/metrics", "")
	if m := regexp.MustCompile(`(?m)^roomring_cluster_key_info\{(.*)\} 1$`).FindSubmatch(page); m != nil {
		metric = string(m[1])
	}
	_, body := w.ask(asked, "GET", "/v1/nodes", "")
	var doc admin.NodesDocument
	if err := json.Unmarshal(body, &doc); err != nil {
		w.t.Fatal(err)
	}
	for _, n := range doc.Nodes {
		if string(n.ID) == id {
			setting = n.Settings["cluster-key"]
		}
	}
	return metric, setting
}

// The keys of a cluster are replaced step by step while everybody talks: no message is lost, no link
// ends, and whoever joins in the middle of a step, with the keys of that step, is understood by all. In
// the end the old key opens nothing.
func TestKeysRotate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		said := w.listen(zap.WarnLevel)
		keys := "A"
		w.config = func(c *node.Config) { c.Keys = keyList(keys) }
		w.five()
		w.keepArchive()
		c := w.sing(4, "r1", "r2")
		time.Sleep(time.Second)
		first, _ := w.keyInfo("s1", "s1")
		c.flows(func() {
			for step, next := range []string{"AB", "BA", "B"} {
				all := w.living()
				for i, id := range all {
					w.setKeys(id, next)
					time.Sleep(300 * time.Millisecond)
					if i != len(all)/2 {
						continue
					}
					keys = next
					late := fmt.Sprint("late", step)
					w.router(late, router.Config{})
					w.waitFor(late+" has links", 3*time.Second, func() bool { return w.links(late) == "10" }) // two lanes, five voters
				}
				w.setKeys(fmt.Sprint("late", step), next) // reads what it has
			}
		}, func(string, string) bool { return true })
		for _, id := range []string{"s1", "s2", "s3", "r1", "r2"} {
			if downs, refused := w.downs(id); downs != "0" || refused != "0" {
				t.Errorf("%s: %s links ended, %s hellos were refused", id, downs, refused)
			}
			metric, setting := w.keyInfo(id, "r1")
			if metric == first || !strings.HasSuffix(metric, `keys="1"`) || !regexp.MustCompile(`^1 set, [0-9a-f]{8} first$`).MatchString(setting) || !strings.Contains(metric, setting[len("1 set, "):len("1 set, ")+8]) {
				t.Errorf("%s has the key %s, or %q, was %s", id, metric, setting, first)
			}
		}
		if n := said.FilterMessage("link refused").Len(); n > 0 {
			t.Errorf("%d links were refused", n)
		}

		// Who comes with the old key alone stays out.
		keys = "A"
		w.router("x", router.Config{})
		w.shard("y", 1, shard.Config{})
		time.Sleep(5 * time.Second)
		for _, id := range []string{"x", "y"} {
			if _, refused := w.downs(id); w.links(id) != "2" || // with each other
				refused == "0" || w.running[id].Table() != nil {
				t.Errorf("%s has %s links, %s refusals", id, w.links(id), refused)
			}
		}
		if w.owns("r1", w.running["y"].Name()) > 0 {
			t.Error("the stranger owns partitions")
		}
		for _, s := range by(said, "s1").FilterMessage("link refused").All() {
			if reason := s.ContextMap()["reason"]; reason != "key" {
				t.Errorf("refused for %v", reason)
			}
		}
		for _, id := range []string{"x", "y"} {
			w.directory.Forget(w.running[id].Name())
		}
		if epochs := c.stop(); len(epochs) != 4 {
			t.Errorf("rooms: %v", epochs)
		}
	})
}

// A step too far is refused by the node that would be cut off by it, and the old keys stay.
func TestKeysThatCutANodeOff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.config = func(c *node.Config) { c.Keys = keyList("AB") }
		w.shard("s1", 1, shard.Config{})
		w.config = nil
		w.router("bare", router.Config{})
		before, _ := w.keyInfo("s1", "s1")
		for letters, why := range map[string]string{
			"": "only a restart", "C": "new to this node", "CA": "new to this node", "CAB": "new to this node", "B": "is missing", "BC": "is missing",
		} {
			if err := w.running["s1"].SetKeys(keyList(letters)); err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("from AB to %q: %v", letters, err)
			}
		}
		if err := w.running["s1"].SetKeys(append(keyList("A"), []byte("short"))); err == nil {
			t.Error("a short key was taken")
		}
		if err := w.running["s1"].SetKeys(keyList("ABCDEFGHI")); err == nil {
			t.Error("nine keys were taken")
		}
		if after, _ := w.keyInfo("s1", "s1"); after != before || !strings.Contains(after, `keys="2"`) {
			t.Errorf("the keys were %s and are %s", before, after)
		}
		w.setKeys("s1", "A")
		w.setKeys("s1", "AB")
		w.setKeys("s1", "BCA")
		if err := w.running["bare"].SetKeys(keyList("A")); err == nil || !strings.Contains(err.Error(), "without a cluster key") {
			t.Errorf("a node without keys got one: %v", err)
		}
		if metric, setting := w.keyInfo("bare", "bare"); metric != `first="",keys="0"` || setting != "" {
			t.Errorf("a node without keys says %s, %q", metric, setting)
		}
	})
}

// One node that goes ahead of the others, over every step, is not let in by those that stand at the
// beginning: both sides say so, and it comes back once the others have followed.
func TestKeysOutOfStep(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		said := w.listen(zap.WarnLevel)
		w.config = func(c *node.Config) { c.Keys = keyList("A") }
		w.five()
		w.keepArchive()
		c := w.sing(3, "r1", "r2")
		for _, letters := range []string{"AB", "BA", "B"} {
			w.setKeys("s2", letters)
		}
		c.flows(func() { time.Sleep(5 * time.Second) }, func(string, string) bool { return true }) // open links stay
		w.setKeys("s2", "B")
		w.cut("s2") // now they are opened anew
		time.Sleep(2 * time.Second)
		w.heal("s2")
		time.Sleep(5 * time.Second)
		others := without(w.living(), "s2")
		for _, id := range others {
			if _, refused := w.downs(id); refused == "0" {
				t.Errorf("%s counted no refusal", id)
			}
			if !slices.ContainsFunc(by(said, id).FilterMessage("link refused").All(), func(e observer.LoggedEntry) bool { return e.ContextMap()["reason"] == "key" }) {
				t.Errorf("%s did not say why it has no link", id)
			}
		}
		if w.links("s2") != "0" {
			t.Errorf("s2 has %s links", w.links("s2"))
		}
		for _, letters := range []string{"AB", "BA", "B"} {
			for _, id := range others {
				w.setKeys(id, letters)
			}
		}
		w.agree(10 * time.Second)
		c.stop()
	})
}

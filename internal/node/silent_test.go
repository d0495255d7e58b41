package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

// An owner that is merely silent keeps its rooms, however long: they wait, and when it is heard again
// they go on as if nothing had been. Whether it leads or not makes no difference.
func TestSilentOwner(t *testing.T) {
	for _, who := range []string{"leader", "other"} {
		t.Run(who, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				all, silent, other := w.five()
				if who == "other" {
					silent = other
				}
				w.keepArchive()
				c := w.sing(6, "r1", "r2")
				time.Sleep(time.Second)
				owners, before := c.owners("r1"), w.running["r1"].Table()
				w.split([]string{silent}, without(all, silent))
				time.Sleep(3 * time.Second)
				c.flows(func() { time.Sleep(10 * time.Second) }, func(room, _ string) bool { return owners[room] != silent })
				for p, row := range w.running["r1"].Table().Rows() {
					if !row.Equal(before.Row(proto.Partition(p))) {
						t.Errorf("partition %d: %v became %v", p, before.Row(proto.Partition(p)), row)
					}
				}
				if r := w.ring("r1"); r.Settled {
					t.Error("a cluster with a silent owner calls itself settled")
				}
				w.unsplit([]string{silent}, without(all, silent))
				w.agree(5 * time.Second)
				c.flows(func() { time.Sleep(2 * time.Second) }, func(string, string) bool { return true })
				c.whole(never)
			})
		})
	}
}

// An operator who knows that a silent node is dead for good says so, at any node. Its rooms begin anew
// elsewhere. If he was wrong, the node does no harm when it is back, and later it is a shard like the
// others.
func TestForget(t *testing.T) {
	for _, by := range []string{"leader", "router", "shard"} {
		t.Run("at a "+by, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				all, leader, silent := w.five()
				third := without([]string{"s1", "s2", "s3"}, leader, silent)[0]
				at := map[string]string{"leader": leader, "router": "r1", "shard": third}[by]
				w.keepArchive()
				c := w.sing(6, "r1", "r2")
				time.Sleep(time.Second)
				owners := c.owners("r1")
				gone := w.running[silent].Name()

				if status, body := w.forget(at, silent); status != http.StatusConflict {
					t.Errorf("forget of a living node: %d %s", status, body)
				}
				if status, body := w.forget(at, "s9"); status != http.StatusNotFound {
					t.Errorf("forget of an unknown node: %d %s", status, body)
				}
				w.split([]string{silent}, without(all, silent))
				time.Sleep(3 * time.Second)
				began := time.Now()
				status, body := w.forget(at, silent)
				var doc admin.ForgetDocument
				if err := json.Unmarshal(body, &doc); err != nil || status != http.StatusOK || doc.Node != gone {
					t.Fatalf("forget: %d %s", status, body)
				}
				took(t, "forgotten", began, time.Now(), 0, 200*time.Millisecond)
				w.waitFor("its partitions have owners", 100*time.Millisecond, func() bool { return w.owns(at, gone) == 0 })
				time.Sleep(time.Second)
				c.flows(func() { time.Sleep(3 * time.Second) }, func(string, string) bool { return true })
				after := w.running["r1"].Table()

				w.unsplit([]string{silent}, without(all, silent))
				w.agree(5 * time.Second)
				c.flows(func() { time.Sleep(3 * time.Second) }, func(string, string) bool { return true })
				for p, row := range w.running["r1"].Table().Rows() {
					if !row.Equal(after.Row(proto.Partition(p))) {
						t.Errorf("its way back made %v of %v", row, after.Row(proto.Partition(p)))
					}
				}
				c.whole(func(room string) bool { return owners[room] == silent })

				w.kill(third)
				w.waitFor("it owns something again", 3*time.Second, func() bool { return w.owns("r1", gone) > 0 })
				fresh := w.join("r1", "room=fresh")
				fresh.say("x")
				time.Sleep(time.Second)
				fresh.hears("x")
			})
		})
	}
}

func (w *world) forget(at, node string) (status int, body []byte) {
	w.t.Helper()
	return w.ask(at, http.MethodPost, "/v1/forget", fmt.Sprintf(`{"node":%q}`, node))
}

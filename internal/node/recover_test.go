package node_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// When three of five are dead for good nothing can change, and nobody but an operator can know that
// they are. The owner that lives goes on serving; recovery gives the rest new owners, and touches
// nothing that lives.
func TestRecover(t *testing.T) {
	for _, by := range []string{"router", "shard"} {
		t.Run("by a "+by, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				_, leader, lives := w.five()
				third := without([]string{"s1", "s2", "s3"}, leader, lives)[0]
				at := map[string]string{"router": "r1", "shard": lives}[by]
				w.keepArchive()
				c := w.sing(6, "r1", "r2")
				time.Sleep(time.Second)
				owners, instance := c.owners("r1"), w.running["r1"].Stance().Founding.Instance
				if status, body := w.recover(at); status != http.StatusConflict {
					t.Errorf("recover of a cluster that is whole: %d %s", status, body)
				}
				w.kill(leader, third, "r2")
				kept := w.owns("r1", w.running[lives].Name())
				mine := func(room, router string) bool { return router == "r1" && owners[room] == lives }
				c.flows(func() { time.Sleep(5 * time.Second) }, mine)
				for _, id := range []string{"r1", lives} {
					if r := w.reasons(id); !slices.Contains(r, admin.ReasonNoMajority) {
						t.Errorf("%s is not ready because of %v", id, r)
					}
				}
				before := w.running["r1"].Table()

				var doc admin.RecoverDocument
				c.flows(func() {
					status, body := w.recover(at)
					if err := json.Unmarshal(body, &doc); err != nil || status != http.StatusOK {
						t.Fatalf("recover: %d %s", status, body)
					}
					time.Sleep(time.Second)
				}, mine)
				if doc.Generation != 1 || doc.Kept != kept || doc.Reset != partitions-kept || len(doc.Nodes) != 2 {
					t.Errorf("recover: %+v, want generation 1 with %d kept", doc, kept)
				}
				w.agree(5 * time.Second)
				now := w.running["r1"].Table()
				if f := now.Founding(); f.Instance != instance || f.Generation != 1 {
					t.Errorf("it belongs to %+v now", f)
				}
				for p, row := range now.Rows() {
					was := before.Row(p)
					if was.Owner == w.running[lives].Name() && row.Since != was.Since {
						t.Errorf("partition %d, whose owner lives: %v became %v", p, was, row)
					}
					if row.Owner != w.running[lives].Name() {
						t.Errorf("partition %d belongs to %s", p, row.Owner)
					}
				}
				c.flows(func() { time.Sleep(2 * time.Second) }, func(_, router string) bool { return router == "r1" })
				if r := w.reasons("r1"); len(r) > 0 {
					t.Errorf("in the end it is not ready because of %v", r)
				}
				if status, body := w.recover(at); status != http.StatusConflict {
					t.Errorf("recover once more: %d %s", status, body)
				}
				c.whole(func(room string) bool { return owners[room] != lives }, "r2")

				// New nodes make it what it was.
				for _, id := range []string{leader, third, "r2"} {
					w.running[id].again()
				}
				w.agree(10 * time.Second)
				if n := len(w.running["r1"].Table().Voters); n != 5 {
					t.Errorf("%d voters", n)
				}
			})
		})
	}
}

func (w *world) recover(at string) (status int, body []byte) {
	w.t.Helper()
	return w.ask(at, http.MethodPost, "/v1/recover", "{}")
}

// Nobody can recover what nobody has.
func TestRecoverRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.shard("s1", 3, shard.Config{})
		w.router("r1", router.Config{})
		time.Sleep(time.Second)
		if status, body := w.recover("s1"); status != http.StatusServiceUnavailable {
			t.Errorf("recover of a cluster that was never founded: %d %s", status, body)
		}
		if status, body := w.recover("r1"); status != http.StatusServiceUnavailable {
			t.Errorf("the same by a router: %d %s", status, body)
		}
	})
}

// Who was only cut off while the others recovered the cluster joins what there is now, and changes
// nothing: one voter of the lost majority, or all of it, which has gone on meanwhile.
func TestOldMajorityComesBack(t *testing.T) {
	for _, old := range []string{"one shard", "all"} {
		t.Run(old, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				all, leader, lives := w.five()
				third := without([]string{"s1", "s2", "s3"}, leader, lives)[0]
				w.keepArchive()
				c := w.sing(6, "r1")
				time.Sleep(time.Second)
				owners := c.owners("r1")
				here := []string{lives, "r1"}
				away := without(all, here...)
				w.split(away, here)
				if old == "one shard" {
					w.kill(leader, "r2")
				}
				time.Sleep(5 * time.Second)
				if status, body := w.recover("r1"); status != http.StatusOK {
					t.Fatalf("recover: %d %s", status, body)
				}
				time.Sleep(2 * time.Second)
				c.flows(func() { time.Sleep(2 * time.Second) }, func(string, string) bool { return true })
				before := w.running["r1"].Table()

				back := without(w.living(), here...)
				w.unsplit(back, here)
				w.agree(10 * time.Second)
				after := w.running[third].Table()
				for p, row := range after.Rows() {
					if !row.Equal(before.Row(p)) {
						t.Errorf("partition %d: %v became %v", p, before.Row(p), row)
					}
				}
				if f := after.Founding(); f.Generation != 1 {
					t.Errorf("%s belongs to generation %d", third, f.Generation)
				}
				c.flows(func() { time.Sleep(2 * time.Second) }, func(string, string) bool { return true })
				c.whole(func(room string) bool { return owners[room] != lives })
			})
		})
	}
}

package node_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// refusedAs checks that an error is a Refusal with the status and code.
func refusedAs(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	var r *admin.Refusal
	if !errors.As(err, &r) || r.Status != status || r.Code != code || r.Message == "" {
		t.Errorf("%s: %v, want %d %s", what, err, status, code)
	}
}

// Any node has any other leave, politely: what it owned is handed over, and its Run returns nil.
func TestDrainByWord(t *testing.T) {
	for _, c := range []struct{ at, node string }{{"r1", "s2"}, {"s2", ""}, {"s3", "s2"}, {"r1", "r2"}, {"r2", ""}, {"s1", "r2"}} {
		t.Run(c.at+" drains "+c.node, func(t *testing.T) {
			inCopies(t, 3, func(t *testing.T, w *world) {
				id := c.node
				if id == "" {
					id = c.at
				}
				victim := w.running[id]
				doc, err := w.running[c.at].Source().Drain(t.Context(), c.node)
				if err != nil || doc.Node != victim.Name() {
					t.Fatalf("drain = %+v, %v", doc, err)
				}
				_, err = w.running[c.at].Source().Drain(t.Context(), c.node)
				refusedAs(t, "drained twice", err, http.StatusConflict, "not_alive")
				<-victim.ended
				if victim.err != nil {
					t.Errorf("run = %v", victim.err)
				}
				time.Sleep(time.Second)
				for p, row := range w.running["s1"].Table().Rows() {
					if row.Owner == victim.Name() || slices.Contains(row.Followers, victim.Name()) {
						t.Errorf("partition %d: %+v", p, row)
					}
				}
				other := "r1"
				if _, err = w.running[other].Source().Drain(t.Context(), id); err == nil || !strings.Contains(err.Error(), "is dead") {
					t.Errorf("a node that left is drained: %v", err)
				}
				w.settle(20 * time.Second)
			})
		})
	}
}

// What cannot be drained is said, and nothing happens.
func TestDrainRefused(t *testing.T) {
	inCopies(t, 3, func(t *testing.T, w *world) {
		source := w.running["r1"].Source()
		_, err := source.Drain(t.Context(), "s9")
		refusedAs(t, "nobody", err, http.StatusNotFound, "unknown_node")
		_, err = source.Drain(t.Context(), "s1/0000000000001")
		refusedAs(t, "another run", err, http.StatusNotFound, "unknown_node")
		w.kill("s3")
		_, err = source.Drain(t.Context(), "s3")
		refusedAs(t, "the dead", err, http.StatusConflict, "not_alive")
		_, err = source.Drain(t.Context(), string(w.running["s3"].Name()))
		refusedAs(t, "a dead run", err, http.StatusConflict, "not_alive")
		twin := w.running["s2"]
		twin.late = true // the test ends before its drain
		w.shard("s2", 3, shard.Config{})
		w.waitFor("two runs of s2", 10*time.Second, func() bool { return len(w.running["r1"].View().Runs("s2")) == 2 })
		_, err = source.Drain(t.Context(), "s2")
		refusedAs(t, "two runs", err, http.StatusConflict, "ambiguous")
		w.waitFor("a link to the other run", 10*time.Second, func() bool {
			doc, err := source.Drain(t.Context(), string(twin.Name()))
			return err == nil && doc.Node == twin.Name()
		})
	})
}

// A plan is what happens: to add a shard, and to take one away.
func TestPlanIsWhatHappens(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.config = func(c *node.Config) {
			c.Followers, c.MaxMoves, c.Zone = 1, 0, map[bool]string{true: "a", false: "b"}[c.ID == "s1" || c.ID == "new-1"]
		}
		w.cluster(3, 2)
		w.settle(20 * time.Second)
		before := w.running["r1"].Table()
		doc, err := w.running["r2"].Source().Plan(t.Context(), admin.PlanQuery{Add: 1})
		if err != nil || !doc.Settled || len(doc.Shards) != 4 || doc.Add != 1 {
			t.Fatalf("plan = %+v, %v", doc, err)
		}
		if s := doc.Shards[0]; s.ID != "new-1" || !s.New || s.Zone != "a" || s.Owned != 0 || s.OwnedThen == 0 || s.FollowingThen == 0 || s.Ideal != partitions/4 {
			t.Errorf("the new one: %+v", s)
		}
		w.shard("new-1", 3, shard.Config{})
		w.waitFor("new-1 is on the ring", 10*time.Second, func() bool { return len(w.running["r1"].Ring().Shards()) == 4 })
		w.settle(30 * time.Second)
		time.Sleep(10 * time.Second) // followers go on to where they are wanted
		w.cameTrue(t, &doc)
		for p, row := range w.running["r1"].Table().Rows() {
			i := slices.IndexFunc(doc.Moves, func(m admin.PlannedMove) bool { return m.Partition == p })
			if was := before.Row(p); (i >= 0) != (was.Owner != row.Owner) || i >= 0 && (doc.Moves[i].From != was.Owner.ID() || doc.Moves[i].To != row.Owner.ID()) {
				t.Errorf("partition %d went from %s to %s, planned %v", p, was.Owner, row.Owner, i)
			}
		}

		doc, err = w.running["s2"].Source().Plan(t.Context(), admin.PlanQuery{Remove: "s3"})
		if err != nil || !doc.Settled || len(doc.Shards) != 4 || doc.Remove != "s3" {
			t.Fatalf("plan = %+v, %v", doc, err)
		}
		if s := doc.Shards[3]; !s.Removed || s.New || s.Owned == 0 || s.OwnedThen != 0 || s.FollowingThen != 0 || s.Ideal != 0 || s.Zone != "b" || len(doc.Moves) < s.Owned || doc.Ideal < s.Owned {
			t.Errorf("the removed one: %+v, %d move, ideal %d", s, len(doc.Moves), doc.Ideal)
		}
		if _, err := w.running["s2"].Source().Drain(t.Context(), "s3"); err != nil {
			t.Fatal(err)
		}
		<-w.running["s3"].ended
		w.settle(30 * time.Second)
		time.Sleep(10 * time.Second)
		w.cameTrue(t, &doc)
	})
}

// cameTrue checks that shards have what was planned.
func (w *world) cameTrue(t *testing.T, doc *admin.PlanDocument) {
	t.Helper()
	now := w.running["r1"].Source().Nodes(t.Context())
	for _, s := range doc.Shards {
		has := figuresOf(now, string(s.ID))
		if has.Owned != s.OwnedThen || has.Following != s.FollowingThen {
			t.Errorf("%s owns %d and follows %d, planned were %+v", s.ID, has.Owned, has.Following, s)
		}
	}
}

// What cannot be planned is said.
func TestPlanRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.router("r1", router.Config{})
		_, err := w.running["r1"].Source().Plan(t.Context(), admin.PlanQuery{Add: 1})
		refusedAs(t, "without a table", err, http.StatusServiceUnavailable, "no_table")
		w.config = func(c *node.Config) { c.Followers = 1 }
		w.shard("s1", 1, shard.Config{})
		w.settle(20 * time.Second)
		source := w.running["r1"].Source()
		_, err = source.Plan(t.Context(), admin.PlanQuery{Remove: "s1"})
		refusedAs(t, "the only shard", err, http.StatusConflict, "only_shard")
		_, err = source.Plan(t.Context(), admin.PlanQuery{Remove: "r1"})
		refusedAs(t, "a router", err, http.StatusConflict, "not_a_shard")
		_, err = source.Plan(t.Context(), admin.PlanQuery{Remove: "s7"})
		refusedAs(t, "nobody", err, http.StatusNotFound, "unknown_node")
		doc, err := source.Plan(t.Context(), admin.PlanQuery{Add: admin.MaxAdd})
		if err != nil || len(doc.Shards) != admin.MaxAdd+1 || len(doc.Moves) == 0 || doc.Copies == 0 {
			t.Errorf("a plan for many: %d shards, %d moves, %d copies, %v", len(doc.Shards), len(doc.Moves), doc.Copies, err)
		}
	})
}

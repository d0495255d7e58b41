//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// TestFiguresAgree asks for the same numbers in every way that there is: from any node (/v1/nodes), live (the
// page's events), for Prometheus (/metrics), and at the command line. While messages flow, what only
// grows must lie between two scrapes; once nothing flows, all must be the same.
func TestFiguresAgree(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "s1", "s2", "s3", "r1", "r2")
	c.startAll("s1", "s2", "s3", "r1", "r2")
	const rooms, members = 40, 5
	bench := c.load("rooms", "--rooms", fmt.Sprint(rooms), "--members", fmt.Sprint(members), "--rate", "2000", "--for", "30m")
	c.nodes["r1"].waitDelivering(t)

	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		c.checkBetween(t, c.nodes[id])
	}
	bench.kill()
	c.waitQuiet(t)
	c.checkSame(t)
}

// figures is what we read of one node in /v1/nodes.
type nodeFigures struct {
	ID         string
	Role       string
	State      string
	Reached    bool
	Leader     bool
	Voter      bool
	Owned      int
	Following  int
	Conns      int
	Rooms      int
	Members    int
	Messages   uint64 `json:"messages_total"`
	Deliveries uint64 `json:"deliveries_total"`
	BytesIn    uint64 `json:"bytes_in_total"`
	BytesOut   uint64 `json:"bytes_out_total"`
	LagEntries int    `json:"lag_entries"`
}

// nodesDocument is what we read of /v1/nodes.
type nodesDocument struct {
	Asked    string
	Complete bool
	Nodes    []nodeFigures
}

// totals are what a node's figures say of what only grows, by the names that /metrics has for it.
func (f *nodeFigures) totals() map[string]float64 {
	if f.Role == "router" {
		return map[string]float64{
			"roomring_router_messages_total":       float64(f.Messages),
			"roomring_hub_deliveries_total":        float64(f.Deliveries),
			"roomring_router_received_bytes_total": float64(f.BytesIn),
			"roomring_router_sent_bytes_total":     float64(f.BytesOut),
		}
	}
	return map[string]float64{
		"roomring_shard_published_total": float64(f.Messages),
		"roomring_shard_delivered_total": float64(f.Deliveries),
	}
}

// gauges are likewise what stands still while conns stay and rooms do not move.
func (f *nodeFigures) gauges() map[string]float64 {
	if f.Role == "router" {
		return map[string]float64{"roomring_router_websockets": float64(f.Conns), "roomring_hub_rooms": float64(f.Rooms), "roomring_hub_members": float64(f.Members)}
	}
	return map[string]float64{"roomring_shard_owned_partitions": float64(f.Owned), "roomring_shard_following_partitions": float64(f.Following),
		"roomring_shard_owned_rooms": float64(f.Rooms), "roomring_shard_members": float64(f.Members)}
}

// nodesOf asks one node for the figures of all, until all have answered it in time.
func (n *node) nodesOf(t *testing.T) (doc nodesDocument) {
	t.Helper()
	eventually(t, "an answer from all nodes", patience, func() bool {
		status, body, err := n.ask("/v1/nodes")
		if err != nil || status != 200 {
			t.Fatalf("/v1/nodes of %s: %d %v %s", n.id, status, err, body)
		}
		doc = nodesDocument{}
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatalf("/v1/nodes of %s: %v", n.id, err)
		}
		return doc.Complete
	})
	return doc
}

// heardNodes is a nodes event of a node's stream to which all nodes answered in time, but not the first:
// that one may be of the second before.
func (n *node) heardNodes(t *testing.T) (doc nodesDocument) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	heard := 0
	err := n.events(ctx, "/v1/events", func(name, data string) {
		if name != "nodes" || heard > 1 && doc.Complete {
			return
		}
		heard++
		doc = nodesDocument{}
		if err := json.Unmarshal([]byte(data), &doc); err != nil {
			t.Errorf("nodes event of %s: %v", n.id, err)
		}
		if heard > 1 && doc.Complete {
			stop()
		}
	})
	if err != nil || heard < 2 || !doc.Complete {
		t.Fatalf("no nodes event from %s with answers of all: %v", n.id, err)
	}
	return doc
}

// scrapeAll reads /metrics of all nodes.
func (c *cluster) scrapeAll(t *testing.T) map[string]map[string]float64 {
	t.Helper()
	all := map[string]map[string]float64{}
	for id, n := range c.nodes {
		all[id] = n.metrics(t)
	}
	return all
}

// checkBetween asks one node for the figures of all while messages flow.
func (c *cluster) checkBetween(t *testing.T, asked *node) {
	t.Helper()
	before := c.scrapeAll(t)
	for _, doc := range []nodesDocument{asked.nodesOf(t), asked.heardNodes(t)} {
		after := c.scrapeAll(t)
		if len(doc.Nodes) != len(c.nodes) || doc.Asked != asked.id {
			t.Errorf("%s answers as %s, for %d nodes", asked.id, doc.Asked, len(doc.Nodes))
		}
		for _, f := range doc.Nodes {
			for name, value := range f.totals() {
				low, known := before[f.ID][name]
				if high := after[f.ID][name]; !known || value < low || value > high {
					t.Errorf("%s says of %s: %s %.0f, but /metrics (%v) said %.0f before and %.0f after", asked.id, f.ID, name, value, known, low, high)
				}
			}
			for name, value := range f.gauges() {
				if at, known := after[f.ID][name]; !known || value != at {
					t.Errorf("%s says of %s: %s %.0f, but /metrics (%v) %.0f", asked.id, f.ID, name, value, known, at)
				}
			}
		}
	}
}

// waitQuiet waits until nothing changes any more: all members have left, and all owners know it.
func (c *cluster) waitQuiet(t *testing.T) {
	t.Helper()
	eventually(t, "quiet", patience, func() bool {
		for _, n := range c.nodes {
			m := n.metrics(t)
			if m["roomring_router_websockets"]+m["roomring_hub_members"]+m["roomring_shard_members"]+m["roomring_hub_unacknowledged_bytes"] > 0 {
				return false
			}
		}
		return true
	})
}

// checkSame holds all sources against each other while nothing happens.
func (c *cluster) checkSame(t *testing.T) {
	t.Helper()
	r1, s1 := c.nodes["r1"], c.nodes["s1"]
	documents := map[string]nodesDocument{"r1": r1.nodesOf(t), "s1": s1.nodesOf(t), "r1's page": r1.heardNodes(t), "s1's page": s1.heardNodes(t)}
	scraped := c.scrapeAll(t)
	settled := r1.metrics(t)["roomring_settled"]
	whole, err := r1.ring()
	if err != nil {
		t.Fatal(err)
	}
	for who, doc := range documents {
		for _, f := range doc.Nodes {
			want := f.totals()
			maps.Copy(want, f.gauges())
			for name, value := range want {
				if at := scraped[f.ID][name]; at != value {
					t.Errorf("%s says of %s: %s %.0f, /metrics %.0f", who, f.ID, name, value, at)
				}
			}
			if f.Owned != whole.owned(f.ID) || f.Leader != (whole.Leader == f.ID) || f.Voter != slices.Contains(whole.Voters, f.ID) {
				t.Errorf("%s says of %s: owned %d, leader %v, voter %v; /v1/ring has %d, %s, %v", who, f.ID, f.Owned, f.Leader, f.Voter, whole.owned(f.ID), whole.Leader, whole.Voters)
			}
		}
	}
	if (settled == 1) != whole.Settled {
		t.Errorf("/metrics says settled %v, /v1/ring %v", settled, whole.Settled)
	}
	c.checkCommands(t, &whole, documents["r1"])
}

// checkCommands holds the command line against what the nodes say.
func (c *cluster) checkCommands(t *testing.T, whole *ring, doc nodesDocument) {
	t.Helper()
	at := func(args ...string) []string {
		return append(args, "--node", c.nodes["s2"].admin, "--token", c.token, "--json")
	}
	var told ring
	c.tell(t, &told, at("ring")...)
	if told.Fingerprint != whole.Fingerprint || told.Version != whole.Version {
		t.Errorf("roomring ring has %s, version %d; /v1/ring %s, version %d", told.Fingerprint, told.Version, whole.Fingerprint, whole.Version)
	}
	var list struct {
		Rooms []struct {
			Room   string
			Owner  string
			Offset uint64
		}
		More bool
	}
	c.tell(t, &list, at("rooms", "--limit", "1000")...)
	owned, messages := map[string]int{}, uint64(0)
	for _, r := range list.Rooms {
		owned[r.Owner]++
		messages += r.Offset
	}
	rooms, published := 0, uint64(0)
	for _, f := range doc.Nodes {
		if f.Role == "shard" {
			rooms, published = rooms+f.Rooms, published+f.Messages
			if owned[f.ID] != f.Rooms {
				t.Errorf("roomring rooms lists %d rooms of %s, /v1/nodes has %d", owned[f.ID], f.ID, f.Rooms)
			}
		}
	}
	if list.More || len(list.Rooms) != rooms || rooms == 0 || messages != published {
		t.Errorf("roomring rooms lists %d rooms (more: %v) with %d messages; /v1/nodes has %d and %d", len(list.Rooms), list.More, messages, rooms, published)
	}
	var room struct{ Offset uint64 }
	c.tell(t, &room, at("room", list.Rooms[0].Room)...)
	if room.Offset != list.Rooms[0].Offset {
		t.Errorf("roomring room %s: offset %d, in the list %d", list.Rooms[0].Room, room.Offset, list.Rooms[0].Offset)
	}
}

// tell runs a command and reads its JSON.
func (c *cluster) tell(t *testing.T, into any, args ...string) {
	t.Helper()
	out, errs, code := command(t, args...)
	if code != 0 {
		t.Fatalf("roomring %s: exit %d: %s", args[0], code, errs)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("roomring %s: %v in %s", args[0], err, out)
	}
}

// TestDrainByCommand drains a shard from the command line, at another node: its process ends as after a
// SIGTERM, and the feed says what became of its partitions; then another is killed, and the feed says that.
func TestDrainByCommand(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "s1", "s2", "s3", "r1")
	c.startAll("s1", "s2", "s3", "r1")
	m := dial(t, c.nodes["r1"].listen, "kept")
	m.echo("before", patience)

	out, errs, code := command(t, "drain", "s2", "--yes", "--node", c.nodes["r1"].admin, "--token", c.token)
	if code != 0 {
		t.Fatalf("roomring drain: exit %d\n%s%s", code, out, errs)
	}
	if code := c.nodes["s2"].exit(t, patience); code != 0 {
		t.Errorf("the drained shard ended with %d", code)
	}
	c.waitOneRing(patience)
	m.echo("between", patience)
	c.waitFed(t, "handoff", "s2")

	c.nodes["s1"].kill()
	c.waitOneRing(patience)
	m.echo("after", patience)
	c.waitFed(t, "failover", "s1")
	if m.ending() != nil {
		t.Errorf("the member's conn was closed: %v", m.ending())
	}
}

// waitFed waits until a router's feed says that partitions went from a node, and why.
func (c *cluster) waitFed(t *testing.T, kind, from string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	found := false
	err := c.nodes["r1"].events(ctx, "/v1/events?only=feed", func(name, data string) {
		var e struct {
			Kind, From, To, Reason string
			Partitions             int
			At                     int64
		}
		if name != "feed" || json.Unmarshal([]byte(data), &e) != nil {
			t.Errorf("event %s: %s", name, data)
		}
		if e.Kind == kind && e.From == from && e.To != "" && e.Partitions > 0 && e.Reason != "" && time.Since(time.UnixMilli(e.At)) < 10*patience {
			found = true
			stop()
		}
	})
	if !found {
		t.Errorf("the feed never says %s from %s (%v)", kind, from, err)
	}
}

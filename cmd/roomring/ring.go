package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/roomring/roomring/cluster/plan"
)

type ringCommand struct {
	Wide    bool `name:"wide" help:"All addresses of every node too, and which run of it this is."`
	Figures bool `name:"figures" help:"What every node has to do instead: conns, rooms, messages, memory. Takes a second."`

	Wait time.Duration `name:"wait" placeholder:"TIME" default:"0s" help:"First wait until the cluster is settled and has all its voters, or so much time has passed."`
	asked
}

func (ringCommand) Help() string {
	return `Asks one node, which answers for the whole cluster.

  roomring ring --node 10.0.0.7:7402
  roomring ring --figures
  roomring ring --json | jq .settled
  roomring ring --wait 5m

Settled is a cluster in which every partition is where it should be, with all its copies. The promises are
about one failure at a time, from settled to settled: that, and all voters, is what --wait waits for.
With --figures --json the answer is that of /v1/nodes, with totals since each node started.
Exit code: 0 an answer came, and with --wait the cluster is settled with all its voters, 1 no answer came, or
it is not, or with --figures not every living node answered.`
}

// ringDocument is what we read of GET /v1/ring.
type ringDocument struct {
	Cluster     string     `json:"cluster"`
	Instance    string     `json:"instance"`
	Settled     bool       `json:"settled"`
	SingleCopy  int        `json:"single_copy"`
	Voters      []string   `json:"voters"`
	Leader      string     `json:"leader"`
	Fingerprint string     `json:"fingerprint"`
	Version     uint64     `json:"version"`
	Nodes       []ringNode `json:"nodes"`
	Table       []struct {
		Owner  string `json:"owner"`
		Wanted string `json:"wanted"`
	} `json:"table"`
	Moves []struct {
		Partition int `json:"partition"`
	} `json:"moves"`
}

type ringNode struct {
	ID          string            `json:"id"`
	Incarnation string            `json:"incarnation"`
	Role        string            `json:"role"`
	State       string            `json:"state"`
	Zone        string            `json:"zone"`
	Addresses   map[string]string `json:"addresses"`
	Owned       int               `json:"owned"`
	Following   int               `json:"following"`
}

// name is the name of the run.
func (n *ringNode) name() string { return n.ID + "/" + n.Incarnation }

// Run prints the ring as one node sees it.
func (c *ringCommand) Run(w *world) error {
	if c.Figures && c.Wide {
		return usage("--figures and --wide are different tables: give one of them")
	}
	if c.Wait < 0 {
		return usage(fmt.Sprintf("--wait: %s is less than nothing", c.Wait))
	}
	unsettled := c.settle(w)
	if w.ctx.Err() != nil {
		return unsettled
	}
	return cmp.Or(c.show(w), unsettled) // without an answer both say the same
}

// settleEvery is how long --wait waits between two questions.
const settleEvery = 250 * time.Millisecond

// settle waits until the cluster is settled. A node that does not answer may do so later.
func (c *ringCommand) settle(w *world) error {
	if c.Wait == 0 {
		return nil
	}
	ctx, stop := context.WithTimeout(w.ctx, c.Wait)
	defer stop()
	for {
		var ring ringDocument
		body, err := c.get(w.ctx, "/v1/ring", url.Values{"table": {"0"}})
		if err == nil {
			err = c.read(body, &ring)
		}
		if away := (*awayError)(nil); ring.whole() || err != nil && !errors.As(err, &away) {
			return err
		}
		select {
		case <-ctx.Done():
			return cmp.Or(err, fmt.Errorf("the cluster is not settled, or lacks voters, after %s", c.Wait))
		case <-time.After(settleEvery):
		}
	}
}

// whole tells whether the next failure may come: the cluster is settled and has all its voters, one of
// whom leads. A voter counts that lives: an earlier run of a node may be listed beside the present one.
func (r *ringDocument) whole() bool {
	alive, voters := 0, 0
	for _, n := range r.Nodes {
		if n.State != "alive" {
			continue
		}
		alive++
		if slices.Contains(r.Voters, n.ID) {
			voters++
		}
	}
	return r.Settled && r.Leader != "" && voters >= plan.VotersFor(alive)
}

// show prints what is asked for.
func (c *ringCommand) show(w *world) error {
	if c.Figures {
		return c.figures(w)
	}
	body, err := c.get(w.ctx, "/v1/ring", url.Values{})
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := w.stdout.Write(body)
		return err
	}
	var ring ringDocument
	if err := c.read(body, &ring); err != nil {
		return err
	}
	return printRing(w.screen(), &ring, c.Wide)
}

func printRing(s screen, ring *ringDocument, wide bool) error {
	slices.SortFunc(ring.Nodes, func(a, b ringNode) int {
		return cmp.Or(strings.Compare(b.Role, a.Role), natural(a.ID, b.ID), strings.Compare(a.Incarnation, b.Incarnation)) // shards first
	})
	t := &table{columns: []column{{title: "NODE", shrinks: true}, {title: "ROLE"}, {title: "STATE"}, {title: "OWNS", right: true},
		{title: "FOLLOWS", right: true}, {title: "VOTE"}, {title: "ZONE", shrinks: true}, {title: "ADMIN", shrinks: true}}}
	if wide {
		t.columns = append(t.columns, column{title: "LINK"}, column{title: "GOSSIP"}, column{title: "CLIENTS"}, column{title: "RUN"})
	}
	for i := range ring.Nodes {
		n := &ring.Nodes[i]
		owns, follows := "", ""
		if n.Role == "shard" {
			owns, follows = fmt.Sprint(n.Owned), fmt.Sprint(n.Following)
		}
		a := n.Addresses
		texts := []string{n.ID, n.Role, n.State, owns, follows, ring.vote(n), n.Zone, a["admin"]}
		if wide {
			texts = append(texts, a["link"], a["gossip"], a["listen"], n.Incarnation)
		}
		t.row(texts...)
		t.tint(2, statePaint(n.State))
	}
	if wide {
		s.width = 0 // asked for
	}
	if err := t.flush(s); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.w, "\n%s\n%s\n", summary(s, ring), council(ring))
	return err
}

// vote is what the node has to say about the Table. The dead do not vote, though the voters may still
// list their id.
func (r *ringDocument) vote(n *ringNode) string {
	switch {
	case n.State == "dead":
		return ""
	case n.ID == r.Leader:
		return "leader"
	case slices.Contains(r.Voters, n.ID):
		return "voter"
	}
	return ""
}

// summary is what a person wants to know first.
func summary(s screen, ring *ringDocument) string {
	alive := map[string]int{}
	for _, n := range ring.Nodes {
		if n.State == "alive" {
			alive[n.Role]++
		}
	}
	unowned, astray := 0, 0
	for _, row := range ring.Table {
		if row.Owner == "" {
			unowned++
		} else if row.Owner != row.Wanted && row.Wanted != "" {
			astray++
		}
	}
	settled := s.stroke(good, "settled")
	if !ring.Settled {
		settled = s.stroke(warned, "not settled")
	}
	lines := []string{
		fmt.Sprintf("cluster %s; %s; table %s, fingerprint %s", dash(ring.Cluster), settled, version(ring.Version), dash(ring.Fingerprint)),
		fmt.Sprintf("%s and %s alive; %d of %d partitions owned", plural(alive["shard"], "shard"), plural(alive["router"], "router"),
			len(ring.Table)-unowned, len(ring.Table)),
	}
	var notes []string
	if astray > 0 {
		notes = append(notes, fmt.Sprintf("%d not where the ring wants them", astray))
	}
	if ring.SingleCopy > 0 {
		notes = append(notes, fmt.Sprintf("%d in one copy only", ring.SingleCopy))
	}
	if len(ring.Moves) > 0 {
		notes = append(notes, plural(len(ring.Moves), "move")+" under way")
	}
	if len(notes) > 0 {
		lines = append(lines, "of these, "+strings.Join(notes, ", "))
	}
	return strings.Join(lines, "\n")
}

// version words a Table's version, whose upper half is the generation: how often the cluster was
// founded anew.
func version(v uint64) string {
	text := fmt.Sprintf("version %d", uint32(v))
	if generation := v >> 32; generation > 0 {
		text += fmt.Sprintf(" of generation %d", generation)
	}
	return text
}

// council says who decides about the Table.
func council(ring *ringDocument) string {
	if ring.Instance == "" {
		return "no table: the cluster is not founded yet, or this node has not learned of it"
	}
	leader := "leader " + printable(ring.Leader)
	if ring.Leader == "" {
		leader = "no leader: the table cannot change (no_majority)"
	}
	return "voters " + dash(strings.Join(ring.Voters, ", ")) + "; " + leader
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
)

type ringCommand struct{ asked }

func (ringCommand) Help() string {
	return `Asks one node, which answers for the whole cluster. For scripts: roomring ring --json | jq .settled`
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
	return printRing(w.stdout, &ring)
}

func printRing(w io.Writer, ring *ringDocument) error {
	slices.SortFunc(ring.Nodes, func(a, b ringNode) int {
		return cmp.Or(strings.Compare(b.Role, a.Role), strings.Compare(a.ID, b.ID), strings.Compare(a.Incarnation, b.Incarnation)) // shards first
	})
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tSTATE\tOWNS\tFOLLOWS\tZONE\tLINK\tGOSSIP\tADMIN\tCLIENTS")
	for _, n := range ring.Nodes {
		owns, follows := dash(""), dash("")
		if n.Role == "shard" {
			owns, follows = fmt.Sprint(n.Owned), fmt.Sprint(n.Following)
		}
		a := n.Addresses
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", dash(n.ID), dash(n.Role), dash(n.State), owns, follows, dash(n.Zone),
			dash(a["link"]), dash(a["gossip"]), dash(a["admin"]), dash(a["listen"]))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "\n"+summary(ring)+"\n"+council(ring))
	return err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// summary is the first line under the table.
func summary(ring *ringDocument) string {
	alive := map[string]int{}
	for _, n := range ring.Nodes {
		if n.State == "alive" {
			alive[n.Role]++
		}
	}
	parts := []string{
		fmt.Sprintf("cluster %s", dash(ring.Cluster)),
		plural(alive["shard"], "shard") + " and " + plural(alive["router"], "router") + " alive",
	}
	unowned, astray := 0, 0
	for _, row := range ring.Table {
		if row.Owner == "" {
			unowned++
		} else if row.Owner != row.Wanted && row.Wanted != "" {
			astray++
		}
	}
	owned := fmt.Sprintf("%d of %d partitions owned", len(ring.Table)-unowned, len(ring.Table))
	if astray > 0 {
		owned += fmt.Sprintf(", %d not where the ring wants them", astray)
	}
	if ring.SingleCopy > 0 {
		owned += fmt.Sprintf(", %d in one copy only", ring.SingleCopy)
	}
	if len(ring.Moves) > 0 {
		owned += ", " + plural(len(ring.Moves), "move") + " under way"
	}
	parts = append(parts, owned)
	if ring.Settled {
		parts = append(parts, "settled")
	} else {
		parts = append(parts, "not settled")
	}
	parts = append(parts, fmt.Sprintf("table %s, fingerprint %s", version(ring.Version), dash(ring.Fingerprint)))
	return strings.Join(parts, "; ")
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

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/proto"
)

type planCommand struct {
	Add    int    `name:"add" placeholder:"N" help:"If so many shards were added, 1 to 64."`
	Remove string `name:"remove" placeholder:"ID" help:"If this shard were drained, or gone."`
	asked
}

func (planCommand) Help() string {
	return `Give one of --add and --remove. Nothing is changed by asking.

  roomring plan --add 1
  roomring plan --remove s2
  roomring plan --add 3 --json | jq '.moves | length'

IDEAL is what a shard would own if all had the same share; the ideal number of moves is the least that any
placement as even as possible would need. Exit code: 0 an answer came, 1 none did.`
}

// Run shows what a change would move.
func (c *planCommand) Run(w *world) error {
	q := url.Values{}
	switch {
	case (c.Add != 0) == (c.Remove != ""):
		return usage("give --add N or --remove ID, one of them")
	case c.Remove != "":
		if err := proto.CheckNodeID(c.Remove); err != nil {
			return usage("--remove: " + err.Error())
		}
		q.Set("remove", c.Remove)
	case c.Add < 1 || c.Add > admin.MaxAdd:
		return usage(fmt.Sprintf("--add: %d is out of bounds: want 1 to %d", c.Add, admin.MaxAdd))
	default:
		q.Set("add", strconv.Itoa(c.Add))
	}
	plan, body, err := c.plan(w.ctx, q)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := w.stdout.Write(body)
		return err
	}
	return printPlan(w.screen(), plan)
}

// plan asks what a change would move. body is the answer as it came.
func (n *asked) plan(ctx context.Context, q url.Values) (plan *admin.PlanDocument, body []byte, err error) {
	if body, err = n.get(ctx, "/v1/ring/plan", q); err != nil {
		return nil, nil, err
	}
	plan = &admin.PlanDocument{}
	return plan, body, n.read(body, plan)
}

// printPlan prints what is said first, then who gives what to whom, then each shard before and after.
func printPlan(s screen, plan *admin.PlanDocument) error {
	if _, err := fmt.Fprintf(s.w, "%s\n\n", outline(plan)); err != nil {
		return err
	}
	if len(plan.Moves) > 0 {
		if err := printMoves(s, plan.Moves); err != nil {
			return err
		}
		fmt.Fprintln(s.w)
	}
	return printShares(s, plan.Shards)
}

// outline is a plan in a sentence or two.
func outline(plan *admin.PlanDocument) string {
	what := "Without " + printable(plan.Remove)
	if plan.Remove == "" {
		what = "With " + plural(plan.Add, "more shard")
	}
	text := fmt.Sprintf("%s, %s would get another owner (the ideal: %d)\nand %d another follower.",
		what, plural(len(plan.Moves), "partition"), plan.Ideal, plan.Copies)
	if !plan.Settled {
		text += "\nThe cluster is not settled: some of these moves are under way already."
	}
	return text
}

// pair is a giver and a taker, "" is nobody.
type pair struct{ from, to proto.NodeID }

// maxPairs bounds the list of pairs that a person gets.
const maxPairs = 40

// printMoves prints a matrix of who gives how many partitions to whom, or a list where a matrix would
// be too wide.
func printMoves(s screen, moves []admin.PlannedMove) error {
	counts := map[pair]int{}
	givers, takers := map[proto.NodeID]bool{}, map[proto.NodeID]bool{}
	for _, m := range moves {
		counts[pair{m.From, m.To}]++
		givers[m.From], takers[m.To] = true, true
	}
	from, to := slices.SortedFunc(maps.Keys(givers), natural), slices.SortedFunc(maps.Keys(takers), natural)
	if t := matrix(counts, from, to); t.fits(cmp.Or(s.width, usualWidth)) {
		return t.flush(s)
	}
	pairs := slices.SortedFunc(maps.Keys(counts), func(a, b pair) int {
		return cmp.Or(counts[b]-counts[a], natural(a.from, b.from), natural(a.to, b.to))
	})
	t := &table{columns: []column{{title: "FROM", shrinks: true}, {title: "TO", shrinks: true}, {title: "PARTITIONS", right: true}}}
	rest := 0
	for i, p := range pairs {
		if i < maxPairs {
			t.row(nobody(p.from), nobody(p.to), fmt.Sprint(counts[p]))
		} else {
			rest += counts[p]
		}
	}
	if err := t.flush(s); err != nil || rest == 0 {
		return err
	}
	_, err := fmt.Fprintf(s.w, "and %d more between %d other pairs\n", rest, len(pairs)-maxPairs)
	return err
}

func matrix(counts map[pair]int, from, to []proto.NodeID) *table {
	t := &table{columns: []column{{title: `FROM \ TO`}}}
	for _, id := range to {
		t.columns = append(t.columns, column{title: nobody(id), right: true})
	}
	for _, giver := range from {
		texts := []string{nobody(giver)}
		for _, taker := range to {
			n := counts[pair{giver, taker}]
			if n == 0 {
				texts = append(texts, "")
				continue
			}
			texts = append(texts, fmt.Sprint(n))
		}
		t.row(texts...)
	}
	return t
}

// nobody shows an id, or that there is none.
func nobody(id proto.NodeID) string {
	if id == "" {
		return "(nobody)"
	}
	return printable(string(id))
}

func printShares(s screen, shards []admin.PlannedShard) error {
	slices.SortStableFunc(shards, func(a, b admin.PlannedShard) int {
		switch {
		case a.New && !b.New:
			return 1
		case b.New && !a.New:
			return -1
		}
		return natural(a.ID, b.ID)
	})
	t := &table{columns: []column{{title: "SHARD", shrinks: true}, {title: "ZONE", shrinks: true}, {title: "OWNS", right: true}, {title: "THEN", right: true},
		{title: "IDEAL", right: true}, {title: "FOLLOWS", right: true}, {title: "THEN", right: true}, {title: "CHANGE"}}}
	for _, x := range shards {
		change, colour := "", plain
		switch {
		case x.New:
			change, colour = "new", good
		case x.Removed:
			change, colour = "goes", warned
		}
		t.row(string(x.ID), x.Zone, fmt.Sprint(x.Owned), fmt.Sprint(x.OwnedThen), fmt.Sprint(x.Ideal),
			fmt.Sprint(x.Following), fmt.Sprint(x.FollowingThen), change)
		t.tint(len(t.columns)-1, colour)
	}
	return t.flush(s)
}

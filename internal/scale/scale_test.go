package main

import (
	"flag"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const document = "../../docs/scale.md"

var update = flag.Bool("update", false, "write the tables of the document anew")

// TestDocument: the tables of the document are those that the code gives.
func TestDocument(t *testing.T) {
	b, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for _, x := range tables {
		begin, end := "<!-- "+x.name+" -->\n", "<!-- end of "+x.name+" -->"
		before, rest, found := strings.Cut(doc, begin)
		old, after, ended := strings.Cut(rest, end)
		if !found || !ended {
			t.Errorf("%s has no place for the table of %s", document, x.name)
			continue
		}
		now := text(x.write)
		if *update {
			doc = before + begin + now + end + after
		} else if old != now {
			t.Errorf("%s: the table of %s is not what the code gives (-update writes it anew)\nhave:\n%swant:\n%s", document, x.name, old, now)
		}
	}
	if *update {
		if err := os.WriteFile(document, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestComfortable is what the document calls comfortable, up to a hundred shards: nobody has much more than its
// part, zones keep copies apart, a shard that comes or goes moves little, and nearly every fail-over lands where it
// is to stay.
func TestComfortable(t *testing.T) {
	for _, n := range []int{10, 33, 100} {
		c := makeCrowd(n, 0, 3)
		owned, followed := c.shares()
		mean := float64(proto.Partitions) / float64(n)
		if most := slices.Max(append(owned, followed...)); float64(most) > math.Ceil(1.25*mean) && n > 32 || float64(most) > 1.4*mean {
			t.Errorf("%d shards: one has %d partitions, %.1f are its part", n, most, mean)
		}
		for p, row := range c.rows {
			if c.zone(row.Owner) == c.zone(row.Followers[0]) {
				t.Fatalf("%d shards: both copies of partition %d are in zone %s", n, p, c.zone(row.Owner))
			}
		}
		f := c.forecast(plan.WithNew(c.shards, 1, func(proto.NodeID) bool { return false }))
		if float64(len(f.Shifts)) > 1.5*mean {
			t.Errorf("%d shards and one more: %d partitions get another owner, %.1f would be its part", n, len(f.Shifts), mean)
		}
		c = makeCrowd(n, 0, 1) // with zones a follower is where a whole zone's loss should take the partition
		if d := c.death(c.busiest()); d.again*5 > d.failovers {
			t.Errorf("%d shards, one dies: %d of %d partitions are moved once more", n, d.again, d.failovers)
		}
	}
}

func (c *crowd) zone(run proto.NodeName) string {
	n, _ := c.view.Node(run)
	return n.Zone
}

// TestFits: the largest cluster that links allow has a Table that fits into a frame, twice.
func TestFits(t *testing.T) {
	c := makeCrowd(1000, 24, 3)
	if n := len(cluster.AppendTable(nil, c.table)); n > proto.MaxFrame/2 {
		t.Errorf("the Table of 1000 shards has %d bytes", n)
	}
	if n := c.delta(c.table, c.after(c.rows[:1], nil)); n > 500 {
		t.Errorf("a delta of one row has %d bytes among 1000 shards", n)
	}
}

func TestNumbers(t *testing.T) {
	for have, want := range map[string]string{
		number(999): "999", number(1000): "1,000", number(1234567.0): "1,234,567", number(0): "0",
		size(0): "0 B", size(999): "999 B", size(1000): "1.0 KB", size(9960): "10 KB", size(99_960): "100 KB", size(999_600): "1.0 MB", size(1.5e9): "1.5 GB",
	} {
		if have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
}

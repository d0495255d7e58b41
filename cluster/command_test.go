package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

var drawName = rapid.Custom(func(t *rapid.T) proto.NodeName {
	return proto.MakeNodeName(proto.NodeID(fmt.Sprintf("s%d", rapid.IntRange(1, 4).Draw(t, "id"))), proto.Incarnation(rapid.IntRange(1, 2).Draw(t, "run")))
})

// drawCommand is one that may fit t or not: most name the terms that the rows have.
func drawCommand(t *rapid.T, table *Table) *Command {
	c := &Command{Term: uint64(rapid.IntRange(4, 5).Draw(t, "raft term"))}
	for range rapid.IntRange(0, 4).Draw(t, "changes") {
		p := rapid.IntRange(0, table.Partitions()).Draw(t, "partition")
		var was Row
		if p < table.Partitions() {
			was = table.Row(proto.Partition(p))
		}
		after := was.Term + proto.Term(rapid.SampledFrom([]int{0, 0, 0, 0, 0, 1}).Draw(t, "wrong"))
		row := Row{Owner: drawName.Draw(t, "owner"), Term: after + proto.Term(rapid.SampledFrom([]int{1, 1, 1, 1, 0}).Draw(t, "raise"))}
		if rapid.Bool().Draw(t, "followed") {
			row.Followers = []proto.NodeName{drawName.Draw(t, "follower")}
		}
		c.Changes = append(c.Changes, plan.Change{Partition: proto.Partition(p), Replaces: after, Row: row})
	}
	for range rapid.IntRange(0, 3).Draw(t, "addresses") {
		c.Addresses = append(c.Addresses, Address{drawName.Draw(t, "address of"), rapid.SampledFrom([]string{"x:1", "y:2"}).Draw(t, "link")})
	}
	c.Forget = rapid.SliceOfN(drawName, 0, 3).Draw(t, "forget")
	if rapid.Bool().Draw(t, "moves") {
		c.Moves = []plan.Move{{Partition: proto.Partition(rapid.IntRange(0, 5).Draw(t, "move")), From: nameA, To: nameB, State: plan.Learning}}
		c.Ended = []proto.Partition{proto.Partition(rapid.IntRange(0, 5).Draw(t, "ended"))}
	}
	if rapid.Bool().Draw(t, "settings") {
		c.Settings = &plan.Settings{Placement: 1, Replication: 50, Load: 110}
	}
	return c
}

func firstTable() *Table {
	return NewTable(Head{Instance: inst, Version: 1<<32 | 1, Settings: plan.DefaultSettings()}, make([]Row, 6))
}

// TestExecuteHistories holds every entry of a log against the promises: on two voters it does the
// same, from bytes too; refused it does nothing; done it raises the Version by one and every term that
// it touches; and the Table never names an address or a forgotten run that no row does.
func TestExecuteHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := firstTable()
		for range rapid.IntRange(1, 20).Draw(t, "entries") {
			before := AppendTable(nil, table)
			if rapid.IntRange(0, 4).Draw(t, "voters change") == 0 {
				table = checkVoters(t, table, rapid.SliceOfNDistinct(drawName, 1, 5, rapid.ID).Draw(t, "voters"))
				continue
			}
			c := drawCommand(t, table)
			const raftTerm = 5
			next, err := table.Execute(c, raftTerm)
			if !slices.Equal(before, AppendTable(nil, table)) {
				t.Fatal("the table was written to")
			}
			checkOtherVoter(t, before, c, raftTerm, next, err)
			if err != nil {
				if !errors.Is(err, ErrRefused) || next != nil || fits(table, c, raftTerm) {
					t.Fatalf("%+v: %v", c, err)
				}
				continue
			}
			if !fits(table, c, raftTerm) {
				t.Fatalf("%+v was carried out on %+v", c, table)
			}
			checkExecuted(t, table, c, next)
			table = next
		}
	})
}

func checkVoters(t *rapid.T, table *Table, voters []proto.NodeName) *Table {
	next := table.WithVoters(voters)
	slices.Sort(voters)
	if next.Version != table.Version+1 || !slices.Equal(next.Voters, voters) || next.Fingerprint() != table.Fingerprint() {
		t.Fatalf("with voters %v: %+v", voters, next.Head)
	}
	return next
}

// checkOtherVoter carries c out as another voter does, that has read both from its disk.
func checkOtherVoter(t *rapid.T, frame []byte, c *Command, raftTerm uint64, next *Table, err error) {
	table, parseErr := ParseTable(frame[proto.HeaderSize:])
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	read, parseErr := ParseCommand(AppendCommand(nil, c))
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	again, againErr := table.Execute(read, raftTerm)
	if (againErr == nil) != (err == nil) || err == nil && !sameTable(again, next) {
		t.Fatalf("two voters disagree about %+v:\n%+v, %v\n%+v, %v", c, next, err, again, againErr)
	}
}

// fits says in its own words which commands may be carried out.
func fits(table *Table, c *Command, raftTerm uint64) bool {
	if c.Term != raftTerm {
		return false
	}
	terms := make(map[proto.Partition]proto.Term)
	for p, r := range table.Rows() {
		terms[p] = r.Term
	}
	for _, x := range c.Changes {
		if term, ok := terms[x.Partition]; !ok || x.Replaces != term || x.Row.Term <= term {
			return false
		}
		terms[x.Partition] = x.Row.Term
	}
	return true
}

func checkExecuted(t *rapid.T, old *Table, c *Command, next *Table) {
	if next.Version != old.Version+1 || next.Instance != old.Instance || !slices.Equal(next.Voters, old.Voters) {
		t.Fatalf("%+v led to %+v", c, next.Head)
	}
	if anew := NewTable(next.Head, listed(next)); anew.print != next.print || !maps.Equal(anew.named, next.named) {
		t.Fatalf("%+v led to fingerprint %x and %v, but the rows give %x and %v", c, next.print, next.named, anew.print, anew.named)
	}
	for _, before := range []*Table{old, NewTable(old.Head, listed(old))} { // with chunks in common, and without
		var news []proto.Partition
		for p, r := range next.Rows() {
			if !r.Equal(old.Row(p)) || next.Move(p) != old.Move(p) {
				news = append(news, p)
			}
		}
		if have := next.News(before); !slices.Equal(have, news) {
			t.Fatalf("%+v made news of %v, want %v", c, have, news)
		}
	}
	changed := make(map[proto.Partition]Row)
	for _, x := range c.Changes {
		changed[x.Partition] = x.Row
	}
	named := make(map[proto.NodeName]bool)
	for p, r := range next.Rows() {
		want, ok := changed[p]
		if !ok {
			want = old.Row(p)
		}
		if !r.Equal(want) {
			t.Fatalf("partition %d is %+v, want %+v", p, r, want)
		}
		named[r.Owner] = true
		for _, f := range r.Followers {
			named[f] = true
		}
	}
	if !slices.IsSortedFunc(next.Addresses, func(a, b Address) int { return cmp.Compare(a.Name, b.Name) }) || !slices.IsSorted(next.Forgotten) {
		t.Fatalf("not sorted: %v, %v", next.Addresses, next.Forgotten)
	}
	for _, a := range next.Addresses {
		if !named[a.Name] {
			t.Fatalf("the address of %s is kept, which no row names", a.Name)
		}
	}
	for _, a := range c.Addresses {
		if named[a.Name] && next.Address(a.Name) == "" {
			t.Fatalf("the address of %s was not taken", a.Name)
		}
	}
	for _, run := range next.Forgotten {
		if !named[run] {
			t.Fatalf("%s is forgotten, which no row names", run)
		}
	}
	for _, run := range slices.Concat(old.Forgotten, c.Forget) {
		if named[run] && !slices.Contains(next.Forgotten, run) {
			t.Fatalf("%s is named and no longer forgotten", run)
		}
	}
	if c.Settings != nil && next.Settings != *c.Settings || c.Settings == nil && next.Settings != old.Settings {
		t.Fatalf("settings %+v", next.Settings)
	}
	for i, m := range next.Moves {
		if slices.Contains(c.Ended, m.Partition) && !slices.Contains(c.Moves, m) || i > 0 && next.Moves[i-1].Partition >= m.Partition {
			t.Fatalf("moves %+v after %+v", next.Moves, c)
		}
	}
}

func TestExecuteFirst(t *testing.T) {
	table := firstTable()
	found := &Command{Term: 2, Found: table}
	var none *Table
	if first, err := none.Execute(found, 2); err != nil || first != table {
		t.Errorf("a founding gives %+v, %v", first, err)
	}
	for what, do := range map[string]func() (*Table, error){
		"a second founding":          func() (*Table, error) { return table.Execute(found, 2) },
		"a founding of another term": func() (*Table, error) { return none.Execute(found, 3) },
		"a change without a table":   func() (*Table, error) { return none.Execute(&Command{Term: 2}, 2) },
		"a move of no partition": func() (*Table, error) {
			return table.Execute(&Command{Term: 2, Moves: []plan.Move{{Partition: 6, To: nameA, State: plan.Learning}}}, 2)
		},
		"a move in no state": func() (*Table, error) {
			return table.Execute(&Command{Term: 2, Moves: []plan.Move{{Partition: 5, To: nameA}}}, 2)
		},
		"a change of another raft term": func() (*Table, error) { return table.Execute(&Command{Term: 2}, math.MaxUint64) },
	} {
		if next, err := do(); !errors.Is(err, ErrRefused) || next != nil {
			t.Errorf("%s: %+v, %v", what, next, err)
		}
	}
	if !(&Command{Term: 9, Addresses: []Address{{nameA, "x:1"}}}).Empty() {
		t.Error("addresses alone are no reason for an entry")
	}
}

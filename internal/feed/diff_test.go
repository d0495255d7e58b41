package feed_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/feed"
	"github.com/roomring/roomring/proto"
)

var noon = time.UnixMilli(1_000_000)

// name is a run of a node: "s1", or "s1b" for its second run.
func name(s string) proto.NodeName {
	if s == "" {
		return ""
	}
	id := strings.TrimRight(s, "b")
	return proto.MakeNodeName(proto.NodeID(id), proto.Incarnation(id[1])<<8|proto.Incarnation(1+len(s)-len(id)))
}

// view is of nodes in words, such as "s1 s2:dead s3:left r1:suspect".
func view(text string) *cluster.View {
	var nodes []cluster.Node
	for word := range strings.FieldsSeq(text) {
		id, state, _ := strings.Cut(word, ":")
		n := cluster.Node{Name: name(id), Role: proto.RoleShard, Started: int64(len(id))}
		if id[0] == 'r' {
			n.Role = proto.RoleRouter
		}
		switch state {
		case "dead":
			n.State = cluster.Dead
		case "left":
			n.State, n.Left = cluster.Dead, true
		case "suspect":
			n.State = cluster.Suspect
		case "draining":
			n.State = cluster.Draining
		}
		nodes = append(nodes, n)
	}
	return cluster.NewView(1, nodes)
}

// row is in words: the owner and its followers, and in which term its log began, such as "s1 s2 @1".
func row(text string, term proto.Term) cluster.Row {
	r := cluster.Row{Term: term}
	for i, word := range strings.Fields(text) {
		switch {
		case word[0] == '@':
			fmt.Sscanf(word, "@%d", &r.Since)
		case i == 0:
			r.Owner = name(word)
		default:
			r.Followers = append(r.Followers, name(word))
		}
	}
	return r
}

// table is of rows in words; moves are like "0 s1 s2".
func table(version uint64, rows []string, moves ...string) *cluster.Table {
	head := cluster.Head{Instance: proto.Instance{1}, Version: version, Settings: plan.DefaultSettings()}
	for _, m := range moves {
		f := strings.Split(m, " ")
		var p int
		fmt.Sscan(f[0], &p)
		head.Moves = append(head.Moves, plan.Move{Partition: proto.Partition(p), From: name(f[1]), To: name(f[2]), State: plan.Freezing})
	}
	var list []cluster.Row
	for _, text := range rows {
		list = append(list, row(text, proto.Term(version)))
	}
	return cluster.NewTable(head, list)
}

// short are events in words.
func short(events []admin.FeedEvent) (list []string) {
	for _, e := range events {
		text := e.Kind
		if e.Node != "" {
			text += " " + string(e.Node)
		}
		if e.Partitions > 0 {
			text += fmt.Sprintf(" %s>%s %d%v", e.From, e.To, e.Partitions, e.Some)
		}
		list = append(list, text+": "+e.Reason)
	}
	return list
}

func TestDiff(t *testing.T) {
	six := func(text string) []string { return slices.Repeat([]string{text}, 6) }
	for _, c := range []struct {
		title         string
		before, after feed.State
		want          []string
	}{
		{"a node sees others for the first time", feed.State{}, feed.State{View: view("r1 s1 s2:dead")},
			[]string{"join r1: a router", "join s1: a shard"}},
		{"a cluster is founded", feed.State{View: view("s1")}, feed.State{View: view("s1"), Table: table(1, six("s1 @1"))},
			[]string{"founded: the cluster 01"}},
		{"a table is learned that is not young", feed.State{View: view("s1")}, feed.State{View: view("s1"), Table: table(100, six("s1 @1"))}, nil},
		{"a leader is heard of", feed.State{}, feed.State{Leader: name("s1"), Term: 3}, []string{"leader s1: it leads the register, in term 3"}},
		{"nobody leads", feed.State{Leader: name("s1")}, feed.State{}, []string{"leader: nobody is heard of"}},
		{"a link is lost", feed.State{View: view("s1")}, feed.State{View: view("s1:suspect")}, []string{"suspect s1: there is no link to it"}},
		{"and comes back", feed.State{View: view("s1:suspect")}, feed.State{View: view("s1")}, []string{"back s1: it is heard of again"}},
		{"gossip's verdict", feed.State{View: view("s1:suspect")}, feed.State{View: view("s1:dead")}, []string{"death s1: gossip has given it up"}},
		{"a proof", feed.State{View: view("s1")}, feed.State{View: view("s1:dead"), Fates: map[proto.NodeName]cluster.Fate{name("s1"): cluster.FateRefused}},
			[]string{"death s1: its link broke, and nobody listens"}},
		{"a restart", feed.State{View: view("s1")}, feed.State{View: view("s1:dead s1b")},
			[]string{"death s1: a later run of it took its place", "join s1: a shard, started again"}},
		{"a drain", feed.State{View: view("s1")}, feed.State{View: view("s1:draining")}, []string{"drain s1: it is about to leave"}},
		{"and its end", feed.State{View: view("s1:draining")}, feed.State{View: view("s1:left")}, []string{"left s1: it said that it leaves"}},
		{"its goodbye on a link, sooner than gossip's", feed.State{View: view("s1:draining")},
			feed.State{View: view("s1:dead"), Fates: map[proto.NodeName]cluster.Fate{name("s1"): cluster.FateLeft}}, []string{"left s1: it said that it leaves"}},
		{"a restart after a goodbye on a link", feed.State{View: view("s1:draining")},
			feed.State{View: view("s1b"), Fates: map[proto.NodeName]cluster.Fate{name("s1"): cluster.FateLeft}},
			[]string{"left s1: it said that it leaves", "join s1: a shard, started again"}},
		{"a restart, seen at once", feed.State{View: view("s1")}, feed.State{View: view("s1b")},
			[]string{"death s1: a later run of it took its place", "join s1: a shard, started again"}},
		{"the dead are not seen any more", feed.State{View: view("s1:dead")}, feed.State{View: view("")}, nil},

		{"a fail-over",
			feed.State{View: view("s1 s2:dead s3"), Table: table(20, six("s2 s3 @1"))},
			feed.State{View: view("s1 s2:dead s3"), Table: table(21, append(six("s3 @1")[:4], "s1 @1", "s2 s3 @1"))},
			[]string{"failover s2>s1 1[4]: s2 is lost: gossip has given it up", "failover s2>s3 4[0 1 2 3]: s2 is lost"}},
		{"a fail-over seen at once with the death",
			feed.State{View: view("s1 s2 s3"), Table: table(20, six("s2 s3 @1"))},
			feed.State{View: view("s1 s2:dead s3"), Table: table(21, six("s3 @1"))},
			[]string{"death s2: gossip has given it up", "single s2>s3 6[0 1 2 3 4 5]: s2 is lost: gossip", "failover s2>s3 6[0 1 2 3 4 5]: s2 is lost: gossip"}},
		{"a silent owner", feed.State{View: view("s1 s2:suspect s3"), Table: table(20, six("s2 s3 @1"))},
			feed.State{View: view("s1 s2:suspect s3"), Table: table(21, six("s3 s1 @1"))},
			[]string{"failover s2>s3 6[0 1 2 3 4 5]: s2 is lost: there is no link to it any more"}},
		{"a fail-over from a forgotten one", feed.State{View: view("s1 s2:dead"), Table: table(20, six("s2 s1 @1"))},
			feed.State{View: view("s1"), Table: table(21, six("s1 @1"))}, []string{"failover s2>s1 6[0 1 2 3 4 5]: s2 is lost: it is not seen any more"}},
		{"hand-offs by the ring", feed.State{View: view("s1 s2 s3"), Table: table(20, six("s1 s2 @1"), "0 s1 s3")},
			feed.State{View: view("s1 s2 s3"), Table: table(21, append([]string{"s3 s1 @1"}, six("s1 s2 @1")[1:]...))},
			[]string{"handoff s1>s3 1[0]: the ring wants them there"}},
		{"hand-offs of a drain, whose end is seen at once",
			feed.State{View: view("s1:draining s2 s3"), Table: table(20, six("s1 s2 @1"))},
			feed.State{View: view("s1:left s2 s3"), Table: table(21, six("s3 s2 @1"))},
			[]string{"left s1: it said", "handoff s1>s3 6[0 1 2 3 4 5]: s1 drains"}},
		{"the same after a goodbye on a link",
			feed.State{View: view("s1:draining s2 s3"), Table: table(20, six("s1 s2 @1"))},
			feed.State{View: view("s1:dead s2 s3"), Table: table(21, six("s3 s2 @1")), Fates: map[proto.NodeName]cluster.Fate{name("s1"): cluster.FateLeft}},
			[]string{"left s1: it said", "handoff s1>s3 6[0 1 2 3 4 5]: s1 drains"}},
		{"a goodbye before the Table that says who has its copies",
			feed.State{View: view("s1 s2:draining s3"), Table: table(20, six("s1 s2 @1"))},
			feed.State{View: view("s1 s2:dead s3"), Table: table(20, six("s1 s2 @1")), Fates: map[proto.NodeName]cluster.Fate{name("s2"): cluster.FateLeft}},
			[]string{"left s2: it said"}},
		{"an owner whose link is gone gave it away before", feed.State{View: view("s1 s2"), Table: table(20, six("s1 s2 @1"))},
			feed.State{View: view("s1:suspect s2"), Table: table(21, six("s2 s1 @1"))},
			[]string{"suspect s1: ", "handoff s1>s2 6[0 1 2 3 4 5]: the ring wants them there"}},
		{"what the next owner learns is no copy", feed.State{View: view("s1 s2 s3"), Table: table(20, six("s1 s2 @1"), "0 s1 s3")},
			feed.State{View: view("s1 s2 s3"), Table: table(21, append([]string{"s1 s3 s2 @1"}, six("s1 s2 @1")[1:]...), "0 s1 s3")}, nil},
		{"a missing copy is made", feed.State{View: view("s1 s2 s3"), Table: table(20, six("s1 @1"))},
			feed.State{View: view("s1 s2 s3"), Table: table(21, append([]string{"s1 s2 @1"}, six("s1 @1")[1:]...))}, []string{"copy >s2 1[0]: a copy was missing"}},
		{"a follower drains", feed.State{View: view("s1 s2:draining s3"), Table: table(20, six("s1 s2 @1"))},
			feed.State{View: view("s1 s2:draining s3"), Table: table(21, append([]string{"s1 s3 @1"}, six("s1 s2 @1")[1:]...))}, []string{"copy s2>s3 1[0]: s2 drains"}},
		{"a follower that does not keep up", feed.State{View: view("s1 s2 s3"), Table: table(20, six("s1 s2 @1"))},
			feed.State{View: view("s1 s2 s3"), Table: table(21, append([]string{"s1 @1"}, six("s1 s2 @1")[1:]...))},
			[]string{"single s2>s1 1[0]: s2 did not keep up"}},
		{"rooms begin anew", feed.State{View: view("s1 s2:dead s3:dead"), Table: table(20, six("s2 s3 @1"))},
			feed.State{View: view("s1 s2:dead s3:dead"), Table: table(21, six("s1 @21"))}, []string{"reset s2>s1 6[0 1 2 3 4 5]: every copy was lost: s2 and s3"}},
		{"rooms begin anew that had one copy", feed.State{View: view("s1 s2:dead"), Table: table(20, six("s2 @1"))},
			feed.State{View: view("s1 s2:dead"), Table: table(21, six("s1 @21"))}, []string{"reset s2>s1 6[0 1 2 3 4 5]: it had the only copy: gossip"}},
		{"the first owners", feed.State{View: view("s1"), Table: table(20, six(""))}, feed.State{View: view("s1"), Table: table(21, six("s1 @21"))}, nil},

		{"founded anew", feed.State{View: view("s1"), Table: table(20, six("s1 @1"))}, feed.State{View: view("s1"), Table: table(1<<32+1, six("s1 @1"))},
			[]string{"founded: the cluster was founded anew, in generation 1"}},
		{"settled", feed.State{}, feed.State{Settled: true}, []string{"settled: every partition"}},
		{"unsettled by a suspect", feed.State{View: view("s1"), Settled: true}, feed.State{View: view("s1:suspect")}, []string{"suspect s1", "unsettled: s1 is suspect"}},
		{"unsettled by a join", feed.State{View: view("s1"), Table: table(20, six("s1 @1")), Settled: true},
			feed.State{View: view("s1 s2"), Table: table(20, six("s1 @1"))}, []string{"join s2: a shard", "unsettled: s2 should have copies, and has none"}},
		{"unsettled by a drain", feed.State{View: view("s1"), Table: table(20, six("s1 @1")), Settled: true},
			feed.State{View: view("s1:draining"), Table: table(20, six("s1 @1"))}, []string{"drain s1: ", "unsettled: s1 drains"}},
		{"unsettled by a death", feed.State{View: view("s1 s2"), Table: table(20, six("s2 s1 @1")), Settled: true},
			feed.State{View: view("s1 s2:dead"), Table: table(20, six("s2 s1 @1"))},
			[]string{"death s2: ", "single s2>s1 6[0 1 2 3 4 5]", "unsettled: s2 is dead, and had copies"}},
	} {
		got := short(feed.Diff(&c.before, &c.after, noon))
		ok := len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			ok = ok && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s:\n got %q\nwant %q", c.title, got, c.want)
		}
		for _, e := range feed.Diff(&c.before, &c.after, noon) {
			if e.Reason == "" || e.Some == nil || e.At != noon.UnixMilli() {
				t.Errorf("%s: %+v", c.title, e)
			}
		}
	}
}

// What an operator forgets is told once, and not called a death on top.
func TestForgotten(t *testing.T) {
	before := feed.State{View: view("s1 s2"), Table: table(20, []string{"s2 @1"})}
	head := before.Table.Head
	head.Version, head.Forgotten = 21, []proto.NodeName{name("s2")}
	after := feed.State{View: view("s1 s2:dead"), Table: cluster.NewTable(head, []cluster.Row{row("s1 @21", 21)})}
	got := short(feed.Diff(&before, &after, noon))
	if len(got) != 2 || !strings.HasPrefix(got[0], "forgotten s2: an operator said") || !strings.HasPrefix(got[1], "reset s2>s1 1[0]: it had the only copy: an operator said") {
		t.Errorf("told %q", got)
	}
}

// The voters are told by their ids.
func TestVoters(t *testing.T) {
	before := feed.State{View: view("s1"), Table: table(20, []string{"s1 @1"})}
	head := before.Table.Head
	head.Version, head.Voters = 21, []proto.NodeName{name("s1"), name("s2"), name("s3")}
	after := feed.State{View: view("s1"), Table: cluster.NewTable(head, []cluster.Row{row("s1 @1", 20)})}
	if got := short(feed.Diff(&before, &after, noon)); len(got) != 1 || got[0] != "voters: the voters are s1, s2 and s3" {
		t.Errorf("told %q", got)
	}
}

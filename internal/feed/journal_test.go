package feed_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/feed"
	"github.com/roomring/roomring/proto"
)

// kept are all events that a journal has, in words.
func kept(j *feed.Journal) []string {
	events, _ := j.After(nil, 0)
	return short(events)
}

// A drain in a hundred Tables is one event a second, and a fail-over is told as soon as no more comes.
func TestJournalGathers(t *testing.T) {
	var j feed.Journal
	rows := slices.Repeat([]string{"s1 s2 @1"}, 100)
	now := noon
	j.Note(now, feed.State{View: view("s1:draining s2 s3"), Table: table(20, rows)})
	for i := range rows {
		now = now.Add(15 * time.Millisecond)
		rows[i] = "s3 s2 @1"
		j.Note(now, feed.State{View: view("s1:draining s2 s3"), Table: table(uint64(21+i), rows)})
	}
	for at := j.Wake(); !at.IsZero(); at = j.Wake() {
		if at.Before(now) || at.Sub(now) > 2*time.Second {
			t.Fatalf("wake at %v, it is %v", at, now)
		}
		now = at
		j.Tick(now)
	}
	got := kept(&j)[4:] // the nodes came first, and one drains
	if len(got) != 2 || !strings.HasPrefix(got[0], "handoff s1>s3 68[0 1 2 3 4 5 6 7]: s1 drains") || !strings.HasPrefix(got[1], "handoff s1>s3 32[68 69 70 71 72 73 74 75]: s1 drains") {
		t.Errorf("told %q", got)
	}
	if s := j.Stats(); s.Handoffs != 100 || s.HandoffEvents != 2 || s.Joins != 3 || s.Failovers != 0 {
		t.Errorf("counted %+v", s)
	}
}

// That all is well is told when it lasts, that it is not at once.
func TestJournalSettles(t *testing.T) {
	var j feed.Journal
	now := noon
	note := func(settled bool, after time.Duration) {
		now = now.Add(after)
		j.Note(now, feed.State{Settled: settled})
	}
	note(true, 0)
	note(false, 10*time.Millisecond)
	note(true, 10*time.Millisecond)
	note(true, 990*time.Millisecond)
	if got := kept(&j); len(got) != 0 {
		t.Errorf("told %q too early", got)
	}
	if at := j.Wake(); at.Sub(now) != 10*time.Millisecond {
		t.Errorf("wake in %v", at.Sub(now))
	}
	note(true, 10*time.Millisecond)
	note(false, time.Millisecond)
	note(true, time.Millisecond)
	note(false, time.Millisecond)
	if got := kept(&j); len(got) != 2 || !strings.HasPrefix(got[0], "settled") || !strings.HasPrefix(got[1], "unsettled") {
		t.Errorf("told %q", got)
	}
	if !j.Wake().IsZero() {
		t.Errorf("wake at %v for nothing", j.Wake())
	}
}

// What happened to partitions comes before what happened to nodes later.
func TestJournalKeepsTheOrder(t *testing.T) {
	var j feed.Journal
	j.Note(noon, feed.State{View: view("s1:draining s2"), Table: table(20, []string{"s1 @1"})})
	j.Note(noon.Add(time.Millisecond), feed.State{View: view("s1:draining s2"), Table: table(21, []string{"s2 s1 @1"})})
	j.Note(noon.Add(2*time.Millisecond), feed.State{View: view("s1:left s2"), Table: table(22, []string{"s2 @1"})})
	events, _ := j.After(nil, 0)
	var kinds []string
	for i, e := range events {
		kinds = append(kinds, e.Kind)
		if e.Seq != uint64(i+1) || i > 0 && e.At < events[i-1].At {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if got := strings.Join(kinds, " "); got != "join drain join handoff left" {
		t.Errorf("told %s", got)
	}
}

// A journal keeps the last 1000 events, and tells a reader how many it missed.
func TestJournalIsBounded(t *testing.T) {
	var j feed.Journal
	for i := range 2500 {
		j.Note(noon, feed.State{Leader: name(fmt.Sprint("s", 1+i%2)), Term: uint64(i)})
	}
	for _, c := range []struct{ seq, first, lost uint64 }{{0, 1501, 1500}, {1499, 1501, 1}, {1500, 1501, 0}, {2499, 2500, 0}, {2500, 0, 0}} {
		events, lost := j.After(nil, c.seq)
		if lost != c.lost || c.first == 0 != (len(events) == 0) || c.first > 0 && (events[0].Seq != c.first || events[len(events)-1].Seq != 2500) {
			t.Errorf("after %d: %d events, %d lost", c.seq, len(events), lost)
		}
	}
	if j.Stats().Leaders != 2500 {
		t.Errorf("counted %+v", j.Stats())
	}
}

// Whatever the Tables are, and however many of them were missed, each row that has another owner is told of
// once, as a reset, a fail-over or a hand-off; and what was told is what was counted.
func TestJournalAccountsForEveryRow(t *testing.T) {
	ids := []string{"s1", "s2", "s3", "s4", "s2b"}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		pick := func() string { return ids[random.IntN(len(ids))] }
		var j feed.Journal
		var was *cluster.Table
		var resets, others, copies uint64
		rows := slices.Repeat([]cluster.Row{{}}, 40)
		now := noon
		for version := range uint64(30) {
			for p := range rows {
				if random.IntN(4) > 0 {
					continue
				}
				r := row(pick()+" "+pick()+" @1", proto.Term(version+20))
				if r.Since = rows[p].Since; r.Since == 0 || random.IntN(5) == 0 {
					r.Since = r.Term
				}
				if r.Followers[0] == r.Owner {
					r.Followers = nil
				}
				rows[p] = r
			}
			if random.IntN(3) == 0 {
				continue // this Table was missed
			}
			is := cluster.NewTable(cluster.Head{Instance: proto.Instance{1}, Version: version + 20}, rows)
			for p, r := range is.Rows() {
				if was == nil || was.Row(p).Since == 0 {
					continue
				}
				switch before := was.Row(p); {
				case before.Since != r.Since:
					resets++
				case before.Owner != r.Owner:
					others++
				case len(r.Followers) > 0 && !slices.Equal(before.Followers, r.Followers):
					copies++
				}
			}
			was = is
			var seen []string
			for _, id := range ids {
				seen = append(seen, id+[]string{"", ":dead", ":left", ":suspect", ":draining"}[random.IntN(5)])
			}
			now = now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
			j.Note(now, feed.State{View: view(strings.Join(seen, " ")), Table: is})
		}
		j.Tick(now.Add(time.Minute))
		s := j.Stats()
		if s.Resets != resets || s.Failovers+s.Handoffs != others || s.Copies != copies {
			t.Errorf("seed %d: %d resets, %d other owners, %d copies; counted %+v", seed, resets, others, copies, s)
		}
		var told feed.Stats
		events, _ := j.After(nil, 0)
		for _, e := range events {
			switch e.Kind {
			case admin.FeedReset:
				told.Resets += uint64(e.Partitions)
			case admin.FeedFailover:
				told.Failovers += uint64(e.Partitions)
			case admin.FeedHandoff:
				told.Handoffs += uint64(e.Partitions)
			case admin.FeedCopy:
				told.Copies += uint64(e.Partitions)
			}
			if len(e.Some) != min(e.Partitions, 8) && e.Partitions <= 8 || !slices.IsSorted(e.Some) {
				t.Errorf("seed %d: %+v", seed, e)
			}
		}
		if told.Resets != s.Resets || told.Failovers != s.Failovers || told.Handoffs != s.Handoffs || told.Copies != s.Copies {
			t.Errorf("seed %d: told %+v, counted %+v", seed, told, s)
		}
	}
}

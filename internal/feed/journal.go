package feed

import (
	"cmp"
	"slices"
	"time"

	"github.com/roomring/roomring/admin"
)

const (
	// Kept is how many events a Journal keeps: the last ones.
	Kept = 1000

	// gatherQuiet is how long nothing more must have happened to partitions that
	// go the same way before they are told of as one event, and gatherMost the
	// longest that such an event waits. A drain moves thousands, in hundreds of
	// Tables: it is told once a second.
	gatherQuiet = 100 * time.Millisecond
	gatherMost  = time.Second

	// settledAfter is how long all must have been as it should be for that to be
	// told. Between two moves of many it is so for a moment.
	settledAfter = time.Second
)

// Stats counts what was told since the Journal was made.
type Stats struct {
	Joins          uint64 `help:"Runs of nodes that were seen for the first time."`
	Deaths         uint64 `help:"Runs of nodes that died; who left having said so is not counted."`
	Forgotten      uint64 `help:"Runs of nodes that an operator called dead."`
	Leaves         uint64 `help:"Runs of nodes that left, having said so."`
	Leaders        uint64 `help:"Times that another node began to lead the register, or nobody was heard of who did."`
	Failovers      uint64 `help:"Partitions that a follower took over from an owner that was lost."`
	FailoverEvents uint64 `help:"Times that partitions were taken over from a lost owner, those to one node at once as one."`
	Handoffs       uint64 `help:"Partitions that a living owner gave to another."`
	HandoffEvents  uint64 `help:"Times that partitions were handed over, those from one node to another within a second as one."`
	Resets         uint64 `help:"Partitions that began anew because every copy was lost."`
	ResetEvents    uint64 `help:"Times that partitions began anew, those of one node at once as one."`
	Copies         uint64 `help:"Partitions that got another follower."`
	CopyEvents     uint64 `help:"Times that partitions got another follower, those to one node within a second as one."`
}

// Journal makes events of the States that it is shown, keeps the last Kept of
// them, and counts. The zero Journal has seen nothing.
//
// Invariant: events are numbered 1, 2, 3, and their times do not go back.
type Journal struct {
	state State
	stats Stats

	events []admin.FeedEvent // the one with Seq q is at (q-1) % Kept
	last   uint64            // Seq of the newest

	gathered []admin.FeedEvent // about partitions, to be told soon
	begun    time.Time         // when the first of them happened
	latest   time.Time         // when the last one did

	settled time.Time // since when all is as it should be; zero when it is not, or that was told
	told    bool      // that all is as it should be was the last that was told of it
}

// Note is shown how things are now.
func (j *Journal) Note(now time.Time, s State) {
	before := j.state
	j.state = s
	for _, e := range Diff(&before, &s, now) {
		switch {
		case e.Partitions > 0:
			j.gather(now, e)
		case e.Kind == admin.FeedSettled:
			j.settled = now
		case e.Kind == admin.FeedUnsettled && !j.told:
			j.settled = time.Time{}
		default:
			j.told = j.told && e.Kind != admin.FeedUnsettled
			j.flush()
			j.tell(e)
		}
	}
	j.Tick(now)
}

// Tick tells what has waited for long enough.
func (j *Journal) Tick(now time.Time) {
	if len(j.gathered) > 0 && !now.Before(j.due()) {
		j.flush()
	}
	if !j.settled.IsZero() && now.Sub(j.settled) >= settledAfter {
		j.settled, j.told = time.Time{}, true
		j.flush()
		j.tell(admin.FeedEvent{At: now.UnixMilli(), Kind: admin.FeedSettled, Some: none, Reason: settledReason})
	}
}

// Wake returns when Tick has something to do, zero for never.
func (j *Journal) Wake() (at time.Time) {
	if len(j.gathered) > 0 {
		at = j.due()
	}
	if settled := j.settled.Add(settledAfter); !j.settled.IsZero() && (at.IsZero() || settled.Before(at)) {
		at = settled
	}
	return at
}

// due is when what was gathered is to be told.
func (j *Journal) due() time.Time {
	quiet, most := j.latest.Add(gatherQuiet), j.begun.Add(gatherMost)
	if most.Before(quiet) {
		return most
	}
	return quiet
}

// gather puts partitions with those that went the same way before.
func (j *Journal) gather(now time.Time, e admin.FeedEvent) {
	if len(j.gathered) == 0 {
		j.begun = now
	}
	j.latest = now
	same := func(o admin.FeedEvent) bool { return o.Kind == e.Kind && o.From == e.From && o.To == e.To }
	i := slices.IndexFunc(j.gathered, same)
	if i < 0 {
		j.gathered = append(j.gathered, e)
		return
	}
	o := &j.gathered[i]
	o.Partitions += e.Partitions
	some := append(slices.Clone(o.Some), e.Some...)
	slices.Sort(some)
	some = slices.Compact(some)
	o.Some = some[:min(len(some), maxSome)]
}

// flush tells what was gathered.
func (j *Journal) flush() {
	slices.SortStableFunc(j.gathered, func(a, b admin.FeedEvent) int { return cmp.Compare(a.At, b.At) })
	for _, e := range j.gathered {
		j.tell(e)
	}
	j.gathered = nil
}

// tell writes an event down.
func (j *Journal) tell(e admin.FeedEvent) {
	if j.last > 0 {
		e.At = max(e.At, j.events[(j.last-1)%Kept].At)
	}
	j.last++
	e.Seq = j.last
	if len(j.events) < Kept {
		j.events = append(j.events, e)
	} else {
		j.events[(e.Seq-1)%Kept] = e
	}
	j.stats.count(&e)
}

// After appends the kept events above seq, oldest first, and tells how many
// above it are not kept any more.
func (j *Journal) After(to []admin.FeedEvent, seq uint64) (_ []admin.FeedEvent, lost uint64) {
	first := j.last - uint64(len(j.events)) // all above it are kept
	if seq < first {
		lost, seq = first-seq, first
	}
	for q := seq; q < j.last; q++ {
		to = append(to, j.events[q%Kept])
	}
	return to, lost
}

// Last returns the Seq of the newest event, 0 while there is none.
func (j *Journal) Last() uint64 { return j.last }

// Stats returns the counters.
func (j *Journal) Stats() Stats { return j.stats }

func (s *Stats) count(e *admin.FeedEvent) {
	n := uint64(e.Partitions)
	switch e.Kind {
	case admin.FeedJoin:
		s.Joins++
	case admin.FeedDeath:
		s.Deaths++
	case admin.FeedForgotten:
		s.Forgotten++
	case admin.FeedLeft:
		s.Leaves++
	case admin.FeedLeader:
		s.Leaders++
	case admin.FeedFailover:
		s.Failovers, s.FailoverEvents = s.Failovers+n, s.FailoverEvents+1
	case admin.FeedHandoff:
		s.Handoffs, s.HandoffEvents = s.Handoffs+n, s.HandoffEvents+1
	case admin.FeedReset:
		s.Resets, s.ResetEvents = s.Resets+n, s.ResetEvents+1
	case admin.FeedCopy:
		s.Copies, s.CopyEvents = s.Copies+n, s.CopyEvents+1
	}
}

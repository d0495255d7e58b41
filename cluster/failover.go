package cluster

import (
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const (
	// promiseAfter is how long an heir may take to promise before another is asked, or it is again.
	promiseAfter = 300 * time.Millisecond

	// gatherFor is how long promises are waited for, so that those of many partitions are one entry.
	gatherFor = 50 * time.Millisecond

	// maxClimbs is how often in a row an heir that knows a higher term is asked for one above it without
	// a wait in between. The steps double: that is enough for any term that it can have come to know.
	maxClimbs = 10

	// heedFor is how long a lost owner's partition keeps others from being moved. Who has not found an heir
	// by then waits for somebody to come back.
	heedFor = 5 * time.Second
)

// failover is what a coordinator has asked heirs for (rule R2): before another owner is in the Table, the
// one who will be it promises to take nothing of an older term any more.
//
// Invariant: a partition that is in it has an owner that was lost, and the row that it had then.
type failover struct {
	asked  map[proto.Partition]*succession
	gather time.Time // until then promises are waited for, while some are missing
	again  time.Time // when those of the last frames are asked for again, or of others
}

// succession is what is known of one partition's heirs.
type succession struct {
	from     proto.Term       // of the row
	term     proto.Term       // that is to be promised
	asked    []proto.NodeName // who was asked for it, the last one last
	at       time.Time        // when that was
	denied   bool             // that one has no copy
	promised proto.NodeName   // who has, "" for nobody yet
	climbs   int              // how often the term was too low
	began    time.Time
}

func newFailover() failover {
	return failover{asked: make(map[proto.Partition]*succession)}
}

// wake returns when something is due next, zero for never.
func (f *failover) wake(now time.Time) time.Time {
	for _, at := range []time.Time{f.gather, f.again} {
		if len(f.asked) > 0 && at.After(now) {
			return at
		}
	}
	return time.Time{}
}

// pending reports whether a partition is about to have another owner.
func (f *failover) pending(now time.Time) bool {
	for _, s := range f.asked {
		if now.Sub(s.began) < heedFor {
			return true
		}
	}
	return false
}

// succeed gets on with the fail-over of partitions whose owner is silent or dead: it asks heirs for
// promises, and makes those owners who have given them.
func (k *Keeper) succeed(now time.Time, d *draft) {
	f := &k.lead.failover
	orphan := func(p proto.Partition, row *Row) bool {
		return row.Owner != "" && len(row.Followers) > 0 && !d.changed[p] && d.scene.Verdict(row.Owner) != plan.Lives
	}
	// A promise that was not used does no harm: the owner wishes to renew its term.
	maps.DeleteFunc(f.asked, func(p proto.Partition, _ *succession) bool { return !orphan(p, d.table.rows.At(p)) })
	ask := make(map[proto.NodeName][]proto.Promise)
	gathered := !now.Before(f.gather) // before others are asked: some are asked again and again
	missing, ready := 0, []proto.Partition(nil)
	for p := range k.lead.survey.Orphans() {
		row := d.table.rows.At(p)
		if !orphan(p, row) {
			continue
		}
		heirs := plan.Heirs(p, row, d.scene)
		s := f.of(now, p, row, heirs, d.scene)
		switch {
		case s == nil:
		case s.promised != "":
			ready = append(ready, p)
		default:
			missing++
			if heir := s.next(now, heirs); heir != "" {
				ask[heir] = append(ask[heir], proto.Promise{Partition: p, Term: s.term})
			}
		}
	}
	k.askHeirs(now, ask)
	if missing == 0 || gathered {
		k.crown(d, ready)
	}
}

// of returns the partition's succession, which begins if somebody can be asked; nil if nobody can.
func (f *failover) of(now time.Time, p proto.Partition, row *Row, heirs []proto.NodeName, scene *plan.Scene) *succession {
	s, began := f.asked[p], now
	if s != nil && s.from == row.Term {
		began = s.began
	}
	if s != nil && (s.from != row.Term || s.promised != "" && !slices.Contains(heirs, s.promised)) {
		s = nil
	}
	if len(heirs) == 0 {
		delete(f.asked, p)
		return nil
	}
	if s == nil {
		s = &succession{from: row.Term, term: plan.Ask(row, 0, scene), began: began}
		f.asked[p] = s
	}
	return s
}

// next returns who is to be asked now, "" for nobody. Of several heirs each has its turn.
func (s *succession) next(now time.Time, heirs []proto.NodeName) proto.NodeName {
	fresh := slices.IndexFunc(heirs, func(h proto.NodeName) bool { return !slices.Contains(s.asked, h) })
	last := -1 // in heirs; -1 too if it is lost
	if len(s.asked) > 0 {
		last = slices.Index(heirs, s.asked[len(s.asked)-1])
	}
	if now.Sub(s.at) < promiseAfter && !(fresh >= 0 && (s.denied || last < 0)) {
		return ""
	}
	heir := heirs[(last+1)%len(heirs)]
	if fresh >= 0 {
		heir = heirs[fresh]
	}
	s.asked = append(slices.DeleteFunc(s.asked, func(n proto.NodeName) bool { return n == heir }), heir)
	s.at, s.denied = now, false
	return heir
}

// askHeirs sends each heir one frame about all its partitions.
func (k *Keeper) askHeirs(now time.Time, ask map[proto.NodeName][]proto.Promise) {
	for _, heir := range slices.Sorted(maps.Keys(ask)) {
		k.send(heir, proto.AppendPromises(nil, ask[heir]))
	}
	f := &k.lead.failover
	if len(ask) > 0 && !now.Before(f.gather) {
		f.gather = now.Add(gatherFor)
	}
	if len(ask) > 0 {
		f.again = now.Add(promiseAfter)
	}
}

// crown makes the heirs that have promised owners.
func (k *Keeper) crown(d *draft, ready []proto.Partition) {
	heirs := make(map[proto.NodeName]int)
	for _, p := range ready {
		row, s := d.table.rows.At(p), k.lead.failover.asked[p]
		d.change(plan.Change{Partition: p, Replaces: row.Term, Row: plan.Succeed(row, s.promised, s.term, d.scene)})
		heirs[s.promised]++
	}
	for _, heir := range slices.Sorted(maps.Keys(heirs)) {
		k.log.Warn("a follower takes over from a lost owner", zap.String("node", string(heir)), zap.Int("partitions", heirs[heir]))
	}
}

// onPromised takes an heir's answers.
func (k *Keeper) onPromised(from proto.NodeName, body []byte) error {
	list, err := proto.ParsePromised(body)
	if err != nil {
		return err
	}
	for _, x := range list {
		if s := k.lead.failover.asked[x.Partition]; s != nil && x.Term == s.term && s.promised == "" && slices.Contains(s.asked, from) {
			k.lead.hurry = true
			k.answered(s, from, x)
		}
	}
	return nil
}

func (k *Keeper) answered(s *succession, from proto.NodeName, x proto.Promise) {
	switch x.Status {
	case proto.Promised:
		s.promised = from
	case proto.KnowsHigher:
		// Of a promise to another coordinator, most likely, or to us, which was not used.
		s.term += 1 << min(s.climbs, maxClimbs)
		if s.climbs++; s.climbs <= maxClimbs {
			s.asked, s.at = nil, time.Time{}
		} else {
			s.asked = []proto.NodeName{from}
		}
	case proto.NoCopy:
		// Another is asked at once. It is asked again later: perhaps it has not seen the Table yet.
		s.denied = s.denied || s.asked[len(s.asked)-1] == from
		k.log.Debug("a follower has no whole copy", zap.String("node", string(from)), zap.Uint16("partition", uint16(x.Partition)))
	}
}

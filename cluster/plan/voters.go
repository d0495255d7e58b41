package plan

import (
	"cmp"
	"slices"

	"github.com/roomring/roomring/proto"
)

// Server is a member of the register's raft configuration, as its leader sees it.
type Server struct {
	Name     proto.NodeName // the voter's name: it outlives incarnations when its log is on disk
	Voter    bool           // false: it only learns
	CaughtUp bool           // it holds nearly all that the leader holds
}

// Candidate is a node that could vote.
type Candidate struct {
	Voter    proto.NodeName // the name under which it votes; who has none ("") is passed over
	Role     proto.Role
	Zone     string
	Verdict  Verdict
	Draining bool // it is about to leave
}

// VoterOp is what is to be done to the configuration.
type VoterOp uint8

// The operations.
const (
	AddLearner VoterOp = iota + 1 // begin to copy the log to the node, which has no vote
	Promote                       // give a learner its vote
	Remove                        // take a node out
	Transfer                      // hand the lead to another voter, so that this one can be taken out
)

// String names the operation as logs do; the zero VoterOp is "none".
func (o VoterOp) String() string {
	switch o {
	case AddLearner:
		return "add learner"
	case Promote:
		return "promote"
	case Remove:
		return "remove"
	case Transfer:
		return "transfer"
	}
	return "none"
}

// VoterChange is one step. The next is decided when this one is committed.
type VoterChange struct {
	Op   VoterOp
	Name proto.NodeName
}

// VotersFor returns how many voters a cluster of so many living nodes has.
func VotersFor(nodes int) int {
	switch {
	case nodes >= 5:
		return 5
	case nodes >= 3:
		return 3
	}
	return 1
}

// Voters returns the next step from the configuration as it is towards the one that is wanted, and
// false when there is nothing to do now: all is well, or a learner has to catch up first. self is
// the leader, who asks.
//
// Wanted are VotersFor(nodes that live and do not drain) of these nodes: shards first, and routers
// fill up; of the same role those that vote already, so that nobody changes places for the sake of
// a zone, then those from the zone that has the fewest. Where all drain, the leader alone is wanted,
// for then everybody else may go.
//
// The steps come in this order, and the first that applies is the answer:
//
//  1. A voter that is silent or dead is removed: it counts towards the majority that is needed, and
//     gives nothing. If too few are left to commit that, raft will not commit it.
//  2. A learner that is not wanted (any more) is removed.
//  3. While there are more voters than wanted, one that is not wanted is removed, draining ones
//     first, and never the leader by itself.
//  4. Who is wanted becomes a learner, and when it has caught up, a voter. So there is never more
//     than one voter too many, and one that drains is replaced before it is removed.
//  5. A leader that is not wanted hands its lead to a voter that is, which then removes it. This
//     comes last, because nothing else may wait for a lead that cannot be handed over just now.
//
// From 3 on all voters live; so none is ever taken out that the rest needs for its majority. One is
// always left: the leader.
func Voters(self proto.NodeName, servers []Server, candidates []Candidate) (VoterChange, bool) {
	b := newBallot(self, servers, candidates)
	if !b.votes(self) {
		return VoterChange{}, false // no leader any more: raft has yet to notice
	}
	steps := []func() (VoterChange, bool){b.bury, b.dismiss, b.shrink, b.grow, b.handOver}
	for _, step := range steps {
		if c, ok := step(); ok {
			return c, true
		}
	}
	return VoterChange{}, false
}

// ballot is one question to Voters, sorted out.
type ballot struct {
	self    proto.NodeName
	servers []Server    // by name
	nodes   []Candidate // by name, one for each: a name that is not here is silent
	wanted  []Candidate // the best first
}

func newBallot(self proto.NodeName, servers []Server, candidates []Candidate) *ballot {
	b := &ballot{self: self, servers: slices.Clone(servers)}
	slices.SortFunc(b.servers, func(x, y Server) int { return cmp.Compare(x.Name, y.Name) })
	b.nodes = unique(self, candidates)
	b.choose()
	return b
}

// unique sorts the candidates by name. Of several runs that vote under one name the liveliest
// counts. The leader lives, whatever is said of it: it is the one that asks.
func unique(self proto.NodeName, candidates []Candidate) []Candidate {
	nodes := slices.DeleteFunc(slices.Clone(candidates), func(c Candidate) bool { return c.Voter == "" })
	slices.SortFunc(nodes, func(x, y Candidate) int {
		return cmp.Or(cmp.Compare(x.Voter, y.Voter), cmp.Compare(x.Verdict, y.Verdict), flag(x.Draining, y.Draining),
			-cmp.Compare(x.Role, y.Role), cmp.Compare(x.Zone, y.Zone))
	})
	nodes = slices.CompactFunc(nodes, func(x, y Candidate) bool { return x.Voter == y.Voter })
	at, found := slices.BinarySearchFunc(nodes, self, func(c Candidate, name proto.NodeName) int { return cmp.Compare(c.Voter, name) })
	if !found {
		nodes = slices.Insert(nodes, at, Candidate{Voter: self})
	}
	nodes[at].Verdict = Lives
	return nodes
}

// choose finds out who is wanted.
func (b *ballot) choose() {
	var pool []Candidate
	for _, c := range b.nodes {
		if c.Verdict == Lives && !c.Draining {
			pool = append(pool, c)
		}
	}
	if len(pool) == 0 {
		b.wanted = []Candidate{{Voter: b.self}}
		return
	}
	zones := make(map[string]int)
	for range VotersFor(len(pool)) {
		best := 0
		for i := range pool {
			if b.compare(pool[i], pool[best], zones) < 0 {
				best = i
			}
		}
		b.wanted = append(b.wanted, pool[best])
		zones[pool[best].Zone]++
		pool = slices.Delete(pool, best, best+1)
	}
}

// compare orders candidates, the better one first. What each voter and learner is already comes
// before its zone, and so nothing that was begun is given up as long as nobody comes or goes.
func (b *ballot) compare(x, y Candidate, zones map[string]int) int {
	return cmp.Or(
		flag(y.Role == proto.RoleShard, x.Role == proto.RoleShard),
		flag(b.votes(y.Voter), b.votes(x.Voter)),
		flag(y.Voter == b.self, x.Voter == b.self),
		flag(b.serves(y.Voter), b.serves(x.Voter)),
		cmp.Compare(zones[x.Zone], zones[y.Zone]),
		cmp.Compare(x.Voter, y.Voter),
	)
}

// flag orders false before true.
func flag(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

// bury removes a voter that does not live, a dead one before a silent one.
func (b *ballot) bury() (VoterChange, bool) {
	for _, verdict := range []Verdict{Proved, Silent} {
		for _, s := range b.servers {
			if s.Voter && b.node(s.Name).Verdict == verdict {
				return VoterChange{Remove, s.Name}, true
			}
		}
	}
	return VoterChange{}, false
}

func (b *ballot) dismiss() (VoterChange, bool) {
	for _, s := range b.servers {
		if !s.Voter && !b.wants(s.Name) {
			return VoterChange{Remove, s.Name}, true
		}
	}
	return VoterChange{}, false
}

func (b *ballot) shrink() (VoterChange, bool) {
	voters := 0
	for _, s := range b.servers {
		if s.Voter {
			voters++
		}
	}
	if voters <= len(b.wanted) {
		return VoterChange{}, false
	}
	for _, draining := range []bool{true, false} {
		for _, s := range b.servers {
			if s.Voter && s.Name != b.self && !b.wants(s.Name) && b.node(s.Name).Draining == draining {
				return VoterChange{Remove, s.Name}, true
			}
		}
	}
	return VoterChange{}, false
}

func (b *ballot) grow() (VoterChange, bool) {
	for _, c := range b.wanted {
		if s, found := b.server(c.Voter); found && !s.Voter && s.CaughtUp {
			return VoterChange{Promote, c.Voter}, true
		}
	}
	for _, c := range b.wanted {
		if !b.serves(c.Voter) {
			return VoterChange{AddLearner, c.Voter}, true
		}
	}
	return VoterChange{}, false
}

func (b *ballot) handOver() (VoterChange, bool) {
	if b.wants(b.self) {
		return VoterChange{}, false
	}
	for _, c := range b.wanted {
		if b.votes(c.Voter) {
			return VoterChange{Transfer, c.Voter}, true
		}
	}
	return VoterChange{}, false
}

func (b *ballot) server(name proto.NodeName) (Server, bool) {
	at, found := slices.BinarySearchFunc(b.servers, name, func(s Server, name proto.NodeName) int { return cmp.Compare(s.Name, name) })
	if !found {
		return Server{}, false
	}
	return b.servers[at], true
}

func (b *ballot) serves(name proto.NodeName) bool { _, found := b.server(name); return found }
func (b *ballot) votes(name proto.NodeName) bool  { s, _ := b.server(name); return s.Voter }

func (b *ballot) node(name proto.NodeName) Candidate {
	at, found := slices.BinarySearchFunc(b.nodes, name, func(c Candidate, name proto.NodeName) int { return cmp.Compare(c.Voter, name) })
	if !found {
		return Candidate{Voter: name, Verdict: Silent}
	}
	return b.nodes[at]
}

func (b *ballot) wants(name proto.NodeName) bool {
	return slices.ContainsFunc(b.wanted, func(c Candidate) bool { return c.Voter == name })
}

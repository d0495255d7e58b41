package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const raftTick = 50 * time.Millisecond

var errLost = errors.New("the lead was lost before the entry was committed")

// register stands in for raft: one log that all voters come to apply, and a
// leader that can add to it while it reaches a majority of them. That there is
// such a log, package council tests with a faithful raft; here it only has to be
// as late, as often without a leader, and as unclear about what became of an
// entry.
type register struct {
	w        *World
	founding proto.Founding
	log      []entry // committed; log[i] has index i+1
	waiting  []*proposal

	term    uint64
	leader  *node         // nil: nobody
	ready   bool          // it knows all that was committed before (rule R10)
	reached time.Duration // when it last reached a majority
	electAt time.Duration // without a leader
}

// entry is what the log led to.
type entry struct {
	table   *cluster.Table
	servers []plan.Server
}

// proposal is an entry that a leader has appended.
type proposal struct {
	order cluster.Order
	term  uint64
	due   time.Duration // no majority has it sooner
	done  func(error)   // nil: nobody waits any more
}

// seat is a host's part in the register; it is on the disk.
type seat struct {
	host     *host
	voter    proto.NodeName // under which it votes: that of the first run
	founding proto.Founding
	applied  uint64
	coming   bool                    // news are on their way
	left     map[proto.Founding]bool // whose log this run has dropped: it does not begin it again
}

// refuses reports whether the host takes nothing of a founding's log: it keeps that of another one,
// which it must forget before, or has dropped this one.
func (x *seat) refuses(f proto.Founding) bool {
	return x.left[f] || x.founding != f && x.founding != (proto.Founding{})
}

func (w *World) registerOf(f proto.Founding) *register {
	for _, r := range w.registers {
		if r.founding == f {
			return r
		}
	}
	return nil
}

func (r *register) last() *entry { return &r.log[len(r.log)-1] }

// status is what a node's keeper is told.
func (n *node) status() cluster.Status {
	x := &n.host.seat
	s := cluster.Status{Voter: x.voter, Founding: x.founding}
	r := n.w.registerOf(x.founding)
	if r == nil || x.applied == 0 {
		return s
	}
	e := &r.log[x.applied-1]
	s.Table, s.Applied, s.Servers = e.table, x.applied, e.servers
	if r.leader == n && r.ready {
		s.Term, s.Leader = r.term, x.voter
	} else if r.leader != nil && r.leader.host.passes(n.host) {
		s.Leader = r.leader.host.seat.voter
	}
	return s
}

// obey carries out what a keeper orders, some time.
func (n *node) obey(o cluster.Order, done func(error)) {
	w := n.w
	switch o.Kind {
	case cluster.OrderReset:
		n.soon(func() { n.forgetRegister(); done(nil) })
	case cluster.OrderFound:
		n.soon(func() { n.found(o, done) })
	case cluster.OrderQuicken:
		if r := w.registerOf(n.host.seat.founding); r != nil && r.leader == nil {
			r.electAt = min(r.electAt, w.Now+w.Between(20*time.Millisecond, 200*time.Millisecond))
		}
		n.soon(func() { done(nil) })
	default:
		term := n.status().Term
		if o.Kind == cluster.OrderPropose && term != o.Command.Term {
			done(cluster.ErrNotLeading)
			return
		}
		n.soon(func() { n.propose(o, done) })
	}
}

// forgetRegister throws the host's part in the register away.
func (n *node) forgetRegister() {
	x := &n.host.seat
	n.w.Trace("%s forgets its register", n.name)
	if r := n.w.registerOf(x.founding); r != nil {
		x.left[x.founding] = true
		if r.leader == n {
			r.depose(errLost)
		}
	}
	x.founding, x.applied = proto.Founding{}, 0
}

// found begins a log with this node as its only voter.
func (n *node) found(o cluster.Order, done func(error)) {
	w, x := n.w, &n.host.seat
	n.forgetRegister()
	if w.registerOf(o.Founding) != nil {
		w.Fail("%s founds what is founded: %v", n.name, o.Founding)
	}
	w.Trace("%s founds generation %d", n.name, o.Founding.Generation)
	voters := []proto.NodeName{x.voter}
	r := &register{w: w, founding: o.Founding, term: 1, leader: n, ready: true, reached: w.Now}
	r.log = []entry{{table: o.Command.Found.WithVoters(voters), servers: []plan.Server{{Name: x.voter, Voter: true}}}}
	w.ledger.founded(n, r.last().table)
	w.registers = append(w.registers, r)
	x.founding, x.applied = o.Founding, 1
	delete(x.left, o.Founding)
	r.tick()
	done(nil)
}

// propose appends an entry if the node leads.
func (n *node) propose(o cluster.Order, done func(error)) {
	r := n.w.registerOf(n.host.seat.founding)
	if r == nil || r.leader != n || !r.ready {
		done(cluster.ErrNotLeading)
		return
	}
	if o.Kind == cluster.OrderPropose {
		c, err := cluster.ParseCommand(cluster.AppendCommand(nil, o.Command))
		if err != nil {
			n.w.Fail("%s: a command does not survive its own bytes: %v", n.name, err)
		}
		o.Command = c
	}
	p := &proposal{order: o, term: r.term, due: n.w.Now, done: done}
	if len(r.voters()) > 1 {
		p.due += 2 * n.w.flight()
	}
	r.waiting = append(r.waiting, p)
	n.w.After(p.due-n.w.Now, r.commit)
}

// voters are the hosts that vote.
func (r *register) voters() (all []*host) {
	for _, s := range r.last().servers {
		for _, h := range r.w.hosts {
			if s.Voter && h.seat.voter == s.Name {
				all = append(all, h)
			}
		}
	}
	return all
}

// majority reports whether a node votes, and hears enough others who do.
func (r *register) majority(n *node) bool {
	if n == nil || !n.alive || n.frozen {
		return false
	}
	all, met, votes := r.voters(), 0, false
	for _, h := range all {
		votes = votes || h == n.host
		if h.now != nil && !h.now.frozen && h.meets(n.host) && h.seat.founding == r.founding {
			met++
		}
	}
	return votes && met > len(all)/2
}

// tick keeps or loses the lead, and elects.
func (r *register) tick() {
	w := r.w
	if r != w.registers[len(w.registers)-1] && r.leader == nil {
		return // of the past
	}
	w.After(raftTick, r.tick)
	switch {
	case r.leader != nil && r.majority(r.leader):
		r.reached = w.Now
		r.barrier()
		r.commit()
	case r.leader != nil && w.Now-r.reached >= 4*raftTick:
		r.depose(errLost)
	case r.leader == nil && w.Now >= r.electAt:
		r.elect()
	}
	r.spread()
}

// depose takes the leader its lead. What it has appended may be committed all the
// same: by the next leader, before anything else.
func (r *register) depose(err error) {
	w, was := r.w, r.leader
	w.Trace("%s leads no more", was.name)
	r.leader, r.ready = nil, false
	r.electAt = w.Now + w.Between(200*time.Millisecond, 1500*time.Millisecond)
	for _, p := range r.waiting {
		if p.done != nil {
			p.done(err)
			p.done = nil
		}
	}
	r.waiting = r.waiting[:w.Rand.IntN(len(r.waiting)+1)]
	was.tell()
}

// elect makes one of the voters that reach a majority the leader.
func (r *register) elect() {
	var able []*node
	for _, h := range r.voters() {
		if r.majority(h.now) && h.seat.founding == r.founding {
			able = append(able, h.now)
		}
	}
	if len(able) == 0 {
		return
	}
	r.lead(able[r.w.Rand.IntN(len(able))])
}

// lead has a node lead in the next term, after its barrier.
func (r *register) lead(n *node) {
	w := r.w
	r.term++
	r.leader, r.ready, r.reached = n, false, w.Now
	term := r.term
	w.Trace("%s is elected in term %d", n.name, term)
	w.After(w.Between(2*time.Millisecond, 100*time.Millisecond), func() {
		if r.leader == n && r.term == term {
			r.barrier()
		}
	})
}

// barrier is where the leader has what was committed before, if it reaches a
// majority now; else it comes with a later tick.
func (r *register) barrier() {
	if r.ready || !r.majority(r.leader) {
		return
	}
	r.ready = true
	r.commit()
	if r.leader != nil {
		r.leader.host.seat.applied = uint64(len(r.log))
		r.leader.tell()
	}
}

// commit does what a majority has.
func (r *register) commit() {
	if r.leader == nil || !r.majority(r.leader) {
		return
	}
	if !r.ready {
		return
	}
	for len(r.waiting) > 0 && r.waiting[0].due <= r.w.Now {
		p := r.waiting[0]
		r.waiting = r.waiting[1:]
		next, err := r.execute(p)
		if err == nil {
			r.log = append(r.log, next)
		}
		if r.leader != nil {
			r.leader.host.seat.applied = uint64(len(r.log))
		}
		if p.done != nil {
			p.done(err)
		}
		if r.leader == nil {
			return
		}
	}
	r.spread()
}

// execute is what an entry makes of the last one.
func (r *register) execute(p *proposal) (entry, error) {
	e := *r.last()
	switch o := &p.order; o.Kind {
	case cluster.OrderPropose:
		next, err := e.table.Execute(o.Command, p.term)
		if err != nil {
			return e, err
		}
		r.w.ledger.committed(e.table, next, o.Command)
		e.table = next
	case cluster.OrderTransfer:
		var to *node
		for _, h := range r.voters() {
			if h.now != nil && h.now != r.leader && r.majority(h.now) && (o.Voter == "" || o.Voter == h.seat.voter) {
				to = h.now
			}
		}
		if to == nil {
			return e, errors.New("nobody takes the lead")
		}
		r.depose(errLost)
		r.lead(to)
	default:
		e.servers = reconfigured(e.servers, o.Kind, o.Voter)
		e.table = e.table.WithVoters(namesOf(e.servers))
		r.w.Trace("the voters are %v", e.table.Voters)
	}
	return e, nil
}

func reconfigured(servers []plan.Server, kind cluster.OrderKind, name proto.NodeName) (next []plan.Server) {
	for _, s := range servers {
		if s.Name != name {
			next = append(next, s)
		}
	}
	if kind != cluster.OrderRemove {
		next = append(next, plan.Server{Name: name, Voter: kind == cluster.OrderPromote})
	}
	slices.SortFunc(next, func(a, b plan.Server) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return next
}

func namesOf(servers []plan.Server) (names []proto.NodeName) {
	for _, s := range servers {
		if s.Voter {
			names = append(names, s.Name)
		}
	}
	return names
}

// spread brings the log to all servers that the leader reaches, some time.
func (r *register) spread() {
	w := r.w
	if r.leader == nil {
		return
	}
	for _, s := range r.last().servers {
		for _, h := range w.hosts {
			x := &h.seat
			if x.voter != s.Name || h.now == nil || x.coming || x.refuses(r.founding) ||
				x.founding == r.founding && x.applied == uint64(len(r.log)) {
				continue
			}
			n := h.now
			if !r.leader.host.meets(h) {
				continue
			}
			late := w.flight()
			if !w.calm && w.Chance(0.05) {
				late += w.Between(10*time.Millisecond, 2*time.Second)
			}
			x.coming = true
			w.After(late, func() {
				x.coming = false
				n.do(func() { r.bring(n) })
			})
		}
	}
}

func (r *register) bring(n *node) {
	x := &n.host.seat
	if r.leader == nil || !r.leader.host.passes(n.host) || x.refuses(r.founding) {
		return
	}
	x.founding, x.applied = r.founding, uint64(len(r.log))
	n.call(func() { n.keeper.SetRegister(n.w.Time(), n.status()) })
}

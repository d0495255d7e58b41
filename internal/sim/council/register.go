package council

import (
	"errors"
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

var (
	errLost    = errors.New("the lead was lost before the entry was committed")
	errUnready = errors.New("another change of the configuration is under way")
	errNobody  = errors.New("nobody took the lead")
)

// memory is what a voter must not forget: in its data directory, or in the process.
type memory struct {
	name     proto.NodeName // under which it votes
	founding proto.Founding
	term     uint64
	vote     proto.NodeName // in term
	base     snapshot       // what the log begins behind
	log      []*entry       // log[i] has index base.index+1+i
}

// snapshot is what the log up to an index led to.
type snapshot struct {
	facts
	term    uint64        // of the entry at the index
	servers []plan.Server // the configuration there
}

// facts are what a log says up to an index: the state machine's state. They are not changed.
type facts struct {
	index  uint64
	table  *cluster.Table
	voters []proto.NodeName
}

// entry is one of the log. The same entry is one pointer on all voters.
type entry struct {
	term    uint64
	command *cluster.Command // nil: a configuration, or nothing
	servers []plan.Server    // the configuration from here on; sorted, not changed
	decided uint64           // the raft term in which the coordinator decided the command
	by      proto.NodeName
}

func (m *memory) last() uint64 { return m.base.index + uint64(len(m.log)) }

// termAt is the term of the entry at an index, and false where the log does not reach.
func (m *memory) termAt(index uint64) (uint64, bool) {
	switch {
	case index == m.base.index:
		return m.base.term, true
	case index < m.base.index || index > m.last():
		return 0, false
	}
	return m.at(index).term, true
}

func (m *memory) at(index uint64) *entry { return m.log[index-m.base.index-1] }

// allows reports whether the other's log lacks nothing that is here, as far as raft can tell.
func (m *memory) allows(o *memory) bool {
	own, _ := m.termAt(m.last())
	term, _ := o.termAt(o.last())
	return term > own || term == own && o.last() >= m.last()
}

// servers is the newest configuration in the log, committed or not, and where it is.
func (m *memory) servers() (servers []plan.Server, index uint64) {
	for i := m.last(); i > m.base.index; i-- {
		if e := m.at(i); e.servers != nil {
			return e.servers, i
		}
	}
	return m.base.servers, m.base.index
}

// register is a process's part in raft: cluster.Register, modelled.
type register struct {
	p      *process
	w      *World
	memory *memory
	left   map[proto.Founding]bool // whose log this run has forgotten: it does not begin it again
	voter
	pending bool          // the keeper is about to be told
	slow    time.Duration // until when commands take their time
}

// openRegister finds what the host's last run left behind, if there is a data directory.
func openRegister(p *process) *register {
	r := &register{p: p, w: p.w, left: make(map[proto.Founding]bool)}
	former := p.host.memory
	switch {
	case former != nil && p.w.shape.disk && former.founding != (proto.Founding{}):
		r.memory = former
	case former != nil && p.w.opt.Register&BreakMemory != 0:
		r.memory = &memory{name: former.name}
	default:
		r.memory = &memory{name: p.name}
	}
	p.host.memory = r.memory
	r.voter = voter{now: r.memory.base.facts, commit: r.memory.base.index}
	r.follow("")
	p.every(raftTick, r.tick)
	return r
}

// forget is OrderReset, and the beginning of OrderFound.
func (r *register) forget() {
	if r.memory.founding != (proto.Founding{}) {
		r.left[r.memory.founding] = true
	}
	r.stepDown("")
	r.memory = &memory{name: r.p.name}
	r.p.host.memory = r.memory
	r.voter = voter{}
	r.follow("")
}

// status is what the keeper is told.
func (r *register) status() cluster.Status {
	servers, _ := r.memory.servers()
	s := cluster.Status{Voter: r.memory.name, Founding: r.memory.founding, Leader: r.leader, Table: r.now.table, Applied: r.now.index, Servers: servers}
	if r.lead != nil && r.now.index >= r.lead.began {
		s.Term = r.memory.term // all that was committed before is applied
	}
	return s
}

// changed has the keeper told, soon.
func (r *register) changed() {
	if r.pending {
		return
	}
	r.pending = true
	r.p.soon(func() {
		r.pending = false
		r.p.call(func() { r.p.keeper.SetRegister(r.w.Time(), r.p.tell()) })
	})
}

// do carries out an order, some time.
func (r *register) do(o cluster.Order, done func(error)) {
	r.w.report.Orders[o.Kind]++
	decided := r.p.told.Term
	switch o.Kind {
	case cluster.OrderReset:
		r.p.soon(func() {
			r.w.Trace("%s forgets its register", r.p.name)
			r.forget()
			r.changed()
			done(nil)
		})
	case cluster.OrderFound:
		r.p.soon(func() { r.found(o, done) })
	case cluster.OrderQuicken:
		r.p.soon(func() { r.hurry(); done(nil) })
	case cluster.OrderPropose:
		// What is checked here may be history when the entry is appended.
		if r.status().Term != o.Command.Term {
			done(cluster.ErrNotLeading)
			return
		}
		c, err := cluster.ParseCommand(cluster.AppendCommand(nil, o.Command))
		if err != nil {
			r.w.Fail("%s: a command does not survive its own bytes: %v", r.p.name, err)
		}
		propose := func() { r.propose(c, decided, done) }
		if r.w.Now < r.slow {
			r.w.After(r.w.Between(500*time.Millisecond, 3*time.Second), func() { r.p.do(propose) })
			return
		}
		r.p.soon(propose)
	default:
		r.p.soon(func() { r.reconfigure(o.Kind, o.Voter, done) })
	}
}

// found begins a log with this node as its only voter.
func (r *register) found(o cluster.Order, done func(error)) {
	r.w.ledger.founded(r.p, o.Founding)
	r.forget()
	delete(r.left, o.Founding)
	m := r.memory
	m.founding, m.term, m.vote = o.Founding, 1, m.name
	m.log = []*entry{{term: 1, servers: []plan.Server{{Name: m.name, Voter: true}}}}
	r.takeLead()
	c := *o.Command
	c.Term = m.term
	r.propose(&c, m.term, done)
}

func (r *register) propose(c *cluster.Command, decided uint64, done func(error)) {
	if r.lead == nil || r.lead.transferTo != "" {
		done(cluster.ErrNotLeading)
		return
	}
	if r.w.opt.Register&BreakTerm != 0 {
		c.Term = r.memory.term
	}
	r.append(&entry{term: r.memory.term, command: c, decided: decided, by: r.p.name}, done)
}

// reconfigure makes one change of the configuration; the one before must be committed.
func (r *register) reconfigure(kind cluster.OrderKind, name proto.NodeName, done func(error)) {
	if r.lead == nil || r.lead.transferTo != "" {
		done(cluster.ErrNotLeading)
		return
	}
	if kind == cluster.OrderTransfer {
		r.transfer(name, done)
		return
	}
	servers, at := r.memory.servers()
	if at > r.commit || r.lead.began > r.commit {
		done(errUnready)
		return
	}
	r.append(&entry{term: r.memory.term, servers: reconfigured(servers, kind, name), by: r.p.name}, done)
}

func reconfigured(servers []plan.Server, kind cluster.OrderKind, name proto.NodeName) []plan.Server {
	next := slices.Clone(servers)
	at, found := slices.BinarySearchFunc(next, name, func(s plan.Server, name proto.NodeName) int {
		switch {
		case s.Name < name:
			return -1
		case s.Name > name:
			return 1
		}
		return 0
	})
	switch {
	case kind == cluster.OrderRemove && found:
		return slices.Delete(next, at, at+1)
	case kind == cluster.OrderRemove:
		return next
	case !found:
		next = slices.Insert(next, at, plan.Server{Name: name})
	}
	if kind == cluster.OrderPromote {
		next[at].Voter = true
	}
	return next
}

// apply does what is committed.
func (r *register) apply() {
	for r.now.index < r.commit {
		index := r.now.index + 1
		e := r.memory.at(index)
		was := r.now
		err := r.execute(index, e)
		r.w.ledger.applied(r.p, r.memory.founding, index, e, was, r.now)
		r.answer(index, e, err)
	}
	r.compact()
	r.changed()
}

func (r *register) execute(index uint64, e *entry) error {
	r.now.index = index
	switch {
	case e.command != nil:
		first := r.now.table == nil
		next, err := r.now.table.Execute(e.command, e.term)
		if err != nil {
			return err
		}
		if first {
			next = next.WithVoters(r.now.voters)
		}
		r.now.table = next
	case e.servers != nil:
		voters := votersOf(e.servers)
		if r.now.table != nil && !slices.Equal(voters, r.now.voters) {
			r.now.table = r.now.table.WithVoters(voters)
		}
		r.now.voters = voters
	}
	return nil
}

func votersOf(servers []plan.Server) (names []proto.NodeName) {
	for _, s := range servers {
		if s.Voter {
			names = append(names, s.Name)
		}
	}
	return names
}

// compact replaces most of a long log by a snapshot.
func (r *register) compact() {
	m := r.memory
	if r.now.index < m.base.index+uint64(r.w.shape.snapshotEvery) {
		return
	}
	var servers []plan.Server
	for i := m.base.index + 1; i <= r.now.index; i++ {
		if s := m.at(i).servers; s != nil {
			servers = s
		}
	}
	if servers == nil {
		servers = m.base.servers
	}
	term, _ := m.termAt(r.now.index)
	m.log = slices.Clone(m.log[r.now.index-m.base.index:])
	m.base = snapshot{facts: r.now, term: term, servers: servers}
}

// hurry shortens the wait for a leader that is dead for certain.
func (r *register) hurry() {
	if r.lead == nil {
		r.hasty = r.w.Now + 2*time.Second
		r.leader = ""
		r.rest()
	}
}

package council

import (
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const (
	raftTick        = 25 * time.Millisecond
	heartbeatEvery  = 60 * time.Millisecond
	electionTimeout = 500 * time.Millisecond // drawn anew each time, up to twice this
	hastyTimeout    = 200 * time.Millisecond // once the leader is known to be dead
	leaseTimeout    = 200 * time.Millisecond
	maxEntries      = 8 // in a message
)

// voter is what a register forgets when its process ends: where it stands in raft.
type voter struct {
	now    facts  // applied
	commit uint64 // applied up to here, or about to be

	leader   proto.NodeName // voter that leads, as far as is known here
	deadline time.Duration  // without a word of a leader until then, there is an election
	hasty    time.Duration  // until when elections come sooner

	poll *poll // nil while this voter does not want to lead
	lead *lead // nil while it does not lead
}

// poll is an election that this voter stands in.
type poll struct {
	trial   bool // it only asks whether it would win; nobody's term is raised
	granted []proto.NodeName
}

// lead is what a leader keeps account of.
type lead struct {
	began      uint64 // index of its first entry: once that is applied, all that was committed is known
	followers  map[proto.NodeName]*follower
	beatAt     time.Duration
	waiting    []waiter // by index
	transferTo proto.NodeName
	transferBy time.Duration
	transfer   func(error)
}

type follower struct {
	next, match uint64
	heard       time.Duration
}

// waiter is told what becomes of an entry.
type waiter struct {
	index uint64
	entry *entry
	done  func(error)
}

// message is what two voters say to each other.
type message struct {
	kind     messageKind
	founding proto.Founding
	from     proto.NodeName
	term     uint64

	index, entryTerm uint64 // the candidate's last entry; the entry before entries; the last one held
	entries          []*entry
	commit           uint64
	base             *snapshot
	ok               bool
	asked            bool // by the leader, to take over
}

type messageKind uint8

const (
	askTrial messageKind = iota
	askVote
	answerTrial
	answerVote
	appendEntries
	answerAppend
	installSnapshot
	takeOver
)

// post sends a message to whoever votes under a name, as far as this node knows.
func (r *register) post(to proto.NodeName, m message) {
	for _, n := range r.p.keeper.View().Nodes() {
		if n.Voter == to && n.Lives() && n.Name != r.p.name {
			r.transmit(r.w.byName[n.Name], m)
			return
		}
	}
}

// transmit sends a message on a stream to a run of a node. What a cut holds back may come late, or
// never.
func (r *register) transmit(to *process, m message) {
	m.founding, m.from, m.term = r.memory.founding, r.memory.name, max(m.term, r.memory.term)
	from := r.p
	w := r.w
	var arrive func()
	tries := 0
	arrive = func() {
		switch {
		case from.host.passes(to.host):
			to.do(func() { to.register.receive(from, m) })
		case tries < 12 && w.Chance(0.8):
			tries++
			w.After(w.Between(50*time.Millisecond, 400*time.Millisecond), arrive)
		}
	}
	w.After(w.flight(), arrive)
}

// receive lets in who belongs to the same founding. A register without a log begins that of the
// founding which its node knows by the Table.
func (r *register) receive(from *process, m message) {
	if r.memory.founding == (proto.Founding{}) && r.p.keeper.Founding() == m.founding && !r.left[m.founding] {
		r.memory.founding = m.founding
		r.changed()
	}
	if r.memory.founding != m.founding {
		return
	}
	switch m.kind {
	case askTrial, askVote:
		r.onAsk(from, &m)
	case answerTrial, answerVote:
		r.onAnswer(&m)
	case appendEntries, installSnapshot:
		r.onAppend(from, &m)
	case answerAppend:
		r.onAppended(&m)
	case takeOver:
		if m.term == r.memory.term && r.votes(r.memory.name) {
			r.stand(false, true)
		}
	}
}

// tick does what is due.
func (r *register) tick() {
	m := r.memory
	switch {
	case m.founding == (proto.Founding{}):
	case r.lead != nil:
		r.reign()
	case r.w.Now < r.deadline:
	case !r.votes(m.name):
		r.leader = ""
	case r.poll != nil && r.poll.trial && r.won():
		r.stand(false, false)
	default:
		r.leader = ""
		r.stand(true, false)
	}
}

// votes reports whether the newest configuration gives a name a vote.
func (r *register) votes(name proto.NodeName) bool {
	servers, _ := r.memory.servers()
	return slices.ContainsFunc(servers, func(s plan.Server) bool { return s.Name == name && s.Voter })
}

// rest draws when the next election is due.
func (r *register) rest() {
	d := electionTimeout
	if r.w.Now < r.hasty {
		d = hastyTimeout
	}
	r.deadline = r.w.Now + d + time.Duration(r.w.Rand.Int64N(int64(d)))
}

func (r *register) follow(leader proto.NodeName) {
	r.poll, r.leader = nil, leader
	r.rest()
}

// stepDown ends a lead: whoever waits for an entry will not be told by us.
func (r *register) stepDown(leader proto.NodeName) {
	if l := r.lead; l != nil {
		r.w.Trace("%s leads no more, term %d", r.p.name, r.memory.term)
		r.lead = nil
		for _, x := range l.waiting {
			x.done(errLost)
		}
		if l.transfer != nil {
			l.transfer(nil)
		}
		r.changed()
	}
	r.follow(leader)
}

// raise takes a higher term.
func (r *register) raise(term uint64) {
	if term > r.memory.term {
		r.stepDown("")
		r.memory.term, r.memory.vote = term, ""
	}
}

// stand begins an election, or the question whether it would be won.
func (r *register) stand(trial, asked bool) {
	m := r.memory
	r.rest()
	r.poll = &poll{trial: trial, granted: []proto.NodeName{m.name}}
	kind, term := askTrial, m.term+1
	if !trial {
		m.term++
		m.vote, kind = m.name, askVote
	}
	lastTerm, _ := m.termAt(m.last())
	servers, _ := m.servers()
	for _, s := range servers {
		if s.Voter && s.Name != m.name {
			r.post(s.Name, message{kind: kind, term: term, index: m.last(), entryTerm: lastTerm, asked: asked})
		}
	}
	r.count()
}

func (r *register) won() bool {
	servers, _ := r.memory.servers()
	return len(r.poll.granted) > len(votersOf(servers))/2
}

func (r *register) count() {
	switch {
	case !r.won():
	case r.poll.trial:
		r.stand(false, false)
	default:
		r.takeLead()
	}
}

// onAsk answers a candidate.
func (r *register) onAsk(from *process, q *message) {
	m := r.memory
	servers, _ := m.servers()
	answer := message{kind: answerVote}
	if q.kind == askTrial {
		answer.kind = answerTrial
	}
	lastTerm, _ := m.termAt(m.last())
	longer := q.entryTerm > lastTerm || q.entryTerm == lastTerm && q.index >= m.last()
	switch {
	case len(servers) > 0 && !r.votes(q.from), q.term < m.term:
	case r.leader != "" && r.leader != q.from && !q.asked:
	case q.kind == askTrial:
		answer.ok, answer.term = longer, q.term
	default:
		r.raise(q.term)
		if answer.ok = longer && (m.vote == "" || m.vote == q.from); answer.ok {
			m.vote = q.from
			r.rest()
		}
	}
	r.transmit(from, answer)
}

func (r *register) onAnswer(a *message) {
	if a.kind == answerVote || !a.ok {
		r.raise(a.term)
	}
	trial := a.kind == answerTrial
	term := r.memory.term
	if trial {
		term++
	}
	if r.poll == nil || r.poll.trial != trial || a.term != term || !a.ok || !r.votes(a.from) || slices.Contains(r.poll.granted, a.from) {
		return
	}
	r.poll.granted = append(r.poll.granted, a.from)
	r.count()
}

// takeLead begins to lead: with an entry that commits all before it.
func (r *register) takeLead() {
	m := r.memory
	r.poll, r.leader = nil, m.name
	r.lead = &lead{began: m.last() + 1, followers: make(map[proto.NodeName]*follower)}
	r.w.report.Leaders++
	r.w.Trace("%s leads, term %d, behind %d", r.p.name, m.term, m.last())
	r.w.ledger.leads(r.p, m)
	r.append(&entry{term: m.term, by: r.p.name}, func(error) {})
}

// append adds an entry to the leader's log.
func (r *register) append(e *entry, done func(error)) {
	m := r.memory
	m.log = append(m.log, e)
	r.lead.waiting = append(r.lead.waiting, waiter{m.last(), e, done})
	r.broadcast()
	r.advance()
}

// answer tells who waits for an entry.
func (r *register) answer(index uint64, e *entry, err error) {
	if r.lead == nil || len(r.lead.waiting) == 0 || r.lead.waiting[0].index != index {
		return
	}
	x := r.lead.waiting[0]
	r.lead.waiting = r.lead.waiting[1:]
	if x.entry != e {
		r.w.Fail("%s: another entry at index %d than it appended as the leader", r.p.name, index)
	}
	x.done(err)
}

// reign is a leader's tick.
func (r *register) reign() {
	l := r.lead
	servers, _ := r.memory.servers()
	heard, voters := 0, votersOf(servers)
	for _, name := range voters {
		if f := r.follower(name); name == r.memory.name || r.w.Now-f.heard < leaseTimeout {
			heard++
		}
	}
	if heard <= len(voters)/2 {
		r.stepDown("")
		return
	}
	if l.transferTo != "" && r.w.Now >= l.transferBy {
		done := l.transfer
		l.transferTo, l.transfer = "", nil
		done(errNobody)
	}
	if r.w.Now-l.beatAt >= heartbeatEvery {
		r.broadcast()
	}
}

func (r *register) follower(name proto.NodeName) *follower {
	f := r.lead.followers[name]
	if f == nil {
		f = &follower{next: r.memory.last() + 1, heard: r.w.Now}
		r.lead.followers[name] = f
	}
	return f
}

func (r *register) broadcast() {
	r.lead.beatAt = r.w.Now
	servers, _ := r.memory.servers()
	for _, s := range servers {
		if s.Name != r.memory.name {
			r.replicate(s.Name)
		}
	}
}

// replicate sends a follower what it lacks.
func (r *register) replicate(name proto.NodeName) {
	m, f := r.memory, r.follower(name)
	if f.next <= m.base.index {
		base := m.base
		r.post(name, message{kind: installSnapshot, base: &base, index: base.index, entryTerm: base.term, commit: r.commit})
		return
	}
	before, _ := m.termAt(f.next - 1)
	from := f.next - m.base.index - 1
	entries := slices.Clone(m.log[from:min(from+maxEntries, uint64(len(m.log)))])
	r.post(name, message{kind: appendEntries, index: f.next - 1, entryTerm: before, entries: entries, commit: r.commit})
}

// onAppend takes what a leader sends.
func (r *register) onAppend(from *process, a *message) {
	m := r.memory
	if a.term < m.term {
		r.transmit(from, message{kind: answerAppend, index: m.last()})
		return
	}
	r.raise(a.term)
	if r.lead != nil {
		r.w.Fail("%s and %s lead in term %d", m.name, a.from, m.term)
	}
	if r.leader != a.from {
		r.changed()
	}
	r.follow(a.from)
	if a.kind == installSnapshot {
		r.install(a.base)
	}
	if a.index < m.base.index { // what is in the snapshot is committed, and the leader has it too
		a.entries = a.entries[min(m.base.index-a.index, uint64(len(a.entries))):]
		a.index, a.entryTerm = m.base.index, m.base.term
	}
	held, fits := m.termAt(a.index)
	if !fits || held != a.entryTerm {
		r.transmit(from, message{kind: answerAppend, index: min(m.last(), a.index-1)})
		return
	}
	r.store(a.index, a.entries)
	if last := a.index + uint64(len(a.entries)); min(a.commit, last) > r.commit {
		r.commit = min(a.commit, last)
		r.apply()
	}
	r.transmit(from, message{kind: answerAppend, ok: true, index: a.index + uint64(len(a.entries))})
}

// store appends entries behind an index, in place of others that were never committed.
func (r *register) store(index uint64, entries []*entry) {
	m := r.memory
	for i, e := range entries {
		at := index + 1 + uint64(i)
		if at <= m.last() {
			if m.at(at).term == e.term {
				continue
			}
			if at <= r.commit {
				r.w.Fail("%s: entry %d of term %d was committed and is to be replaced by one of term %d", m.name, at, m.at(at).term, e.term)
			}
			m.log = slices.Clone(m.log[:at-m.base.index-1])
		}
		m.log = append(m.log, e)
	}
}

func (r *register) install(base *snapshot) {
	m := r.memory
	if base.index <= r.now.index {
		return
	}
	if term, ok := m.termAt(base.index); ok && term == base.term {
		return // it has all that, and applies it in order
	}
	m.base, m.log = *base, nil
	r.now, r.commit = base.facts, base.index
	r.w.ledger.installed(r.p, m.founding, base)
	r.changed()
}

func (r *register) onAppended(a *message) {
	r.raise(a.term)
	if r.lead == nil || a.term < r.memory.term {
		return
	}
	f := r.follower(a.from)
	f.heard = r.w.Now
	if !a.ok {
		f.next = min(f.next, a.index+1)
		f.next = max(f.next, 1)
		r.replicate(a.from)
		return
	}
	f.match = max(f.match, a.index)
	f.next = max(f.next, f.match+1)
	if r.advance(); r.lead == nil {
		return
	}
	if f.next <= r.memory.last() && f.match+1 == f.next {
		r.replicate(a.from)
	}
	r.yield()
}

// advance commits what a majority holds, if it is of this term.
func (r *register) advance() {
	m := r.memory
	servers, _ := m.servers()
	var held []uint64
	for _, name := range votersOf(servers) {
		if name == m.name {
			held = append(held, m.last())
		} else {
			held = append(held, r.follower(name).match)
		}
	}
	if len(held) == 0 {
		return
	}
	slices.Sort(held)
	index := held[(len(held)-1)/2]
	if term, ok := m.termAt(index); !ok || term != m.term || index <= r.commit {
		return
	}
	r.commit = index
	r.apply()
	if servers, at := m.servers(); at <= r.commit && !slices.Contains(votersOf(servers), m.name) {
		r.stepDown("")
	}
}

// transfer hands the lead over, once the other holds all that there is.
func (r *register) transfer(to proto.NodeName, done func(error)) {
	if to == "" || !r.votes(to) || to == r.memory.name {
		done(cluster.ErrRefused)
		return
	}
	r.lead.transferTo, r.lead.transfer, r.lead.transferBy = to, done, r.w.Now+electionTimeout
	r.yield()
}

func (r *register) yield() {
	if to := r.lead.transferTo; to != "" && r.follower(to).match == r.memory.last() {
		r.post(to, message{kind: takeOver})
	}
}

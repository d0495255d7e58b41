package council

import (
	"bytes"
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// ledger is the truth: what was committed, who is dead and who could know. It is asked all the time
// whether what nodes do and hold agrees with it.
type ledger struct {
	w         *World
	histories map[proto.Founding]*history
	tables    map[tableKey][]byte // what every copy of a version must be
	known     map[*cluster.Table]bool
	rows      map[rowKey]cluster.Row
	highest   map[*process][]proto.Term
	evidence  map[proto.NodeName]*evidence
	forgotten map[proto.NodeName]bool // by an operator
	founders  map[proto.Founding]*process
	first     map[proto.Instance]time.Duration           // when it was founded
	holders   map[proto.Instance]map[proto.NodeName]bool // who ever belonged to it
}

// history is the register of one founding: what some voter has applied, which all others must too.
type history struct {
	entries []*entry         // entries[i] has index i+1
	tables  []*cluster.Table // behind the entry
}

type tableKey struct {
	instance proto.Instance
	version  uint64
}

type rowKey struct {
	instance  proto.Instance
	partition proto.Partition
	term      proto.Term
}

// evidence is what proves a death (rule R9), and who could have seen it.
type evidence struct {
	replaced bool                    // a later run was started at its address
	left     bool                    // it said goodbye
	refused  map[proto.NodeName]bool // whose link was reset and whose dial was refused
}

func newLedger(w *World) *ledger {
	return &ledger{
		w:         w,
		histories: make(map[proto.Founding]*history),
		tables:    make(map[tableKey][]byte),
		known:     make(map[*cluster.Table]bool),
		rows:      make(map[rowKey]cluster.Row),
		highest:   make(map[*process][]proto.Term),
		evidence:  make(map[proto.NodeName]*evidence),
		forgotten: make(map[proto.NodeName]bool),
		founders:  make(map[proto.Founding]*process),
		first:     make(map[proto.Instance]time.Duration),
		holders:   make(map[proto.Instance]map[proto.NodeName]bool),
	}
}

func (l *ledger) of(name proto.NodeName) *evidence {
	x := l.evidence[name]
	if x == nil {
		x = &evidence{refused: make(map[proto.NodeName]bool)}
		l.evidence[name] = x
	}
	return x
}

// What happens to processes.

func (l *ledger) replaced(h *host) {
	for _, p := range l.w.processes {
		if p.host == h && p != h.now {
			l.of(p.name).replaced = true
		}
	}
}

func (l *ledger) leaves(p *process) { l.of(p.name).left = true }

func (l *ledger) probed(p *process, name proto.NodeName, fate cluster.Fate) {
	if fate == cluster.FateRefused && p.broke[name] {
		l.of(name).refused[p.name] = true
	}
}

// proved reports whether there is proof that the run is dead, whoever has it. A living one has none.
func (l *ledger) proved(name proto.NodeName) bool {
	x := l.of(name)
	return !l.w.byName[name].alive && (x.replaced || x.left || len(x.refused) >= 2)
}

// What coordinators want.

// ordered judges an order in the moment of the decision.
func (l *ledger) ordered(p *process, o *cluster.Order) {
	w := l.w
	w.Trace("%s orders %d %s", p.name, o.Kind, o.Voter)
	switch o.Kind {
	case cluster.OrderPropose:
		if o.Command.Term != p.told.Term || o.Command.Term == 0 {
			w.Fail("%s decides in term %d, but leads in %d", p.name, o.Command.Term, p.told.Term)
		}
		for _, c := range o.Command.Changes {
			l.judge(p, c.Partition, p.keeper.Table().Row(c.Partition), c.Row)
		}
		for _, name := range o.Command.Forget {
			l.forgotten[name] = true
		}
	case cluster.OrderRemove:
		l.removed(p, o.Voter)
	case cluster.OrderFound:
		if o.Founding.Generation == 0 {
			l.alone(p, o.Founding)
		} else {
			l.recovers(p, o.Command.Found)
		}
	}
}

// judge: rule R9. No row is taken from an owner whose death is not proved.
func (l *ledger) judge(p *process, at proto.Partition, was, row cluster.Row) {
	if was.Owner == "" || was.Owner == row.Owner && was.Since == row.Since || l.forgotten[was.Owner] || l.proved(was.Owner) {
		return
	}
	l.w.Fail("%s gives partition %d to %s with new epochs, but the death of %s is not proved (it lives: %v)", p.name, at, row.Owner, was.Owner, l.w.byName[was.Owner].alive)
}

// recovers: a recovery that no operator asked for takes no row from a silent owner either.
func (l *ledger) recovers(p *process, t *cluster.Table) {
	for i, row := range t.Rows() {
		if !p.asked {
			l.judge(p, i, p.keeper.Table().Row(i), row)
		}
	}
}

// removed: rule R10. Who has just begun to lead removes no voter for its silence.
func (l *ledger) removed(p *process, voter proto.NodeName) {
	if l.w.Now-p.leadsAt >= 500*time.Millisecond {
		return
	}
	voters, living := votersOf(p.told.Servers), 0
	var run *process
	for _, n := range p.keeper.View().Nodes() {
		here := n.Voter != "" && n.Instance == p.keeper.Instance() && n.Lives()
		if here && n.State != cluster.Draining && !l.proved(n.Name) && !l.forgotten[n.Name] {
			living++
		}
		if n.Voter == voter && n.Instance == p.keeper.Instance() && (run == nil || l.w.byName[n.Name].alive) {
			run = l.w.byName[n.Name]
		}
	}
	if run == nil || run.draining || !slices.Contains(voters, voter) || len(voters) > plan.VotersFor(living) || p.ends[run.name] != nil {
		return
	}
	if !l.proved(run.name) && !l.forgotten[run.name] {
		l.w.Fail("%s leads for %v and removes the voter %s, whose death is not proved", p.name, l.w.Now-p.leadsAt, voter)
	}
}

// alone: nobody founds a cluster beside one that it can see.
func (l *ledger) alone(p *process, f proto.Founding) {
	w := l.w
	for _, q := range w.living() {
		if q == p || q.frozen || q.keeper.Instance().IsZero() || q.keeper.Instance() == f.Instance {
			continue
		}
		met := max(p.host.seen[q.host.place], p.started, q.started, l.first[q.keeper.Instance()])
		if p.host.meets(q.host) && w.Now-met >= 3*time.Second {
			w.Fail("%s founds a cluster beside that of %s, which it has seen for %v", p.name, q.name, w.Now-met)
		}
	}
	l.first[f.Instance] = w.Now
}

// What the register does.

// founded: of one instance and generation there is one founding, as long as anybody has heard of it.
func (l *ledger) founded(p *process, f proto.Founding) {
	w := l.w
	w.Trace("%s founds %s, generation %d", p.name, f.Instance.String()[:6], f.Generation)
	if f.Generation > 0 {
		w.report.Foundings++
	}
	if other := l.founders[f]; other != nil {
		l.alike(p, other, f)
		l.strike(f)
	}
	l.founders[f] = p
}

// alike judges a second founding of the same generation.
func (l *ledger) alike(p, first *process, f proto.Founding) {
	w := l.w
	for _, h := range w.hosts {
		if w.shape.disk && h.memory != nil && h.memory.founding == f {
			w.Fail("%s and %s have both founded generation %d, and %s keeps the first", first.name, p.name, f.Generation, h.id)
		}
	}
	for _, q := range w.living() {
		if q.register.memory.founding == f || q.keeper.Founding() == f {
			w.Fail("%s and %s have both founded generation %d, and %s has heard of the first", first.name, p.name, f.Generation, q.name)
		}
	}
}

// strike forgets a founding that nobody has heard of any more.
func (l *ledger) strike(f proto.Founding) {
	delete(l.histories, f)
	for key := range l.tables {
		if key.instance == f.Instance && uint32(key.version>>32) == f.Generation {
			delete(l.tables, key)
		}
	}
	for key := range l.rows {
		if key.instance == f.Instance && key.term.Generation() == f.Generation {
			delete(l.rows, key)
		}
	}
}

// leads: whoever leads has all that was ever committed.
func (l *ledger) leads(p *process, m *memory) {
	h := l.histories[m.founding]
	if h == nil {
		return
	}
	for i, e := range h.entries {
		index := uint64(i) + 1
		switch {
		case index <= m.base.index:
		case index > m.last():
			l.w.Fail("%s leads in term %d without the committed entries from %d on", p.name, m.term, index)
		case m.at(index) != e:
			l.w.Fail("%s leads in term %d with another entry %d than was committed", p.name, m.term, index)
		}
	}
}

// applied: all voters of a founding apply the same, and what was decided in an old term does nothing.
func (l *ledger) applied(p *process, f proto.Founding, index uint64, e *entry, was, now facts) {
	w := l.w
	h := l.histories[f]
	if h == nil {
		h = &history{}
		l.histories[f] = h
	}
	if index <= uint64(len(h.entries)) {
		if h.entries[index-1] != e {
			w.Fail("%s applies another entry %d than others did", p.name, index)
		}
		l.check(p, now.table)
		return
	}
	if index != uint64(len(h.entries))+1 {
		w.Fail("%s applies entry %d, but nobody has applied %d", p.name, index, len(h.entries)+1)
	}
	h.entries, h.tables = append(h.entries, e), append(h.tables, now.table)
	if now.table == was.table {
		return
	}
	w.report.Tables++
	w.Trace("%s applies %d of term %d first: table %x of %x", p.name, index, e.term, now.table.Version, now.table.Mark().Fingerprint)
	if e.command != nil && e.decided != e.term {
		w.Fail("entry %d of %s was decided in term %d and takes effect in term %d", index, e.by, e.decided, e.term)
	}
	if was.table != nil && now.table.Version != was.table.Version+1 {
		w.Fail("%s applies entry %d, and version %d follows %d", p.name, index, now.table.Version, was.table.Version)
	}
	l.check(p, now.table)
}

// installed: a snapshot is what its index led to.
func (l *ledger) installed(p *process, f proto.Founding, s *snapshot) {
	h := l.histories[f]
	if h == nil || s.index > uint64(len(h.entries)) {
		l.w.Fail("%s is given a snapshot up to %d, which nobody has applied", p.name, s.index)
	}
	if s.table.Mark() != h.tables[s.index-1].Mark() {
		l.w.Fail("%s is given another table up to %d than was applied", p.name, s.index)
	}
}

// What nodes hold.

// check: of each version there is one Table, and of each partition and term one row.
func (l *ledger) check(p *process, t *cluster.Table) {
	if t == nil || l.known[t] {
		return
	}
	l.known[t] = true
	key, text := tableKey{t.Instance, t.Version}, cluster.AppendTable(nil, t)
	if other := l.tables[key]; other != nil && !bytes.Equal(other, text) {
		l.w.Fail("%s has another table of version %x than others", p.name, t.Version)
	}
	l.tables[key] = text
	for i, row := range t.Rows() {
		key := rowKey{t.Instance, i, row.Term}
		if other, known := l.rows[key]; known && other.Owner != row.Owner {
			l.w.Fail("partition %d is %s's and %s's in term %x (at %s)", i, other.Owner, row.Owner, row.Term, p.name)
		}
		l.rows[key] = row
	}
}

// holds: a node's Table only ever becomes a later one.
func (l *ledger) holds(p *process, was, t *cluster.Table) {
	w := l.w
	if t == nil || was != nil && t.Instance != was.Instance {
		w.Trace("%s gives up %s", p.name, was.Instance.String()[:6])
		for _, q := range w.living() {
			if q != p && q.keeper.Instance() == was.Instance {
				w.Fail("%s gives up its cluster, but %s belongs to it", p.name, q.name)
			}
		}
		delete(l.highest, p)
		if t == nil {
			return
		}
		was = nil
	}
	w.Trace("%s holds %s version %x of %x", p.name, t.Instance.String()[:6], t.Version, t.Mark().Fingerprint)
	if was != nil && t.Version <= was.Version {
		w.Fail("%s goes back from version %x to %x", p.name, was.Version, t.Version)
	}
	l.check(p, t)
	high := l.highest[p]
	if high == nil {
		high = make([]proto.Term, t.Partitions())
		l.highest[p] = high
	}
	for i, row := range t.Rows() {
		if row.Term < high[i] {
			w.Fail("%s goes back from term %x to %x of partition %d", p.name, high[i], row.Term, i)
		}
		high[i] = row.Term
	}
	l.torn(p, t)
}

// torn notes that there are two clusters for good: nodes that could not see each other founded both.
// One that nobody but its founder ever belonged to is given up, unless it is on a disk.
func (l *ledger) torn(p *process, t *cluster.Table) {
	if l.holders[t.Instance] == nil {
		l.holders[t.Instance] = make(map[proto.NodeName]bool)
	}
	l.holders[t.Instance][p.name] = true
	groups := make(map[proto.Instance]bool)
	for _, q := range l.w.living() {
		if t := q.keeper.Table(); t != nil && (len(l.holders[t.Instance]) > 1 || l.w.shape.disk) {
			groups[t.Instance] = true
		}
	}
	l.w.report.Torn = len(groups) > 1
}

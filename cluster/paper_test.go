package cluster

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// paper is a register on paper: what raft promises, and all that it does not. A book is one founding's
// log; every node with a share in it has a log (bookmark) that follows. Who leads, who still believes
// that it does, and which proposals of theirs take effect late, is chance.
type paper struct {
	lab   *lab
	books map[proto.Founding]*book
	later []later
	lies  float64 // how often an order that was done is said to have failed
	done  []Order // all that were carried out, for tests to look at
}

type later struct {
	at time.Time
	do func()
}

// book is what the voters of a founding agreed on.
type book struct {
	founding proto.Founding
	pages    []page // committed, in order; never empty
	term     uint64 // the highest that anybody led in
	leader   *labNode
	electAt  time.Time // zero while somebody leads, or nobody can
	limbo    []entry   // that the leader wrote down and could not commit: the next one may
}

// page is the state behind one committed entry.
type page struct {
	table   *Table
	servers []plan.Server
}

// entry returns the page that it leads to when all before it is committed.
type entry func() (page, error)

// bookmark is a node's share in a book. It outlives the process if its disk does.
type bookmark struct {
	voter    proto.NodeName
	founding proto.Founding
	has      int // pages that it holds
	seen     int // pages that it knows to be committed
}

// reign is a node's belief that it leads.
type reign struct {
	term    uint64
	ready   time.Time // its barrier has passed
	lost    time.Time // since when it has no majority; zero while it has
	waiting []func(error)
}

func newPaper(l *lab) *paper { return &paper{lab: l, books: make(map[proto.Founding]*book)} }

func (p *paper) soon(from, to time.Duration, do func()) {
	d := from + time.Duration(p.lab.rnd.Int63n(int64(to-from)))
	p.later = append(p.later, later{p.lab.now.Add(d), do})
}

// status is what n's register says.
func (p *paper) status(n *labNode) Status {
	s := Status{Voter: n.log.voter, Founding: n.log.founding}
	b := p.books[s.Founding]
	if b == nil || n.log.seen == 0 {
		return s
	}
	at := b.pages[n.log.seen-1]
	s.Table, s.Servers, s.Applied = at.table, at.servers, uint64(n.log.seen)
	if n.reign.term != 0 && !p.lab.now.Before(n.reign.ready) {
		s.Term = n.reign.term
	}
	return s
}

func (b *book) last() page { return b.pages[len(b.pages)-1] }

func voters(servers []plan.Server) (names []proto.NodeName) {
	for _, s := range servers {
		if s.Voter {
			names = append(names, s.Name)
		}
	}
	return names
}

// holder is the living node that has the share of that name in the book.
func (p *paper) holder(b *book, voter proto.NodeName) *labNode {
	for _, n := range p.lab.nodes {
		if !n.dead && n.log.voter == voter && n.log.founding == b.founding {
			return n
		}
	}
	return nil
}

// majority reports whether n reaches one of the voters, with at most as many pages as upto.
func (p *paper) majority(b *book, n *labNode, servers []plan.Server, upto int) bool {
	all, reached := voters(servers), 0
	for _, v := range all {
		if h := p.holder(b, v); h != nil && p.lab.reaches(n, h) && h.log.has <= upto {
			reached++
		}
	}
	return 2*reached > len(all)
}

const forAll = 1 << 30

// step lets the registers get on.
func (p *paper) step() {
	due := p.later
	p.later = nil
	for _, l := range due {
		if l.at.After(p.lab.now) {
			p.later = append(p.later, l)
		} else {
			l.do()
		}
	}
	for _, n := range p.lab.nodes {
		p.doubt(n)
	}
	for _, f := range p.lab.order(p.books) {
		b := p.books[f]
		if l := b.leader; l != nil && (l.dead || l.reign.term != b.term || !p.majority(b, l, b.last().servers, forAll)) {
			b.leader = nil
		}
		p.elect(b)
		p.replicate(b)
	}
}

// doubt ends the reign of a node that has had no majority for as long as its lease.
func (p *paper) doubt(n *labNode) {
	b := p.books[n.log.founding]
	if n.reign.term == 0 {
		return
	}
	if b != nil && !n.dead && len(n.reign.waiting) == 0 && p.majority(b, n, b.last().servers, forAll) && b.term == n.reign.term {
		n.reign.lost = time.Time{}
		return
	}
	if n.reign.lost.IsZero() {
		n.reign.lost = p.lab.now.Add(time.Duration(p.lab.rnd.Intn(700)) * time.Millisecond)
	}
	if n.dead || !p.lab.now.Before(n.reign.lost) {
		p.depose(n)
	}
}

func (p *paper) depose(n *labNode) {
	waiting := n.reign.waiting
	n.reign = reign{}
	for _, done := range waiting {
		done(errors.New("leadership lost while committing"))
	}
}

// elect finds a leader when there is none: one that reaches a majority whose logs are no longer.
func (p *paper) elect(b *book) {
	var able []*labNode
	for _, v := range voters(b.last().servers) {
		if n := p.holder(b, v); n != nil && p.majority(b, n, b.last().servers, n.log.has) {
			able = append(able, n)
		}
	}
	switch {
	case b.leader != nil || len(able) == 0:
		b.electAt = time.Time{}
	case b.electAt.IsZero():
		b.electAt = p.lab.now.Add(time.Duration(200+p.lab.rnd.Intn(700)) * time.Millisecond)
	case !p.lab.now.Before(b.electAt):
		p.crown(b, able[p.lab.rnd.Intn(len(able))])
	}
}

func (p *paper) crown(b *book, n *labNode) {
	if n.log.has < len(b.pages) {
		p.lab.t.Fatalf("the paper register errs: %s is elected with %d of %d pages", n.name, n.log.has, len(b.pages))
	}
	if l := b.leader; l != nil && l != n {
		p.depose(l)
	}
	b.term++
	b.leader, b.electAt = n, time.Time{}
	n.log.has, n.log.seen = len(b.pages), len(b.pages)
	n.reign = reign{term: b.term, ready: p.lab.now.Add(time.Duration(10+p.lab.rnd.Intn(60)) * time.Millisecond)}
	// What another wrote down and could not commit may be in this one's log: then it is committed
	// now, before the barrier, from the first to some.
	limbo := b.limbo[:p.lab.rnd.Intn(len(b.limbo)+1)]
	b.limbo = nil
	for _, e := range limbo {
		if next, err := e(); err == nil && !p.write(b, n, next) {
			break
		}
	}
	if !slices.Contains(voters(b.last().servers), n.log.voter) {
		b.leader = nil // one of them took its vote: who commits that steps down
		p.depose(n)
	}
}

// replicate lets those whom the leader reaches follow it. A server that has no log begins one.
func (p *paper) replicate(b *book) {
	l := b.leader
	if l == nil {
		return
	}
	for _, s := range b.last().servers {
		for _, n := range p.lab.nodes {
			if n.dead || n.log.voter != s.Name || !p.lab.reaches(l, n) {
				continue
			}
			if n.log.founding == (proto.Founding{}) {
				if s.Voter {
					p.lab.t.Fatalf("%s has lost its log and is asked to vote under the same name", n.name)
				}
				n.log.founding = b.founding
			}
			if n.log.founding == b.founding && n != l && p.lab.rnd.Intn(8) == 0 {
				n.log.has, n.log.seen = len(b.pages), len(b.pages)
			}
		}
	}
}

// write commits a page if n leads and reaches a majority of its servers, who hold it then.
func (p *paper) write(b *book, n *labNode, next page) bool {
	if b.leader != n || !p.majority(b, n, next.servers, forAll) {
		return false
	}
	b.pages = append(b.pages, next)
	p.lab.checkPage(b)
	for _, s := range next.servers {
		if h := p.holder(b, s.Name); h != nil && (h == n || p.lab.reaches(n, h)) {
			h.log.has = len(b.pages)
		}
	}
	n.log.seen = len(b.pages)
	return true
}

// do carries out an order of n, later.
func (p *paper) do(n *labNode, i Issue) {
	done := func(err error) {
		if err == nil {
			p.done = append(p.done, i.Order)
		}
		if !n.dead {
			p.lab.tell(n)
			n.keeper.Done(p.lab.now, i.Number, err)
			p.lab.after(n)
		}
	}
	act := func(do func()) {
		p.soon(5*time.Millisecond, 40*time.Millisecond, func() {
			if !n.dead {
				do()
			}
		})
	}
	switch i.Order.Kind {
	case OrderFound:
		act(func() { p.found(n, i.Order, done) })
	case OrderReset:
		act(func() { p.reset(n, done) })
	case OrderQuicken:
		if b := p.books[n.log.founding]; b != nil && !b.electAt.IsZero() && b.electAt.Sub(p.lab.now) > 100*time.Millisecond {
			b.electAt = p.lab.now.Add(100 * time.Millisecond)
		}
		done(nil)
	default:
		p.propose(n, i.Order, act, done)
	}
}

func (p *paper) found(n *labNode, o Order, done func(error)) {
	if p.books[o.Founding] != nil {
		p.lab.t.Fatalf("%s founds %v, which somebody has founded already", n.name, o.Founding)
	}
	p.depose(n)
	voter := n.log.voter
	b := &book{founding: o.Founding, term: 1, leader: n, pages: []page{{
		table:   o.Command.Found.WithVoters([]proto.NodeName{voter}),
		servers: []plan.Server{{Name: voter, Voter: true}},
	}}}
	p.books[o.Founding] = b
	n.log = bookmark{voter: voter, founding: o.Founding, has: 1, seen: 1}
	n.reign = reign{term: 1, ready: p.lab.now.Add(time.Duration(p.lab.rnd.Intn(50)) * time.Millisecond)}
	p.lab.checkPage(b)
	done(nil)
}

// reset empties a node's log. To do that to one that the newest founding counts on is what no keeper
// may ever want, but for a founder that is alone.
func (p *paper) reset(n *labNode, done func(error)) {
	if b := p.books[n.log.founding]; b != nil && len(voters(b.last().servers)) > 1 {
		newest := true
		for f := range p.books {
			newest = newest && (f.Instance != b.founding.Instance || f.Generation <= b.founding.Generation)
		}
		if newest && slices.Contains(voters(b.last().servers), n.log.voter) {
			p.lab.t.Fatalf("%s throws away a log that counts", n.name)
		}
	}
	p.depose(n)
	n.log = bookmark{voter: n.log.voter}
	done(nil)
}

func (p *paper) propose(n *labNode, o Order, act func(func()), done func(error)) {
	b := p.books[n.log.founding]
	term := p.status(n).Term
	if b == nil || term == 0 {
		done(ErrNotLeading)
		return
	}
	duty := duty{term, o.Kind == OrderPropose}
	n.orders[duty]++
	answer := func(err error) {
		n.orders[duty]--
		if p.lab.rnd.Float64() < p.lies && err == nil {
			err = errors.New("leadership lost while committing")
		}
		done(err)
	}
	if n.orders[duty] > 1 {
		p.lab.t.Fatalf("%s gives an order while another is under way: %+v", n.name, o)
	}
	act(func() {
		next, err := b.carryOut(p, o, term)
		switch {
		case err != nil:
			answer(err)
		case o.Kind == OrderTransfer:
			answer(nil)
		case p.write(b, n, next):
			answer(nil)
		case n.reign.term == term:
			if b.term == term { // else another leads already, with a log that this entry is not in
				b.limbo = append(b.limbo, func() (page, error) { return b.carryOut(p, o, term) })
			}
			n.reign.waiting = append(n.reign.waiting, answer)
		default:
			answer(ErrNotLeading)
		}
	})
}

// carryOut returns the page behind an order that was appended in the raft term.
func (b *book) carryOut(p *paper, o Order, term uint64) (page, error) {
	next := b.last()
	switch o.Kind {
	case OrderPropose:
		table, err := next.table.Execute(o.Command, term)
		next.table = table
		return next, err
	case OrderTransfer:
		if to := p.holder(b, o.Voter); to != nil && to.log.has == len(b.pages) && p.majority(b, to, next.servers, forAll) {
			p.crown(b, to)
			return next, nil
		}
		return next, errors.New("cannot be handed over now")
	}
	servers := slices.DeleteFunc(slices.Clone(next.servers), func(s plan.Server) bool { return s.Name == o.Voter })
	if o.Kind != OrderRemove {
		servers = append(servers, plan.Server{Name: o.Voter, Voter: o.Kind == OrderPromote})
	}
	slices.SortFunc(servers, func(x, y plan.Server) int { return cmp.Compare(x.Name, y.Name) })
	if !slices.Equal(voters(servers), voters(next.servers)) {
		next.table = next.table.WithVoters(voters(servers))
	}
	next.servers = servers
	return next, nil
}

package cluster

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// hands are what a lab's shard does about its partitions beside its keeper: it promises, learns, and wishes.
// There are no messages in a lab. What copies are worth is counted by who may have one.
type hands struct {
	promised map[proto.Partition]proto.Term
	whole    map[proto.Partition]proto.Term // copies that were learned, and in which term of the owner's row
	begun    map[proto.Partition]begun
	lost     map[proto.NodeName]time.Time // followers that there is no link to, and since when
	fenced   map[proto.Partition]time.Time
	wished   time.Time
	last     []proto.Wish
}

// begun is a move that an owner sees, and when it will be done with it.
type begun struct {
	stage
	done time.Time
}

// word is something that an owner wished in a term.
type word struct {
	partition proto.Partition
	term      proto.Term
	kind      proto.WishKind
	node      proto.NodeName
}

func newHands() *hands {
	return &hands{
		promised: make(map[proto.Partition]proto.Term), whole: make(map[proto.Partition]proto.Term),
		begun: make(map[proto.Partition]begun), lost: make(map[proto.NodeName]time.Time), fenced: make(map[proto.Partition]time.Time),
	}
}

// promise answers a coordinator, or itself.
func (l *lab) promise(n *labNode, to proto.NodeName, body []byte) {
	list, err := proto.ParsePromises(body)
	if err != nil {
		l.t.Fatalf("promise from %s to %s: %v", to, n.name, err)
	}
	for i := range list {
		x := &list[i]
		switch known := n.knows(x.Partition); {
		case n.copyless[x.Partition] || !n.holds(x.Partition):
			x.Status = proto.NoCopy
		case x.Term <= known:
			x.Status = proto.KnowsHigher
		default:
			n.hands.promised[x.Partition] = x.Term
		}
	}
	l.wire(n.name, to, proto.AppendPromised(nil, list))
}

// knows is the highest term of a partition that the node has heard of.
func (n *labNode) knows(p proto.Partition) proto.Term {
	known := n.hands.promised[p]
	if t := n.keeper.Table(); t != nil {
		known = max(known, t.Row(p).Term)
	}
	return known
}

// holds reports whether the node has a whole copy, as far as it knows.
func (n *labNode) holds(p proto.Partition) bool {
	t := n.keeper.Table()
	if t == nil {
		return false
	}
	row := t.Row(p)
	if row.Owner == n.name || slices.Contains(row.Followers, n.name) {
		return true
	}
	term, learned := n.hands.whole[p]
	return learned && term == row.Term
}

// work has a shard wish what its rows need.
func (l *lab) work(n *labNode) {
	t := n.keeper.Table()
	leader := n.keeper.Leader(l.now)
	if n.role != proto.RoleShard || t == nil || leader == "" {
		return
	}
	var list []proto.Wish
	for i, row := range t.Rows() {
		if p := proto.Partition(i); row.Owner == n.name {
			list = l.wishesOf(n, list, p, &row, t.Move(p))
		}
	}
	if len(list) == 0 || l.now.Sub(n.hands.wished) < 200*time.Millisecond && slices.Equal(list, n.hands.last) {
		return
	}
	n.hands.wished, n.hands.last = l.now, list
	for _, x := range list {
		l.words[word{x.Partition, x.Term, x.Kind, x.Node}] = true
	}
	l.wire(n.name, leader, proto.AppendWishes(nil, list))
}

func (l *lab) wishesOf(n *labNode, list []proto.Wish, p proto.Partition, row *Row, m plan.Move) []proto.Wish {
	h := n.hands
	say := func(kind proto.WishKind, node proto.NodeName, above proto.Term) {
		list = append(list, proto.Wish{Partition: p, Term: row.Term, Kind: kind, Node: node, Above: above})
	}
	fenced := false
	for _, f := range row.Followers {
		if n.linked[f] {
			delete(h.lost, f)
			if o := l.node(f); o != nil && o.knows(p) > row.Term {
				fenced = true
				if since, was := h.fenced[p]; !was {
					h.fenced[p] = l.now
				} else if l.now.Sub(since) > 300*time.Millisecond {
					say(proto.WishRenew, "", o.knows(p))
				}
			}
			continue
		}
		since, was := h.lost[f]
		if !was {
			h.lost[f] = l.now
		}
		if kind := proto.WishDrop; was && l.now.Sub(since) >= silentAfter {
			say(proto.WishOverdue, f, 0)
		} else {
			say(kind, f, 0)
		}
	}
	if !fenced {
		delete(h.fenced, p)
	}
	if m.State == 0 || fenced || l.idle {
		delete(h.begun, p)
		return list
	}
	b := h.begun[p]
	if b.move != m {
		b = begun{stage{m, l.now}, l.now.Add(time.Duration(l.rnd.Intn(60)) * time.Millisecond)}
		h.begun[p] = b
	}
	to := l.node(m.To)
	switch {
	case l.now.Before(b.done) || to == nil || !n.linked[m.To]:
		if m.State == plan.Freezing && l.now.Sub(b.since) > 2*time.Second {
			say(proto.WishUndo, m.To, 0)
		}
	case m.State == plan.Learning:
		to.hands.whole[p] = row.Term
		say(proto.WishAdd, m.To, 0)
	case m.State == plan.Freezing:
		say(proto.WishReady, m.To, 0)
	}
	return list
}

// checkRow holds a row that was just committed against what its copies are worth.
func (l *lab) checkRow(p proto.Partition, old, next *Table) {
	l.t.Helper()
	was, is := old.Row(p), next.Row(p)
	if was.Equal(is) {
		return
	}
	if slices.Contains(is.Followers, is.Owner) || len(is.Followers) > int(next.Settings.Followers)+1 {
		l.t.Fatalf("partition %d: %+v", p, is)
	}
	dead := func(name proto.NodeName) bool { return l.node(name) == nil || slices.Contains(old.Forgotten, name) }
	if was.Since != is.Since {
		for _, name := range append([]proto.NodeName{was.Owner}, was.Followers...) {
			if name != "" && !dead(name) {
				l.t.Fatalf("partition %d begins anew at %s, but %s has a copy and lives: %+v", p, is.Owner, name, was)
			}
		}
		if is.Since != is.Term || len(is.Followers) > int(next.Settings.Followers) {
			l.t.Fatalf("partition %d begins anew as %+v", p, is)
		}
		return
	}
	said := func(kind proto.WishKind, node proto.NodeName) bool { return l.words[word{p, was.Term, kind, node}] }
	if was.Owner != is.Owner {
		heir := l.named(is.Owner)
		if !slices.Contains(was.Followers, is.Owner) {
			l.t.Fatalf("partition %d goes from %+v to %+v, who had no copy", p, was, is)
		}
		if !said(proto.WishReady, is.Owner) && heir.hands.promised[p] < is.Term {
			l.t.Fatalf("partition %d goes from %+v to %+v, who has promised %d only", p, was, is, heir.hands.promised[p])
		}
	}
	for _, f := range is.Followers {
		if f != was.Owner && !slices.Contains(was.Followers, f) && !said(proto.WishAdd, f) {
			l.t.Fatalf("partition %d: %s is a follower that nobody added: %+v, %+v", p, f, was, is)
		}
	}
	for _, f := range was.Followers {
		if was.Owner == is.Owner && !slices.Contains(is.Followers, f) && dead(f) && !said(proto.WishDrop, f) && !said(proto.WishOverdue, f) {
			for _, g := range is.Followers {
				if said(proto.WishAdd, g) {
					return
				}
			}
			l.t.Fatalf("partition %d: its owner has not asked to drop %s: %+v, %+v", p, f, was, is)
		}
	}
}

// checkMoves: there are not too many, and each is one that can be made.
func (l *lab) checkMoves(t *Table) {
	l.t.Helper()
	if len(t.Moves) > labMoves {
		l.t.Fatalf("%d moves at a time", len(t.Moves))
	}
	for _, m := range t.Moves {
		row := t.Row(m.Partition)
		if m.State != plan.Learning && m.State != plan.Freezing || m.To == row.Owner || m.From != "" && m.From != row.Owner || m.From == "" && m.State != plan.Learning {
			l.t.Fatalf("%+v of %+v", m, row)
		}
	}
}

// named is a run, dead or alive.
func (l *lab) named(name proto.NodeName) *labNode {
	for _, n := range l.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// placed remembers what jobs lead to: many labs have the same shards.
var placed sync.Map

func (j *PlaceJob) remembered() *plan.Placement {
	key := fmt.Sprint(j.settings, j.shards, j.partitions)
	if p, ok := placed.Load(key); ok {
		return p.(*plan.Placement)
	}
	p := j.Run()
	placed.Store(key, p)
	return p
}

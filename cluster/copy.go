package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

// The copy of the Table that every node holds: how a Keeper takes a newer one, wherever it comes from,
// hands it on while it leads, and notices that it missed something.
//
// Of one founding there is one Table per Version, so newer is all that has to be known of a Table to take
// it. A voter has it from its register, all others from the leader's deltas. A delta that was lost is
// noticed by the next one, which does not fit, or by what every node announces twice a second; then the
// whole Table is asked for, of one node at a time.

const (
	announceEvery = 500 * time.Millisecond // a lost delta is noticed within this
	askAgainAfter = 500 * time.Millisecond // without an answer, another node is asked
	askAtMost     = 4                      // times in a row; the next announcement starts over
	askApart      = 50 * time.Millisecond  // between two asks on a lane's behalf
)

// ask is the one outstanding question for a whole Table.
type ask struct {
	from  proto.NodeName // "" when there is none
	at    time.Time
	tries int
}

// newer reports whether t is of this node's cluster and above what it holds.
func (k *Keeper) newer(t *Table) bool {
	if t == nil || t.Partitions() != k.cfg.Partitions {
		return false
	}
	if own := k.Instance(); !own.IsZero() && own != t.Instance {
		return false
	}
	return k.table == nil || t.Version > k.table.Version
}

// hold makes t this node's Table. The caller has seen to it that it is newer.
func (k *Keeper) hold(now time.Time, t *Table) {
	first := k.table == nil
	k.table, k.frame = t, nil
	k.stats.TablesApplied.Add(1)
	if a := k.attempt; a != nil && a.order == 0 && (t.Instance != a.founding.Instance || t.Founding().Generation >= a.founding.Generation) {
		k.attempt = nil // somebody else was quicker
	}
	maps.DeleteFunc(k.holders, func(voter proto.NodeName, _ Node) bool { return !slices.Contains(t.Voters, voter) })
	k.deaths.forget(t)
	if err := t.Settings.Check(); err != nil && (first || t.Settings != k.ring.settings) {
		k.log.Error("partitions are placed in a way that this version does not know", zap.Error(err))
	}
	if first {
		k.log.Info("table taken", zap.Stringer("instance", t.Instance), zap.Uint64("version", t.Version))
	}
	k.look(now)
}

// take holds a Table that came over a link, if it is news. The leader's own register cannot be behind
// another's copy, but for a recovery that went past it.
func (k *Keeper) take(now time.Time, t *Table) {
	if a := k.attempt; k.table == nil && a != nil && a.order != 0 {
		return // our own is about to be there
	}
	if k.newer(t) {
		k.hold(now, t)
	}
}

// push sends what changed since old to every linked node. Who lacks old asks for the whole.
func (k *Keeper) push(old *Table) {
	if len(k.linked) == 0 {
		return
	}
	if old == nil || old.Founding() != k.table.Founding() { // a recovery may know fewer addresses than the copies
		k.sendAll(k.tableFrame())
		return
	}
	delta := k.table.Since(old)
	k.sendAll(AppendDelta(nil, &delta))
}

func (k *Keeper) tableFrame() []byte {
	if k.frame == nil {
		k.frame = AppendTable(nil, k.table)
	}
	return k.frame
}

func (k *Keeper) onTable(now time.Time, from proto.NodeName, body []byte) error {
	t, err := ParseTable(body)
	if err != nil {
		return err
	}
	if t.Partitions() != k.cfg.Partitions {
		return fmt.Errorf("table of %d partitions, here are %d", t.Partitions(), k.cfg.Partitions)
	}
	if from == k.ask.from {
		k.ask.from = ""
	}
	k.take(now, t)
	return nil
}

func (k *Keeper) onDelta(now time.Time, from proto.NodeName, body []byte) error {
	d, err := ParseDelta(body)
	if err != nil {
		return err
	}
	if t := k.table; t != nil {
		if next, err := t.Apply(&d); err == nil {
			k.take(now, next)
			return nil
		}
	}
	k.compare(now, from, d.Head.Instance, d.Head.Version)
	return nil
}

func (k *Keeper) onTableGet(from proto.NodeName, body []byte) error {
	if _, err := ParseTableGet(body); err != nil {
		return err
	}
	if k.table != nil {
		k.send(from, k.tableFrame())
	}
	return nil
}

// Announce returns the Version frame that says what this node holds.
func (k *Keeper) Announce() []byte {
	a := Announcement{Instance: k.Instance(), Mark: k.table.Mark(), Missing: k.missing()}
	if k.reg.Founding == k.Founding() {
		a.Term, a.Applied = k.reg.Term, k.reg.Applied
	}
	return AppendVersion(nil, a)
}

func (k *Keeper) onVersion(now time.Time, from proto.NodeName, body []byte) error {
	said, err := ParseVersion(body)
	if err != nil {
		return err
	}
	if p := k.peers[from]; p != nil {
		was := p.said
		p.said = said
		k.lead.due = k.lead.due || was.Applied != said.Applied || was.Instance != said.Instance
		if was.Instance != said.Instance {
			k.look(now)
		}
	}
	k.heardLeader(now, from, &said)
	k.compare(now, from, said.Instance, said.Mark.Version)
	return nil
}

// compare asks the node for its Table if it holds a later one.
func (k *Keeper) compare(now time.Time, from proto.NodeName, instance proto.Instance, version uint64) {
	own := k.Instance()
	if version > k.table.Mark().Version && (own.IsZero() || own == instance) {
		k.askFor(now, from)
	}
}

// NeedTable is told that somebody uses a higher term for the partition than our Table has. It asks
// for a newer one, at most one question at a time.
func (k *Keeper) NeedTable(now time.Time, p proto.Partition, term proto.Term) {
	if t := k.table; t != nil && (int(p) >= t.Partitions() || t.Row(p).Term >= term) {
		return
	}
	if now.Sub(k.ask.at) >= askApart {
		k.askFor(now, k.nextToAsk(now, ""))
	}
}

// askFor sends a TableGet, unless a question is outstanding or there is nobody to ask.
func (k *Keeper) askFor(now time.Time, from proto.NodeName) {
	if from == "" || k.ask.from != "" && now.Sub(k.ask.at) < askAgainAfter {
		return
	}
	if k.ask.from == "" {
		k.ask.tries = 0
	}
	k.ask = ask{from: from, at: now, tries: k.ask.tries + 1}
	k.send(from, AppendTableGet(nil, k.table.Mark().Version))
}

func (k *Keeper) askAgain(now time.Time) {
	if k.ask.from == "" || now.Sub(k.ask.at) < askAgainAfter {
		return
	}
	if k.ask.tries >= askAtMost {
		k.ask.from = ""
		return
	}
	k.askFor(now, k.nextToAsk(now, k.ask.from))
}

// nextToAsk returns a linked node of our cluster: the leader first, then, when it was asked already,
// the others in turn.
func (k *Keeper) nextToAsk(now time.Time, last proto.NodeName) proto.NodeName {
	if l := k.Leader(now); last == "" && l != k.cfg.Self && k.peers[l] != nil {
		return l
	}
	at, _ := slices.BinarySearchFunc(k.linked, last, func(n, last proto.NodeName) int {
		return cmp.Or(cmp.Compare(n, last), -1) // the first one behind last
	})
	for i := range k.linked {
		n := k.linked[(at+i)%len(k.linked)]
		if said := &k.peers[n].said; said.Mark.Version > 0 && (k.Instance().IsZero() || said.Instance == k.Instance()) {
			return n
		}
	}
	return ""
}

// forsake forgets the register's past when a later founding has taken its place: its voters, this one
// among them, were given up.
func (k *Keeper) forsake() {
	if k.table == nil || k.reg.Founding == (proto.Founding{}) || k.reg.Founding.Instance != k.table.Instance {
		return
	}
	if was := k.reg.Founding.Generation; was < k.table.Founding().Generation {
		k.log.Warn("the cluster was recovered without this node: its old register is dropped", zap.Uint32("generation", was))
		k.dropRegister()
	}
}

// dropRegister has this node's share in the register thrown away, once: until that is done, what the
// register still says of it does not count.
func (k *Keeper) dropRegister() {
	k.dropped = k.reg.Founding
	k.reg = Status{Voter: k.reg.Voter}
	k.reset = k.order(Order{Kind: OrderReset})
}

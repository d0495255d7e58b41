package cluster

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

const (
	// silentAfter is how long a node may be without a link before it counts as silent, and
	// silentDead the same where membership calls it dead (rule R10).
	silentAfter = 1500 * time.Millisecond
	silentDead  = time.Second

	// unseenGrace is for a node that the Table names and that nobody has shown to us yet: right
	// after a start we may know the Table better than who is there.
	unseenGrace = 3 * time.Second

	// reportAge is how long a report of a closed port counts. It is repeated twice a second.
	reportAge = 3 * time.Second

	// maxDeaths bounds how many nodes are kept account of. Beyond it no new ones are: what is not
	// noted is at worst judged later, by silence.
	maxDeaths = 4096

	// maxTestimony is how many deaths are repeated at a time.
	maxTestimony = 256
)

// LinkEnd is how the last link to a node ended.
type LinkEnd uint8

// The ends.
const (
	EndBroken LinkEnd = iota // reset, or closed by the other side, which did not say that it leaves
	EndSilent                // nothing was heard for 1.5 s
	EndLeft                  // the node said that it leaves for good
	EndClosed                // closed by this node
)

// Probe is a node whose address is to be asked who is there.
type Probe struct {
	Name proto.NodeName
	Link string // host:port
}

// deaths is what is known of nodes that we have no link to.
//
// Rule R9: only proof may start new epochs. A death is proved by the node's own goodbye; by a later
// run of it answering at its address, or holding its data directory, which is locked while a process
// lives that uses it; or by two nodes that saw its link break and then nobody listening at its address.
type deaths struct {
	quiet   map[proto.NodeName]time.Time                    // since when there is no link
	broken  map[proto.NodeName]bool                         // the last link broke: a closed port means something
	answers map[proto.NodeName]bool                         // it answers probes itself since the link was lost: nobody has to link to all
	own     map[proto.NodeName]Fate                         // what we saw and tell others
	reports map[proto.NodeName]map[proto.NodeName]time.Time // who saw a closed port, and when it last said so
	proved  map[proto.NodeName]Fate                         // and by what
	turn    int                                             // where the next testimony begins
}

func newDeaths() deaths {
	return deaths{
		quiet:   make(map[proto.NodeName]time.Time),
		broken:  make(map[proto.NodeName]bool),
		answers: make(map[proto.NodeName]bool),
		own:     make(map[proto.NodeName]Fate),
		reports: make(map[proto.NodeName]map[proto.NodeName]time.Time),
		proved:  make(map[proto.NodeName]Fate),
	}
}

// lives forgets all suspicion.
func (d *deaths) lives(name proto.NodeName) {
	delete(d.quiet, name)
	delete(d.broken, name)
	delete(d.answers, name)
	delete(d.own, name)
	delete(d.reports, name)
	delete(d.proved, name)
}

// state is what the View shows: membership's word, unless links or witnesses know better.
func (d *deaths) state(n *Node, linked bool) State {
	_, lost := d.quiet[n.Name]
	switch {
	case linked && n.Left:
		return Draining // its goodbye to us is still on its way
	case linked && n.State == Dead:
		return Suspect // gossip errs, or has not heard yet
	case linked:
		return n.State
	case d.proved[n.Name] != FateUnknown:
		return Dead
	case n.State == Dead && d.answers[n.Name]:
		return Suspect // gossip errs: the split that it has seen is over
	case lost && n.State == Alive && d.had(n.Name) && !d.answers[n.Name]:
		return Suspect
	}
	return n.State
}

// had reports whether there was a link to the node.
func (d *deaths) had(name proto.NodeName) bool {
	_, had := d.broken[name]
	return had
}

// silent reports whether the node counts as silent. Who has never been linked is given a grace from
// the first time that it is asked for.
func (d *deaths) silent(now time.Time, name proto.NodeName, dead bool) bool {
	since, known := d.quiet[name]
	if !known {
		if len(d.quiet) < maxDeaths {
			d.quiet[name] = now
		}
		return false
	}
	grace := silentAfter
	if !d.had(name) {
		grace = unseenGrace
	}
	if dead {
		grace = silentDead
	}
	return now.Sub(since) >= grace
}

// forget drops what no View or Table will ask for again.
func (d *deaths) forget(t *Table) {
	if len(d.quiet)+len(d.own)+len(d.proved) < maxDeaths/4 {
		return
	}
	named := make(map[proto.NodeName]bool)
	for name := range t.named {
		named[name] = true
	}
	for _, name := range t.Voters {
		named[name] = true
	}
	for name := range d.quiet {
		if !named[name] {
			delete(d.quiet, name)
			delete(d.broken, name)
			delete(d.answers, name)
		}
	}
	for name := range d.own {
		if !named[name] {
			delete(d.own, name)
		}
	}
	for name := range d.proved {
		if !named[name] {
			delete(d.proved, name)
		}
	}
}

// lose notes how the last link to a node ended.
func (k *Keeper) lose(now time.Time, name proto.NodeName, end LinkEnd) {
	if len(k.deaths.quiet) >= maxDeaths {
		return
	}
	since := now
	if end == EndSilent {
		since = now.Add(-silentAfter)
	}
	k.deaths.quiet[name] = since
	k.deaths.broken[name] = end == EndBroken
	delete(k.deaths.answers, name)
	if end == EndLeft || k.heardLeft(name) {
		k.noteFate(now, name, FateLeft)
	}
}

// gossips reports whether membership takes a node for alive.
func (k *Keeper) gossips(name proto.NodeName) bool {
	n := k.heardOf(name)
	return n != nil && n.State == Alive && !n.Left
}

// greet has membership greet a node that was heard of, though it calls it dead. Both sides of a split do so,
// and all that they have to say to each other they may have said while nobody heard it: without a greeting
// they would meet when one of them tries its seeds again, seconds later.
func (k *Keeper) greet(name proto.NodeName) {
	if n := k.heardOf(name); n != nil && n.State == Dead && !n.Left && !slices.Contains(k.greetings, n.Addresses.Gossip) {
		k.greetings = append(k.greetings, n.Addresses.Gossip)
	}
}

// heardLeft reports whether membership says that the node left for good.
func (k *Keeper) heardLeft(name proto.NodeName) bool {
	n := k.heardOf(name)
	return n != nil && n.Left
}

// SetFate is told what a probe found out.
func (k *Keeper) SetFate(now time.Time, name proto.NodeName, fate Fate) {
	k.noteFate(now, name, fate)
	k.look(now)
	k.Tick(now)
}

// noteFate notes what this node saw itself, and tells the others if it is news.
func (k *Keeper) noteFate(now time.Time, name proto.NodeName, fate Fate) {
	d := &k.deaths
	if k.peers[name] != nil || name == k.cfg.Self {
		return
	}
	if fate == FateUnknown {
		if k.heardDead(name) {
			delete(d.answers, name) // what contradicts membership must be fresh
		}
		return
	}
	if fate == FateAlive {
		k.greet(name)
		delete(d.own, name)
		delete(d.reports[name], k.cfg.Self)
		if d.proved[name] == FateRefused {
			delete(d.proved, name) // something answered in its name: a firewall, say
			k.log.Warn("a node that was taken for dead answers", zap.String("node", string(name)))
		}
		if d.had(name) {
			d.answers[name] = true
		}
		return
	}
	if fate == FateRefused && !d.broken[name] {
		return // a closed port alone says nothing: it may never have been open
	}
	if d.own[name] != fate && len(d.own) < maxDeaths {
		d.own[name] = fate
		k.sendAll(AppendWitness(nil, []Death{{name, fate}}))
	}
	k.weigh(now, k.cfg.Self, Death{name, fate})
}

// noteFormer tells of the deaths of this node's earlier runs that the Table still counts on. Their
// addresses may be nobody's any more: where a node gets a new one with each start, and all copies of rooms
// ended at once, this is the only proof there is.
func (k *Keeper) noteFormer(now time.Time) {
	if k.table == nil {
		return
	}
	for _, name := range k.reg.Former {
		if k.deaths.proved[name] == FateUnknown && k.table.Names(name) {
			k.noteFate(now, name, FateReplaced)
		}
	}
}

// testify repeats what this node saw, until the node is heard of again.
func (k *Keeper) testify(now time.Time) {
	var seen []Death
	for name, fate := range k.deaths.own {
		seen = append(seen, Death{name, fate})
	}
	if len(seen) == 0 {
		return
	}
	slices.SortFunc(seen, func(a, b Death) int { return cmp.Compare(a.Name, b.Name) })
	if len(seen) > maxTestimony {
		// In turns, so that each name is repeated some time.
		k.deaths.turn = (k.deaths.turn + maxTestimony) % len(seen)
		seen = slices.Concat(seen[k.deaths.turn:], seen[:k.deaths.turn])[:maxTestimony]
	}
	k.sendAll(AppendWitness(nil, seen))
	for _, x := range seen {
		k.weigh(now, k.cfg.Self, x)
	}
}

func (k *Keeper) onWitness(now time.Time, from proto.NodeName, body []byte) error {
	seen, err := ParseWitness(body)
	if err != nil {
		return err
	}
	for _, x := range seen {
		if k.peers[x.Name] == nil && x.Name != k.cfg.Self {
			k.weigh(now, from, x)
		}
	}
	k.look(now)
	return nil
}

// weigh takes one node's word for a death, and sees whether it is proved now.
func (k *Keeper) weigh(now time.Time, from proto.NodeName, x Death) {
	d := &k.deaths
	if was := d.proved[x.Name]; was == x.Fate || was != FateUnknown && x.Fate == FateRefused || len(d.proved) >= maxDeaths {
		return
	}
	switch x.Fate {
	case FateLeft, FateReplaced:
		k.prove(now, x)
	case FateRefused:
		by := d.reports[x.Name]
		if by == nil && len(d.reports) < maxDeaths {
			by = make(map[proto.NodeName]time.Time)
			d.reports[x.Name] = by
		}
		if by == nil {
			return
		}
		by[from] = now
		for who, at := range by {
			if now.Sub(at) >= reportAge {
				delete(by, who)
			}
		}
		if len(by) >= 2 || k.cfg.Break&BreakWitness != 0 {
			k.prove(now, x)
		}
	}
}

func (k *Keeper) prove(now time.Time, x Death) {
	k.lead.due = true
	k.deaths.proved[x.Name] = x.Fate
	k.stats.Proofs[x.Fate].Add(1)
	delete(k.deaths.reports, x.Name)
	k.log.Info("a node is dead for certain", zap.String("node", string(x.Name)), zap.Stringer("fate", x.Fate))
	if k.leader.node == x.Name && k.reg.Term == 0 {
		k.order(Order{Kind: OrderQuicken})
	}
}

// Fates returns what proves the deaths that are proved.
func (k *Keeper) Fates() map[proto.NodeName]Fate { return maps.Clone(k.deaths.proved) }

// Probes returns the nodes whose fate is to be found out: those whose link was lost, and those that
// the Table names and nobody has seen. It is asked for again after each call of another method; each
// node in it is probed a few times a second, and SetFate told.
func (k *Keeper) Probes() []Probe {
	var list []Probe
	only := k.onlyVoter()
	add := func(name proto.NodeName, link string) {
		known := k.deaths.proved[name]
		if known == FateRefused && (name == only || k.gossips(name)) {
			// That a later run has taken its place would be of use; and who is heard of may live:
			// without its answer nobody would link to it any more.
			known = FateUnknown
		}
		if link != "" && known == FateUnknown && k.peers[name] == nil && name != k.cfg.Self {
			list = append(list, Probe{name, link})
		}
	}
	for i := range k.view.nodes {
		n := &k.view.nodes[i]
		foreign := !n.Instance.IsZero() && n.Instance != k.Instance()
		if k.deaths.had(n.Name) && !foreign {
			add(n.Name, n.Addresses.Link)
		}
	}
	if k.table == nil {
		return list
	}
	for _, a := range k.table.Addresses {
		if _, seen := k.view.Node(a.Name); !seen {
			add(a.Name, a.Link)
		}
	}
	return list
}

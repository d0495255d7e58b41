package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const (
	// attemptFor is how old an agreement may be when the last shard agrees. Who agreed is bound for
	// longer (bondFor), so that no two foundings have a shard in common.
	attemptFor = time.Second
	bondFor    = 3 * time.Second

	// foundPause is the wait behind a founding that the register could not carry out.
	foundPause = time.Second

	// recoverFor is how long a recovery is tried.
	recoverFor = 10 * time.Second
)

// ErrMajority is returned by Recover while somebody leads the register: there is nothing to recover.
var ErrMajority = errors.New("the register has a leader")

// ErrNoTable is returned by Recover while this node holds no Table.
var ErrNoTable = errors.New("no table is known here")

// attempt is this node's to found the cluster, or to found it anew.
type attempt struct {
	founding proto.Founding
	shards   []proto.NodeName             // who must agree, this node too
	agreed   map[proto.NodeName]time.Time // and when they last did
	began    time.Time
	said     time.Time // when the others were asked last
	until    time.Time // of a recovery: when to give up
	order    uint64    // to the register; 0 before all have agreed
	unasked  bool      // a recovery that no operator asked for
}

// bond is whom this node has agreed with.
type bond struct {
	founder proto.NodeName
	at      time.Time
}

// holds reports whether the bond keeps this node from agreeing with somebody else.
func (b *bond) holds(now time.Time) bool { return b.founder != "" && now.Sub(b.at) < bondFor }

// found founds the cluster if it is up to this node: a shard that knows of none, and that has the
// lowest name of at least Expect shards, while no living node names an instance. All shards of the
// list must hold the identical list, and say so over links. When more than one shard is expected, or
// there are seeds to hear from, the list must have been the same for a moment, so that nodes that are
// just getting to know each other do not found two clusters, nor a shard that comes back a second one
// beside its routers. Routers never found.
func (k *Keeper) found(now time.Time) {
	if now.Before(k.foundAgain) {
		return
	}
	if k.table != nil {
		k.foundAnew(now)
		return
	}
	switch {
	case k.attempt != nil && k.attempt.order != 0: // nothing else may be begun until the register answers
	case !k.Instance().IsZero():
		k.logWait(now, "waiting for the other voters of the cluster")
	case k.instanceSeen():
		k.attempt = nil
		k.logWait(now, "waiting for the table of the cluster")
	case len(k.shards) < k.cfg.Expect || k.cfg.Role != proto.RoleShard:
		k.attempt = nil
		// The numbers are in the message: people watch this one while they start a cluster.
		k.logWait(now, fmt.Sprintf("waiting for shards: have %d of %d", len(k.shards), k.cfg.Expect))
	case k.shards[0] != k.cfg.Self || (k.cfg.Expect > 1 || k.cfg.Seeded) && now.Sub(k.shardsAt) < foundingQuiet || k.bond.holds(now):
		k.logWait(now, "waiting for the shards to agree on who is there")
	default:
		k.tryFound(now)
	}
}

func (k *Keeper) tryFound(now time.Time) {
	if a := k.attempt; a == nil || a.order == 0 && (now.Sub(a.began) >= attemptFor || !slices.Equal(a.shards, k.shards)) {
		instance, err := proto.MintInstance(k.cfg.Random)
		if err != nil {
			k.logWait(now, "no random bits to found a cluster")
			return
		}
		k.attempt = &attempt{founding: proto.Founding{Instance: instance}, shards: k.shards, agreed: make(map[proto.NodeName]time.Time), began: now}
	}
	k.gather(now)
}

// gather asks the shards of the attempt to agree, and orders the founding when all have.
func (k *Keeper) gather(now time.Time) {
	a := k.attempt
	if a.order != 0 {
		return
	}
	all := k.placeFirst()
	ask := now.Sub(a.said) >= attemptFor/4
	frame := AppendFound(nil, a.founding, a.shards)
	for _, to := range a.shards {
		if to == k.cfg.Self || now.Sub(a.agreed[to]) < attemptFor && k.peers[to] != nil {
			continue
		}
		all = false
		if ask {
			k.send(to, frame)
		}
	}
	if ask {
		a.said = now
	}
	if !all {
		return
	}
	t := k.firstTable(now, a)
	k.alone = len(a.shards) == 1 && a.founding.Generation == 0
	a.order = k.order(Order{Kind: OrderFound, Founding: a.founding, Command: &Command{Found: t}})
}

// placeFirst reports whether it is known where the first Table's followers should be.
func (k *Keeper) placeFirst() bool {
	s := k.settings()
	return s.Followers == 0 || s.Check() != nil || k.wantedOf(k.firstRing().shards) != nil
}

// firstRing is that of the shards that this node reaches: on others it cannot count.
func (k *Keeper) firstRing() *Ring { return k.ringOf(k.reaches, k.ring) }

// firstTable is what the founding begins with: along the Ring, or with the owners that live.
func (k *Keeper) firstTable(now time.Time, a *attempt) *Table {
	generation := a.founding.Generation
	head := Head{Instance: a.founding.Instance, Version: uint64(generation)<<32 | 1, Settings: k.settings()}
	rows := make([]Row, k.cfg.Partitions)
	ring := k.firstRing()
	if k.table != nil {
		head.Version = uint64(proto.Term(k.table.Version).In(generation))
		rows = plan.Recover(generation, []plan.Rows{k.table.rows}, k.reaches, ring.Wanted)
	} else {
		verdict := func(name proto.NodeName) plan.Verdict { return k.verdict(now, name) }
		for _, c := range plan.Decide(generation, plan.MakeRows(rows), verdict, ring.Wanted) {
			rows[c.Partition] = c.Row
		}
	}
	k.reportLost(rows)
	k.followFirst(rows, ring)
	named := count(rows)
	for i := range k.view.nodes {
		if n := &k.view.nodes[i]; named.names(n.Name) && n.Addresses.Link != "" {
			head.Addresses = append(head.Addresses, Address{n.Name, n.Addresses.Link})
		}
	}
	return NewTable(head, rows)
}

// followFirst gives rows that begin anew their followers.
func (k *Keeper) followFirst(rows []Row, ring *Ring) {
	scene := &plan.Scene{Fit: k.reaches, Followers: int(k.settings().Followers)}
	if scene.Followers > 0 {
		scene.Wanted = k.wantedOf(ring.shards)
	}
	for p := range rows {
		if row := &rows[p]; row.Owner != "" && row.Since == row.Term {
			*row = plan.Begun(proto.Partition(p), *row, scene)
		}
	}
}

// reportLost logs how many partitions a recovery has begin anew.
func (k *Keeper) reportLost(rows []Row) {
	lost := 0
	for p := range rows {
		if k.table != nil && k.table.Row(proto.Partition(p)).Owner != "" && rows[p].Since == rows[p].Term {
			lost++
		}
	}
	if lost > 0 {
		k.log.Error("rooms are lost: their owner is not here, and the cluster is founded anew", zap.Int("partitions", lost))
	}
}

// ringOf is the Ring of the nodes that live. The Ring of the View still has those that are merely
// suspect, and a founding cannot wait for them.
func (k *Keeper) ringOf(lives func(proto.NodeName) bool, previous *Ring) *Ring {
	gone := func(n Node) bool { return !lives(n.Name) }
	living := NewView(0, slices.DeleteFunc(slices.Clone(k.view.nodes), gone))
	return NewRing(living, k.Instance(), k.settings(), k.cfg.Partitions, cmp.Or(previous, k.ring))
}

// foundDone is told how the register's founding went. The Table comes by SetRegister.
func (k *Keeper) foundDone(now time.Time, number uint64, err error) {
	a := k.attempt
	if a == nil || a.order != number {
		return
	}
	k.attempt = nil
	if err != nil {
		k.alone, k.foundAgain = false, now.Add(foundPause)
		k.log.Error("founding the cluster failed", zap.Error(err))
		k.abandon(a.founding)
		return
	}
	k.log.Info("cluster founded", zap.Stringer("instance", a.founding.Instance), zap.Uint32("generation", a.founding.Generation), zap.Int("shards", len(a.shards)))
}

// abandon drops what the register has of a founding that failed: it may have begun, and be one without a
// Table, which nobody could join or follow. What it had before is left alone if it is still there.
func (k *Keeper) abandon(f proto.Founding) {
	if k.table != nil && k.table.Founding() == f {
		return // it took effect all the same
	}
	if f.Generation == 0 || k.reg.Founding == f {
		k.dropRegister()
		k.dropped = f
	}
}

// onFound answers a shard that wants to found the cluster.
func (k *Keeper) onFound(now time.Time, from proto.NodeName, body []byte) error {
	f, shards, err := ParseFound(body)
	if err != nil {
		return err
	}
	if k.cfg.Role != proto.RoleShard || k.bond.holds(now) && k.bond.founder != from || k.attempt != nil && k.attempt.order != 0 {
		return nil
	}
	if f.Generation == 0 {
		if k.table != nil || !k.Instance().IsZero() || !slices.Equal(shards, k.shards) || from != shards[0] {
			return nil
		}
	} else if !k.agreesToRecover(now, f, shards) {
		return nil
	}
	if k.attempt != nil && from > k.cfg.Self {
		return nil // two attempts at once: the lower name's goes on
	}
	k.attempt = nil
	k.bond = bond{founder: from, at: now}
	k.send(from, AppendAgree(nil, f))
	return nil
}

// agreesToRecover: the founding is the next one, of this cluster, by all its living shards, and nobody
// leads the present one.
func (k *Keeper) agreesToRecover(now time.Time, f proto.Founding, shards []proto.NodeName) bool {
	own := k.Founding()
	if only := k.onlyVoter(); only != "" && k.votes(only) && !k.voteIn(only, shards) {
		return false // it is back, with its log; where it is asked itself, it refuses if it can lead
	}
	return k.table != nil && f.Instance == own.Instance && f.Generation == own.Generation+1 &&
		k.Leader(now) == "" && slices.Equal(shards, k.recoverers())
}

func (k *Keeper) onAgree(now time.Time, from proto.NodeName, body []byte) error {
	f, err := ParseAgree(body)
	if err != nil {
		return err
	}
	if a := k.attempt; a != nil && a.founding == f {
		a.agreed[from] = now
	}
	return nil
}

// Recover founds the cluster anew, with the next generation, when the majority of its voters is lost
// for good. All living shards must agree, and all living nodes' copies of the Table are taken into
// account: a partition keeps its rooms if its owner lives. It must not be used on both sides of a
// split. It goes on by itself; the Table's generation shows when it is done.
func (k *Keeper) Recover(now time.Time) error {
	switch {
	case k.Leader(now) != "":
		return ErrMajority
	case k.table == nil:
		return ErrNoTable
	case k.cfg.Role != proto.RoleShard:
		return errors.New("recovery is done by a shard")
	}
	if k.attempt == nil {
		f := k.Founding()
		f.Generation++
		k.attempt = &attempt{founding: f, agreed: make(map[proto.NodeName]time.Time), began: now, until: now.Add(recoverFor)}
		k.log.Warn("the cluster is about to be founded anew", zap.Uint32("generation", f.Generation))
	}
	k.attempt.unasked = false
	k.Tick(now)
	return nil
}

// foundAnew goes on with a recovery: no sooner than every linked node's Table is here.
func (k *Keeper) foundAnew(now time.Time) {
	a := k.attempt
	if a == nil || a.order != 0 {
		return
	}
	if k.Leader(now) != "" || !now.Before(a.until) || a.unasked && (k.decider(now) != k.cfg.Self || !k.lost(k.onlyVoter())) {
		k.log.Warn("recovery given up: a leader or its log is back, or not all shards agree")
		k.attempt = nil
		return
	}
	for _, p := range k.peers {
		if p.said.Mark.Version > k.table.Version {
			return // it is asked for already
		}
	}
	if now.Sub(a.began) < foundingQuiet || k.undecided(now) || k.bond.holds(now) {
		return // every node says twice a second what it holds
	}
	if shards := k.recoverers(); !slices.Equal(shards, a.shards) {
		a.shards, a.agreed = shards, make(map[proto.NodeName]time.Time)
	}
	k.gather(now)
}

// undecided reports whether a shard is in sight that is neither linked nor silent yet.
func (k *Keeper) undecided(now time.Time) bool {
	return slices.ContainsFunc(k.view.LiveShards(k.Instance()), func(n Node) bool {
		return n.Name != k.cfg.Self && k.peers[n.Name] == nil && k.verdict(now, n.Name) == plan.Lives
	})
}

// recoverers are the living shards of this cluster.
func (k *Keeper) recoverers() (names []proto.NodeName) {
	for _, n := range k.view.LiveShards(k.Instance()) {
		if n.Name == k.cfg.Self || k.peers[n.Name] != nil {
			names = append(names, n.Name)
		}
	}
	return names
}

// onlyVoter is the register's voter if there is just one, else "".
func (k *Keeper) onlyVoter() proto.NodeName {
	if k.table == nil || len(k.table.Voters) != 1 {
		return ""
	}
	return k.table.Voters[0]
}

// votes reports whether a living node votes under the name.
func (k *Keeper) votes(voter proto.NodeName) bool {
	return slices.ContainsFunc(k.view.nodes, func(n Node) bool { return n.Lives() && n.Voter == voter })
}

// voteIn reports whether one of the nodes votes under the name.
func (k *Keeper) voteIn(voter proto.NodeName, nodes []proto.NodeName) bool {
	return slices.ContainsFunc(nodes, func(name proto.NodeName) bool {
		n, _ := k.view.Node(name)
		return n.Voter == voter
	})
}

// lost reports whether the log of the only voter is lost for certain: none that has it lives, and the
// run that had it last is proved dead. That its earlier runs on the same disk are says nothing; nor does
// it that a later run answers at its address, before it is known how that one votes: links and probes
// see it first, and gossip tells a moment later.
func (k *Keeper) lost(only proto.NodeName) bool {
	last := only
	if n, known := k.holders[only]; known {
		last = n.Name
	}
	fate := k.deaths.proved[last]
	if fate == FateUnknown || k.votes(only) || fate == FateReplaced && !k.emptied(only) {
		return false
	}
	unsure := func(name proto.NodeName) bool { // a later run, of which too little was seen here
		n, _ := k.view.Node(name)
		return name.ID() == only.ID() && k.deaths.proved[name] == FateUnknown && (!n.Lives() || n.Voter == "")
	}
	named := func(a Address) bool { return unsure(a.Name) }
	return !slices.ContainsFunc(k.table.Addresses, named) && !slices.ContainsFunc(k.linked, unsure)
}

// emptied reports whether a run of the voter's node, later than the last that voted under the name, votes
// under another one. Of a run that this node never saw, one that has a link is later, since it lives; and
// so is this node itself, where it answers at the address that the Table has of the voter.
func (k *Keeper) emptied(voter proto.NodeName) bool {
	last, known := k.holders[voter]
	return slices.ContainsFunc(k.view.Runs(voter.ID()), func(n Node) bool {
		later := known && laterRun(&n, &last) > 0 || k.peers[n.Name] != nil ||
			n.Name == k.cfg.Self && n.Addresses.Link == k.table.Address(voter)
		return later && n.Voter != "" && n.Voter != voter
	})
}

// decider is the shard that recovers without being asked, "" for none: on two sides of a split there is
// one at most. All owners that are not proved dead must be here, so nothing is taken from one that is
// only silent (rule R9), and the lowest of all shards here decides. Where no owner is left, it is the
// later run of the voter's node: there is one at a time.
func (k *Keeper) decider(now time.Time) proto.NodeName {
	here, owners := k.recoverers(), 0
	for owner, has := range k.table.named {
		if owner == "" || has.owned == 0 || k.verdict(now, owner) == plan.Proved {
			continue
		}
		if !slices.Contains(here, owner) {
			return ""
		}
		owners++
	}
	only := k.onlyVoter()
	for _, name := range here {
		if owners > 0 || name.ID() == only.ID() {
			return name
		}
	}
	return ""
}

// recoverAlone recovers without being asked when the only voter is proved dead and none that has its
// log lives: no second majority can exist. One of the living shards does it.
func (k *Keeper) recoverAlone(now time.Time) {
	only := k.onlyVoter()
	if only == "" || k.attempt != nil || k.cfg.Role != proto.RoleShard || k.bond.holds(now) {
		return
	}
	if !k.lost(only) || k.Leader(now) != "" {
		return
	}
	if k.decider(now) != k.cfg.Self {
		return
	}
	k.log.Warn("the only voter is dead for certain: the cluster is recovered", zap.String("voter", string(only)))
	if err := k.Recover(now); err != nil {
		k.log.Error("recovery failed", zap.Error(err))
	} else if k.attempt != nil {
		k.attempt.unasked = true
	}
}

// giveUp drops a cluster that nobody but this node ever belonged to, once a node of another cluster is
// seen: a first shard that died and was started again the same way has founded a new cluster, while
// its routers still hold the old one's Table and wait for it. Nothing is lost, since no router knew us.
func (k *Keeper) giveUp(now time.Time) {
	if !k.alone || k.table == nil {
		return
	}
	own, foreign := k.Instance(), false
	for i := range k.view.nodes {
		n := &k.view.nodes[i]
		switch {
		case n.Name == k.cfg.Self || !n.Lives() || n.Instance.IsZero():
		case n.Instance == own:
			k.alone = false
			return
		default:
			foreign = true
		}
	}
	if !foreign {
		return
	}
	k.log.Warn("another cluster is here: the one that this node founded alone is given up", zap.Stringer("instance", own))
	k.alone, k.table, k.frame = false, nil, nil
	k.dropRegister()
	k.look(now)
}

func (k *Keeper) instanceSeen() bool {
	return slices.ContainsFunc(k.view.nodes, func(n Node) bool {
		return n.Lives() && !n.Instance.IsZero()
	})
}

// watchFounders notes since when the shards that could found a cluster are the same. One run per
// id counts.
func (k *Keeper) watchFounders(now time.Time) {
	var shards []proto.NodeName
	for _, n := range k.view.LiveShards(proto.Instance{}) {
		if n.State == Draining || len(shards) > 0 && shards[len(shards)-1].ID() == n.ID() {
			continue
		}
		shards = append(shards, n.Name)
	}
	if !slices.Equal(shards, k.shards) {
		k.shards, k.shardsAt = shards, now
	}
}

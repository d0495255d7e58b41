package cluster

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

const (
	// judgeAfter is how long a new leader judges nobody by silence: one heartbeat of all links.
	judgeAfter = 500 * time.Millisecond

	// orderPatience is how long an order may take before another of its kind is given. The
	// register tells sooner.
	orderPatience = 5 * time.Second

	// lookEvery is how often the coordinator looks through the Table when nothing has happened: time
	// itself may have made a node silent.
	lookEvery = 50 * time.Millisecond

	// retryAfter is the wait after an order that failed.
	retryAfter = 200 * time.Millisecond

	// moveApart is between two commands about moves alone. A room that is handed over waits for one of
	// them, so it is part of the pause that its publishers see. With 20 ms, and as well with none while
	// owners have all said what is next, the pauses of joins were longer.
	moveApart = 10 * time.Millisecond

	// caughtUp is how many raft entries a learner may lack to be given its vote.
	caughtUp = 64
)

// Errors of Forget.
var (
	ErrAlive   = errors.New("the node is alive")
	ErrUnknown = errors.New("no such node")
)

// AmbiguousError is Forget's for an id of which several runs do not live.
type AmbiguousError struct {
	Runs []proto.NodeName // sorted
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%d runs of the node do not live", len(e.Runs))
}

// lead is what a coordinator is busy with.
type lead struct {
	since    time.Time // when this node began to lead
	change   pending
	voters   pending
	forgets  []proto.NodeName // to be written into the Table
	ring     *Ring            // of the shards in reach when that was last needed
	looked   time.Time        // when the Table was last looked through
	due      bool             // something happened since then
	paced    bool             // the next command waits for the time to come
	hurry    bool             // a command can be made of what came: the Table should be looked through as soon as none is under way
	proposed time.Time        // when the last command was given
	asked    int              // how many of forgets are in the command under way

	survey   plan.Survey
	failover failover
	wishes   wishes
	moving   moving
	news     news
}

// pending is an order that is under way, or the wait behind one that failed.
type pending struct {
	number uint64 // 0: none
	until  time.Time
}

// free reports whether another order may be given.
func (p *pending) free(now time.Time) bool { return !now.Before(p.until) }

// Coordinating reports whether this node decides: it leads the register.
func (k *Keeper) Coordinating() bool { return k.reg.Term != 0 }

func (k *Keeper) changeLead(now time.Time, was *Status) {
	k.lead = lead{since: now, due: true, failover: newFailover(), wishes: make(wishes), moving: newMoving()}
	if was.Term != 0 {
		k.leader = leader{node: k.cfg.Self, generation: was.Founding.Generation, term: was.Term, at: now}
	}
	if k.reg.Term != 0 {
		k.log.Info("this node leads the register", zap.Uint64("term", k.reg.Term))
	} else {
		k.log.Info("this node leads the register no more", zap.Uint64("term", was.Term))
	}
	k.sendAll(k.Announce())
}

// mayJudge reports whether silence may be judged: a new leader gives everybody a heartbeat's time.
func (k *Keeper) mayJudge(now time.Time) bool {
	return k.reg.Term == 0 || now.Sub(k.lead.since) >= judgeAfter || k.cfg.Break&BreakQuiet != 0
}

// coordinate decides what the Table needs now. It decides only on the Table that its register has
// applied, and one command at a time.
func (k *Keeper) coordinate(now time.Time) {
	if k.reg.Term == 0 || k.reg.Table == nil || k.table.Mark() != k.reg.Table.Mark() {
		return
	}
	wake := k.Wake(k.lead.looked)
	due := k.lead.due || !wake.IsZero() && !now.Before(wake) || now.Sub(k.lead.looked) >= lookEvery // else it is about a frame that changes nothing
	if due {
		k.lead.due, k.lead.looked = false, now
		k.watchShards(now)
	}
	if (due || k.lead.hurry) && k.lead.change.free(now) && !k.dawdles(now) {
		k.propose(now)
	}
	if due && k.lead.voters.free(now) {
		k.chooseVoters(now)
	}
}

// dawdles reports whether the next command should wait a little, because it can be about moves alone and more
// is to come for it. Every Table costs every node part of a millisecond: what moves gather in the meantime
// travels in one, and who is served in between does not have to wait for the processors.
func (k *Keeper) dawdles(now time.Time) bool {
	k.lead.paced = now.Sub(k.lead.proposed) < moveApart && !k.urgent(now)
	k.lead.hurry = k.lead.hurry || k.lead.paced
	return k.lead.paced
}

// urgent reports whether something that the Table names is lost, or has no owner, or an operator waits.
func (k *Keeper) urgent(now time.Time) bool {
	if len(k.lead.forgets) > 0 {
		return true
	}
	for name := range k.table.named {
		if name == "" || k.verdict(now, name) != plan.Lives || k.missed(name) {
			return true
		}
	}
	for _, list := range k.lead.wishes {
		if slices.ContainsFunc(list, func(x wish) bool { return x.Kind != proto.WishAdd && x.Kind != proto.WishReady }) {
			return true
		}
	}
	return false
}

// propose decides on one command: what begins anew, who succeeds whom, what owners wish, what is moved.
func (k *Keeper) propose(now time.Time) {
	k.lead.hurry = false
	d := k.draft(now)
	k.beginAnew(d)
	k.succeed(now, d)
	k.grant(now, d)
	k.move(now, d)
	c := d.command
	c.Forget = slices.Clone(k.lead.forgets)
	c.Settings = k.otherSettings()
	c.Addresses = k.missingAddresses(c)
	if c.Empty() {
		return
	}
	k.lead.asked, k.lead.proposed = len(c.Forget), now
	k.stats.Commands.Add(1)
	k.lead.change = pending{k.order(Order{Kind: OrderPropose, Command: c}), now.Add(orderPatience)}
}

// draft is a command in the making.
type draft struct {
	table   *Table
	scene   *plan.Scene
	command *Command
	changed map[proto.Partition]bool // whose row the command changes: at most once
}

func (k *Keeper) draft(now time.Time) *draft {
	verdict := remember(func(name proto.NodeName) plan.Verdict { return k.verdict(now, name) })
	d := &draft{table: k.table, command: &Command{Term: k.reg.Term}, changed: make(map[proto.Partition]bool)}
	d.scene = &plan.Scene{
		Generation: k.table.Founding().Generation,
		Followers:  int(k.table.Settings.Followers),
		Verdict:    verdict,
		Missed:     func(name proto.NodeName) bool { return verdict(name) != plan.Lives || k.missed(name) },
		Fit:        func(name proto.NodeName) bool { return k.reaches(name) && verdict(name) == plan.Lives },
		Wanted:     k.wanted(verdict),
		Apart:      k.apart,
	}
	if w := d.scene.Wanted; w != nil {
		d.scene.Followers = min(d.scene.Followers, len(w.Runs)-1)
	}
	k.lead.survey.Look(k.table.rows, maps.Keys(k.table.named), d.scene)
	return d
}

// change adds a row to the command. The partition's move was the old owner's.
func (d *draft) change(c plan.Change) {
	d.command.Changes = append(d.command.Changes, c)
	d.changed[c.Partition] = true
	if m := d.table.Move(c.Partition); m.State != 0 && c.Row.Owner != d.table.rows.At(c.Partition).Owner {
		d.end(c.Partition)
	}
}

// end says that the partition's move is over, whatever else the command says of it so far. If the target
// is not in sync, that is a new term.
func (d *draft) end(p proto.Partition) {
	d.command.Moves = slices.DeleteFunc(d.command.Moves, func(m plan.Move) bool { return m.Partition == p })
	if slices.Contains(d.command.Ended, p) {
		return
	}
	d.command.Ended = append(d.command.Ended, p)
	row := d.table.rows.At(p)
	if !d.changed[p] && row.Owner != "" && !slices.Contains(row.Followers, d.table.Move(p).To) {
		d.change(plan.Change{Partition: p, Replaces: row.Term, Row: plan.Again(row, d.scene)})
	}
}

// beginAnew has partitions begin anew all of whose copies are proved dead, or that have never had any.
func (k *Keeper) beginAnew(d *draft) {
	t := d.table
	proved := t.named[""].owned > 0
	for name := range t.named {
		proved = proved || d.scene.Verdict(name) == plan.Proved
	}
	if !proved {
		return
	}
	changes := plan.Decide(d.scene.Generation, t.rows, d.scene.Verdict, k.inReach())
	lost := make(map[proto.NodeName]bool)
	for _, c := range changes {
		c.Row = plan.Begun(c.Partition, c.Row, d.scene)
		d.change(c)
		row := t.rows.At(c.Partition)
		for _, name := range append([]proto.NodeName{row.Owner}, row.Followers...) {
			lost[name] = true
		}
	}
	if delete(lost, ""); len(lost) > 0 {
		names := slices.Sorted(maps.Keys(lost))
		k.log.Error("rooms are lost: every copy is dead", zap.Int("partitions", len(changes)), zap.Strings("nodes", texts(names)))
	}
}

// otherSettings are the Table's with as many followers as this node is configured to have, nil if they say
// that already.
func (k *Keeper) otherSettings() *plan.Settings {
	s := k.table.Settings
	if f := k.cfg.Followers; f < 0 || int(s.Followers) == f {
		return nil
	}
	k.log.Info("the number of followers changes", zap.Uint8("from", s.Followers), zap.Int("to", k.cfg.Followers))
	s.Followers = uint8(k.cfg.Followers)
	return &s
}

// inReach places partitions on the shards that this node has a link to, and on itself. The Ring may want
// a shard that only others reach, or nobody yet: a partition without an owner cannot wait for it.
func (k *Keeper) inReach() func(proto.Partition) proto.NodeName {
	var ring *Ring
	return func(p proto.Partition) proto.NodeName {
		if ring == nil {
			ring = k.ringOf(k.reaches, k.lead.ring)
			k.lead.ring = ring
		}
		return ring.Wanted(p)
	}
}

// reaches reports whether this node has a link to the node, or is it.
func (k *Keeper) reaches(name proto.NodeName) bool { return name == k.cfg.Self || k.peers[name] != nil }

// remember asks f once for each name: a decision must not change its mind half-way.
func remember(f func(proto.NodeName) plan.Verdict) func(proto.NodeName) plan.Verdict {
	known := make(map[proto.NodeName]plan.Verdict)
	return func(name proto.NodeName) plan.Verdict {
		v, ok := known[name]
		if !ok {
			v = f(name)
			known[name] = v
		}
		return v
	}
}

// missingAddresses are those of nodes that the Table names, or will, and whose address it lacks or
// has wrong.
func (k *Keeper) missingAddresses(c *Command) (list []Address) {
	news := make(map[proto.NodeName]bool)
	for i := range c.Changes {
		row := &c.Changes[i].Row
		news[row.Owner] = true
		for _, f := range row.Followers {
			news[f] = true
		}
	}
	for i := range k.view.nodes {
		n := &k.view.nodes[i]
		if link := n.Addresses.Link; link != "" && (news[n.Name] || k.table.named.names(n.Name)) && k.table.Address(n.Name) != link {
			list = append(list, Address{n.Name, link})
		}
	}
	return list
}

// chooseVoters takes the next step towards the voters that the cluster should have.
func (k *Keeper) chooseVoters(now time.Time) {
	servers := slices.Clone(k.reg.Servers)
	var candidates []plan.Candidate
	for i := range k.view.nodes {
		n := &k.view.nodes[i]
		if n.Voter == "" || n.Instance != k.Instance() {
			continue
		}
		candidates = append(candidates, plan.Candidate{
			Voter: n.Voter, Role: n.Role, Zone: n.Zone, Draining: n.State == Draining, Verdict: k.verdict(now, n.Name),
		})
		for j := range servers {
			if servers[j].Name == n.Voter {
				servers[j].CaughtUp = servers[j].CaughtUp || k.caughtUp(n.Name)
			}
		}
	}
	candidates = append(candidates, k.unseenVoters(now, servers, candidates)...)
	change, ok := plan.Voters(k.reg.Voter, servers, candidates)
	if !ok {
		return
	}
	k.stats.VoterSteps.Add(1)
	k.log.Info("voters change", zap.Stringer("step", change.Op), zap.String("voter", string(change.Name)))
	k.lead.voters = pending{k.order(Order{Kind: orderOf[change.Op], Voter: change.Name}), now.Add(orderPatience)}
}

// unseenVoters are the servers that no node in sight votes as. They are judged by their names, which
// are those of runs: after a restart of everything the others may be on their way back, with their logs.
func (k *Keeper) unseenVoters(now time.Time, servers []plan.Server, seen []plan.Candidate) (unseen []plan.Candidate) {
	for _, s := range servers {
		if !slices.ContainsFunc(seen, func(c plan.Candidate) bool { return c.Voter == s.Name }) {
			unseen = append(unseen, plan.Candidate{Voter: s.Name, Role: proto.RoleShard, Verdict: k.verdict(now, s.Name)})
		}
	}
	return unseen
}

var orderOf = map[plan.VoterOp]OrderKind{
	plan.AddLearner: OrderAddLearner,
	plan.Promote:    OrderPromote,
	plan.Remove:     OrderRemove,
	plan.Transfer:   OrderTransfer,
}

// caughtUp reports whether a learner holds nearly all of this founding's log: what it said while it
// followed an older one is about another log.
func (k *Keeper) caughtUp(name proto.NodeName) bool {
	p := k.peers[name]
	return p != nil && p.said.Applied != 0 && p.said.founding() == k.Founding() && p.said.Applied+caughtUp >= k.reg.Applied
}

// leadDone is told how an order of the coordinator went. A command that failed may be in the log all
// the same: what it did, the register's Table shows, and the next decision is made on that.
func (k *Keeper) leadDone(now time.Time, number uint64, err error) {
	for _, p := range []*pending{&k.lead.change, &k.lead.voters} {
		if p.number != number {
			continue
		}
		*p = pending{}
		if err != nil {
			if p == &k.lead.change {
				k.stats.CommandsFailed.Add(1)
			}
			p.until = now.Add(retryAfter)
			k.log.Debug("order failed", zap.Error(err))
		} else if p == &k.lead.change {
			k.lead.forgets = k.lead.forgets[k.lead.asked:]
		}
	}
}

// Forget is an operator's word that a run of a node is dead and will not come back: its partitions
// that have no other copy begin anew. name is a whole node name, or an id whose dead run is meant. Only
// the coordinator can do it; the name of the run is returned, and Table shows when it is done.
func (k *Keeper) Forget(now time.Time, name string) (proto.NodeName, error) {
	if k.reg.Term == 0 || k.table == nil {
		return "", ErrNotLeading
	}
	run, err := k.resolve(now, name)
	if err != nil {
		return "", err
	}
	if k.verdict(now, run) == plan.Lives {
		return run, ErrAlive
	}
	if !slices.Contains(k.lead.forgets, run) && len(k.lead.forgets) < maxDeaths {
		k.lead.forgets = append(k.lead.forgets, run)
	}
	k.lead.due = true
	k.Tick(now)
	return run, nil
}

// resolve finds the run that is meant: of an id the one that does not live, before a living one.
func (k *Keeper) resolve(now time.Time, name string) (proto.NodeName, error) {
	var living proto.NodeName
	var dead []proto.NodeName
	known := make(map[proto.NodeName]bool)
	for name := range k.table.named {
		known[name] = true
	}
	for i := range k.view.nodes {
		known[k.view.nodes[i].Name] = true
	}
	var runs []proto.NodeName
	for run := range known {
		if string(run) == name || string(run.ID()) == name {
			runs = append(runs, run)
		}
	}
	slices.Sort(runs)
	for _, run := range runs {
		if k.verdict(now, run) != plan.Lives {
			dead = append(dead, run)
			continue
		}
		living = run
	}
	switch {
	case len(dead) > 1:
		return "", &AmbiguousError{dead}
	case len(dead) == 1:
		return dead[0], nil
	case living == "":
		return "", ErrUnknown
	}
	return living, nil
}

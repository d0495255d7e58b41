package sim

import (
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/sim/timeline"
	"github.com/roomring/roomring/proto"
)

// fault is a kind of what goes wrong. A seed has some of them.
type fault uint8

const (
	faultReset    fault = iota // a link breaks
	faultStall                 // nothing passes between two hosts, one way or both, for a short time
	faultCut                   // the same, for long enough to be noticed
	faultIsolate               // a host hears nobody, or nobody hears it
	faultSplit                 // two groups of hosts do not hear each other
	faultMinority              // the owner and the followers of a partition are cut off from the majority of the voters
	faultFreeze                // a process is stopped for a while
	faultShard                 // a shard's process dies and is started again
	faultPower                 // its host loses its power
	faultOwner                 // the owner of a partition dies
	faultCopies                // all copies of a partition die, one soon after the other
	faultApart                 // an owner and its follower do not hear each other, and then the owner dies
	faultRouter                // a router's process dies
	faultLeader                // the leader's does
	faultDepose                // the register's leader loses its lead
	faultVerdict               // gossip calls a living node dead
	faultDrain                 // a shard drains, and comes back
	faultMove                  // something happens to those who have to do with a move
	faultThaw                  // a partition is frozen, and there is no leader for a while
	faultPledge                // a follower promises a term, and the leader that asked for it loses its lead
	faultBlind                 // the leader does not hear the owner of a partition, which hears nothing of the Table
	faultDeaf                  // a node's lanes hear nothing of the Table
	faultForget                // an operator calls a shard dead, which is
	faultSlow                  // a client does not read
	faultLeave                 // a client leaves and comes back
	faultKinds
)

func (f fault) String() string {
	return [...]string{
		"reset", "stall", "cut", "isolate", "split", "minority", "freeze", "shard", "power", "owner", "copies", "apart",
		"router", "leader", "depose", "verdict", "drain", "move", "thaw", "pledge", "blind", "deaf", "forget", "slow", "leave",
	}[f]
}

// plague lets faults happen until the trouble is over. Late shards join in its
// midst.
func (w *World) plague() {
	for _, h := range w.hosts {
		if h.off && h.now == nil {
			w.After(w.Between(100*time.Millisecond, w.shape.trouble), h.start)
		}
	}
	w.infect()
}

func (w *World) infect() {
	next := w.Between(10*time.Millisecond, 2*w.shape.faultEvery)
	if w.Now+next >= w.end {
		return
	}
	w.After(next, func() {
		w.strike()
		w.infect()
	})
}

// strike has one fault of the seed's kinds happen.
func (w *World) strike() {
	kind := fault(w.Rand.IntN(int(faultKinds)))
	if !w.shape.faults[kind] {
		return
	}
	p := proto.Partition(w.Rand.IntN(w.shape.partitions))
	owner, followers := w.keepers(p)
	n := timeline.One(w.Timeline, w.living())
	if n == nil || owner == nil && (kind == faultOwner || kind == faultCopies || kind == faultMinority || kind == faultApart) {
		return
	}
	w.report.Faults[kind]++
	w.Trace("fault: %v", kind)
	long := w.Between(silence, 4*silence)
	switch kind {
	case faultReset:
		if q := timeline.One(w.Timeline, w.pairs); q != nil {
			q.now.snap(cluster.EndBroken)
		}
	case faultStall:
		w.disturb(w.Between(10*time.Millisecond, silence))
	case faultCut:
		w.disturb(long)
	case faultIsolate:
		w.isolate(n.host, long)
	case faultSplit:
		w.halve(long)
	case faultMinority:
		w.cutOff(owner, followers, w.Between(2*silence, 5*silence))
	case faultFreeze:
		n.freeze(w.Between(50*time.Millisecond, 3*silence))
	case faultShard, faultPower:
		w.kill(w.livingShard(), kind == faultShard)
	case faultOwner:
		w.kill(owner, w.Chance(0.7))
		if w.Chance(0.5) {
			w.After(w.Between(time.Millisecond, 2*silence), w.depose)
		}
	case faultCopies:
		w.kill(owner, w.Chance(0.7))
		for _, f := range followers {
			w.After(w.Between(time.Millisecond, 2*time.Second), func() { w.kill(f, w.Chance(0.7)) })
		}
	case faultApart:
		w.estrange(owner, followers)
	case faultRouter:
		w.kill(w.livingRouter(), w.Chance(0.7))
	case faultLeader:
		w.kill(w.leader(), w.Chance(0.7))
	case faultDepose:
		w.depose()
	case faultVerdict:
		w.judge(n, timeline.One(w.Timeline, w.living()))
	case faultDrain:
		if s := w.livingShard(); s != nil && len(w.upShards()) > 1 {
			s.drain()
		}
	case faultMove:
		w.hinder()
	case faultThaw:
		w.ambush.frozen = w.delayReady
		w.hinder()
	case faultPledge:
		if l := w.leader(); l != nil && owner != nil && l != owner {
			w.ambush.promised = w.breakPledge
			w.split([]*host{l.host}, []*host{owner.host}, silence+time.Second)
		}
	case faultBlind:
		w.blind(owner, long)
	case faultDeaf:
		n.deaf = w.Now + w.Between(100*time.Millisecond, 3*time.Second)
	case faultForget:
		w.forget()
	case faultSlow:
		c := w.clients[w.Rand.IntN(len(w.clients))]
		c.stalled = max(c.stalled, w.Now+w.Between(50*time.Millisecond, 4*time.Second))
		w.Trace("client %d reads nothing until %v", c.number, c.stalled)
	case faultLeave:
		w.clients[w.Rand.IntN(len(w.clients))].leave()
	}
}

// depose has the register's leader lose its lead.
func (w *World) depose() {
	if r := w.registers[len(w.registers)-1]; r.leader != nil && !w.calm {
		r.depose(errLost)
	}
}

// hinder has something happen to those who have to do with a move. If there is
// none, it has one begin first.
func (w *World) hinder() {
	moves := w.registers[len(w.registers)-1].last().table.Moves
	if len(moves) == 0 {
		if s := w.livingShard(); s != nil && len(w.upShards()) > 1 {
			s.drain()
			w.after(w.Between(time.Second, 2*time.Second), func() {
				if len(w.registers[len(w.registers)-1].last().table.Moves) > 0 {
					w.hinder()
				}
			})
		}
		return
	}
	m := timeline.One(w.Timeline, moves)
	from, _ := w.keepers(m.Partition)
	to := w.byName[m.To]
	if from == nil || !to.alive {
		return
	}
	switch w.Rand.IntN(6) {
	case 0:
		w.cut(from.host, to.host, w.Between(50*time.Millisecond, 2*silence))
	case 1:
		w.cut(to.host, from.host, w.Between(50*time.Millisecond, 2*silence))
	case 2:
		to.freeze(w.Between(50*time.Millisecond, 2*silence))
	case 3:
		w.kill(to, w.Chance(0.7))
	case 4:
		w.kill(from, w.Chance(0.7))
	case 5:
		w.depose()
	}
}

// blind cuts the leader off from the owner of a partition and from a router, which
// know the old Table for a while. The follower hears them all.
func (w *World) blind(owner *node, d time.Duration) {
	l, r := w.leader(), w.livingRouter()
	if l == nil || owner == nil || l == owner {
		return
	}
	apart := []*host{owner.host}
	owner.deaf = w.Now + d + time.Second
	if r != nil && r != l {
		apart = append(apart, r.host)
		r.deaf = owner.deaf
	}
	w.split([]*host{l.host}, apart, d)
}

// ambush is what happens once as soon as something else does; nil is nothing.
type ambush struct {
	frozen   func(p proto.Partition)
	promised func(p proto.Partition)
}

// spring has the ambush happen.
func (w *World) spring(at *func(proto.Partition), p proto.Partition) {
	if f := *at; f != nil && !w.calm {
		*at = nil
		w.After(0, func() { f(p) })
	}
}

// delayReady leaves the owner of a frozen partition without a leader, for longer
// than a hand-off may take.
func (w *World) delayReady(proto.Partition) {
	if r := w.registers[len(w.registers)-1]; r.leader != nil {
		r.depose(errLost)
		r.electAt = w.Now + w.Between(2*time.Second, 4*time.Second)
	}
}

// breakPledge takes the leader its lead, and lets all hear the owner again.
func (w *World) breakPledge(p proto.Partition) {
	w.depose()
	if owner, _ := w.keepers(p); owner != nil {
		for _, h := range w.hosts {
			w.clear(owner.host, h)
			w.clear(h, owner.host)
		}
	}
}

// after is After, unless the faults are over by then.
func (w *World) after(d time.Duration, f func()) {
	w.After(d, func() {
		if !w.calm {
			f()
		}
	})
}

// spare reports whether a node must not die: it has the last copy of something.
func (w *World) spare(n *node) bool {
	if !w.shape.careful {
		return false
	}
	for _, row := range w.registers[len(w.registers)-1].last().table.Rows() {
		named, others := false, false
		for _, name := range copies(row) {
			named = named || name == n.name
			others = others || name != n.name && w.byName[name].alive
		}
		if named && !others {
			return true
		}
	}
	return false
}

// keepers are the living owner and followers of a partition, as the newest
// register says.
func (w *World) keepers(p proto.Partition) (owner *node, followers []*node) {
	row := w.registers[len(w.registers)-1].last().table.Row(p)
	if n := w.byName[row.Owner]; n != nil && n.alive {
		owner = n
	}
	for _, name := range row.Followers {
		if n := w.byName[name]; n.alive {
			followers = append(followers, n)
		}
	}
	return owner, followers
}

// disturb lets nothing pass between two hosts for a time, one way or both.
func (w *World) disturb(d time.Duration) {
	a, b := timeline.One(w.Timeline, w.hosts), timeline.One(w.Timeline, w.hosts)
	w.cut(a, b, d)
	if w.Chance(0.6) {
		w.cut(b, a, d)
	}
}

func (w *World) isolate(h *host, d time.Duration) {
	way := w.Rand.IntN(3)
	for _, o := range w.hosts {
		if way != 0 {
			w.cut(h, o, d)
		}
		if way != 1 {
			w.cut(o, h, d)
		}
	}
}

func (w *World) halve(d time.Duration) {
	var a, b []*host
	for _, h := range w.hosts {
		if w.Chance(0.5) {
			a = append(a, h)
		} else {
			b = append(b, h)
		}
	}
	w.split(a, b, d)
}

// cutOff leaves the copies of a partition, and perhaps a router, without the
// majority of the voters.
func (w *World) cutOff(owner *node, followers []*node, d time.Duration) {
	minority := []*host{owner.host}
	for _, f := range followers {
		minority = append(minority, f.host)
	}
	if r := w.livingRouter(); r != nil && w.Chance(0.7) {
		minority = append(minority, r.host)
	}
	var rest []*host
	for _, h := range w.hosts {
		if !slices.Contains(minority, h) {
			rest = append(rest, h)
		}
	}
	w.split(minority, rest, d)
}

// estrange keeps an owner and its followers from hearing each other, and then has
// the owner die.
func (w *World) estrange(owner *node, followers []*node) {
	d := w.Between(200*time.Millisecond, 3*silence)
	for _, f := range followers {
		w.cut(owner.host, f.host, d)
		if w.Chance(0.5) {
			w.cut(f.host, owner.host, d)
		}
		if w.Chance(0.7) { // they notice before the coordinator has a reason to act
			w.snapBetween(owner.host, f.host, cluster.EndBroken)
		}
	}
	w.after(w.Between(10*time.Millisecond, d), func() { w.kill(owner, w.Chance(0.7)) })
}

// kill ends a process; another run of the node follows, sometimes at once.
func (w *World) kill(n *node, power bool) {
	if n == nil || !n.alive || w.calm || w.spare(n) {
		return
	}
	n.die(power)
	w.After(w.Between(time.Millisecond, 4*time.Second), n.host.start)
}

// judge has one node call another dead.
func (w *World) judge(n, o *node) {
	if !n.frozen {
		n.gossip.Slander(o.name)
	}
}

// forget has an operator call a shard dead that is.
func (w *World) forget() {
	l := w.leader()
	if l == nil || l.frozen || l.keeper.Table() == nil {
		return
	}
	for _, row := range l.keeper.Table().Rows() {
		for _, name := range copies(row) {
			if w.byName[name].alive {
				continue
			}
			l.call(func() {
				_, err := l.keeper.Forget(w.Time(), string(name))
				w.Trace("operator at %s: forget %s: %v", l.name, name, err)
			})
			return
		}
	}
}

func (w *World) upShards() (up []*node) {
	for _, n := range w.living() {
		if n.host.role == proto.RoleShard && !n.draining {
			up = append(up, n)
		}
	}
	return up
}

func (w *World) livingShard() *node { return timeline.One(w.Timeline, w.upShards()) }

func (w *World) livingRouter() *node {
	var up []*node
	for _, n := range w.living() {
		if n.host.role == proto.RoleRouter {
			up = append(up, n)
		}
	}
	return timeline.One(w.Timeline, up)
}

// heal ends what would last, and stops new faults.
func (w *World) heal() {
	w.Trace("the faults are over")
	w.calm = true
	for _, h := range w.hosts {
		for _, o := range w.hosts {
			w.clear(h, o)
		}
	}
	for _, h := range w.hosts {
		if h.now == nil {
			w.After(w.Between(time.Millisecond, time.Second), h.start)
		} else {
			h.now.wakeUp()
			if h.now != nil {
				h.now.deaf = 0
			}
		}
	}
}

// empty: everybody leaves for good.
func (w *World) empty() {
	w.Trace("everybody leaves")
	for _, c := range w.clients {
		c.gone = true
		c.leave()
	}
	w.clients = nil
}

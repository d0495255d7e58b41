package sim

import (
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/sim/gossip"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

const (
	laneTick   = 50 * time.Millisecond
	keeperTick = 100 * time.Millisecond
	probeEvery = 250 * time.Millisecond
	slowTick   = time.Second // once everybody has left
	drainTime  = 6 * time.Second
)

// node is one run of a process: a keeper, the lanes of a router or a shard, and
// what a real node has around them.
type node struct {
	w       *World
	host    *host
	name    proto.NodeName
	keeper  *cluster.Keeper
	gossip  *gossip.Gossip
	lanes   []lane
	started time.Duration

	alive    bool
	frozen   bool // stopped: nothing is done, and everything waits
	draining bool
	backlog  []func()
	woke     time.Duration // when it was last frozen
	deaf     time.Duration // its lanes hear nothing of the Table before

	first map[proto.NodeName]*end // the first link of each pair, which the keeper uses
	table *cluster.Table          // that the lanes are told
	view  *cluster.View
	said  cluster.Announced
	woken time.Time // when the keeper is ticked out of turn
	leads bool      // the keeper was told that it leads
}

// lane is one of a node's loops.
type lane interface {
	linkUp(e *end)
	linkDown(e *end)
	frame(e *end, typ proto.FrameType, body []byte)
	tick()
	wake()
	learn() // the node's Table is news
	see()   // its view is
	promise(list []proto.Promise) []proto.Promise
}

// startNode begins a run.
func (w *World) startNode(h *host) {
	h.runs++
	n := &node{w: w, host: h, alive: true, started: w.Now, first: map[proto.NodeName]*end{}}
	n.name = proto.MakeNodeName(h.id, proto.Incarnation(h.place+1)<<32|h.runs)
	cfg := cluster.KeeperConfig{
		Self: n.name, Role: h.role, Partitions: w.shape.partitions, Expect: w.shape.shards - w.shape.late, Seeded: true,
		Followers: w.shape.followers, MaxMoves: w.shape.maxMoves, Random: w, Break: w.opt.Keeper,
	}
	if h.role == proto.RoleRouter {
		cfg.Followers = -1
	}
	n.keeper = cluster.NewKeeper(cfg)
	h.now = n
	if h.seat.voter == "" {
		h.seat.voter = n.name
	}
	h.seat.left = map[proto.Founding]bool{}
	w.Trace("%s starts", n.name)
	if h.role == proto.RoleRouter {
		w.startRouter(n)
	} else {
		w.startShard(n)
	}
	for _, o := range w.living() {
		if o != n {
			w.meet(n, o)
		}
	}
	w.nodes = append(w.nodes, n)
	w.byName[n.name] = n
	n.gossip = w.newGossip(n)
	n.call(func() { n.keeper.SetRegister(w.Time(), n.status()) })
	n.call(func() { n.keeper.SetNodes(w.Time(), n.gossip.Nodes()) })
	n.gossip.Join()
	n.every(keeperTick, func() { n.call(func() { n.keeper.Tick(w.Time()) }) })
	n.every(probeEvery, n.probe)
	for _, l := range n.lanes {
		n.every(laneTick, l.tick)
	}
}

// every does something again and again while the process lives.
func (n *node) every(d time.Duration, f func()) {
	var again func()
	again = func() {
		if !n.alive {
			return
		}
		n.do(func() {
			f()
			next := d
			if n.w.deserted() {
				next = max(d, slowTick)
			}
			n.w.After(next, again)
		})
	}
	n.w.After(time.Duration(n.w.Rand.Int64N(int64(d))), again)
}

// deserted reports whether everybody has left for good: from then on only time
// passes.
func (w *World) deserted() bool { return w.calm && len(w.clients) == 0 }

// do has the process do something: now, or when it wakes up.
func (n *node) do(f func()) {
	switch {
	case !n.alive:
	case n.frozen:
		n.backlog = append(n.backlog, f)
	default:
		f()
	}
}

// soon is do, after a moment, as between goroutines.
func (n *node) soon(f func()) {
	n.w.After(time.Duration(n.w.Rand.Int64N(int64(time.Millisecond))), func() { n.do(f) })
}

// call calls the keeper, and carries out what it wants.
func (n *node) call(f func()) {
	f()
	n.carryOut()
}

func (n *node) carryOut() {
	w := n.w
	if t := n.keeper.Table(); t != n.table {
		n.table = t
		for _, l := range n.lanes {
			n.teach(l)
		}
	}
	if v := n.keeper.View(); v != n.view {
		n.view = v
		for _, l := range n.lanes {
			n.soon(l.see)
		}
	}
	say := cluster.Announced{Instance: n.keeper.Instance(), Voter: n.host.seat.voter, Draining: n.draining}
	if say != n.said {
		n.said = say
		n.gossip.Announce(say)
	}
	for _, s := range n.keeper.Take() {
		n.send(s.To, s.Frame)
	}
	for _, i := range n.keeper.Orders() {
		n.order(i)
	}
	n.place()
	if at := n.keeper.Wake(w.Time()); !at.IsZero() && !at.Equal(n.woken) {
		n.woken = at
		w.After(at.Sub(w.Time()), func() { n.do(func() { n.call(func() { n.keeper.Tick(w.Time()) }) }) })
	}
	if leads := n.keeper.Coordinating(); leads != n.leads {
		n.leads = leads
		w.Trace("%s leads: %v", n.name, leads)
	}
}

// teach lets a lane know the Table, some time.
func (n *node) teach(l lane) {
	late := time.Duration(n.w.Rand.Int64N(int64(time.Millisecond)))
	n.w.After(max(late, n.deaf-n.w.Now), func() { n.do(l.learn) })
}

// place computes where partitions should be, off the keeper's loop.
func (n *node) place() {
	job, ok := n.keeper.Job()
	if !ok {
		return
	}
	n.w.After(n.w.Between(time.Millisecond, 200*time.Millisecond), func() {
		n.do(func() {
			n.call(func() { n.keeper.Placed(n.w.Time(), job.Run()) })
		})
	})
}

// order hands an order on to the register.
func (n *node) order(i cluster.Issue) {
	n.w.Trace("%s orders %d %s", n.name, i.Order.Kind, i.Order.Voter)
	switch {
	case i.Order.Kind == cluster.OrderPropose:
		n.w.ledger.decided(n, i.Order.Command)
	case i.Order.Kind == cluster.OrderFound && i.Order.Founding.Generation > 0:
		n.w.ledger.refounds(n)
	}
	n.obey(i.Order, func(err error) {
		n.soon(func() {
			if err != nil {
				n.w.Trace("%s: order %d: %v", n.name, i.Order.Kind, err)
			}
			n.call(func() {
				n.keeper.SetRegister(n.w.Time(), n.status())
				n.keeper.Done(n.w.Time(), i.Number, err)
			})
		})
	})
}

// tell lets the keeper know what the register is now.
func (n *node) tell() {
	n.soon(func() { n.call(func() { n.keeper.SetRegister(n.w.Time(), n.status()) }) })
}

// send hands a frame that is about no partition to the first link to a node. What
// a node says to itself it hears at once.
func (n *node) send(to proto.NodeName, frame []byte) {
	if to == n.name {
		typ, _, _ := proto.ParseHeader(frame)
		n.w.Trace("%s to itself: %v", n.name, typ)
		n.hear(to, typ, frame[proto.HeaderSize:])
	} else if e := n.first[to]; e != nil {
		e.out.send(control, frame)
	}
}

// hear takes a frame that is about no partition.
func (n *node) hear(from proto.NodeName, typ proto.FrameType, body []byte) {
	if typ == proto.FramePromise {
		n.promise(from, body)
		return
	}
	n.call(func() {
		if err := n.keeper.Frame(n.w.Time(), from, typ, body); err != nil {
			n.w.Fail("%s: %v", n.name, err)
		}
	})
}

// promise has the lanes answer a coordinator: each for its own partitions.
func (n *node) promise(from proto.NodeName, body []byte) {
	list, err := proto.ParsePromises(body)
	if err != nil {
		n.w.Fail("%s asks %s for broken promises: %v", from, n.name, err)
	}
	for i, l := range n.lanes {
		var part []proto.Promise
		for _, x := range list {
			if int(x.Partition)%len(n.lanes) == i {
				part = append(part, x)
			}
		}
		if len(part) == 0 {
			continue
		}
		n.soon(func() {
			answers := l.promise(part)
			n.w.Trace("%s promises %s: %v", n.name, from, answers)
			n.w.ledger.pledged(n, answers)
			n.w.spring(&n.w.ambush.promised, answers[0].Partition)
			n.send(from, proto.AppendPromised(nil, answers))
		})
	}
}

// wish tells the coordinator what a lane wants.
func (n *node) wish(list []proto.Wish) {
	if len(list) == 0 {
		return
	}
	for i := range list {
		n.w.ledger.wished(n, &list[i])
	}
	if to := n.keeper.Leader(n.w.Time()); to != "" {
		n.send(to, proto.AppendWishes(nil, list))
	}
}

// needTable is a lane's word that somebody knows a higher term.
func (n *node) needTable(p proto.Partition, term proto.Term) {
	n.call(func() { n.keeper.NeedTable(n.w.Time(), p, term) })
	for _, l := range n.lanes {
		if n.deaf > n.w.Now {
			n.teach(l)
		}
	}
}

// row is what the Table says of a partition, as a shard's lane is told.
func rowOf(t *cluster.Table, p proto.Partition) partition.Row {
	r := t.Row(p)
	row := partition.Row{Owner: r.Owner, Followers: r.Followers, Term: r.Term, Since: r.Since}
	for _, m := range t.Moves {
		if m.Partition == p {
			row.Learner, row.Freezing = m.To, m.State == plan.Freezing
		}
	}
	return row
}

// probe asks the addresses of those whose fate the keeper wants to know.
func (n *node) probe() {
	w := n.w
	for _, x := range n.keeper.Probes() {
		at := w.hostAt(x.Link)
		w.After(w.flight(), func() {
			fate := n.host.ask(at, x.Name)
			if fate == cluster.FateUnknown {
				return // it takes its time, and says nothing
			}
			w.After(w.flight(), func() {
				if at.passes(n.host) {
					n.do(func() { n.call(func() { n.keeper.SetFate(w.Time(), x.Name, fate) }) })
				}
			})
		})
	}
}

// die ends the process at once, with all that it knew. Its kernel resets its
// connections, if there is power to do so.
func (n *node) die(power bool) {
	if !n.alive {
		return
	}
	n.w.Trace("%s dies, power %v", n.name, power)
	n.end(!power)
	if power {
		n.w.part(n, cluster.EndBroken)
	} else {
		n.w.part(n, cluster.EndSilent)
	}
}

// leave ends the process with a goodbye.
func (n *node) leave() {
	n.w.Trace("%s leaves", n.name)
	n.gossip.Leave()
	n.end(false)
	n.w.part(n, cluster.EndLeft)
}

func (n *node) end(off bool) {
	n.alive, n.frozen, n.backlog = false, false, nil
	n.host.now, n.host.off = nil, off
	for _, l := range n.lanes {
		if r, ok := l.(*routerLane); ok {
			r.lost()
		}
	}
}

// freeze stops the process for a time, as SIGSTOP does. Those who hear nothing of
// it for too long hang up.
func (n *node) freeze(d time.Duration) {
	if n.frozen || !n.alive {
		return
	}
	w := n.w
	w.Trace("%s freezes for %v", n.name, d)
	n.frozen = true
	since := w.Now
	w.After(silence+w.Between(time.Millisecond, 500*time.Millisecond), func() {
		if n.frozen && w.Now-since < d {
			for _, p := range w.pairs {
				if p.ends(n) {
					p.now.snap(cluster.EndSilent)
				}
			}
		}
	})
	w.After(d, n.wakeUp)
}

// wakeUp lets the process go on. What came meanwhile comes first.
func (n *node) wakeUp() {
	if !n.frozen {
		return
	}
	n.w.Trace("%s wakes up", n.name)
	n.frozen, n.woke = false, n.w.Now
	backlog := n.backlog
	n.backlog = nil
	for i, f := range backlog {
		if n.frozen {
			n.backlog = append(n.backlog, backlog[i:]...)
			return
		}
		n.do(f)
	}
}

// drain has a node leave as SIGTERM does, and come back some time later.
func (n *node) drain() {
	if n.draining || !n.alive {
		return
	}
	w := n.w
	w.Trace("%s drains", n.name)
	n.draining = true
	n.do(n.carryOut)
	end := w.Now + drainTime
	var wait func()
	wait = func() {
		switch {
		case !n.alive:
		case w.Now < end && (n.frozen || n.needed()):
			w.After(100*time.Millisecond, wait)
		case n.frozen:
			w.After(time.Second, wait)
		default:
			n.leave()
			w.After(w.Between(time.Millisecond, 3*time.Second), n.host.start)
		}
	}
	w.After(100*time.Millisecond, wait)
}

// needed reports whether the cluster still counts on a node that drains.
func (n *node) needed() bool {
	if !n.keeper.Stance(n.w.Time()).Relieved || n.table == nil {
		return true
	}
	for _, row := range n.table.Rows() {
		if row.Owner == n.name {
			return true
		}
		for _, f := range row.Followers {
			if f == n.name {
				return true
			}
		}
	}
	return false
}

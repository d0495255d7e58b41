package council

import (
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/sim/gossip"
	"github.com/roomring/roomring/proto"
)

const (
	tickEvery  = 100 * time.Millisecond
	meshEvery  = 150 * time.Millisecond
	probeEvery = 250 * time.Millisecond
)

// process is one run of a node: a keeper, and what a real node has around it.
type process struct {
	w        *World
	host     *host
	name     proto.NodeName
	keeper   *cluster.Keeper
	register *register
	gossip   *gossip.Gossip

	alive    bool
	frozen   bool // stopped: nothing is done, and everything waits
	backlog  []func()
	draining bool
	asked    bool // an operator has asked it to recover
	started  time.Duration

	ends    map[proto.NodeName]*end // the newest link to each node
	dialing map[proto.NodeName]bool
	broke   map[proto.NodeName]bool // the last link was reset
	table   *cluster.Table          // that the keeper held when it was last looked at
	told    cluster.Status          // what the keeper was told last
	leadsAt time.Duration           // when it was told that it leads
	said    cluster.Announced
}

func startProcess(h *host) {
	w := h.w
	h.runs++
	p := &process{
		w: w, host: h, alive: true, started: w.Now,
		ends: make(map[proto.NodeName]*end), dialing: make(map[proto.NodeName]bool), broke: make(map[proto.NodeName]bool),
	}
	p.name = proto.MakeNodeName(h.id, proto.Incarnation(h.place+1)<<32|h.runs)
	expect, seeded := h.expects()
	p.keeper = cluster.NewKeeper(cluster.KeeperConfig{
		Self: p.name, Role: h.role, Partitions: w.shape.partitions, Expect: expect, Seeded: seeded,
		Random: w, Break: w.opt.Keeper,
	})
	h.now = p
	w.processes = append(w.processes, p)
	w.byName[p.name] = p
	w.ledger.replaced(h)
	p.register = openRegister(p)
	p.gossip = w.newGossip(p)
	w.Trace("%s starts, it votes as %s", p.name, p.register.memory.name)
	p.call(func() { p.keeper.SetRegister(w.Time(), p.tell()) })
	p.call(func() { p.keeper.SetNodes(w.Time(), p.gossip.Nodes()) })
	p.gossip.Join()
	p.every(tickEvery, func() { p.keeper.Tick(w.Time()) })
	p.every(meshEvery, p.mesh)
	p.every(probeEvery, p.probe)
}

// every does something again and again while the process lives.
func (p *process) every(d time.Duration, f func()) {
	p.w.After(d/2+time.Duration(p.w.Rand.Int64N(int64(d))), func() {
		if p.alive {
			p.do(func() {
				p.call(f)
				p.every(d, f)
			})
		}
	})
}

// do has the process do something: now, or when it wakes up.
func (p *process) do(f func()) {
	switch {
	case !p.alive:
	case p.frozen:
		p.backlog = append(p.backlog, f)
	default:
		f()
	}
}

// soon is do, after a moment, as between goroutines.
func (p *process) soon(f func()) {
	d := time.Duration(p.w.Rand.Int64N(int64(2 * time.Millisecond)))
	if p.w.Chance(p.w.shape.sluggish) && !p.w.calm {
		d = p.w.Between(10*time.Millisecond, 3*time.Second)
	}
	p.w.After(d, func() { p.do(f) })
}

// call calls the keeper, and carries out what it wants.
func (p *process) call(f func()) {
	f()
	p.carryOut()
}

func (p *process) carryOut() {
	if t := p.keeper.Table(); t != p.table {
		p.w.ledger.holds(p, p.table, t)
		p.table = t
	}
	say := cluster.Announced{Instance: p.keeper.Instance(), Voter: p.register.memory.name, Draining: p.draining}
	if say != p.said {
		p.said = say
		p.gossip.Announce(say)
	}
	for _, s := range p.keeper.Take() {
		if e := p.ends[s.To]; e != nil {
			e.send(s.Frame)
		}
	}
	for _, i := range p.keeper.Orders() {
		p.w.ledger.ordered(p, &i.Order)
		p.register.do(i.Order, func(err error) {
			p.soon(func() {
				if err != nil {
					p.w.Trace("%s: order %d: %v", p.name, i.Order.Kind, err)
				}
				p.call(func() {
					p.keeper.SetRegister(p.w.Time(), p.tell())
					p.keeper.Done(p.w.Time(), i.Number, err)
				})
			})
		})
	}
}

// tell is the register's status, as the keeper is about to be told.
func (p *process) tell() cluster.Status {
	s := p.register.status()
	if s.Term != p.told.Term {
		p.leadsAt = p.w.Now
	}
	p.told = s
	return s
}

// frame takes what came over a link.
func (p *process) frame(from proto.NodeName, frame []byte) {
	typ, size, err := proto.ParseHeader(frame)
	if err != nil || size != len(frame) {
		p.w.Fail("%s was sent a bad frame by %s: %v", p.name, from, err)
	}
	p.w.report.Frames[typ]++
	p.call(func() {
		if err := p.keeper.Frame(p.w.Time(), from, typ, frame[proto.HeaderSize:]); err != nil {
			p.w.Fail("%s: %v", p.name, err)
		}
	})
}

// mesh dials whom the keeper sees and there is no link to, and hangs up on other clusters.
func (p *process) mesh() {
	voting := make(map[proto.NodeName]bool)
	if t := p.keeper.Table(); t != nil {
		for _, v := range t.Voters {
			voting[v] = true
		}
	}
	own := p.keeper.Instance()
	for _, n := range p.keeper.View().Nodes() {
		foreign := !own.IsZero() && !n.Instance.IsZero() && n.Instance != own
		routers := p.host.role == proto.RoleRouter && n.Role == proto.RoleRouter
		switch e := p.ends[n.Name]; {
		case n.Name == p.name:
		case !n.Lives() || foreign:
			if e != nil {
				e.close(cluster.EndClosed)
			}
		case e == nil && !p.dialing[n.Name] && (!routers || voting[n.Voter] || voting[p.register.memory.name]):
			p.dial(n.Name)
		}
	}
}

// probe asks the addresses of those whose fate the keeper wants to know.
func (p *process) probe() {
	for _, x := range p.keeper.Probes() {
		h := p.w.hostAt(x.Link)
		there := p.w.flight()
		p.w.After(there, func() {
			fate := p.host.ask(h, x.Name)
			if fate == cluster.FateUnknown {
				return // it takes its time, and says nothing
			}
			p.w.After(p.w.flight(), func() {
				if h.passes(p.host) {
					p.do(func() {
						p.w.ledger.probed(p, x.Name, fate)
						p.call(func() { p.keeper.SetFate(p.w.Time(), x.Name, fate) })
					})
				}
			})
		})
	}
}

// ask is what a probe of an address finds.
func (h *host) ask(at *host, name proto.NodeName) cluster.Fate {
	switch {
	case !h.meets(at):
		return cluster.FateUnknown
	case at.now == nil:
		return cluster.FateRefused
	case at.now.frozen:
		return cluster.FateUnknown
	case at.now.name == name:
		return cluster.FateAlive
	}
	return cluster.FateReplaced
}

func (w *World) hostAt(address string) *host {
	for _, h := range w.hosts {
		if h.address() == address {
			return h
		}
	}
	w.Fail("address %q is nobody's", address)
	return nil
}

// flight is how long a packet takes.
func (w *World) flight() time.Duration {
	return w.shape.delay + time.Duration(w.Rand.Int64N(int64(w.shape.jitter)))
}

// die ends the process at once. Its kernel resets its connections, if it is there to do so.
func (p *process) die(power bool) {
	p.w.Trace("%s dies, power %v", p.name, power)
	p.alive, p.frozen, p.backlog = false, false, nil
	p.host.now, p.host.off = nil, !power
	for _, k := range p.w.links {
		for _, e := range k.ends {
			if e.p == p && !e.over {
				e.over = true
				e.hangUp(cluster.EndBroken)
			}
		}
	}
}

// leave ends the process with a goodbye.
func (p *process) leave() {
	p.w.Trace("%s leaves", p.name)
	p.w.ledger.leaves(p)
	for _, k := range p.w.links {
		for _, e := range k.ends {
			if e.p == p && !e.over {
				e.over = true
				e.hangUp(cluster.EndLeft)
			}
		}
	}
	p.gossip.Leave()
	p.alive, p.host.now = false, nil
}

// freeze stops the process for a time, as SIGSTOP does.
func (p *process) freeze(d time.Duration) {
	if p.frozen {
		return
	}
	p.w.Trace("%s freezes for %v", p.name, d)
	p.frozen = true
	p.w.After(d, p.wake)
}

// wake lets the process go on. What waits is done in no certain order: its timers, its sockets and
// its goroutines are all ready at once.
func (p *process) wake() {
	if !p.frozen {
		return
	}
	w := p.w
	w.Trace("%s wakes up", p.name)
	p.frozen = false
	backlog := p.backlog
	p.backlog = nil
	for len(backlog) > 0 && p.alive {
		at := w.Rand.IntN(min(len(backlog), 4))
		f := backlog[at]
		backlog = append(backlog[:at], backlog[at+1:]...)
		p.do(f)
	}
}

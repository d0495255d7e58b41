package council

import (
	"slices"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/internal/sim/timeline"
)

// fault is a kind of what goes wrong. A seed has some of them.
type fault uint8

const (
	faultReset    fault = iota // a link is reset
	faultHangUp                // a link is closed in order
	faultOneWay                // nothing passes from one host to another
	faultCut                   // nor back
	faultSplit                 // between two groups of hosts
	faultIsolate               // between the leader and the others
	faultKill                  // a process dies and is started again
	faultPower                 // a host loses its power
	faultLeader                // the leader's process dies
	faultTwo                   // two processes die at once
	faultAll                   // all do
	faultMajority              // the majority of the voters does
	faultFreeze                // a process is stopped for a while
	faultFrozen                // the leader is
	faultVerdict               // gossip calls a living node dead
	faultDepose                // the leader's raft streams bring nothing
	faultLate                  // a decision waits while its leader loses the lead and wins it again
	faultEmpty                 // a voter is started again, and meets one that was cut off before
	faultDrain                 // a node leaves, and comes back
	faultForget                // an operator calls a silent node dead
	faultRecover               // and asks for a recovery, when the majority is lost
	faultKinds
)

func (f fault) String() string {
	return [...]string{
		"reset", "hang-up", "one-way", "cut", "split", "isolate", "kill", "power", "leader", "two", "all", "majority",
		"freeze", "frozen", "verdict", "depose", "late", "empty", "drain", "forget", "recover",
	}[f]
}

// plague lets faults happen until the trouble is over.
func (w *World) plague() {
	for _, h := range w.hosts {
		if h.off && h.now == nil {
			w.After(w.Between(0, w.shape.trouble), h.start)
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

// strike has one fault of the seed's kinds happen, rarely the worst ones.
func (w *World) strike() {
	kind := fault(w.Rand.IntN(int(faultKinds)))
	rare := kind == faultAll || kind == faultMajority
	if !w.shape.faults[kind] || rare && !w.Chance(0.3) {
		return
	}
	up := w.living()
	if len(up) == 0 {
		return
	}
	w.report.Faults[kind]++
	w.Trace("fault: %v", kind)
	p, q := timeline.One(w.Timeline, up), timeline.One(w.Timeline, up)
	long := w.Between(100*time.Millisecond, 6*time.Second)
	switch kind {
	case faultReset, faultHangUp:
		how := cluster.EndBroken
		if kind == faultHangUp {
			how = cluster.EndClosed
		}
		if e := p.ends[q.name]; e != nil && !p.frozen {
			e.close(how)
		}
	case faultOneWay:
		w.cut(p.host, q.host, long)
	case faultCut:
		w.split([]*host{p.host}, []*host{q.host}, long)
	case faultSplit:
		a, b := w.halves()
		w.split(a, b, long)
	case faultIsolate:
		w.isolate(long)
	case faultKill, faultPower:
		w.kill(p, kind == faultKill)
	case faultLeader:
		if l := w.leader(); l != nil {
			w.kill(l, w.Chance(0.7))
		}
	case faultTwo:
		w.kill(p, w.Chance(0.7))
		w.kill(q, w.Chance(0.7))
	case faultAll:
		for _, x := range up {
			w.kill(x, w.Chance(0.7))
		}
	case faultMajority:
		w.killMajority()
	case faultFreeze:
		p.freeze(w.Between(100*time.Millisecond, 8*time.Second))
	case faultFrozen:
		if l := w.leader(); l != nil {
			l.freeze(w.Between(100*time.Millisecond, 8*time.Second))
		}
	case faultVerdict:
		if !p.frozen {
			p.gossip.Slander(q.name)
		}
	case faultDepose:
		if l := w.leader(); l != nil {
			w.depose(l, time.Second)
		}
	case faultLate:
		w.delay(p)
	case faultEmpty:
		w.empty()
	case faultDrain:
		w.drain(p)
	case faultForget:
		w.forget()
	case faultRecover:
		w.recover()
	}
}

// split lets nothing pass between two groups for a time.
func (w *World) split(a, b []*host, d time.Duration) {
	for _, x := range a {
		for _, y := range b {
			if x != y {
				w.cut(x, y, d)
				w.cut(y, x, d)
			}
		}
	}
}

// halves draws two groups.
func (w *World) halves() (a, b []*host) {
	for _, h := range w.hosts {
		if w.Chance(0.5) {
			a = append(a, h)
		} else {
			b = append(b, h)
		}
	}
	return a, b
}

func (w *World) isolate(d time.Duration) {
	l := w.leader()
	if l == nil {
		return
	}
	own, others := []*host{l.host}, without(w.hosts, l.host)
	if w.Chance(0.4) { // not quite alone
		with := timeline.One(w.Timeline, others)
		own, others = append(own, with), without(others, with)
	}
	w.split(own, others, d)
}

// depose takes a leader its lead by raft's own means, while its links are well. It stands again no
// sooner than after a time.
func (w *World) depose(l *process, rest time.Duration) {
	if l.register.lead != nil && !l.frozen && !w.calm {
		l.register.stepDown("")
		l.register.deadline = w.Now + rest
	}
}

// delay has the leader take its time over what it decides next, which is about a shard that dies now,
// and lose its lead meanwhile. The others have not noticed when it stands again.
func (w *World) delay(p *process) {
	l := w.leader()
	if l == nil || l == p {
		return
	}
	l.register.slow = w.Now + 2*time.Second
	w.kill(p, true)
	w.After(w.Between(200*time.Millisecond, time.Second), func() { w.depose(l, w.Between(0, 500*time.Millisecond)) })
}

// empty cuts a voter off, lets the others commit that it is silent, and then takes the leader out of
// sight of another voter that has just been started again: if the two elect, what was committed
// without the one must not be lost because the other has forgotten it.
func (w *World) empty() {
	l := w.leader()
	if l == nil {
		return
	}
	servers, _ := l.register.memory.servers()
	var others []*process
	for _, p := range w.living() {
		if p != l && slices.Contains(votersOf(servers), p.register.memory.name) {
			others = append(others, p)
		}
	}
	if len(others) < 2 {
		return
	}
	lost := timeline.One(w.Timeline, others)
	emptied := timeline.One(w.Timeline, without(others, lost))
	away := w.Between(time.Second, 3*time.Second)
	w.split([]*host{lost.host}, without(w.hosts, lost.host), away)
	w.After(away, func() {
		if w.calm {
			return
		}
		pair := []*host{lost.host, emptied.host}
		w.split(pair, without(without(w.hosts, pair[0]), pair[1]), w.Between(time.Second, 3*time.Second))
		if emptied.alive {
			emptied.die(true)
			w.After(w.Between(time.Millisecond, 300*time.Millisecond), emptied.host.start)
		}
	})
}

// leader is a process that leads, if there is one.
func (w *World) leader() *process {
	var all []*process
	for _, p := range w.living() {
		if p.register.lead != nil {
			all = append(all, p)
		}
	}
	return timeline.One(w.Timeline, all)
}

// kill ends a process; another run of the node follows, sometimes at once.
func (w *World) kill(p *process, power bool) {
	if !p.alive {
		return
	}
	p.die(power)
	w.After(w.Between(time.Millisecond, 6*time.Second), p.host.start)
}

// killMajority kills so many voters that the others cannot elect.
func (w *World) killMajority() {
	l := w.leader()
	if l == nil {
		return
	}
	servers, _ := l.register.memory.servers()
	voters := votersOf(servers)
	for i, name := range voters {
		if i > len(voters)/2 {
			break
		}
		for _, p := range w.living() {
			if p.register.memory.name == name {
				w.kill(p, w.Chance(0.7))
			}
		}
	}
}

// heal ends what would last, and stops new faults.
func (w *World) heal() {
	w.Trace("the faults are over")
	w.calm = true
	for _, h := range w.hosts {
		for _, o := range w.hosts {
			if h.cuts[o.place] > 0 {
				h.cuts[o.place] = 0
				w.freshen(h, o)
			}
		}
	}
	for _, h := range w.hosts {
		if h.now == nil {
			w.After(w.Between(time.Millisecond, time.Second), h.start)
		} else {
			h.now.wake()
		}
	}
	w.After(5*time.Second, w.operate)
}

package council

import (
	"time"

	"github.com/roomring/roomring/internal/sim/timeline"
	"github.com/roomring/roomring/proto"
)

const drainTime = 5 * time.Second

// drain has a node leave as SIGTERM does, and come back some time later. The last shard stays.
func (w *World) drain(p *process) {
	if p.draining || len(w.livingShards()) < 2 && p.host.role == proto.RoleShard {
		return
	}
	p.draining = true
	p.do(p.carryOut)
	end := w.Now + drainTime
	var wait func()
	wait = func() {
		if !p.alive {
			return
		}
		if p.frozen || w.Now < end && !p.keeper.Stance(w.Time()).Relieved {
			w.After(100*time.Millisecond, wait)
			return
		}
		p.leave()
		w.After(w.Between(time.Millisecond, 6*time.Second), p.host.start)
	}
	w.After(100*time.Millisecond, wait)
}

// forget calls an owner dead which is silent, and mostly is.
func (w *World) forget() {
	l := w.leader()
	if l == nil || l.frozen || l.keeper.Table() == nil {
		return
	}
	for _, row := range l.keeper.Table().Rows() {
		if row.Owner == "" || w.byName[row.Owner].alive && w.Chance(0.9) {
			continue
		}
		l.call(func() {
			_, err := l.keeper.Forget(w.Time(), string(row.Owner))
			w.Trace("operator at %s: forget %s: %v", l.name, row.Owner, err)
		})
		return
	}
}

// operate is what an operator does about a cluster that does not mend itself, once the faults are
// over: it recovers one that has lost the majority of its voters, and forgets whom nobody can prove
// dead. It goes on until the end.
func (w *World) operate() {
	w.After(time.Second, w.operate)
	if l := w.leader(); l != nil {
		w.forgetLost(l)
		return
	}
	w.recover()
}

// recover has a shard found the cluster anew once its voters can never elect again, on one side of a
// split at most.
func (w *World) recover() {
	var able []*process
	for _, p := range w.livingShards() {
		if !p.frozen && p.keeper.Table() != nil && p.keeper.Leader(w.Time()) == "" && w.majorityLost(p) {
			able = append(able, p)
		}
	}
	p := timeline.One(w.Timeline, able)
	if p == nil || !w.calm && w.Now < w.recovered+15*time.Second && w.recovered > 0 {
		return
	}
	w.recovered, p.asked = w.Now, true
	p.call(func() {
		err := p.keeper.Recover(w.Time())
		w.Trace("operator at %s: recover: %v", p.name, err)
	})
}

// forgetLost has the leader forget owners that do not run any more.
func (w *World) forgetLost(l *process) {
	if l.keeper.Table() == nil {
		return
	}
	for _, row := range l.keeper.Table().Rows() {
		if row.Owner == "" || w.byName[row.Owner].alive {
			continue
		}
		l.call(func() {
			if _, err := l.keeper.Forget(w.Time(), string(row.Owner)); err == nil {
				w.Trace("operator at %s: forgets %s", l.name, row.Owner)
			}
		})
	}
}

// majorityLost reports whether the voters that the node's register is kept by can never elect again.
// That takes a voter whose log is as long as those of a majority of the voters that it knows.
func (w *World) majorityLost(p *process) bool {
	found := p.keeper.Founding()
	var voters []*register
	for _, q := range w.living() {
		if q.keeper.Founding().Generation > found.Generation {
			return false // there is another register already
		}
		if q.register.memory.founding == found {
			voters = append(voters, q.register)
		}
	}
	for _, r := range voters {
		servers, _ := r.memory.servers()
		would := 0
		for _, v := range voters {
			if r.votes(v.memory.name) && (r == v || v.grants(r)) {
				would++
			}
		}
		if r.votes(r.memory.name) && would > len(votersOf(servers))/2 {
			return false
		}
	}
	return true
}

// grants reports whether a voter would vote for another.
func (r *register) grants(to *register) bool {
	servers, _ := r.memory.servers()
	return (len(servers) == 0 || r.votes(to.memory.name)) && r.memory.allows(to.memory)
}

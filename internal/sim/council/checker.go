package council

import (
	"fmt"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
)

// unsettled says what is not yet as it must be once the faults are over, "" when all is well: all
// hosts run, hold one Table and see one leader; every partition has a living owner; the voters are as
// many as they should be, and live.
func (w *World) unsettled() string {
	all := w.living()
	if len(all) < len(w.hosts)-w.dark() {
		return fmt.Sprintf("%d of %d nodes run", len(all), len(w.hosts))
	}
	leader, why := leading(all)
	if leader == nil {
		return why
	}
	for _, p := range all {
		if why := w.astray(p, leader, all); why != "" {
			return why
		}
	}
	for i, row := range leader.keeper.Table().Rows() {
		if q := w.byName[row.Owner]; q == nil || !q.alive {
			return fmt.Sprintf("partition %d is %q's, who does not live", i, row.Owner)
		}
	}
	return w.unvoted(leader, all)
}

// leading is the one node that leads and has a Table, or why there is none.
func leading(all []*process) (leader *process, why string) {
	for _, p := range all {
		switch {
		case !p.keeper.Coordinating():
		case leader != nil:
			return nil, fmt.Sprintf("%s and %s lead", leader.name, p.name)
		default:
			leader = p
		}
	}
	switch {
	case leader == nil:
		return nil, "nobody leads"
	case leader.keeper.Table() == nil:
		return nil, "the leader has no table"
	}
	return leader, ""
}

// astray says in what a node differs from its leader.
func (w *World) astray(p, leader *process, all []*process) string {
	t, own := leader.keeper.Table(), p.keeper.Table()
	switch {
	case own == nil:
		return fmt.Sprintf("%s has no table", p.name)
	case own.Founding() != t.Founding() || own.Mark() != t.Mark():
		return fmt.Sprintf("%s holds version %x of %s, %s %x of %s", leader.name, t.Version, t.Instance.String()[:6], p.name, own.Version, own.Instance.String()[:6])
	case p.keeper.Leader(w.Time()) != leader.name:
		return fmt.Sprintf("%s follows %q, not %s", p.name, p.keeper.Leader(w.Time()), leader.name)
	}
	for _, q := range all {
		if n, seen := p.keeper.View().Node(q.name); !seen || n.State != cluster.Alive {
			return fmt.Sprintf("%s sees %s as %v", p.name, q.name, n.State)
		}
	}
	return ""
}

// unvoted says what is wrong with the voters.
func (w *World) unvoted(leader *process, all []*process) string {
	servers, _ := leader.register.memory.servers()
	voters := votersOf(servers)
	if want := plan.VotersFor(len(all)); len(voters) != want || len(servers) != want {
		return fmt.Sprintf("%d voters among %d servers, not %d", len(voters), len(servers), want)
	}
	for _, name := range voters {
		lives := false
		for _, p := range all {
			lives = lives || p.register.memory.name == name && p.register.memory.founding == leader.register.memory.founding
		}
		if !lives {
			return fmt.Sprintf("voter %s is nobody", name)
		}
	}
	if fmt.Sprint(voters) != fmt.Sprint(leader.keeper.Table().Voters) {
		return fmt.Sprintf("the table names the voters %v, raft %v", leader.keeper.Table().Voters, voters)
	}
	return ""
}

// dark counts hosts that have not been started yet.
func (w *World) dark() (n int) {
	for _, h := range w.hosts {
		if h.runs == 0 && !w.calm {
			n++
		}
	}
	return n
}

package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Machine is what the system tells of itself, and which nodes are to run there. A number that is 0 was
// not told.
type Machine struct {
	Nodes []Planned // what is to run here

	Descriptors uint64 // RLIMIT_NOFILE, the hard limit: Go raises the soft one to it at the start

	Backlog    int    // net.core.somaxconn, which Go takes for every listener
	SynBacklog int    // net.ipv4.tcp_max_syn_backlog
	SynCookies int    // net.ipv4.tcp_syncookies; it counts only with a SynBacklog
	PortRange  [2]int // net.ipv4.ip_local_port_range
	Reserved   []Span // net.ipv4.ip_local_reserved_ports
	Tracked    int    // conns that the firewall tracks, if it tracks any
	MaxTracked int    // net.netfilter.nf_conntrack_max

	Memory    int64 // of the machine, in bytes
	Cgroup    int64 // the tightest limit of this process's cgroups, in bytes; 0 is none, too
	Swap      int64 // in bytes; 0 is none, too
	Swapped   int64 // of it, in use
	HugePages string
	// MaxPtesNone is khugepaged's, -1 when it is not told.
	MaxPtesNone int

	Clock Clock
	Ports []Port
}

// Span is ports from one to another, both within.
type Span struct{ From, To int }

// Planned is what a node that is to run here was told.
type Planned struct {
	Role string // router, shard
	// Wrong says why its settings are refused; then nothing below is known.
	Wrong string
	// MaxConns is --max-conns of a router; 0 is as many as descriptors allow.
	MaxConns    int
	MemoryLimit int64 // in bytes, as it would take effect
	Chosen      bool  // nobody set MemoryLimit: it follows from the machine
}

// Clock is what the system says of its own clock.
type Clock int

const (
	ClockUnknown Clock = iota
	ClockKept          // something keeps it in time
	ClockAlone
)

// Port is an address that a node is to listen on.
type Port struct {
	Role, Flag, Address string
	UDP                 bool
	Error               string // why it cannot be opened; "" when it can
	Taken               bool   // by a program
	By                  string // that program's name, if it is known
	PID                 int    // likewise
	Port                int
}

// Reserve is how many descriptors a node keeps for links, gossip, admin and files, at most.
const reserve = 512

// JudgeMachine says what is wrong with a machine.
func JudgeMachine(m *Machine) []Finding {
	var f findings
	f.settings(m)
	f.descriptors(m)
	f.backlog(m)
	f.ports(m)
	f.outgoing(m)
	f.tracking(m)
	f.memory(m)
	f.swap(m)
	f.hugePages(m)
	f.clock(m)
	return f
}

func (f *findings) settings(m *Machine) {
	for _, n := range m.Nodes {
		if n.Wrong != "" {
			f.bad("settings", "roomring-"+n.Role+" --help says what each setting takes", "a %s would not start: %s", n.Role, n.Wrong)
		}
	}
}

const fewDescriptors = 8192

func (f *findings) descriptors(m *Machine) {
	const mend = "LimitNOFILE=1048576 in the unit, ulimit -Hn before the start, or --ulimit nofile of the container"
	limit := m.Descriptors
	if limit == 0 {
		f.skip("descriptors", "the system does not say how many files and sockets a process may hold")
		return
	}
	holds := limit - min(reserve, limit/4)
	for _, n := range m.Nodes {
		if n.Role == "router" && uint64(n.MaxConns) > holds {
			f.bad("descriptors", mend, "--max-conns %d needs %d descriptors, a process started like this one gets %d", n.MaxConns, n.MaxConns+reserve, limit)
			return
		}
	}
	if limit < fewDescriptors {
		f.warn("descriptors", mend, "%d for a process started like this one: a router takes %d clients", limit, holds)
		return
	}
	f.ok("descriptors", "%d for a process started like this one: a router takes %d clients", limit, holds)
}

const (
	fewWaiting = 1024 // a second of clients that come back at once
	fewHalf    = 512
)

func (f *findings) backlog(m *Machine) {
	switch {
	case m.Backlog == 0:
		f.skip("backlog", "the system does not say how many conns may wait to be accepted")
	case m.Backlog < fewWaiting:
		f.warn("backlog", "sysctl -w net.core.somaxconn=4096, before the node starts",
			"%d conns may wait to be accepted: when more clients come back at once, they try again after a second", m.Backlog)
	case m.SynBacklog > 0 && m.SynBacklog < fewHalf && m.SynCookies == 0:
		f.warn("backlog", "sysctl -w net.ipv4.tcp_syncookies=1, or net.ipv4.tcp_max_syn_backlog=4096",
			"%d half-open conns, and no SYN cookies: when more clients come back at once, they try again after a second", m.SynBacklog)
	default:
		f.ok("backlog", "%d conns may wait to be accepted", m.Backlog)
	}
}

func (f *findings) ports(m *Machine) {
	free := 0
	for _, p := range m.Ports {
		what := fmt.Sprintf("--%s %s of a %s", p.Flag, p.Address, p.Role)
		switch {
		case p.Error == "":
			free++
		case p.Taken && strings.HasPrefix(p.By, "roomring"):
			f.ok("ports", "%s: %s runs there (process %d)", what, p.By, p.PID)
		case p.Taken && p.By != "":
			f.bad("ports", fmt.Sprintf("stop it, or give another --%s", p.Flag), "%s is taken by %s (process %d)", what, p.By, p.PID)
		case p.Taken:
			f.warn("ports", fmt.Sprintf("if it is no node: stop it, or give another --%s", p.Flag), "%s is taken, by whom is not to be seen", what)
		default:
			f.bad("ports", fmt.Sprintf("give another --%s, or the right to open it", p.Flag), "%s cannot be opened: %s", what, p.Error)
		}
	}
	if free > 0 {
		f.ok("ports", "%s of %d that nodes would take here are free", plural(free, "port"), len(m.Ports))
	}
}

const fewPorts = 10_000

// outgoing looks at the ports that the system gives to outgoing conns.
func (f *findings) outgoing(m *Machine) {
	from, to := m.PortRange[0], m.PortRange[1]
	if from == 0 || to < from {
		f.skip("ephemeral", "the system does not say which ports outgoing conns get")
		return
	}
	var within []string
	for _, p := range m.Ports {
		text := fmt.Sprint(p.Port)
		if p.Port >= from && p.Port <= to && !slices.Contains(within, text) && !slices.ContainsFunc(m.Reserved, func(s Span) bool { return s.From <= p.Port && p.Port <= s.To }) {
			within = append(within, text)
		}
	}
	switch {
	case len(within) > 0:
		f.warn("ephemeral", "sysctl -w net.ipv4.ip_local_reserved_ports="+strings.Join(within, ","),
			"outgoing conns get ports %d to %d, and one may sit on %s when a node starts", from, to, list(within))
	case to-from+1 < fewPorts:
		f.warn("ephemeral", `sysctl -w net.ipv4.ip_local_port_range="10240 65535"`,
			"%d ports for outgoing conns: a proxy here opens no more to each router", to-from+1)
	default:
		f.ok("ephemeral", "%d ports for outgoing conns, none of a node among them", to-from+1)
	}
}

// tracking looks at a firewall that remembers conns: when its table is full, new ones are dropped in
// silence.
func (f *findings) tracking(m *Machine) {
	const mend = "sysctl -w net.netfilter.nf_conntrack_max to twice the clients, or no tracking of the client port"
	if m.MaxTracked == 0 {
		return // no such firewall
	}
	clients := 0
	for _, n := range m.Nodes {
		clients = max(clients, n.MaxConns)
	}
	switch {
	case m.Tracked >= m.MaxTracked/100*95:
		f.bad("conntrack", mend, "the firewall tracks %d conns of %d at most: new clients are dropped", m.Tracked, m.MaxTracked)
	case m.Tracked >= m.MaxTracked/100*80:
		f.warn("conntrack", mend, "the firewall tracks %d conns of %d at most", m.Tracked, m.MaxTracked)
	case m.MaxTracked < clients:
		f.warn("conntrack", mend, "the firewall tracks %d conns at most, and --max-conns is %d", m.MaxTracked, clients)
	default:
		f.ok("conntrack", "the firewall tracks %d conns of %d at most", m.Tracked, m.MaxTracked)
	}
}

func (f *findings) memory(m *Machine) {
	most, whose := m.Memory, "the machine has"
	if m.Cgroup > 0 && (most == 0 || m.Cgroup < most) {
		most, whose = m.Cgroup, "the cgroup allows"
	}
	if most == 0 {
		f.skip("memory", "the system does not say how much memory there is")
		return
	}
	var sum int64
	var roles []string
	for _, n := range m.Nodes {
		if n.Wrong != "" {
			continue
		}
		sum += n.MemoryLimit
		roles = append(roles, n.Role)
		if n.MemoryLimit > most {
			f.bad("memory", "a smaller --memory-limit", "a %s would take %s, and %s %s: the system kills it before it frees anything", n.Role, sized(n.MemoryLimit), whose, sized(most))
			return
		}
		if !n.Chosen && n.MemoryLimit > most/10*9 {
			f.warn("memory", "a --memory-limit of nine tenths", "a %s would take %s, and %s %s: the kernel's own buffers need some", n.Role, sized(n.MemoryLimit), whose, sized(most))
			return
		}
	}
	if sum > most && len(roles) > 1 {
		f.warn("memory", "a smaller --memory-limit for each", "a %s would take %s together, and %s %s", strings.Join(roles, " and a "), sized(sum), whose, sized(most))
		return
	}
	if len(roles) == 0 {
		f.ok("memory", "%s %s", whose, sized(most))
		return
	}
	f.ok("memory", "%s %s; a %s would take %s", whose, sized(most), strings.Join(roles, " and a "), sized(sum))
}

func (f *findings) swap(m *Machine) {
	switch {
	case m.Memory == 0:
		f.skip("swap", "the system does not say whether it swaps")
	case m.Swapped > m.Memory/100:
		f.warn("swap", "MemorySwapMax=0 in the unit, or sysctl -w vm.swappiness=1, or more memory",
			"%s are swapped out: a node that waits for its memory is silent, and 1.5 s of silence count as dead", sized(m.Swapped))
	case m.Swap > 0:
		f.ok("swap", "%s, and next to nothing is swapped out", sized(m.Swap))
	default:
		f.ok("swap", "none")
	}
}

// hugePages follows Go's guide to its garbage collector: with these settings the kernel makes pages that
// Go gave back whole again.
func (f *findings) hugePages(m *Machine) {
	switch {
	case m.HugePages == "":
		f.skip("hugepages", "the system does not say whether it makes huge pages")
	case m.HugePages == "always" && m.MaxPtesNone > 0:
		f.warn("hugepages", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, or echo 0 > …/khugepaged/max_ptes_none",
			"made for every program: a node full of idle conns may hold much more memory than it uses")
	default:
		f.ok("hugepages", "%s", m.HugePages)
	}
}

func (f *findings) clock(m *Machine) {
	switch m.Clock {
	case ClockKept:
		f.ok("clock", "kept in time")
	case ClockAlone:
		f.warn("clock", "run chrony, ntpd or systemd-timesyncd",
			"nothing keeps it in time: promises do not depend on it, but logs and events of nodes do not line up")
	default:
		f.skip("clock", "the system does not say whether something keeps it in time")
	}
}

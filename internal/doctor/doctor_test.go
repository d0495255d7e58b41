package doctor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/admin"
	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// sound is a machine with nothing to mend.
func sound() *Machine {
	return &Machine{Nodes: []Planned{{Role: "router", MaxConns: 10_000, MemoryLimit: 1 << 30, Chosen: true}}, Descriptors: 20_000, Backlog: 4096, SynBacklog: 2048,
		SynCookies: 1, PortRange: [2]int{32768, 60999}, MaxTracked: 262_144, Memory: 4 << 30, HugePages: "madvise", MaxPtesNone: 511, Clock: ClockKept,
		Ports: []Port{{Role: "router", Flag: "listen", Address: "127.0.0.1:8000", Port: 8000}}}
}

// say is the finding of a check that is not ok, or the ok one.
func say(found []Finding, check string) (text string, state State) {
	for _, f := range found {
		if f.Check == check && (text == "" || f.State != OK) {
			text, state = f.Text, f.State
		}
	}
	return text, state
}

func TestMachine(t *testing.T) {
	for _, tt := range []struct {
		check  string
		change func(*Machine)
		state  State
		part   string
	}{
		{"settings", func(m *Machine) { m.Nodes[0].Wrong = "--listen: no" }, Bad, "a router would not start: --listen: no"},
		{"descriptors", func(m *Machine) { m.Descriptors = 0 }, Skipped, ""},
		{"descriptors", func(m *Machine) { m.Descriptors = 4096; m.Nodes[0].MaxConns = 3584 }, Warn, "a router takes 3584 clients"},
		{"descriptors", func(m *Machine) { m.Nodes[0].MaxConns = 19_489 }, Bad, "needs 20001 descriptors"},
		{"backlog", func(m *Machine) { m.Backlog = 0 }, Skipped, ""},
		{"backlog", func(m *Machine) { m.Backlog = 128 }, Warn, "128 conns"},
		{"backlog", func(m *Machine) { m.SynBacklog, m.SynCookies = 128, 0 }, Warn, "half-open"},
		{"backlog", func(m *Machine) { m.SynBacklog = 128 }, OK, ""},
		{"ports", func(m *Machine) { m.Ports[0].Error = "no such address" }, Bad, "cannot be opened"},
		{"ports", func(m *Machine) { m.Ports[0].Error, m.Ports[0].Taken = "in use", true }, Warn, "by whom is not to be seen"},
		{"ports", func(m *Machine) { p := &m.Ports[0]; p.Error, p.Taken, p.By, p.PID = "in use", true, "nginx", 7 }, Bad, "taken by nginx (process 7)"},
		{"ports", func(m *Machine) { p := &m.Ports[0]; p.Error, p.Taken, p.By = "in use", true, "roomring-router" }, OK, "runs there"},
		{"ephemeral", func(m *Machine) { m.PortRange = [2]int{} }, Skipped, ""},
		{"ephemeral", func(m *Machine) { m.PortRange = [2]int{1024, 60999} }, Warn, "8000"},
		{"ephemeral", func(m *Machine) { m.PortRange = [2]int{1024, 60999}; m.Reserved = []Span{{7000, 8000}} }, OK, ""},
		{"ephemeral", func(m *Machine) { m.PortRange = [2]int{50_000, 59_998} }, Warn, "9999 ports"},
		{"conntrack", func(m *Machine) { m.Tracked = 210_000 }, Warn, ""},
		{"conntrack", func(m *Machine) { m.Tracked = 262_144 }, Bad, "dropped"},
		{"conntrack", func(m *Machine) { m.MaxTracked = 5000 }, Warn, "--max-conns is 10000"},
		{"conntrack", func(m *Machine) { m.MaxTracked = 0 }, "", ""},
		{"memory", func(m *Machine) { m.Memory = 0 }, Skipped, ""},
		{"memory", func(m *Machine) { m.Cgroup = 1 << 29 }, Bad, "the cgroup allows 512 MiB"},
		{"memory", func(m *Machine) { m.Cgroup = 1 << 30 }, OK, ""}, // it follows from the cgroup
		{"memory", func(m *Machine) { m.Cgroup = 1 << 30; m.Nodes[0].Chosen = false }, Warn, "buffers"},
		{"memory", func(m *Machine) { m.Nodes = append(m.Nodes, Planned{Role: "shard", MemoryLimit: 7 << 29}) }, Warn, "together"},
		{"swap", func(m *Machine) { m.Swap = 1 << 30 }, OK, "next to nothing"},
		{"swap", func(m *Machine) { m.Swap, m.Swapped = 1<<30, 1<<28 }, Warn, "256 MiB are swapped out"},
		{"hugepages", func(m *Machine) { m.HugePages = "" }, Skipped, ""},
		{"hugepages", func(m *Machine) { m.HugePages = "always" }, Warn, ""},
		{"hugepages", func(m *Machine) { m.HugePages, m.MaxPtesNone = "always", 0 }, OK, ""},
		{"clock", func(m *Machine) { m.Clock = ClockAlone }, Warn, "promises do not depend on it"},
		{"clock", func(m *Machine) { m.Clock = ClockUnknown }, Skipped, ""},
	} {
		m := sound()
		tt.change(m)
		if text, state := say(JudgeMachine(m), tt.check); state != tt.state || !strings.Contains(text, tt.part) {
			t.Errorf("%s: %s %q, want %s with %q", tt.check, state, text, tt.state, tt.part)
		}
	}
	whole(t, JudgeMachine(sound()))
}

// whole checks that all is well, and what every finding must have.
func whole(t *testing.T, found []Finding) {
	t.Helper()
	for _, f := range found {
		if f.State != OK {
			t.Errorf("%+v", f)
		}
	}
}

// TestNothingTold: a machine that tells nothing is not judged.
func TestNothingTold(t *testing.T) {
	for _, f := range JudgeMachine(&Machine{}) {
		if f.State != Skipped && f.Check != "ports" {
			t.Errorf("%+v", f)
		}
	}
}

// healthy is a cluster with nothing to mend.
func healthy() *Cluster {
	now := time.UnixMilli(1_700_000_000_000)
	c := &Cluster{Ring: &cluster.RingDocument{Instance: "ab", Settled: true, Voters: []string{"s1", "s2", "s3", "r1", "r2"}, Leader: "s1"},
		Nodes: &admin.NodesDocument{Complete: true}, Sent: now, Received: now.Add(10 * time.Millisecond)}
	for _, id := range []string{"s1", "s2", "s3", "r1", "r2"} {
		role, settings := "shard", map[string]string{"followers": "1", "window": "8MiB"}
		if id[0] == 'r' {
			role, settings = "router", map[string]string{"max-message": "64KiB"}
		}
		owns := map[string]int{"shard": 1}[role]
		c.Ring.Nodes = append(c.Ring.Nodes, cluster.RingNode{ID: id, Incarnation: "1", Role: role, State: "alive", Owned: owns})
		c.Nodes.Nodes = append(c.Nodes.Nodes, admin.NodeFigures{ID: proto.NodeID(id), Incarnation: "1", Role: role, State: "alive", Version: "v1", Reached: true,
			Told: admin.Told{Now: now.UnixMilli() + 5, Ready: true, Settings: settings, Protocols: [2]uint16{1, 2},
				Memory: admin.MemoryFigures{Used: 1 << 28, Limit: 1 << 30}, Descriptors: admin.DescriptorFigures{Open: 100, Limit: 20_000}}})
	}
	for i := range 3 {
		c.Ring.Table = append(c.Ring.Table, cluster.RingRow{Partition: i, Owner: fmt.Sprint("s", i+1), Followers: []string{fmt.Sprint("s", (i+1)%3+1)}})
	}
	return c
}

func TestCluster(t *testing.T) {
	inZones := func(c *Cluster, zones ...string) {
		for i, zone := range zones {
			c.Ring.Nodes[i].Zone = zone
		}
	}
	for _, tt := range []struct {
		check  string
		change func(*Cluster)
		state  State
		part   string
	}{
		{"table", func(c *Cluster) { c.Ring.Instance = "" }, Bad, "not founded"},
		{"table", func(c *Cluster) { c.Ring.Leader = "" }, Bad, "no_majority"},
		{"table", func(c *Cluster) { c.Ring.Settled = false }, Warn, "not settled"},
		{"voters", func(c *Cluster) { c.Ring.Nodes[0].State = "dead" }, Warn, "1 voter of 5 gone: s1"},
		{"voters", func(c *Cluster) { c.Ring.Voters = []string{"s1", "s8", "s9"} }, Bad, "2 voters of 3 gone: s8, s9"},
		{"voters", func(c *Cluster) { c.Ring.Voters = []string{"s1", "s2", "s3"} }, Warn, "3, and 5 nodes could be 5"},
		{"owners", func(c *Cluster) { c.Ring.Table[0].Owner = "" }, Bad, "1 partition of 3 without an owner"},
		{"owners", func(c *Cluster) { c.Ring.Nodes[1].State = "suspect" }, Bad, "1 partition without an answer from the owner, s2"},
		{"owners", func(c *Cluster) { // a later run of it lives, and owns nothing
			c.Ring.Nodes[1].State = "dead"
			c.Ring.Nodes = append(c.Ring.Nodes, cluster.RingNode{ID: "s2", Incarnation: "2", Role: "shard", State: "alive"})
		}, Bad, "1 partition without an answer from the owner, s2"},
		{"voters", func(c *Cluster) { c.Ring.Leader = "" }, Bad, "no majority of them votes"},
		{"copies", func(c *Cluster) { c.Ring.SingleCopy = 2 }, Bad, "2 partitions in one copy only"},
		{"copies", func(c *Cluster) { c.Nodes.Nodes[1].Settings["followers"] = "0" }, Warn, "--followers 0"},
		{"copies", func(c *Cluster) { c.Ring.Nodes = c.Ring.Nodes[1:] }, Warn, "two shards alone"},
		{"copies", func(c *Cluster) { c.Ring.Nodes = c.Ring.Nodes[2:] }, Bad, "one shard"},
		{"copies", func(c *Cluster) { c.Ring.Nodes = c.Ring.Nodes[3:] }, Bad, "no shard lives"},
		{"zones", func(c *Cluster) { inZones(c, "a", "a") }, Warn, "s3 in no zone"},
		{"zones", func(c *Cluster) { inZones(c, "a", "a", "a") }, Warn, "all shards are in a"},
		{"zones", func(c *Cluster) { inZones(c, "a", "a", "b") }, Warn, "1 partition with both copies in one zone"},
		{"zones", func(c *Cluster) { inZones(c, "a", "b", "c") }, OK, "a, b, c"},
		{"nodes", func(c *Cluster) { c.Ring.Nodes[1].State = "suspect" }, Warn, "s2 is suspect"},
		{"nodes", func(c *Cluster) { c.Nodes.Nodes[2].Reached = false }, Bad, "s3 gave no figures"},
		{"nodes", func(c *Cluster) { c.Ring.Nodes = c.Ring.Nodes[:4] }, Warn, "one router"},
		{"nodes", func(c *Cluster) { c.Ring.Nodes = c.Ring.Nodes[:3] }, Bad, "no router"},
		{"ids", func(c *Cluster) { c.Ring.Nodes[1].ID = "s1" }, Bad, "2 nodes say that they are s1"},
		{"ready", func(c *Cluster) { c.Nodes.Nodes[0].Ready, c.Nodes.Nodes[0].Reasons = false, []string{"copies"} }, Warn, "s1 is not ready: copies"},
		{"ready", func(c *Cluster) { c.Nodes.Nodes[0].Reasons = []string{"other_instance"} }, Bad, "another cluster"},
		{"versions", func(c *Cluster) { c.Nodes.Nodes[0].Version = "v2" }, Warn, "v1 at s2, s3, r1, r2; v2 at s1"},
		{"protocols", func(c *Cluster) { c.Nodes.Nodes[0].Protocols = [2]uint16{3, 4} }, Bad, "3 to 4 at s1"},
		{"settings", func(c *Cluster) { c.Nodes.Nodes[0].Settings["window"] = "" }, Warn, "--window differs: not set at s1; 8MiB at s2, s3"},
		{"descriptors", func(c *Cluster) { c.Nodes.Nodes[3].Descriptors.Open = 16_100 }, Warn, "r1 has 16100 of 20000 open"},
		{"descriptors", func(c *Cluster) { c.Nodes.Nodes[3].Descriptors.Open = 19_900 }, Bad, "r1"},
		{"memory", func(c *Cluster) { c.Nodes.Nodes[0].Memory.Used = 1 << 30 }, Warn, "s1 uses 1 GiB of 1 GiB"},
		{"memory", func(c *Cluster) { c.Nodes.Nodes[0].Memory.Used = 2 << 30 }, Bad, "s1"},
		{"clocks", func(c *Cluster) { c.Nodes.Nodes[0].Now -= 10_000 }, Warn, "s1 is 10s behind this machine"},
		{"clocks", func(c *Cluster) { c.Nodes.Nodes[0].Now += 10_000 }, Warn, "s1 is 10s ahead of this machine"},
		{"clocks", func(c *Cluster) { c.Nodes.Nodes[0].Now += 1500 }, OK, ""}, // the figures may be that old
	} {
		c := healthy()
		tt.change(c)
		if text, state := say(JudgeCluster(c), tt.check); state != tt.state || !strings.Contains(text, tt.part) {
			t.Errorf("%s: %s %q, want %s with %q", tt.check, state, text, tt.state, tt.part)
		}
	}
	whole(t, JudgeCluster(healthy()))
	JudgeCluster(&Cluster{Ring: &cluster.RingDocument{}, Nodes: &admin.NodesDocument{}}) // and no panic
}

func TestMendsAreSaid(t *testing.T) {
	m, c := &Machine{Descriptors: 10, Backlog: 1, Memory: 1, Nodes: []Planned{{Role: "router", MemoryLimit: 2}}}, healthy()
	c.Ring.Nodes, c.Ring.Leader, c.Ring.SingleCopy = nil, "", 3
	for _, f := range append(JudgeMachine(m), JudgeCluster(c)...) {
		if (f.State == Warn || f.State == Bad) == (f.Mend == "") {
			t.Errorf("%+v", f)
		}
	}
}

func TestGather(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/sys/net/core/somaxconn": "4096\n", "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n", "proc/sys/net/ipv4/ip_local_reserved_ports": "8000,9000-9010\n",
		"proc/sys/net/netfilter/nf_conntrack_max": "many\n", "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
		"sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none": "0\n", "proc/meminfo": "MemTotal: 8 kB\nSwapTotal:  1024 kB\nSwapFree:   256 kB\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var m Machine
	Gather(&m, root)
	if m.Backlog != 4096 || m.PortRange != [2]int{32768, 60999} || len(m.Reserved) != 2 || m.Reserved[1] != (Span{9000, 9010}) || m.MaxTracked != 0 ||
		m.HugePages != "always" || m.MaxPtesNone != 0 || m.Swap != 1<<20 || m.Swapped != 768<<10 {
		t.Errorf("%+v", m)
	}
	var nothing Machine
	Gather(&nothing, t.TempDir())
	if nothing.Backlog != 0 || nothing.HugePages != "" || nothing.MaxPtesNone != -1 || nothing.Reserved != nil {
		t.Errorf("%+v", nothing)
	}
}

func TestPort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := Port{Address: l.Addr().String()}
	taken.Try("/")
	if !taken.Taken || taken.Error == "" {
		t.Errorf("taken: %+v", taken)
	}
	if taken.By != "" && taken.PID != os.Getpid() {
		t.Errorf("not ours: %+v", taken)
	}
	for address, fine := range map[string]bool{"127.0.0.1:0": true, "nothing": false} {
		p := Port{Address: address, UDP: true}
		p.Try("/")
		if (p.Error == "") != fine || p.Taken {
			t.Errorf("%+v", p)
		}
	}
}

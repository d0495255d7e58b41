package doctor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Gather reads what the system tells into m, whose Nodes, Memory and Cgroup the caller has filled in.
// root is "/" but in tests. What cannot be read is left as it is: not told.
func Gather(m *Machine, root string) {
	s := system(root)
	m.Descriptors, m.Clock = descriptors(), clock()
	m.Backlog = s.number("proc/sys/net/core/somaxconn")
	m.SynBacklog, m.SynCookies = s.number("proc/sys/net/ipv4/tcp_max_syn_backlog"), s.number("proc/sys/net/ipv4/tcp_syncookies")
	if bounds := strings.Fields(s.text("proc/sys/net/ipv4/ip_local_port_range")); len(bounds) == 2 {
		m.PortRange = [2]int{number(bounds[0]), number(bounds[1])}
	}
	m.Reserved = spans(s.text("proc/sys/net/ipv4/ip_local_reserved_ports"))
	m.Tracked, m.MaxTracked = s.number("proc/sys/net/netfilter/nf_conntrack_count"), s.number("proc/sys/net/netfilter/nf_conntrack_max")
	const pages = "sys/kernel/mm/transparent_hugepage/"
	m.HugePages, m.MaxPtesNone = chosen(s.text(pages+"enabled")), -1
	if text := s.text(pages + "khugepaged/max_ptes_none"); text != "" {
		m.MaxPtesNone = number(text)
	}
	total, free := s.meminfo("SwapTotal"), s.meminfo("SwapFree")
	m.Swap, m.Swapped = total, max(0, total-free)
}

// system is the root of the file tree in which the system tells.
type system string

// maxText bounds what is read of a file that the kernel makes.
const maxText = 1 << 20

// text is what a file says, without blanks around it; "" when it cannot be read.
func (s system) text(name string) string {
	text, err := os.ReadFile(filepath.Join(string(s), name))
	if err != nil || len(text) > maxText {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (s system) number(name string) int { return number(s.text(name)) }

// number parses a count; what is none is not told.
func number(text string) int {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// meminfo is a row of /proc/meminfo in bytes.
func (s system) meminfo(row string) int64 {
	for line := range strings.Lines(s.text("proc/meminfo")) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == row+":" {
			return int64(number(words[1])) << 10
		}
	}
	return 0
}

// chosen is the word in brackets, as in "always [madvise] never".
func chosen(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, found := strings.Cut(rest, "]")
	if !found {
		return ""
	}
	return word
}

// spans parses a list such as "8000,9000-9010".
func spans(text string) (list []Span) {
	for part := range strings.SplitSeq(text, ",") {
		from, to, found := strings.Cut(part, "-")
		if !found {
			to = from
		}
		if s := (Span{number(from), number(to)}); s.From > 0 && s.To >= s.From {
			list = append(list, s)
		}
	}
	return list
}

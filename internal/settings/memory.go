package settings

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// fallbackMemory is used where the system does not say how much memory it has.
const fallbackMemory = 1 << 30

// memoryLimit finds the limit when --memory-limit is 0, and says where it came from.
func memoryLimit(root string) (limit Bytes, why string) {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		return Bytes(limit), "GOMEMLIMIT"
	}
	if limit := cgroupLimit(root); limit > 0 {
		return limit, "the cgroup's limit"
	}
	if physical := physicalMemory(root); physical > 0 {
		return physical / 2 >> 20 << 20, "half of physical memory"
	}
	return fallbackMemory, "physical memory is unknown"
}

// gcPercent is how much garbage may gather, as a share of what lives, before it is collected. Idle conns
// are what fills a node's memory, and nothing on the path of a message makes garbage: Go's 100 % would
// double the one and save nothing on the other.
const gcPercent = 25

// ApplyMemoryLimit makes the limit Go's soft limit too, so that the collector works harder before the
// system kills the process. GOGC, where it is set, says how hard it works until then.
func (n *Node) ApplyMemoryLimit() {
	debug.SetMemoryLimit(int64(n.MemoryLimit))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// unlimited: cgroup v1 says "no limit" with a number near 2^63.
const unlimited = 1 << 60

// cgroupLimit returns the tightest memory limit of this process's cgroups, or 0. Inside a container
// the cgroup's own directory is usually mounted at the root of the hierarchy, so both are tried.
// memory.high counts: above it the kernel does not kill, but slows the process down to a crawl.
func cgroupLimit(root string) Bytes {
	var tightest Bytes
	for _, dir := range cgroupDirs(root) {
		for _, n := range []Bytes{
			readNumber(filepath.Join(dir, "memory.max")), readNumber(filepath.Join(dir, "memory.high")),
			readNumber(filepath.Join(dir, "memory.limit_in_bytes")), hierarchicalLimit(dir),
		} {
			if n > 0 && n < unlimited && (tightest == 0 || n < tightest) {
				tightest = n
			}
		}
	}
	return tightest
}

// hierarchicalLimit is what cgroup v1 says of the directories above, which a container does not see.
func hierarchicalLimit(dir string) Bytes {
	text, _ := os.ReadFile(filepath.Join(dir, "memory.stat")) // v2 has one too, without that line
	for line := range strings.Lines(string(text)) {
		if digits, ok := strings.CutPrefix(line, "hierarchical_memory_limit "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(digits), 10, 64) // 0 is unknown
			return Bytes(n)
		}
	}
	return 0
}

// cgroupDirs lists the directories of this process's cgroup and of those above it, v2 and v1.
func cgroupDirs(root string) []string {
	v2, v1 := filepath.Join(root, "sys/fs/cgroup"), filepath.Join(root, "sys/fs/cgroup/memory")
	dirs := []string{v2, v1}
	text, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup")) // without it, the root's limits are the limits
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base := v1
		if parts[1] == "" {
			base = v2
		} else if !strings.Contains(","+parts[1]+",", ",memory,") {
			continue
		}
		for path := filepath.Clean("/" + parts[2]); path != "/" && len(dirs) < 64; path = filepath.Dir(path) {
			dirs = append(dirs, filepath.Join(base, path))
		}
	}
	return dirs
}

func readNumber(name string) Bytes {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil { // "max"
		return 0
	}
	return Bytes(n)
}

// SystemMemory is the machine's memory, and the tightest limit of this process's cgroups. Zero is what
// is not known, or no limit.
func SystemMemory() (physical, cgroup Bytes) { return physicalMemory("/"), cgroupLimit("/") }

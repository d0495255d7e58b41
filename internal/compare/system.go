//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc. It is the same on all of Linux.
const tick = time.Second / 100

// used is CPU time since some moment in the past.
type used struct {
	servers map[string]time.Duration // user and system time of the subject's processes, by name
	load    time.Duration            // of this process
	busy    time.Duration            // of all cores, whoever ran there
	stolen  time.Duration            // that the machine's host kept for others
}

func usage(servers *group) used {
	u := used{servers: servers.cpu()}
	var own unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &own) == nil {
		u.load = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	}
	text, _ := os.ReadFile("/proc/stat")
	u.busy, u.stolen = machineTimes(string(text))
	return u
}

// machineTimes reads the first line of /proc/stat.
func machineTimes(text string) (busy, stolen time.Duration) {
	line, _, _ := strings.Cut(text, "\n")
	for i, word := range strings.Fields(line) {
		n, _ := strconv.ParseInt(word, 10, 64)
		switch i {
		case 1, 2, 3, 6, 7: // user, nice, system, interrupts, soft interrupts
			busy += time.Duration(n) * tick
		case 8:
			stolen = time.Duration(n) * tick
		}
	}
	return busy, stolen
}

// processTimes reads a process's line in /proc: its group, and its user and system time.
func processTimes(text []byte) (group int, cpu time.Duration, ok bool) {
	end := bytes.LastIndexByte(text, ')') // of the name, which may hold anything
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) < 13 {
		return 0, 0, false
	}
	group, err := strconv.Atoi(fields[2])
	user, err2 := strconv.ParseInt(fields[11], 10, 64)
	system, err3 := strconv.ParseInt(fields[12], 10, 64)
	return group, time.Duration(user+system) * tick, err == nil && err2 == nil && err3 == nil
}

// group is the processes of a subject, by the name of the one that was started: its children are in its
// process group.
type group struct{ names map[int]string }

// each calls f for every process, with its directory in /proc.
func (g *group) each(f func(name, dir string, cpu time.Duration)) {
	lines, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err != nil {
			continue // it has ended meanwhile
		}
		if leader, cpu, ok := processTimes(text); ok && g.names[leader] != "" {
			f(g.names[leader], filepath.Dir(line), cpu)
		}
	}
}

func (g *group) cpu() map[string]time.Duration {
	sums := map[string]time.Duration{}
	g.each(func(name, _ string, cpu time.Duration) { sums[name] += cpu })
	return sums
}

// memory is what the processes have in memory now, in bytes, by name; shared pages are counted for each.
func (g *group) memory() map[string]int64 {
	sums := map[string]int64{}
	g.each(func(name, dir string, _ time.Duration) {
		text, _ := os.ReadFile(filepath.Join(dir, "statm"))
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			sums[name] += pages * int64(os.Getpagesize())
		}
	})
	return sums
}

// grew fills in what so many conns have cost the servers from one moment to a later one.
func (m *measurement) grew(from, to map[string]int64, conns int) {
	m.Memories = map[string]float64{}
	for name, bytes := range to {
		m.Memories[name] = float64(bytes-from[name]) / float64(conns)
		m.Memory += m.Memories[name]
	}
}

// spent fills in what the servers used from one moment to a later one.
func (m *measurement) spent(from, to used, took time.Duration, delivered uint64) {
	m.Deliveries, m.Seconds = delivered, took.Seconds()
	servers, load := time.Duration(0), to.load-from.load
	m.Processes = map[string]float64{}
	for name, cpu := range to.servers {
		cpu -= from.servers[name]
		servers += cpu
		if delivered > 0 {
			m.Processes[name] = cpu.Seconds() * 1e6 / float64(delivered)
		}
	}
	m.ServerCores, m.LoadCores = servers.Seconds()/m.Seconds, load.Seconds()/m.Seconds
	m.OtherCores = max(0, (to.busy-from.busy-servers-load).Seconds()/m.Seconds)
	m.StolenCores = (to.stolen - from.stolen).Seconds() / m.Seconds
	if delivered > 0 {
		m.CPU = servers.Seconds() * 1e6 / float64(delivered)
		m.PerSecond = float64(delivered) / m.Seconds
	}
}

// cores are those that the servers share, and the one of the load.
type cores struct{ servers, load int }

// chooseCores takes the first two of the cores that this process may use. If there is only one, both
// share it.
func chooseCores() (c cores, err error) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return c, fmt.Errorf("ask which cores may be used: %w", err)
	}
	var list []int
	for i := 0; len(list) < 2 && i < len(may)*64; i++ {
		if may.IsSet(i) {
			list = append(list, i)
		}
	}
	return cores{list[0], list[len(list)-1]}, nil
}

// onCore calls f on a thread that may use that core alone: what f starts inherits it.
func onCore(core int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	one.Set(core)
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("ask which cores may be used: %w", err)
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	return errors.Join(f(), unix.SchedSetaffinity(0, &before))
}

// pinAll binds all threads of this process to a core; those to come inherit it.
func pinAll(core int) error {
	var set unix.CPUSet
	set.Set(core)
	tasks, _ := filepath.Glob("/proc/self/task/[0-9]*")
	for _, task := range tasks {
		id, _ := strconv.Atoi(filepath.Base(task))
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
			return fmt.Errorf("pin to core %d: %w", core, err)
		}
	}
	return nil
}

// descriptors is how many a process needs for so many conns: a proxy has two per conn, and everybody
// some files. conns is the reverse.
func descriptors(conns int) int { return 2*conns + 100 }
func conns(descriptors int) int { return (descriptors - 100) / 2 }

// raiseDescriptors sees to it that this process and its children may have so many descriptors, if it is
// let, and returns how many they may have.
func raiseDescriptors(want int) int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	more := max(limit.Max, uint64(want))
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: more, Max: more}) != nil { // more than it has is for root
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit.Max, Max: limit.Max})
	}
	return descriptorLimit()
}

func descriptorLimit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<20))
}

// machine says where it was measured.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

func thisMachine(goVersion string, coreCount int) machine {
	m := machine{CPU: "unknown", Cores: coreCount, Go: goVersion}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return m
}

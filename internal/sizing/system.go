//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc. It is the same on all of Linux.
const tick = time.Second / 100

// processUse reads what a process has in memory now, in bytes, and its CPU time since it began.
func processUse(pid int) (memory int64, cpu time.Duration, err error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, 0, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	pages, err := resident(statm)
	if err != nil {
		return 0, 0, err
	}
	cpu, err = cpuTime(stat)
	return pages * int64(os.Getpagesize()), cpu, err
}

// resident reads the second word of /proc/PID/statm, in pages.
func resident(statm []byte) (int64, error) {
	words := strings.Fields(string(statm))
	if len(words) < 2 {
		return 0, fmt.Errorf("statm is %q", statm)
	}
	return strconv.ParseInt(words[1], 10, 64)
}

// cpuTime reads user and system time from /proc/PID/stat.
func cpuTime(stat []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(stat, ')') // of the name, which may hold anything
	words := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(words) < 13 {
		return 0, fmt.Errorf("stat is %q", stat)
	}
	user, err := strconv.ParseInt(words[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	system, err := strconv.ParseInt(words[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

// kernelMemory is what the kernel holds now in small objects and in sockets' buffers, whoever it is for,
// in bytes.
func kernelMemory() (int64, error) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	sockstat, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	slab, err := wordBehind(meminfo, "Slab:", "")
	if err != nil {
		return 0, err
	}
	buffers, err := wordBehind(sockstat, "TCP:", "mem")
	if err != nil {
		return 0, err
	}
	return slab<<10 + buffers*int64(os.Getpagesize()), nil
}

// wordBehind finds the line that begins with head and reads the number behind the word, or behind head if
// there is none to look for.
func wordBehind(text []byte, head, word string) (int64, error) {
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != head {
			continue
		}
		for i := range words[:len(words)-1] {
			if word == "" || words[i] == word {
				return strconv.ParseInt(words[i+1], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("no %s %s", head, word)
}

// otherCores is how many cores were busy with something else than us, from one moment to a later one.
func otherCores(from, to machineUse, ours time.Duration) float64 {
	return max(0, (to.busy-from.busy-ours).Seconds()/to.at.Sub(from.at).Seconds())
}

// machineUse is the CPU time of all cores, whoever ran there, and of this process.
type machineUse struct {
	at        time.Time
	busy, own time.Duration
}

func useOfMachine() machineUse {
	u := machineUse{at: time.Now()}
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, word := range strings.Fields(line) {
		if n, _ := strconv.ParseInt(word, 10, 64); i == 1 || i == 2 || i == 3 || i == 6 || i == 7 || i == 8 { // user, nice, system, interrupts twice, stolen
			u.busy += time.Duration(n) * tick
		}
	}
	var own unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &own) == nil {
		u.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	}
	return u
}

// describe says where it was measured.
func describe(goVersion string, cores int) string {
	cpu := "unknown CPU"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	kernel := "unknown"
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		kernel = unix.ByteSliceToString(name.Release[:])
		if major, rest, ok := strings.Cut(kernel, "."); ok { // 6.18.4-whatever: the first two numbers say enough
			minor, _, _ := strings.Cut(rest, ".")
			kernel = major + "." + minor
		}
	}
	return fmt.Sprintf("%d cores (%s), Linux %s, %s", cores, cpu, kernel, goVersion)
}

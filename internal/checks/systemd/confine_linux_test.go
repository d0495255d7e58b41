package systemd

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/roomring/roomring/internal/checks"
)

// confinement is what of a unit can be had without systemd. What it leaves out are views of /proc, /tmp,
// /home and /dev, and a user namespace.
type confinement struct {
	Calls    []uint32 // SystemCallFilter: their numbers; nil is all
	Families []uint32 // RestrictAddressFamilies; nil is all
	Files    uint64   // LimitNOFILE
	Fixed    bool     // MemoryDenyWriteExecute
	ReadOnly bool     // ProtectSystem=strict
	State    string   // where it may write all the same
	User     int
	Args     []string
}

// confinedBy names the variable that has a confinement for this very program, started once more.
const confinedBy = "ROOMRING_CONFINEMENT"

// confine reads a unit.
func confine(t *testing.T, u unit, state string, args ...string) *exec.Cmd {
	t.Helper()
	c := confinement{State: state, User: 65534, Args: args, ReadOnly: u.last("ProtectSystem") == "strict", Fixed: u.last("MemoryDenyWriteExecute") == "yes"}
	c.Files, _ = strconv.ParseUint(u.last("LimitNOFILE"), 10, 64)
	c.Calls = callNumbers(t, allowed(t, u.all("SystemCallFilter")))
	for _, name := range strings.Fields(u.last("RestrictAddressFamilies")) {
		c.Families = append(c.Families, map[string]uint32{"AF_UNIX": unix.AF_UNIX, "AF_INET": unix.AF_INET, "AF_INET6": unix.AF_INET6}[name])
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), confinedBy+"="+string(text))
	cmd.Env = append(cmd.Env, u.all("Environment")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// allowed is the names of the system calls that lines of SystemCallFilter leave, as systemd expands them.
func allowed(t *testing.T, lines []string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, line := range lines {
		line, takes := strings.CutPrefix(line, "~")
		for _, word := range strings.Fields(line) {
			for _, name := range expand(t, word) {
				names[name] = !takes
			}
		}
	}
	return names
}

func expand(t *testing.T, word string) (names []string) {
	t.Helper()
	if word[0] != '@' {
		return []string{word}
	}
	out, err := exec.Command(checks.Program(t, "systemd-analyze"), "syscall-filter", word).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' || line == word {
			continue
		}
		names = append(names, expand(t, line)...)
	}
	return names
}

// callNumbers looks names up in golang.org/x/sys. Names of other machines' calls are in systemd's groups
// too, and are left out.
func callNumbers(t *testing.T, names map[string]bool) (numbers []uint32) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "unix", "zsysnum_linux_"+runtime.GOARCH+".go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\s+SYS_(\w+)\s+= (\d+)$`).FindAllStringSubmatch(string(text), -1) {
		if names[strings.ToLower(m[1])] {
			n, _ := strconv.ParseUint(m[2], 10, 32)
			numbers = append(numbers, uint32(n))
		}
	}
	if len(numbers) < 100 {
		t.Fatalf("only %d system calls found", len(numbers))
	}
	return numbers
}

// confinedChild, in a process that confine started, becomes the program. In any other it returns false.
func confinedChild() bool {
	text := os.Getenv(confinedBy)
	if text == "" {
		return false
	}
	os.Unsetenv(confinedBy)
	var c confinement
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.become()
	}
	fmt.Fprintln(os.Stderr, "confine:", err)
	os.Exit(99)
	return true
}

// become never returns without an error.
func (c *confinement) become() error {
	runtime.LockOSThread() // what follows is a thread's own, and execve keeps this one
	for _, step := range []func() error{c.mount, c.limits, c.drop, c.filter} {
		if err := step(); err != nil {
			return err
		}
	}
	return syscall.Exec(c.Args[0], c.Args, os.Environ())
}

func (c *confinement) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make / private: %w", err)
	}
	if !c.ReadOnly {
		return nil
	}
	if err := unix.Mount(c.State, c.State, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("make / read-only: %w", err)
	}
	return unix.MountSetattr(unix.AT_FDCWD, c.State, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
}

// prSetMDWE is PR_SET_MDWE of Linux 6.3; 1 is PR_MDWE_REFUSE_EXEC_GAIN. Before, systemd uses seccomp.
const prSetMDWE = 65

func (c *confinement) limits() error {
	if c.Fixed {
		if err := unix.Prctl(prSetMDWE, 1, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("PR_SET_MDWE: %w", err)
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	// Root in a container may not be allowed more than it has.
	limit.Max = min(limit.Max, c.Files)
	limit.Cur = min(1024, limit.Max) // Go raises it
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE %d: %w", c.Files, err)
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}

func (c *confinement) drop() error {
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(c.User); err != nil {
		return err
	}
	if err := syscall.Setuid(c.User); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// Places in struct seccomp_data.
const (
	seccompCall = 0
	seccompArg0 = 16
)

// filter lets the calls through that the unit allows. Any other ends the process, where systemd makes it
// fail: so a call that the programs need and survive without is seen too.
func (c *confinement) filter() error {
	if c.Calls == nil {
		return nil
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	// equal goes on with the next step if so, and else with the one after that.
	equal := func(k uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: 1}
	}
	result := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	program := []unix.SockFilter{load(seccompCall)}
	for _, call := range c.Calls {
		if call == unix.SYS_SOCKET && c.Families != nil {
			continue
		}
		program = append(program, equal(call), result(unix.SECCOMP_RET_ALLOW))
	}
	// Of socket, some families.
	if c.Families != nil && slices.Contains(c.Calls, unix.SYS_SOCKET) {
		program = append(program, equal(unix.SYS_SOCKET), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: 1},
			result(unix.SECCOMP_RET_KILL_PROCESS), load(seccompArg0))
		for _, family := range c.Families {
			program = append(program, equal(family), result(unix.SECCOMP_RET_ALLOW))
		}
	}
	program = append(program, result(unix.SECCOMP_RET_KILL_PROCESS))
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

//go:build linux

package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initEnv tells a process of the test's own program that it is to become a container: where its directory is.
const initEnv = "ROOMRING_CHECKS_CONTAINER"

// networkFile is the descriptor of the network namespace to enter, when there is one.
const networkFile = 3

// specName is the file in a container's directory that says what to become.
const specName = "spec.json"

// noStart is what a failed start ends with, as in a shell.
const noStart = 126

// Init becomes a container when this process was started to be one, and does not return then. A TestMain
// calls it before all else.
func Init() {
	dir := os.Getenv(initEnv)
	if dir == "" {
		return
	}
	// Network, limits of capabilities and what follows belong to a thread: this one becomes the program.
	runtime.LockOSThread()
	fmt.Fprintln(os.Stderr, "container:", become(dir))
	os.Exit(noStart)
}

// become turns this process into the program of a container. It returns only if that fails.
func become(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, specName))
	if err != nil {
		return err
	}
	var s started
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	root := filepath.Join(dir, "root")
	for _, step := range []func() error{
		func() error { return s.enterNetwork() },
		func() error { return s.buildRoot(dir, root) },
		func() error { return s.mountAll(root) },
		func() error { return enterRoot(root) },
		func() error { return s.dropRights() },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	program, err := s.program()
	if err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", program, syscall.Exec(program, s.Args, s.Env))
}

// started is a Spec with what Start knows of it.
type started struct {
	Spec
	Joins bool // networkFile is its network
}

func (s *started) enterNetwork() error {
	if s.Joins {
		if err := unix.Setns(networkFile, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network: %w", err)
		}
		return unix.Close(networkFile)
	}
	return loopbackUp()
}

// loopbackUp is what a new network namespace lacks most.
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// buildRoot lays a layer in memory over the root, so that mounts find their places there.
func (s *started) buildRoot(dir, root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	layer := filepath.Join(dir, "layer")
	if err := unix.Mount("layer", layer, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	if err := errors.Join(os.Mkdir(upper, 0o755), os.Mkdir(work, 0o755)); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", s.Root, upper, work)
	if err := unix.Mount("root", root, "overlay", unix.MS_NOSUID, options); err != nil {
		return fmt.Errorf("root of %s: %w", s.Root, err)
	}
	return nil
}

// devices are what every container has of /dev, but for its outputs.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

func (s *started) mountAll(root string) error {
	if err := os.MkdirAll(filepath.Join(root, "proc"), 0o755); err != nil {
		return err
	}
	if err := unix.Mount("proc", filepath.Join(root, "proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	mounts := []Mount{{Target: "/dev", Options: "mode=0755"}}
	for _, device := range devices {
		mounts = append(mounts, Mount{Target: device, Source: device})
	}
	for _, m := range append(mounts, s.Mounts...) {
		if err := m.mount(root); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		if err := os.Symlink(fmt.Sprintf("/proc/self/fd/%d", i), filepath.Join(root, "dev", name)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		return err
	}
	err := errors.Join(os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n"+s.Hosts), 0o644),
		replace(filepath.Join(root, "etc/resolv.conf"), "nameserver 127.0.0.1\noptions ndots:0\n")) // where nobody answers
	if err != nil || !s.ReadOnly {
		return err
	}
	return unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID, "")
}

// replace writes a file that may be a link to elsewhere.
func replace(name, text string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

func (m *Mount) mount(root string) error {
	target := filepath.Join(root, m.Target)
	if m.Source == "" {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		return unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, m.Options)
	}
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	if err := place(target, info.IsDir()); err != nil {
		return err
	}
	if err := unix.Mount(m.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !m.ReadOnly {
		return nil
	}
	return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID, "")
}

// place makes what something can be mounted on.
func place(target string, dir bool) error {
	if dir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// enterRoot makes root the only tree that there is.
func enterRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return os.Chdir("/")
}

// dropRights becomes the user, for good.
func (s *started) dropRights() error {
	for _, output := range []int{1, 2} {
		// So that /dev/stdout can be opened by name.
		if err := unix.Fchown(output, s.UID, s.GID); err != nil {
			return fmt.Errorf("give away the output: %w", err)
		}
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	if s.Files > 0 && s.Files < files.Max {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: s.Files, Max: s.Files}); err != nil {
			return fmt.Errorf("limit of descriptors: %w", err)
		}
	}
	for right := uintptr(0); right <= unix.CAP_LAST_CAP; right++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, right, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", right, err)
		}
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(nil) },
		func() error { return syscall.Setgid(s.GID) },
		func() error { return syscall.Setuid(s.UID) },
		func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) },
		// A change of user forgets it.
		func() error { return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("become user %d: %w", s.UID, err)
		}
	}
	return nil
}

// program finds the first word of the command line.
func (s *started) program() (string, error) {
	if len(s.Args) == 0 {
		return "", errors.New("no command line")
	}
	if strings.Contains(s.Args[0], "/") {
		return s.Args[0], nil
	}
	for _, variable := range s.Env {
		path, ok := strings.CutPrefix(variable, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			name := filepath.Join(dir, s.Args[0])
			if unix.Access(name, unix.X_OK) == nil {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("%s is nowhere in PATH", s.Args[0])
}

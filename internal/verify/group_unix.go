//go:build unix

package verify

import (
	"os/exec"
	"syscall"
)

// apart gives a command a process group of its own: Ctrl-C is for us alone, and a command that is ended
// takes along what it waits for.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

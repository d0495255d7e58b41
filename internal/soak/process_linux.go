package main

import (
	"os"
	"os/exec"
	"syscall"
)

// endWithUs has the kernel end the process when this one ends, however that comes.
func endWithUs(cmd *exec.Cmd) {
	// A group of its own, so that an interrupt from a terminal reaches us alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

package doctor

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Try finds out whether a node could listen at p.Address, by listening there for a moment. Port 0 is
// always free.
func (p *Port) Try(root string) {
	_, port, err := net.SplitHostPort(p.Address)
	if err != nil {
		p.Error = "it is not HOST:PORT"
		return
	}
	if p.Port = number(port); p.Port == 0 {
		return
	}
	err = listen("tcp", p.Address)
	if err == nil && p.UDP {
		err = listen("udp", p.Address)
	}
	if err == nil {
		return
	}
	var system *os.SyscallError
	if p.Error = err.Error(); errors.As(err, &system) {
		p.Error = system.Err.Error()
	}
	p.Taken = errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "Only one usage") // the latter is Windows
	if p.Taken {
		p.By, p.PID = holder(root, p.Port)
	}
}

func listen(network, address string) error {
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	return l.Close()
}

// maxProcesses bounds the search for who holds a port.
const maxProcesses = 100_000

// holder is the program that listens on a port, as far as this user may know: Linux tells sockets by
// number, and each process which of them it has open.
func holder(root string, port int) (program string, pid int) {
	sockets := map[string]bool{}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		listeners(sockets, root, table, port)
	}
	if len(sockets) == 0 {
		return "", 0
	}
	processes, err := os.ReadDir(filepath.Join(root, "proc"))
	if err != nil {
		return "", 0
	}
	for _, process := range processes[:min(len(processes), maxProcesses)] {
		id := number(process.Name())
		if id == 0 || !holds(filepath.Join(root, "proc", process.Name(), "fd"), sockets) {
			continue
		}
		return system(root).text("proc/" + process.Name() + "/comm"), id
	}
	return "", 0
}

// listeners adds the sockets that listen on a port.
func listeners(sockets map[string]bool, root, table string, port int) {
	text, err := os.ReadFile(filepath.Join(root, "proc/net", table))
	if err != nil {
		return
	}
	const local, state, inode, listening, unconnected = 1, 3, 9, "0A", "07"
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) <= inode || words[state] != listening && words[state] != unconnected {
			continue
		}
		_, hex, _ := strings.Cut(words[local], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
			sockets["socket:["+words[inode]+"]"] = true
		}
	}
}

// holds reports whether a process has one of the sockets open.
func holds(descriptors string, sockets map[string]bool) bool {
	files, err := os.ReadDir(descriptors)
	if err != nil {
		return false // it is another user's
	}
	for _, file := range files {
		if target, err := os.Readlink(filepath.Join(descriptors, file.Name())); err == nil && sockets[target] {
			return true
		}
	}
	return false
}

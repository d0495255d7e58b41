//go:build linux

package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readFD, writeFD and waitEpoll do not tell Go's scheduler, which has nothing else to run here: that is
// a tenth of a microsecond per call.
func readFD(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func writeFD(fd int32, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// waitEpoll fills events and returns how many. It waits for so many nanoseconds, or for ever if
// negative; only when there is nothing at once does it tell the scheduler that it waits.
func waitEpoll(epoll int, events []unix.EpollEvent, ns int64) (int, error) {
	at, size := uintptr(unsafe.Pointer(&events[0])), uintptr(len(events))
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), at, size, 0, 0, 0)
	if errno == 0 && (n > 0 || ns == 0) {
		return int(n), nil
	}
	var patience *unix.Timespec
	if ns >= 0 {
		ts := unix.NsecToTimespec(ns)
		patience = &ts
	}
	n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), at, size, uintptr(unsafe.Pointer(patience)), 0, 0)
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("wait for events: %w", errno)
	}
	return int(n), nil
}

package node

import (
	"bytes"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// resident is how much memory the process has in RAM, in bytes; 0 when the
// system does not tell.
func resident() int64 {
	line, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(line)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

const descriptorList = "/proc/self/fd"

// descriptorsTold is how many descriptors the process has open, as far as that
// can be asked for the price of one system call: from Linux 6.2 on.
func descriptorsTold() (open int, ok bool) {
	info, err := os.Stat(descriptorList)
	if err != nil || info.Size() <= 0 {
		return 0, false
	}
	return int(info.Size()), true
}

// descriptorsCounted is the same by counting them: with ten thousands of conns
// that takes milliseconds.
func descriptorsCounted() (open int) {
	f, err := os.Open(descriptorList)
	if err != nil {
		return 0
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		open += len(names)
		if err == io.EOF {
			return open - 1 // f's own
		}
		if err != nil {
			return 0
		}
	}
}

// descriptorLimit is how many the process may have open.
func descriptorLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0
	}
	return int(min(r.Cur, 1<<31-1))
}

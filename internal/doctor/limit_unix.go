//go:build unix

package doctor

import "golang.org/x/sys/unix"

// descriptors is how many files and sockets a process may hold, the hard limit.
func descriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return min(uint64(limit.Max), 1<<30)
}

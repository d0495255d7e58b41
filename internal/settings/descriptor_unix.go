//go:build unix

package settings

import "golang.org/x/sys/unix"

// descriptorLimit returns how many files and sockets this process may hold. The Go runtime has
// already raised the soft limit to the hard one.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fallbackDescriptors
	}
	return int(min(uint64(limit.Cur), maxDescriptors))
}

//go:build unix

package register

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errLocked is another process's lock.
var errLocked = errors.New("locked")

// lock locks a file until it is closed, or the process ends.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

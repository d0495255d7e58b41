//go:build linux

package container

import (
	"os"
	"testing"

	"github.com/roomring/roomring/internal/checks"
)

// Spec is a container to run.
type Spec struct {
	// Root is the directory that becomes its root. It is never written: what the container writes, and the
	// places of its mounts, are in a layer above it, in memory, and go with it.
	Root string
	// ReadOnly keeps it from writing anything but its volumes and its temporary directories.
	ReadOnly bool
	Mounts   []Mount

	// UID and GID are who it runs as, without supplementary groups, capabilities, or a way to get any.
	UID, GID int
	// Files is how many descriptors it may have, as many as the test if zero, and never more: to give more than
	// one has is a right that not every root has.
	Files uint64

	// Network is where it is. If nil, in a network of its own, where there is loopback.
	Network *Network `json:"-"`
	// Hosts is its /etc/hosts. Names that are not there mean nothing.
	Hosts string

	// Env is its whole environment.
	Env []string
	// Args is the command line. The program is looked for below Root, in the PATH of Env.
	Args []string
}

// Mount is a place in a container.
type Mount struct {
	// Target is the place, an absolute path below the container's root.
	Target string
	// Source is the directory or file that is seen there. If empty, it is a new directory in memory.
	Source   string
	ReadOnly bool
	// Options are those of a directory in memory: uid=1,gid=1,mode=0700,size=1m.
	Options string
}

// Need skips a test, or fails it with -require, unless this process may make containers.
func Need(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		checks.Missing(t, "only root makes namespaces")
	}
	checks.Program(t, "ip")
}

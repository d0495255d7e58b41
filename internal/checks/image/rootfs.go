// Package image checks deploy/image: what its Dockerfile says, and what the script makes that it runs.
package image

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/checks"
)

// Version is what the programs of Rootfs say they are.
const Version = "v9.8.7"

// Rootfs has the script make the image's root file system, and returns where. It needs root, because there
// are owners in it, and lasts as long as the test.
func Rootfs(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "image")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(checks.Root(t), "deploy/image/rootfs.sh"), root)
	cmd.Env = append(os.Environ(), "VERSION="+Version)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return root
}

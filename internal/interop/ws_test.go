package interop

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestNode runs the tests of npm's ws, which are in ws.test.mjs.
func TestNode(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := nodeCommand(ctx, t, "--test-reporter=tap", "ws.test.mjs")
	cmd.Env = append(cmd.Environ(), "ROOMRING_ROUTERS="+strings.Join(routers[:], ","))
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("node ws.test.mjs: %v\n%s", err, out)
	}
	passed := regexp.MustCompile(`(?m)^ +ok \d+ - (.*)$`).FindAllSubmatch(out, -1)
	if len(passed) == 0 {
		t.Fatalf("node ws.test.mjs ran no test:\n%s", out)
	}
	for _, p := range passed {
		t.Logf("passed: %s", p[1])
	}
}

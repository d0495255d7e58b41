//go:build linux

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

var (
	hardening = flag.Bool("hardening", false, "run the rows of the hardening table that take time")
	figures   = flag.Bool("figures", false, "repeat faults as often as the promises say")
	idle      = flag.Bool("idle", false, "open 76,000 conns")
	seed      = flag.Uint64("seed", 0, "of what is random in the tests; 0 takes a new one")
)

// programs is the directory of the binaries.
var programs string

func TestMain(m *testing.M) {
	if job := os.Getenv(generatorEnv); job != "" {
		os.Exit(generate(job))
	}
	flag.Parse()
	waitTogether()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	os.Exit(run(m))
}

// atOnce is how many tests go on together: they wait most of the time.
const atOnce = 4

// waitTogether has more tests go on together than there are cores, unless the flags say otherwise or
// figures are wanted.
func waitTogether() {
	given := *figures || *hardening || *idle
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given && runtime.GOMAXPROCS(0) < atOnce {
		flag.Set("test.parallel", strconv.Itoa(atOnce)) // a number is always taken
	}
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "roomring-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	defer killAll()
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	killAll()
	if leaks := searchLogs(); len(leaks) > 0 {
		fmt.Fprintln(os.Stderr, "secrets in logs:", leaks)
		return 1
	}
	return code
}

func build(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir, "./cmd/...")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// Command roomring-shard runs a shard: it owns a part of the rooms. Its flags are in
// internal/settings, what it runs is in internal/node.
package main

import (
	"context"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/internal/settings"
)

const name = "roomring-shard"

func main() {
	os.Exit(process.Report(os.Stderr, name, run(os.Args[1:])))
}

func run(args []string) error {
	s, err := settings.LoadShard(process.Program(name), args)
	if err != nil {
		return err
	}
	log, err := process.Logger(os.Stderr, &s.Node)
	if err != nil {
		return fmt.Errorf("build logger: %w", err)
	}
	defer log.Sync() // stderr: nothing to do about an error
	s.ApplyMemoryLimit()
	log.Info("memory limit set", zap.Int64("bytes", int64(s.MemoryLimit)), zap.String("from", s.MemoryLimitSource()))
	ctx, drain, stop := process.Signals(context.Background())
	defer stop()
	return runShard(ctx, drain, s, log)
}

package main

import (
	"context"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cmd/internal/launch"
	"github.com/roomring/roomring/internal/settings"
)

// runShard runs the shard until ctx ends or, after drain is closed, until it has said goodbye.
func runShard(ctx context.Context, drain <-chan struct{}, s *settings.Shard, log *zap.Logger) error {
	n, err := launch.Shard(s, log)
	if err != nil {
		return err
	}
	return n.Run(ctx, drain)
}

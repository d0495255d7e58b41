package main

import (
	"context"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/roomring/roomring/cmd/internal/launch"
	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/internal/settings"
)

// runRouter runs the router until ctx ends or, after drain is closed, until its clients have gone.
func runRouter(ctx context.Context, drain <-chan struct{}, s *settings.Router, log *zap.Logger) error {
	reload, stopReload := process.Reloads()
	defer stopReload()
	n, certificates, err := launch.Router(s, log)
	if err != nil {
		return err
	}
	supervisor := process.NewSupervisor(os.Getenv, log)
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error {
		defer stop()
		return n.Run(ctx, drain)
	})
	g.Go(func() error {
		certificates.Follow(ctx, reload, supervisor.Reload, log)
		return nil
	})
	g.Go(func() error {
		supervisor.Watch(ctx, n, drain)
		return nil
	})
	g.Go(func() error {
		process.TidyMemory(ctx)
		return nil
	})
	return g.Wait()
}

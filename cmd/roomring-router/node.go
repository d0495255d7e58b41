package main

import (
	"context"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/roomring/roomring/cmd/internal/launch"
	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/internal/settings"
)

// runRouter runs the router until ctx ends or, after drain is closed, until its clients have gone.
func runRouter(ctx context.Context, drain <-chan struct{}, s *settings.Router, log *zap.Logger) error {
	n, certificate, err := launch.Router(s, log)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error {
		defer stop()
		return n.Run(ctx, drain)
	})
	g.Go(func() error {
		reload(ctx, certificate, log)
		return nil
	})
	g.Go(func() error {
		process.TidyMemory(ctx)
		return nil
	})
	return g.Wait()
}

// reload reads the certificate again at each SIGHUP, until ctx ends. Without a certificate SIGHUP
// does nothing, so that it never kills a router.
func reload(ctx context.Context, certificate *launch.Certificate, log *zap.Logger) {
	heard, stop := process.Reloads()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-heard:
		}
		if certificate == nil {
			continue
		}
		if err := certificate.Reload(); err != nil {
			log.Error("certificate not reloaded", zap.Error(err))
			continue
		}
		log.Info("certificate reloaded")
	}
}

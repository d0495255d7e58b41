// Package process is what every Roomring program does once: signals, the logger, the exit code.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/roomring/roomring/internal/settings"
)

// Exit codes, the same for every program.
const (
	Good   = 0
	Failed = 1 // it did not work, or a promise was broken
	Misuse = 2 // the command line makes no sense
)

// Report tells the person at the terminal about err and returns the exit code for it.
func Report(w io.Writer, program string, err error) int {
	var wrong *settings.UsageError
	switch {
	case err == nil || errors.Is(err, settings.ErrDone):
		return Good
	case errors.As(err, &wrong):
		fmt.Fprintf(w, "%s: %v\nTry %s --help.\n", program, err, program)
		return Misuse
	default:
		fmt.Fprintf(w, "%s: %v\n", program, err)
		return Failed
	}
}

// Program describes this process to the settings loader.
func Program(name string) settings.Program {
	return settings.Program{Name: name, Version: Build(), Getenv: os.Getenv, Stdout: os.Stdout}
}

// Signals turns SIGINT and SIGTERM into a drain and an end: drain is closed at the first one, ctx ends
// at the second. The caller calls stop when it needs no more signals.
func Signals(parent context.Context) (ctx context.Context, drain <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	heard := make(chan os.Signal, 2)
	signal.Notify(heard, os.Interrupt, syscall.SIGTERM)
	draining, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if waitSignal(ctx, heard) {
			close(draining)
			waitSignal(ctx, heard)
		}
		cancel()
	}()
	return ctx, draining, func() {
		signal.Stop(heard)
		cancel()
		<-done
	}
}

func waitSignal(ctx context.Context, heard <-chan os.Signal) bool {
	select {
	case <-heard:
		return true
	case <-ctx.Done():
		return false
	}
}

// Reloads returns a channel that gets a value when certificates should be read again (SIGHUP), and the
// function that ends it. From then on SIGHUP ends the process no more.
func Reloads() (<-chan os.Signal, func()) {
	heard := make(chan os.Signal, 1) // one reload that waits is enough
	signal.Notify(heard, syscall.SIGHUP)
	return heard, func() { signal.Stop(heard) }
}

package node

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/shard"
)

// TestAnswer: a node whose loops do not turn does not answer, and one that runs does.
func TestAnswer(t *testing.T) {
	n, err := OpenShard(Config{ID: "s1"}, shard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if n.Answer(short) == nil {
		t.Error("it answers before it runs")
	}
	if line, leaving := n.Status(); !strings.HasPrefix(line, "not ready: ") || !strings.Contains(line, " (") || leaving {
		t.Errorf("%q, leaving: %t", line, leaving)
	}

	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, nil) }()
	long, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.Answer(long); err != nil {
		t.Errorf("it does not answer: %v", err)
	}
	changed, stop := n.cluster.Watch()
	defer stop()
	for line := ""; line != "ready" && long.Err() == nil; line, _ = n.Status() {
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond): // not all of it is the cluster's
		case <-long.Done():
		}
	}
	if long.Err() != nil {
		t.Error("alone, it is not ready")
	}
	n.control.draining.Store(true)
	if line, leaving := n.Status(); !strings.Contains(line, "draining (") || !leaving {
		t.Errorf("%q, leaving: %t", line, leaving)
	}
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

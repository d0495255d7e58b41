package shard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

const self = proto.NodeName("s1/0000000000001")

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a shard without a name was made")
	}
	if _, err := New(Config{Self: self, Lanes: 3, Portable: true}); err == nil {
		t.Error("a shard with three lanes was made")
	}
}

// Rooms and partitions are split among the lanes, and asking finds the right
// one.
func TestLanesShareThePartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, 4)
		rows := make([]Row, 32)
		for p := range rows {
			rows[p] = Row{proto.Partition(p), partition.Row{Owner: self, Term: 1, Since: 1}}
		}
		rows[5].Owner = "s2/0000000000002"
		s.SetTable(rows)
		stats, err := s.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{8, 7, 8, 8} {
			if stats[i].Core.Owned != want {
				t.Errorf("lane %d owns %d partitions, want %d", i, stats[i].Core.Owned, want)
			}
		}
		if _, found, err := s.Room(t.Context(), "nobody-was-here"); found || err != nil {
			t.Errorf("unknown room: %v, %v", found, err)
		}
		stop()
	})
}

// Who asks a shard that has ended does not wait for ever.
func TestAskingAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, 2)
		stop()
		ctx, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		if _, _, err := s.Room(ctx, "a"); !errors.Is(err, ErrStopped) {
			t.Errorf("room = %v", err)
		}
		if _, err := s.Stats(ctx); !errors.Is(err, ErrStopped) {
			t.Errorf("stats = %v", err)
		}
	})
}

// start runs a shard; stop ends it and waits for it.
func start(t *testing.T, lanes int) (s *Shard, stop func()) {
	t.Helper()
	s, err := New(Config{Self: self, Lanes: lanes, Partitions: 32, Portable: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	return s, func() {
		cancel()
		<-ended
	}
}

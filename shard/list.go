package shard

import (
	"context"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/shard/partition"
)

// A list of rooms is made by a walk over all of them, of which there may be a
// million: that takes a third of a second of work. It is done in pieces, between
// which the loop does what else there is, and one lane after the other, so that a
// question never takes more than one core.
const (
	// pieceTime is how long a piece holds a loop, and some microseconds more.
	pieceTime = 100 * time.Microsecond
	// pieceRooms is after how many rooms that is looked at.
	pieceRooms = 64
)

// ListRooms lists rooms of the partitions that this shard owns, without their
// Routers. It makes one list at a time; who asks meanwhile waits. In the order of
// SortMessages the first question waits a second more, while messages are counted:
// that goes on for 10 seconds after each. It returns ErrStopped when ctx ends.
func (s *Shard) ListRooms(ctx context.Context, q partition.RoomsQuery) (partition.RoomList, error) {
	if q.Sort == partition.SortMessages {
		if err := s.watch(ctx); err != nil {
			return partition.RoomList{}, err
		}
	}
	select {
	case s.listing <- struct{}{}:
		defer func() { <-s.listing }()
	case <-ctx.Done():
		return partition.RoomList{}, ErrStopped
	}
	w := partition.NewWalk(q)
	for _, l := range s.lanes {
		if err := l.walk(ctx, w); err != nil {
			return partition.RoomList{}, err // the lane may be in w yet
		}
	}
	return w.List(), nil
}

// watch has all lanes count messages, and waits until that is worth something.
func (s *Shard) watch(ctx context.Context) error {
	var longest time.Duration
	for _, l := range s.lanes {
		var wait time.Duration
		if err := l.ask(ctx, func() { wait = l.core.Watch(l.loop.Now()) }); err != nil {
			return err
		}
		longest = max(longest, wait)
	}
	if longest == 0 {
		return nil
	}
	over := time.NewTimer(longest + time.Millisecond) // a loop's time stands still within a turn
	defer over.Stop()
	select {
	case <-over.C:
		return nil
	case <-ctx.Done():
		return ErrStopped
	}
}

// walk goes through the rooms of a lane.
func (l *lane) walk(ctx context.Context, w *partition.Walk) error {
	for done := false; !done; {
		if err := l.ask(ctx, func() { done = l.walkOn(w) }); err != nil {
			l.loop.Post(func() { l.core.Leave(w) })
			return err
		}
	}
	return nil
}

func (l *lane) walkOn(w *partition.Walk) (done bool) {
	for begin := time.Now(); !done && time.Since(begin) < pieceTime; {
		done = l.core.Walk(w, pieceRooms, l.loop.Now())
	}
	return done
}

// Tail tells of the messages of a room that this shard owns. It returns ErrStopped
// when ctx ends.
func (s *Shard) Tail(ctx context.Context, q partition.TailQuery) (partition.Tail, error) {
	l := s.lanes[int(proto.PartitionOfString(q.Room, s.cfg.Partitions))%len(s.lanes)]
	var t partition.Tail
	if err := l.ask(ctx, func() { t = l.core.Tail(q) }); err != nil {
		return partition.Tail{}, err // the lane may be writing t yet
	}
	return t, nil
}

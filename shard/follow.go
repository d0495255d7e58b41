package shard

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// Promise asks the lanes for promises: to take nothing below a term of a
// partition any more (rule R2). Each lane answers for its own partitions, on its
// loop, so answer may be called several times; the list is then the callee's.
// Partitions that there are not get no answer.
func (s *Shard) Promise(list []proto.Promise, answer func([]proto.Promise)) {
	parts := make([][]proto.Promise, len(s.lanes))
	for _, x := range list {
		if int(x.Partition) < s.cfg.Partitions {
			n := int(x.Partition) % len(s.lanes)
			parts[n] = append(parts[n], x)
		}
	}
	for n, part := range parts {
		if len(part) > 0 {
			l := s.lanes[n]
			l.loop.Post(func() { answer(l.promise(part)) })
		}
	}
}

func (l *lane) promise(list []proto.Promise) []proto.Promise {
	now := l.loop.Now()
	for i := range list {
		x := &list[i]
		x.Status = l.core.Promise(x.Partition, x.Term, now)
	}
	return list
}

// maxWishes bounds the wishes of one frame: each has a node's name at most.
const maxWishes = 4096

// wish hands on what the lane's partitions want of the coordinator.
func (l *lane) wish() {
	if l.cfg.Wish == nil {
		return
	}
	l.wishes = l.core.Wishes(l.wishes[:0], l.loop.Now())
	for some := range slices.Chunk(l.wishes, maxWishes) {
		l.cfg.Wish(slices.Clone(some))
	}
}

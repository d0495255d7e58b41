//go:build linux

package main

import (
	"fmt"
	"syscall"
	"time"
)

// playJoinShard has s4 join, and drain.
func playJoinShard(s *stage, _ event) error {
	if err := s.join(shardJoins, "s4"); err != nil {
		return err
	}
	return s.drain(shardDrains, "s4")
}

// playDrain drains a node, and starts it again.
func playDrain(s *stage, e event) error { return s.replace(e.nodes[0], shardDrains, shardJoins) }

// replace drains a node and starts it again; the promises are for shards.
func (s *stage) replace(id string, drains, joins promise) error {
	if isRouter(id) {
		drains, joins = routerDrains, routerJoins
	}
	if err := s.drain(drains, id); err != nil {
		return err
	}
	return s.join(joins, id)
}

func (s *stage) join(p promise, id string) error {
	if err := s.step(p, 0, "%s joins", id); err != nil {
		return err
	}
	if _, err := s.cluster.start(id); err != nil {
		return err
	}
	return s.settle()
}

// drain ends a node politely. The others are settled afterwards, and all conns open.
func (s *stage) drain(p promise, id string) error {
	if err := s.step(p, 0, "%s drains", id); err != nil {
		return err
	}
	n := s.cluster.nodes[id]
	n.want = true
	n.signal(syscall.SIGTERM)
	if err := n.exit(shardDrain + 10*time.Second); err != nil {
		return err
	}
	if err := s.connected(); err != nil {
		return err
	}
	return s.settle()
}

// playJoinRouter has r3 join, and other clients meet through it and through r1.
func playJoinRouter(s *stage, _ event) error {
	if err := s.join(routerJoins, "r3"); err != nil {
		return err
	}
	const rooms, members, rate = 10, 4, 400
	name := fmt.Sprintf("verify-r3-%d", len(s.steps))
	t, err := s.cluster.drive(name, rooms, members, rate, "r3", "r1")
	if err != nil {
		return err
	}
	if err := s.sleep(3 * time.Second); err != nil {
		return err
	}
	o, err := t.end()
	if err != nil {
		return err
	}
	third := step{name: name, promise: calm}
	broken, _ := third.judge(&o.counts)
	if o.Delivered < rate || o.NotOpened > 0 {
		broken = append(broken, fmt.Sprintf("%d deliveries, %d conns that did not open", o.Delivered, o.NotOpened))
	}
	for _, what := range broken {
		s.serious = append(s.serious, "through r3: "+what)
	}
	return s.drain(routerJoins, "r3")
}

// playRolling restarts every node, as a deploy does.
func playRolling(s *stage, _ event) error {
	for _, id := range everyone {
		if err := s.replace(id, shardsRolled, shardsRolled); err != nil {
			return err
		}
	}
	return nil
}

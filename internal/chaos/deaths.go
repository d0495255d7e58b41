//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// noticeWithin bounds how long others take to see that a node is gone, on a busy machine.
const noticeWithin = 30 * time.Second

// playKill kills a node and starts it again.
func playKill(s *stage, e event) error { return s.kill(e.nodes[0]) }

func playKillLeader(s *stage, _ event) error {
	leader, err := s.leader()
	if err != nil {
		return err
	}
	return s.kill(leader)
}

// leader is who leads the register.
func (s *stage) leader() (string, error) {
	r, err := s.cluster.settled()
	if err != nil {
		return "", err
	}
	return r.Leader, nil
}

func (s *stage) kill(id string) error {
	leader, err := s.leader()
	if err != nil {
		return err
	}
	p := shardKilled
	switch {
	case isRouter(id):
		p = routerKilled
	case id == leader:
		p = leaderKilled
	}
	return s.killAll(p, id)
}

// killAll kills nodes at once, waits until others serve what they served, and starts them again.
func (s *stage) killAll(p promise, ids ...string) error {
	if err := s.step(p, 0, "%s killed", strings.Join(ids, " and ")); err != nil {
		return err
	}
	for _, id := range ids {
		s.cluster.nodes[id].want = true
		s.cluster.nodes[id].signal(syscall.SIGKILL)
	}
	for _, id := range ids {
		<-s.cluster.nodes[id].done
	}
	if err := s.cluster.takenOver(ids); err != nil {
		return err
	}
	if err := s.connected(); err != nil {
		return err
	}
	if err := s.sleep(time.Second); err != nil { // of traffic, so that rooms show that they go on
		return err
	}
	return s.startAgain(recovery, ids...)
}

func (s *stage) startAgain(p promise, ids ...string) error {
	if err := s.step(p, 0, "%s started again", strings.Join(ids, " and ")); err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := s.cluster.start(id); err != nil {
			return err
		}
	}
	return s.settle()
}

// takenOver waits until all nodes that run say that dead ones own nothing.
func (c *cluster) takenOver(dead []string) error {
	running := c.running()
	return c.until(fmt.Sprintf("%v own nothing", dead), noticeWithin, func() string {
		for _, n := range running {
			r, err := n.ring()
			if err != nil {
				return err.Error()
			}
			for _, row := range r.Table {
				if slices.Contains(dead, row.Owner) {
					return fmt.Sprintf("%s says that %s owns partition %d", n.id, row.Owner, row.Partition)
				}
			}
		}
		return ""
	})
}

// connected waits until every conn of the traffic is open at some router that runs.
func (s *stage) connected() error {
	want := s.options.rooms * s.options.members
	return s.cluster.until("all conns are open", noticeWithin, func() string {
		conns := 0
		for _, n := range s.cluster.running() {
			if isRouter(n.id) {
				conns += int(n.metric("roomring_router_conns"))
			}
		}
		if conns < want {
			return fmt.Sprintf("%d of %d", conns, want)
		}
		return ""
	})
}

// playKillCopies kills two shards: rooms that have both copies there begin anew.
func playKillCopies(s *stage, e event) error { return s.killAll(copiesLost, e.nodes...) }

//go:build linux

package main

import (
	"strings"
	"syscall"
	"time"
)

// playStop stops a node, or the leader, for a while.
func playStop(s *stage, e event) error {
	leader, err := s.leader()
	if err != nil {
		return err
	}
	id, p := leader, leaderSilent
	if len(e.nodes) > 0 {
		if id = e.nodes[0]; id != leader {
			p = shardSilent
		}
	}
	if isRouter(id) {
		p = routerSilent
	}
	return s.stop(p, e.lasts, id)
}

func (s *stage) stop(p promise, lasts time.Duration, ids ...string) error {
	names := strings.Join(ids, " and ")
	if err := s.step(p, lasts, "%s stopped for %s", names, lasts); err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.cluster.freeze(id); err != nil {
			return err
		}
	}
	if err := s.sleep(lasts); err != nil {
		return err
	}
	if err := s.step(nodeBack, 0, "%s awake", names); err != nil {
		return err
	}
	for _, id := range ids {
		s.cluster.nodes[id].signal(syscall.SIGCONT)
	}
	return s.settle()
}

// playSilentCopies stops two shards: rooms with both copies there wait, and nothing of them is lost.
func playSilentCopies(s *stage, e event) error { return s.stop(copiesSilent, e.lasts, e.nodes...) }

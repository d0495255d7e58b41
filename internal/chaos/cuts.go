//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

// cutFor makes a cut, waits, heals, and waits until all is settled.
func (s *stage) cutFor(p promise, lasts time.Duration, name string, cut func() error) error {
	if err := s.step(p, lasts, "%s", name); err != nil {
		return err
	}
	if err := cut(); err != nil {
		return err
	}
	if err := s.sleep(lasts); err != nil {
		return err
	}
	if err := s.network.felt(); err != nil {
		return err
	}
	return s.heal()
}

func (s *stage) heal() error {
	if err := s.step(splitHeals, 0, "healed"); err != nil {
		return err
	}
	if err := s.network.heal(); err != nil {
		return err
	}
	return s.settle()
}

// playSplit cuts the event's sides from each other.
func playSplit(s *stage, e event) error {
	return s.cutFor(splitBoth, e.lasts, sides(e.sides), func() error {
		return s.network.cut(e.sides[0], e.sides[1], drop)
	})
}

// twiceWithin bounds how long rooms may have one copy when two shards do not reach each other. It is a bound
// for machines that are busy: some seconds are usual.
const twiceWithin = 30 * time.Second

// playRift cuts two shards from each other, waits until all rooms have two copies again at shards that reach each
// other, and heals. If one of the two leads, the other is silent for it: that is like any split.
func playRift(s *stage, e event) error {
	leader, err := s.leader()
	if err != nil {
		return err
	}
	a, b := e.sides[0][0], e.sides[1][0]
	if leader == a || leader == b {
		return playSplit(s, e)
	}
	return s.cutFor(splitBoth, e.lasts, sides(e.sides), func() error {
		if err := s.network.cut(e.sides[0], e.sides[1], drop); err != nil {
			return err
		}
		return s.mended(a, b)
	})
}

// mended waits until all rooms have two copies at shards that reach each other, and says how long it took. Where the
// machine is so busy that one of the two comes to lead, it does not wait.
func (s *stage) mended(a, b string) error {
	began, led := time.Now(), false
	err := s.cluster.until("all rooms have two copies", twiceWithin, func() (complaint string) {
		r, err := s.cluster.nodes[routers[0]].ring()
		if err != nil {
			return err.Error()
		}
		if led = r.Leader == a || r.Leader == b; led {
			return ""
		}
		return r.torn(a, b)
	})
	if err == nil && !led {
		s.say("   two copies of all rooms %.1f s after the cut", time.Since(began).Seconds())
	}
	return err
}

// torn says which partition has no copy at two shards that reach each other.
func (r *ring) torn(a, b string) string {
	for _, row := range r.Table {
		copies := append([]string{row.Owner}, row.Followers...)
		if len(copies) < 2 || slices.Contains(copies, a) && slices.Contains(copies, b) {
			return fmt.Sprintf("partition %d is at %v", row.Partition, copies)
		}
	}
	return ""
}

// playOneWay lets nothing through from the first side to the second one.
func playOneWay(s *stage, e event) error {
	name := "nothing gets through: " + sides(e.sides)
	return s.cutFor(splitOneWay, e.lasts, name, func() error {
		return s.network.cutOneWay(e.sides[0], e.sides[1])
	})
}

// playCutOff cuts one node, or the leader, from all others.
func playCutOff(s *stage, e event) error {
	leader, err := s.leader()
	if err != nil {
		return err
	}
	id, p := leader, leaderCut
	if len(e.nodes) > 0 {
		if id = e.nodes[0]; id != leader {
			p = shardCut
		}
	}
	if isRouter(id) {
		p = routerCut
	}
	return s.cutOff(p, drop, id, e.lasts)
}

// playReject has resets answer between a shard and all others.
func playReject(s *stage, e event) error {
	if len(e.nodes) > 0 {
		return s.cutOff(likeDeath, reject, e.nodes[0], e.lasts)
	}
	return s.cutFor(likeDeath, e.lasts, "resets between "+sides(e.sides), func() error {
		return s.network.cut(e.sides[0], e.sides[1], reject)
	})
}

func (s *stage) cutOff(p promise, as rule, id string, lasts time.Duration) error {
	others := slices.DeleteFunc(slices.Clone(everyone), func(other string) bool { return other == id })
	name := id + " cut off"
	if as == reject {
		name += " by resets"
	}
	return s.cutFor(p, lasts, name, func() error { return s.network.cut([]string{id}, others, as) })
}

// playLoss has packets between nodes get lost.
func playLoss(s *stage, e event) error {
	share := map[string]string{"loss-1": "0.01", "loss-10": "0.10"}[e.fault]
	return s.cutFor(badNetwork, e.lasts, "packets lost: "+share, func() error { return s.network.lose(share) })
}

// playSlow makes a node's link slow.
func playSlow(s *stage, e event) error {
	id := e.nodes[0]
	if err := s.step(badNetwork, e.lasts, "link of %s is slow", id); err != nil {
		return err
	}
	if err := s.network.slowDown(id); err != nil {
		return err
	}
	if err := s.sleep(e.lasts); err != nil {
		return err
	}
	if err := s.network.slowed(id); err != nil {
		return err
	}
	if err := s.step(splitHeals, 0, "link of %s is as it was", id); err != nil {
		return err
	}
	if err := s.network.speedUp(id); err != nil {
		return err
	}
	return s.settle()
}

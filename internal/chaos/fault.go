//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The cluster that every round begins with. An s4 and an r3 may come and go.
var (
	shards   = []string{"s1", "s2", "s3"}
	routers  = []string{"r1", "r2"}
	everyone = []string{"s1", "s2", "s3", "r1", "r2"}
)

// isRouter: ids start with r or s.
func isRouter(id string) bool { return id[0] == 'r' }

// need is what a fault takes beyond processes and signals.
type need uint8

const (
	needNetwork need = 1 << iota // a namespace for each node, and iptables there
	needLoss                     // the statistic match of iptables
	needSlow                     // tc with tbf
	needMount                    // a tmpfs
)

// fault is a kind of thing that goes wrong.
type fault struct {
	name  string
	about string
	needs need
	draw  func(d *dealer) event // what chance decides
	play  play
}

// play does an event, and waits until the cluster is settled.
type play func(s *stage, e event) error

// event is a fault with all that chance decides about it.
type event struct {
	fault string
	play  play
	nodes []string      // whom it hits; empty where that is found out when it happens, as who leads
	sides [2][]string   // of a cut
	lasts time.Duration // zero where that is in the fault's nature
}

func (e event) String() string {
	s := e.fault
	if len(e.nodes) > 0 {
		s += " " + strings.Join(e.nodes, " ")
	}
	if len(e.sides[0]) > 0 {
		s += " " + sides(e.sides)
	}
	if e.lasts > 0 {
		s += fmt.Sprintf(" for %s", e.lasts)
	}
	return s
}

func sides(of [2][]string) string {
	return strings.Join(of[0], " ") + " | " + strings.Join(of[1], " ")
}

// faults are all there are.
var faults = []fault{
	{"kill-shard", "SIGKILL a shard, then start it again", 0, oneOf(shards), playKill},
	{"kill-leader", "SIGKILL the leader of the register", 0, nobody, playKillLeader},
	{"kill-router", "SIGKILL a router; its clients come back to the other", 0, oneOf(routers), playKill},
	{"kill-copies", "SIGKILL two shards at once: rooms with both copies there are reset, and say so", 0, twoOf(shards), playKillCopies},
	{"stop-shard", "SIGSTOP a shard for 0.3, 1, 3 or 30 s, as a paused host", 0, stopped(0, shards), playStop},
	{"stop-leader", "SIGSTOP the leader of the register, as long", 0, stopped(1, nil), playStop},
	{"stop-router", "SIGSTOP a router, as long: its clients wait", 0, stopped(2, routers), playStop},
	{"silent-copies", "SIGSTOP two shards: rooms with both copies there wait for them", 0, forTime(twoOf(shards)), playSilentCopies},
	{"join-shard", "a fourth shard joins, and drains again", 0, nobody, playJoinShard},
	{"drain-shard", "SIGTERM a shard, then start it again", 0, oneOf(shards), playDrain},
	{"join-router", "a third router joins and serves, and drains again", 0, nobody, playJoinRouter},
	{"drain-router", "SIGTERM a router, then start it again", 0, oneOf(routers), playDrain},
	{"rolling-restart", "restart every node, one after the other", 0, nobody, playRolling},
	{"cut-pair", "a router and a shard do not hear each other", needNetwork, between(routers, shards), playSplit},
	{"cut-oneway", "one node's packets do not reach one other", needNetwork, between(everyone, everyone), playOneWay},
	{"cut-shards", "two shards do not hear each other, but all else does", needNetwork, between(shards, shards), playRift},
	{"cut-shard", "no node hears a shard, and it hears none", needNetwork, offFrom(shards), playCutOff},
	{"cut-leader", "the same with the leader of the register", needNetwork, offFrom(nil), playCutOff},
	{"cut-router", "the same with a router; its clients reach it", needNetwork, offFrom(routers), playCutOff},
	{"cut-routers", "no router hears a shard", needNetwork, acrossTiers, playSplit},
	{"split", "a majority and a minority of the nodes", needNetwork, split, playSplit},
	{"split-oneway", "the same, but one side still hears the other", needNetwork, split, playOneWay},
	{"reject-shard", "a firewall answers with resets between a shard and all nodes: it looks dead", needNetwork, offFrom(shards), playReject},
	{"reject-pair", "the same between two nodes", needNetwork, between(routers, shards), playReject},
	{"loss-1", "nodes lose 1 % of each other's packets", needNetwork | needLoss, forTime(nobody), playLoss},
	{"loss-10", "nodes lose 10 % of each other's packets", needNetwork | needLoss, forTime(nobody), playLoss},
	{"slow-link", "a shard's link to all others carries 2 Mbit/s", needNetwork | needSlow, forTime(oneOf(shards)), playSlow},
	{"descriptors", "a router with 256 descriptors is flooded with conns", 0, nobody, playDescriptors},
	{"full-disk", "a voter's --data-dir is full", needMount, oneOf(shards), playFullDisk},
}

// findFault returns nil when there is none of that name.
func findFault(name string) *fault {
	for i := range faults {
		if faults[i].name == name {
			return &faults[i]
		}
	}
	return nil
}

// What chance decides.

func nobody(*dealer) event { return event{} }

func oneOf(ids []string) func(*dealer) event {
	return func(d *dealer) event { return event{nodes: []string{pick(d.chance, ids)}} }
}

func twoOf(ids []string) func(*dealer) event {
	return func(d *dealer) event { return event{nodes: shuffled(d.chance, ids)[:2]} }
}

// stopTimes are how long processes are stopped: shorter than a heartbeat, than a verdict, longer than
// both, and longer than anybody waits.
var stopTimes = []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second, 30 * time.Second}

// stopped takes the times in turn. Faults with another offset take another time in the same pass.
func stopped(offset int, ids []string) func(*dealer) event {
	return func(d *dealer) event {
		times := stopTimes
		if d.brief {
			times = times[:3]
		}
		e := event{lasts: times[(d.turn+offset)%len(times)]}
		if ids != nil {
			e.nodes = []string{pick(d.chance, ids)}
		}
		return e
	}
}

// cutTimes are how long cuts and the like last. None is near the 60 s after which conns may close.
var cutTimes = []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}

const briefCut = 3 * time.Second

func forTime(draw func(*dealer) event) func(*dealer) event {
	return func(d *dealer) event {
		e := draw(d)
		if e.lasts = pick(d.chance, cutTimes); d.brief {
			e.lasts = briefCut
		}
		return e
	}
}

// between has one node of each list, and never the same twice.
func between(a, b []string) func(*dealer) event {
	return forTime(func(d *dealer) event {
		one, other := pick(d.chance, a), pick(d.chance, b)
		for other == one {
			other = pick(d.chance, b)
		}
		return event{sides: [2][]string{{one}, {other}}}
	})
}

// offFrom has one node of the list, or the leader if there is none.
func offFrom(ids []string) func(*dealer) event {
	if ids == nil {
		return forTime(nobody)
	}
	return forTime(oneOf(ids))
}

func acrossTiers(d *dealer) event {
	return forTime(func(*dealer) event { return event{sides: [2][]string{routers, shards}} })(d)
}

// split has two of five nodes on one side, never both routers: that is another fault.
func split(d *dealer) event {
	return forTime(func(d *dealer) event {
		ids := shuffled(d.chance, everyone)
		for isRouter(ids[0]) && isRouter(ids[1]) {
			ids = shuffled(d.chance, everyone)
		}
		few, many := ids[:2], ids[2:]
		if d.chance.IntN(2) == 0 { // matters when the cut is one-way
			few, many = many, few
		}
		return event{sides: [2][]string{few, many}}
	})(d)
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func shuffled(r *rand.Rand, list []string) []string {
	list = append([]string(nil), list...)
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

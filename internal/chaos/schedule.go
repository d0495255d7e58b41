//go:build linux

package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// round is one cluster's life.
type round struct {
	number int  // from 1
	disk   bool // nodes have a --data-dir
	events []event
}

func (r round) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "round %d, votes in memory:", r.number)
	if r.disk {
		b.Reset()
		fmt.Fprintf(&b, "round %d, votes on disk:", r.number)
	}
	for _, e := range r.events {
		fmt.Fprintf(&b, "\n    %s", e)
	}
	return b.String()
}

// dealer deals faults like cards: all of them in an order of chance, and again. What it deals is a
// function of its seed, its faults, and whether it is brief.
type dealer struct {
	faults []fault
	brief  bool // short times, and many events to a round

	chance *rand.Rand
	turn   int     // a start of chance, and one more with every pass through the faults
	deck   []fault // what is left of this pass
	round  int
}

// maxEvents bounds a round's events. Clusters shall be young and old.
const (
	maxEvents      = 6
	maxEventsBrief = 10
)

func newDealer(seed uint64, faults []fault, brief bool) *dealer {
	d := &dealer{faults: faults, brief: brief, chance: rand.New(rand.NewPCG(seed, 0))}
	d.turn = d.chance.IntN(len(stopTimes) * len(stopTimes))
	d.shuffle()
	return d
}

func (d *dealer) shuffle() {
	d.deck = slices.Clone(d.faults)
	d.chance.Shuffle(len(d.deck), func(i, j int) { d.deck[i], d.deck[j] = d.deck[j], d.deck[i] })
}

// rounds is how many it takes to deal every fault once.
func (d *dealer) rounds() int { return (len(d.faults) + d.most() - 1) / d.most() }

func (d *dealer) most() int {
	if d.brief {
		return maxEventsBrief
	}
	return maxEvents
}

// deal returns the next round. A round does not reach into the next pass.
func (d *dealer) deal() round {
	if len(d.deck) == 0 {
		d.turn++
		d.shuffle()
	}
	d.round++
	r := round{number: d.round, disk: d.chance.IntN(2) == 0}
	for n := min(d.most(), len(d.deck)); n > 0; n-- {
		f := d.deck[0]
		d.deck = d.deck[1:]
		e := f.draw(d)
		e.fault, e.play = f.name, f.play
		r.events = append(r.events, e)
		r.disk = r.disk || f.needs&needMount != 0
	}
	return r
}

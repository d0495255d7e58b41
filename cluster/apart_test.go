package cluster

import (
	"slices"
	"testing"
	"time"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// misses has a shard announce whom it has no link to, for so long.
func (d *desk) misses(n Node, by time.Duration, others ...Node) {
	d.t.Helper()
	var names []proto.NodeName
	for _, o := range others {
		names = append(names, o.Name)
	}
	for ; by > 0; by -= announceEvery {
		d.frame(n, proto.FrameVersion, AppendVersion(nil, Announcement{Instance: inst, Mark: d.k.Table().Mark(), Missing: names}))
		d.pass(min(by, announceEvery))
	}
}

// TestRifts: two shards are apart when one has missed the other for a while, and together again when neither
// has for a while, which doubles with every fall. What is not about two living shards does not count.
func TestRifts(t *testing.T) {
	s1, s2, s3, r1 := shard("s1", 1), shard("s2", 2), shard("s3", 3), router("r1", 4)
	d := newDesk(t, 0, s1, s2, s3, r1)
	apart := func(when string, want bool) {
		t.Helper()
		if have := slices.Contains(d.k.apart, plan.MakePair(s2.Name, s3.Name)); have != want || len(d.k.apart) > 1 {
			t.Errorf("%s: apart are %v", when, d.k.apart)
		}
	}
	d.misses(s2, apartAfter-announceEvery, s3)
	apart("at first", false)
	d.misses(s2, announceEvery)
	d.misses(s2, apartAfter-announceEvery, s3)
	apart("after a moment with a link", false)
	d.misses(s2, 2*announceEvery, s3, r1, s2)
	apart("after a while", true)
	d.misses(s3, 2*announceEvery, s2)
	d.misses(s2, togetherAfter)
	apart("as long as one of them says so", true)

	wait := togetherAfter
	for fall := range maxFalls + 3 {
		d.misses(s3, wait-2*announceEvery)
		apart("linked for too short a time", true)
		d.misses(s3, 3*announceEvery)
		apart("linked for long", false)
		d.misses(s3, apartAfter+announceEvery, s2)
		apart("fallen again", true)
		if fall < maxFalls {
			wait *= 2
		}
	}
	d.misses(s3, wait+announceEvery)
	apart("at the end of it", false)
	d.misses(s3, riftMemory)
	if len(d.k.rifts) > 0 {
		t.Errorf("after all that time it remembers %v", d.k.rifts)
	}

	d.misses(s3, apartAfter+announceEvery, s2)
	apart("once more", true)
	for term := range uint64(2) {
		d.reg.Term = 2 * term
		d.k.SetRegister(d.now, d.reg)
	}
	d.pass(100 * time.Millisecond)
	apart("for who comes to lead", true)
	d.k.LinkDown(d.now, s2.Name, EndSilent)
	d.pass(judgeAfter + announceEvery)
	apart("when one of them is lost to all", false)
	if len(d.k.rifts) > 0 {
		t.Errorf("of those who are lost it remembers %v", d.k.rifts)
	}
}

// TestMissing: a shard announces the living shards that it has no link to; a router says nothing.
func TestMissing(t *testing.T) {
	s1, s2, s3, r1 := shard("s1", 1), shard("s2", 2), shard("s3", 3), router("r1", 4)
	for _, nodes := range [][]Node{{s1, s2, s3, r1}, {r1, s1, s2, s3}} {
		d := newDesk(t, 0, nodes...)
		said := func() []proto.NodeName {
			a, err := ParseVersion(d.k.Announce()[proto.HeaderSize:])
			if err != nil {
				t.Fatal(err)
			}
			return a.Missing
		}
		if names := said(); len(names) > 0 {
			t.Errorf("linked to all, %s misses %v", nodes[0].Name, names)
		}
		for _, n := range nodes[1:] {
			d.k.LinkDown(d.now, n.Name, EndSilent)
		}
		d.set(s3, func(n *Node) { n.State = Dead })
		want := []proto.NodeName{s2.Name}
		if nodes[0].Role == proto.RoleRouter {
			want = nil
		}
		if names := said(); !slices.Equal(names, want) {
			t.Errorf("%s misses %v, want %v", nodes[0].Name, names, want)
		}
	}
}

package node_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roomring/roomring/internal/node"
)

// Nodes hear of a Table's change at very different times: frames of a term that is not known yet are
// held until it is, those of an old one are sent again. Nothing is lost but what the dead had alone,
// nothing comes twice, whatever the delays.
func TestLateTables(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				random := rand.New(rand.NewPCG(seed, 8))
				copies := int(seed % 2) // with a copy, the dead have nothing alone
				w.config = func(c *node.Config) { c.Followers, c.MaxMoves = copies, 0 }
				all, _, _ := w.five()
				w.keepArchive()
				c := w.sing(5, "r1", "r2")
				time.Sleep(time.Second)
				deaths := make(map[string]int)
				for _, victim := range []string{"s1", "s2"} {
					w.delay(random, all)
					time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
					w.waitFor("settled", time.Minute, func() bool { return w.ring("r1").Settled })
					owners := c.owners("r1")
					said := make(map[*singer]int64)
					for _, s := range c.singers {
						said[s] = s.said.Load()
						if s.talks && s.router == "r1" && owners[s.room] == victim && copies == 0 {
							deaths[s.room]++
						}
					}
					w.kill(victim)
					w.waitFor("new owners", 10*time.Second, func() bool {
						return w.owns("r1", w.running[victim].Name()) == 0 && w.owns("r2", w.running[victim].Name()) == 0
					})
					time.Sleep(3 * time.Second)
					for _, s := range c.singers {
						if owners[s.room] == victim && copies == 0 {
							s.checkResumed(said)
						}
					}
					w.running[victim].again()
					w.waitFor("it holds the Table", 10*time.Second, func() bool { return w.running[victim].Table() != nil })
				}
				time.Sleep(2 * time.Second)
				for room, epochs := range c.stop() {
					if n := len(epochs); n != 1+deaths[room] {
						t.Errorf("room %s has had %d epochs, and its owner died %d times", room, n, deaths[room])
					}
				}
			})
		})
	}
}

// A recovery gives every partition a new term, those whose owner lives too: the one change of part of a
// Table that is not a death. Their owners speak of it to routers that have not heard of it yet.
func TestLateRecovery(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				random := rand.New(rand.NewPCG(seed, 9))
				w.cluster(3, 4)
				w.agree(10 * time.Second)
				w.keepArchive()
				var watch, voters []string // routers: those that do not vote stay
				for _, id := range []string{"r1", "r2", "r3", "r4"} {
					if slices.Contains(w.running["s1"].Table().Voters, w.running[id].Name()) {
						voters = append(voters, id)
					} else {
						watch = append(watch, id)
					}
				}
				c := w.sing(5, watch...)
				time.Sleep(time.Second)
				dead := fmt.Sprint("s", 1+random.IntN(3))
				left := without([]string{"s1", "s2", "s3"}, dead)
				owners := c.owners(watch[0])
				w.kill(append(voters, dead)...)
				time.Sleep(5 * time.Second)
				founder := w.running[left[0]].ip
				for _, r := range watch {
					w.net.Delay(founder, w.running[r].ip, time.Duration(random.IntN(900))*time.Millisecond)
					w.net.Delay(w.running[left[1]].ip, w.running[r].ip, time.Duration(random.IntN(20))*time.Millisecond)
				}
				w.net.Delay(founder, w.running[left[1]].ip, time.Duration(random.IntN(200))*time.Millisecond)
				time.Sleep(time.Second)
				if status, body := w.recover(left[random.IntN(2)]); status != http.StatusOK {
					t.Fatalf("recover: %d %s", status, body)
				}
				w.waitFor("all hold one Table", 10*time.Second, func() bool {
					first := w.running[left[0]].Table()
					return !slices.ContainsFunc(w.living(), func(id string) bool {
						t := w.running[id].Table()
						return t.Founding().Generation != 1 || t.Mark() != first.Mark()
					})
				})
				time.Sleep(2 * time.Second)
				c.whole(func(room string) bool { return owners[room] == dead })
			})
		})
	}
}

// delay makes the way from the leader to each node up to 60 ms long, to one router up to 900 ms, and
// what the others say to each other up to 20 ms.
func (w *world) delay(random *rand.Rand, all []string) {
	leader, late := w.leader("s3"), fmt.Sprint("r", 1+random.IntN(2))
	for _, a := range all {
		for _, b := range all {
			d := random.IntN(20)
			switch {
			case a == leader && b == late:
				d = random.IntN(900)
			case a == leader:
				d = random.IntN(60)
			}
			w.net.Delay(w.running[a].ip, w.running[b].ip, time.Duration(d)*time.Millisecond)
		}
	}
}

// checkResumed checks that the newest epoch begins with the first message that its talker had not
// been told to be safe: with none that was said after the owner's death.
func (s *singer) checkResumed(said map[*singer]int64) {
	s.t.Helper()
	if !s.talks {
		return
	}
	story := s.story()
	if len(story) == 0 {
		s.t.Errorf("room %s at %s: nothing was heard", s.room, s.router)
		return
	}
	for i, l := range story {
		number, mine := strings.CutPrefix(l.text, s.router+"/")
		if l.epoch != story[len(story)-1].epoch || !mine {
			continue
		}
		if n, _ := strconv.ParseInt(number, 10, 64); n > said[s] {
			s.t.Errorf("room %s at %s: the new epoch begins with %q (line %d), %d had been said", s.room, s.router, l.text, i, said[s])
		}
		return
	}
	s.t.Errorf("room %s at %s: nothing of its own in the new epoch", s.room, s.router)
}

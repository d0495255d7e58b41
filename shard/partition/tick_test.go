package partition

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTickIsBounded(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	for i := range tickRooms + 100 {
		g.say(r, fmt.Sprint("room", i), "a")
	}
	g.now = g.now.Add(time.Hour)
	g.l.Tick(g.now)
	if s := g.l.Stats(); s.Forgotten != tickRooms || s.Rooms != 100 {
		t.Errorf("the first tick after an hour forgot %d rooms, %d are left", s.Forgotten, s.Rooms)
	}
	g.l.Tick(g.now)
	if s := g.l.Stats(); s.Rooms != 0 || s.HistoryBytes != 0 {
		t.Errorf("the second tick left %d rooms", s.Rooms)
	}
}

func TestClockThatGoesBack(t *testing.T) {
	g := newRig(t, Config{})
	r := g.up("r1")
	g.pass(10 * time.Minute)
	g.now = g.now.Add(-time.Hour)
	g.say(r, "lobby", "a")
	g.now = g.now.Add(time.Hour + time.Minute)
	g.l.Tick(g.now)
	if i, _ := g.l.Room("lobby"); i.Kept != 1 {
		t.Error("a message of a minute ago is gone")
	}
}

// TestRoomsGoInTime: however the ticks fall, a room is not forgotten before its
// age, and not kept longer than two steps of the wheel after it, and so for
// what a room that is attached keeps.
func TestRoomsGoInTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		if err := roomsGoInTime(t, seed); err != nil {
			rt.Fatalf("seed %d: %v", seed, err)
		}
	})
}

func roomsGoInTime(t testing.TB, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 3))
	g := newRig(t, Config{HistoryAge: time.Duration(1+rnd.IntN(600)) * time.Second})
	age, slack := g.l.cfg.HistoryAge, 2*g.l.wheel.step
	keep := max(age, g.l.cfg.WindowAge)
	g.pass(settleAge)
	r, ear := g.up("r1"), g.up("ear")
	said := map[string]time.Time{}
	for range 200 {
		name := fmt.Sprint(rnd.IntN(5))
		if rnd.IntN(3) > 0 {
			g.say(r, name, "x")
			said[name] = g.now
		}
		if name == "0" {
			g.attach(ear, name)
		}
		g.now = g.now.Add(time.Duration(rnd.Int64N(int64(age) / (1 + rnd.Int64N(20)))))
		g.l.Tick(g.now)
		for name, at := range said {
			i, ok := g.l.Room(name)
			old := g.now.Sub(at)
			switch {
			case old < age && (!ok || i.Kept == 0):
				return fmt.Errorf("%s went after %v", name, old)
			case old > keep+slack && name == "0" && i.Kept > 0:
				return fmt.Errorf("%s keeps a message after %v", name, old)
			case old > keep+slack && name != "0" && ok:
				return fmt.Errorf("%s is there after %v", name, old)
			}
		}
	}
	return nil
}

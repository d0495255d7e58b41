package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// Everybody in a room, at whichever router, hears all messages in one order;
// who said something too; who is elsewhere nothing.
func TestOneOrderForAll(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(3, 2)
		const rooms, members, each = 3, 4, 25
		var all [rooms][]*member
		for r := range rooms {
			for i := range members {
				all[r] = append(all[r], w.join(fmt.Sprint("r", i%2+1), fmt.Sprint("room=", r)))
			}
		}
		for i := range each {
			for r := range rooms {
				for k, m := range all[r] {
					m.send(rfc6455.Frame(finText, fmt.Sprintf("%d/%d/%d", r, k, i)))
				}
			}
		}
		synctest.Wait()
		for r := range rooms {
			first := all[r][0].take()
			checkOrder(t, first, fmt.Sprint(r), each, each, each, each)
			for _, m := range all[r][1:] {
				m.hears(first...)
			}
		}
	})
}

// checkOrder checks that all messages of a room are there once, and those of
// each publisher in order. said is how many messages each of them said.
func checkOrder(t *testing.T, heard []string, room string, said ...int) {
	t.Helper()
	total := 0
	for k, n := range said {
		total += n
		prefix := fmt.Sprintf("%s/%d/", room, k)
		var mine []string
		for _, s := range heard {
			if strings.HasPrefix(s, prefix) {
				mine = append(mine, s)
			}
		}
		if want := numbers(prefix, 0, n-1); !slices.Equal(mine, want) {
			t.Errorf("room %s, member %d: heard %d messages, want %d; first difference at %d", room, k, len(mine), n, difference(mine, want))
		}
	}
	if len(heard) != total {
		t.Errorf("room %s: heard %d messages, want %d", room, len(heard), total)
	}
}

// difference is the first place at which two lists differ.
func difference(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func TestPlainAndNumberedAndEcho(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(1, 2)
		plain := w.join("r1", "room=a")
		numbered := w.join("r2", "room=a&num=1")
		silent := w.join("r1", "room=a&num=1&echo=0")
		plain.say("one")
		silent.say("two")
		numbered.send(rfc6455.Frame(0x82, "\x00\xff"))
		synctest.Wait()
		plain.say("four")
		line := "!" + epochOf(t, w.join("r1", "room=a&num=1").take()[0]) + ".0"
		plain.hears("one", "two", "00ff", "four")
		binary := "0000000000000003" + "00ff"
		numbered.hears(line, "1 one", "2 two", binary, "4 four")
		silent.hears(line, "1 one", binary, "4 four")
	})
}

// The rules of the first line, at a router that has the tail and at one that
// must ask the owner.
func TestResume(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.shard("s1", 1, shard.Config{HistoryMessages: 10})
		w.router("r1", router.Config{})
		w.router("r2", router.Config{})
		a := w.join("r1", "room=a&num=1")
		epoch := epochOf(t, a.take()[0])
		for i := range 5 {
			a.say(fmt.Sprint("m", i+1))
		}
		at := func(o int, suffix string) string { return fmt.Sprintf("!%s.%d%s", epoch, o, suffix) }
		check := func(router, since string, want ...string) {
			t.Helper()
			m := w.join(router, "room=a&since="+since)
			m.hears(want...)
			m.Close()
			synctest.Wait()
		}
		for _, r := range []string{"r1", "r2"} {
			check(r, epoch+".5", at(5, ""))
			check(r, epoch+".3", at(3, ""), "4 m4", "5 m5")
			check(r, epoch+".0", at(0, ""), "1 m1", "2 m2", "3 m3", "4 m4", "5 m5")
			check(r, "0", at(0, ""), "1 m1", "2 m2", "3 m3", "4 m4", "5 m5")
			check(r, epoch+".9", at(5, " reset"))
			check(r, "aaaaaaaaaaaaa.2", at(0, " reset"), "1 m1", "2 m2", "3 m3", "4 m4", "5 m5")
		}
		// A live join hears nothing of the past.
		b := w.join("r2", "room=a&num=1")
		b.hears(at(5, ""))
		a.say("m6")
		b.hears("6 m6")
		b.Close()

		// Beyond the history, once the live window has passed.
		for i := 7; i <= 30; i++ {
			a.say(fmt.Sprint("m", i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var kept []string
		for i := 21; i <= 30; i++ {
			kept = append(kept, fmt.Sprintf("%d m%d", i, i))
		}
		for _, r := range []string{"r2", "r1"} {
			check(r, epoch+".20", append([]string{at(20, "")}, kept...)...)
			check(r, epoch+".19", append([]string{at(20, " gap")}, kept...)...)
			check(r, "0", append([]string{at(20, "")}, kept...)...)
		}
	})
}

// A router that was away for longer than the owner keeps tells its members of
// the gap, and goes on with what is kept.
func TestGapInMidStream(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.shard("s1", 1, shard.Config{HistoryMessages: 10})
		w.router("r1", router.Config{})
		w.router("r2", router.Config{})
		speaker, plain, numbered := w.join("r1", "room=a&num=1"), w.join("r2", "room=a"), w.join("r2", "room=a&num=1")
		epoch := epochOf(t, numbered.take()[0])
		speaker.say("m1", "m2")
		w.cut("r2")
		for i := 3; i <= 30; i++ {
			speaker.say(fmt.Sprint("m", i))
		}
		time.Sleep(40 * time.Second)
		w.heal("r2")
		time.Sleep(5 * time.Second)
		speaker.say("m31")
		want := []string{"1 m1", "2 m2", "!" + epoch + ".20 gap"}
		for i := 21; i <= 31; i++ {
			want = append(want, fmt.Sprintf("%d m%d", i, i))
		}
		numbered.hears(want...)
		plain.hears(append([]string{"m1", "m2"}, numbers("m", 21, 31)...)...)
	})
}

// Who comes back after the members of its room went on hears what it missed,
// also at another router, once.
func TestResumeElsewhere(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(3, 2)
		a, b := w.join("r1", "room=a"), w.join("r2", "room=a&num=1")
		epoch := epochOf(t, b.take()[0])
		a.say("1", "2")
		b.hears("1 1", "2 2")
		b.Close()
		a.say("3", "4")
		for _, r := range []string{"r1", "r2"} {
			c := w.join(r, "room=a&since="+epoch+".2")
			c.hears("!"+epoch+".2", "3 3", "4 4")
		}
	})
}

// A room that is empty for the history's age is forgotten and comes back with
// another epoch. One that somebody is in keeps it.
func TestAnEmptyRoomIsForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.shard("s1", 1, shard.Config{HistoryAge: 30 * time.Second})
		w.router("r1", router.Config{})
		stays, leaves := w.join("r1", "room=stays&num=1"), w.join("r1", "room=leaves&num=1")
		kept, gone := epochOf(t, stays.take()[0]), epochOf(t, leaves.take()[0])
		stays.say("x")
		leaves.say("x")
		leaves.Close()
		time.Sleep(20 * time.Second)
		back := w.join("r1", "room=leaves&since="+gone+".0")
		back.hears("!"+gone+".0", "1 x")
		back.Close()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if doc := w.room("s1", "leaves"); doc != nil {
			t.Errorf("still there: %+v", doc)
		}
		line := w.join("r1", "room=leaves&since="+gone+".1").take()
		if fresh := epochOf(t, line[0]); fresh == gone || line[0] != "!"+fresh+".0 reset" {
			t.Errorf("first line %q after epoch %s", line, gone)
		}
		if doc := w.room("s1", "stays"); doc == nil || doc.Epoch != kept {
			t.Errorf("a room with a member: %+v", doc)
		}
		w.router("r2", router.Config{})
		w.join("r2", "room=stays&num=1").hears("!" + kept + ".1")
		stays.say("y")
		stays.hears("1 x", "2 y")
	})
}

func TestMemberCounts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(3, 2)
		var members []*member
		for i := range 7 {
			members = append(members, w.join(fmt.Sprint("r", min(i, 4)/4+1), "room=a"))
		}
		check := func(r1, r2 int) {
			t.Helper()
			time.Sleep(time.Second)
			for _, at := range []string{"s1", "s2", "s3", "r1", "r2"} {
				doc := w.room(at, "a")
				if doc == nil || doc.Members != r1+r2 || doc.Routers["r1"] != r1 || doc.Routers["r2"] != r2 {
					t.Fatalf("%s says %+v, want %d and %d members", at, doc, r1, r2)
				}
			}
		}
		check(4, 3)
		members[0].say("x")
		if doc := w.room("r2", "a"); doc.Offset != 1 || doc.Kept != 1 || doc.Bytes != 1 {
			t.Errorf("after a message: %+v", doc)
		}
		members[0].Close()
		members[6].Reset()
		check(3, 2)
		w.kill("r2")
		time.Sleep(3 * time.Second)
		if doc := w.room("r1", "a"); doc.Members != 3 || doc.Routers["r1"] != 3 || doc.Routers["r2"] != 0 {
			t.Errorf("after the router died: %+v", doc)
		}
		if doc := w.room("r1", "nobody-was-here"); doc != nil {
			t.Errorf("unknown room: %+v", doc)
		}
	})
}

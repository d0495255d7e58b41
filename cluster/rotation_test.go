package cluster

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

func gossipKeys(letters string) (keys [][]byte) {
	for i := range letters {
		keys = append(keys, bytes.Repeat([]byte{letters[i]}, 32))
	}
	return keys
}

// Gossip goes on while its keys are replaced, step by step: nobody is suspected, and what is announced in
// the middle of a step is heard by all. Then the old key opens nothing.
func TestGossipKeysRotate(t *testing.T) {
	keyed := func(letters string, more ...*gossiper) func(*GossipConfig) {
		return func(c *GossipConfig) {
			c.Keys = gossipKeys(letters)
			seeds(more...)(c)
		}
	}
	a := openGossip(t, "a", keyed("A"))
	b := openGossip(t, "b", keyed("A", a))
	c := openGossip(t, "c", keyed("A", a))
	all := []*gossiper{a, b, c}
	for _, g := range all {
		waitFor(t, g, "all three", sees(Alive, all...))
	}
	for step, letters := range []string{"AB", "BA", "B"} {
		for i, g := range all {
			if err := g.SetKeys(gossipKeys(letters)); err != nil {
				t.Fatal(err)
			}
			for k, speaker := range all { // in every state that a step goes through, everybody is heard
				voter := proto.MakeNodeName(speaker.name.ID(), proto.Incarnation(100*step+10*i+k+1))
				speaker.Announce(Announced{Instance: inst, Voter: voter})
				for _, hearer := range all {
					waitFor(t, hearer, fmt.Sprint(speaker.name, " says ", voter), func(v *View) bool {
						n, ok := v.Node(speaker.name)
						return ok && n.State == Alive && n.Voter == voter
					})
				}
			}
		}
	}
	for _, g := range all {
		if n := g.Stats().Verdicts; n > 0 {
			t.Errorf("%s called %d nodes dead", g.name, n)
		}
	}
	late := openGossip(t, "late", keyed("B", a))
	waitFor(t, late, "all", sees(Alive, all...))
	waitFor(t, a, "the new one", sees(Alive, late))
	stranger := openGossip(t, "old", keyed("A", a))
	_, err := stranger.list.Join([]string{a.Addr()})
	if err == nil || len(stranger.Nodes()) != 1 {
		t.Errorf("with the old key: %v, sees %d nodes", err, len(stranger.Nodes()))
	}
}

func TestGossipKeysThatAreNone(t *testing.T) {
	g := openGossip(t, "g", func(c *GossipConfig) { c.Keys = gossipKeys("A") })
	for _, keys := range [][][]byte{nil, {[]byte("short")}, append(gossipKeys("AB"), nil)} {
		if err := g.SetKeys(keys); err == nil {
			t.Errorf("%q was taken", keys)
		}
	}
	if held := g.keyring.GetKeys(); !slices.EqualFunc(held, gossipKeys("A"), bytes.Equal) {
		t.Errorf("the keys are %q", held)
	}
	bare := openGossip(t, "bare", nil)
	if err := bare.SetKeys(gossipKeys("A")); err == nil {
		t.Error("gossip that began without keys took one")
	}
}

// Whatever the keys were and are to be: in the end a keyring has exactly those, the first first.
func TestKeyring(t *testing.T) {
	some := rapid.Custom(func(t *rapid.T) [][]byte {
		return gossipKeys(string(rapid.SliceOfNDistinct(rapid.RuneFrom([]rune("ABCDEFGH")), 1, 8, rapid.ID).Draw(t, "letters")))
	})
	rapid.Check(t, func(t *rapid.T) {
		old, next := some.Draw(t, "old"), some.Draw(t, "new")
		ring, err := memberlist.NewKeyring(old, old[0])
		if err != nil {
			t.Fatal(err)
		}
		err = setKeyring(ring, next)
		held := ring.GetKeys()
		if err != nil || !bytes.Equal(held[0], next[0]) || letters(held) != letters(next) {
			t.Fatalf("from %s to %s: %s, %v", letters(old), letters(next), letters(held), err)
		}
	})
}

// Who decrypts while a keyring changes, as memberlist does without a lock, finds whole keys; and the race
// detector nothing.
func TestKeyringIsReadMeanwhile(t *testing.T) {
	steps := []string{"ABC", "AC", "CAB", "CB", "BCA", "BA", "ABC"}
	ring, err := memberlist.NewKeyring(gossipKeys(steps[0]), gossipKeys(steps[0])[0])
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	stop, reads := make(chan struct{}), make(chan struct{}, 1)
	for range 2 {
		readers.Go(func() {
			for {
				for _, key := range ring.GetKeys() {
					if len(bytes.Trim(key, "ABC")) > 0 || len(key) != 32 {
						t.Errorf("key %q", key)
					}
				}
				signal(reads)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 70 {
		<-reads
		if err := setKeyring(ring, gossipKeys(steps[i%len(steps)])); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
}

// letters names keys, in no order.
func letters(keys [][]byte) string {
	var list []string
	for _, k := range keys {
		list = append(list, string(k[:1]))
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

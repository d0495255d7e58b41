package router

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestKeysAreRememberedForATime(t *testing.T) {
	k := keys{limit: 1 << 20}
	start := time.Unix(9, 0)
	name := keyName{"lobby", "a"}
	first, what := k.use(name, digest{1}, start)
	if what != recallNew {
		t.Fatal("a new key is not new")
	}
	first.outcome.position.Offset = 7
	late := start.Add(keyTime - 1)
	if r, what := k.use(name, digest{1}, late); what != recallSame || r != first {
		t.Errorf("the same message is %v", what)
	}
	if r, what := k.use(name, digest{2}, late); what != recallOther || r != nil {
		t.Errorf("another message is %v", what)
	}
	if _, what := k.use(keyName{"garden", "a"}, digest{2}, late); what != recallNew {
		t.Errorf("the key in another room is %v", what)
	}
	if r, what := k.use(name, digest{2}, start.Add(keyTime)); what != recallNew || r == first {
		t.Errorf("after its time it is %v", what)
	}
	k.expire(late.Add(2 * keyTime))
	if k.held != 0 || k.oldest != nil || k.newest != nil || k.byName != nil || k.rooms != nil {
		t.Errorf("something is left: %+v", k)
	}
}

// When it is full, the old are kept and the new are refused.
func TestKeysAreBounded(t *testing.T) {
	now := time.Unix(9, 0)
	k := keys{limit: 1 << 30}
	for i := range maxRoomKeys {
		if _, what := k.use(keyName{"lobby", fmt.Sprint(i)}, digest{}, now); what != recallNew {
			t.Fatalf("key %d: %v", i, what)
		}
	}
	if _, what := k.use(keyName{"lobby", "one more"}, digest{}, now); what != recallRoomFull {
		t.Errorf("above the bound of a room: %v", what)
	}
	if _, what := k.use(keyName{"lobby", "0"}, digest{}, now); what != recallSame {
		t.Error("the oldest is gone")
	}
	if _, what := k.use(keyName{"garden", "one more"}, digest{}, now); what != recallNew {
		t.Error("a room fills another one")
	}
	long := keys{limit: 1 << 30}
	n := 0
	for ; ; n++ {
		if _, what := long.use(keyName{strings.Repeat("r", 255), fmt.Sprintf("%0128d", n)}, digest{}, now); what != recallNew {
			break
		}
	}
	if most := maxRoomKeyBytes / (keyCost + 255 + 128); n != most {
		t.Errorf("%d long keys in a room, want %d", n, most)
	}
	small := keys{limit: 1000}
	for n = 0; ; n++ {
		if _, what := small.use(keyName{fmt.Sprint(n), "k"}, digest{}, now); what != recallNew {
			if what != recallFull {
				t.Errorf("above the bound of all: %v", what)
			}
			break
		}
	}
	if n != 3 || small.held > small.limit {
		t.Errorf("%d keys, %d bytes of %d", n, small.held, small.limit)
	}
}

// TestKeysModel holds the table against a map that never forgets.
func TestKeysModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type entry struct {
			digest digest
			first  time.Time
		}
		k := keys{limit: rapid.IntRange(0, 5000).Draw(t, "limit")}
		model := map[keyName]entry{}
		now := time.Unix(9, 0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "pause")) * time.Second)
			name := keyName{fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "room")), fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "key"))}
			d := digest{byte(rapid.IntRange(0, 1).Draw(t, "digest"))}
			for n, e := range model {
				if now.Sub(e.first) >= keyTime {
					delete(model, n)
				}
			}
			r, what := k.use(name, d, now)
			e, known := model[name]
			switch {
			case known && e.digest == d && what == recallSame:
			case known && e.digest != d && what == recallOther:
			case !known && what == recallNew:
				if model[name] = (entry{d, now}); rapid.IntRange(0, 4).Draw(t, "forget") == 0 {
					k.forget(r)
					k.forget(r)
					delete(model, name)
				}
			case !known && what == recallFull:
				if free := k.limit - k.held; free >= keyCost+2 {
					t.Fatalf("refused with %d bytes free", free)
				}
			default:
				t.Fatalf("%v is known: %v, and found to be %v", name, known, what)
			}
			cost := 0
			for n := range model {
				cost += keyCost + len(n.room) + len(n.key)
			}
			if len(k.byName) != len(model) || k.held != cost || k.held > k.limit {
				t.Fatalf("%d keys with %d bytes, want %d with %d of %d", len(k.byName), k.held, len(model), cost, k.limit)
			}
		}
	})
}

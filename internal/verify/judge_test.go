package verify

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/roomring/roomring/proto"
)

// court is a judge, what it noted, and the messages that were sent.
type court struct {
	t     *testing.T
	judge *judge
	codec codec
	now   int64
	sent  []letter
	count map[kind]int
	noted []fault
}

// letter is a message that somebody sent.
type letter struct {
	payload  []byte
	isBinary bool
}

func newCourt(t *testing.T, members, limit int) *court {
	c := &court{t: t, codec: codec{7, MinSize}, count: map[kind]int{}}
	c.judge = newJudge(c.codec, 0, members, limit, func(f fault) {
		c.count[f.kind] += int(max(f.count, 1))
		c.noted = append(c.noted, f)
	})
	return c
}

// send has a member send a message, and returns its number, from 1.
func (c *court) send(m int) int {
	c.now += int64(time.Millisecond)
	isBinary := m%2 == 1
	c.sent = append(c.sent, letter{c.judge.send(nil, m, isBinary, c.now), isBinary})
	return len(c.sent)
}

func (c *court) hear(m int, offset uint64, l letter) {
	c.now += int64(time.Millisecond)
	c.judge.came(m, offset, l.payload, l.isBinary, c.now)
}

func (c *court) line(m, epoch int, offset uint64, what told) {
	c.now += int64(time.Millisecond)
	c.judge.heard(m, line{proto.Position{Epoch: proto.MintEpoch(uint64(epoch)), Offset: proto.Offset(offset)}, what}, c.now)
}

// play acts out a story to its end.
func (c *court) play(story string) {
	c.act(story)
	c.judge.finish(c.now)
}

// act acts out a story: one word per thing that happens, the member (0 to 9) first.
//
//	0+       opens a socket            0-   it closes for good     0?   it closes and may come back
//	0!2.5    hears the line EPOCH.OFFSET, or 0!2.5gap or 0!2.5reset
//	0>       sends; messages are 1, 2, 3, …
//	0:7=3    hears at offset 7 message 3; 3~ is altered, x is of nobody
//	later    a minute passes
func (c *court) act(story string) {
	for word := range strings.FieldsSeq(story) {
		if word == "later" {
			c.now += int64(time.Minute)
			c.judge.sweep(c.now)
			continue
		}
		m, rest := int(word[0]-'0'), word[2:]
		switch word[1] {
		case '+':
			c.judge.opened(m)
		case '-', '?':
			c.judge.closed(m, word[1] == '-')
		case '>':
			c.send(m)
		case '!':
			c.playLine(m, rest)
		case ':':
			c.playMessage(m, rest)
		default:
			c.t.Fatalf("%q", word)
		}
	}
}

func (c *court) playLine(m int, text string) {
	what := whole
	if rest, ok := strings.CutSuffix(text, "gap"); ok {
		text, what = rest, missed
	} else if rest, ok := strings.CutSuffix(text, "reset"); ok {
		text, what = rest, anew
	}
	var epoch int
	var offset uint64
	if _, err := fmt.Sscanf(text, "%d.%d", &epoch, &offset); err != nil {
		c.t.Fatalf("%q", text)
	}
	c.line(m, epoch, offset, what)
}

func (c *court) playMessage(m int, text string) {
	at, which, _ := strings.Cut(text, "=")
	offset, _ := strconv.ParseUint(at, 10, 64)
	which, bad := strings.CutSuffix(which, "~")
	if which == "x" {
		c.hear(m, offset, letter{[]byte("who said that?"), false})
		return
	}
	n, err := strconv.Atoi(which)
	if err != nil {
		c.t.Fatalf("%q", text)
	}
	l := c.sent[n-1]
	if bad {
		l.payload = flip(l.payload, headBytes)
	}
	c.hear(m, offset, l)
}

func TestJudge(t *testing.T) {
	const two = "0+ 1+ 0!1.0 1!1.0 " // two members
	tests := []struct {
		name, story string
		want        map[kind]int
	}{
		{"all is well", two + "0> 1> 0:1=1 1:1=1 1:2=2 0:2=2", nil},
		{"nobody came", "", nil},
		{"a late beginning", "0+ 0!1.41 0> 0:42=1 1+ 1!1.41 1:42=1", nil},
		{"a member that joined before what the first one heard", "0+ 1+ 0!1.2 1!1.0 0> 0> 0> 1:1=1 1:2=2 1:3=3 0:3=3", nil},

		{"lost to one", two + "0> 0> 0:1=1 0:2=2 1:2=2", map[kind]int{lost: 1}},
		{"the last lost to one", two + "0> 0> 0:1=1 0:2=2 1:1=1", map[kind]int{lost: 1}},
		{"lost to all, with its offset", two + "0> 0> 0:2=2 1:2=2", map[kind]int{lost: 1}},
		{"lost to all, without an offset", two + "0> 0> 0:1=2 1:1=2", map[kind]int{lost: 1}},
		{"owed, and nobody heard it", two + "0>", map[kind]int{lost: 1}},
		{"lost to one, known late", two + "0> 0> 0:1=1 0:2=2 1:2=2 later later", map[kind]int{lost: 1}},
		{"lost, and found late", two + "0> 0> 0:1=1 0:2=2 1:2=2 later later 1:1=1", map[kind]int{reordered: 1}},
		{"not lost to one that left", two + "0> 0> 0:1=1 0:2=2 1:1=1 1-", nil},
		{"but what it went past is", two + "0> 0> 0:1=1 0:2=2 1:2=2 1-", map[kind]int{lost: 1}},
		{"a hole when the socket is gone", two + "0> 0> 0- 1:2=2", map[kind]int{lost: 1, unplaced: 1}},
		{"unplaced", two + "0> 0> 0:1=1 1:1=1 0-", map[kind]int{unplaced: 1}},
		{"sent, closed, and heard", two + "0> 0- 1:1=1", nil},
		{"a jump that is none", two + "0> 0:9000000=1 0:1=1 1:1=1", map[kind]int{malformed: 1}},
		{"a line that leaps", two + "0> 0:1=1 1:1=1 1!1.4000000gap", map[kind]int{malformed: 1}},
		{"a line that is too high", two + "0!2.18446744073709551615reset", map[kind]int{malformed: 1}},
		{"far from each other", "0+ 1+ 0!1.0 1!1.1000000 0> 1:1000001=1", map[kind]int{lost: 1000001}},
		{"offset 0", two + "0> 0:0=1 0:1=1 1:1=1", map[kind]int{malformed: 1}},

		{"again to one", two + "0> 0:1=1 0:1=1 1:1=1", map[kind]int{doubled: 1}},
		{"again to all counts once", two + "0> 0:1=1 0:1=1 1:1=1 1:1=1", map[kind]int{doubled: 1}},
		{"again, late", two + "0> 0:1=1 1:1=1 0> 0:2=2 1:2=2 later 0:1=1", map[kind]int{doubled: 1}},
		{"at two offsets", two + "0> 0:1=1 0:2=1 1:1=1 1:2=1", map[kind]int{doubled: 1}},
		{"at two offsets, late", two + "0> 0:1=1 1:1=1 later 0> 0:2=2 1:2=2 later 0:3=1 1:3=1", map[kind]int{doubled: 1}},

		{"after a later one", two + "0> 0> 0:1=1 0:2=2 1:2=2 1:1=1", map[kind]int{reordered: 1}},
		{"out of a publisher's order", two + "0> 0> 0:1=2 0:2=1 1:1=2 1:2=1", map[kind]int{reordered: 1}},
		{"two publishers have no order", two + "0> 1> 0:1=2 0:2=1 1:1=2 1:2=1", nil},
		{"nor have two sockets of one", two + "0> 0? 0+ 0!1.0 0> 0:1=2 1:1=2 0:2=1 1:2=1", nil},

		{"invented", two + "0:1=x 1:1=x", map[kind]int{invented: 1}},
		{"invented instead of one", two + "0> 0:1=1 1:1=x", map[kind]int{invented: 1, lost: 1}},
		{"invented before one", two + "0> 0:1=1 1:1=x 1:1=1", map[kind]int{invented: 1}},
		{"altered for one", two + "0> 0:1=1 1:1=1~", map[kind]int{altered: 1}},
		{"altered for the first one", two + "0> 0:1=1~ 1:1=1", map[kind]int{altered: 1}},
		{"altered for all", two + "0> 0:1=1~ 1:1=1~", map[kind]int{altered: 1}},
		{"altered for all, long ago", two + "0> 0:1=1~ 1:1=1~ later 0> 0:2=2 1:2=2 later", map[kind]int{altered: 1}},

		{"two contents", two + "2+ 2!1.0 0> 1> 0:1=1 1:1=1 2:1=2 0:2=2 1:2=2 2:2=2", map[kind]int{conflict: 1, disagree: 1}},
		{"two contents, the odd one first", two + "2+ 2!1.0 0> 1> 2:1=2 0:1=1 1:1=1 0:2=2 1:2=2 2:2=2", map[kind]int{conflict: 1, disagree: 1}},

		{"a gap", two + "0> 0> 0:1=1 0:2=2 1!1.1gap 1:2=2", map[kind]int{gap: 1, taken: 1}},
		{"a gap at the end", two + "0> 0> 0:1=1 0:2=2 1!1.2gap", map[kind]int{gap: 1, taken: 2}},
		{"a gap for two takes a message once", two + "2+ 2!1.0 0> 0> 0:1=1 0:2=2 1!1.1gap 1:2=2 2!1.1gap 2:2=2", map[kind]int{gap: 2, taken: 1}},
		{"a gap and then back below it, late", two + "0> 0:1=1 1!1.1gap later later 1!1.0reset 1:1=1", map[kind]int{gap: 1, reset: 1}},
		{"a gap that is told late", two + "0> 0> 0:1=1 0:2=2 later later 1!1.2gap", map[kind]int{gap: 1, taken: 2}},
		{"a gap and then back below it", two + "0> 0> 0:1=1 0:2=2 1!1.2gap 1!1.1reset 1:2=2", map[kind]int{gap: 1, reset: 1, taken: 1}},
		{"a gap takes what nobody heard", two + "0> 0!1.1gap 1!1.1gap", map[kind]int{gap: 2}},
		{"a gap takes nothing that is sent later", two + "0!1.1gap 1!1.1gap 0>", map[kind]int{gap: 2, lost: 1}},
		{"a gap that goes back", two + "0> 0:1=1 1:1=1 1!1.0gap 1:1=1", map[kind]int{malformed: 1, doubled: 1}},
		{"a line for nothing", two + "0!1.0", map[kind]int{malformed: 1}},
		{"a message before the line", "0+ 1+ 1!1.0 1> 1:1=1 0:1=1", map[kind]int{malformed: 1}},

		{"resumed whole", two + "0> 0> 0:1=1 0:2=2 1:1=1 1? 1+ 1!1.1 1:2=2", nil},
		{"resumed with a gap", two + "0> 0> 0:1=1 0:2=2 1? 1+ 1!1.1gap 1:2=2", map[kind]int{gap: 1, taken: 1}},
		{"a resume that skips", two + "0> 0> 0:1=1 0:2=2 1? 1+ 1!1.0 1:2=2", map[kind]int{lost: 1}},
		{"a resume that says it skips, and not why", two + "0> 0> 0:1=1 0:2=2 1? 1+ 1!1.1 1:2=2", map[kind]int{lost: 1, malformed: 1}},
		{"a resume that repeats", two + "0> 0> 0:1=1 0:2=2 1:1=1 1:2=2 1? 1+ 1!1.2 1:2=2", map[kind]int{doubled: 1}},
		{"never back", two + "0> 0> 0:1=1 0:2=2 1?", nil},

		{"a reset", two + "0> 0:1=1 1:1=1 0!2.0reset 1!2.0reset 0> 0:1=2 1:1=2", map[kind]int{reset: 2}},
		{"a reset takes what nobody heard", two + "0> 0!2.0reset 1!2.0reset", map[kind]int{reset: 2}},
		{"a reset and the same message again", two + "0> 0:1=1 1:1=1 0!2.0reset 1!2.0reset 0:1=1 1:1=1", map[kind]int{reset: 2}},
		{"a new epoch without a reset", two + "0!2.0 1!2.0", map[kind]int{malformed: 2}},
		{"without a reset what was missed is lost", two + "0> 0:1=1 1!2.0", map[kind]int{malformed: 1, lost: 1}},
		{"without a reset nothing may come again", two + "0> 0:1=1 1:1=1 0!2.0 1!2.0 0:1=1 1:1=1", map[kind]int{malformed: 2, doubled: 1}},
		{"one is not told of the reset", two + "0!2.0reset 0> 0:1=1", map[kind]int{reset: 1, lost: 1}},
		{"a reset that skips", two + "0> 0> 0!2.0reset 0:1=1 0:2=2 1!2.1reset 1:2=2", map[kind]int{reset: 2, taken: 1}},
		{"a reset takes what one had not heard yet", two + "0> 0> 0:1=1 0:2=2 1:1=1 0!2.0reset 1!2.0reset", map[kind]int{reset: 2, taken: 1}},
		{"a reset takes nothing that stands in the new epoch", two + "0> 0:1=1 0!2.0reset 1!2.0reset 0:1=1 1:1=1", map[kind]int{reset: 2}},
		{"a reset past a whole life of the room", two + "0> 0> 0:1=1 0:2=2 1:1=1 1:2=2 0!2.0reset 0> 0:1=3 0!3.0reset 1!3.0reset", map[kind]int{reset: 3, taken: 1}},
		{"a reset takes what is known late", two + "0> 1!2.0reset 0:1=1 0!2.0reset later later", map[kind]int{reset: 2, taken: 1}},
		{"a reset takes nothing from one that comes later", "0+ 0!1.0 0> 0:1=1 0!2.0reset 1+ 1!2.0", map[kind]int{reset: 1}},
		{"a reset back in the same epoch", two + "0> 0> 0:1=1 0:2=2 1:1=1 1:2=2 1!1.1reset 1:2=2", map[kind]int{reset: 1}},
		{"two offsets in the new epoch", two + "0> 0!2.0reset 1!2.0reset 0:1=1 0:2=1 1:1=1 1:2=1", map[kind]int{reset: 2, doubled: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, limit := range []int{1 << 12, 1} { // with one slot, much is forgotten early
				if limit == 1 && breaks(test.want) {
					continue // what was forgotten cannot be compared
				}
				c := newCourt(t, 3, limit)
				c.play(test.story)
				want := test.want
				if want == nil {
					want = map[kind]int{}
				}
				if diff := cmp.Diff(want, c.count); diff != "" {
					t.Errorf("with %d slots (-want +got):\n%s%+v", limit, diff, c.noted)
				}
			}
		})
	}
}

func TestAGapTakesWhatIsHeardAfterIt(t *testing.T) {
	for _, story := range []string{"0:1=1 0:2=2", "later later 0:1=1 0:2=2"} {
		c := newCourt(t, 2, 1<<12)
		c.play("0+ 1+ 0!1.0 1!1.0 0> 0> 1!1.1gap 1:2=2 " + story)
		if diff := cmp.Diff(map[kind]int{gap: 1, taken: 1}, c.count); diff != "" {
			t.Errorf("%s (-want +got):\n%s%+v", story, diff, c.noted)
		}
	}
}

func TestALossIsKnownByNameLongAfter(t *testing.T) {
	c := newCourt(t, 2, 1<<12)
	c.play("0+ 1+ 0!1.0 1!1.0 0> 0> 0:1=1 0:2=2 1:2=2 later later")
	if len(c.noted) != 1 || c.noted[0].seq != 1 || c.noted[0].member != 1 || !c.noted[0].sent || c.noted[0].at >= int64(time.Second) {
		t.Errorf("%+v", c.noted)
	}
	if l := c.judge.ledgers[0]; len(l.slots) != 0 || len(l.kept) != 1 {
		t.Errorf("%d slots, %d kept", len(l.slots), len(l.kept))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := newCourt(t, 2, 100)
	c.act("0+ 1+ 0!1.0 1!1.0")
	for n := range uint64(10_000) { // member 1 lags behind for ever
		c.hear(0, n+1, c.sent[c.send(0)-1])
		if n == 5000 {
			c.hear(1, 1, c.sent[0])
		}
	}
	l := c.judge.ledgers[0]
	if len(l.slots) > 120 || cap(l.slots) > 1000 || len(c.judge.streams[0].unseen) > 0 || len(c.judge.streams[0].tracks[0].seen) != 1 {
		t.Errorf("%d slots of %d, %d streams", len(l.slots), cap(l.slots), len(c.judge.streams))
	}
	for n := range uint64(10_000 - 1) {
		c.hear(1, n+2, c.sent[n+1])
	}
	c.judge.finish(c.now)
	if len(c.noted) > 0 {
		t.Errorf("%+v", c.noted[0])
	}
}

func breaks(count map[kind]int) bool {
	for k := range count {
		if k.breaks() {
			return true
		}
	}
	return false
}

// history is a room to which anything happens that may, or a bit more.
type history struct {
	*court
	*rapid.T
	limit  int
	swept  bool
	epoch  int
	log    []int         // messages by offset - 1
	past   map[int][]int // logs of earlier epochs
	flying []flight
	all    []flight // ever
	ears   []listener
	heard  map[[2]int]bool // epoch and message: somebody heard it
	had    map[[3]int]bool // and this member did
	missed map[[3]int]bool // this member was told that it would not
}

// flight is a message that was sent and has no offset yet.
type flight struct{ from, socket, message int }

type listener struct {
	open          bool
	epoch, socket int
	pos           uint64
}

func newHistory(t *testing.T, rt *rapid.T) *history {
	members := rapid.IntRange(1, 4).Draw(rt, "members")
	limit := rapid.SampledFrom([]int{1, 4, 1 << 12}).Draw(rt, "limit")
	h := &history{court: newCourt(t, members, limit), T: rt, limit: limit, epoch: 1,
		past: map[int][]int{}, heard: map[[2]int]bool{}, had: map[[3]int]bool{}, missed: map[[3]int]bool{}}
	h.ears = make([]listener, members)
	for m := range h.ears {
		h.open(m)
	}
	return h
}

// open opens a socket, which is told where it is.
func (h *history) open(m int) {
	e := &h.ears[m]
	h.judge.opened(m)
	e.open = true
	e.socket++
	switch kept := uint64(rapid.IntRange(0, len(h.log)).Draw(h.T, "kept")); {
	case e.epoch == 0:
		e.epoch, e.pos = h.epoch, uint64(len(h.log))
		h.line(m, e.epoch, e.pos, whole)
	case e.epoch != h.epoch:
		h.reset(m, kept)
	case e.pos < kept:
		h.miss(m, h.epoch, h.log[e.pos:kept])
		e.pos = kept
		h.line(m, e.epoch, e.pos, missed)
	default:
		h.line(m, e.epoch, e.pos, whole)
	}
}

// miss notes messages of an epoch that a member will not hear.
func (h *history) miss(m, epoch int, messages []int) {
	for _, n := range messages {
		h.missed[[3]int{epoch, n, m}] = true
	}
}

// taken is how many of those somebody heard, but for what stands in a later epoch again.
func (h *history) taken() int {
	found := map[[2]int]bool{}
	for one := range h.missed {
		at := [2]int{one[0], one[1]}
		again := slices.ContainsFunc(slices.Collect(maps.Keys(h.heard)), func(other [2]int) bool { return other[1] == at[1] && other[0] > at[0] })
		if h.heard[at] && !h.had[one] && !again {
			found[at] = true
		}
	}
	return len(found)
}

func (h *history) reset(m int, kept uint64) {
	e := &h.ears[m]
	for epoch := e.epoch; epoch < h.epoch; epoch++ {
		from := uint64(0)
		if epoch == e.epoch {
			from = e.pos
		}
		h.miss(m, epoch, h.past[epoch][from:])
	}
	h.miss(m, h.epoch, h.log[:kept])
	e.epoch, e.pos = h.epoch, kept
	h.line(m, e.epoch, e.pos, anew)
}

func (h *history) close(m int) {
	h.ears[m].open = false
	h.judge.closed(m, false)
}

// fly has a member send a message.
func (h *history) fly(m int) {
	f := flight{m, h.ears[m].socket, h.send(m)}
	h.flying, h.all = append(h.flying, f), append(h.all, f)
}

// place gives an offset to the first message of a socket that is on its way.
func (h *history) place() {
	if len(h.flying) == 0 {
		return
	}
	f := h.flying[rapid.IntRange(0, len(h.flying)-1).Draw(h.T, "flight")]
	for i, first := range h.flying {
		if first.from == f.from && first.socket == f.socket {
			h.flying = append(h.flying[:i], h.flying[i+1:]...)
			h.log = append(h.log, first.message)
			return
		}
	}
}

// deliver has a member hear what is next, if there is something.
func (h *history) deliver(m int) bool {
	e := &h.ears[m]
	if !e.open {
		return false
	}
	if e.epoch != h.epoch {
		h.reset(m, 0)
		return true
	}
	if e.pos == uint64(len(h.log)) {
		return false
	}
	e.pos++
	h.heard[[2]int{h.epoch, h.log[e.pos-1]}] = true
	h.had[[3]int{h.epoch, h.log[e.pos-1], m}] = true
	h.hear(m, e.pos, h.sent[h.log[e.pos-1]-1])
	return true
}

// step is one thing that happens.
func (h *history) step() {
	m := rapid.IntRange(0, len(h.ears)-1).Draw(h.T, "member")
	switch rapid.SampledFrom([]string{"send", "send", "place", "place", "deliver", "deliver", "deliver", "deliver", "close", "open", "gap", "again", "reset", "later"}).Draw(h.T, "step") {
	case "send":
		if h.ears[m].open {
			h.fly(m)
		}
	case "place":
		h.place()
	case "deliver":
		h.deliver(m)
	case "close":
		if h.ears[m].open {
			h.close(m)
		}
	case "open":
		if !h.ears[m].open {
			h.open(m)
		}
	case "gap":
		if e := &h.ears[m]; e.open && e.epoch == h.epoch && e.pos < uint64(len(h.log)) {
			h.miss(m, h.epoch, h.log[e.pos:e.pos+1])
			e.pos++
			h.line(m, e.epoch, e.pos, missed)
		}
	case "again":
		if e := &h.ears[m]; e.open && e.epoch == h.epoch && e.pos > 0 {
			e.pos--
			h.line(m, e.epoch, e.pos, anew)
		}
	case "reset":
		if rapid.IntRange(0, 9).Draw(h.T, "seldom") == 0 {
			h.past[h.epoch] = h.log
			h.epoch++
			h.flying = append(h.inDoubt(), h.flying...)
			h.log = nil
		}
	case "later":
		h.now += int64(time.Duration(rapid.IntRange(0, 60).Draw(h.T, "seconds")) * time.Second)
		h.judge.sweep(h.now)
		h.swept = true
	}
}

// inDoubt is what is sent again after a reset: the last message of the old epoch, perhaps.
func (h *history) inDoubt() []flight {
	if n := len(h.log); n > 0 && rapid.Bool().Draw(h.T, "in doubt") {
		return []flight{h.all[h.log[n-1]-1]}
	}
	return nil
}

// settle lets everything arrive.
func (h *history) settle() {
	for len(h.flying) > 0 {
		h.place()
	}
	for m := range h.ears {
		for h.deliver(m) {
		}
	}
}

func TestAnHonestHistoryHasNoFaults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHistory(t, rt)
		for range rapid.IntRange(0, 120).Draw(rt, "steps") {
			h.step()
		}
		h.settle()
		h.judge.finish(h.now)
		if breaks(h.count) {
			rt.Fatalf("faults of an honest room: %v %+v", h.count, h.noted)
		}
		// What was forgotten before anybody heard it is not known.
		if got, want := h.count[taken], h.taken(); got > want || got < want && h.limit == 1<<12 && !h.swept {
			rt.Fatalf("%d messages taken, want %d: %+v", got, want, h.noted)
		}
	})
}

// TestAFaultIsFound bends one delivery of a history in which nothing else is wrong.
func TestAFaultIsFound(t *testing.T) {
	for name, bend := range map[string]struct {
		do   func(h *history, m int, offset uint64, l letter)
		want kind
	}{
		"drop":   {func(*history, int, uint64, letter) {}, lost},
		"repeat": {func(h *history, m int, o uint64, l letter) { h.hear(m, o, l); h.hear(m, o, l) }, doubled},
		"alter": {func(h *history, m int, o uint64, l letter) {
			l.payload = flip(l.payload, rapid.IntRange(0, len(l.payload)-1).Draw(h.T, "byte"))
			h.hear(m, o, l)
		}, altered},
		"invent": {func(h *history, m int, o uint64, _ letter) {
			h.hear(m, o, letter{h.codec.append(nil, stamp{0, uint32(m), 0, 1 << 30, 1}, false), false})
		}, invented},
		"repeat another": {func(h *history, m int, o uint64, l letter) { h.hear(m, o, l); h.hear(m, 1, h.sent[h.log[0]-1]) }, doubled},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				h := newHistory(t, rt)
				for range rapid.IntRange(1, 20).Draw(rt, "messages") {
					m := rapid.IntRange(0, len(h.ears)-1).Draw(rt, "member")
					h.fly(m)
				}
				for len(h.flying) > 0 {
					h.place()
				}
				m := rapid.IntRange(0, len(h.ears)-1).Draw(rt, "bent member")
				at := uint64(rapid.IntRange(1, len(h.log)).Draw(rt, "bent offset"))
				for h.ears[m].pos < at-1 {
					h.deliver(m)
				}
				h.ears[m].pos++
				bend.do(h, m, at, h.sent[h.log[at-1]-1])
				h.settle()
				h.judge.finish(h.now)
				want := map[kind]int{bend.want: 1}
				if bend.want == invented && len(h.ears) > 1 { // in the place of one that the others got
					want[lost] = 1
				}
				if bend.want == lost || bend.want == invented {
					want[lost] = 1
				}
				if diff := cmp.Diff(want, h.count); diff != "" {
					rt.Fatalf("(-want +got):\n%s%+v", diff, h.noted)
				}
			})
		})
	}
}

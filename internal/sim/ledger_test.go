package sim

import (
	"fmt"
	"slices"
	"testing"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/sim/timeline"
	"github.com/roomring/roomring/proto"
)

// TestRecalled: an owner commits so much at once that it has trimmed the first of it before anybody can
// look. The owner that follows commits the same log again, in parts, and members hear what the ledger
// did not see: it must know it then, and hold it against what the members published.
func TestRecalled(t *testing.T) {
	for _, c := range []struct {
		name   string
		second func(n int) int // what the next owner has, by place
		broken bool
	}{
		{"the same log", func(n int) int { return n }, false},
		{"two messages swapped", func(n int) int { return []int{0, 2, 1, 3, 4, 5, 6}[n] }, true},
		{"one that is kept elsewhere", func(n int) int { return []int{0, 1, 2, 10, 4, 5, 6}[n] }, true},
	} {
		w := newRecalled()
		err := w.Play(func() {
			w.own("s0/0000000000001", 1, 10, func(n int) int { return n })
			if e := w.ledger.epochs[0]; slices.Index(e.log, nil) != 0 || e.head() != 10 {
				t.Errorf("%s: the first owner shows all of its log: %v", c.name, e.log)
			}
			w.own("s1/0000000000001", 2, 6, c.second)
		})
		if (err != nil) != c.broken {
			t.Errorf("%s: %v", c.name, err)
		}
		if e := w.ledger.epochs[0]; err == nil && slices.Contains(e.log, nil) {
			t.Errorf("%s: the ledger lacks what the second owner showed: %v", c.name, e.log)
		}
	}
}

// recalled is a World of one room and one router, whose owners keep six messages.
type recalled struct {
	*World
	router *router
}

func newRecalled() *recalled {
	w := &World{Timeline: timeline.New(1, 0, nil), byName: map[proto.NodeName]*node{}}
	w.ledger = newLedger(w)
	w.shape = shape{partitions: 1, shardLanes: 1, rooms: []string{"room"}, minCopies: 1, tight: true, maxMessage: 160}
	r := &router{node: &node{w: w, name: "r0/0000000000001"}, seqs: make([]sequence, 1)}
	for n := range 10 {
		x := &publication{payload: fmt.Sprint("message ", n+1), kind: proto.KindText, room: "room", router: r, seq: proto.Seq(n + 1)}
		r.seqs[0].sent = append(r.seqs[0].sent, x)
		w.ledger.messages[x.payload] = x
	}
	return &recalled{w, r}
}

// own has a shard be the owner since term 1, take so many of the router's messages before anybody looks
// at its log, and show it in a term.
func (w *recalled) own(name proto.NodeName, term proto.Term, count int, which func(int) int) {
	w.Rand = timeline.New(1, 0, nil).Rand // so that each draws the same epoch
	w.startShard(&node{w: w.World, name: name})
	l := w.shards[len(w.shards)-1].lanes[0]
	l.rows[0].Owner, l.rows[0].Term, l.rows[0].Since = name, 1, 1
	l.core.SetTable(0, l.rows[0], w.Time())
	peer := l.core.RouterUp(w.router.name, 0, 1)
	for n := 1; n <= count; n++ {
		x := proto.Publish{Term: 1, Seq: proto.Seq(n), Base: 1, Room: []byte("room"), Payload: fmt.Append(nil, "message ", which(n))}
		if err := l.core.Frame(peer, proto.FramePublish, proto.AppendPublish(nil, &x)[proto.HeaderSize:], w.Time()); err != nil {
			w.Fail("%v", err)
		}
	}
	l.rows[0].Term = term
	l.core.SetTable(0, l.rows[0], w.Time())
	w.ledger.rows[rowKey{0, term}] = plan.Row{Owner: name, Term: term, Since: 1}
	l.audit(0)
}

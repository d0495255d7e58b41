package node_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/internal/rfc6455"
	"github.com/roomring/roomring/proto"
)

// What tests of splits and deaths look on with: a chorus sees what members see, an archive what the
// nodes' Tables say.

// chorus is members with numbers that talk and listen while something happens to the nodes.
type chorus struct {
	w       *world
	singers []*singer
	stopped chan struct{}
	hush    func() // closes stopped
	talkers sync.WaitGroup
}

// singer is a member of a room at a router. The first one there talks, the second listens.
type singer struct {
	*member
	room, router string
	talks        bool
	said         atomic.Int64
}

// line is one message as a member heard it.
type line struct {
	room, epoch string
	offset      int
	text        string
}

// sing has two members in each of the rooms c0, c1, ... at each router. One of them says something
// every few milliseconds until the chorus ends.
func (w *world) sing(rooms int, routers ...string) *chorus {
	w.t.Helper()
	c := &chorus{w: w, stopped: make(chan struct{})}
	c.hush = sync.OnceFunc(func() { close(c.stopped) })
	w.t.Cleanup(c.hush)
	for i := range rooms {
		for _, router := range routers {
			for k := range 2 {
				s := &singer{room: fmt.Sprint("c", i), router: router, talks: k == 0}
				s.member = w.join(router, "num=1&room="+s.room)
				c.singers = append(c.singers, s)
			}
		}
	}
	for _, s := range c.singers {
		if s.talks {
			c.talkers.Go(func() { s.talk(c.stopped) })
		}
	}
	return c
}

func (s *singer) talk(stopped <-chan struct{}) {
	every := time.NewTicker(29 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if _, err := s.Write(rfc6455.Frame(finText, fmt.Sprintf("%s/%d", s.router, s.said.Load()))); err == nil {
				s.said.Add(1)
			}
		case <-stopped:
			return
		}
	}
}

// story is all that a member heard, told apart. It complains when a number is left out.
func (s *singer) story() (lines []line) {
	s.t.Helper()
	s.mu.Lock()
	heard := slices.Clone(s.heard)
	s.mu.Unlock()
	at := line{room: s.room}
	for _, h := range heard {
		if first, ok := strings.CutPrefix(h, "!"); ok {
			position, mark, _ := strings.Cut(first, " ")
			epoch, offset, _ := strings.Cut(position, ".")
			at.offset, _ = strconv.Atoi(offset)
			if at.epoch != "" && (mark == "reset") != (epoch != at.epoch) || mark == "gap" {
				s.t.Errorf("room %s at %s: %q after epoch %s", s.room, s.router, h, at.epoch)
			}
			at.epoch = epoch
			continue
		}
		number, text, _ := strings.Cut(h, " ")
		n, err := strconv.Atoi(number)
		if err != nil || n != at.offset+1 {
			s.t.Errorf("room %s at %s: heard %q after offset %d of epoch %s", s.room, s.router, h, at.offset, at.epoch)
		}
		at.offset, at.text = n, text
		lines = append(lines, at)
	}
	return lines
}

// count is how much the listeners heard, by room and router.
func (c *chorus) count() map[[2]string]int {
	n := make(map[[2]string]int)
	for _, s := range c.singers {
		if !s.talks {
			n[[2]string{s.room, s.router}] = len(s.story())
		}
	}
	return n
}

// flows checks that while do runs, everybody whom serves names hears a message at least every 200 ms.
func (c *chorus) flows(do func(), serves func(room, router string) bool) {
	c.w.t.Helper()
	before, began := c.count(), time.Now()
	do()
	after, least := c.count(), int(time.Since(began)/(200*time.Millisecond))
	for k := range before {
		if n := after[k] - before[k]; serves(k[0], k[1]) && n < least {
			c.w.t.Errorf("room %s at %s heard only %d messages in %v", k[0], k[1], n, time.Since(began))
		}
	}
}

// stop ends the talking, gives the cluster time, and checks what holds whatever happened:
//   - under one offset of an epoch everybody heard the same: no two owners committed;
//   - in each epoch everybody heard all there was, and what each talker said in its order, without
//     holes and once;
//   - all who are left in a room have come to the same end, what was said last included;
//   - no socket was closed, but those at the routers that are gone.
//
// It returns the epochs that each room had.
func (c *chorus) stop(gone ...string) map[string][]string {
	c.w.t.Helper()
	t := c.w.t
	c.hush()
	c.talkers.Wait()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	epochs := make(map[string][]string)
	said := make(map[line]string) // text by room, epoch and offset
	ends := make(map[string]line)
	for _, s := range c.singers {
		story := s.story()
		for _, l := range story {
			at := line{room: l.room, epoch: l.epoch, offset: l.offset}
			if was, ok := said[at]; ok && was != l.text {
				t.Errorf("room %s: %s.%d is both %q and %q", l.room, l.epoch, l.offset, was, l.text)
			}
			said[at] = l.text
			if !slices.Contains(epochs[l.room], l.epoch) {
				epochs[l.room] = append(epochs[l.room], l.epoch)
			}
		}
		checkTalkers(c.w, story)
		if slices.Contains(gone, s.router) {
			continue
		}
		if !s.lives() {
			t.Errorf("room %s: a socket at %s was closed with %d %q", s.room, s.router, s.code, s.reason)
		}
		if len(story) == 0 {
			t.Errorf("room %s: a member at %s heard nothing", s.room, s.router)
			continue
		}
		if last, ok := ends[s.room]; ok && last != story[len(story)-1] {
			t.Errorf("room %s ends for some with %v, for others with %v", s.room, last, story[len(story)-1])
		}
		ends[s.room] = story[len(story)-1]
		if s.talks {
			if last := fmt.Sprintf("%s/%d", s.router, s.said.Load()-1); !slices.ContainsFunc(story, func(l line) bool { return l.text == last }) {
				t.Errorf("room %s: %q, the last word, was not heard", s.room, last)
			}
		}
	}
	return epochs
}

// checkTalkers checks that in each epoch every talker's numbers follow each other.
func checkTalkers(w *world, story []line) {
	w.t.Helper()
	type key struct{ epoch, talker string }
	last := make(map[key]int)
	for _, l := range story {
		talker, number, _ := strings.Cut(l.text, "/")
		n, err := strconv.Atoi(number)
		k := key{l.epoch, talker}
		if was, ok := last[k]; err != nil || ok && n != was+1 {
			w.t.Errorf("room %s: in epoch %s %q follows %s/%d", l.room, l.epoch, l.text, talker, was)
		}
		last[k] = n
	}
}

// whole is stop where nothing may have been lost: it checks too that no room but those that reset
// names has begun anew, and that all that was said there was heard.
func (c *chorus) whole(reset func(room string) bool, gone ...string) {
	c.w.t.Helper()
	t, epochs := c.w.t, c.stop(gone...)
	for _, room := range slices.Sorted(maps.Keys(epochs)) {
		if n := len(epochs[room]); !reset(room) && n != 1 {
			t.Errorf("room %s has had %d epochs", room, n)
		} else if reset(room) && n != 2 {
			t.Errorf("room %s has had %d epochs, want a new one", room, n)
		}
	}
	for _, s := range c.singers {
		if reset(s.room) || slices.Contains(gone, s.router) {
			continue
		}
		heard := len(s.story())
		want := 0
		for _, o := range c.singers {
			if o.room == s.room && o.talks {
				want += int(o.said.Load())
			}
		}
		if len(gone) == 0 && heard != want {
			t.Errorf("room %s: a member at %s heard %d of %d messages", s.room, s.router, heard, want)
		}
	}
}

// never is for whole: no room may begin anew.
func never(string) bool { return false }

// owners is which shard owns each room of the chorus, as a node's Table says.
func (c *chorus) owners(by string) map[string]string {
	c.w.t.Helper()
	owners, table := make(map[string]string), c.w.running[by].Table()
	for _, s := range c.singers {
		owners[s.room] = string(table.Row(proto.PartitionOfString(s.room, partitions)).Owner.ID())
	}
	return owners
}

// archive reads the Tables of all nodes, again and again, and complains when they contradict each
// other: for a term of a partition there is one row, for a version one Table, and no node goes back.
type archive struct {
	w        *world
	rows     map[archiveKey]cluster.Row
	versions map[archiveKey]uint64
	last     map[*running]*cluster.Table
	stopped  chan struct{}
	ended    chan struct{}
}

type archiveKey struct {
	instance  proto.Instance
	partition int    // of a row
	number    uint64 // a term, or a version
}

// keepArchive reads until stop is called, which is at the end of the world at the latest.
func (w *world) keepArchive() (stop func()) {
	a := &archive{
		w: w, rows: map[archiveKey]cluster.Row{}, versions: map[archiveKey]uint64{}, last: map[*running]*cluster.Table{},
		stopped: make(chan struct{}), ended: make(chan struct{}),
	}
	go func() {
		defer close(a.ended)
		every := time.NewTicker(20 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				a.read()
			case <-a.stopped:
				return
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		close(a.stopped)
		<-a.ended
	})
	w.t.Cleanup(stop)
	return stop
}

func (a *archive) read() {
	a.w.mu.Lock()
	nodes := slices.Clone(a.w.started)
	a.w.mu.Unlock()
	for _, r := range nodes {
		t, was := r.Table(), a.last[r]
		if t == nil || t == was {
			continue
		}
		a.last[r] = t
		a.note(r, t, was)
	}
}

func (a *archive) note(r *running, t, was *cluster.Table) {
	if was != nil && was.Instance == t.Instance && t.Version < was.Version {
		a.w.t.Errorf("%s went back from version %d to %d", r.Name(), was.Version, t.Version)
	}
	v := archiveKey{instance: t.Instance, number: t.Version}
	if print, ok := a.versions[v]; ok && print != t.Mark().Fingerprint {
		a.w.t.Errorf("there are two Tables of version %d", t.Version)
	}
	a.versions[v] = t.Mark().Fingerprint
	for p, row := range t.Rows() {
		k := archiveKey{t.Instance, int(p), uint64(row.Term)}
		if other, ok := a.rows[k]; ok && !other.Equal(row) {
			a.w.t.Errorf("partition %d has two rows of term %d: %v and %v", p, row.Term, other, row)
		}
		a.rows[k] = row
		if was != nil && was.Instance == t.Instance && row.Term < was.Row(p).Term {
			a.w.t.Errorf("%s took partition %d back to term %d", r.Name(), p, row.Term)
		}
	}
}

// waitFor waits until done says so and returns how long that took; after within it fails the test.
func (w *world) waitFor(what string, within time.Duration, done func() bool) time.Duration {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		took := time.Since(began)
		if done() {
			return took
		}
		if took > within {
			w.tell()
			w.t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// tell logs where all nodes stand.
func (w *world) tell() {
	for _, id := range w.living() {
		n := w.running[id]
		version, print, voters := uint64(0), "", []proto.NodeName(nil)
		if t := n.Table(); t != nil {
			version, print, voters = t.Version, t.Fingerprint(), t.Voters
		}
		w.t.Logf("%s: version %d, fingerprint %s, voters %v, stance %+v", n.Name(), version, print, voters, n.Stance())
		for _, o := range n.View().Nodes() {
			w.t.Logf("    sees %s %v, voter %s", o.Name, o.State, o.Voter)
		}
	}
}

// agree waits until the nodes (if none are named, all that run) hold one Table that has as many voters
// as it should, and know one leader among them.
func (w *world) agree(within time.Duration, ids ...string) time.Duration {
	w.t.Helper()
	if len(ids) == 0 {
		ids = w.living()
	}
	return w.waitFor(fmt.Sprint(ids, " agree"), within, func() bool { return w.agreed(ids) })
}

func (w *world) agreed(ids []string) bool {
	first := w.running[ids[0]]
	table, leader := first.Table(), first.Stance().Leader
	if table == nil || len(table.Voters) != plan.VotersFor(len(ids)) || !slices.Contains(ids, string(leader.ID())) {
		return false
	}
	for _, v := range table.Voters {
		if !slices.Contains(ids, string(v.ID())) {
			return false
		}
	}
	for _, id := range ids {
		n := w.running[id]
		if t := n.Table(); t == nil || t.Instance != table.Instance || t.Mark() != table.Mark() || n.Stance().Leader != leader {
			return false
		}
	}
	return true
}

// leader is the node that leads, as a node knows it.
func (w *world) leader(by string) string { return string(w.running[by].Stance().Leader.ID()) }

// owns is how many partitions a run has, as a node's Table says.
func (w *world) owns(by string, run proto.NodeName) (n int) {
	for _, row := range w.running[by].Table().Rows() {
		if row.Owner == run {
			n++
		}
	}
	return n
}

// split makes the network between two groups silent; gossip notices 1.2 s later.
func (w *world) split(a, b []string) {
	w.cross(a, b, w.net.Cut)
	time.Sleep(1200 * time.Millisecond)
	w.hearsay(a, b, true)
}

// unsplit ends a split; gossip notices half a second later.
func (w *world) unsplit(a, b []string) {
	w.cross(a, b, w.net.Heal)
	time.Sleep(500 * time.Millisecond)
	w.hearsay(a, b, false)
}

func (w *world) cross(a, b []string, do func(from, to string)) {
	for _, x := range a {
		for _, y := range b {
			do(w.running[x].ip, w.running[y].ip)
			do(w.running[y].ip, w.running[x].ip)
		}
	}
}

// hearsay has two groups call each other dead, or alive again.
func (w *world) hearsay(a, b []string, dead bool) {
	for _, x := range a {
		for _, y := range b {
			w.directory.Cut(w.running[x].Name(), w.running[y].Name(), dead)
		}
	}
}

// without is all ids but some.
func without(ids []string, some ...string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(some, id) })
}

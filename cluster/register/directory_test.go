package register

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// onDisk is a world over loopback sockets, in real time.
func onDisk(t testing.TB) *world {
	w := newWorld(t)
	t.Cleanup(w.end)
	return w
}

func TestRestartOfOne(t *testing.T) {
	w := onDisk(t)
	dir := t.TempDir()
	a, b, c := w.start("s1", 1, dir), w.start("s2", 1, ""), w.start("s3", 1, "")
	a.found(founding(0))
	w.join(b, c)
	w.make(1)
	w.settled() // with a vote of three that only two know of, those two must live
	a.kill()
	w.make(2)

	again := w.start("s1", 2, dir)
	if s := again.register.Status(); s.Voter != a.name || s.Founding != founding(0) {
		t.Errorf("it votes as %s in %v", s.Voter, s.Founding)
	}
	w.settled()
	if !again.has(1) || !again.has(2) {
		t.Error("it lacks changes")
	}
	// It counts: with one of the others gone there is a majority still.
	b.kill()
	leader := w.leader()
	w.make(3)
	w.settled()
	if len(leader.register.Status().Table.Voters) != 3 {
		t.Errorf("voters %v", leader.register.Status().Table.Voters)
	}
}

func TestRestartOfAll(t *testing.T) {
	w := onDisk(t)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	ids := []string{"s1", "s2", "s3"}
	var all []*node
	for i, id := range ids {
		all = append(all, w.start(id, 1, dirs[i]))
	}
	all[0].found(founding(3))
	w.join(all[1:]...)
	for p := range proto.Partition(10) {
		w.make(p)
	}
	for _, n := range all {
		n.kill()
	}
	for i, id := range ids {
		w.start(id, 2, dirs[i])
	}
	leader := w.leader()
	if leader.register.Status().Founding != founding(3) {
		t.Errorf("founding %v", leader.register.Status().Founding)
	}
	for p := range proto.Partition(10) {
		if !leader.has(p) {
			t.Errorf("change %d is gone", p)
		}
	}
	w.make(20)
	w.settled()
}

// A snapshot is known at once after a restart, the log only when a leader says how far it is committed.
func TestSnapshotIsKnownAtOnce(t *testing.T) {
	w := onDisk(t)
	dir := t.TempDir()
	n := w.start("s1", 1, dir)
	n.found(founding(0))
	w.make(1)
	if err := n.register.now().life.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	w.make(2)
	n.kill()
	r, err := New(Config{Self: proto.MakeNodeName("s1", 2), Dir: dir, Cluster: "test", Partitions: rows, Streams: n})
	if err != nil {
		t.Fatal(err)
	}
	s := r.Status()
	r.home.leave()
	if s.Table == nil || s.Table.Row(1).Owner == "" || s.Founding != founding(0) || s.Voter != n.name {
		t.Errorf("before it runs: %+v", s)
	}
	again := w.start("s1", 3, dir)
	w.leader()
	if !again.has(2) {
		t.Error("the log is gone")
	}
}

// Whoever lost its log has another name: a vote that it may have cast is forgotten with it.
func TestResetTakesANewName(t *testing.T) {
	w := onDisk(t)
	dir := t.TempDir()
	n := w.start("s1", 1, dir)
	n.found(founding(0))
	n.kill()
	n = w.start("s1", 2, dir)
	n.must(cluster.Order{Kind: cluster.OrderReset})
	if s := n.register.Status(); s.Voter != n.name || s.Founding != (proto.Founding{}) || s.Table != nil {
		t.Errorf("after the reset: %+v", s)
	}
	n.found(founding(1))
	if s := n.register.Status(); s.Voter != n.name || s.Founding != founding(1) {
		t.Errorf("after a new founding: %+v", s)
	}
	n.kill()
	again := w.start("s1", 3, dir)
	w.leader()
	if s := again.register.Status(); s.Voter != n.name || s.Founding != founding(1) || s.Table == nil {
		t.Errorf("after the restart: %+v", s)
	}
	again.found(founding(2))
	if s := again.register.Status(); s.Voter != again.name {
		t.Errorf("founded anew, it votes as %s", s.Voter)
	}
}

// A founding that did not get as far as node.json leaves nothing behind.
func TestUnfinishedFounding(t *testing.T) {
	dir := t.TempDir()
	h, _, err := openHome(dir, "test", proto.MakeNodeName("s1", 1), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.store.bootstrap(h.voter); err != nil {
		t.Fatal(err)
	}
	h.leave()
	h, _, err = openHome(dir, "test", proto.MakeNodeName("s1", 2), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer h.leave()
	if empty, err := h.store.empty(); !empty || err != nil || h.voter != "s1/0000000000002" {
		t.Errorf("empty %v, %v; it votes as %s", empty, err, h.voter)
	}
}

// TestFormerRuns: a run knows which had its directory before it, the last sixteen. The directory stays its
// own while the disk fails and the database is closed, for the process lives on.
func TestFormerRuns(t *testing.T) {
	dir := t.TempDir()
	var had []proto.NodeName
	for run := range proto.Incarnation(maxFormer + 3) {
		h, _, err := openHome(dir, "test", proto.MakeNodeName("s1", run+1), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if want := had[max(len(had)-maxFormer, 0):]; !slices.Equal(h.former, want) {
			t.Fatalf("run %d was preceded by %v, want %v", run+1, h.former, want)
		}
		had = append(had, h.self)
		h.close()
		wantError(t, dir, "test", "s1", "in use by another process")
		h.leave()
	}
}

func TestDataDirectoryInUse(t *testing.T) {
	w := onDisk(t)
	dir := t.TempDir()
	w.start("s1", 1, dir)
	wantError(t, dir, "test", "s1", "in use by another process")
}

func TestDataDirectoryOfAnother(t *testing.T) {
	dir := founded(t)
	wantError(t, dir, "other", "s1", `cluster "test", but this node is of cluster "other"`)
	wantError(t, dir, "test", "s2", `node "s1", but this node is "s2"`)
	if r, err := New(Config{Self: proto.MakeNodeName("s1", 9), Dir: dir, Cluster: "test"}); err == nil || !strings.Contains(err.Error(), "64 partitions") {
		t.Errorf("with another number of partitions: %v, %v", r, err)
	}
}

func TestDamagedDirectory(t *testing.T) {
	whole := founded(t)
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   string
	}{
		"node.json cut":   {func(t *testing.T, dir string) { cut(t, filepath.Join(dir, nodeFile), 0.5) }, "node.json is damaged"},
		"node.json empty": {func(t *testing.T, dir string) { cut(t, filepath.Join(dir, nodeFile), 0) }, "node.json is damaged"},
		"node.json with another's run": {func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, nodeFile), func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"runs":["s1/`), []byte(`"runs":["s2/`), 1)
			})
		}, "node.json is damaged"},
		"node.json gone": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, nodeFile)) }, "node.json is missing"},
		"node.json with another instance": {func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, nodeFile), func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"instance":"07`, `"instance":"`, 1))
			})
		}, "node.json is damaged"},
		"register.db cut":         {func(t *testing.T, dir string) { cut(t, filepath.Join(dir, logFile), 0.5) }, "register is damaged"},
		"register.db nearly gone": {func(t *testing.T, dir string) { cut(t, filepath.Join(dir, logFile), 0.01) }, "register is damaged"},
		"register.db gone":        {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, logFile)) }, "register.db is missing"},
		"register.db zeroed": {func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, logFile), func(b []byte) []byte { clear(b[2*os.Getpagesize():]); return b })
		}, "register is damaged"},
		"snapshot cut": {func(t *testing.T, dir string) {
			states, _ := filepath.Glob(filepath.Join(dir, snapshotsName, "*", "state.bin"))
			cut(t, states[0], 0.5)
		}, "register is damaged"},
		"snapshot gone": {func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, snapshotsName)) }, "register is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir)
			wantError(t, dir, "test", "s1", c.want)
			wantError(t, dir, "test", "s1", c.want) // looking at it changed nothing
		})
	}
}

// founded returns a data directory with a log and a snapshot that the log goes on from.
func founded(t *testing.T) string {
	w := newWorld(t)
	dir := t.TempDir()
	n := w.start("s1", 1, dir)
	n.found(founding(0))
	for i := range 2 * trailing {
		w.make(proto.Partition(i % rows))
	}
	if err := n.register.now().life.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	for i := range trailing {
		w.make(proto.Partition(i % rows))
	}
	n.kill()
	return dir
}

func wantError(t *testing.T, dir, name string, id proto.NodeID, want string) {
	t.Helper()
	r, err := New(Config{Self: proto.MakeNodeName(id, 9), Dir: dir, Cluster: name, Partitions: rows})
	if err == nil {
		r.home.leave()
		t.Errorf("opened; want an error with %q", want)
	} else if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %q, want one with %q and %s", err, want, dir)
	}
}

func cut(t *testing.T, path string, keep float64) {
	t.Helper()
	rewrite(t, path, func(b []byte) []byte { return b[:int(float64(len(b))*keep)] })
}

func rewrite(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fullDisk fails writes while full is set.
type fullDisk struct {
	raft.LogStore
	raft.StableStore
	full *atomic.Bool
}

func (d fullDisk) StoreLogs(entries []*raft.Log) error {
	if d.full.Load() {
		return syscall.ENOSPC
	}
	return d.LogStore.StoreLogs(entries)
}

func (d fullDisk) Set(k, v []byte) error {
	if d.full.Load() {
		return syscall.ENOSPC
	}
	return d.StableStore.Set(k, v)
}

func (d fullDisk) SetUint64(k []byte, v uint64) error {
	if d.full.Load() {
		return syscall.ENOSPC
	}
	return d.StableStore.SetUint64(k, v)
}

// A voter that cannot write takes no part, says so once, and comes back when it can.
func TestDiskFull(t *testing.T) {
	for _, leads := range []bool{true, false} {
		bubble(t, func(w *world) {
			core, logged := observer.New(zap.ErrorLevel)
			w.log = zap.New(core)
			all := w.voters(3)
			victim, other := all[0], all[1]
			if !leads {
				victim, other = other, victim
			}
			var full atomic.Bool
			fill(victim, &full)
			w.settled()
			if leader := w.leader(); leads && leader != victim {
				leader.must(cluster.Order{Kind: cluster.OrderTransfer, Voter: victim.name})
				w.until("victim that leads", func() bool { return victim.register.Status().Term != 0 })
			}
			full.Store(true)
			if leads {
				if err := victim.do(victim.change(1)); err == nil {
					t.Error("a change that was not written is done")
				}
			}
			w.until("leader that can write", func() bool { return other.register.Status().Term+all[2].register.Status().Term != 0 })
			w.make(2)
			w.until("victim that is out", func() bool { return victim.register.Status().Leader == "" })
			if victim.register.Status().Term != 0 || victim.register.Status().Founding != founding(0) {
				t.Errorf("the victim: %s", victim)
			}
			full.Store(false)
			w.settled()
			if !victim.has(2) {
				t.Error("it did not come back")
			}
			if n := logged.FilterMessageSnippet("cannot use its data directory").Len(); n != 1 {
				t.Errorf("%d lines about it", n)
			}
		})
	}
}

// fill puts a disk that can be full under the node's register, by way of a restart of raft.
func fill(n *node, full *atomic.Bool) {
	r := n.register
	release, err := r.change()
	if err != nil {
		n.w.t.Fatal(err)
	}
	defer release()
	r.halt()
	disk := fullDisk{r.home.store.logs, r.home.store.stable, full}
	r.home.store.logs, r.home.store.stable = disk, disk
	if _, err := r.start(); err != nil {
		n.w.t.Fatal(err)
	}
}

// A term or a vote that cannot be written is not answered with.
func TestFailedVote(t *testing.T) {
	for _, key := range [][]byte{keyTerm, keyCandidate} {
		var full atomic.Bool
		full.Store(true)
		m := raft.NewInmemStore()
		failed := make(chan error, 1)
		answered := false
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			g := &guardedStable{StableStore: fullDisk{m, m, &full}, failed: func(err error) { failed <- err }}
			if key[0] == keyTerm[0] {
				g.SetUint64(key, 4)
			} else {
				g.SetUint64(keyVoteTerm, 4)
				g.Set(key, []byte("s1"))
			}
			answered = true
		}()
		<-ended
		if answered || !errors.Is(<-failed, syscall.ENOSPC) {
			t.Errorf("raft went on after %s was not written", key)
		}
	}
}

// A vote is there whole, or the one before is.
func TestVoteIsOneRecord(t *testing.T) {
	m := raft.NewInmemStore()
	g := &guardedStable{StableStore: m}
	if _, err := g.GetUint64(keyVoteTerm); err == nil || err.Error() != "not found" {
		t.Errorf("without a vote: %v", err)
	}
	g.SetUint64(keyVoteTerm, 4)
	g.Set(keyCandidate, []byte("s1"))
	g.SetUint64(keyVoteTerm, 5) // and then a crash
	g = &guardedStable{StableStore: m}
	term, err := g.GetUint64(keyVoteTerm)
	if candidate, _ := g.Get(keyCandidate); term != 4 || err != nil || string(candidate) != "s1" {
		t.Errorf("vote of term %d for %s, %v", term, candidate, err)
	}
}

// A snapshot from another voter that replaces a longer log makes raft start again, from the snapshot.
func TestSnapshotReplacesALongerLog(t *testing.T) {
	s := memoryStore()
	sink, _ := s.snapshots.Create(1, 10, 3, raft.Configuration{}, 1, nil)
	sink.Write(appendFacts(nil, &facts{index: 10}))
	sink.Close()
	for i := uint64(5); i < 15; i++ {
		s.logs.StoreLog(&raft.Log{Index: i, Term: 2})
	}
	var why error
	ended, answered := make(chan struct{}), false
	go func() {
		defer close(ended)
		g := &guardedLogs{LogStore: s.logs, snapshots: s.snapshots, failed: func(err error) { why = err }}
		g.DeleteRange(5, 14)
		answered = true
	}()
	<-ended
	if answered || !errors.Is(why, errReplaced) {
		t.Errorf("raft went on, %v", why)
	}

	for i := uint64(5); i < 15; i++ { // the crash came before the log was emptied
		s.logs.StoreLog(&raft.Log{Index: i, Term: 2})
	}
	if f, err := s.check(); err != nil || f.index != 10 {
		t.Errorf("check: %v, %v", f, err)
	}
	if last, _ := s.logs.LastIndex(); last != 0 {
		t.Errorf("the log still ends at %d", last)
	}
}

// A snapshot that breaks off leaves the one before.
func TestMemorySnapshotIsWholeOrNot(t *testing.T) {
	m := &memorySnapshots{}
	write := func(index uint64, content string) raft.SnapshotSink {
		s, _ := m.Create(1, index, 1, raft.Configuration{}, 1, nil)
		io.WriteString(s, content)
		return s
	}
	write(3, "three").Close()
	write(4, "fo").Cancel()
	all, _ := m.List()
	_, from, err := m.Open(all[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(from); string(b) != "three" || len(all) != 1 || all[0].Size != 5 {
		t.Errorf("snapshot %q of %+v", b, all[0])
	}
}

// A Register that is not run, or has ended, takes nothing.
func TestNotRunning(t *testing.T) {
	r, err := New(Config{Self: proto.MakeNodeName("s1", 1)})
	if err != nil {
		t.Fatal(err)
	}
	var got error
	r.Do(cluster.Order{Kind: cluster.OrderReset}, func(err error) { got = err })
	if !errors.Is(got, cluster.ErrNotLeading) {
		t.Errorf("before Run: %v", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
	r.Do(cluster.Order{Kind: cluster.OrderReset}, func(err error) { got = err })
	if !errors.Is(got, cluster.ErrNotLeading) {
		t.Errorf("after Run: %v", got)
	}
}

package register

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/roomring/roomring/proto"
)

// store is what one voter remembers.
type store struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	close     func() error
}

func memoryStore() *store {
	m := raft.NewInmemStore()
	return &store{logs: m, stable: m, snapshots: &memorySnapshots{}, close: func() error { return nil }}
}

// empty reports whether nothing was ever stored: no vote can have been cast.
func (s *store) empty() (bool, error) {
	used, err := raft.HasExistingState(s.logs, s.stable, s.snapshots)
	return !used, err
}

// bootstrap writes the first entry of a log: its only voter.
func (s *store) bootstrap(voter proto.NodeName) error {
	only := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(voter), Address: raft.ServerAddress(voter)}}}
	if err := raft.BootstrapCluster(raftConfig(voter, hclog.NewNullLogger()), s.logs, s.stable, s.snapshots, nil, only); err != nil {
		return fmt.Errorf("begin a log: %w", err)
	}
	return nil
}

// check reads everything, so that what is damaged is found now and not by raft, which would panic,
// and returns the content of the newest snapshot.
//
// A log that does not go on from the snapshot is dropped where that is right: a snapshot that
// another voter sent replaces all that it does not follow.
func (s *store) check() (facts, error) {
	content, index, term, err := s.snapshot()
	if err != nil {
		return facts{}, err
	}
	first, err := s.logs.FirstIndex()
	if err != nil {
		return facts{}, fmt.Errorf("read log: %w", err)
	}
	last, err := s.logs.LastIndex()
	if err != nil {
		return facts{}, fmt.Errorf("read log: %w", err)
	}
	if last == 0 {
		return content, nil
	}
	if first > index+1 {
		return facts{}, fmt.Errorf("log begins at %d, but the newest snapshot ends at %d", first, index)
	}
	replaced := last < index
	for i := first; i <= last; i++ {
		var entry raft.Log
		if err := s.logs.GetLog(i, &entry); err != nil {
			return facts{}, fmt.Errorf("read log entry %d of %d to %d: %w", i, first, last, err)
		}
		if entry.Type == raft.LogConfiguration {
			raft.DecodeConfiguration(entry.Data) // panics if it is damaged
		}
		replaced = replaced || i == index && entry.Term != term
	}
	if replaced {
		if err := s.logs.DeleteRange(first, last); err != nil {
			return facts{}, fmt.Errorf("drop a log that a snapshot replaced: %w", err)
		}
	}
	return content, nil
}

// snapshot returns the newest snapshot, and the entry that it ends with; zeros if there is none.
func (s *store) snapshot() (content facts, index, term uint64, err error) {
	all, err := s.snapshots.List()
	if err != nil || len(all) == 0 {
		return facts{}, 0, 0, err
	}
	meta, from, err := s.snapshots.Open(all[0].ID)
	if err != nil {
		return facts{}, 0, 0, fmt.Errorf("open snapshot %s: %w", all[0].ID, err)
	}
	defer from.Close()
	b, err := io.ReadAll(io.LimitReader(from, maxSnapshot+1))
	if err != nil {
		return facts{}, 0, 0, fmt.Errorf("read snapshot %s: %w", meta.ID, err)
	}
	content, err = parseFacts(b)
	return content, meta.Index, meta.Term, err
}

// What raft calls the things that it keeps beside the log.
var (
	keyTerm      = []byte("CurrentTerm")
	keyVoteTerm  = []byte("LastVoteTerm")
	keyCandidate = []byte("LastVoteCand")
)

// keyVote is where a vote is kept: term(8) candidate.
var keyVote = []byte("Vote")

// errNone is what raft recognizes, by its text, as an answer.
var errNone = errors.New("not found")

// The two guards below stand between raft and its stores. Raft goes on after some failed writes as if
// they had succeeded, and panics after others. Here a failed write ends the goroutine of raft that
// asked for it: raft's deferred answers go out, and they are refusals; no vote, acknowledgement or
// new term leaves that is not stored. The failure is reported, and raft is started again from what
// is stored, as after a crash.

// guardedStable also makes a vote one record. Raft stores a vote's term, then its candidate: a crash
// in between would leave the new term with the old candidate, who could then have this vote for the
// asking, whatever its log.
type guardedStable struct {
	raft.StableStore
	failed func(error)

	// Owned by raft's main goroutine.
	voteTerm uint64 // of the vote whose candidate comes next
}

func (g *guardedStable) SetUint64(key []byte, v uint64) error {
	switch {
	case bytes.Equal(key, keyVoteTerm):
		g.voteTerm = v
		return nil
	case bytes.Equal(key, keyTerm):
		if now, err := g.StableStore.GetUint64(key); err == nil && now == v || err != nil && v == 0 {
			return nil // raft does this when it starts, from our goroutine
		}
	}
	return g.must(g.StableStore.SetUint64(key, v))
}

func (g *guardedStable) Set(key, v []byte) error {
	if bytes.Equal(key, keyCandidate) {
		return g.must(g.StableStore.Set(keyVote, append(binary.BigEndian.AppendUint64(nil, g.voteTerm), v...)))
	}
	return g.must(g.StableStore.Set(key, v))
}

func (g *guardedStable) GetUint64(key []byte) (uint64, error) {
	if bytes.Equal(key, keyVoteTerm) {
		term, _, err := g.vote()
		return term, err
	}
	return g.StableStore.GetUint64(key)
}

func (g *guardedStable) Get(key []byte) ([]byte, error) {
	if bytes.Equal(key, keyCandidate) {
		_, candidate, err := g.vote()
		return candidate, err
	}
	return g.StableStore.Get(key)
}

func (g *guardedStable) vote() (term uint64, candidate []byte, err error) {
	b, err := g.StableStore.Get(keyVote)
	if err != nil {
		return 0, nil, err
	}
	if len(b) < 8 {
		return 0, nil, errNone
	}
	return binary.BigEndian.Uint64(b), b[8:], nil
}

func (g *guardedStable) must(err error) error {
	if err != nil {
		g.failed(err)
		runtime.Goexit()
	}
	return nil
}

// guardedLogs has no holes: a snapshot from another voter empties it (raft asks IsMonotonic).
//
// Raft keeps the last entry's index and term beside the log, and does not correct them when it
// empties a log that went on beyond the snapshot: it would judge candidates by an entry that is gone.
// So it is started again then, too.
type guardedLogs struct {
	raft.LogStore
	snapshots raft.SnapshotStore
	failed    func(error)
}

// errReplaced is no failure of the disk.
var errReplaced = errors.New("a snapshot replaced a longer log")

func (g *guardedLogs) IsMonotonic() bool { return true }

func (g *guardedLogs) StoreLog(entry *raft.Log) error { return g.StoreLogs([]*raft.Log{entry}) }

func (g *guardedLogs) StoreLogs(entries []*raft.Log) error {
	if err := g.LogStore.StoreLogs(entries); err != nil {
		g.failed(err)
		runtime.Goexit()
	}
	return nil
}

func (g *guardedLogs) DeleteRange(min, max uint64) error {
	if err := g.LogStore.DeleteRange(min, max); err != nil {
		return err // raft's callers answer with a refusal, or try again later
	}
	if last, err := g.LogStore.LastIndex(); err != nil || last > 0 {
		return err
	}
	if all, err := g.snapshots.List(); err == nil && len(all) > 0 && max > all[0].Index {
		g.failed(errReplaced)
		runtime.Goexit()
	}
	return nil
}

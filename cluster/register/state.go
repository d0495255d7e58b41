package register

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"github.com/roomring/roomring/cluster"
	"github.com/roomring/roomring/proto"
)

// facts are what the log says up to an index. They are immutable.
type facts struct {
	index  uint64           // of the last entry that was applied
	voters []proto.NodeName // of the last configuration; sorted
	table  *cluster.Table   // nil before the first
}

// seen is the newest facts that this process was told of one founding. Raft forgets what it applied
// when it is started again, until a leader tells it how far the log is committed; what was seen
// stays true meanwhile.
type seen struct {
	facts   atomic.Pointer[facts]
	changed func()
}

func newSeen(changed func()) *seen {
	s := &seen{changed: changed}
	s.facts.Store(&facts{})
	return s
}

func (s *seen) note(f *facts) {
	if f.index > s.facts.Load().index {
		s.facts.Store(f)
		s.changed()
	}
}

// state is raft's state machine. Raft calls it from one goroutine at a time.
//
// Invariant: what it holds is a function of the log alone, so all voters hold the same at an index.
type state struct {
	log    *zap.Logger
	seen   *seen
	counts *counts
	left   func(servers []raft.ServerID) // told of those that stay when one is gone; nil for nobody
	now    facts

	servers []raft.ServerID // of the last configuration
}

// Apply does what an entry says. It returns nil or an error that wraps cluster.ErrRefused, on all
// voters alike.
func (s *state) Apply(entry *raft.Log) any {
	s.now.index = entry.Index
	err := s.execute(entry)
	s.publish()
	return err
}

func (s *state) execute(entry *raft.Log) error {
	command, err := cluster.ParseCommand(entry.Data)
	if err != nil {
		s.log.Error("register entry cannot be read: is this node older than the others?", zap.Uint64("index", entry.Index), zap.Error(err))
		return fmt.Errorf("%w: %w", cluster.ErrRefused, err)
	}
	first := s.now.table == nil
	next, err := s.now.table.Execute(command, entry.Term)
	if err != nil {
		return err
	}
	if first {
		next = next.WithVoters(s.now.voters)
	}
	s.now.table = next
	return nil
}

// StoreConfiguration takes a committed configuration. The first ones come before the first Table,
// which is then told of them.
func (s *state) StoreConfiguration(index uint64, configuration raft.Configuration) {
	s.now.index = index
	voters := votersOf(configuration)
	if s.now.table != nil && !slices.Equal(voters, s.now.voters) {
		s.now.table = s.now.table.WithVoters(voters)
	}
	s.now.voters = voters
	s.publish()
	s.noteServers(configuration)
}

func (s *state) noteServers(configuration raft.Configuration) {
	var servers []raft.ServerID
	for _, server := range configuration.Servers {
		servers = append(servers, server.ID)
	}
	gone := slices.ContainsFunc(s.servers, func(id raft.ServerID) bool { return !slices.Contains(servers, id) })
	s.servers = servers
	if gone && s.left != nil {
		s.left(servers)
	}
}

func votersOf(configuration raft.Configuration) []proto.NodeName {
	var names []proto.NodeName
	for _, server := range configuration.Servers {
		if server.Suffrage == raft.Voter {
			names = append(names, proto.NodeName(server.ID))
		}
	}
	slices.Sort(names)
	return names
}

func (s *state) publish() {
	f := s.now
	s.seen.note(&f)
}

// Snapshot returns what Persist writes, later and beside Apply.
func (s *state) Snapshot() (raft.FSMSnapshot, error) {
	s.counts.snapshots.Add(1)
	return frozen{s.now}, nil
}

// Restore replaces everything by a snapshot.
func (s *state) Restore(from io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(from, maxSnapshot+1))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	f, err := parseFacts(b)
	if err != nil {
		return err
	}
	s.now = f
	s.counts.restores.Add(1)
	s.publish()
	return nil
}

// maxSnapshot bounds what a snapshot may be: a Table is at most a frame.
const maxSnapshot = proto.MaxFrame + 1<<16

// frozen writes facts as a snapshot:
//
//	format(1) index(8) voters(2) voters×{size(1) name} table
//
// where table is a whole Table frame of package cluster, or nothing before the first.
type frozen struct{ facts }

const snapshotFormat = 1

func (f frozen) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(appendFacts(nil, &f.facts)); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (frozen) Release() {}

func appendFacts(b []byte, f *facts) []byte {
	b = append(b, snapshotFormat)
	b = binary.BigEndian.AppendUint64(b, f.index)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.voters)))
	for _, name := range f.voters {
		b = append(b, byte(len(name)))
		b = append(b, name...)
	}
	if f.table != nil {
		b = cluster.AppendTable(b, f.table)
	}
	return b
}

// parseFacts is the inverse of appendFacts.
func parseFacts(b []byte) (f facts, err error) {
	bad := func(what string) (facts, error) { return facts{}, fmt.Errorf("parse snapshot: %s", what) }
	if len(b) < 11 || b[0] != snapshotFormat {
		return bad("no format that is known here")
	}
	f.index = binary.BigEndian.Uint64(b[1:])
	voters := int(binary.BigEndian.Uint16(b[9:]))
	for b = b[11:]; voters > 0; voters-- {
		if len(b) == 0 || len(b)-1 < int(b[0]) {
			return bad("too short for its voters")
		}
		end := 1 + int(b[0]) // an int: 255 and one is 0 in a byte
		name, err := proto.ParseNodeName(string(b[1:end]))
		if err != nil {
			return facts{}, fmt.Errorf("parse snapshot: %w", err)
		}
		f.voters = append(f.voters, name)
		b = b[end:]
	}
	if len(b) == 0 {
		return f, nil
	}
	kind, size, err := proto.ParseHeader(b)
	if err != nil || kind != proto.FrameTable || size != len(b) {
		return bad("no table behind its voters")
	}
	f.table, err = cluster.ParseTable(b[proto.HeaderSize:])
	return f, err
}

package register

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// memorySnapshots keeps the newest snapshot in memory. Unlike raft's own store for tests it knows a
// snapshot only when all of it is there: one that broke off leaves the one before in its place.
type memorySnapshots struct {
	mu     sync.Mutex
	newest *memorySnapshot // nil before the first; not changed any more
}

type memorySnapshot struct {
	store   *memorySnapshots
	meta    raft.SnapshotMeta
	content bytes.Buffer
}

// Create implements raft.SnapshotStore.
func (m *memorySnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &memorySnapshot{store: m, meta: raft.SnapshotMeta{
		Version:            version,
		ID:                 fmt.Sprintf("%d-%d", term, index),
		Index:              index,
		Term:               term,
		Configuration:      configuration,
		ConfigurationIndex: configurationIndex,
	}}, nil
}

// List implements raft.SnapshotStore.
func (m *memorySnapshots) List() ([]*raft.SnapshotMeta, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.newest == nil {
		return nil, nil
	}
	meta := m.newest.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open implements raft.SnapshotStore.
func (m *memorySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.newest == nil || m.newest.meta.ID != id {
		return nil, nil, fmt.Errorf("open snapshot %s: it is gone", id)
	}
	meta := m.newest.meta
	return &meta, io.NopCloser(bytes.NewReader(m.newest.content.Bytes())), nil
}

// Write implements raft.SnapshotSink.
func (s *memorySnapshot) Write(b []byte) (int, error) { return s.content.Write(b) }

// Close implements raft.SnapshotSink: the snapshot is whole.
func (s *memorySnapshot) Close() error {
	s.meta.Size = int64(s.content.Len())
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.newest = s
	return nil
}

// Cancel implements raft.SnapshotSink.
func (s *memorySnapshot) Cancel() error { return nil }

// ID implements raft.SnapshotSink.
func (s *memorySnapshot) ID() string { return s.meta.ID }

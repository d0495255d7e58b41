package register

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

// A data directory holds:
//
//	lock          locked as long as the process lives that uses the directory
//	node.json     whose directory it is, under which name it votes, for which founding, and which runs had it
//	register.db   log, term and vote
//	snapshots/    what the log up to an index led to
//
// A founding is written to node.json when register.db is ready for it and before raft starts: while
// node.json names none, nobody has voted, and whatever else is there is dropped.
const (
	lockFile      = "lock"
	nodeFile      = "node.json"
	logFile       = "register.db"
	snapshotsName = "snapshots"
	lockPatience  = 500 * time.Millisecond

	// maxFormer bounds how many earlier runs are remembered. The Table names such as had partitions; one
	// that is started and killed again this often has none left.
	maxFormer = 16
)

// home is where a voter keeps its memory: a data directory, or this process.
type home struct {
	// Set by openHome, then only read.
	dir     string // "" for this process
	cluster string
	self    proto.NodeName
	log     *zap.Logger
	former  []proto.NodeName // earlier runs that used dir, the latest last; they have ended, or it would be locked
	lock    *os.File         // closed by the end of the process alone, or by the Register's

	// Owned by whoever may change the register: see Register.changing.
	voter    proto.NodeName
	founding proto.Founding
	store    *store // nil when it could not be opened
}

// openHome takes possession of the data directory and reads all of it. content is what the newest
// snapshot says.
func openHome(dir, cluster string, self proto.NodeName, log *zap.Logger) (h *home, content facts, err error) {
	h = &home{dir: dir, cluster: cluster, self: self, log: log, voter: self}
	if dir == "" {
		h.store = memoryStore()
		return h, facts{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, facts{}, fmt.Errorf("open data directory: %w", err)
	}
	content, err = h.take()
	if err != nil {
		h.leave()
		return nil, facts{}, fmt.Errorf("open data directory %s: %w", dir, err)
	}
	return h, content, nil
}

// take locks the directory first, and notes that this run has it last.
func (h *home) take() (facts, error) {
	if err := h.hold(); err != nil {
		return facts{}, err
	}
	content, err := h.openStore()
	if err != nil {
		return facts{}, err
	}
	err = h.readNode()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if empty, err := h.store.empty(); err != nil || !empty {
			return facts{}, errors.Join(fmt.Errorf("%s is missing, but %s is there", nodeFile, logFile), err)
		}
		return facts{}, h.writeNode()
	case err != nil:
		return facts{}, err
	case h.founding == proto.Founding{}:
		return facts{}, h.reset()
	}
	if mark, err := h.store.stable.Get(keyMark); err != nil || !bytes.Equal(mark, h.mark()) {
		return facts{}, fmt.Errorf("%s is missing, or is not the one that %s is about", logFile, nodeFile)
	}
	return content, h.writeNode()
}

// hold locks the directory for the life of this process. The database has a lock of its own, but lets go
// of it when the disk fails, while the node lives on: that would be no proof that a run has ended.
func (h *home) hold() (err error) {
	if h.lock, err = os.OpenFile(h.path(lockFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	for end := time.Now().Add(lockPatience); ; time.Sleep(lockPatience / 20) {
		err := lock(h.lock)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, errLocked):
			return fmt.Errorf("lock it: %w", err)
		case time.Now().After(end):
			return errors.New("it is in use by another process")
		}
	}
}

// leave gives the directory up.
func (h *home) leave() {
	h.close()
	if h.lock != nil {
		h.lock.Close() // nothing was written
	}
}

// keyMark is where a log says whose it is, so that an empty one is not taken for one that was lost.
var keyMark = []byte("Mark")

func (h *home) mark() []byte {
	return fmt.Appendf(nil, "%s %s %d", h.voter, h.founding.Instance, h.founding.Generation)
}

// begin records that what is stored from now on belongs to a founding. The log is empty, or begins
// with us as its only voter.
func (h *home) begin(founding proto.Founding, only bool) error {
	if err := h.clear(); err != nil {
		return err
	}
	if only {
		if err := h.store.bootstrap(h.voter); err != nil {
			return err
		}
	}
	h.founding = founding
	if err := errors.Join(h.store.stable.Set(keyMark, h.mark()), h.writeNode()); err != nil {
		h.founding = proto.Founding{}
		return err
	}
	return nil
}

// clear makes sure that nothing of another founding is left, if a reset failed half-way.
func (h *home) clear() error {
	if h.store != nil {
		if empty, err := h.store.empty(); err == nil && empty {
			return nil
		}
	}
	return h.reset()
}

// reset forgets everything. Whoever votes here next is this run, by its own name: a vote of the name
// that was is forgotten too. If it fails, the founding is forgotten or it is not.
func (h *home) reset() error {
	if h.dir == "" {
		h.founding, h.store = proto.Founding{}, memoryStore()
		return nil
	}
	voter, founding := h.voter, h.founding
	h.voter, h.founding = h.self, proto.Founding{}
	if err := h.writeNode(); err != nil {
		h.voter, h.founding = voter, founding
		return err
	}
	h.close()
	if err := errors.Join(os.RemoveAll(h.path(logFile)), os.RemoveAll(h.path(snapshotsName))); err != nil {
		return fmt.Errorf("wipe data directory: %w", err)
	}
	_, err := h.openStore()
	return err
}

// reopen reads the store again after a write failed.
func (h *home) reopen() error {
	if h.dir == "" {
		_, err := h.store.check()
		return err
	}
	h.close()
	_, err := h.openStore()
	return err
}

func (h *home) close() {
	if h.store == nil {
		return
	}
	if err := h.store.close(); err != nil {
		h.log.Warn("register database did not close", zap.Error(err))
	}
	h.store = nil
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

// openStore opens the database, which locks it, and checks everything.
func (h *home) openStore() (content facts, err error) {
	err = guarded(func() error {
		if err := checkFile(h.path(logFile)); err != nil {
			return err
		}
		db, err := raftboltdb.New(raftboltdb.Options{Path: h.path(logFile), BoltOptions: &bbolt.Options{Timeout: lockPatience}})
		if err != nil {
			return err
		}
		h.store = &store{logs: db, stable: db, close: db.Close}
		if err := dropUnfinished(h.path(snapshotsName)); err != nil {
			return err
		}
		// One is kept: the log does not reach back to an older one.
		if h.store.snapshots, err = raft.NewFileSnapshotStoreWithLogger(h.dir, 1, newRaftLog(h.log)); err != nil {
			return err
		}
		content, err = h.store.check()
		return err
	})
	switch {
	case err == nil:
		return content, nil
	case errors.Is(err, bbolterrors.ErrTimeout):
		err = errors.New("it is in use by another process")
	default:
		err = fmt.Errorf("the register is damaged or cannot be read: %w", err)
	}
	h.close()
	return facts{}, err
}

// guarded turns a panic of the database, and a fault in its mapped file, into an error: both are what
// it does about a damaged file.
func guarded(f func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return f()
}

// checkFile reads the database through, without writing, so that a damaged one is not opened for
// writing.
func checkFile(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockPatience})
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.Begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if tx.Size() > info.Size() {
		return fmt.Errorf("%s has %d bytes of %d", logFile, info.Size(), tx.Size())
	}
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(_, _ []byte) error { return nil })
	})
}

// dropUnfinished removes what a crash left of snapshots; raft leaves it lying.
func dropUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// identity is the content of node.json.
type identity struct {
	Cluster    string         `json:"cluster"`
	ID         proto.NodeID   `json:"id"`
	Voter      proto.NodeName `json:"voter"`              // the run that began this log
	Instance   string         `json:"instance,omitempty"` // 32 hexadecimal digits
	Generation uint32         `json:"generation,omitempty"`

	// Runs are those that used the directory, the one that does last. A file of an earlier release has none.
	Runs []proto.NodeName `json:"runs,omitempty"`
}

func (h *home) readNode() error {
	b, err := os.ReadFile(h.path(nodeFile))
	if err != nil {
		return err
	}
	var n identity
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("%s is damaged: %w", nodeFile, err)
	}
	if _, err := proto.ParseNodeName(string(n.Voter)); err != nil {
		return fmt.Errorf("%s is damaged: %w", nodeFile, err)
	}
	founding := proto.Founding{Generation: n.Generation}
	instance, err := hex.DecodeString(n.Instance)
	if err != nil || len(instance) != 0 && len(instance) != len(founding.Instance) {
		return fmt.Errorf("%s is damaged: instance %q", nodeFile, n.Instance)
	}
	copy(founding.Instance[:], instance)
	switch {
	case n.Cluster != h.cluster:
		return fmt.Errorf("it belongs to cluster %q, but this node is of cluster %q", n.Cluster, h.cluster)
	case n.ID != h.self.ID():
		return fmt.Errorf("it belongs to node %q, but this node is %q", n.ID, h.self.ID())
	}
	for _, run := range n.Runs {
		if _, err := proto.ParseNodeName(string(run)); err != nil || run.ID() != n.ID {
			return fmt.Errorf("%s is damaged: run %q", nodeFile, run)
		}
	}
	h.voter, h.founding = n.Voter, founding
	h.former = n.Runs[max(len(n.Runs)-maxFormer, 0):]
	return nil
}

// writeNode replaces node.json: after a crash it is the old one or the new one.
func (h *home) writeNode() error {
	if h.dir == "" {
		return nil
	}
	b, err := json.Marshal(identity{Cluster: h.cluster, ID: h.self.ID(), Voter: h.voter, Instance: h.founding.Instance.String(), Generation: h.founding.Generation,
		Runs: append(slices.Clone(h.former), h.self)})
	if err != nil {
		return err
	}
	if err := replaceFile(h.path(nodeFile), append(b, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", nodeFile, err)
	}
	return nil
}

func replaceFile(path string, content []byte) error {
	temporary := path + ".tmp"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// syncDirectory makes names durable. Windows has no such thing.
func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

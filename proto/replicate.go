package proto

import "encoding/binary"

// Append has a follower copy what stands behind Prev in a partition's log, and
// tells it what is committed. All entries of one Append were appended in one
// term. It is written with BeginAppend, AppendEntry or entries as they were
// written once, and End.
type Append struct {
	Partition Partition
	Term      Term  // of the row that the owner knows
	Prev      Index // the entries are those behind it
	PrevTerm  Term  // in which Prev was appended, 0 when Prev is 0
	Commit    Index
	EntryTerm Term // in which the entries were appended; not above Term
	Entries   Entries
}

// appendFixed is the size of an Append without entries.
const appendFixed = HeaderSize + 2 + 8 + 8 + 8 + 8 + 8

// BeginAppend starts an Append with all of x but its entries; End(b, start)
// closes it.
func BeginAppend(b []byte, x *Append) (frame []byte, start int) {
	b, start = Begin(b, FrameAppend)
	b = appendHead(b, x.Partition, x.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(x.Prev))
	b = binary.BigEndian.AppendUint64(b, uint64(x.PrevTerm))
	b = binary.BigEndian.AppendUint64(b, uint64(x.Commit))
	return binary.BigEndian.AppendUint64(b, uint64(x.EntryTerm)), start
}

// ParseAppend reads the body of an Append; the entries are read with Next or
// NextRaw.
func ParseAppend(body []byte) (x Append, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	x.Prev, x.PrevTerm = Index(f.u64()), Term(f.u64())
	x.Commit, x.EntryTerm = Index(f.u64()), Term(f.u64())
	x.Entries = Entries{f: f, kinds: logKinds}
	return x, f.check(x.PrevTerm <= x.Term && x.EntryTerm <= x.Term)
}

// Snapshot is a part of a copy for a learner: rooms and publishers as they were
// when the log was applied up to Index. It is written with BeginSnapshot,
// AppendEntry and End.
type Snapshot struct {
	Partition Partition
	Term      Term
	Index     Index
	Teaching  uint8 // the owner's number of this copy, another one than of the last to this learner
	First     bool  // what came of an earlier copy is void
	Last      bool  // nothing follows
	Entries   Entries
}

const (
	snapshotFixed = HeaderSize + 2 + 8 + 8 + 1 + 1
	snapshotFirst = 1
	snapshotLast  = 2
)

// BeginSnapshot starts a Snapshot with all of x but its entries; End(b, start)
// closes it.
func BeginSnapshot(b []byte, x *Snapshot) (frame []byte, start int) {
	b, start = Begin(b, FrameSnapshot)
	b = appendHead(b, x.Partition, x.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(x.Index))
	return append(b, x.Teaching, bit(x.First, snapshotFirst)|bit(x.Last, snapshotLast)), start
}

// SetSnapshotLast marks a Snapshot that was begun at start as the last one:
// whether it is shows only once it is filled.
func SetSnapshotLast(b []byte, start int) { b[start+snapshotFixed-1] |= snapshotLast }

// ParseSnapshot reads the body of a Snapshot; the entries are read with Next.
func ParseSnapshot(body []byte) (x Snapshot, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	x.Index, x.Teaching = Index(f.u64()), f.u8()
	flags := f.u8()
	x.First, x.Last = flags&snapshotFirst != 0, flags&snapshotLast != 0
	x.Entries = Entries{f: f, kinds: snapshotKinds}
	return x, f.check(flags <= snapshotFirst|snapshotLast)
}

// Stored is what a follower, or a learner, answers to Append and Snapshot.
type Stored struct {
	Partition Partition
	Term      Term
	Index     Index // all up to it is stored
	Teaching  uint8 // of the last Snapshot that came: what is said is about that copy; 0 when none came
	Whole     bool  // so is all that was before: the copy is whole
	Gap       bool  // what came does not fit: send again from behind Index
}

const (
	storedWhole = 1
	storedGap   = 2
)

// AppendStored appends the frame.
func AppendStored(b []byte, x *Stored) []byte {
	b, start := Begin(b, FrameStored)
	b = appendHead(b, x.Partition, x.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(x.Index))
	return End(append(b, x.Teaching, bit(x.Whole, storedWhole)|bit(x.Gap, storedGap)), start)
}

// ParseStored reads the body of a Stored.
func ParseStored(body []byte) (x Stored, err error) {
	f := fields{b: body}
	x.Partition, x.Term = f.head()
	x.Index, x.Teaching = Index(f.u64()), f.u8()
	flags := f.u8()
	x.Whole, x.Gap = flags&storedWhole != 0, flags&storedGap != 0
	return x, f.whole(flags <= storedWhole|storedGap)
}

func bit(set bool, value byte) byte {
	if set {
		return value
	}
	return 0
}

package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

// The conversation between two nodes, a and b, about the Table. Every frame is a control frame: it
// may overtake others, may be lost with its link, and may come twice.
//
//	a  Table 7          on connect, if b is not known to have as much
//	b  Version 7        twice a second: this is what I hold
//	a  Delta 7 → 8      a leads the register, and something was committed
//	b  TableGet 7       that Delta did not fit, or a's Version was ahead: send it whole
//	a  Table 8
//	b  Witness s2       s2 hung up and its port is closed: I saw it
//	a  Found i {s1 s2}  a is a shard without a Table: shall the two of us found instance i
//	b  Agree i          I see the same list, and follow nobody else
//
// Layouts, big-endian. A row names nodes by their place in a dictionary, so that a full Table of
// 4093 rows with a follower each is 94 KiB: far below proto.MaxFrame.
//
//	Table     head fingerprint(8) dictionary rows(2) rows×{row}
//	Delta     version(8) fingerprint(8) head fingerprint(8) dictionary rows(2) rows×{partition(2) row}
//	          the first version and fingerprint are of the Table that it applies to; partitions ascend; of the
//	          head's addresses there are those that are new, since who is named keeps its own
//	TableGet  version(8)           what the asker has, 0 for nothing; the answer is a Table
//	Version   instance(16) version(8) fingerprint(8) term(8) applied(8)
//	          all zero when the sender has none; term is the raft term in which it leads, 0 when it does
//	          not; applied is the raft index up to which it follows the register, 0 when it does not
//	Witness   deaths(2) deaths×{fate(1) name}
//	Found     instance(16) generation(4) shards(2) shards×{name}
//	Agree     instance(16) generation(4)
//
//	head        instance(16) version(8) settings voters(2) voters×{name}
//	            moves(2) moves×{partition(2) state(1) from to} addresses(2) addresses×{name link}
//	            forgotten(2) forgotten×{name}; name, from, to and link are size(1) and as many bytes;
//	            from is empty in a refill
//	settings    placement(2) replication(2) load(2) followers(1)
//	dictionary  nodes(2) nodes×{name}
//	row         owner(2) term(8) since(8) followers(1) followers×{node(2)}; a node is its place in the dictionary from 1, no owner is 0
//
// The fingerprint is that of the Table's rows: a parsed Table that gives another one is refused.
//
// A Command is no frame, but an entry of the register's log:
//
//	Command   term(8) kind(1), then for kind 1 a Table's layout, for kind 2
//	          dictionary changes(2) changes×{partition(2) replaces(8) row} addresses forgotten moves
//	          ended(2) ended×{partition(2)} changed(1) changed×{settings}; changed is 0 or 1

// Errors of the parsers: the sender does not speak this protocol.
var (
	errShort    = errors.New("body too short")
	errTrailing = errors.New("bytes behind the end")
)

// AppendTable appends t as a whole frame.
func AppendTable(b []byte, t *Table) []byte {
	b, start := proto.Begin(b, proto.FrameTable)
	return proto.End(appendTable(b, t), start)
}

func appendTable(b []byte, t *Table) []byte {
	b = appendHead(b, &t.Head)
	b = binary.BigEndian.AppendUint64(b, t.print)
	dict := make(dictionary)
	for _, r := range t.Rows() {
		dict.add(r)
	}
	b = dict.append(b)
	b = binary.BigEndian.AppendUint16(b, uint16(t.Partitions()))
	for _, r := range t.Rows() {
		b = dict.appendRow(b, r)
	}
	return b
}

// ParseTable reads the body of a Table frame.
func ParseTable(body []byte) (*Table, error) {
	r := reader{b: body}
	t := r.table()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("parse table: %w", err)
	}
	return t, nil
}

func (r *reader) table() *Table {
	head, print := r.head(), r.u64()
	names := r.dictionary()
	rows := make([]Row, r.count(rowSize))
	for i := range rows {
		rows[i] = r.row(names)
	}
	t := NewTable(head, rows)
	switch {
	case r.err != nil:
	case head.Instance.IsZero() || head.Version == 0:
		r.fail(errors.New("no instance or version"))
	case !fit(head.Moves, len(rows)):
		r.fail(errors.New("moves that do not fit the rows"))
	case t.print != print:
		r.fail(fmt.Errorf("fingerprint %016x, but the rows give %016x", print, t.print))
	}
	return t
}

// AppendDelta appends d as a whole frame.
func AppendDelta(b []byte, d *Delta) []byte {
	b, start := proto.Begin(b, proto.FrameDelta)
	b = appendMark(b, d.From)
	b = appendHead(b, &d.Head)
	b = binary.BigEndian.AppendUint64(b, d.Print)
	dict := make(dictionary)
	for _, r := range d.Rows {
		dict.add(r.Row)
	}
	b = dict.append(b)
	b = binary.BigEndian.AppendUint16(b, uint16(len(d.Rows)))
	for _, r := range d.Rows {
		b = binary.BigEndian.AppendUint16(b, uint16(r.Partition))
		b = dict.appendRow(b, r.Row)
	}
	return proto.End(b, start)
}

// ParseDelta reads the body of a Delta frame.
func ParseDelta(body []byte) (Delta, error) {
	r := reader{b: body}
	d := Delta{From: r.mark(), Head: r.head(), Print: r.u64()}
	names := r.dictionary()
	d.Rows = make([]DeltaRow, r.count(2+rowSize))
	for i := range d.Rows {
		d.Rows[i] = DeltaRow{proto.Partition(r.u16()), r.row(names)}
		if i > 0 && d.Rows[i].Partition <= d.Rows[i-1].Partition {
			r.fail(errors.New("partitions do not ascend"))
		}
	}
	if err := r.end(); err != nil {
		return Delta{}, fmt.Errorf("parse delta: %w", err)
	}
	return d, nil
}

const (
	commandFound  = 1
	commandChange = 2
)

// AppendCommand appends an entry of the register's log.
func AppendCommand(b []byte, c *Command) []byte {
	b = binary.BigEndian.AppendUint64(b, c.Term)
	if c.Found != nil {
		return appendTable(append(b, commandFound), c.Found)
	}
	b = append(b, commandChange)
	dict := make(dictionary)
	for _, x := range c.Changes {
		dict.add(x.Row)
	}
	b = dict.append(b)
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.Changes)))
	for _, x := range c.Changes {
		b = binary.BigEndian.AppendUint16(b, uint16(x.Partition))
		b = binary.BigEndian.AppendUint64(b, uint64(x.Replaces))
		b = dict.appendRow(b, x.Row)
	}
	b = appendAddresses(b, c.Addresses)
	b = appendNames(b, c.Forget)
	b = appendMoves(b, c.Moves)
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.Ended)))
	for _, p := range c.Ended {
		b = binary.BigEndian.AppendUint16(b, uint16(p))
	}
	if c.Settings == nil {
		return append(b, 0)
	}
	return appendSettings(append(b, 1), *c.Settings)
}

// ParseCommand reads an entry of the register's log.
func ParseCommand(b []byte) (*Command, error) {
	r := reader{b: b}
	c := &Command{Term: r.u64()}
	switch kind := r.u8(); kind {
	case commandFound:
		c.Found = r.table()
	case commandChange:
		r.change(c)
	default:
		r.fail(fmt.Errorf("kind %d", kind))
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("parse command: %w", err)
	}
	return c, nil
}

func (r *reader) change(c *Command) {
	names := r.dictionary()
	c.Changes = make([]plan.Change, r.count(10+rowSize))
	for i := range c.Changes {
		c.Changes[i] = plan.Change{Partition: proto.Partition(r.u16()), Replaces: proto.Term(r.u64()), Row: r.row(names)}
	}
	c.Addresses, c.Forget, c.Moves = r.addresses(), r.names(), r.moves()
	c.Ended = make([]proto.Partition, r.count(2))
	for i := range c.Ended {
		c.Ended[i] = proto.Partition(r.u16())
	}
	if r.u8() == 1 {
		s := r.settings()
		c.Settings = &s
	}
}

// AppendTableGet appends a TableGet frame; version is what the sender has, 0 for nothing.
func AppendTableGet(b []byte, version uint64) []byte {
	b, start := proto.Begin(b, proto.FrameTableGet)
	return proto.End(binary.BigEndian.AppendUint64(b, version), start)
}

// ParseTableGet reads the body of a TableGet frame.
func ParseTableGet(body []byte) (version uint64, err error) {
	r := reader{b: body}
	version = r.u64()
	if err := r.end(); err != nil {
		return 0, fmt.Errorf("parse table-get: %w", err)
	}
	return version, nil
}

// Announcement is what a node says of its register, its copy of the Table and its links.
type Announcement struct {
	Instance proto.Instance
	Mark     Mark
	Term     uint64 // raft term in which the sender leads, 0 when it does not
	Applied  uint64 // raft index up to which the sender follows the register, 0 when it does not

	// Missing are living shards that the sender, a shard, has no link to.
	Missing []proto.NodeName
}

// founding is what the sender belongs to.
func (a *Announcement) founding() proto.Founding {
	return proto.Founding{Instance: a.Instance, Generation: uint32(a.Mark.Version >> 32)}
}

// AppendVersion appends a Version frame.
func AppendVersion(b []byte, a Announcement) []byte {
	b, start := proto.Begin(b, proto.FrameVersion)
	b = append(b, a.Instance[:]...)
	b = appendMark(b, a.Mark)
	b = binary.BigEndian.AppendUint64(b, a.Term)
	b = binary.BigEndian.AppendUint64(b, a.Applied)
	return proto.End(appendNames(b, a.Missing), start)
}

// ParseVersion reads the body of a Version frame.
func ParseVersion(body []byte) (Announcement, error) {
	r := reader{b: body}
	a := Announcement{Instance: r.instance(), Mark: r.mark(), Term: r.u64(), Applied: r.u64(), Missing: r.names()}
	if len(a.Missing) > maxMissing {
		r.fail(fmt.Errorf("%d shards are missing", len(a.Missing)))
	}
	if err := r.end(); err != nil {
		return Announcement{}, fmt.Errorf("parse version: %w", err)
	}
	return a, nil
}

// Death is how a node came to know that a run of another has ended.
type Death struct {
	Name proto.NodeName
	Fate Fate
}

// AppendWitness appends a Witness frame.
func AppendWitness(b []byte, deaths []Death) []byte {
	b, start := proto.Begin(b, proto.FrameWitness)
	b = binary.BigEndian.AppendUint16(b, uint16(len(deaths)))
	for _, d := range deaths {
		b = appendText(append(b, byte(d.Fate)), string(d.Name))
	}
	return proto.End(b, start)
}

// ParseWitness reads the body of a Witness frame.
func ParseWitness(body []byte) ([]Death, error) {
	r := reader{b: body}
	deaths := make([]Death, r.count(2))
	for i := range deaths {
		deaths[i] = Death{Fate: Fate(r.u8()), Name: r.name()}
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("parse witness: %w", err)
	}
	return deaths, nil
}

// AppendFound appends a Found frame.
func AppendFound(b []byte, f proto.Founding, shards []proto.NodeName) []byte {
	b, start := proto.Begin(b, proto.FrameFound)
	return proto.End(appendNames(appendFounding(b, f), shards), start)
}

// ParseFound reads the body of a Found frame.
func ParseFound(body []byte) (f proto.Founding, shards []proto.NodeName, err error) {
	r := reader{b: body}
	f, shards = r.founding(), r.names()
	if err := r.end(); err != nil {
		return proto.Founding{}, nil, fmt.Errorf("parse found: %w", err)
	}
	return f, shards, nil
}

// AppendAgree appends an Agree frame.
func AppendAgree(b []byte, f proto.Founding) []byte {
	b, start := proto.Begin(b, proto.FrameAgree)
	return proto.End(appendFounding(b, f), start)
}

// ParseAgree reads the body of an Agree frame.
func ParseAgree(body []byte) (f proto.Founding, err error) {
	r := reader{b: body}
	f = r.founding()
	if err := r.end(); err != nil {
		return proto.Founding{}, fmt.Errorf("parse agree: %w", err)
	}
	return f, nil
}

func appendFounding(b []byte, f proto.Founding) []byte {
	return binary.BigEndian.AppendUint32(append(b, f.Instance[:]...), f.Generation)
}

func appendHead(b []byte, h *Head) []byte {
	b = append(b, h.Instance[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Version)
	b = appendSettings(b, h.Settings)
	b = appendNames(b, h.Voters)
	b = appendMoves(b, h.Moves)
	b = appendAddresses(b, h.Addresses)
	return appendNames(b, h.Forgotten)
}

func appendSettings(b []byte, s plan.Settings) []byte {
	b = binary.BigEndian.AppendUint16(b, s.Placement)
	b = binary.BigEndian.AppendUint16(b, s.Replication)
	return append(binary.BigEndian.AppendUint16(b, s.Load), s.Followers)
}

func appendNames(b []byte, names []proto.NodeName) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(names)))
	for _, n := range names {
		b = appendText(b, string(n))
	}
	return b
}

func appendAddresses(b []byte, list []Address) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(list)))
	for _, a := range list {
		b = appendText(appendText(b, string(a.Name)), a.Link)
	}
	return b
}

func appendMoves(b []byte, list []plan.Move) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(list)))
	for _, m := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(m.Partition))
		b = append(b, byte(m.State))
		b = appendText(appendText(b, string(m.From)), string(m.To))
	}
	return b
}

// appendText appends size(1) and the bytes. What is longer than 255 was refused where it came in.
func appendText(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func appendMark(b []byte, m Mark) []byte {
	b = binary.BigEndian.AppendUint64(b, m.Version)
	return binary.BigEndian.AppendUint64(b, m.Fingerprint)
}

// dictionary numbers the nodes of a frame from 1, in the order of their first mention.
type dictionary map[proto.NodeName]uint16

func (d dictionary) add(r Row) {
	d.number(r.Owner)
	for _, f := range r.Followers {
		d.number(f)
	}
}

func (d dictionary) number(name proto.NodeName) {
	if _, known := d[name]; !known && name != "" {
		d[name] = uint16(len(d) + 1)
	}
}

func (d dictionary) append(b []byte) []byte {
	names := make([]proto.NodeName, len(d))
	for name, n := range d {
		names[n-1] = name
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(names)))
	for _, name := range names {
		b = appendText(b, string(name))
	}
	return b
}

func (d dictionary) appendRow(b []byte, r Row) []byte {
	b = binary.BigEndian.AppendUint16(b, d[r.Owner])
	b = binary.BigEndian.AppendUint64(b, uint64(r.Term))
	b = binary.BigEndian.AppendUint64(b, uint64(r.Since))
	b = append(b, byte(len(r.Followers)))
	for _, f := range r.Followers {
		b = binary.BigEndian.AppendUint16(b, d[f])
	}
	return b
}

// rowSize is the least that a row takes. Counts are checked against it before anything is
// allocated for them.
const rowSize = 2 + 8 + 8 + 1

// reader reads a body from the front. After the first failure it gives zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail(errShort)
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads size(1) and as many bytes.
func (r *reader) text() string { return string(r.take(int(r.u8()))) }

func (r *reader) instance() (i proto.Instance) {
	copy(i[:], r.take(len(i)))
	return i
}

func (r *reader) mark() Mark { return Mark{Version: r.counter(), Fingerprint: r.u64()} }

// counter reads a version or a term. Half of what fits is refused: the next one must exist.
func (r *reader) counter() uint64 {
	n := r.u64()
	if n > math.MaxInt64 {
		r.fail(fmt.Errorf("counter %d out of range", n))
		return 0
	}
	return n
}

// count reads a number of things that take at least size bytes each.
func (r *reader) count(size int) int {
	n := int(r.u16())
	if n*size > len(r.b) {
		r.fail(errShort)
		return 0
	}
	return n
}

func (r *reader) dictionary() []proto.NodeName { return r.names() }

// names reads a list of node names.
func (r *reader) names() []proto.NodeName {
	names := make([]proto.NodeName, r.count(1))
	for i := range names {
		names[i] = r.name()
	}
	return names
}

func (r *reader) name() proto.NodeName {
	name, err := proto.ParseNodeName(r.text())
	if err != nil {
		r.fail(err)
	}
	return name
}

func (r *reader) noneOrName() proto.NodeName {
	if len(r.b) > 0 && r.b[0] == 0 {
		r.u8()
		return ""
	}
	return r.name()
}

func (r *reader) founding() proto.Founding {
	return proto.Founding{Instance: r.instance(), Generation: r.u32()}
}

func (r *reader) head() Head {
	return Head{
		Instance: r.instance(), Version: r.counter(), Settings: r.settings(),
		Voters: r.names(), Moves: r.moves(), Addresses: r.addresses(), Forgotten: r.names(),
	}
}

func (r *reader) settings() plan.Settings {
	return plan.Settings{Placement: r.u16(), Replication: r.u16(), Load: r.u16(), Followers: r.u8()}
}

func (r *reader) addresses() []Address {
	list := make([]Address, r.count(2))
	for i := range list {
		list[i] = Address{Name: r.name(), Link: r.text()}
	}
	return list
}

func (r *reader) moves() []plan.Move {
	list := make([]plan.Move, r.count(5))
	for i := range list {
		list[i] = plan.Move{Partition: proto.Partition(r.u16()), State: plan.MoveState(r.u8()), From: r.noneOrName(), To: r.name()}
	}
	return list
}

func (r *reader) node(names []proto.NodeName) proto.NodeName {
	n := int(r.u16())
	if n == 0 || n > len(names) {
		r.fail(fmt.Errorf("node %d of %d", n, len(names)))
		return ""
	}
	return names[n-1]
}

func (r *reader) row(names []proto.NodeName) Row {
	var row Row
	if len(r.b) >= 2 && r.b[0] == 0 && r.b[1] == 0 {
		r.u16()
	} else {
		row.Owner = r.node(names)
	}
	row.Term, row.Since = proto.Term(r.counter()), proto.Term(r.counter())
	if row.Since > row.Term {
		r.fail(fmt.Errorf("since term %d in term %d", row.Since, row.Term))
	}
	if n := int(r.u8()); n > 0 && n*2 <= len(r.b) {
		row.Followers = make([]proto.NodeName, n)
		for i := range row.Followers {
			row.Followers[i] = r.node(names)
		}
	} else if n > 0 {
		r.fail(errShort)
	}
	return row
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(errTrailing)
	}
	return r.err
}

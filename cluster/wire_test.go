package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/roomring/roomring/cluster/plan"
	"github.com/roomring/roomring/proto"
)

var update = flag.Bool("update", false, "write the golden bytes anew")

// golden compares bytes with those in testdata: what is on the wire must not change by accident.
func golden(t *testing.T, name string, have []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".hex")
	if *update {
		if err := os.WriteFile(file, []byte(hex.EncodeToString(have)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s:\nhave %x\nwant %x", name, have, want)
	}
}

var (
	nameA = proto.MakeNodeName("a", 1)
	nameB = proto.MakeNodeName("b-2", 0xfeed)
	nameC = proto.MakeNodeName("c", 3)
	inst  = proto.Instance{1, 2, 3, 15: 16}
)

// exampleTables are two of one register; every field says something.
func exampleTables() (old, next *Table) {
	head := Head{
		Instance:  inst,
		Version:   7,
		Settings:  plan.DefaultSettings(),
		Voters:    []proto.NodeName{nameA},
		Moves:     []plan.Move{{Partition: 0, To: nameB, State: plan.Learning}, {Partition: 2, From: nameA, To: nameB, State: plan.Freezing}},
		Addresses: []Address{{nameA, "10.0.0.1:7400"}, {nameB, "10.0.0.2:7400"}},
	}
	old = NewTable(head, []Row{
		{Owner: nameA, Term: 1, Since: 1},
		{},
		{Owner: nameA, Followers: []proto.NodeName{nameB}, Term: 2, Since: 1},
	})
	head.Version, head.Moves = 8, nil
	head.Voters = []proto.NodeName{nameA, nameB, nameC}
	head.Forgotten = []proto.NodeName{nameB}
	head.Addresses = []Address{{nameA, "10.0.0.1:7400"}, {nameB, "10.0.0.3:7400"}}
	next = NewTable(head, []Row{
		{Owner: nameA, Term: 1, Since: 1},
		{Owner: nameB, Term: 1, Since: 1},
		{Owner: nameB, Followers: []proto.NodeName{nameA}, Term: 3, Since: 3},
	})
	return old, next
}

func exampleCommand() *Command {
	settings := plan.Settings{Placement: 1, Replication: 200, Load: 150, Followers: 1}
	return &Command{
		Term: 5,
		Changes: []plan.Change{
			{Partition: 1, Row: Row{Owner: nameB, Term: 1, Since: 1}},
			{Partition: 2, Replaces: 2, Row: Row{Owner: nameB, Followers: []proto.NodeName{nameA}, Term: 3, Since: 3}},
		},
		Addresses: []Address{{nameB, "10.0.0.2:7400"}},
		Forget:    []proto.NodeName{nameC},
		Moves:     []plan.Move{{Partition: 0, From: nameA, To: nameB, State: plan.Freezing}},
		Ended:     []proto.Partition{2},
		Settings:  &settings,
	}
}

func foundCommand() *Command {
	old, _ := exampleTables()
	return &Command{Term: 2, Found: old}
}

var (
	exampleSaid     = Announcement{Instance: inst, Mark: Mark{Version: 7, Fingerprint: 0xf00d}, Term: 5, Applied: 41, Missing: []proto.NodeName{nameB, nameC}}
	exampleDeaths   = []Death{{nameA, FateRefused}, {nameB, FateReplaced}, {nameC, FateLeft}}
	exampleFounding = proto.Founding{Instance: inst, Generation: 3}
	exampleShards   = []proto.NodeName{nameA, nameB}
)

func TestGoldenBytes(t *testing.T) {
	old, next := exampleTables()
	delta := next.Since(old)
	golden(t, "table", AppendTable(nil, old))
	golden(t, "delta", AppendDelta(nil, &delta))
	golden(t, "table-get", AppendTableGet(nil, 7))
	golden(t, "version", AppendVersion(nil, exampleSaid))
	golden(t, "witness", AppendWitness(nil, exampleDeaths))
	golden(t, "found", AppendFound(nil, exampleFounding, exampleShards))
	golden(t, "agree", AppendAgree(nil, exampleFounding))
	golden(t, "command-found", AppendCommand(nil, foundCommand()))
	golden(t, "command-change", AppendCommand(nil, exampleCommand()))
	meta, err := encodeMetadata(&exampleNode)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "metadata", meta)
	if f := old.Fingerprint(); f != "b63adac252333200" {
		t.Errorf("fingerprint %s: it must not change, nodes of two versions compare it", f)
	}
}

// body strips a whole frame's header and checks it.
func body(t *testing.T, frame []byte, typ proto.FrameType) []byte {
	t.Helper()
	got, size, err := proto.ParseHeader(frame)
	if err != nil || got != typ || size != len(frame) {
		t.Fatalf("header: type %v, size %d of %d, %v", got, size, len(frame), err)
	}
	return frame[proto.HeaderSize:]
}

// listed are a Table's rows.
func listed(t *Table) (rows []Row) {
	for _, row := range t.Rows() {
		rows = append(rows, row)
	}
	return rows
}

// sameTable compares all that two Tables say; an empty list is the same as none.
func sameTable(a, b *Table) bool {
	return bytes.Equal(AppendTable(nil, a), AppendTable(nil, b))
}

func TestFramesRoundTrip(t *testing.T) {
	old, next := exampleTables()
	table, err := ParseTable(body(t, AppendTable(nil, next), proto.FrameTable))
	if err != nil || !reflect.DeepEqual(listed(table), listed(next)) || !sameTable(table, next) {
		t.Errorf("table came back as %+v, %v", table, err)
	}
	d := next.Since(old)
	delta, err := ParseDelta(body(t, AppendDelta(nil, &d), proto.FrameDelta))
	if err != nil {
		t.Fatal(err)
	}
	if applied, err := old.Apply(&delta); err != nil || !sameTable(applied, next) {
		t.Errorf("delta leads to %+v, %v", applied, err)
	}
	if v, err := ParseTableGet(body(t, AppendTableGet(nil, 9), proto.FrameTableGet)); v != 9 || err != nil {
		t.Errorf("table-get: %d, %v", v, err)
	}
	if a, err := ParseVersion(body(t, AppendVersion(nil, exampleSaid), proto.FrameVersion)); !reflect.DeepEqual(a, exampleSaid) || err != nil {
		t.Errorf("version: %+v, %v", a, err)
	}
	crowd := Announcement{Instance: inst, Missing: slices.Repeat(exampleSaid.Missing, maxMissing/2+1)}
	if _, err := ParseVersion(body(t, AppendVersion(nil, crowd), proto.FrameVersion)); err == nil {
		t.Error("more shards are missing than may be named, and that is understood")
	}
	if w, err := ParseWitness(body(t, AppendWitness(nil, exampleDeaths), proto.FrameWitness)); !reflect.DeepEqual(w, exampleDeaths) || err != nil {
		t.Errorf("witness: %v, %v", w, err)
	}
	f, shards, err := ParseFound(body(t, AppendFound(nil, exampleFounding, exampleShards), proto.FrameFound))
	if f != exampleFounding || !reflect.DeepEqual(shards, exampleShards) || err != nil {
		t.Errorf("found: %v %v %v", f, shards, err)
	}
	if f, err := ParseAgree(body(t, AppendAgree(nil, exampleFounding), proto.FrameAgree)); f != exampleFounding || err != nil {
		t.Errorf("agree: %v %v", f, err)
	}
}

func TestCommandsRoundTrip(t *testing.T) {
	c, err := ParseCommand(AppendCommand(nil, exampleCommand()))
	if err != nil || !reflect.DeepEqual(c, exampleCommand()) {
		t.Errorf("a change came back as %+v, %v", c, err)
	}
	c, err = ParseCommand(AppendCommand(nil, foundCommand()))
	if err != nil || c.Term != 2 || c.Found == nil || !sameTable(c.Found, foundCommand().Found) || !(&Command{Changes: c.Changes, Forget: c.Forget}).Empty() {
		t.Errorf("a founding came back as %+v, %v", c, err)
	}
}

func TestApplyRefusesHoles(t *testing.T) {
	old, next := exampleTables()
	for name, spoil := range map[string]func(*Delta){
		"another version":          func(d *Delta) { d.From.Version = 6 },
		"another table":            func(d *Delta) { d.From.Fingerprint++ },
		"another instance":         func(d *Delta) { d.Head.Instance[0]++ },
		"a version that goes back": func(d *Delta) { d.Head.Version = 7 },
		"a row that is not there":  func(d *Delta) { d.Rows[1].Partition = 3 },
		"a term that goes back":    func(d *Delta) { d.Rows[1].Row.Term = 1 },
		"a missing row":            func(d *Delta) { d.Rows = d.Rows[:1] },
		"another result than said": func(d *Delta) { d.Print++ },
	} {
		d := next.Since(old)
		spoil(&d)
		if _, err := old.Apply(&d); !errors.Is(err, ErrHole) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if was, _ := exampleTables(); !sameTable(was, old) {
		t.Error("a refused delta changed the table")
	}
}

// TestDeltaSaysNewAddresses: who applies deltas has the addresses that the register has, whoever comes, goes,
// and comes back elsewhere; and each is said once. A Delta of a large cluster would be little else.
func TestDeltaSaysNewAddresses(t *testing.T) {
	const shards = 300
	name := func(i int) proto.NodeName {
		return proto.MakeNodeName(proto.NodeID(fmt.Sprintf("s%03d", i)), proto.Incarnation(i+1))
	}
	address := func(i, at int) Address { return Address{name(i), fmt.Sprintf("10.0.%d.%d:7400", at, i%250)} }
	head, rows := Head{Instance: inst, Version: 1, Settings: plan.DefaultSettings()}, make([]Row, proto.Partitions)
	for p := range rows {
		rows[p] = Row{Owner: name(p % shards), Term: 1, Since: 1}
	}
	for i := range shards {
		head.Addresses = append(head.Addresses, address(i, 0))
	}
	kept := NewTable(head, rows) // by the register
	copied := kept
	for step, c := range []Command{
		{Changes: []plan.Change{{Partition: 1, Replaces: 1, Row: Row{Owner: name(2), Term: 2, Since: 1}}}},
		{Changes: []plan.Change{{Partition: 1, Replaces: 2, Row: Row{Owner: name(shards), Term: 3, Since: 1}}}, Addresses: []Address{address(shards, 1)}},
		{Changes: []plan.Change{{Partition: 1, Replaces: 3, Row: Row{Owner: name(2), Term: 4, Since: 1}}}},
		{Changes: []plan.Change{{Partition: 1, Replaces: 4, Row: Row{Owner: name(shards), Term: 5, Since: 1}}}, Addresses: []Address{address(shards, 2), address(3, 2)}},
	} {
		next, err := kept.Execute(&c, 0)
		if err != nil {
			t.Fatal(err)
		}
		d := next.Since(kept)
		frame := AppendDelta(nil, &d)
		if len(frame) > 300 {
			t.Errorf("step %d: %d bytes say that one row has changed", step, len(frame))
		}
		if d, err = ParseDelta(frame[proto.HeaderSize:]); err != nil {
			t.Fatal(err)
		}
		if copied, err = copied.Apply(&d); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(copied.Addresses, next.Addresses) {
			t.Errorf("step %d: a copy has %d addresses, the register %d", step, len(copied.Addresses), len(next.Addresses))
		}
		kept = next
	}
	if got := copied.Address(name(shards)); got != address(shards, 2).Link {
		t.Errorf("who came back is looked for at %q", got)
	}
}

func TestWholeTableFitsInAFrame(t *testing.T) {
	rows := make([]Row, proto.Partitions)
	for p := range rows {
		id := func(n int) proto.NodeName {
			return proto.MakeNodeName(proto.NodeID(fmt.Sprintf("%063d", n%500)), proto.Incarnation(n%500+1))
		}
		rows[p] = Row{Owner: id(p), Followers: []proto.NodeName{id(p + 1), id(p + 2)}, Term: 1 << 40}
	}
	head := Head{Instance: inst, Version: 1}
	for name := range count(rows) {
		head.Addresses = append(head.Addresses, Address{name, strings.Repeat("a", 255)})
	}
	frame := AppendTable(nil, NewTable(head, rows))
	if len(frame) > proto.MaxFrame/2 {
		t.Errorf("a table with 500 nodes, the longest addresses and two followers each takes %d bytes", len(frame))
	}
	if _, err := ParseTable(body(t, frame, proto.FrameTable)); err != nil {
		t.Error(err)
	}
}

// parsers read a body and write what they understood again, so that what survives the way is seen.
var parsers = map[string]func(b []byte) (again []byte, err error){
	"table": func(b []byte) ([]byte, error) {
		t, err := ParseTable(b)
		if err != nil {
			return nil, err
		}
		return AppendTable(nil, t)[proto.HeaderSize:], nil
	},
	"delta": func(b []byte) ([]byte, error) {
		d, err := ParseDelta(b)
		if err != nil {
			return nil, err
		}
		return AppendDelta(nil, &d)[proto.HeaderSize:], nil
	},
	"table-get": func(b []byte) ([]byte, error) {
		v, err := ParseTableGet(b)
		return AppendTableGet(nil, v)[proto.HeaderSize:], err
	},
	"version": func(b []byte) ([]byte, error) {
		a, err := ParseVersion(b)
		return AppendVersion(nil, a)[proto.HeaderSize:], err
	},
	"witness": func(b []byte) ([]byte, error) {
		d, err := ParseWitness(b)
		return AppendWitness(nil, d)[proto.HeaderSize:], err
	},
	"found": func(b []byte) ([]byte, error) {
		f, shards, err := ParseFound(b)
		return AppendFound(nil, f, shards)[proto.HeaderSize:], err
	},
	"agree": func(b []byte) ([]byte, error) {
		f, err := ParseAgree(b)
		return AppendAgree(nil, f)[proto.HeaderSize:], err
	},
	"command": func(b []byte) ([]byte, error) {
		c, err := ParseCommand(b)
		if err != nil {
			return nil, err
		}
		return AppendCommand(nil, c), nil
	},
}

// exampleBodies is one of each, by the names of parsers; two for a command.
func exampleBodies() map[string][][]byte {
	old, next := exampleTables()
	d := next.Since(old)
	frames := map[string][]byte{
		"table":     AppendTable(nil, old),
		"delta":     AppendDelta(nil, &d),
		"table-get": AppendTableGet(nil, 3),
		"version":   AppendVersion(nil, exampleSaid),
		"witness":   AppendWitness(nil, exampleDeaths),
		"found":     AppendFound(nil, exampleFounding, exampleShards),
		"agree":     AppendAgree(nil, exampleFounding),
	}
	bodies := make(map[string][][]byte)
	for name, frame := range frames {
		bodies[name] = [][]byte{frame[proto.HeaderSize:]}
	}
	bodies["command"] = [][]byte{AppendCommand(nil, exampleCommand()), AppendCommand(nil, foundCommand())}
	return bodies
}

// parse runs one parser on b: what it understands must be what it says, to the last byte, once it has
// been written by us.
func parse(t *testing.T, name string, b []byte) {
	t.Helper()
	again, err := parsers[name](b)
	if err != nil {
		return
	}
	third, err := parsers[name](again)
	if err != nil || !bytes.Equal(third, again) {
		t.Errorf("%s %x was understood, and written as %x is not: %v", name, b, again, err)
	}
	if fixed := name != "table" && name != "delta" && name != "command"; fixed && !bytes.Equal(again, b) {
		t.Errorf("%s %x came back as %x", name, b, again)
	}
}

func fuzz(f *testing.F, name string) {
	for _, b := range exampleBodies()[name] {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { parse(t, name, b) })
}

func FuzzParseTable(f *testing.F)    { fuzz(f, "table") }
func FuzzParseDelta(f *testing.F)    { fuzz(f, "delta") }
func FuzzParseTableGet(f *testing.F) { fuzz(f, "table-get") }
func FuzzParseVersion(f *testing.F)  { fuzz(f, "version") }
func FuzzParseWitness(f *testing.F)  { fuzz(f, "witness") }
func FuzzParseFound(f *testing.F)    { fuzz(f, "found") }
func FuzzParseAgree(f *testing.F)    { fuzz(f, "agree") }
func FuzzParseCommand(f *testing.F)  { fuzz(f, "command") }

// TestParseCutAndSpoiled cuts everything at every byte, adds one, and flips every bit: errors at most.
func TestParseCutAndSpoiled(t *testing.T) {
	for name, bodies := range exampleBodies() {
		for _, whole := range bodies {
			if _, err := parsers[name](whole); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := parsers[name](append(bytes.Clone(whole), 0)); err == nil {
				t.Errorf("%s with a byte behind its end was understood", name)
			}
			for n := range whole {
				if _, err := parsers[name](whole[:n]); err == nil {
					t.Errorf("%s cut at %d of %d was understood", name, n, len(whole))
				}
				for bit := range 8 {
					spoiled := bytes.Clone(whole)
					spoiled[n] ^= 1 << bit
					for other := range parsers {
						parse(t, other, spoiled)
					}
				}
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	old, _ := exampleTables()
	table := func(change func(*Table)) []byte {
		x := *old
		x.rows = plan.MakeRows(listed(old))
		change(&x)
		return AppendTable(nil, &x)[proto.HeaderSize:]
	}
	for what, b := range map[string][]byte{
		"no instance":             table(func(t *Table) { t.Instance = proto.Instance{} }),
		"no version":              table(func(t *Table) { t.Version = 0 }),
		"a version out of range":  table(func(t *Table) { t.Version = 1 << 63 }),
		"another fingerprint":     table(func(t *Table) { t.print++ }),
		"a reign that is to come": table(func(t *Table) { t.rows.At(0).Since = 2 }),
		"a voter without a name":  table(func(t *Table) { t.Voters = []proto.NodeName{"nobody"} }),
	} {
		if _, err := ParseTable(b); err == nil {
			t.Errorf("a table with %s was understood", what)
		}
	}
	if _, err := ParseCommand([]byte{0, 0, 0, 0, 0, 0, 0, 1, 3}); err == nil {
		t.Error("a command of an unknown kind was understood")
	}
}

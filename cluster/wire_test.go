package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	inst  = proto.Instance{1, 2, 3, 15: 16}
)

func exampleTables() (old, next *Table) {
	old = NewTable(inst, 7, []Row{{Owner: nameA, Term: 1}, {}, {Owner: nameA, Followers: []proto.NodeName{nameB}, Term: 2}})
	next = NewTable(inst, 8, []Row{{Owner: nameA, Term: 1}, {Owner: nameB, Term: 1}, {Owner: nameB, Followers: []proto.NodeName{nameA}, Term: 3}})
	return old, next
}

func TestGoldenBytes(t *testing.T) {
	old, next := exampleTables()
	delta := next.Since(old)
	golden(t, "table", AppendTable(nil, old))
	golden(t, "delta", AppendDelta(nil, &delta))
	golden(t, "table-get", AppendTableGet(nil, 7))
	golden(t, "version", AppendVersion(nil, inst, old.Mark()))
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

func TestFramesRoundTrip(t *testing.T) {
	old, next := exampleTables()
	table, err := ParseTable(body(t, AppendTable(nil, old), proto.FrameTable))
	if err != nil || table.Mark() != old.Mark() || table.Instance != inst {
		t.Errorf("table came back as %+v, %v", table, err)
	}
	d := next.Since(old)
	delta, err := ParseDelta(body(t, AppendDelta(nil, &d), proto.FrameDelta))
	if err != nil {
		t.Fatal(err)
	}
	if applied, err := table.Apply(&delta); err != nil || applied.Mark() != next.Mark() {
		t.Errorf("delta leads to %+v, %v", applied, err)
	}
	if v, err := ParseTableGet(body(t, AppendTableGet(nil, 9), proto.FrameTableGet)); v != 9 || err != nil {
		t.Errorf("table-get: %d, %v", v, err)
	}
	i, m, err := ParseVersion(body(t, AppendVersion(nil, inst, old.Mark()), proto.FrameVersion))
	if i != inst || m != old.Mark() || err != nil {
		t.Errorf("version: %v %v %v", i, m, err)
	}
}

func TestApplyRefusesHoles(t *testing.T) {
	old, next := exampleTables()
	for name, spoil := range map[string]func(*Delta){
		"another version":          func(d *Delta) { d.From.Version = 6 },
		"another table":            func(d *Delta) { d.From.Fingerprint++ },
		"another instance":         func(d *Delta) { d.Instance[0]++ },
		"a row that is not there":  func(d *Delta) { d.Rows[1].Partition = 3 },
		"a term that goes back":    func(d *Delta) { d.Rows[1].Row.Term = 1 },
		"a missing row":            func(d *Delta) { d.Rows = d.Rows[:1] },
		"another result than said": func(d *Delta) { d.To.Fingerprint++ },
	} {
		d := next.Since(old)
		spoil(&d)
		if _, err := old.Apply(&d); !errors.Is(err, ErrHole) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if was, _ := exampleTables(); was.Mark() != old.Mark() {
		t.Error("a refused delta changed the table")
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
	frame := AppendTable(nil, NewTable(inst, 1, rows))
	if len(frame) > proto.MaxFrame/4 {
		t.Errorf("a table with 500 nodes and two followers each takes %d bytes", len(frame))
	}
	if _, err := ParseTable(body(t, frame, proto.FrameTable)); err != nil {
		t.Error(err)
	}
}

// parseAll runs every parser on b; what is understood must survive the way back.
func parseAll(t *testing.T, b []byte) {
	if table, err := ParseTable(b); err == nil {
		again, err := ParseTable(AppendTable(nil, table)[proto.HeaderSize:])
		if err != nil || again.Mark() != table.Mark() {
			t.Errorf("a table that was understood is not understood again: %v", err)
		}
	}
	if d, err := ParseDelta(b); err == nil {
		if again, err := ParseDelta(AppendDelta(nil, &d)[proto.HeaderSize:]); err != nil || len(again.Rows) != len(d.Rows) {
			t.Errorf("a delta that was understood is not understood again: %v", err)
		}
	}
	if v, err := ParseTableGet(b); err == nil && !bytes.Equal(AppendTableGet(nil, v)[proto.HeaderSize:], b) {
		t.Errorf("table-get %x came back otherwise", b)
	}
	if i, m, err := ParseVersion(b); err == nil && !bytes.Equal(AppendVersion(nil, i, m)[proto.HeaderSize:], b) {
		t.Errorf("version %x came back otherwise", b)
	}
}

func FuzzParse(f *testing.F) {
	old, next := exampleTables()
	d := next.Since(old)
	for _, frame := range [][]byte{
		AppendTable(nil, old), AppendDelta(nil, &d), AppendTableGet(nil, 3), AppendVersion(nil, inst, old.Mark()),
	} {
		f.Add(frame[proto.HeaderSize:])
	}
	f.Fuzz(parseAll)
}

// TestParseCutAndSpoiled cuts every frame at every byte and flips every bit: errors at most.
func TestParseCutAndSpoiled(t *testing.T) {
	old, next := exampleTables()
	d := next.Since(old)
	for _, frame := range [][]byte{AppendTable(nil, old), AppendDelta(nil, &d)} {
		whole := frame[proto.HeaderSize:]
		for n := range whole {
			if _, err := ParseTable(whole[:n]); err == nil {
				t.Errorf("a table cut at %d of %d was understood", n, len(whole))
			}
			if _, err := ParseDelta(whole[:n]); err == nil {
				t.Errorf("a delta cut at %d of %d was understood", n, len(whole))
			}
			for bit := range 8 {
				spoiled := bytes.Clone(whole)
				spoiled[n] ^= 1 << bit
				parseAll(t, spoiled)
			}
		}
	}
}

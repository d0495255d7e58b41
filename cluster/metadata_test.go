package cluster

import (
	"strings"
	"testing"

	"github.com/roomring/roomring/proto"
)

var exampleNode = Node{
	Name:      proto.MakeNodeName("s1", 77),
	Role:      proto.RoleShard,
	State:     Draining,
	Zone:      "z1",
	Addresses: Addresses{Link: "10.0.0.1:7400", Admin: "127.0.0.1:7402", Listen: "0.0.0.0:8000"},
	Instance:  proto.Instance{9, 15: 7},
	Voter:     proto.MakeNodeName("s1", 42),
	Lanes:     8,
	Protocols: Protocols{Min: 1, Max: 2},
	Version:   "0.1.0",
	Started:   1_700_000_000_123,
}

func TestMetadataRoundTrip(t *testing.T) {
	b, err := encodeMetadata(&exampleNode)
	if err != nil {
		t.Fatal(err)
	}
	n, err := decodeMetadata(exampleNode.Name, b)
	if err != nil || n != exampleNode {
		t.Errorf("came back as %+v, %v", n, err)
	}
	if n, err := decodeMetadata(exampleNode.Name, append(b, "from a later version"...)); err != nil || n != exampleNode {
		t.Errorf("with more behind it: %+v, %v", n, err)
	}
	unknown := exampleNode
	unknown.Voter = ""
	b, err = encodeMetadata(&unknown)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := decodeMetadata(exampleNode.Name, b); err != nil || n != unknown {
		t.Errorf("before it knows its vote: %+v, %v", n, err)
	}
	for i := range b {
		if _, err := decodeMetadata(exampleNode.Name, b[:i]); err == nil {
			t.Errorf("cut at %d it was understood", i)
		}
	}
}

func TestMetadataTooLong(t *testing.T) {
	n := exampleNode
	n.Zone = strings.Repeat("z", 256)
	if _, err := encodeMetadata(&n); err == nil {
		t.Error("a zone of 256 bytes was accepted")
	}
	n.Zone, n.Version = strings.Repeat("z", 255), strings.Repeat("v", 255)
	if _, err := encodeMetadata(&n); err == nil {
		t.Error("more than 512 bytes were accepted")
	}
	n.Name = nameA
	if _, err := NewGossip(GossipConfig{Self: n}); err == nil {
		t.Error("gossip begins with metadata that memberlist panics at")
	}
}

func FuzzMetadata(f *testing.F) {
	b, _ := encodeMetadata(&exampleNode)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeMetadata(exampleNode.Name, b)
		if err != nil {
			return
		}
		again, err := encodeMetadata(&n)
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", n, err)
		}
		if back, err := decodeMetadata(exampleNode.Name, again); err != nil || back != n {
			t.Errorf("%+v became %+v, %v", n, back, err)
		}
	})
}

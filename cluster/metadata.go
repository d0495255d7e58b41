package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/roomring/roomring/proto"
)

// What a node says about itself travels as gossip metadata, big-endian:
//
//	format(1)=1 role(1) flags(1) lanes(1) min(2) max(2) started(8) instance(16) voter(8)
//	zone link admin listen version, each size(1) and as many bytes
//
// flags: 1 = draining, 2 = leaving for good. What follows is for later versions and is skipped. The name comes from
// gossip itself, and so does the gossip address. voter is the incarnation under whose name the node
// votes, 0 while it does not know.
const (
	metadataFormat = 1
	metadataLimit  = 512 // memberlist's; it panics above
	flagDraining   = 1
	flagLeaving    = 2
)

// errMetadata says that a node's metadata is not ours.
var errMetadata = errors.New("metadata not understood")

// encodeMetadata fails when the texts are too long together.
func encodeMetadata(n *Node) ([]byte, error) {
	var flags byte
	if n.State == Draining {
		flags |= flagDraining
	}
	if n.Left {
		flags |= flagLeaving
	}
	b := []byte{metadataFormat, byte(n.Role), flags, byte(n.Lanes)}
	b = binary.BigEndian.AppendUint16(b, n.Protocols.Min)
	b = binary.BigEndian.AppendUint16(b, n.Protocols.Max)
	b = binary.BigEndian.AppendUint64(b, uint64(n.Started))
	b = append(b, n.Instance[:]...)
	var voter proto.Incarnation
	if n.Voter != "" {
		voter = n.Voter.Incarnation()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(voter))
	for _, text := range []string{n.Zone, n.Addresses.Link, n.Addresses.Admin, n.Addresses.Listen, n.Version} {
		if len(text) > 255 {
			return nil, fmt.Errorf("gossip metadata: %q has %d bytes, at most 255 are allowed", text, len(text))
		}
		b = append(b, byte(len(text)))
		b = append(b, text...)
	}
	if len(b) > metadataLimit {
		return nil, fmt.Errorf("gossip metadata: %d bytes, at most %d are allowed: shorten zone, addresses or version", len(b), metadataLimit)
	}
	return b, nil
}

// decodeMetadata returns the Node of that name, without its gossip address.
func decodeMetadata(name proto.NodeName, b []byte) (Node, error) {
	if len(b) > metadataLimit {
		return Node{}, errMetadata
	}
	r := reader{b: b}
	format := r.u8()
	n := Node{Name: name, Role: proto.Role(r.u8())}
	flags := r.u8()
	if flags&flagDraining != 0 {
		n.State = Draining
	}
	n.Left = flags&flagLeaving != 0
	n.Lanes = int(r.u8())
	n.Protocols = Protocols{Min: r.u16(), Max: r.u16()}
	n.Started = int64(r.u64())
	n.Instance = r.instance()
	if voter := proto.Incarnation(r.u64()); voter != 0 {
		n.Voter = proto.MakeNodeName(name.ID(), voter)
	}
	n.Zone = r.text()
	n.Addresses.Link = r.text()
	n.Addresses.Admin = r.text()
	n.Addresses.Listen = r.text()
	n.Version = r.text()
	known := n.Role == proto.RoleRouter || n.Role == proto.RoleShard
	if r.err != nil || format != metadataFormat || !known || n.Lanes == 0 {
		return Node{}, errMetadata
	}
	return n, nil
}

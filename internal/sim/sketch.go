package sim

import (
	"fmt"

	"github.com/roomring/roomring/proto"
)

// sketch is a frame in a transcript.
func sketch(typ proto.FrameType, body []byte) string {
	p, term, _ := proto.ParseHead(body)
	head := fmt.Sprintf("p%d t%d", p, term)
	switch typ {
	case proto.FramePublish:
		x, _ := proto.ParsePublish(body)
		return fmt.Sprintf("%s seq %d base %d %s kind %d %.24q", head, x.Seq, x.Base, x.Room, x.Kind, x.Payload)
	case proto.FrameAck:
		x, _ := proto.ParseAck(body)
		return fmt.Sprintf("%s upto %d", head, x.Upto)
	case proto.FrameExpect, proto.FrameHold:
		x, _ := proto.ParseSignal(typ, body)
		return fmt.Sprintf("%s seq %d", head, x.Seq)
	case proto.FrameAttach:
		x, _ := proto.ParseBatch(body)
		for e, ok := x.NextAttach(); ok; e, ok = x.NextAttach() {
			head += fmt.Sprintf(" %s %s", e.Room, proto.Position{Epoch: e.Epoch, Offset: e.Offset})
		}
	case proto.FrameAttached:
		x, _ := proto.ParseBatch(body)
		for e, ok := x.NextAttached(); ok; e, ok = x.NextAttached() {
			head += fmt.Sprintf(" %s %s first %d status %d", e.Room, proto.Position{Epoch: e.Epoch, Offset: e.Offset}, e.First, e.Status)
		}
	case proto.FrameDetach:
		x, _ := proto.ParseBatch(body)
		for room, ok := x.NextDetach(); ok; room, ok = x.NextDetach() {
			head += " " + string(room)
		}
	case proto.FrameDeliver:
		x, _ := proto.ParseDeliver(body)
		head += fmt.Sprintf(" %s %s", x.Room, proto.Position{Epoch: x.Epoch, Offset: x.Offset})
		for m, ok := x.Messages.Next(); ok; m, ok = x.Messages.Next() {
			head += fmt.Sprintf(" %.12q", m.Payload)
		}
	case proto.FrameFetch:
		x, _ := proto.ParseFetch(body)
		return fmt.Sprintf("%s %s %s (%d, %d]", head, x.Room, x.Epoch, x.After, x.Upto)
	case proto.FrameFetched:
		x, _ := proto.ParseFetched(body)
		head += fmt.Sprintf(" %s %s after %d last %v", x.Room, x.Epoch, x.After, x.Last)
	case proto.FrameCredit:
		return fmt.Sprintf("%x", body)
	}
	return head
}

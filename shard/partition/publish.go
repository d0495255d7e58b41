package partition

import "github.com/roomring/roomring/proto"

// publisher is what rule R8 knows of one router incarnation in one partition.
//
// Invariant: all its seqs up to last are entries of the partition's log, each
// exactly once, or were acknowledged by another owner; those up to committed may
// be acknowledged.
type publisher struct {
	name      proto.NodeName
	number    uint32      // names it in entries and rooms' logs; never given out again
	born      proto.Index // entries about it up to here are in it already
	last      proto.Seq
	committed proto.Seq
	left      uint64         // log time + 1 at which its router left; 0 if it did not
	refused   []proto.Result // the last refusals, at most maxRefused

	pending bool // noted, and not applied
	turning bool // its leaving or coming back is noted, and not applied
	dying   bool // noted as dropped

	// Of an owner.
	peer     *Peer          // the link of its last publish: that is where acks go
	expected proto.Seq      // what Expect asks for
	gap      proto.Seq      // highest seq above expected that was seen since; 0 when nothing is missing
	results  []proto.Result // for the next Ack; one per Publish frame at most
}

// publish applies rule R8: a publish is appended if it is the next of its
// router, or the lowest unacknowledged one of a router of which nothing is
// known. Lower ones are acknowledged again, higher ones are asked for in order.
func (l *Lane) publish(p *part, r *Peer, body []byte) error {
	x, err := proto.ParsePublish(body)
	if err != nil {
		return err
	}
	pub := l.meetPublisher(p, r)
	// All below base is acknowledged: what of it we lack, or know nothing of,
	// another owner has, so it never comes here.
	next := max(pub.last+1, x.Base)
	switch {
	case x.Seq < next && l.cfg.Break&BreakDedup == 0:
		l.repeat(p, pub, x.Seq)
	case p.stalled():
		l.holdBack(p, r, next)
	case x.Seq == next || l.cfg.Break&BreakDedup != 0:
		return l.appendPublish(p, pub, &x)
	default:
		l.expect(p, pub, next, x.Seq)
	}
	return nil
}

// appendPublish makes an entry of a publish. Refusals and voids are entries
// too, without a place in a room's log: they use up their seq.
func (l *Lane) appendPublish(p *part, pub *publisher, x *proto.Publish) error {
	e := proto.Entry{Kind: proto.EntryVoid, Publisher: pub.number, Seq: x.Seq}
	if x.Kind != proto.KindVoid {
		rm, code, err := l.admit(p, x)
		if err != nil {
			return err
		}
		if rm != nil {
			e.Kind, e.Message, e.Conn = proto.EntryMessage, x.Kind, x.Conn
			e.Room, e.Offset, e.Payload = x.Room, rm.head+1, x.Payload
		} else {
			e.Kind, e.Code = proto.EntryRefusal, code
		}
	}
	pub.gap = 0
	l.out = e
	l.append(p)
	return nil
}

func (l *Lane) admit(p *part, x *proto.Publish) (*roomState, proto.Code, error) {
	if len(x.Payload) > l.cfg.MaxMessage {
		return nil, proto.TooBig, nil
	}
	return l.findOrCreate(p, x.Room)
}

// repeat acknowledges once more what is in the log already. What was refused
// is refused again, as far as that is remembered.
func (l *Lane) repeat(p *part, pub *publisher, seq proto.Seq) {
	l.stats.Repeated++
	for _, res := range pub.refused {
		if res.Seq == seq {
			pub.results = append(pub.results, res)
		}
	}
	l.note(pub.peer, p, noteAck)
}

// expect asks for what is missing, once: what follows on the way is seen as
// part of the same gap. Only when seqs go back, the router began again, and
// lost the same one again.
func (l *Lane) expect(p *part, pub *publisher, next, seq proto.Seq) {
	if pub.gap != 0 && seq > pub.gap && pub.expected == next {
		pub.gap = seq
		return
	}
	l.stats.Gaps++
	pub.expected, pub.gap = next, seq
	l.note(pub.peer, p, noteExpect)
}

// refuse remembers a committed refusal, for the next Ack and for repeats.
func (pub *publisher) refuse(seq proto.Seq, code proto.Code) {
	res := proto.Result{Seq: seq, Code: code}
	if pub.peer != nil {
		pub.results = append(pub.results, res)
	}
	if len(pub.refused) == maxRefused {
		pub.refused = append(pub.refused[:0], pub.refused[1:]...)
	}
	pub.refused = append(pub.refused, res)
}

// ack tells a peer what is settled. When the results need several frames, each
// but the last settles only as far as its own results go.
func (l *Lane) ack(r *Peer, b []byte, p *part) []byte {
	pub := r.router.pubs[p.local]
	if pub == nil || pub.peer != r {
		return b
	}
	res := pub.results
	pub.results = pub.results[:0]
	for len(res) > proto.MaxResults {
		part := res[:proto.MaxResults]
		b = proto.AppendAck(b, p.number, p.row.Term, part[len(part)-1].Seq, part)
		res = res[proto.MaxResults:]
	}
	return proto.AppendAck(b, p.number, p.row.Term, pub.committed, res)
}

package partition

import "github.com/roomring/roomring/proto"

// publisher is what rule R8 knows of one router incarnation in one partition.
//
// Invariant: all its seqs up to last are entries of the partition's log, each
// exactly once, or were acknowledged by another owner; those up to committed may
// be acknowledged.
type publisher struct {
	peer      *Peer     // the link of its last publish: that is where acks go
	last      proto.Seq // 0: nothing is known of it
	committed proto.Seq

	expected proto.Seq      // what Expect asks for
	gap      proto.Seq      // highest seq above expected that was seen since; 0 when nothing is missing
	results  []proto.Result // for the next Ack; one per Publish frame at most
	refused  []proto.Result // the last refusals, at most maxRefused
}

// publish applies rule R8: a publish is appended if it is the next of its
// router, or the lowest unacknowledged one of a router of which nothing is
// known. Lower ones are acknowledged again, higher ones are asked for in order.
func (l *Lane) publish(p *part, r *Peer, body []byte) error {
	x, err := proto.ParsePublish(body)
	if err != nil {
		return err
	}
	pub := l.publisher(p, r)
	// All below base is acknowledged: what of it we lack, or know nothing of,
	// another owner has, so it never comes here. That also holds where two owned
	// the partition in one term.
	next := max(pub.last+1, x.Base)
	switch {
	case x.Seq == next || l.cfg.Break&BreakDedup != 0:
		return l.appendPublish(p, pub, r, &x)
	case x.Seq < next:
		l.repeat(p, pub, x.Seq)
	default:
		l.expect(p, pub, next, x.Seq)
	}
	return nil
}

// publisher is what is known of a peer's router; its acks go to this peer now.
func (l *Lane) publisher(p *part, r *Peer) *publisher {
	pub := r.router.pubs[p.local]
	if pub == nil {
		pub = &publisher{}
		r.router.pubs[p.local] = pub
	}
	pub.peer = r
	return pub
}

// appendPublish makes an entry of a publish. Refusals and voids are entries
// too, without a place in a room's log: they use up their seq.
func (l *Lane) appendPublish(p *part, pub *publisher, r *Peer, x *proto.Publish) error {
	e := entry{kind: x.Kind, at: l.logTime(p), pub: pub, seq: x.Seq}
	if x.Kind != proto.KindVoid {
		rm, code, err := l.admit(p, x)
		if err != nil {
			return err
		}
		e.room, e.code = rm, code
		if rm != nil {
			m := message(x, r.router.ref, e.at)
			e.offset = l.store.Append(&rm.log, &m)
			rm.touched = e.at
		}
	}
	pub.last = max(pub.last, x.Seq)
	pub.gap = 0
	l.append(p, e)
	l.commit(p, p.index)
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
	pub.results = append(pub.results, res)
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
		b = proto.AppendAck(b, p.number, p.term, part[len(part)-1].Seq, part)
		res = res[proto.MaxResults:]
	}
	return proto.AppendAck(b, p.number, p.term, pub.committed, res)
}

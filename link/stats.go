package link

import "sync/atomic"

// Stats counts what the links of a Mesh did since it was made.
type Stats struct {
	Links        int    `metric:"gauge" help:"Links that are up."`
	Ups          uint64 `help:"Links that came up."`
	Reconnects   uint64 `help:"Links that came up and were not the first of their peer and index."`
	Downs        uint64 `help:"Links that ended."`
	Silent       uint64 `help:"Links that ended because nothing was heard for 1.5 s."`
	Replaced     uint64 `help:"Links that ended because the peer opened a newer one."`
	FramesIn     uint64 `help:"Frames received, control and data."`
	FramesOut    uint64 `help:"Frames encoded, control and data."`
	BytesIn      uint64 `help:"Bytes of whole frames received."`
	BytesOut     uint64 `help:"Bytes written."`
	CreditStalls uint64 `help:"Times that a link had to wait for credit."`
	Dials        uint64 `help:"Attempts to connect."`
	DialFailures uint64 `help:"Attempts to connect that did not reach a hello."`
	Hellos       int    `metric:"gauge" help:"Hellos under way on the accepting side."`
	Streams      int    `metric:"gauge" help:"Streams of the register that are open, dialed and accepted."`
	Probes       uint64 `help:"Questions to an address who answers there."`

	Refused [reasons]uint64 // hellos that failed, on either side, by Reason
}

// counters belong to one lane, so that lanes do not share a cache line. They
// are added to once per wake-up of a link, not once per frame.
type counters struct {
	links, ups, reconnects, downs, silent, replaced      atomic.Uint64
	framesIn, framesOut, bytesIn, bytesOut, creditStalls atomic.Uint64
	_                                                    [64]byte
}

func (c *counters) add(t *tally) {
	add := func(to *atomic.Uint64, n uint64) {
		if n > 0 {
			to.Add(n)
		}
	}
	add(&c.framesIn, t.framesIn)
	add(&c.framesOut, t.framesOut)
	add(&c.bytesIn, t.bytesIn)
	add(&c.bytesOut, t.bytesOut)
	add(&c.creditStalls, t.stalls)
	*t = tally{}
}

// Stats may be called from any goroutine.
func (m *Mesh) Stats() Stats {
	var s Stats
	for _, l := range m.lanes {
		c := &l.counters
		s.Links += int(c.links.Load())
		s.Ups += c.ups.Load()
		s.Reconnects += c.reconnects.Load()
		s.Downs += c.downs.Load()
		s.Silent += c.silent.Load()
		s.Replaced += c.replaced.Load()
		s.FramesIn += c.framesIn.Load()
		s.FramesOut += c.framesOut.Load()
		s.BytesIn += c.bytesIn.Load()
		s.BytesOut += c.bytesOut.Load()
		s.CreditStalls += c.creditStalls.Load()
	}
	s.Dials, s.DialFailures = m.dials.Load(), m.dialFailures.Load()
	for i := range s.Refused {
		s.Refused[i] = m.refused[i].Load()
	}
	s.Hellos, s.Streams, s.Probes = m.hellos.len(), m.streams.len(), m.probes.Load()
	return s
}

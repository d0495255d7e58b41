package link

import "sync/atomic"

// Stats counts what the links of a Mesh did since it was made.
type Stats struct {
	Open           int    `metric:"gauge" help:"Links that are up."`
	Peers          int    `metric:"gauge" help:"Other nodes that there is a link with."`
	Ups            uint64 `help:"Links that came up."`
	Reconnects     uint64 `help:"Links that came up and were not the first of their peer and index."`
	Downs          uint64 `help:"Links that ended."`
	Silent         uint64 `help:"Links that ended because nothing was heard for 1.5 s."`
	Replaced       uint64 `help:"Links that ended because the peer opened a newer one."`
	FramesReceived uint64 `help:"Frames received, control and data."`
	FramesSent     uint64 `help:"Frames encoded, control and data."`
	ReceivedBytes  uint64 `help:"Bytes of whole frames received."`
	SentBytes      uint64 `help:"Bytes written."`

	// Credit: what may be sent. A link begins with a Window of it.
	CreditGrantedBytes  uint64 `help:"Bytes of data frames that peers have allowed this node to send."`
	CreditUsedBytes     uint64 `help:"Bytes of data frames that this node has made of that."`
	CreditReturnedBytes uint64 `help:"Bytes of data frames that this node has allowed its peers to send again."`
	CreditStalls        uint64 `help:"Times that a link had to wait for credit."`

	Dials        uint64 `help:"Attempts to connect."`
	DialFailures uint64 `help:"Attempts to connect that did not reach a hello."`
	Hellos       int    `metric:"gauge" help:"Hellos under way on the accepting side."`
	Streams      int    `metric:"gauge" help:"Streams of the register that are open, dialed and accepted."`
	Probes       uint64 `help:"Questions to an address who answers there."`

	// Refused is by Reason, whose words the labels are.
	Refused [reasons]uint64 `label:"reason" labels:"none,garbage,slow,broken,tls,busy,purpose,version,key,cluster,hash,partitions,instance,target,name,lanes,role,generation" help:"Hellos that failed, on either side."`
}

// counters belong to one lane, so that lanes do not share a cache line. They
// are added to once per wake-up of a link, not once per frame.
type counters struct {
	links, ups, reconnects, downs, silent, replaced                         atomic.Uint64
	framesIn, framesOut, bytesIn, bytesOut, granted, used, returned, stalls atomic.Uint64

	_ [64]byte
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
	add(&c.granted, t.granted)
	add(&c.used, t.used)
	add(&c.returned, t.returned)
	add(&c.stalls, t.stalls)
	*t = tally{}
}

// Stats may be called from any goroutine.
func (m *Mesh) Stats() Stats {
	var s Stats
	for _, l := range m.lanes {
		c := &l.counters
		s.Open += int(c.links.Load())
		s.Ups += c.ups.Load()
		s.Reconnects += c.reconnects.Load()
		s.Downs += c.downs.Load()
		s.Silent += c.silent.Load()
		s.Replaced += c.replaced.Load()
		s.FramesReceived += c.framesIn.Load()
		s.FramesSent += c.framesOut.Load()
		s.ReceivedBytes += c.bytesIn.Load()
		s.SentBytes += c.bytesOut.Load()
		s.CreditGrantedBytes += c.granted.Load()
		s.CreditUsedBytes += c.used.Load()
		s.CreditReturnedBytes += c.returned.Load()
		s.CreditStalls += c.stalls.Load()
	}
	s.Peers = m.peers()
	s.Dials, s.DialFailures = m.dials.Load(), m.dialFailures.Load()
	for i := range s.Refused {
		s.Refused[i] = m.refused[i].Load()
	}
	s.Hellos, s.Streams, s.Probes = m.hellos.len(), m.streams.len(), m.probes.Load()
	return s
}

// peers counts the nodes that there is a link with.
func (m *Mesh) peers() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, node := range m.nodes {
		if len(node.links) > 0 {
			n++
		}
	}
	return n
}

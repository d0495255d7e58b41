package partition

import (
	"slices"

	"github.com/roomring/roomring/proto"
)

// A client may know more of a room than its owner: then the owner was one, and
// the client heard the rest from the next. Before an owner says that a place
// does not exist it makes sure that it still is the owner, as a leader of raft
// does before it answers a read (Ongaro, Consensus: Bridging Theory and Practice,
// section 6.4): it appends an entry that changes nothing, and answers when that
// is committed. One that is no owner any more commits nothing (rule R2), and its
// fetches end with the term that tells it.

// makeSure has a fetch wait for an entry that is appended from now on.
func (l *Lane) makeSure(c *cursor) {
	p := c.room.part
	c.sure = p.log.last() + 1
	p.lead.unsure = append(p.lead.unsure, c)
	if !p.stalled() {
		l.appendAbout(c.room, proto.EntryTrimmed)
	}
}

// makeSureNow appends what fetches wait for that came while nothing was sequenced.
func (l *Lane) makeSureNow(p *part) {
	for _, c := range p.lead.unsure {
		if c.sure > p.log.last() {
			l.appendAbout(c.room, proto.EntryTrimmed)
			return // one entry serves all
		}
	}
}

// answerSure has the fetches answered that waited for what is committed now.
func (l *Lane) answerSure(p *part) {
	p.lead.unsure = slices.DeleteFunc(p.lead.unsure, func(c *cursor) bool {
		if c.sure > p.applied {
			return false
		}
		c.sure = 0
		if !c.waits() {
			l.ready(c)
		}
		return true
	})
}

package link

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/roomring/roomring/proto"
)

const (
	// probeTime bounds a probe, connect and hello together.
	probeTime = time.Second

	// knockTime bounds its connect alone, which the host answers without the node. A network that was
	// silent is probed again the sooner: nothing but probes finds out that a split is over.
	knockTime = 250 * time.Millisecond
)

// Fate is what a probe of a node's own address says of that run of the node.
type Fate uint8

// The fates. FateReplaced proves that the run is dead: its address belongs to
// the next one. FateRefused is half a proof: nobody listens there.
const (
	FateUnknown  Fate = iota // no answer in time, no proof of the key, or anything else
	FateAlive                // the target answered
	FateReplaced             // another run of the same id answered
	FateRefused              // the host refused the connection
	FateOther                // a node of another id or of another cluster answered
)

var fateNames = [...]string{"unknown", "alive", "replaced", "refused", "other"}

func (f Fate) String() string {
	if int(f) < len(fateNames) {
		return fateNames[f]
	}
	return fateNames[FateUnknown]
}

// Probe asks who answers at addr, where target should. It takes a second at
// most, a quarter of one where nothing answers, and ends early with ctx. What an
// answer says counts only once it has proved the cluster key, if there is one;
// without a key anybody may answer as it likes.
func (m *Mesh) Probe(ctx context.Context, target proto.NodeName, addr string) Fate {
	m.probes.Add(1)
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	c, err := m.reach(ctx, addr, knockTime)
	if err != nil {
		if refusedByHost(err) && m.allRefuse(ctx, addr) {
			return FateRefused
		}
		return FateUnknown
	}
	c, peer, err := run(ctx, c, m.config(), true, func(x *exchange) (Peer, error) { return x.open(PurposeProbe, target, 0) })
	if err == nil {
		c.Close()
		return fateOf(target, peer.Name)
	}
	if ctx.Err() == nil {
		m.refuse(addr, target, err)
	}
	// Our own judgement of the name comes behind that of the proof.
	if r := (*Refusal)(nil); errors.As(err, &r) && !r.Remote && r.Reason == ReasonCluster {
		return FateOther
	}
	return FateUnknown
}

func fateOf(target, answered proto.NodeName) Fate {
	switch {
	case answered == target:
		return FateAlive
	case answered.ID() == target.ID():
		return FateReplaced
	}
	return FateOther
}

// wsaRefused is what Windows says instead of ECONNREFUSED, which package
// syscall makes up there. Elsewhere nothing has this number.
const wsaRefused = syscall.Errno(10061)

// refusedByHost reports whether the host itself said that nobody listens.
func refusedByHost(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaRefused)
}

// allRefuse reports whether every address behind a name refuses: the dial tells
// of one, and the node may live, cut off, at another.
func (m *Mesh) allRefuse(ctx context.Context, addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if net.ParseIP(host) != nil {
		return true
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return false
	}
	for _, ip := range ips {
		c, err := m.reach(ctx, net.JoinHostPort(ip, port), knockTime)
		if err == nil {
			c.Close()
		}
		if !refusedByHost(err) {
			return false
		}
	}
	return true
}

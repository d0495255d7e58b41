package cluster

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	rejoinAlone   = time.Second      // while nobody else is known
	rejoinMissing = time.Second      // while a seed is not among the known
	rejoinAlways  = 30 * time.Second // when all is well: two halves that forgot each other must meet again
	resolveWithin = 2 * time.Second
)

// join joins the seeds until ctx ends. That a seed cannot be found or reached is nothing to give up
// for: it may come, or be somebody else tomorrow.
func (g *Gossip) join(ctx context.Context) {
	if len(g.cfg.Seeds) == 0 {
		return
	}
	var all time.Time // when all seeds were joined last, not only missing ones
	refused := make(map[string]bool)
	for {
		pause, everyone := rejoinAlways, time.Since(all) >= rejoinAlways
		if everyone {
			all = time.Now()
		}
		if g.joinSeeds(ctx, everyone, refused) {
			pause = rejoinMissing
		}
		if len(g.others()) == 0 {
			pause = rejoinAlone
		}
		if !g.rest(ctx, pause) {
			return
		}
	}
}

// rest waits for the pause, or until a node is gone that was there: what comes back at its address is
// another run, which may know nobody. It reports false when ctx ended.
func (g *Gossip) rest(ctx context.Context, pause time.Duration) bool {
	tick := time.NewTicker(rejoinAlone)
	defer tick.Stop()
	for had := g.others(); pause > 0; pause -= rejoinAlone {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		now := g.others()
		for address := range had {
			if !now[address] {
				return true
			}
		}
	}
	return true
}

// joinSeeds joins the seeds that are not among the known nodes, or everyone, and reports whether
// some are still missing. In refused are the addresses whose refusal was logged, and the seeds without one.
func (g *Gossip) joinSeeds(ctx context.Context, everyone bool, refused map[string]bool) (missing bool) {
	for _, seed := range g.cfg.Seeds {
		addresses, err := resolve(ctx, seed)
		switch {
		case err == nil:
			delete(refused, seed)
		case !refused[seed] && ctx.Err() == nil && len(refused) < maxNodes:
			refused[seed] = true
			g.cfg.Logger.Warn("seed not found: its name has no address, now at least", zap.String("seed", seed), zap.Error(err))
		}
		missing = missing || err != nil
		for _, address := range addresses {
			if ctx.Err() != nil || address == g.address {
				continue
			}
			if others := g.others(); others[address] && !everyone {
				continue
			}
			switch _, err := g.list.Join([]string{address}); {
			case err == nil:
				delete(refused, address)
			case strange(err) && !refused[address] && len(refused) < maxNodes:
				refused[address] = true
				g.cfg.Logger.Warn("seed does not understand us: its cluster name or key may be another", zap.String("seed", address), zap.Error(oneLine(err)))
			default:
				g.cfg.Logger.Debug("seed not joined", zap.String("seed", address), zap.Error(oneLine(err)))
			}
			missing = missing || !g.others()[address]
		}
	}
	return missing
}

// strange reports whether somebody answered whom we do not understand, or who hung up on us: so does
// a node of another cluster name or key. Memberlist hands on the text of an error alone.
func strange(err error) bool {
	text := err.Error()
	return strings.Contains(text, "EOF") || strings.Contains(text, "reset by peer") || strings.Contains(text, "broken pipe") ||
		strings.Contains(text, "decrypt") || strings.Contains(text, "encrypt")
}

// oneLine takes the only error out of memberlist's list of them, which is written over several lines.
func oneLine(err error) error {
	if list, ok := err.(interface{ WrappedErrors() []error }); ok && len(list.WrappedErrors()) == 1 {
		return list.WrappedErrors()[0]
	}
	return err
}

// others returns the addresses of all living nodes but this one.
func (g *Gossip) others() map[string]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	others := make(map[string]bool)
	for _, h := range g.heard {
		if h.died.IsZero() && h.address != g.address {
			others[h.address] = true
		}
	}
	return others
}

// resolve returns all addresses of a host:port.
func resolve(ctx context.Context, seed string) ([]string, error) {
	host, port, err := splitHostPort(seed)
	if err != nil {
		return nil, err
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else {
		ctx, cancel := context.WithTimeout(ctx, resolveWithin)
		defer cancel()
		if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, err
		}
	}
	addresses := make([]string, len(ips))
	for i, ip := range ips {
		addresses[i] = net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(port))
	}
	return addresses, nil
}

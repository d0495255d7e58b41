package cluster

import (
	"bytes"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// gossipLog takes memberlist's lines, "[LEVEL] memberlist: what happened", to zap. What it calls
// errors and warnings is mostly brought about by others, who may send as much nonsense as they
// like: ten such lines in ten seconds are warnings, each kind once a minute; the rest is for
// debugging.
type gossipLog struct {
	log     *zap.Logger
	limiter *rate.Limiter
	stats   *gossipStats

	// Owned by Write, of which a log.Logger runs one at a time.
	said map[string]time.Time // kind of line → when it was a warning last; at most maxKinds
}

const (
	kindAgain = time.Minute
	maxKinds  = 64
)

func newGossipLog(log *zap.Logger, stats *gossipStats) *gossipLog {
	return &gossipLog{log: log, stats: stats, limiter: rate.NewLimiter(rate.Every(time.Second), 10), said: make(map[string]time.Time)}
}

// Write takes one line.
func (g *gossipLog) Write(line []byte) (int, error) {
	level, detail := []byte(nil), bytes.TrimSpace(line)
	if rest, ok := bytes.CutPrefix(detail, []byte("[")); ok {
		if l, d, ok := bytes.Cut(rest, []byte("] ")); ok {
			level, detail = l, d
		}
	}
	detail = bytes.TrimPrefix(detail, []byte("memberlist: "))
	warning := string(level) != "DEBUG" && string(level) != "INFO"
	g.stats.hear(detail, warning)
	field := zap.ByteString("detail", detail)
	if warning && g.fresh(detail) && g.limiter.Allow() {
		g.log.Warn("gossip trouble", field)
	} else {
		g.log.Debug("gossip", field)
	}
	return len(line), nil
}

// fresh reports whether a line of this kind was not a warning within kindAgain. Lines that differ in
// the far address alone are of one kind: a stranger that knocks each second says one thing.
func (g *gossipLog) fresh(detail []byte) bool {
	kind, _, _ := bytes.Cut(detail, []byte(" from="))
	now := time.Now()
	if now.Sub(g.said[string(kind)]) < kindAgain {
		return false
	}
	if len(g.said) >= maxKinds {
		clear(g.said)
	}
	g.said[string(kind)] = now
	return true
}

package cluster

import (
	"bytes"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// gossipLog takes memberlist's lines, "[LEVEL] memberlist: what happened", to zap. What it calls
// errors and warnings is mostly brought about by others, who may send as much nonsense as they
// like: ten such lines in ten seconds are warnings, the rest is for debugging.
type gossipLog struct {
	log     *zap.Logger
	limiter *rate.Limiter
}

func newGossipLog(log *zap.Logger) *gossipLog {
	return &gossipLog{log: log, limiter: rate.NewLimiter(rate.Every(time.Second), 10)}
}

// Write takes one line.
func (g *gossipLog) Write(line []byte) (int, error) {
	level, detail := []byte(nil), bytes.TrimSpace(line)
	if rest, ok := bytes.CutPrefix(detail, []byte("[")); ok {
		if l, d, ok := bytes.Cut(rest, []byte("] ")); ok {
			level, detail = l, d
		}
	}
	field := zap.ByteString("detail", bytes.TrimPrefix(detail, []byte("memberlist: ")))
	switch string(level) {
	case "DEBUG", "INFO":
		g.log.Debug("gossip", field)
	default:
		if g.limiter.Allow() {
			g.log.Warn("gossip trouble", field)
		} else {
			g.log.Debug("gossip", field)
		}
	}
	return len(line), nil
}

// Package launch makes nodes out of settings. It is the only place that knows both what an operator
// says (internal/settings) and what the parts take (their Configs).
package launch

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/roomring/roomring/cmd/internal/process"
	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/internal/settings"
	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// Router opens a router's ports; nothing is served until it runs.
func Router(s *settings.Router, log *zap.Logger) (*node.Node, *Certificates, error) {
	common, err := Common(&s.Node, log)
	if err != nil {
		return nil, nil, err
	}
	config := RouterConfig(s)
	certificate, err := LoadCertificate(s.TLSCert, s.TLSKey)
	if err != nil {
		return nil, nil, err
	}
	if certificate != nil {
		config.TLS = certificate.TLS()
	}
	n, err := node.OpenRouter(common, s.Listen, config)
	return n, &Certificates{Clients: certificate, Links: common.LinkTLS, secrets: routerSecrets(s, n), fixedKeys: fixedKeys(&s.Node)}, err
}

// Shard opens a shard's ports; nothing is served until it runs.
func Shard(s *settings.Shard, log *zap.Logger) (*node.Node, *Certificates, error) {
	common, err := Common(&s.Node, log)
	if err != nil {
		return nil, nil, err
	}
	common.BootstrapExpect, common.Followers = s.BootstrapExpect, s.Followers
	if common.DrainTime = s.DrainTime; s.DrainTime == 0 {
		common.DrainTime = -1 // zero would be the default
	}
	n, err := node.OpenShard(common, ShardConfig(s))
	return n, &Certificates{Links: common.LinkTLS, secrets: commonSecrets(&s.Node, n), fixedKeys: fixedKeys(&s.Node)}, err
}

// Common returns what routers and shards have in common.
func Common(n *settings.Node, log *zap.Logger) (node.Config, error) {
	config := node.Config{
		ID: proto.NodeID(n.ID), Cluster: n.Cluster, Zone: n.Zone, Version: process.Version(),
		Link: n.Link, Gossip: n.Gossip, Admin: n.Admin, Advertise: n.Advertise,
		MaxMoves: n.MaxMoves,
		Join:     n.Join, Keys: n.Keys(), DataDir: n.DataDir,
		AdminToken: n.AdminTokens().Full, AdminReadToken: n.AdminTokens().Read,
		Logger: log, LogDropped: func() uint64 { return process.Dropped(log) },
	}
	if n.MaxMoves == 0 {
		config.MaxMoves = -1 // zero would be the default
	}
	if n.LinkCert != "" {
		tls, err := link.LoadTLS(n.LinkCert, n.LinkKey, n.LinkCA)
		if err != nil {
			return config, fmt.Errorf("--link-cert, --link-key, --link-ca: %w", err)
		}
		config.LinkTLS = tls
	}
	return config, nil
}

// RouterConfig returns what is a router's own, but for TLS.
func RouterConfig(s *settings.Router) router.Config {
	config := router.Config{
		MaxMessage: int(s.MaxMessage), MaxConns: s.MaxConns, MaxConnsPerIP: s.MaxConnsPerIP, AcceptsPerIP: s.AcceptsPerIP,
		MemoryLimit: int64(s.MemoryLimit), Window: int(s.Window), DrainDelay: s.DrainDelay, DrainTime: s.DrainTime,
		AllowOrigin: s.AllowOrigin, TrustedProxies: s.Proxies(), ProxyProtocol: s.ProxyProtocol, APIKeys: s.APIKeys(),
	}
	if s.DrainTime == 0 {
		config.DrainTime = -1 // zero would be the default
	}
	return config
}

// ShardConfig returns what is a shard's own.
func ShardConfig(s *settings.Shard) shard.Config {
	return shard.Config{
		HistoryMessages: s.HistoryMessages, HistoryBytes: int(s.HistoryBytes), HistoryAge: s.HistoryAge,
		MinCopies:   s.MinCopies,
		WindowBytes: int(s.Window), MemoryLimit: int64(s.MemoryLimit),
	}
}

package router

import (
	"crypto/tls"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/link"
	"github.com/roomring/roomring/proto"
)

// Config says how a router serves. The zero value works but for Self.
type Config struct {
	// Self is this run's name. Required.
	Self proto.NodeName

	// Lanes is how many loops share the work, a power of two. If zero,
	// link.DefaultLanes.
	Lanes int

	// Partitions is the cluster's partition count. If zero, proto.Partitions.
	Partitions int

	// MaxMessage bounds one message, in bytes. If zero, 64 KiB. A larger one
	// closes its conn with 1009.
	MaxMessage int

	// MaxConns bounds client conns in all; above it a handshake is answered
	// 503 full. If zero, the descriptor limit less the smaller of 512 and a
	// quarter of it.
	MaxConns int

	// MaxConnsPerIP bounds the conns of one client address (429). If zero,
	// there is no bound: offices share an address.
	MaxConnsPerIP int

	// AcceptsPerIP bounds the new conns of one client address per second
	// (429). If zero, there is no bound.
	AcceptsPerIP int

	// MemoryLimit is what this process may use, in bytes: an eighth of it for
	// unacknowledged publishes (256 MiB at most), a quarter for tails. If zero, 1 GiB.
	MemoryLimit int64

	// Window bounds one room's tail, in bytes. If zero, 8 MiB.
	Window int

	// HandshakeTime bounds a handshake from accept to its last byte, whatever
	// trickles in. If zero, 5 seconds.
	HandshakeTime time.Duration

	// JoinTime bounds how long a handshake waits for the room's owner; then
	// it is answered 503 unavailable. If zero, 10 seconds.
	JoinTime time.Duration

	// PingEvery is the time between pings of a conn that says nothing, and
	// PongTime how long its answer may take. If zero, 25 and 8 seconds.
	PingEvery, PongTime time.Duration

	// CloseTime bounds the closing handshake. If zero, 2 seconds.
	CloseTime time.Duration

	// DrainDelay is how long Drain goes on taking clients while health checks are
	// answered 503 already: a balancer that cannot try a handshake again at another
	// router must have looked before one is refused here. If zero, not at all.
	DrainDelay time.Duration

	// DrainTime is over how long Drain closes the conns. If zero, 10 seconds;
	// if negative, all at once.
	DrainTime time.Duration

	// APIKeys are the bearer tokens that may publish over HTTP, any of them.
	// If empty, nobody may, and its path is 404.
	APIKeys []string

	// AllowOrigin lists further origins than the request's own, each as
	// websocket.CheckOrigin wants it; "*" is any.
	AllowOrigin []string

	// TrustedProxies are peers whose X-Forwarded-For and X-Forwarded-Proto
	// are believed.
	TrustedProxies []netip.Prefix

	// ProxyProtocol has the conns of TrustedProxies begin with a PROXY header,
	// version 1 or 2, in front of TLS if there is any; one without is refused.
	// Such a header from others is refused in any case.
	ProxyProtocol bool

	// TLS serves https and wss. If nil, plain.
	TLS *tls.Config

	// Pages are static answers by path, for the demonstration of dev. If nil,
	// every other path than the documented ones is 404.
	Pages map[string]Page

	// LocalHost, if set, refuses requests whose Host is not localhost or a
	// loopback address: the guard of dev against DNS rebinding.
	LocalHost bool

	// Control hears of the links of every lane, and of all frames that are not
	// about a partition. It is called on the lanes' loops. If nil, nobody does.
	Control link.Events

	// NeedTable is called while a shard speaks of a partition in a higher term
	// than this router's Table has: in each turn of a lane, with one partition
	// and the term that it is said to have. If nil, nobody is.
	NeedTable func(p proto.Partition, term proto.Term)

	// Portable drives conns by goroutines instead of epoll, as other systems
	// do; for tests.
	Portable bool

	// Logger is for operators. If nil, nothing is logged.
	Logger *zap.Logger
}

// Page is a static answer.
type Page struct {
	Type string // Content-Type
	Body []byte
	CSP  string // Content-Security-Policy
}

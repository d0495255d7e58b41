package link

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/roomring/roomring/proto"
)

// Bounds and settings that all nodes share.
const (
	// MaxLanes bounds the lanes of a node, and so the links of a pair.
	MaxLanes = 64

	maxHello    = 4 << 10         // bytes of one hello frame
	maxReason   = 512             // bytes of the text in Refuse and Goodbye
	maxCluster  = 63              // bytes of a cluster's name
	helloTime   = 5 * time.Second // for the whole hello, TLS included
	dialTime    = time.Second     // for the connect alone
	nonceSize   = 16
	proofSize   = 32
	minKeySize  = 16
	maxKeySize  = 64
	maxKeys     = 8
	flagKeyed   = 1 << 0
	defaultName = "default"
)

// Config says who we are and whom we talk to. All fields but Self and Role may
// be zero.
type Config struct {
	// Self is this node's name and Role what it does. Both are needed.
	Self proto.NodeName
	Role proto.Role

	// Lanes is how many loops serve links here: a power of two, at most
	// MaxLanes.
	// If zero, 1; NewMesh takes the number of lanes it is given.
	Lanes int

	// Cluster is the name that all nodes of a cluster share, at most 63 bytes.
	// If empty, "default".
	Cluster string

	// Partitions is the size of the key space, at most 65535.
	// If zero, proto.Partitions.
	Partitions int

	// Keys are the cluster keys, 16 to 64 bytes each, at most 8. The first
	// signs, all verify: to rotate, add the new one behind the old one on all
	// nodes, then swap them, then drop the old one. Mesh.SetKeys replaces them.
	// If empty, nothing is proved, and a node that has a key is refused.
	Keys [][]byte

	// Founding tells the cluster's instance and generation, the zero value while
	// this node knows of none. It is called for each hello, from any goroutine.
	// If nil, there is none.
	Founding func() proto.Founding

	// Stream is given each stream that another node has opened, behind its
	// hello: a blocking connection without deadlines, inside TLS if there is
	// any. It belongs to the callee, who closes it; the Mesh closes it too when
	// it stops. Stream runs on the goroutine of the hello, which Serve waits
	// for: it must return soon.
	// If nil, streams are refused with ReasonPurpose.
	Stream func(c net.Conn, p Peer)

	// TLS wraps each connection before the hello. With it, any certificate of
	// its authority is a node: it comes as far as the hello.
	// If nil, links are plain TCP.
	TLS *TLS

	// VersionMin and VersionMax are the protocol versions to speak.
	// If zero, those of package proto.
	VersionMin, VersionMax uint16

	// Dial opens a connection to another node. The context ends after a second.
	// If nil, TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// Logger hears of links that come and go, and of refusals.
	// If nil, nobody does.
	Logger *zap.Logger
}

// filled returns a copy with defaults in place of zeros, or what is wrong.
func (c Config) filled() (*Config, error) {
	if c.Lanes == 0 {
		c.Lanes = 1
	}
	if c.Cluster == "" {
		c.Cluster = defaultName
	}
	if c.Partitions == 0 {
		c.Partitions = proto.Partitions
	}
	if c.Founding == nil {
		c.Founding = func() proto.Founding { return proto.Founding{} }
	}
	if c.VersionMin == 0 {
		c.VersionMin = proto.VersionMin
	}
	if c.VersionMax == 0 {
		c.VersionMax = proto.VersionMax
	}
	if c.Dial == nil {
		d := &net.Dialer{KeepAlive: -1} // heartbeats notice silence sooner
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("link config: %w", err)
	}
	return &c, nil
}

func (c *Config) check() error {
	if _, err := proto.ParseNodeName(string(c.Self)); err != nil {
		return err
	}
	if c.Role != proto.RoleRouter && c.Role != proto.RoleShard {
		return fmt.Errorf("unknown %s", c.Role)
	}
	if !lanesFit(c.Lanes) {
		return fmt.Errorf("%d lanes: want a power of two, at most %d", c.Lanes, MaxLanes)
	}
	if len(c.Cluster) > maxCluster {
		return fmt.Errorf("cluster name of %d bytes: at most %d", len(c.Cluster), maxCluster)
	}
	if c.Partitions < 1 || c.Partitions > 1<<16-1 {
		return fmt.Errorf("%d partitions: want 1 to 65535", c.Partitions)
	}
	if c.VersionMin > c.VersionMax {
		return fmt.Errorf("protocol versions %d to %d", c.VersionMin, c.VersionMax)
	}
	if len(c.Keys) > maxKeys {
		return fmt.Errorf("%d cluster keys: at most %d", len(c.Keys), maxKeys)
	}
	for i, k := range c.Keys {
		if len(k) < minKeySize || len(k) > maxKeySize {
			return fmt.Errorf("cluster key %d has %d bytes: want %d to %d", i+1, len(k), minKeySize, maxKeySize)
		}
	}
	return nil
}

// DefaultLanes is how many lanes a node has unless it is told: the largest power
// of two that is at most GOMAXPROCS and 16.
func DefaultLanes() int {
	n := 1
	for n*2 <= min(runtime.GOMAXPROCS(0), 16) {
		n *= 2
	}
	return n
}

func lanesFit(n int) bool { return n >= 1 && n <= MaxLanes && n&(n-1) == 0 }

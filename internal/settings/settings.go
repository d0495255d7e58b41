// Package settings is what an operator may say to a node, and what is made of it.
//
// Every setting is a flag. It may also come from the environment (ROOMRING_ and the flag's name in
// capitals, ROOMRING_MAX_MESSAGE) or from a YAML file (--config, keys are flag names); flags win over
// the environment, the environment over the file, the file over the defaults. Whatever the source, a
// value is checked in one place, and a complaint names the flag and where the value came from.
//
// The package opens no port and starts nothing, and all that it makes is the directory of --data-dir: it
// turns words into a Router or a Shard, which is complete (no value left to guess) and allowed (no
// unprotected port where strangers could reach it).
//
// Read settings.go (what there is), load.go (where values come from), check.go (what is allowed),
// value.go, file.go, key.go, data.go, memory.go, print.go and help.go.
package settings

import (
	"net/netip"
	"time"
)

// Router is everything a roomring-router can be told.
type Router struct {
	Listen string `name:"listen" group:"Addresses" placeholder:"HOST:PORT" default:"127.0.0.1:8000" help:"Where clients connect."`
	Node

	Auth           string   `name:"auth" group:"Clients" placeholder:"none" help:"Who may connect: none = everybody. Must be said when --listen is not on loopback."`
	AllowOrigin    []string `name:"allow-origin" group:"Clients" placeholder:"ORIGIN,..." help:"Web pages that may connect besides our own, such as https://app.example.com; * = all."`
	TrustedProxies []string `name:"trusted-proxies" group:"Clients" placeholder:"CIDR,..." help:"Proxies whose X-Forwarded-For and X-Forwarded-Proto, and with --proxy-protocol PROXY headers, are believed."`
	ProxyProtocol  bool     `name:"proxy-protocol" group:"Clients" help:"Connections of --trusted-proxies begin with a PROXY header (version 1 or 2), which says who the client is."`
	TLSCert        string   `name:"tls-cert" group:"Clients" placeholder:"FILE" help:"Certificate (PEM) for --listen; read again on SIGHUP."`
	TLSKey         string   `name:"tls-key" group:"Clients" placeholder:"FILE" help:"Key (PEM) of --tls-cert; read again with it."`
	APIKey         Secret   `name:"api-key" group:"Clients" placeholder:"KEY,..." help:"Bearer tokens that may publish with POST /v1/rooms/{room}/messages, 16 characters or more (default: nobody may)."`
	APIKeyFile     string   `name:"api-key-file" group:"Clients" placeholder:"FILE" help:"The same from a file, so that no process list shows them; read again on SIGHUP."`

	MaxMessage    Bytes         `name:"max-message" group:"Limits" placeholder:"SIZE" default:"64KiB" help:"Largest message of a client; a larger one closes its conn with 1009."`
	MaxConns      int           `name:"max-conns" group:"Limits" placeholder:"N" default:"0" help:"Clients at once. 0 = as many as file descriptors and half of --memory-limit allow."`
	MaxConnsPerIP int           `name:"max-conns-per-ip" group:"Limits" placeholder:"N" default:"0" help:"Clients at once from one address. 0 = no limit."`
	AcceptsPerIP  int           `name:"accepts-per-ip" group:"Limits" placeholder:"N" default:"0" help:"New clients per second from one address. 0 = no limit."`
	Window        Bytes         `name:"window" group:"Limits" placeholder:"SIZE" default:"8MiB" help:"Most that is kept of one room's last 10 s, for clients that fall behind."`
	DrainDelay    time.Duration `name:"drain-delay" group:"Limits" placeholder:"TIME" default:"0s" help:"On SIGTERM, clients are taken for so long still while /healthz says 503, so that a balancer has looked."`
	DrainTime     time.Duration `name:"drain-time" group:"Limits" placeholder:"TIME" default:"10s" help:"Then clients are closed evenly over this time."`

	proxies []netip.Prefix
	apiKeys []string
}

// Shard is everything a roomring-shard can be told.
type Shard struct {
	Node

	BootstrapExpect int `name:"bootstrap-expect" group:"Cluster" placeholder:"N" default:"0" help:"Shards that must be there to found a cluster. 0 = 1 without --join, 3 with it."`

	Followers int `name:"followers" group:"Cluster" placeholder:"0|1" default:"1" help:"Copies of every room beside the owner's: 0 = a shard that dies takes its rooms along."`
	MinCopies int `name:"min-copies" group:"Cluster" placeholder:"1|2" default:"1" help:"Copies that a message must have to be acknowledged. 2 = with one copy left, publishers wait."`

	HistoryMessages int           `name:"history-messages" group:"Limits" placeholder:"N" default:"1000" help:"Messages kept per room for clients that come back."`
	HistoryBytes    Bytes         `name:"history-bytes" group:"Limits" placeholder:"SIZE" default:"1MiB" help:"Bytes kept per room for clients that come back."`
	HistoryAge      time.Duration `name:"history-age" group:"Limits" placeholder:"TIME" default:"5m" help:"How long messages, and empty rooms, are kept."`
	Window          Bytes         `name:"window" group:"Limits" placeholder:"SIZE" default:"8MiB" help:"Most that is kept of one room's last 10 s, for routers that fall behind."`
	DrainTime       time.Duration `name:"drain-time" group:"Limits" placeholder:"TIME" default:"60s" help:"On SIGTERM, the shard hands over what it has, for so long at most."`
}

// Node is what routers and shards have in common.
type Node struct {
	Link      string `name:"link" group:"Addresses" placeholder:"HOST:PORT" default:"${link}" help:"Where other nodes connect."`
	Gossip    string `name:"gossip" group:"Addresses" placeholder:"HOST:PORT" default:"${gossip}" help:"Gossip with the other nodes (TCP and UDP)."`
	Admin     string `name:"admin" group:"Addresses" placeholder:"HOST:PORT" default:"${admin}" help:"The inspector, the admin API, /metrics, /healthz, /readyz."`
	Advertise string `name:"advertise" group:"Addresses" placeholder:"HOST" help:"Host that others dial to reach this node (default: the host of each address)."`

	Join    []string `name:"join" group:"Cluster" placeholder:"HOST:PORT,..." help:"Gossip addresses of other nodes; a name stands for all its addresses."`
	Cluster string   `name:"cluster" group:"Cluster" placeholder:"NAME" default:"roomring" help:"Nodes with another cluster name are not spoken to."`
	ID      string   `name:"id" group:"Cluster" placeholder:"NAME" help:"This node's name, 1-63 of a-z 0-9 and - (default: ${role}- and five random letters)."`
	Zone    string   `name:"zone" group:"Cluster" placeholder:"NAME" help:"Where the node stands, such as a rack: voters are spread over zones. Shown in /v1/ring."`
	DataDir string   `name:"data-dir" group:"Cluster" placeholder:"DIR" help:"Where this node keeps its vote and its log of the table over a restart; rooms stay in memory. Needs --id (default: nowhere)."`

	MaxMoves int `name:"max-moves" group:"Cluster" placeholder:"N" default:"32" help:"Partitions that are copied or handed over at a time, while this node leads. 0 = none."`

	ClusterKey         Secret `name:"cluster-key" group:"Security" placeholder:"BASE64,..." help:"32-byte keys (roomring key); the first encrypts, all decrypt."`
	ClusterKeyFile     string `name:"cluster-key-file" group:"Security" placeholder:"FILE" help:"The same from a file, so that no process list shows it; read again on SIGHUP."`
	LinkCert           string `name:"link-cert" group:"Security" placeholder:"FILE" help:"This node's certificate (PEM) for mutual TLS 1.3 on links; read again on SIGHUP."`
	LinkKey            string `name:"link-key" group:"Security" placeholder:"FILE" help:"Key (PEM) of --link-cert; read again with it."`
	LinkCA             string `name:"link-ca" group:"Security" placeholder:"FILE" help:"Authority (PEM) that signed every node's certificate; read again with it."`
	AdminToken         Secret `name:"admin-token" group:"Security" placeholder:"TOKEN" help:"Bearer token for everything on --admin, 16 characters or more."`
	AdminTokenFile     string `name:"admin-token-file" group:"Security" placeholder:"FILE" help:"--admin-token from a file, so that no process list shows it; read again on SIGHUP."`
	AdminReadToken     Secret `name:"admin-read-token" group:"Security" placeholder:"TOKEN" help:"Bearer token for what only reads on --admin."`
	AdminReadTokenFile string `name:"admin-read-token-file" group:"Security" placeholder:"FILE" help:"--admin-read-token from a file; read again on SIGHUP."`

	MemoryLimit Bytes  `name:"memory-limit" group:"Process" placeholder:"SIZE" default:"0" help:"Memory to stay under. 0 = GOMEMLIMIT, else the cgroup's limit, else half of RAM."`
	LogLevel    string `name:"log-level" group:"Process" placeholder:"LEVEL" default:"info" help:"debug, info, warn or error. Logs go to stderr."`
	LogFormat   string `name:"log-format" group:"Process" placeholder:"FORMAT" default:"auto" help:"json, console, or auto = console on a terminal, else json."`

	Config      string `name:"config" group:"Process" placeholder:"FILE" help:"Settings from a YAML file; keys are flag names."`
	PrintConfig bool   `name:"print-config" group:"Process" help:"Print what takes effect and where it came from, then exit."`
	Version     bool   `name:"version" group:"Process" help:"Print the version, then exit."`

	keys       [][]byte
	adminToken AdminTokens
	memoryWhy  string
}

// AdminTokens are the bearer tokens of --admin; "" is none.
type AdminTokens struct {
	Full string // allows everything
	Read string // allows what only reads; differs from Full
}

// Keys returns the cluster keys, 32 bytes each. The first encrypts, all decrypt; none means that
// links and gossip are on loopback.
func (n *Node) Keys() [][]byte { return n.keys }

// AdminTokens returns the tokens of --admin, from the flags or their files.
func (n *Node) AdminTokens() AdminTokens { return n.adminToken }

// MemoryLimitSource says where MemoryLimit came from, in a few words: a flag, a variable, the cgroup.
func (n *Node) MemoryLimitSource() string { return n.memoryWhy }

// APIKeys returns the tokens that may publish over HTTP; none means that nobody may.
func (r *Router) APIKeys() []string { return r.apiKeys }

// Proxies returns the networks of --trusted-proxies.
func (r *Router) Proxies() []netip.Prefix { return r.proxies }

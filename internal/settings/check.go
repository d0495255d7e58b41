package settings

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of single values. They are wide: they catch slips of a unit, not bad taste.
const (
	// A Publish must fit a frame of 1 MiB with its header and room name.
	maxMessage = 1<<20 - 1<<10

	minMemory           = 64 << 20
	fallbackDescriptors = 8192
	maxDescriptors      = 1 << 30
	minToken            = 16
	maxToken            = 512
	maxSeeds            = 64
	maxName             = 63
)

// failf words a complaint about one flag, and names the source when it is not the command line.
func (s *source) failf(flag, format string, args ...any) error {
	text := "--" + flag + ": " + fmt.Sprintf(format, args...)
	if from := s.from[flag]; from != "" && from != "flag" {
		text += " (from " + s.place(from) + ")"
	}
	return fmt.Errorf("%s", text)
}

func (s *source) checkRouter(r *Router) error {
	for _, rule := range []func() error{
		func() error { return s.checkNode(&r.Node, []listener{{"listen", r.Listen}}) },
		func() error { return s.checkClients(r) },
		func() error { return s.checkAPIKeys(r) },
		func() error { return s.size("max-message", r.MaxMessage, 1, maxMessage) },
		func() error { return s.size("window", r.Window, 64<<10, 1<<30) },
		func() error { return s.number("max-conns", r.MaxConns, 0, maxDescriptors) },
		func() error { return s.number("max-conns-per-ip", r.MaxConnsPerIP, 0, maxDescriptors) },
		func() error { return s.number("accepts-per-ip", r.AcceptsPerIP, 0, 1_000_000) },
		func() error { return s.span("drain-delay", r.DrainDelay, 0, time.Hour) },
		func() error { return s.span("drain-time", r.DrainTime, 0, time.Hour) },
	} {
		if err := rule(); err != nil {
			return err
		}
	}
	if r.Window < 2*r.MaxMessage {
		return s.failf("window", "%s is too small for messages of up to %s: give at least twice --max-message", r.Window, r.MaxMessage)
	}
	if r.MaxConns == 0 {
		s.chooseMaxConns(r, descriptorLimit())
	}
	return nil
}

// What an idle conn is reckoned at, its socket in the kernel included, which a cgroup counts too. It is
// more than was measured (docs/operating.md: 5 KB and 33 KB): those that talk take more.
const (
	connMemory    = 8 << 10
	tlsConnMemory = 40 << 10
)

// chooseMaxConns takes what the descriptors allow, or half of the memory if that is less: above it the
// system would end the process, and with it all the conns that there were.
func (s *source) chooseMaxConns(r *Router, descriptors int) {
	r.MaxConns = descriptors - min(512, descriptors/4) // the rest is for links, gossip, admin and files
	s.chosen["max-conns"] = fmt.Sprintf("%d file descriptors less a reserve", descriptors)
	each := Bytes(connMemory)
	if r.TLSCert != "" {
		each = tlsConnMemory
	}
	if fit := int(r.MemoryLimit / 2 / each); fit < r.MaxConns {
		r.MaxConns = fit
		s.chosen["max-conns"] = fmt.Sprintf("half of --memory-limit, at %s each", each)
	}
	r.MaxConns = max(1, r.MaxConns)
}

func (s *source) checkShard(h *Shard) error {
	for _, rule := range []func() error{
		func() error { return s.checkNode(&h.Node, nil) },
		func() error { return s.number("bootstrap-expect", h.BootstrapExpect, 0, 1000) },
		func() error { return s.number("history-messages", h.HistoryMessages, 1, 1_000_000) },
		func() error { return s.size("history-bytes", h.HistoryBytes, 1, 1<<30) },
		func() error { return s.span("history-age", h.HistoryAge, time.Second, 24*time.Hour) },
		func() error { return s.size("window", h.Window, 64<<10, 1<<30) },
		func() error { return s.number("followers", h.Followers, 0, 1) },
		func() error { return s.number("min-copies", h.MinCopies, 1, 2) },
		func() error { return s.span("drain-time", h.DrainTime, 0, time.Hour) },
	} {
		if err := rule(); err != nil {
			return err
		}
	}
	if h.MinCopies > h.Followers+1 {
		return s.failf("min-copies", "%d copies are more than --followers %d makes: nothing would ever be acknowledged", h.MinCopies, h.Followers)
	}
	if h.BootstrapExpect == 0 {
		h.BootstrapExpect = 1
		s.chosen["bootstrap-expect"] = "1 without --join"
		if len(h.Join) > 0 {
			h.BootstrapExpect = 3
			s.chosen["bootstrap-expect"] = "3 with --join"
		}
	}
	return nil
}

// listener is an address that this node listens on, and its flag.
type listener struct{ flag, address string }

func (s *source) checkNode(n *Node, more []listener) error {
	inside := []listener{{"link", n.Link}, {"gossip", n.Gossip}}
	all := slices.Concat(more, inside, []listener{{"admin", n.Admin}})
	for _, rule := range []func() error{
		func() error { return s.checkAddresses(all) },
		func() error { return s.checkNames(n) },
		func() error { return s.checkKeys(n) },
		func() error { return s.checkInside(n, inside) },
		func() error { return s.checkAdvertise(n, all) },
		func() error { return s.checkAdmin(n) },
		func() error { return s.allOrNone("link-cert", n.LinkCert, "link-key", n.LinkKey, "link-ca", n.LinkCA) },
		func() error { return s.checkSeeds(n) },
		func() error { return s.oneOf("log-level", n.LogLevel, "debug", "info", "warn", "error") },
		func() error { return s.oneOf("log-format", n.LogFormat, "auto", "json", "console") },
		func() error { return s.number("max-moves", n.MaxMoves, 0, 4096) },
		func() error { return s.checkMemory(n) },
		func() error { return s.checkData(n) },
	} {
		if err := rule(); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) checkAddresses(all []listener) error {
	taken := map[string]string{}
	for _, l := range all {
		if err := checkAddress(l.address); err != nil {
			return s.failf(l.flag, "%v", err)
		}
		if first, twice := taken[l.address]; twice && !strings.HasSuffix(l.address, ":0") {
			return s.failf(l.flag, "%s is already taken by --%s", l.address, first)
		}
		taken[l.address] = l.flag
	}
	return nil
}

// checkAddress wants HOST:PORT with a port number. An empty host means every address, port 0 a free one.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port must be a number up to 65535", address)
	}
	if strings.ContainsAny(host, " /@") {
		return fmt.Errorf("%q is not HOST:PORT", address)
	}
	return nil
}

func (s *source) checkNames(n *Node) error {
	if n.ID == "" && n.DataDir != "" {
		return s.failf("data-dir", "needs --id: a node with a new name at every start never comes back to what it kept")
	}
	if n.ID == "" {
		n.ID = s.role + "-" + randomLetters(5)
		s.chosen["id"] = "new at every start; give --id to keep one"
	}
	if !validID(n.ID) {
		return s.failf("id", "%q: want 1 to %d of a-z, 0-9 and -", n.ID, maxName)
	}
	if !validName(n.Cluster) || n.Cluster == "" {
		return s.failf("cluster", "%q: want 1 to %d letters, digits, - _ or .", n.Cluster, maxName)
	}
	if !validName(n.Zone) {
		return s.failf("zone", "%q: want up to %d letters, digits, - _ or .", n.Zone, maxName)
	}
	return nil
}

func validID(id string) bool {
	return id != "" && len(id) <= maxName && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func validName(name string) bool {
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return len(name) <= maxName
}

func randomLetters(n int) string {
	return strings.ToLower(rand.Text()[:n])
}

func (s *source) checkKeys(n *Node) (err error) {
	switch {
	case n.ClusterKey != "" && n.ClusterKeyFile != "":
		return s.failf("cluster-key-file", "give this or --cluster-key, not both")
	case n.ClusterKey != "":
		if n.keys, err = parseKeys(string(n.ClusterKey)); err != nil {
			return s.failf("cluster-key", "%v", err)
		}
	case n.ClusterKeyFile != "":
		if n.keys, err = ReadKeys(n.ClusterKeyFile); err != nil {
			return s.failf("cluster-key-file", "%v", err)
		}
	}
	return nil
}

func (s *source) checkAPIKeys(r *Router) (err error) {
	switch {
	case r.APIKey != "" && r.APIKeyFile != "":
		return s.failf("api-key-file", "give this or --api-key, not both")
	case r.APIKey != "":
		if r.apiKeys, err = parseAPIKeys(string(r.APIKey)); err != nil {
			return s.failf("api-key", "%v", err)
		}
	case r.APIKeyFile != "":
		if r.apiKeys, err = ReadAPIKeys(r.APIKeyFile); err != nil {
			return s.failf("api-key-file", "%v", err)
		}
	}
	return nil
}

// checkInside keeps links and gossip on loopback unless they are protected by a key.
func (s *source) checkInside(n *Node, inside []listener) error {
	if len(n.keys) > 0 {
		return nil
	}
	for _, l := range inside {
		if !Loopback(l.address) {
			return s.failf(l.flag, "%s can be reached by others, so a cluster key must protect it: give --cluster-key-file (roomring key makes a key), or stay on 127.0.0.1", l.address)
		}
	}
	return nil
}

// checkAdvertise makes sure that others are told an address which they can dial.
func (s *source) checkAdvertise(n *Node, all []listener) error {
	if n.Advertise == "" {
		for _, l := range all {
			if unspecified(l.address) && l.flag != "listen" && l.flag != "admin" {
				return s.failf(l.flag, "%s listens on every address: say with --advertise HOST which one other nodes dial%s", l.address, localHint())
			}
		}
		return nil
	}
	if strings.ContainsAny(n.Advertise, " /@") || unspecified(net.JoinHostPort(n.Advertise, "0")) {
		return s.failf("advertise", "%q is not a host that others can dial", n.Advertise)
	}
	if strings.Contains(n.Advertise, ":") {
		if _, err := netip.ParseAddr(n.Advertise); err != nil {
			return s.failf("advertise", "%q: want a host without a port", n.Advertise)
		}
	}
	if Loopback(n.Link) && !Loopback(net.JoinHostPort(n.Advertise, "0")) {
		return s.failf("advertise", "%s is of no use while --link %s listens on loopback only", n.Advertise, n.Link)
	}
	return nil
}

// localHint names an address of this machine that others may be able to dial.
func localHint() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
			return ", perhaps --advertise " + prefix.Addr().String()
		}
	}
	return ""
}

func (s *source) checkAdmin(n *Node) (err error) {
	t := &n.adminToken
	if t.Full, err = s.token("admin-token", n.AdminToken, n.AdminTokenFile); err != nil {
		return err
	}
	if t.Read, err = s.token("admin-read-token", n.AdminReadToken, n.AdminReadTokenFile); err != nil {
		return err
	}
	if t.Full != "" && t.Full == t.Read {
		return s.failf("admin-read-token", "must differ from --admin-token")
	}
	if !Loopback(n.Admin) && t.Full == "" && t.Read == "" {
		return s.failf("admin", "%s can be reached by others, so a token must protect it: give --admin-token-file or --admin-token (or one that only reads), or stay on 127.0.0.1", n.Admin)
	}
	return nil
}

// token returns what a flag or the one for its file says, "" for neither.
func (s *source) token(flag string, given Secret, file string) (string, error) {
	switch {
	case given != "" && file != "":
		return "", s.failf(flag+"-file", "give this or --%s, not both", flag)
	case file != "":
		token, err := ReadToken(file)
		if err != nil {
			return "", s.failf(flag+"-file", "%v", err)
		}
		return token, nil
	case given != "" && !validToken(string(given)):
		return "", s.failf(flag, "%v", errToken)
	}
	return string(given), nil
}

func validToken(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return len(token) >= minToken && len(token) <= maxToken
}

func (s *source) checkSeeds(n *Node) error {
	if len(n.Join) > maxSeeds {
		return s.failf("join", "%d addresses, at most %d", len(n.Join), maxSeeds)
	}
	for _, seed := range n.Join {
		host, port, err := net.SplitHostPort(seed)
		if err != nil || host == "" || port == "" || port == "0" {
			return s.failf("join", "%q is not the HOST:PORT of a node's gossip", seed)
		}
		if err := checkAddress(seed); err != nil {
			return s.failf("join", "%v", err)
		}
	}
	return nil
}

func (s *source) checkMemory(n *Node) error {
	if n.MemoryLimit == 0 {
		n.MemoryLimit, n.memoryWhy = memoryLimit("/")
		s.chosen["memory-limit"] = n.memoryWhy
		return nil // whatever the machine gives: there is nobody to complain to
	}
	if n.MemoryLimit < minMemory {
		return s.failf("memory-limit", "%s is too small: give 64MiB or more", n.MemoryLimit)
	}
	n.memoryWhy = s.place(s.from["memory-limit"])
	return nil
}

func (s *source) checkClients(r *Router) error {
	if r.Auth != "" && r.Auth != "none" {
		return s.failf("auth", "%q: none is the only one so far", r.Auth)
	}
	if r.Auth == "" {
		if !Loopback(r.Listen) {
			return s.failf("listen", "%s can be reached by others and nobody is asked who they are: say --auth none if that is meant", r.Listen)
		}
		r.Auth = "none"
	}
	if err := s.allOrNone("tls-cert", r.TLSCert, "tls-key", r.TLSKey); err != nil {
		return err
	}
	for _, origin := range r.AllowOrigin {
		if origin != "*" && !validOrigin(origin) {
			return s.failf("allow-origin", "%q: want an origin such as https://app.example.com or http://localhost:3000", origin)
		}
	}
	for _, text := range r.TrustedProxies {
		prefix, err := parsePrefix(text)
		if err != nil {
			return s.failf("trusted-proxies", "%q is not an address or network such as 10.0.0.0/8", text)
		}
		r.proxies = append(r.proxies, prefix)
	}
	if r.ProxyProtocol && len(r.proxies) == 0 {
		return s.failf("proxy-protocol", "needs --trusted-proxies too: a PROXY header is believed from those alone, since whoever may write one can be anybody")
	}
	return nil
}

func validOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.Scheme+"://"+u.Host == strings.ToLower(origin)
}

func parsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}

// allOrNone takes pairs of flag and value.
func (s *source) allOrNone(pairs ...string) error {
	given, missing := "", ""
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			given = pairs[i]
		} else {
			missing = pairs[i]
		}
	}
	if given != "" && missing != "" {
		return s.failf(given, "needs --%s too", missing)
	}
	return nil
}

func (s *source) oneOf(flag, value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return s.failf(flag, "%q: want %s or %s", value, strings.Join(allowed[:len(allowed)-1], ", "), allowed[len(allowed)-1])
	}
	return nil
}

func (s *source) number(flag string, value, least, most int) error {
	if value < least || value > most {
		return s.failf(flag, "%d is out of bounds: want %d to %d", value, least, most)
	}
	return nil
}

func (s *source) size(flag string, value, least, most Bytes) error {
	if value < least || value > most {
		return s.failf(flag, "%s is out of bounds: want %s to %s", value, least, most)
	}
	return nil
}

func (s *source) span(flag string, value, least, most time.Duration) error {
	if value < least || value > most {
		return s.failf(flag, "%s is out of bounds: want %s to %s", short(value), short(least), short(most))
	}
	return nil
}

// Loopback tells whether only this machine can reach a listener on address. A name other than
// localhost counts as reachable: what it means may change.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// unspecified tells whether a listener on address takes every address of the machine.
func unspecified(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified()
}

package node

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/roomring/roomring/proto"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

// settings are those that should be alike on all nodes of a role, by the names
// of their flags and in the words that the flags take. Of secrets they say only
// how many there are. What the zero value of a Config leaves open is "".
type settings map[string]string

// commonSettings are those of every node.
func commonSettings(c *Config) settings {
	s := settings{"cluster": c.Cluster, "partitions": strconv.Itoa(cmp.Or(c.Partitions, proto.Partitions))}
	s["max-moves"] = number(c.MaxMoves)
	s["cluster-key"] = secrets(len(c.Keys)) // which is the first, settingsNow adds
	s["admin-token"], s["admin-read-token"] = secret(c.AdminToken != ""), secret(c.AdminReadToken != "")
	s["link-cert"] = secret(c.LinkTLS != nil)
	return s
}

func (s settings) ofShard(c *Config, sc *shard.Config) settings {
	s["followers"], s["bootstrap-expect"] = strconv.Itoa(c.Followers), number(c.BootstrapExpect)
	s["min-copies"] = number(sc.MinCopies)
	s["history-messages"], s["history-bytes"], s["history-age"] = number(sc.HistoryMessages), size(sc.HistoryBytes), span(sc.HistoryAge)
	s["window"], s["drain-time"] = size(sc.WindowBytes), span(c.DrainTime)
	return s
}

func (s settings) ofRouter(rc *router.Config) settings {
	s["max-message"], s["window"] = size(rc.MaxMessage), size(rc.Window)
	s["max-conns"], s["max-conns-per-ip"], s["accepts-per-ip"] = number(rc.MaxConns), number(rc.MaxConnsPerIP), number(rc.AcceptsPerIP)
	s["drain-delay"], s["drain-time"] = span(rc.DrainDelay), span(rc.DrainTime)
	s["allow-origin"] = strings.Join(slices.Sorted(slices.Values(rc.AllowOrigin)), ",")
	s["trusted-proxies"] = prefixes(rc)
	s["proxy-protocol"] = flag(rc.ProxyProtocol)
	s["api-key"], s["tls-cert"] = secrets(len(rc.APIKeys)), secret(rc.TLS != nil)
	return s
}

func prefixes(rc *router.Config) string {
	var list []string
	for _, p := range rc.TrustedProxies {
		list = append(list, p.String())
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// number writes a count whose zero value stands for the default, and a negative
// one for none.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(max(n, 0))
}

// span is number for times.
func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return max(d, 0).String()
}

// size is number for bytes.
func size(n int) string {
	switch {
	case n == 0:
		return ""
	case n%(1<<30) == 0:
		return strconv.Itoa(n>>30) + "GiB"
	case n%(1<<20) == 0:
		return strconv.Itoa(n>>20) + "MiB"
	case n%(1<<10) == 0:
		return strconv.Itoa(n>>10) + "KiB"
	}
	return strconv.Itoa(n)
}

func flag(set bool) string {
	if set {
		return "true"
	}
	return ""
}

func secret(set bool) string {
	if set {
		return "set"
	}
	return ""
}

func secrets(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d set", n)
}

// Package balancers checks the files under deploy/nginx and deploy/haproxy: by nginx and HAProxy, which
// say whether they can read them, and by rules of ours, for what both would take and what would be wrong
// all the same, such as a timeout that is shorter than the time between two pings.
package balancers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// longest is how long an open WebSocket may say nothing in either direction: while a router pushes back
// it does not ping, and gives up after 60 seconds. Between pings there are 25.
const longest = 60 * time.Second

// rule is a condition on a file without its comments. It returns what is wrong, "" for nothing.
type rule func(text string) string

// rules are those of each file under deploy.
var rules = map[string][]rule{
	"nginx/http.conf": slices.Concat(everywhere, nginxTLS, []rule{
		wants("a router behind it that drains is passed over", `location = /ws \{[^}]*proxy_next_upstream [^;]*http_503`),
		wants("what is asked at /healthz reaches a router", `location = /healthz \{[^}]*proxy_pass http://routers;[^}]*proxy_next_upstream [^;]*http_503`),
		wants("the emptiest router is next", `upstream routers \{[^}]*least_conn;`),
		wants("one count for all workers", `upstream routers \{[^}]*zone `),
		wants("an idempotency key goes to one router", `upstream publishers \{[^}]*hash \$publisher consistent;`),
		wants("a client's own X-Forwarded-For is dropped", `proxy_set_header X-Forwarded-For \$remote_addr;`),
		wants("the scheme is said", `proxy_set_header X-Forwarded-Proto \$scheme;`),
		wants("Host is handed on with its port", `proxy_set_header Host \$http_host;`),
		wants("upgrades", `proxy_set_header Upgrade \$http_upgrade;`),
		wants("HTTP/1.1", `proxy_http_version 1\.1;`),
		wants("nothing is held back", `proxy_buffering off;`),
		never("a message is published twice", `non_idempotent`),
		never("a room's 503 closes the door to all", `max_fails=[1-9]`),
		wants("no requests in the log of errors, which has tokens", `error_log \S+ crit;`),
		never("a token is logged", `\$request |\$request_uri|\$args|\$query_string`),
		never("everything is passed on", `location / \{[^}]*proxy_pass`),
		longer(`proxy_read_timeout (\S+);\s+proxy_send_timeout`, `proxy_send_timeout (\S+);`),
		alike(`upstream routers \{([^}]*)\}`, `upstream publishers \{([^}]*)\}`),
	}),
	"nginx/stream.conf": slices.Concat(everywhere, nginxTLS, []rule{
		wants("the client's address is said", `proxy_protocol on;`),
		wants("one count for all workers", `upstream routers \{[^}]*zone `),
		never("a router that drains gets all clients", `least_conn`),
		longer(`proxy_timeout (\S+);`),
	}),
	"haproxy/http.cfg": slices.Concat(everywhere, haproxyChecks, []rule{
		wants("the emptiest router is next", `\nbackend routers\n(?:[ \t]+.*\n)*?[ \t]+balance leastconn`),
		wants("an idempotency key goes to one router", `\nbackend publishers\n(?:[ \t]+.*\n)*?[ \t]+balance hdr\(Idempotency-Key\)`),
		wants("a router behind it that drains is passed over", `\nbackend routers\n(?:[ \t]+.*\n)*?[ \t]+retry-on .*\b503\b`),
		wants("each try goes to another router", `option redispatch 1`),
		wants("a client's own X-Forwarded-For is dropped", `http-request set-header X-Forwarded-For %\[src\]`),
		wants("the scheme is said", `http-request set-header X-Forwarded-Proto https`),
		never("a client's own X-Forwarded-For is kept", `option forwardfor`),
		never("a message is published twice", `\nbackend publishers\n(?:[ \t]+.*\n)*?[ \t]+retry-on .*(empty-response|response-timeout|all-retryable)`),
		never("a token is logged", `option httplog|%r\b|%HU|%HQ`),
		longer(`timeout tunnel (\S+)`, `\nbackend publishers\n(?:[ \t]+.*\n)*?[ \t]+timeout server (\S+)`),
		alike(`\nbackend routers\n((?:[ \t]+.*\n)*)`, `\nbackend publishers\n((?:[ \t]+.*\n?)*)`),
	}),
	"haproxy/tcp.cfg": slices.Concat(everywhere, haproxyChecks, []rule{
		wants("the emptiest router is next", `\nbackend routers\n(?:[ \t]+.*\n)*?[ \t]+balance leastconn`),
		wants("the client's address and TLS are said", `default-server .*\bsend-proxy-v2-ssl\b`),
		wants("checks have a PROXY header too", `default-server .*\bcheck-send-proxy\b`),
		longer(`timeout tunnel (\S+)`),
	}),
}

var everywhere = []rule{
	never("clients stick to a router", `ip_hash|\bsticky\b|\bcookie\b|stick-table|\bstick (on|match|store)|balance (source|url_param)|hash \$(remote_addr|binary_remote_addr|arg_)`),
	never("an admin port is proxied", `:(8001|8011|7402)\b`),
	never("HTTP/2 is offered", `\bhttp2\b|\bh2\b`),
	never("old TLS", `TLSv1(\.[01])?\b[^.23]|\bSSLv3\b|no-tlsv1[23]`),
}

var nginxTLS = []rule{
	wants("TLS 1.2 and 1.3", `ssl_protocols TLSv1\.2 TLSv1\.3;`),
	wants("session tickets", `ssl_session_tickets on;`),
	wants("a bound for old workers", `worker_shutdown_timeout \S+;`),
}

var haproxyChecks = []rule{
	wants("TLS 1.2 or later", `ssl-min-ver TLSv1\.2`),
	wants("HTTP/1.1 alone", `bind .* alpn http/1\.1\n`),
	wants("routers are asked at /healthz", `option httpchk\n`),
	wants("health is asked at /healthz, by HTTP/1.1", `http-check send meth GET uri /healthz ver HTTP/1\.1 hdr Host`),
	wants("clients of a router that drains stay", `http-check expect ! status 503 error-status L7OKC`),
	wants("a router is well only with 200", `http-check expect status 200`),
	wants("routers are checked, and one that is dead loses its clients", `default-server .*\bcheck inter .*on-marked-down shutdown-sessions`),
	wants("a reload refuses nobody", `expose-fd listeners`),
	wants("a bound for old processes", `hard-stop-after \S+`),
}

// check returns what is wrong with a file.
func check(file, text string) (wrong []string) {
	text = regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(text, "")
	text = regexp.MustCompile(`\n\s*\n`).ReplaceAllString(text, "\n") // so that a section has no gaps
	for _, r := range rules[file] {
		if why := r(text); why != "" {
			wrong = append(wrong, why)
		}
	}
	return wrong
}

// wants is that a pattern is found.
func wants(what, pattern string) rule {
	p := regexp.MustCompile(pattern)
	return func(text string) string {
		if p.MatchString(text) {
			return ""
		}
		return "missing: " + what
	}
}

// never is that a pattern is not found.
func never(what, pattern string) rule {
	p := regexp.MustCompile(pattern)
	return func(text string) string {
		if found := p.FindString(text); found != "" {
			return fmt.Sprintf("never: %s (%q)", what, found)
		}
		return ""
	}
}

// longer is that each pattern is found, and each time in it is longer than what is longest.
func longer(patterns ...string) rule {
	return func(text string) string {
		for _, pattern := range patterns {
			all := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
			if all == nil {
				return "missing: a time like " + pattern
			}
			for _, found := range all {
				if d, err := time.ParseDuration(found[1]); err != nil || d <= longest {
					return fmt.Sprintf("%q is not longer than %s", found[0], longest)
				}
			}
		}
		return ""
	}
}

// alike is that two lists have the same routers.
func alike(one, other string) rule {
	servers := regexp.MustCompile(`server .*:\d.*`)
	find := func(pattern, text string) []string {
		list := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if list == nil {
			return nil
		}
		return servers.FindAllString(list[1], -1)
	}
	return func(text string) string {
		if a, b := find(one, text), find(other, text); len(a) == 0 || !slices.Equal(a, b) {
			return fmt.Sprintf("routers differ: %q and %q", a, b)
		}
		return ""
	}
}

// files are those that have rules, in order.
func files() (list []string) {
	for file := range rules {
		list = append(list, file)
	}
	slices.Sort(list)
	return list
}

// family is the directory of a file: the program that reads it.
func family(file string) string {
	name, _, _ := strings.Cut(file, "/")
	return name
}

package compose

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/roomring/roomring/internal/checks"
)

// routers are the services that run one, with the port that clients are to reach.
func (p *project) routers() (map[string]string, error) {
	all := map[string]string{}
	for name, program := range p.nodes() {
		if program != "roomring-router" {
			continue
		}
		_, port, err := net.SplitHostPort(setting(p.Services[name], "LISTEN"))
		if err != nil {
			return nil, err
		}
		all[name] = port
	}
	return all, nil
}

var (
	written  = regexp.MustCompile(`(?m)^\s*(?:pid|\w+_temp_path)\s+(\S+);`)
	scratch  = regexp.MustCompile(`(?m)^(\s*(?:pid|\w+_temp_path)\s+)/tmp/`)
	upstream = regexp.MustCompile(`(?s)upstream \w+ \{.*?\n    \}`)
	rlimit   = regexp.MustCompile(`(?m)^worker_rlimit_nofile (\d+);`)
)

// judgeNginx has nginx judge its configuration, and holds it against the container that it is for.
func (p *project) judgeNginx(t *testing.T) error {
	t.Helper()
	if len(p.sorted(nginx)) == 0 {
		return nil // Traefik is there
	}
	s, err := p.only(nginx)
	if err != nil {
		return err
	}
	name, text, err := p.adapted(t, s, s.Entrypoint[slices.Index(s.Entrypoint, "-c")+1])
	if err != nil {
		return err
	}
	if !strings.Contains(text, "\ndaemon off;") {
		return errors.New("nginx does not stay in the foreground: its container would end")
	}
	for _, found := range written.FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(s.Tmpfs, func(dir string) bool {
			dir, _, _ = strings.Cut(dir, ":")
			return strings.HasPrefix(found[1], dir+"/")
		}) {
			return fmt.Errorf("nginx cannot write %s", found[1])
		}
	}
	if limit := rlimit.FindStringSubmatch(text); limit == nil || limit[1] != strconv.Itoa(s.Ulimits["nofile"].Soft) {
		return fmt.Errorf("nginx wants other descriptors than its container has: %v", limit)
	}
	for _, port := range s.Ports {
		if !strings.Contains(text, fmt.Sprintf("listen %d ", port.Target)) {
			return fmt.Errorf("nobody listens at port %d of nginx", port.Target)
		}
	}
	routers, err := p.routers()
	if err != nil {
		return err
	}
	for router, port := range routers {
		for _, block := range upstream.FindAllString(text, -1) {
			if server := router + ":" + port; !strings.Contains(block, "server "+server+" ") {
				return fmt.Errorf("nginx does not know %s in %s", server, block)
			}
		}
	}
	return testNginx(t, s, name, text)
}

// testNginx has nginx read a configuration as it would in its container: names are those of extra_hosts, what it
// writes is in a directory of the test, and it listens on loopback.
func testNginx(t *testing.T, s types.ServiceConfig, name, text string) error {
	t.Helper()
	for host, addresses := range s.ExtraHosts {
		text = strings.ReplaceAll(text, "server "+host+":", "server "+addresses[0]+":")
	}
	text = scratch.ReplaceAllString(text, "${1}"+filepath.Dir(name)+"/")
	text = strings.ReplaceAll(text, "listen 8443 ", "listen 127.0.0.1:21443 ")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(t.Context(), checks.Program(t, "nginx"), "-t", "-q", "-e", "stderr", "-c", name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// traefikLabels are the labels that Traefik 3 knows, as far as they are used here, and what each wants.
var traefikLabels = []struct {
	name *regexp.Regexp
	want func(p *project, s types.ServiceConfig, value string) error
}{
	{regexp.MustCompile(`^traefik\.enable$`), func(_ *project, _ types.ServiceConfig, value string) error {
		return exactly(value, "true")
	}},
	{regexp.MustCompile(`^traefik\.docker\.network$`), func(p *project, _ types.ServiceConfig, value string) error {
		if value != p.Networks["front"].Name {
			return fmt.Errorf("network %s, and the one in front is %s", value, p.Networks["front"].Name)
		}
		return nil
	}},
	{regexp.MustCompile(`^traefik\.http\.routers\.roomring\.rule$`), func(_ *project, _ types.ServiceConfig, value string) error {
		return judgeRule(value)
	}},
	{regexp.MustCompile(`^traefik\.http\.routers\.roomring\.entrypoints$`), (*project).judgeEntryPoint},
	{regexp.MustCompile(`^traefik\.http\.routers\.roomring\.tls$`), func(_ *project, _ types.ServiceConfig, value string) error {
		return exactly(value, "true")
	}},
	{regexp.MustCompile(`^traefik\.http\.routers\.roomring\.service$`), func(_ *project, s types.ServiceConfig, value string) error {
		if s.Labels["traefik.http.services."+value+".loadbalancer.server.port"] == "" {
			return fmt.Errorf("no label describes service %s", value)
		}
		return nil
	}},
	{regexp.MustCompile(`^traefik\.http\.services\.roomring\.loadbalancer\.server\.port$`), func(p *project, s types.ServiceConfig, value string) error {
		routers, err := p.routers()
		if err == nil && routers[s.Name] != value {
			err = fmt.Errorf("port %s, and clients are at %s", value, routers[s.Name])
		}
		return err
	}},
	{regexp.MustCompile(`^traefik\.http\.services\.roomring\.loadbalancer\.healthcheck\.path$`), func(_ *project, _ types.ServiceConfig, value string) error {
		return exactly(value, "/healthz")
	}},
	{regexp.MustCompile(`^traefik\.http\.services\.roomring\.loadbalancer\.healthcheck\.(interval|timeout)$`), func(_ *project, _ types.ServiceConfig, value string) error {
		_, err := time.ParseDuration(value)
		return err
	}},
}

func exactly(value, want string) error {
	if value != want {
		return fmt.Errorf("%q, want %q", value, want)
	}
	return nil
}

var matcher = regexp.MustCompile("^(Path|PathPrefix)\\(`(/[a-z0-9/]*)`\\)$")

// judgeRule wants alternatives of paths, those that a router serves to clients.
func judgeRule(rule string) error {
	var paths []string
	for _, term := range strings.Split(rule, " || ") {
		found := matcher.FindStringSubmatch(term)
		if found == nil {
			return fmt.Errorf("rule %s: %s is no matcher", rule, term)
		}
		paths = append(paths, found[2])
	}
	if want := []string{"/ws", "/v1/rooms/", "/healthz"}; !slices.Equal(paths, want) {
		return fmt.Errorf("rule %s: %v, want %v", rule, paths, want)
	}
	return nil
}

// judgeEntryPoint: it is one of Traefik's, and what is published leads to it.
func (p *project) judgeEntryPoint(_ types.ServiceConfig, name string) error {
	s, err := p.only(traefik)
	if err != nil {
		return err
	}
	at := flag(s, "entrypoints."+name+".address")
	if at == "" || len(s.Ports) != 1 || at != fmt.Sprintf(":%d", s.Ports[0].Target) {
		return fmt.Errorf("entry point %s is at %q, and %v is published", name, at, s.Ports)
	}
	return nil
}

// judgeTraefik holds labels and flags against what Traefik knows, and against the routers.
func (p *project) judgeTraefik() error {
	if len(p.sorted(traefik)) == 0 {
		return nil
	}
	s, err := p.only(traefik)
	if err != nil {
		return err
	}
	if !slices.Equal(s.CapAdd, []string{"DAC_OVERRIDE"}) {
		return fmt.Errorf("Traefik has %v, and needs to read a key", s.CapAdd)
	}
	var broken []error
	for name, program := range p.nodes() {
		if program != "roomring-router" {
			continue
		}
		if len(p.Services[name].Labels) == 0 {
			broken = append(broken, fmt.Errorf("%s: no labels: Traefik does not see it", name))
		}
		for label, value := range p.Services[name].Labels {
			broken = append(broken, p.judgeLabel(p.Services[name], label, value))
		}
	}
	return errors.Join(append(broken, p.judgeCertificate(s))...)
}

func (p *project) judgeLabel(s types.ServiceConfig, label, value string) error {
	for _, known := range traefikLabels {
		if known.name.MatchString(label) {
			if err := known.want(p, s, value); err != nil {
				return fmt.Errorf("%s: %s: %w", s.Name, label, err)
			}
			return nil
		}
	}
	return fmt.Errorf("%s: unknown label %s", s.Name, label)
}

// judgeCertificate: the file provider's certificate is the one that is made.
func (p *project) judgeCertificate(s types.ServiceConfig) error {
	var provided struct {
		TLS struct {
			Stores map[string]struct {
				DefaultCertificate struct {
					CertFile string `json:"certFile"`
					KeyFile  string `json:"keyFile"`
				} `json:"defaultCertificate"`
			}
			Options map[string]struct {
				MinVersion string `json:"minVersion"`
			}
		}
	}
	if err := decode(filepath.Join(p.outside(s, flag(s, "providers.file.directory")), "tls.yaml"), &provided); err != nil {
		return err
	}
	c := provided.TLS.Stores["default"].DefaultCertificate
	for _, name := range []string{c.CertFile, c.KeyFile} {
		if _, err := os.Stat(p.outside(s, name)); name == "" || err != nil {
			return fmt.Errorf("certificate %q: %v", name, err)
		}
	}
	return nil
}

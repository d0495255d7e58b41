//go:build linux

package compose

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/roomring/roomring/internal/checks"
	"github.com/roomring/roomring/internal/checks/container"
	imagecheck "github.com/roomring/roomring/internal/checks/image"
)

const (
	site = "chat.example.com"
	// patience bounds every wait for what takes moments: only a fault reaches it.
	patience = 3 * time.Minute
)

// world is a Compose project that runs, without the engine: each service a container on the networks that it is
// described to be in, known by the names that Docker would give it. Grafana is not there.
type world struct {
	*project
	t         *testing.T
	root      string             // of our image
	hub       *container.Network // every network's switch is here
	places    map[string]*container.Network
	addresses map[string]map[string]netip.Addr // network, service
	running   map[string]*container.Process
}

// TestRun starts what compose.yaml describes, and uses it: through nginx while a shard and a router are replaced, and
// again after all of it was stopped.
func TestRun(t *testing.T) {
	container.Need(t)
	for _, program := range []string{"nginx", "prometheus", "curl", "wget"} {
		checks.Program(t, program)
	}
	p, err := load(checks.Copy(t, "deploy"), []string{"SITE=" + site}, plain...)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{project: p, t: t, root: imagecheck.Rootfs(t), running: map[string]*container.Process{}}
	w.volumes = t.TempDir()
	w.connect()
	for _, s := range w.sorted(ours) {
		if once(s) {
			if code, out := w.spec(s, s.Command...).Run(t, patience); code != 0 {
				t.Fatalf("%s: code %d, %s", s.Name, code, out)
			}
		}
	}
	w.up()
	w.checkGossip()
	w.checkWatched()
	w.checkPages()
	before := w.instance()
	w.checkTraffic()
	w.stopAll()

	w.up()
	if after := w.instance(); after != before {
		t.Errorf("stopped and started, it is another cluster: %s, and was %s", after, before)
	}
	w.stopAll()
}

// connect makes the networks. Addresses that the file does not give are chosen here.
func (w *world) connect() {
	w.t.Helper()
	w.hub = container.NewNetwork(w.t)
	w.places, w.addresses = map[string]*container.Network{}, map[string]map[string]netip.Addr{}
	for i, network := range []string{"back", "front", "watch"} {
		w.hub.Switch(w.t, network)
		w.addresses[network] = map[string]netip.Addr{}
		subnet := netip.MustParsePrefix(fmt.Sprintf("10.88.%d.0/24", i))
		if ipam := w.Networks[network].Ipam.Config; len(ipam) > 0 {
			subnet = netip.MustParsePrefix(ipam[0].Subnet)
		}
		next := subnet.Addr().Next()
		w.hub.IP(w.t, fmt.Sprintf("addr add %s/%d dev %s", next, subnet.Bits(), network))
		for _, s := range w.sorted("") {
			if _, in := s.Networks[network]; !in {
				continue
			}
			if next = next.Next(); network == "front" {
				w.addresses[network][s.Name] = netip.MustParseAddr(address(s, network))
			} else {
				w.addresses[network][s.Name] = next
			}
			if w.places[s.Name] == nil {
				w.places[s.Name] = container.NewNetwork(w.t)
			}
			w.hub.Plug(w.t, w.places[s.Name], network, fmt.Sprintf("%s/%d", w.addresses[network][s.Name], subnet.Bits()))
		}
	}
}

// hosts are the names that Docker's name server would know for a service. Of a name with an address in each of two
// networks it gives either; here it is the one that is of no use behind.
func (w *world) hosts(s types.ServiceConfig) string {
	var text strings.Builder
	for _, network := range []string{"front", "watch", "back"} {
		if _, in := s.Networks[network]; !in {
			continue
		}
		for other, ip := range w.addresses[network] {
			fmt.Fprintf(&text, "%s %s\n", ip, strings.Join(names(w.Services[other], network), " "))
		}
	}
	for name, addresses := range s.ExtraHosts {
		fmt.Fprintf(&text, "%s %s\n", addresses[0], name)
	}
	return text.String()
}

// spec is a service's container with a command line.
func (w *world) spec(s types.ServiceConfig, args ...string) container.Spec {
	w.t.Helper()
	c := container.Spec{Root: "/", ReadOnly: s.ReadOnly, Network: w.places[s.Name], Hosts: w.hosts(s), Args: args,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"}}
	if name, _ := image(s); name == ours {
		c.Root, c.Env = w.root, []string{"PATH=/usr/local/bin"}
	}
	if _, err := fmt.Sscanf(s.User, "%d:%d", &c.UID, &c.GID); err != nil {
		w.t.Fatal(err)
	}
	if limit := s.Ulimits["nofile"]; limit != nil {
		c.Files = uint64(limit.Soft)
	}
	for name, value := range s.Environment {
		if value != nil {
			c.Env = append(c.Env, name+"="+*value)
		}
	}
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeVolume {
			w.own(c.Root, v)
		}
		c.Mounts = append(c.Mounts, container.Mount{Source: w.outside(s, v.Target), Target: v.Target, ReadOnly: v.ReadOnly})
	}
	for _, dir := range s.Tmpfs {
		target, options, _ := strings.Cut(dir, ":")
		c.Mounts = append(c.Mounts, container.Mount{Target: target, Options: options})
	}
	return c
}

// own does what Docker does with a volume that is mounted: it is root's, unless it is empty and the image has a
// directory at that place, whose owner and mode it takes over then.
func (w *world) own(root string, v types.ServiceVolumeConfig) {
	w.t.Helper()
	dir := filepath.Join(w.volumes, v.Source)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		w.t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, v.Target))
	if len(files) > 0 || err != nil || v.Volume != nil && v.Volume.NoCopy {
		return
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := errors.Join(os.Chown(dir, int(owner.Uid), int(owner.Gid)), os.Chmod(dir, info.Mode().Perm())); err != nil {
		w.t.Fatal(err)
	}
}

// start starts a service that stays.
func (w *world) start(s types.ServiceConfig) {
	w.t.Helper()
	args := slices.Concat(s.Entrypoint, s.Command)
	if name, _ := image(s); name == prometheus {
		args = append([]string{"prometheus"}, args...) // its image's entry point
	}
	w.running[s.Name] = w.spec(s, args...).Start(w.t)
}

// up starts everything, those first that wait for others, and returns when all are well.
func (w *world) up() {
	w.t.Helper()
	all := w.sorted("")
	slices.Reverse(all)
	for _, s := range all {
		if name, _ := image(s); !once(s) && name != grafana {
			w.start(s)
		}
	}
	for _, s := range all {
		w.well(s)
	}
}

// well waits until a service's own check says so.
func (w *world) well(s types.ServiceConfig) {
	w.t.Helper()
	name, _ := image(s)
	if once(s) || s.HealthCheck == nil || name == grafana {
		return
	}
	w.eventually(s.Name+" is healthy", func() error {
		if w.running[s.Name].Ended() {
			w.t.Fatalf("%s has ended: %s", s.Name, w.running[s.Name].Output())
		}
		if code, out := w.spec(s, s.HealthCheck.Test[1:]...).Run(w.t, patience); code != 0 {
			return fmt.Errorf("code %d, %s", code, out)
		}
		return nil
	})
}

// eventually waits until f finds nothing to complain of.
func (w *world) eventually(what string, f func() error) {
	w.t.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			w.t.Fatalf("not within %s: %s: %v", patience, what, err)
		case <-again.C:
		}
	}
}

// stop ends a service as Docker does, and reports how it ended.
func (w *world) stop(s types.ServiceConfig) error {
	p := w.running[s.Name]
	p.Signal(syscall.SIGTERM)
	if code := p.Exit(w.t, time.Duration(*s.StopGracePeriod)); code != 0 {
		return fmt.Errorf("%s ends with %d: %s", s.Name, code, p.Output())
	}
	return nil
}

// stopAll ends everything at once.
func (w *world) stopAll() {
	w.t.Helper()
	ends := make(chan error)
	for name := range w.running {
		go func() { ends <- w.stop(w.Services[name]) }()
	}
	for range w.running {
		if err := <-ends; err != nil {
			w.t.Error(err)
		}
	}
	w.running = map[string]*container.Process{}
}

// client asks as somebody in all networks, who trusts the authority of the first day.
func (w *world) client() *http.Client {
	text, err := os.ReadFile(filepath.Join(w.volumes, "certificate/ca.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(text)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, _ := net.SplitHostPort(address); host == site {
			address = net.JoinHostPort(w.addresses["front"]["nginx"].String(), port)
		}
		return w.hub.Dial(ctx, network, address)
	}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial,
		TLSClientConfig: &tls.Config{RootCAs: authorities}}}
}

var gossipsAt = regexp.MustCompile(`"gossip":"([0-9.]+):`)

// checkGossip: every node tells the others an address at which they reach it. With one that they do not, it lives on
// by its links, and is suspected again and again.
func (w *world) checkGossip() {
	w.t.Helper()
	for name := range w.nodes() {
		want := w.addresses["back"][name].String()
		if at := gossipsAt.FindStringSubmatch(w.running[name].Output()); at == nil || at[1] != want {
			w.t.Errorf("%s gossips at %v, and the others reach it at %s", name, at, want)
		}
	}
}

// checkWatched: Prometheus reaches every node with its token, and has the alerts.
func (w *world) checkWatched() {
	w.t.Helper()
	base := "http://" + w.addresses["watch"]["prometheus"].String() + ":9090/api/v1/"
	get := func(path string, into any) error {
		answer, err := w.client().Get(base + path)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		return json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(into)
	}
	w.eventually("Prometheus sees all nodes", func() error {
		var up struct {
			Data struct {
				Result []struct{ Metric map[string]string }
			}
		}
		if err := get("query?query="+url.QueryEscape(`up{job="roomring"} == 1`), &up); err != nil {
			return err
		}
		if len(up.Data.Result) != len(w.nodes()) {
			return fmt.Errorf("it sees %v", up.Data.Result)
		}
		return nil
	})
	var rules struct {
		Data struct{ Groups []struct{ Name string } }
	}
	if err := get("rules", &rules); err != nil || len(rules.Data.Groups) == 0 {
		w.t.Errorf("Prometheus has no rules: %v", err)
	}
}

// checkPages: what a browser may do through nginx. The routers know that its page came by TLS, and from which site.
func (w *world) checkPages() {
	w.t.Helper()
	for _, test := range []struct {
		path, origin string
		status       int
	}{
		{"/healthz", "", http.StatusOK},
		{"/metrics", "", http.StatusNotFound},
		{"/ws?room=lobby", "https://" + site + ":8443", http.StatusSwitchingProtocols},
		{"/ws?room=lobby", "http://" + site + ":8443", http.StatusForbidden},
		{"/ws?room=lobby", "https://elsewhere.example", http.StatusForbidden},
	} {
		request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://"+site+":8443"+test.path, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.HasPrefix(test.path, "/ws") {
			request.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Origin": {test.origin}}
		}
		answer, err := w.client().Do(request)
		if err != nil {
			w.t.Errorf("%s from %q: %v", test.path, test.origin, err)
			continue
		}
		body := ""
		if answer.StatusCode != http.StatusSwitchingProtocols {
			body, _ = bufio.NewReader(answer.Body).ReadString('\n')
		}
		answer.Body.Close()
		if answer.StatusCode != test.status {
			w.t.Errorf("%s from %q: %s %s, want %d", test.path, test.origin, answer.Status, body, test.status)
		}
	}
}

// instance is which cluster it is, as a person asks in a router's container.
func (w *world) instance() string {
	w.t.Helper()
	router := w.Services["router-1"]
	if code, out := w.spec(router, "roomring", "ring", "--wait=2m").Run(w.t, patience); code != 0 {
		w.t.Fatalf("it does not settle: %s", out)
	}
	code, out := w.spec(router, "roomring", "ring", "--json").Run(w.t, patience)
	var ring struct {
		Instance string
		Voters   []string
	}
	if err := json.Unmarshal([]byte(out), &ring); code != 0 || err != nil || ring.Instance == "" || len(ring.Voters) != 5 {
		w.t.Fatalf("roomring ring: code %d, %v, %+v", code, err, ring)
	}
	return ring.Instance
}

// checkTraffic has verify send through nginx, while a shard and a router are replaced as in an upgrade, and the
// cluster's key is changed.
func (w *world) checkTraffic() {
	w.t.Helper()
	place := container.NewNetwork(w.t)
	w.hub.Plug(w.t, place, "front", "172.31.241.99/24")
	verify := container.Spec{Root: w.root, ReadOnly: true, UID: 65532, GID: 65532, Network: place, Env: []string{"PATH=/usr/local/bin"},
		Hosts:  w.addresses["front"]["nginx"].String() + " " + site + "\n",
		Mounts: []container.Mount{{Source: filepath.Join(w.volumes, "certificate/ca.pem"), Target: "/ca.pem", ReadOnly: true}},
		Args: []string{"roomring", "verify", "--url=wss://" + site + ":8443/ws", "--ca=/ca.pem", "--reconnect", "--no-progress",
			"--rooms=20", "--members=4", "--rate=400", "--for=40s"},
	}.Start(w.t)
	for _, name := range []string{"shard-2", "router-1"} {
		if err := w.stop(w.Services[name]); err != nil {
			w.t.Error(err)
		}
		w.start(w.Services[name])
		w.well(w.Services[name])
		if verify.Ended() {
			w.t.Errorf("%s took so long that nobody was there any more", name)
		}
	}
	w.rotateKey()
	if code := verify.Exit(w.t, patience); code != 0 {
		w.t.Errorf("verify: code %d\n%s", code, verify.Output())
	}
	w.t.Logf("verify through nginx, while shard-2 and router-1 were replaced:\n%s", verify.Output())
}

// rotateKey changes the cluster's key as README.md says.
func (w *world) rotateKey() {
	w.t.Helper()
	file := filepath.Join(w.volumes, "keys/cluster.key")
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	code, made := w.spec(w.Services["keys"], "roomring", "key").Run(w.t, patience)
	if code != 0 {
		w.t.Fatalf("roomring key: code %d, %s", code, made)
	}
	older, newer := strings.TrimSpace(string(text)), strings.TrimSpace(made)
	step := 0
	for _, list := range []string{older + "," + newer, newer + "," + older, newer} {
		next := filepath.Join(w.volumes, "keys/next")
		if err := errors.Join(os.WriteFile(next, []byte(list+"\n"), 0o600), os.Chown(next, 65532, 65532), os.Rename(next, file)); err != nil {
			w.t.Fatal(err)
		}
		for name := range w.nodes() {
			w.running[name].Signal(syscall.SIGHUP)
		}
		step++
		for name := range w.nodes() {
			w.eventually(name+" takes the keys", func() error {
				if said := strings.Count(w.running[name].Output(), "cluster keys set"); said != step {
					return fmt.Errorf("it has taken %d of %d", said, step)
				}
				return nil
			})
		}
		if _, out := w.spec(w.Services["router-1"], "roomring", "doctor").Run(w.t, patience); !strings.Contains(out, "voters") || strings.Contains(out, "--cluster-key differs") {
			w.t.Errorf("doctor: %s", out)
		}
	}
}

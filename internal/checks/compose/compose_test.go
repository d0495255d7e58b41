package compose

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomring/roomring/internal/checks"
	"github.com/roomring/roomring/internal/checks/container"
)

func TestMain(m *testing.M) {
	container.Init()
	code := m.Run()
	os.RemoveAll(programDir)
	os.Exit(code)
}

// judgeFiles reads a copy of deploy and judges all that can be without running anything but checkers.
func judgeFiles(t *testing.T, deploy string, files ...string) error {
	t.Helper()
	p, err := load(deploy, nil, files...)
	if err != nil {
		return err
	}
	if err := errors.Join(p.judge(), p.judgeGrafana()); err != nil {
		return err
	}
	if err := p.judgePrograms(t); err != nil {
		return err
	}
	return errors.Join(p.judgePrometheus(t), p.judgeNginx(t), p.judgeTraefik())
}

var (
	plain       = []string{"compose.yaml"}
	withTraefik = []string{"compose.yaml", "traefik.yaml"}
)

func TestCompose(t *testing.T) {
	if err := judgeFiles(t, checks.Copy(t, "deploy"), plain...); err != nil {
		t.Error(err)
	}
}

// TestTraefik: the variant is read and judged. Nothing here can run it.
func TestTraefik(t *testing.T) {
	deploy := checks.Copy(t, "deploy")
	if err := judgeFiles(t, deploy, withTraefik...); err != nil {
		t.Error(err)
	}
	p, err := load(deploy, nil, withTraefik...)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.sorted(nginx)) != 0 || len(p.sorted(traefik)) != 1 {
		t.Error("Traefik is not in nginx's place")
	}
}

// What can be said in .env takes effect.
func TestVariables(t *testing.T) {
	deploy := checks.Copy(t, "deploy")
	p, err := load(deploy, []string{"ROOMRING_VERSION=1.2.3", "HTTPS_PORT=8443", "SITE=chat.example.com", "ALLOW_ORIGIN=https://app.example.com",
		"GRAFANA_PORT=3001", "FRONT_NET=10.9.8"}, plain...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.judge(); err != nil {
		t.Error(err)
	}
	yaml, err := p.MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{ours + ":1.2.3", "VERSION: v1.2.3", `published: "8443"`, "- chat.example.com", "https://app.example.com", `published: "3001"`,
		"10.9.8.0/24", "10.9.8.128/25", "router-1=10.9.8.11", "ipv4_address: 10.9.8.12", "ROOMRING_TRUSTED_PROXIES: 10.9.8.10"} {
		if !strings.Contains(string(yaml), want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(string(yaml), "172.31.") {
		t.Error("the usual network is still there")
	}
}

func TestBrokenCompose(t *testing.T) {
	for _, test := range []struct{ file, old, broken, want string }{
		// What Compose itself refuses.
		{"compose/compose.yaml", "services:\n", "servces:\n", "servces"},
		{"compose/compose.yaml", "    restart: unless-stopped\n", "    restrt: unless-stopped\n", "restrt"},
		{"compose/compose.yaml", "    ports: [\"127.0.0.1:", "    ports: [\"127.0.0.1:x", "Invalid hostPort"},
		{"compose/compose.yaml", "stop_grace_period: 75s", "stop_grace_period: long", "long"},
		{"compose/compose.yaml", "  shard-3: {}\n", "", "shard-3"},
		{"compose/compose.yaml", "  watch: {}\n", "", "watch"},
		{"compose/compose.yaml", "keys: {condition: service_completed_successfully}", "kees: {condition: service_completed_successfully}", "kees"},
		{"compose/compose.yaml", "keys: {condition: service_completed_successfully}", "keys: {condition: done}", "condition"},
		{"compose/compose.yaml", "${SITE:-localhost}", "${SITE:-localhost", "${SITE"},
		// What Docker would do, and nobody wants.
		{"compose/compose.yaml", "nginx:1.28.0-alpine", "nginx:latest", "which release"},
		{"compose/compose.yaml", "context: ../..", "context: ..", "not built from the clone"},
		{"compose/compose.yaml", "  read_only: true\n  cap_drop", "  cap_drop", "root can be written"},
		{"compose/compose.yaml", "  cap_drop: [ALL]\n  security_opt", "  security_opt", "capabilities"},
		{"compose/compose.yaml", "    user: \"65532:65532\"\n    read_only: true\n    cap_drop: [ALL]\n    security_opt: [\"no-new-privileges:true\"]\n    restart: unless-stopped\n    # keys", "    read_only: true\n    cap_drop: [ALL]\n    security_opt: [\"no-new-privileges:true\"]\n    restart: unless-stopped\n    # keys", "cannot read the keys"},
		{"compose/compose.yaml", "../grafana:/etc/alerts:ro", "../alerts:/etc/alerts:ro", "no such file"},
		{"compose/compose.yaml", "./nginx:/etc/roomring:ro", "./nginx:/etc/roomring", "could write"},
		{"compose/compose.yaml", "target: /data, volume: {nocopy: true}", "target: /data", "makes it root's"},
		{"compose/compose.yaml", "[\"read-token:/etc/roomring\"]", "[\"read-token:/run/roomring\"]", "makes it root's"},
		{"compose/compose.yaml", "    read-token: {condition: service_completed_successfully}\n", "", "does not wait for read-token"},
		{"compose/compose.yaml", "      certificate: {condition: service_completed_successfully}\n", "      certificate: {condition: service_started}\n", "does not wait for certificate"},
		{"compose/compose.yaml", "127.0.0.1:${GRAFANA_PORT", "${GRAFANA_PORT", "for all the world"},
		{"compose/compose.yaml", "    networks: [back, watch]\n", "    networks: [back, watch]\n    ports: [\"9090:9090\"]\n", "is published"},
		{"compose/compose.yaml", "    internal: true\n", "", "leads nowhere"},
		{"compose/compose.yaml", "  networks: [back]\n", "  networks: [back, front]\n", "want [back]"},
		{"compose/compose.yaml", "-172.31.241}.11\"}", "-172.31.241}.12\"}", "address \"172.31.241.12\" in front"},
		{"compose/compose.yaml", "-172.31.241}.12\"}", "-172.31.241}.212\"}", "address \"172.31.241.212\" in front"},
		{"compose/compose.yaml", "      router-1: \"${FRONT_NET:-172.31.241}.11\"", "      router-1: \"${FRONT_NET:-172.31.241}.13\"", "nginx knows router-1"},
		{"compose/compose.yaml", "TRUSTED_PROXIES: ${FRONT_NET:-172.31.241}.10", "TRUSTED_PROXIES: ${FRONT_NET:-172.31.241}.0/24", "no proxy"},
		{"compose/compose.yaml", "--advertise=router-1.back", "--advertise=router-1", "its name behind, and there alone"},
		{"compose/compose.yaml", "aliases: [router-2.back]", "aliases: [router-1.back]", "its name behind, and there alone"},
		{"compose/compose.yaml", "--gossip=router-1.back:8002", "--gossip=0.0.0.0:8002", "where others look for it"},
		{"compose/compose.yaml", "--id=shard-2", "--id=shard-1", "its id is"},
		{"compose/compose.yaml", "shard-2:7401,", "shard-2:7400,", "nobody gossips at shard-2:7400"},
		{"compose/compose.yaml", "JOIN: shard-1:7401,shard-2:7401,shard-3:7401", "JOIN: shard-1:7401", "three shards found"},
		{"compose/compose.yaml", "  mem_limit: 1g\n", "", "memory limit of 0"},
		{"compose/compose.yaml", "nofile: {soft: 16384, hard: 16384}", "nproc: 100", "left to chance"},
		{"compose/compose.yaml", "mode=0700,size=64m", "mode=0700", "grows for ever"},
		{"compose/compose.yaml", "test: [CMD, roomring, health, --ready]", "test: [CMD, roomring, health]", "not its readiness"},
		{"compose/compose.yaml", "test: [CMD, wget, -q, -O, /dev/null, \"http://127.0.0.1:9090/-/ready\"]", "test: [CMD-SHELL, exit 0]", "nobody asks"},
		// What our programs would refuse, or not hear.
		{"compose/compose.yaml", "--id=shard-1,", "--id=shard-1, --shard,", "unknown flag --shard"},
		{"compose/compose.yaml", "ROOMRING_AUTH: none", "ROOMRING_AUTH: nobody", "none is the only one"},
		{"compose/compose.yaml", "  ROOMRING_AUTH: none\n", "", "say --auth none"},
		{"compose/compose.yaml", "  ROOMRING_CLUSTER_KEY_FILE: /etc/roomring/cluster.key\n", "", "cluster key must protect it"},
		{"compose/compose.yaml", "ROOMRING_CLUSTER_KEY_FILE: /etc/roomring/cluster.key", "ROOMRING_CLUSTER_KEY_FILE: /etc/roomring/key", "/key: no such file"},
		{"compose/compose.yaml", "ROOMRING_ADMIN_READ_TOKEN_FILE:", "ROOMRING_ADMIN_READTOKEN_FILE:", "is not heard"},
		{"compose/compose.yaml", "stop_grace_period: 75s", "stop_grace_period: 60s", "drains for up to 1m0s"},
		{"compose/compose.yaml", "stop_grace_period: 25s", "stop_grace_period: 10s", "drains for up to 10s"},
		{"compose/compose.yaml", "command: [roomring, cert, --dir", "command: [roomring, cert, --directory", "unknown flag --directory"},
		{"compose/compose.yaml", "--out, /etc/roomring/admin.token]", "--out, /etc/roomring/other.token]", "admin.token: no such file"},
		// What the others would refuse.
		{"compose/prometheus/prometheus.yaml", "scrape_configs:", "scrape_config:", "scrape_config"},
		{"compose/prometheus/prometheus.yaml", "- shard-3:7402", "- shard-4:7402", "targets"},
		{"compose/prometheus/prometheus.yaml", "- router-2:8001", "- router-2:8000", "targets"},
		{"compose/prometheus/prometheus.yaml", "/run/roomring/read.token", "/run/read.token", "read.token"},
		{"compose/prometheus/prometheus.yaml", "/etc/alerts/alerts.yaml", "/etc/alerts/alarms.yaml", "alarms.yaml"},
		{"compose/prometheus/prometheus.yaml", "job_name: roomring", "job_name: chat", "begins with roomring"},
		{"compose/grafana/datasources/prometheus.yaml", "http://prometheus:9090", "http://prometheus:9091", "data source"},
		{"compose/grafana/datasources/prometheus.yaml", "isDefault:", "default:", "unknown field"},
		{"compose/grafana/dashboards/roomring.yaml", "path: /etc/dashboards", "path: /etc/grafana", "no dashboard"},
		{"compose/compose.yaml", "HOME_DASHBOARD_PATH: /etc/dashboards/dashboard.json", "HOME_DASHBOARD_PATH: /etc/dashboards/roomring.json", "no dashboard"},
		{"grafana/dashboard.json", "\"panels\": [", "\"panels\": {", "no dashboard"},
		{"compose/nginx/nginx.conf", "least_conn;", "least_con;", "unknown directive"},
		{"compose/nginx/nginx.conf", "/run/tls/site.pem", "/run/tls/other.pem", "other.pem"},
		{"compose/nginx/nginx.conf", "server router-2:8000", "server router-2:8001", "router-2:8000"},
		{"compose/nginx/nginx.conf", "least_conn;", "least_conn; server router-5:8000;", "host not found"},
		{"compose/nginx/nginx.conf", "listen 8443", "listen 9443", "nobody listens"},
		{"compose/nginx/nginx.conf", "worker_rlimit_nofile 131072", "worker_rlimit_nofile 262144", "descriptors"},
		{"compose/nginx/nginx.conf", "daemon off;", "", "in the foreground"},
		{"compose/nginx/nginx.conf", "pid /tmp/nginx.pid", "pid /run/nginx.pid", "cannot write /run/nginx.pid"},
	} {
		deploy := checks.Copy(t, "deploy")
		checks.Broken(t, filepath.Join(deploy, test.file), test.old, test.broken)
		if err := judgeFiles(t, deploy, plain...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q for %q: %v\nwant %s", test.file, test.broken, test.old, err, test.want)
		}
	}
}

func TestBrokenTraefik(t *testing.T) {
	for _, test := range []struct{ file, old, broken, want string }{
		{"traefik.yaml", "  nginx: !reset null\n", "", "port 443 is that of nginx"},
		{"traefik.yaml", "Path(`/ws`)", "Paths(`/ws`)", "Paths"},
		{"traefik.yaml", "|| PathPrefix", "| PathPrefix", "rule"},
		{"traefik.yaml", "Path(`/ws`) ||", "Path(`/ws) ||", "rule"},
		{"traefik.yaml", "routers.roomring.entrypoints: clients", "routers.roomring.entrypoints: websecure", "entry point websecure"},
		{"traefik.yaml", "routers.roomring.service: roomring", "routers.roomring.service: rooms", "service rooms"},
		{"traefik.yaml", "routers.roomring.tls:", "routers.roomring.https:", "unknown label"},
		{"traefik.yaml", "loadbalancer.server.port: \"8000\"", "loadbalancer.server.port: \"8001\"", "port 8001"},
		{"traefik.yaml", "healthcheck.interval: 2s", "healthcheck.interval: often", "often"},
		{"traefik.yaml", "roomring_front", "front", "network front"},
		{"traefik.yaml", "  router-2: *traefik\n", "", "router-2: no labels"},
		{"traefik.yaml", "cap_add: [DAC_OVERRIDE]", "cap_add: [SYS_ADMIN]", "SYS_ADMIN"},
		{"traefik.yaml", ".10\"}", ".9\"}", "no proxy"},
		{"traefik/tls.yaml", "/run/tls/site.pem", "/run/tls/cert.pem", "cert.pem"},
		{"traefik/tls.yaml", "defaultCertificate", "certificate", "unknown field"},
	} {
		deploy := checks.Copy(t, "deploy")
		checks.Broken(t, filepath.Join(deploy, "compose", test.file), test.old, test.broken)
		if err := judgeFiles(t, deploy, withTraefik...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q for %q: %v\nwant %s", test.file, test.broken, test.old, err, test.want)
		}
	}
}

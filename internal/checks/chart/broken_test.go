package chart

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomring/roomring/internal/checks"
)

// TestBroken: each of these breaks in a copy of the chart is found.
func TestBroken(t *testing.T) {
	const sts, deploy = "templates/shard-statefulset.yaml", "templates/router-deployment.yaml"
	for _, c := range []struct{ file, old, broken, says string }{
		{sts, "podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady", "the first shard waits"},
		{sts, "podManagementPolicy", "podManagmentPolicy", "unknown field"},
		{sts, "type: RollingUpdate", "type: OnDelete", "not updated one by one"},
		{sts, "min 3 .Values", "max 3 .Values", "shards found a cluster of"},
		{sts, `add .Values.shard.drainSeconds 30`, `sub .Values.shard.drainSeconds 1`, "too short"},
		{sts, "--link=:7400", "--link=:7500", "port link is 7400"},
		{sts, "containerPort: 7401, protocol: UDP", "containerPort: 7402, protocol: UDP", "no port for packets"},
		{sts, "path: /readyz", "path: /healthz", "readiness probe"},
		{sts, "{ name: data, mountPath: /data }", "{ name: date, mountPath: /data }", "mounted and not there"},
		{sts, "--data-dir=/data", "--data-dir=/var/data", "in no volume"},
		{sts, "serviceName: {{ $name }}", "serviceName: shards", "no headless Service"},
		{sts, `            {{- include "roomring.commonArgs" . | nindent 12 }}`, `            {{- include "roomring.commonArgs" . | nindent 10 }}`, "error"},
		{deploy, "sleep: { seconds: {{ .Values.router.preStopSeconds }} }", "sleep: { seconds: 0 }", "preStop does not sleep"},
		{deploy, "maxUnavailable: 0", "maxUnavailable: 1", "before the next one is there"},
		{deploy, "--tls-cert=/etc/roomring/tls/tls.crt", "--tls-cert=/etc/roomring/tls/cert.pem", "in no volume"},
		{deploy, "path: api-keys", "path: keys", "in no volume"},
		{deploy, "{{- if not .Values.router.autoscaling.enabled }}", "{{- if true }}", "said twice"},
		{"templates/_helpers.tpl", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "token of the service account"},
		{"templates/_helpers.tpl", "enableServiceLinks: false", "enableServiceLinks: true", "variables of services"},
		{"templates/_helpers.tpl", "fieldPath: status.podIP", "fieldPath: status.hostIP", "--advertise"},
		{"templates/_helpers.tpl", "value: /etc/roomring/secrets/admin-token", "value: /etc/roomring/admin-token", "in no volume"},
		{"templates/_helpers.tpl", "-shard:7401", "-shards:7401", "headless Service"},
		{"templates/_helpers.tpl", "-shard:7401", "-shard:7400", "shards gossip on"},
		{"templates/_helpers.tpl", "{ key: ca.crt, path: ca.crt }", "{ key: ca.crt, path: ca.pem }", "in no volume"},
		{"templates/_helpers.tpl", "defaultMode: 0440", "defaultMode: 0444", "who can read it?"},
		{"templates/_helpers.tpl", "trunc 36", "trunc 60", "too long"},
		{"templates/_helpers.tpl", "path: /healthz, port: admin", "path: /healthz, port: 8001", "startup probe"},
		{"templates/shard-service.yaml", "publishNotReadyAddresses: true", "publishNotReadyAddresses: false", "headless Service"},
		{"templates/shard-service.yaml", "clusterIP: None", "", "headless Service"},
		{"templates/shard-service.yaml", "component: shard", "component: shards", "does not select the shards"},
		{"templates/router-service.yaml", "sessionAffinity: None", "sessionAffinity: ClientIP", "sticky"},
		{"templates/router-service.yaml", "targetPort: client", "targetPort: http", "has no port http"},
		{"templates/admin-service.yaml", `roomring/node: "true"`, "app.kubernetes.io/component: shard", "monitor: it finds"},
		{"templates/shard-pdb.yaml", "maxUnavailable: 1", "maxUnavailable: 2", "both copies"},
		{"templates/shard-pdb.yaml", "maxUnavailable: 1", "maxUnavailable: 1\n  unhealthyPodEvictionPolicy: AlwaysAllow", "both copies"},
		{"templates/router-pdb.yaml", "      app.kubernetes.io/component: router", "", "budgets"},
		{"templates/router-hpa.yaml", "name: {{ include \"roomring.fullname\" $ }}-router", "name: {{ include \"roomring.fullname\" $ }}", "it scales"},
		{"templates/router-hpa.yaml", "{ type: Pods, value: 1,", "{ type: Pods, value: 4,", "too fast"},
		{"templates/router-hpa.yaml", "name: roomring_router_conns", "name: roomring_conns", "does not look at conns"},
		{"templates/networkpolicy.yaml", "protocol: UDP", "protocol: TCP", "does not get to gossip-udp"},
		{"templates/networkpolicy.yaml", `"link" 8003`, `"link" 8004`, "does not get to link"},
		{"templates/networkpolicy.yaml", "- { port: 8000, protocol: TCP }", "- { port: 8000, protocol: TCP }\n        - { port: 8001, protocol: TCP }", "a stranger gets to admin"},
		{"templates/networkpolicy.yaml", "port: 8000", "port: 80", "a stranger gets to client: false"},
		{"templates/router-ingress.yaml", "port: { name: client }", "port: { name: http }", "ingress leads to"},
		{"templates/router-httproute.yaml", "{{ $.Values.router.service.port }}", "8001", "route leads to"},
		{"templates/servicemonitor.yaml", "port: admin", "port: metrics", "no port metrics"},
		{"templates/servicemonitor.yaml", "targetLabel: job", "targetLabel: jobs", "not taken for a cluster"},
		{"templates/prometheusrule.yaml", "files/alerts.yaml", "files/rules.yaml", "no alert"},
		{"templates/secret.yaml", "  admin-token:", "  token:", "has no admin-token"},
		{"templates/link-certificate.yaml", "renewBefore:", "renewAfter:", "unknown field"},
		{"templates/serviceaccount.yaml", "kind: ServiceAccount", "kind: serviceAccount", "nobody expects"},
		{"templates/NOTES.txt", ".Values.router.autoscaling.minReplicas", ".Values.router.autoscaling.least", "no entry for key"},
		{"values.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "as root"},
		{"values.yaml", "drop: [ALL]", "drop: [NET_RAW]", "capabilities"},
		{"values.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "write its image"},
		{"values.yaml", "\n  minCopies: 1", "\n  minCopys: 1", "additional properties"},
	} {
		dir := checks.Copy(t, chartDir)
		checks.Broken(t, filepath.Join(dir, c.file), c.old, c.broken)
		found := ""
		for _, values := range examples(t) {
			if err := judge(t, install{dir: dir, name: strings.Repeat("long-name-", 5) + "abc", values: values}); err != nil {
				found += err.Error() + "\n"
			}
		}
		if !strings.Contains(found, c.says) {
			t.Errorf("%s with %q: want %q, found %q", c.file, c.broken, c.says, found[:min(len(found), 400)])
		}
	}
}

// TestBrokenLint: helm lint looks at the chart.
func TestBrokenLint(t *testing.T) {
	for _, c := range []struct{ file, old, broken string }{
		{"Chart.yaml", "version: 0.1.0", "version: one"},
		{"Chart.yaml", "apiVersion: v2", "apiVersion: v9"},
		{"templates/shard-pdb.yaml", "policy/v1", "policy/v1beta1"},
		{"templates/shard-service.yaml", "{{ include \"roomring.fullname\" . }}", "{{ include \"roomring.fullname\" }}"},
		{"values.yaml", "replicas: 3", "replicas: many"},
	} {
		dir := checks.Copy(t, chartDir)
		checks.Broken(t, filepath.Join(dir, c.file), c.old, c.broken)
		if len(lintChart(dir, nil)) == 0 {
			t.Errorf("%s with %q passes", c.file, c.broken)
		}
	}
}

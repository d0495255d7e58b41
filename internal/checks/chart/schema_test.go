package chart

import (
	"strings"
	"testing"
)

// TestSchema: values that are wrong are refused, and the complaint says where.
func TestSchema(t *testing.T) {
	for _, c := range []struct{ values, says string }{
		{"shards: 3", "additional properties 'shards' not allowed"},
		{"shard: {replica: 3}", "'/shard'"},
		{"shard: {replicas: 0}", "'/shard/replicas'"},
		{"shard: {replicas: three}", "'/shard/replicas'"},
		{"shard: {followers: 2}", "'/shard/followers'"},
		{"shard: {minCopies: 3}", "'/shard/minCopies'"},
		{"shard: {drainSeconds: 60s}", "'/shard/drainSeconds'"},
		{"shard: {persistence: {accessModes: [ReadWriteMany]}}", "'/shard/persistence/accessModes/0'"},
		{"shard: {persistence: {size: a lot}}", "'/shard/persistence/size'"},
		{"shard: {extraArgs: [history-age=10m]}", "'/shard/extraArgs/0'"},
		{"shard: {extraEnv: {A: b}}", "'/shard/extraEnv'"},
		{"shard: {spread: {hosts: Always}}", "'/shard/spread/hosts'"},
		{"shard: {resources: {limit: {memory: 1Gi}}}", "'/shard/resources'"},
		{"router: {auth: token}", "'/router/auth'"},
		{"router: {service: {type: ExternalName}}", "'/router/service/type'"},
		{"router: {service: {port: 70000}}", "'/router/service/port'"},
		{"router: {preStopSeconds: 0}", "'/router/preStopSeconds'"},
		{"router: {maxUnavailable: 0}", "'/router/maxUnavailable'"},
		{"router: {maxUnavailable: some}", "'/router/maxUnavailable'"},
		{"router: {trustedProxies: [the balancer]}", "'/router/trustedProxies/0'"},
		{"router: {allowOrigin: [app.example.com]}", "'/router/allowOrigin/0'"},
		{"router: {allowOrigin: https://app.example.com}", "'/router/allowOrigin'"},
		{"router: {ingress: {hosts: ['https://chat.example.com']}}", "'/router/ingress/hosts/0'"},
		{"router: {autoscaling: {scaleDownAfterSeconds: 7200}}", "'/router/autoscaling/scaleDownAfterSeconds'"},
		{"image: {digest: latest}", "'/image/digest'"},
		{"image: {tag: 'a b'}", "'/image/tag'"},
		{"secrets: {clusterKey: MDEy}", "'/secrets'"},
		{"linkTLS: {enabled: true}", "'/linkTLS'"},
		{"metrics: {serviceMonitor: {enabled: yes please}}", "'/metrics/serviceMonitor/enabled'"},
		{"metrics: {serviceMonitor: {interval: 15}}", "'/metrics/serviceMonitor/interval'"},
		{"clusterName: my cluster", "'/clusterName'"},
		{"fullnameOverride: Chat", "'/fullnameOverride'"},
		// What the schema cannot know, templates say.
		{"router: {autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 4}}", "maxReplicas is below minReplicas"},
		{"router: {autoscaling: {enabled: true, connsPerPod: 15000}}", "full at router.maxConns"},
		{"router: {proxyProtocol: true}", "router.trustedProxies"},
		{"router: {ingress: {enabled: true}}", "which names do clients connect to?"},
		{"router: {httpRoute: {enabled: true}}", "which Gateway do clients connect to?"},
		{"linkTLS: {certManager: {enabled: true}}", "which issuer"},
		{"linkTLS: {existingSecret: mine, certManager: {enabled: true, issuerRef: {name: i}}}", "not both"},
		{"shard: {followers: 0, minCopies: 2}", "minCopies"},
	} {
		_, err := render(t, install{values: parseValues(t, c.values)})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.values, err, c.says)
		}
	}
	if _, err := render(t, install{values: parseValues(t, "global: {imageRegistry: x}\npodSecurityContext: {runAsUser: null, fsGroup: null}")}); err != nil {
		t.Errorf("what others give to all charts is refused: %v", err)
	}
}

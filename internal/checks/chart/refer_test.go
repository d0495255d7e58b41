package chart

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// workload is a StatefulSet or a Deployment.
type workload struct {
	name     string
	role     string // shard or router
	selector *meta.LabelSelector
	pod      *core.PodTemplateSpec
	claims   []core.PersistentVolumeClaim
}

func (o *objects) workloads() (all []workload) {
	for _, s := range o.StatefulSets {
		all = append(all, workload{s.Name, "shard", s.Spec.Selector, &s.Spec.Template, s.Spec.VolumeClaimTemplates})
	}
	for _, d := range o.Deployments {
		all = append(all, workload{d.Name, "router", d.Spec.Selector, &d.Spec.Template, nil})
	}
	return all
}

// check returns what does not fit together.
func (o *objects) check() (wrong []error) {
	if len(o.StatefulSets) != 1 || len(o.Deployments) != 1 {
		return []error{fmt.Errorf("%d StatefulSets and %d Deployments, want one each", len(o.StatefulSets), len(o.Deployments))}
	}
	for _, w := range o.workloads() {
		for _, err := range slices.Concat(w.checkPod(), o.checkEnd(w), o.checkPorts(w), o.checkVolumes(w), o.checkArgs(w), o.checkPolicy(w)) {
			wrong = append(wrong, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	return slices.Concat(wrong, o.checkNames(), o.checkFounding(), o.checkServices(), o.checkBudgets(), o.checkScalers(),
		o.checkRoutes(), o.checkMonitors(), o.checkRules(), o.checkSecrets())
}

// checkNames: objects of a kind have different names, and names fit where Kubernetes puts them.
func (o *objects) checkNames() (wrong []error) {
	seen := map[string]bool{}
	for _, x := range o.all {
		key := fmt.Sprintf("%T %s", x, x.GetName())
		if seen[key] {
			wrong = append(wrong, fmt.Errorf("two of %s", key))
		}
		seen[key] = true
		for _, problem := range validation.IsDNS1123Label(x.GetName()) {
			wrong = append(wrong, fmt.Errorf("%s: %s", key, problem))
		}
		wrong = append(wrong, checkLabels(key, x.GetLabels())...)
	}
	for _, w := range o.workloads() {
		wrong = append(wrong, checkLabels(w.name, w.pod.Labels)...)
	}
	// The label controller-revision-hash is the name and a hash of ten characters, a pod's name is an id.
	if name := o.StatefulSets[0].Name; len(name)+1+10 > validation.LabelValueMaxLength {
		wrong = append(wrong, fmt.Errorf("StatefulSet %s: its pods' labels are too long", name))
	}
	return wrong
}

func checkLabels(of string, all map[string]string) (wrong []error) {
	for key, value := range all {
		for _, problem := range slices.Concat(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)) {
			wrong = append(wrong, fmt.Errorf("%s: label %s=%s: %s", of, key, value, problem))
		}
	}
	return wrong
}

// checkPod: the restricted Pod Security Standard, and what else a pod of ours must say.
func (w *workload) checkPod() (wrong []error) {
	want := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	selector, err := meta.LabelSelectorAsSelector(w.selector)
	want(err == nil && !selector.Empty() && selector.Matches(labels.Set(w.pod.Labels)), "the selector does not match the pod's labels")
	spec, c := &w.pod.Spec, &w.pod.Spec.Containers[0]
	want(isFalse(spec.AutomountServiceAccountToken), "the token of the service account is mounted")
	want(isFalse(spec.EnableServiceLinks), "variables of services could be taken for settings")
	want(spec.SecurityContext != nil && isTrue(spec.SecurityContext.RunAsNonRoot), "it may run as root")
	want(spec.SecurityContext != nil && spec.SecurityContext.SeccompProfile != nil && spec.SecurityContext.SeccompProfile.Type == core.SeccompProfileTypeRuntimeDefault, "no seccomp profile")
	s := c.SecurityContext
	want(s != nil && isFalse(s.AllowPrivilegeEscalation) && isTrue(s.ReadOnlyRootFilesystem), "it may become more than it is, or write its image")
	want(s != nil && s.Capabilities != nil && slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) && len(s.Capabilities.Add) == 0, "it has capabilities")
	want(!c.Resources.Requests.Memory().IsZero(), "no memory is requested")
	for _, spread := range spec.TopologySpreadConstraints {
		selector, err := meta.LabelSelectorAsSelector(spread.LabelSelector)
		want(err == nil && !selector.Empty() && selector.Matches(labels.Set(w.pod.Labels)), "it is spread over %s with others", spread.TopologyKey)
	}
	want(len(spec.TopologySpreadConstraints) == 2, "it is not spread over zones and nodes")
	return wrong
}

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

// lastWords is how long a node may take to end once it has drained: for its vote, its clients' last
// acknowledgements, closing handshakes and the goodbye.
const lastWords = 10 * time.Second

// checkEnd: whoever is told to go has the time to do so.
func (o *objects) checkEnd(w workload) (wrong []error) {
	drain, err := time.ParseDuration(flags(w.pod)["drain-time"])
	if err != nil {
		return []error{fmt.Errorf("--drain-time: %w", err)}
	}
	before := time.Duration(0)
	if hook := w.pod.Spec.Containers[0].Lifecycle; hook != nil && hook.PreStop != nil && hook.PreStop.Sleep != nil {
		before = time.Duration(hook.PreStop.Sleep.Seconds) * time.Second
	}
	if w.role == "router" && before == 0 {
		wrong = append(wrong, errors.New("the port closes while clients are still sent to it: preStop does not sleep"))
	}
	if w.pod.Spec.TerminationGracePeriodSeconds == nil {
		return append(wrong, errors.New("no grace period"))
	}
	if grace := time.Duration(*w.pod.Spec.TerminationGracePeriodSeconds) * time.Second; grace < before+drain+lastWords {
		wrong = append(wrong, fmt.Errorf("a grace of %s is too short for %s of preStop, %s of drain and %s of last words", grace, before, drain, lastWords))
	}
	return wrong
}

// flags are the container's arguments by name.
func flags(pod *core.PodTemplateSpec) map[string]string {
	all := map[string]string{}
	for _, arg := range pod.Spec.Containers[0].Args {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		all[name] = value
	}
	return all
}

// listens are the flags whose ports others reach, and whether by packets, too.
var listens = map[string]map[string]string{
	"shard":  {"link": "link", "gossip": "gossip", "admin": "admin"},
	"router": {"link": "link", "gossip": "gossip", "admin": "admin", "listen": "client"},
}

// checkPorts: what the program listens on has a name, and the probes ask one of these.
func (o *objects) checkPorts(w workload) (wrong []error) {
	c, told := &w.pod.Spec.Containers[0], flags(w.pod)
	for flag, port := range listens[w.role] {
		number := told[flag][strings.LastIndex(told[flag], ":")+1:]
		if got := portOf(c, port); strconv.Itoa(int(got)) != number {
			wrong = append(wrong, fmt.Errorf("--%s=%s, and port %s is %d", flag, told[flag], port, got))
		}
	}
	if portOf(c, "gossip-udp") != portOf(c, "gossip") {
		wrong = append(wrong, errors.New("gossip has no port for packets"))
	}
	for _, probe := range []struct {
		name  string
		probe *core.Probe
		path  string
	}{{"startup", c.StartupProbe, "/healthz"}, {"liveness", c.LivenessProbe, "/healthz"}, {"readiness", c.ReadinessProbe, "/readyz"}} {
		if p := probe.probe; p == nil || p.HTTPGet == nil || p.HTTPGet.Path != probe.path || p.HTTPGet.Port != intstr.FromString("admin") {
			wrong = append(wrong, fmt.Errorf("the %s probe does not ask %s at the admin port", probe.name, probe.path))
		}
	}
	return wrong
}

func portOf(c *core.Container, name string) int32 {
	for _, p := range c.Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}

// checkVolumes: what is mounted is there, what is there is mounted, and the files that flags name are in it.
func (o *objects) checkVolumes(w workload) (wrong []error) {
	holds := map[string][]string{} // by volume: its files; nil: anything
	for _, v := range w.pod.Spec.Volumes {
		files := []string{}
		for _, item := range v.Secret.Items {
			files = append(files, item.Path)
		}
		holds[v.Name] = files
		if v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440 {
			wrong = append(wrong, fmt.Errorf("volume %s: who can read it?", v.Name))
		}
	}
	for _, claim := range w.claims {
		holds[claim.Name] = nil
	}
	mounted := map[string]string{}
	for _, m := range w.pod.Spec.Containers[0].VolumeMounts {
		if _, there := holds[m.Name]; !there {
			wrong = append(wrong, fmt.Errorf("%s is mounted and not there", m.Name))
		}
		mounted[m.Name] = m.MountPath
	}
	for name := range holds {
		if mounted[name] == "" {
			wrong = append(wrong, fmt.Errorf("volume %s is not mounted", name))
		}
	}
	named := flags(w.pod)
	for _, e := range w.pod.Spec.Containers[0].Env {
		named[e.Name] = e.Value
	}
	for flag, value := range named {
		if strings.HasPrefix(value, "/") && !slices.ContainsFunc(slices.Collect(maps.Keys(mounted)), func(volume string) bool {
			files := holds[volume]
			return files == nil && value == mounted[volume] || path.Dir(value) == mounted[volume] && slices.Contains(files, path.Base(value))
		}) {
			wrong = append(wrong, fmt.Errorf("%s=%s is in no volume", flag, value))
		}
	}
	return wrong
}

// checkArgs: variables in them are set before, and seeds are a Service that has the shards.
func (o *objects) checkArgs(w workload) (wrong []error) {
	set := map[string]string{}
	for _, e := range w.pod.Spec.Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			set[e.Name] = e.ValueFrom.FieldRef.FieldPath
		}
	}
	told := flags(w.pod)
	for flag, want := range map[string]string{"id": "metadata.name", "advertise": "status.podIP"} {
		if name := strings.TrimSuffix(strings.TrimPrefix(told[flag], "$("), ")"); set[name] != want {
			wrong = append(wrong, fmt.Errorf("--%s=%s is not the pod's %s", flag, told[flag], want))
		}
	}
	host, port, _ := strings.Cut(told["join"], ":")
	seeds := o.service(host)
	if seeds == nil || seeds.Spec.ClusterIP != core.ClusterIPNone || !seeds.Spec.PublishNotReadyAddresses {
		return append(wrong, fmt.Errorf("--join=%s: want a headless Service that has shards which are not ready", told["join"]))
	}
	pod := o.StatefulSets[0].Spec.Template
	if !matches(seeds.Spec.Selector, pod.Labels) {
		wrong = append(wrong, fmt.Errorf("--join=%s: the Service does not select the shards", told["join"]))
	}
	if got := portOf(&pod.Spec.Containers[0], "gossip"); strconv.Itoa(int(got)) != port {
		wrong = append(wrong, fmt.Errorf("--join=%s: shards gossip on %d", told["join"], got))
	}
	return wrong
}

func (o *objects) service(name string) *core.Service {
	for _, s := range o.Services {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func matches(selector, set map[string]string) bool {
	return len(selector) > 0 && labels.SelectorFromSet(selector).Matches(labels.Set(set))
}

// checkPolicy: where there are policies, nodes reach each other, and strangers only the client port.
func (o *objects) checkPolicy(to workload) (wrong []error) {
	if len(o.NetworkPolicies) == 0 {
		return nil
	}
	ports := to.pod.Spec.Containers[0].Ports
	for _, from := range o.workloads() {
		for _, port := range ports {
			if port.Name != "client" && !o.allowed(to.pod.Labels, from.pod.Labels, port) {
				wrong = append(wrong, fmt.Errorf("%s does not get to %s", from.name, port.Name))
			}
		}
	}
	for _, port := range ports {
		if got := o.allowed(to.pod.Labels, labels.Set{"app": "stranger"}, port); got != (port.Name == "client") {
			wrong = append(wrong, fmt.Errorf("a stranger gets to %s: %v", port.Name, got))
		}
	}
	return wrong
}

// allowed reports whether a pod of this namespace with the labels from gets to a port of one with the
// labels to.
func (o *objects) allowed(to, from labels.Set, port core.ContainerPort) bool {
	selected := false
	for _, p := range o.NetworkPolicies {
		if selector, err := meta.LabelSelectorAsSelector(&p.Spec.PodSelector); err != nil || !selector.Matches(to) {
			continue
		}
		selected = true
		for _, rule := range p.Spec.Ingress {
			open := slices.ContainsFunc(rule.Ports, func(r networking.NetworkPolicyPort) bool {
				return r.Port != nil && r.Port.IntVal == port.ContainerPort && r.Protocol != nil && *r.Protocol == port.Protocol
			})
			comes := len(rule.From) == 0 || slices.ContainsFunc(rule.From, func(peer networking.NetworkPolicyPeer) bool { return isPeer(peer, from) })
			if open && comes {
				return true
			}
		}
	}
	return !selected
}

func isPeer(peer networking.NetworkPolicyPeer, from labels.Set) bool {
	if peer.IPBlock != nil {
		return peer.IPBlock.CIDR == "0.0.0.0/0"
	}
	selector, err := meta.LabelSelectorAsSelector(peer.PodSelector)
	return err == nil && peer.NamespaceSelector == nil && selector.Matches(from)
}

// checkFounding: enough shards start at once to found a cluster, and are updated one by one.
func (o *objects) checkFounding() (wrong []error) {
	s, told := o.StatefulSets[0], flags(&o.StatefulSets[0].Spec.Template)
	expect, err := strconv.Atoi(told["bootstrap-expect"])
	if err != nil || s.Spec.Replicas == nil || expect < 1 || expect > int(*s.Spec.Replicas) || expect < min(3, int(*s.Spec.Replicas)) {
		wrong = append(wrong, fmt.Errorf("%s shards found a cluster of %v", told["bootstrap-expect"], s.Spec.Replicas))
	}
	if s.Spec.PodManagementPolicy != "Parallel" {
		wrong = append(wrong, errors.New("the first shard waits for the second, which is not started before the first is ready"))
	}
	if s.Spec.UpdateStrategy.Type != "RollingUpdate" || s.Spec.UpdateStrategy.RollingUpdate != nil {
		wrong = append(wrong, errors.New("shards are not updated one by one"))
	}
	if service := o.service(s.Spec.ServiceName); service == nil || service.Spec.ClusterIP != core.ClusterIPNone {
		wrong = append(wrong, fmt.Errorf("StatefulSet %s has no headless Service", s.Name))
	}
	if (told["data-dir"] != "") != (len(s.Spec.VolumeClaimTemplates) == 1) {
		wrong = append(wrong, fmt.Errorf("--data-dir=%s with %d claims", told["data-dir"], len(s.Spec.VolumeClaimTemplates)))
	}
	if u := o.Deployments[0].Spec.Strategy.RollingUpdate; u == nil || u.MaxUnavailable == nil || u.MaxUnavailable.IntVal != 0 || u.MaxSurge == nil || u.MaxSurge.IntVal < 1 {
		wrong = append(wrong, errors.New("a router goes before the next one is there"))
	}
	return wrong
}

// checkServices: they select pods, and lead to ports which these have.
func (o *objects) checkServices() (wrong []error) {
	for _, s := range o.Services {
		selected := 0
		for _, w := range o.workloads() {
			if !matches(s.Spec.Selector, w.pod.Labels) {
				continue
			}
			selected++
			for _, port := range s.Spec.Ports {
				c := &w.pod.Spec.Containers[0]
				to := portOf(c, port.TargetPort.StrVal)
				if to == 0 {
					wrong = append(wrong, fmt.Errorf("service %s: %s has no port %s", s.Name, w.name, port.TargetPort.StrVal))
				}
			}
		}
		for _, p := range o.Pods {
			if matches(s.Spec.Selector, p.Labels) {
				wrong = append(wrong, fmt.Errorf("service %s selects %s", s.Name, p.Name))
			}
		}
		if selected == 0 {
			wrong = append(wrong, fmt.Errorf("service %s selects nothing", s.Name))
		}
		if s.Spec.SessionAffinity != "" && s.Spec.SessionAffinity != core.ServiceAffinityNone {
			wrong = append(wrong, fmt.Errorf("service %s is sticky", s.Name))
		}
	}
	return wrong
}

// checkBudgets: one shard at a time, and each budget for pods of one workload.
func (o *objects) checkBudgets() (wrong []error) {
	for _, w := range o.workloads() {
		budgets := 0
		for _, b := range o.Budgets {
			selector, err := meta.LabelSelectorAsSelector(b.Spec.Selector)
			if err != nil || !selector.Matches(labels.Set(w.pod.Labels)) {
				continue
			}
			budgets++
			if w.role == "shard" && (b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntVal != 1 || b.Spec.MinAvailable != nil || b.Spec.UnhealthyPodEvictionPolicy != nil) {
				wrong = append(wrong, fmt.Errorf("%s: both copies of a room may be evicted", w.name))
			}
		}
		if budgets != 1 { // two that select a pod forbid every eviction
			wrong = append(wrong, fmt.Errorf("%s has %d budgets", w.name, budgets))
		}
	}
	return wrong
}

func (o *objects) checkScalers() (wrong []error) {
	d := o.Deployments[0]
	if (d.Spec.Replicas == nil) != (len(o.Scalers) == 1) {
		wrong = append(wrong, errors.New("the number of routers is said twice, or never"))
	}
	for _, h := range o.Scalers {
		to := h.Spec.ScaleTargetRef
		if to.APIVersion != "apps/v1" || to.Kind != "Deployment" || to.Name != d.Name {
			wrong = append(wrong, fmt.Errorf("autoscaler: it scales %v", to))
		}
		if len(h.Spec.Metrics) != 1 || h.Spec.Metrics[0].Pods == nil || h.Spec.Metrics[0].Pods.Metric.Name != "roomring_router_conns" ||
			h.Spec.Metrics[0].Pods.Target.AverageValue.IsZero() {
			wrong = append(wrong, errors.New("autoscaler: it does not look at conns"))
		}
		b := h.Spec.Behavior
		if b == nil || b.ScaleDown == nil || b.ScaleDown.StabilizationWindowSeconds == nil || len(b.ScaleDown.Policies) != 1 || b.ScaleDown.Policies[0].Value != 1 || b.ScaleDown.Policies[0].PeriodSeconds > 1800 {
			wrong = append(wrong, errors.New("autoscaler: routers go too fast"))
		}
	}
	return wrong
}

// checkRoutes: what leads clients here leads to the Service of the routers.
func (o *objects) checkRoutes() (wrong []error) {
	lead := func(kind, name string, port networking.ServiceBackendPort) {
		s := o.service(name)
		if s == nil || !slices.ContainsFunc(s.Spec.Ports, func(p core.ServicePort) bool {
			return p.Name == "client" && (port.Name == p.Name || port.Number == p.Port)
		}) {
			wrong = append(wrong, fmt.Errorf("%s leads to %s %v", kind, name, port))
		}
	}
	for _, in := range o.Ingresses {
		for _, rule := range in.Spec.Rules {
			for _, p := range rule.HTTP.Paths {
				lead("ingress", p.Backend.Service.Name, p.Backend.Service.Port)
			}
		}
	}
	for _, r := range o.Routes {
		for _, rule := range r.Spec.Rules {
			for _, b := range rule.BackendRefs {
				lead("route", b.Name, networking.ServiceBackendPort{Number: b.Port})
			}
		}
	}
	return wrong
}

// checkMonitors: Prometheus finds every node once, and calls the cluster what the alerts look for.
func (o *objects) checkMonitors() (wrong []error) {
	for _, m := range o.Monitors {
		selector, err := meta.LabelSelectorAsSelector(&m.Spec.Selector)
		if err != nil {
			return append(wrong, err)
		}
		found := map[string]int{}
		for _, s := range o.Services {
			if !selector.Matches(labels.Set(s.Labels)) {
				continue
			}
			if !slices.ContainsFunc(s.Spec.Ports, func(p core.ServicePort) bool { return p.Name == m.Spec.Endpoints[0].Port }) {
				wrong = append(wrong, fmt.Errorf("monitor: service %s has no port %s", s.Name, m.Spec.Endpoints[0].Port))
			}
			for _, w := range o.workloads() {
				if matches(s.Spec.Selector, w.pod.Labels) {
					found[w.role]++
				}
			}
		}
		if found["shard"] != 1 || found["router"] != 1 {
			wrong = append(wrong, fmt.Errorf("monitor: it finds %v", found))
		}
		job := ""
		for _, r := range m.Spec.Endpoints[0].Relabelings {
			if r.TargetLabel == "job" {
				job = r.Replacement
			}
		}
		if !strings.HasPrefix(job, "roomring") {
			wrong = append(wrong, fmt.Errorf("monitor: job %q is not taken for a cluster by RoomringNodeUnreachable", job))
		}
	}
	return wrong
}

func (o *objects) checkRules() (wrong []error) {
	for _, r := range o.Rules {
		alerts := 0
		for _, g := range r.Spec.Groups {
			for _, rule := range g.Rules {
				if rule.Expr == "" || (rule.Alert == "") == (rule.Record == "") {
					wrong = append(wrong, fmt.Errorf("rules: %q", rule))
				}
				if rule.Alert != "" {
					alerts++
				}
			}
		}
		if alerts == 0 {
			wrong = append(wrong, errors.New("rules: no alert"))
		}
	}
	return wrong
}

// checkSecrets: a Secret that is rendered has what the pods want of it.
func (o *objects) checkSecrets() (wrong []error) {
	wanted := func(name, key string) {
		for _, s := range o.Secrets {
			if _, has := s.Data[key]; s.Name == name && !has {
				wrong = append(wrong, fmt.Errorf("secret %s has no %s", name, key))
			}
		}
	}
	names := map[string]bool{}
	for _, w := range o.workloads() {
		for _, v := range w.pod.Spec.Volumes {
			for _, item := range v.Secret.Items {
				wanted(v.Secret.SecretName, item.Key)
				names[v.Secret.SecretName] = true
			}
		}
	}
	for _, s := range o.Secrets {
		if !names[s.Name] {
			wrong = append(wrong, fmt.Errorf("secret %s is nobody's", s.Name))
		}
	}
	for _, c := range o.Certificates {
		if !names[c.Spec.SecretName] || c.Spec.RenewBefore.Duration >= c.Spec.Duration.Duration {
			wrong = append(wrong, fmt.Errorf("certificate %s", c.Name))
		}
	}
	return wrong
}

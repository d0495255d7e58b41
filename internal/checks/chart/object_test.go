package chart

import (
	"errors"
	"fmt"
	"strings"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// objects are what was rendered, by kind.
type objects struct {
	StatefulSets    []*apps.StatefulSet
	Deployments     []*apps.Deployment
	Services        []*core.Service
	Secrets         []*core.Secret
	ConfigMaps      []*core.ConfigMap
	ServiceAccounts []*core.ServiceAccount
	Pods            []*core.Pod
	Budgets         []*policy.PodDisruptionBudget
	Scalers         []*autoscaling.HorizontalPodAutoscaler
	NetworkPolicies []*networking.NetworkPolicy
	Ingresses       []*networking.Ingress
	Monitors        []*serviceMonitor
	Rules           []*prometheusRule
	Routes          []*httpRoute
	Certificates    []*certificate

	all []object
}

// object is what all of them have.
type object interface {
	GetName() string
	GetLabels() map[string]string
}

// decode reads documents strictly: a field that Kubernetes does not know is an error, and so is one that is
// there twice.
func decode(docs []string) (*objects, error) {
	o := &objects{}
	for _, doc := range docs {
		if err := o.add([]byte(doc)); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
	}
	return o, nil
}

func (o *objects) add(doc []byte) error {
	var kind meta.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 StatefulSet":
		return take(o, doc, &o.StatefulSets)
	case "apps/v1 Deployment":
		return take(o, doc, &o.Deployments)
	case "v1 Service":
		return take(o, doc, &o.Services)
	case "v1 Secret":
		return take(o, doc, &o.Secrets)
	case "v1 ConfigMap":
		return take(o, doc, &o.ConfigMaps)
	case "v1 ServiceAccount":
		return take(o, doc, &o.ServiceAccounts)
	case "v1 Pod":
		return take(o, doc, &o.Pods)
	case "policy/v1 PodDisruptionBudget":
		return take(o, doc, &o.Budgets)
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return take(o, doc, &o.Scalers)
	case "networking.k8s.io/v1 NetworkPolicy":
		return take(o, doc, &o.NetworkPolicies)
	case "networking.k8s.io/v1 Ingress":
		return take(o, doc, &o.Ingresses)
	case "monitoring.coreos.com/v1 ServiceMonitor":
		return take(o, doc, &o.Monitors)
	case "monitoring.coreos.com/v1 PrometheusRule":
		return take(o, doc, &o.Rules)
	case "gateway.networking.k8s.io/v1 HTTPRoute":
		return take(o, doc, &o.Routes)
	case "cert-manager.io/v1 Certificate":
		return take(o, doc, &o.Certificates)
	}
	return fmt.Errorf("nobody expects a %s %s", kind.APIVersion, kind.Kind)
}

// take decodes a document and appends it to those of its kind.
func take[T any, P interface {
	*T
	object
}](o *objects, doc []byte, to *[]P) error {
	x := P(new(T))
	if err := yaml.UnmarshalStrict(doc, x); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "error unmarshaling JSON: "))
	}
	*to = append(*to, x)
	o.all = append(o.all, x)
	return nil
}

// The kinds that are no part of Kubernetes, as far as the chart uses them: their own modules bring a
// client, a controller and their dependencies along.

type serviceMonitor struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Selector          meta.LabelSelector `json:"selector"`
		NamespaceSelector struct {
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		Endpoints []struct {
			Port          string `json:"port"`
			Path          string `json:"path"`
			Interval      string `json:"interval"`
			Authorization struct {
				Type        string                 `json:"type"`
				Credentials core.SecretKeySelector `json:"credentials"`
			} `json:"authorization"`
			Relabelings []struct {
				Action       string   `json:"action"`
				SourceLabels []string `json:"sourceLabels"`
				TargetLabel  string   `json:"targetLabel"`
				Replacement  string   `json:"replacement"`
			} `json:"relabelings"`
		} `json:"endpoints"`
	} `json:"spec"`
}

type prometheusRule struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Record      string            `json:"record"`
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

type httpRoute struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		ParentRefs []struct {
			Group       string `json:"group"`
			Kind        string `json:"kind"`
			Name        string `json:"name"`
			Namespace   string `json:"namespace"`
			SectionName string `json:"sectionName"`
			Port        int32  `json:"port"`
		} `json:"parentRefs"`
		Hostnames []string `json:"hostnames"`
		Rules     []struct {
			Matches []struct {
				Path struct {
					Type  string `json:"type"`
					Value string `json:"value"`
				} `json:"path"`
			} `json:"matches"`
			Timeouts struct {
				Request        string `json:"request"`
				BackendRequest string `json:"backendRequest"`
			} `json:"timeouts"`
			BackendRefs []struct {
				Name string `json:"name"`
				Port int32  `json:"port"`
			} `json:"backendRefs"`
		} `json:"rules"`
	} `json:"spec"`
}

type certificate struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		SecretName  string        `json:"secretName"`
		CommonName  string        `json:"commonName"`
		DNSNames    []string      `json:"dnsNames"`
		Duration    meta.Duration `json:"duration"`
		RenewBefore meta.Duration `json:"renewBefore"`
		PrivateKey  struct {
			Algorithm      string `json:"algorithm"`
			Size           int    `json:"size"`
			RotationPolicy string `json:"rotationPolicy"`
		} `json:"privateKey"`
		Usages    []string `json:"usages"`
		IssuerRef struct {
			Name  string `json:"name"`
			Kind  string `json:"kind"`
			Group string `json:"group"`
		} `json:"issuerRef"`
	} `json:"spec"`
}

package chart

import (
	"context"
	"encoding/base64"
	"maps"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	core "k8s.io/api/core/v1"
)

// stored is a cluster that has one Secret, or none.
type stored struct {
	dynamic.NamespaceableResourceInterface
	secret *core.Secret
}

// GetClientFor is asked by lookup.
func (s stored) GetClientFor(string, string) (dynamic.NamespaceableResourceInterface, bool, error) {
	return s, true, nil
}

func (s stored) Namespace(string) dynamic.ResourceInterface { return s }

func (s stored) Get(_ context.Context, name string, _ meta.GetOptions, _ ...string) (*unstructured.Unstructured, error) {
	if s.secret == nil || s.secret.Name != name {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	data := map[string]any{}
	for key, value := range s.secret.Data {
		data[key] = base64.StdEncoding.EncodeToString(value)
	}
	return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "data": data}}, nil
}

func secretOf(t *testing.T, in install) *core.Secret {
	t.Helper()
	rendered, err := render(t, in)
	if err != nil {
		t.Fatal(err)
	}
	o, err := decode(documents(rendered))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Secrets) != 1 {
		t.Fatalf("%d Secrets", len(o.Secrets))
	}
	return o.Secrets[0]
}

// TestKeysAreKept: keys are made once. An upgrade that made new ones would have every restarted node refused
// by all others.
func TestKeysAreKept(t *testing.T) {
	first := secretOf(t, install{objects: stored{}})
	key, err := base64.StdEncoding.DecodeString(string(first.Data["cluster-key"]))
	if err != nil || len(key) != 32 {
		t.Errorf("cluster key of %d bytes: %v", len(key), err)
	}
	if len(first.Data["admin-token"]) < 32 || string(first.Data["admin-token"]) == string(first.Data["admin-read-token"]) {
		t.Error("the tokens are too short, or the same")
	}
	if other := secretOf(t, install{objects: stored{}}); string(other.Data["cluster-key"]) == string(first.Data["cluster-key"]) {
		t.Error("two installs have the same key")
	}
	same := func(a, b map[string][]byte) bool {
		return maps.EqualFunc(a, b, func(x, y []byte) bool { return string(x) == string(y) })
	}
	if again := secretOf(t, install{objects: stored{secret: first}, upgrade: true}); !same(again.Data, first.Data) {
		t.Error("an upgrade changes the keys")
	}
	lacks := first.DeepCopy()
	delete(lacks.Data, "admin-read-token")
	mended := secretOf(t, install{objects: stored{secret: lacks}, upgrade: true})
	if string(mended.Data["cluster-key"]) != string(first.Data["cluster-key"]) || len(mended.Data["admin-read-token"]) == 0 {
		t.Error("a Secret that lacks a key is not mended, or loses the others")
	}
}

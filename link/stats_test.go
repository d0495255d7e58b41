package link

import (
	"reflect"
	"strings"
	"testing"
)

// TestRefusedLabels: the labels of the metric are the words of the reasons.
func TestRefusedLabels(t *testing.T) {
	f, _ := reflect.TypeFor[Stats]().FieldByName("Refused")
	labels := strings.Split(f.Tag.Get("labels"), ",")
	if len(labels) != reasons {
		t.Fatalf("%d labels for %d reasons", len(labels), reasons)
	}
	for r, label := range labels {
		if want := Reason(r).String(); label != want {
			t.Errorf("label %d is %q, the reason %q", r, label, want)
		}
	}
}

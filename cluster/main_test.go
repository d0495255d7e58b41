package cluster

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hunt checks a property of whole labs a few times, because each takes long, or as often as -rapid.checks
// says: a hunt is 1000.
func hunt(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"rapid.checks": "12", "rapid.shrinktime": "5s"} {
		f := flag.Lookup(name)
		if given[name] {
			continue
		}
		was := f.Value.String()
		defer func() { _ = f.Value.Set(was) }()
		if err := f.Value.Set(value); err != nil { // unlike flag.Set: it still counts as not given
			t.Fatal(err)
		}
	}
	rapid.Check(t, property)
}

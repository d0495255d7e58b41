package compose

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/roomring/roomring/internal/checks"
)

// directives are the lines of a configuration of nginx without comments and spaces at their ends.
func directives(t *testing.T, name string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checks.Root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// TestSameNginx: what is found out about nginx for one file is in the other, too. They differ in what a container
// makes different, and in nothing else.
func TestSameNginx(t *testing.T) {
	here, there := directives(t, "deploy/compose/nginx/nginx.conf"), directives(t, "deploy/nginx/http.conf")
	differs := func(line string) bool {
		for _, start := range []string{"user ", "pid ", "daemon ", "error_log ", "access_log /", "server 10.", "server router-", "listen ", "ssl_certificate ",
			"ssl_certificate_key ", "client_body_temp_path ", "proxy_temp_path ", "fastcgi_temp_path ", "uwsgi_temp_path ", "scgi_temp_path "} {
			if strings.HasPrefix(line, start) {
				return true
			}
		}
		return false
	}
	here, there = slices.DeleteFunc(here, differs), slices.DeleteFunc(there, differs)
	for i := range max(len(here), len(there)) {
		if i >= len(here) || i >= len(there) || here[i] != there[i] {
			t.Fatalf("line %d:\n%q in Compose\n%q in deploy/nginx", i, here[min(i, len(here)-1):min(i+3, len(here))], there[min(i, len(there)-1):min(i+3, len(there))])
		}
	}
	if len(here) < 50 {
		t.Errorf("only %d lines are compared", len(here))
	}
}

// TestSameRelease: a release changes the version in the chart and here.
func TestSameRelease(t *testing.T) {
	var chart struct {
		AppVersion string `json:"appVersion"`
	}
	text, err := os.ReadFile(filepath.Join(checks.Root(t), "deploy/helm/roomring/Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &chart); err != nil || chart.AppVersion == "" {
		t.Fatalf("%v: the chart's version is %q", err, chart.AppVersion)
	}
	for _, name := range []string{"compose.yaml", "README.md"} {
		text, err := os.ReadFile(filepath.Join(checks.Root(t), "deploy/compose", name))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`ROOMRING_VERSION(?::-|=)([0-9.]+)`).FindAllStringSubmatch(string(text), -1)
		for _, version := range found {
			if version[1] != chart.AppVersion {
				t.Errorf("%s says %s, and the chart %s", name, version[0], chart.AppVersion)
			}
		}
		if len(found) == 0 {
			t.Errorf("%s names no version", name)
		}
	}
}

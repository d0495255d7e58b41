package workflows

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// updates is what we say of Dependabot's file; anything else is a mistake.
type updates struct {
	Version int `yaml:"version"`
	Updates []struct {
		Ecosystem   string   `yaml:"package-ecosystem"`
		Directory   string   `yaml:"directory"`
		Directories []string `yaml:"directories"`
		Schedule    struct {
			Interval string `yaml:"interval"`
		} `yaml:"schedule"`
		Groups map[string]struct {
			Patterns []string `yaml:"patterns"`
		} `yaml:"groups"`
	} `yaml:"updates"`
}

// manifest is what each ecosystem looks for.
var manifest = map[string]string{"gomod": "go.mod", "npm": "package.json", "docker": "Dockerfile", "docker-compose": "compose.yaml", "github-actions": ".github/workflows"}

// watched returns which manifests are looked after, and what is wrong.
func watched(t *testing.T, text string) (files, wrong []string) {
	t.Helper()
	var u updates
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&u); err != nil {
		return nil, []string{err.Error()}
	}
	if u.Version != 2 {
		wrong = append(wrong, "version")
	}
	for _, update := range u.Updates {
		if manifest[update.Ecosystem] == "" || !slices.Contains([]string{"daily", "weekly", "monthly"}, update.Schedule.Interval) {
			wrong = append(wrong, update.Ecosystem+" "+update.Schedule.Interval)
		}
		for _, dir := range append(update.Directories, update.Directory) {
			if dir == "" {
				continue
			}
			file := filepath.Join(strings.TrimPrefix(dir, "/"), manifest[update.Ecosystem])
			if _, err := os.Stat(filepath.Join(root(t), file)); err != nil {
				wrong = append(wrong, err.Error())
			}
			files = append(files, file)
		}
	}
	return files, wrong
}

func dependabot(t *testing.T) string {
	t.Helper()
	return read(t, filepath.Join(root(t), ".github/dependabot.yml"))
}

// TestUpdates: all that asks for others' code is looked after.
func TestUpdates(t *testing.T) {
	files, wrong := watched(t, dependabot(t))
	if len(wrong) > 0 {
		t.Error(wrong)
	}
	at := root(t)
	err := filepath.WalkDir(at, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "dist" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		name, _ := filepath.Rel(at, path)
		if base := d.Name(); (base == "go.mod" || base == "package.json" || base == "Dockerfile" || base == "compose.yaml") && !slices.Contains(files, name) {
			t.Errorf("%s is not looked after", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBrokenUpdates(t *testing.T) {
	for _, broken := range []struct{ old, broken string }{
		{"version: 2", "version: 1"},
		{"package-ecosystem: npm", "package-ecosystem: node"},
		{"interval: weekly", "interval: often"},
		{"/deploy/image", "/deploy/images"},
		{"schedule:", "schedules:"},
	} {
		if _, wrong := watched(t, replaced(t, dependabot(t), broken.old, broken.broken)); len(wrong) == 0 {
			t.Errorf("%q passes", broken.broken)
		}
	}
}

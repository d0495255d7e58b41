package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"

	"github.com/roomring/roomring/internal/checks"
)

// adapted is a file of a container with its paths as they are on this machine, in a file of its own.
func (p *project) adapted(t *testing.T, s types.ServiceConfig, path string) (name, text string, err error) {
	t.Helper()
	b, err := os.ReadFile(p.outside(s, path))
	if err != nil {
		return "", "", err
	}
	local := string(b)
	for _, v := range s.Volumes {
		local = strings.ReplaceAll(local, " "+v.Target+"/", " "+p.outside(s, v.Target)+"/")
	}
	name = filepath.Join(t.TempDir(), filepath.Base(path))
	return name, local, os.WriteFile(name, []byte(local), 0o600)
}

// judgePrometheus has promtool judge the configuration, and holds its targets against the nodes.
func (p *project) judgePrometheus(t *testing.T) error {
	t.Helper()
	s, err := p.only(prometheus)
	if err != nil {
		return err
	}
	file := flag(s, "config.file")
	name, _, err := p.adapted(t, s, file)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(t.Context(), checks.Program(t, "promtool"), "check", "config", name).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	text, err := os.ReadFile(p.outside(s, file))
	if err != nil {
		return err
	}
	var config struct {
		Jobs []struct {
			Name   string `json:"job_name"`
			Static []struct{ Targets []string }
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(string(text), "static_configs", "static")), &config); err != nil {
		return err
	}
	if len(config.Jobs) != 1 || !strings.HasPrefix(config.Jobs[0].Name, "roomring") || len(config.Jobs[0].Static) != 1 {
		return errors.New("want one job, whose name begins with roomring: alerts go by it")
	}
	var want []string
	for node := range p.nodes() {
		_, port, err := net.SplitHostPort(setting(p.Services[node], "ADMIN"))
		if err != nil {
			return err
		}
		want = append(want, node+":"+port)
	}
	targets := config.Jobs[0].Static[0].Targets
	slices.Sort(want)
	slices.Sort(targets)
	if !slices.Equal(targets, want) {
		return fmt.Errorf("targets %v, want %v", targets, want)
	}
	return nil
}

// decode reads a file of YAML that may have nothing else in it.
func decode(name string, into any) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// judgeGrafana: what it is told to show is there, and asks who answers.
func (p *project) judgeGrafana() error {
	s, err := p.only(grafana)
	if err != nil {
		return err
	}
	provisioning := p.outside(s, "/etc/grafana/provisioning")
	var sources struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool `json:"isDefault"`
			Editable                     bool
			JSONData                     struct {
				TimeInterval string `json:"timeInterval"`
			} `json:"jsonData"`
		}
	}
	var boards struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Name, Type      string
			DisableDeletion bool `json:"disableDeletion"`
			AllowUIUpdates  bool `json:"allowUiUpdates"`
			Options         struct{ Path string }
		}
	}
	err = errors.Join(decode(filepath.Join(provisioning, "datasources/prometheus.yaml"), &sources), decode(filepath.Join(provisioning, "dashboards/roomring.yaml"), &boards))
	if err != nil {
		return err
	}
	asked, err := p.only(prometheus)
	if err != nil {
		return err
	}
	if d := sources.Datasources; len(d) != 1 || d[0].Type != "prometheus" || d[0].URL != "http://"+asked.Name+":9090" || !d[0].IsDefault || sources.APIVersion != 1 {
		return fmt.Errorf("data source %+v", sources)
	}
	if len(boards.Providers) != 1 || boards.Providers[0].Type != "file" || boards.APIVersion != 1 {
		return fmt.Errorf("dashboards %+v", boards)
	}
	home := s.Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if home == nil || filepath.Dir(*home) != boards.Providers[0].Options.Path {
		return fmt.Errorf("no dashboard: the first page is none of those in %s", boards.Providers[0].Options.Path)
	}
	text, err := os.ReadFile(p.outside(s, *home))
	var board struct {
		UID    string
		Panels []struct{ Title string }
	}
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil || board.UID == "" || len(board.Panels) == 0 {
		return fmt.Errorf("no dashboard in %s: %v", *home, err)
	}
	return nil
}

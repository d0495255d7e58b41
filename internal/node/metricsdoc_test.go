package node_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/roomring/roomring/internal/node"
	"github.com/roomring/roomring/router"
	"github.com/roomring/roomring/shard"
)

var update = flag.Bool("update", false, "write the tables of docs/metrics.md anew; what is said of when to worry stays")

const (
	metricsPage = "../../docs/metrics.md"
	grafana     = "../../deploy/grafana/"
)

// pages are what a router and a shard show.
func pages(t *testing.T) (r, s *node.Node) {
	t.Helper()
	s, err := node.OpenShard(node.Config{ID: "s1", Partitions: partitions}, shard.Config{Lanes: 2})
	start(t, s, err)
	r, err = node.OpenRouter(node.Config{ID: "r1", Partitions: partitions, Join: []string{s.Addresses().Gossip}}, "", router.Config{Lanes: 2})
	start(t, r, err)
	awaitReady(t, r)
	awaitReady(t, s)
	return r, s
}

func families(t *testing.T, n *node.Node) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	f, err := parser.TextToMetricFamilies(strings.NewReader(scrape(t, n)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// maxSeries bounds what one node adds to a Prometheus, whatever it holds.
const maxSeries = 500

// Names, types and units are as Prometheus wants them, and what a node shows grows with nothing that
// clients can make more of.
func TestMetricsAreWellMade(t *testing.T) {
	r, s := pages(t)
	for _, n := range []*node.Node{r, s} {
		problems, err := promlint.New(strings.NewReader(scrape(t, n))).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		for name, f := range families(t, n) {
			if f.GetType() == dto.MetricType_SUMMARY {
				t.Errorf("%s is a summary", name)
			}
		}
	}
	before := series(t, r) + series(t, s)
	for i := range 30 {
		c := dial(t, r.Addresses().Listen, fmt.Sprintf("room=room%d&num=1", i))
		hear(t, c)
		say(t, c, "hello")
		hear(t, c)
	}
	for _, n := range []*node.Node{r, s} {
		if have := series(t, n); have > maxSeries {
			t.Errorf("%s shows %d series, at most %d are promised", n.Name(), have, maxSeries)
		}
	}
	if after := series(t, r) + series(t, s); after != before {
		t.Errorf("%d series became %d with 30 conns in 30 rooms", before, after)
	}
}

// series counts the lines of a scrape that are values.
func series(t *testing.T, n *node.Node) (count int) {
	t.Helper()
	for line := range strings.Lines(scrape(t, n)) {
		if !strings.HasPrefix(line, "#") {
			count++
		}
	}
	return count
}

// metric is one row of docs/metrics.md.
type metric struct {
	name, kind, labels, at, help string
	worry                        string // the only column that is written by hand
}

// shown is every metric of ours that a router or a shard shows.
func shown(t *testing.T) map[string]metric {
	t.Helper()
	r, s := pages(t)
	all := make(map[string]metric)
	for at, n := range map[string]*node.Node{"router": r, "shard": s} {
		for name, f := range families(t, n) {
			if !strings.HasPrefix(name, "roomring_") {
				continue
			}
			m := metric{name: name, kind: strings.ToLower(f.GetType().String()), labels: labelsOf(f), at: at, help: f.GetHelp()}
			if o, both := all[name]; both {
				if o.help != m.help || o.kind != m.kind || o.labels != m.labels {
					t.Errorf("%s is not the same at a router and a shard: %+v, %+v", name, o, m)
				}
				m.at = "both"
			}
			all[name] = m
		}
	}
	return all
}

// labelsOf writes the labels of a metric, with their values where these are fixed.
func labelsOf(f *dto.MetricFamily) string {
	values := make(map[string][]string)
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			values[l.GetName()] = append(values[l.GetName()], l.GetValue())
		}
	}
	var list []string
	for _, label := range slices.Sorted(maps.Keys(values)) {
		text := "`" + label + "`"
		if !strings.HasSuffix(f.GetName(), "_info") {
			text += ": " + strings.Join(slices.Sorted(slices.Values(values[label])), ", ")
		}
		list = append(list, text)
	}
	return cmp.Or(strings.Join(list, ", "), "–")
}

func (m metric) row() string {
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n", m.name, m.kind, m.labels, m.at, m.help, cmp.Or(m.worry, "–"))
}

var rowOfMetric = regexp.MustCompile("(?m)^\\| `(roomring_[a-z0-9_]+)` \\|.*\\| ([^|]*) \\|\n")

// docs/metrics.md names every metric of a router and a shard, and no other, with type, labels and meaning
// as a scrape tells them. It has a part for each prefix, which a heading names.
func TestMetricsPage(t *testing.T) {
	b, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	page, all := string(b), shown(t)
	for _, row := range rowOfMetric.FindAllStringSubmatch(page, -1) {
		m, ok := all[row[1]]
		if !ok {
			if !*update {
				t.Errorf("%s is described, and no node shows it", row[1])
			}
			continue
		}
		m.worry = row[2]
		all[row[1]] = m
	}
	if *update {
		page = rewrite(t, page, all)
		if err := os.WriteFile(metricsPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if rows := len(rowOfMetric.FindAllString(page, -1)); rows != len(all) {
		t.Errorf("%d rows for %d metrics", rows, len(all))
	}
	for name, m := range all {
		if !strings.Contains(page, m.row()) {
			t.Errorf("%s is not described as it is (-update does it):\n%s", name, m.row())
		}
	}
}

var partOfPage = regexp.MustCompile("(?m)^#+ .*`roomring_([a-z]*)_?…`.*\n(?:[^#|\n].*\n|\n)*((?:\\|.*\n)+)")

// rewrite puts the rows of all metrics into the tables of their parts.
func rewrite(t *testing.T, page string, all map[string]metric) string {
	t.Helper()
	parts := partOfPage.FindAllStringSubmatch(page, -1)
	rows := make(map[string][]string)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(name, "roomring_"), "_")
		if !slices.ContainsFunc(parts, func(p []string) bool { return p[1] == prefix }) {
			prefix = ""
		}
		rows[prefix] = append(rows[prefix], all[name].row())
	}
	for _, p := range parts {
		head := strings.SplitAfterN(p[2], "\n", 3)
		page = strings.Replace(page, p[0], strings.TrimSuffix(p[0], p[2])+head[0]+head[1]+strings.Join(rows[p[1]], ""), 1)
	}
	return page
}

// dashboard is as much of a dashboard as must be right.
type dashboard struct {
	SchemaVersion int `json:"schemaVersion"`
	UID           string
	Title         string
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any
		}
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	Description string
	Datasource  *struct{ Type, UID string }
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Thresholds *struct{ Steps []struct{ Color string } }
		}
	}
	Targets []struct{ Expr, RefID string }
	Panels  []panel
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	b, err := os.ReadFile(grafana + "dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// The dashboard can be imported anywhere: its data source is a variable, its panels have ids, units and
// descriptions, and none lies on another.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	variables := make(map[string]string)
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	if d.SchemaVersion < 39 || d.UID == "" || d.Title == "" || variables["datasource"] != "datasource" || variables["job"] != "query" || variables["node"] != "query" {
		t.Errorf("schema %d, uid %q, title %q, variables %v", d.SchemaVersion, d.UID, d.Title, variables)
	}
	seen, rows := make(map[int]string), 0
	var all []panel
	for _, p := range d.Panels {
		all = append(append(all, p), p.Panels...)
	}
	for i, p := range all {
		if other, twice := seen[p.ID]; twice || p.ID == 0 {
			t.Errorf("%q and %q have the id %d", p.Title, other, p.ID)
		}
		seen[p.ID] = p.Title
		if p.Type == "row" {
			rows++
			continue
		}
		if p.FieldConfig.Defaults.Unit == "" || p.Description == "" || p.Title == "" || len(p.Targets) == 0 || p.FieldConfig.Defaults.Thresholds == nil {
			t.Errorf("panel %d %q lacks a unit, a description, thresholds or a query", p.ID, p.Title)
		}
		if p.Datasource == nil || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %d %q has a data source of its own", p.ID, p.Title)
		}
		for _, o := range all[:i] {
			a, b := p.GridPos, o.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q lies on %q", p.Title, o.Title)
			}
		}
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W == 0 || p.GridPos.H == 0 {
			t.Errorf("%q does not fit: %+v", p.Title, p.GridPos)
		}
	}
	if rows < 5 || len(all) < 30 {
		t.Errorf("%d rows, %d panels", rows, len(all)-rows)
	}
}

// rules is a file of rules.
type rules struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

func readRules(t *testing.T) (list []rule) {
	t.Helper()
	b, err := os.ReadFile(grafana + "alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all rules
	if err := yaml.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, g := range all.Groups {
		list = append(list, g.Rules...)
	}
	return list
}

// Every alert says how bad it is, what happened and what to do, and promtool's tests have a case in which it
// fires.
func TestAlerts(t *testing.T) {
	tests, err := os.ReadFile(grafana + "alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	alerts := 0
	for _, r := range readRules(t) {
		if r.Alert == "" {
			if !strings.Contains(r.Record, ":roomring_") {
				t.Errorf("recording rule %q is not named level:metric:operation", r.Record)
			}
			continue
		}
		alerts++
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || len(r.Annotations["description"]) < 60 {
			t.Errorf("%s does not say what to do", r.Alert)
		}
		if !strings.HasPrefix(r.Alert, "Roomring") || !strings.Contains(string(page), "`"+r.Alert+"`") {
			t.Errorf("%s is not on the page about metrics", r.Alert)
		}
		for _, part := range []string{"name: " + r.Alert + " fires\n", `alertname="` + r.Alert + `"`, "name: " + r.Alert + " does not fire\n"} {
			if !strings.Contains(string(tests), part) {
				t.Errorf("%s has no case in which it fires, and one in which it does not: %q", r.Alert, part)
			}
		}
	}
	if alerts < 15 {
		t.Errorf("only %d alerts", alerts)
	}
}

// Every alert leads to a section of its own of the operating guide, and each of those sections is about an
// alert that there is.
func TestAlertsHaveRunbooks(t *testing.T) {
	const page = "docs/operating.md"
	text, err := os.ReadFile("../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{} // whether there is an alert
	for _, heading := range regexp.MustCompile(`(?m)^#+ (Roomring\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections[heading[1]] = false
	}
	for _, r := range readRules(t) {
		if r.Alert == "" {
			continue
		}
		if _, ok := sections[r.Alert]; !ok {
			t.Errorf("%s has no section in %s", r.Alert, page)
		}
		sections[r.Alert] = true
		want := "https://github.com/roomring/roomring/blob/main/" + page + "#" + strings.ToLower(r.Alert)
		if got := r.Annotations["runbook_url"]; got != want {
			t.Errorf("%s: runbook_url is %q, want %q", r.Alert, got, want)
		}
	}
	for name, known := range sections {
		if !known {
			t.Errorf("%s has a section about %s, and there is no such alert", page, name)
		}
	}
}

var word = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)

// askable is the names that a query may have: on a scrape of a router or a shard.
func askable(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{"up": true}
	r, s := pages(t)
	for _, n := range []*node.Node{r, s} {
		for name, f := range families(t, n) {
			known[name] = true
			if f.GetType() == dto.MetricType_HISTOGRAM {
				known[name+"_bucket"], known[name+"_sum"], known[name+"_count"] = true, true, true
			}
		}
	}
	return known
}

// named finds names of metrics: ours anywhere, those of Go and the process in quotes.
var named = regexp.MustCompile(`\broomring_[a-z0-9_]*[a-z0-9]|"(?:go|process)_[a-z0-9_]*[a-z0-9]"`)

// Tests, tools and pages that name a metric name one that there is: who looks up another one reads 0, and
// goes on.
func TestOthersAskForWhatThereIs(t *testing.T) {
	known, found := askable(t), 0
	for _, dir := range []string{"../e2e", "../soak", "../chaos", "../compare", "../../cmd", "../../docs", "../../deploy"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !slices.Contains([]string{".go", ".md", ".yaml", ".sh"}, filepath.Ext(path)) {
				return err
			}
			text, err := os.ReadFile(path)
			for _, name := range named.FindAllString(string(text), -1) {
				found++
				name = strings.Trim(name, `"`)
				part := strings.Contains(string(text), name+"_…") || strings.Contains(string(text), ":"+name+":") // of a name, or recorded
				if !known[name] && !part && !ofDocker(string(text), name) {
					t.Errorf("%s names %s, which nobody shows", path, name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 200 {
		t.Errorf("only %d names found", found)
	}
}

// ofDocker reports whether a text speaks of a network or a volume: Docker joins a project's name and theirs.
func ofDocker(text, name string) bool {
	return strings.Contains(text, "network: "+name) || strings.Contains(text, name+":/") || strings.Contains(text, name+"-")
}

// What the dashboard and the alerts ask for is there: on a scrape of a router or a shard, or recorded by a
// rule.
func TestDashboardAndAlertsAskForWhatThereIs(t *testing.T) {
	known := askable(t)
	queries := make(map[string]string)
	for i, r := range readRules(t) {
		queries[fmt.Sprintf("rule %d %s%s", i, r.Alert, r.Record)] = r.Expr
		if r.Record != "" {
			known[r.Record] = true
		}
	}
	d := readDashboard(t)
	for _, v := range d.Templating.List {
		queries["variable "+v.Name] = fmt.Sprint(v.Query)
	}
	for _, p := range d.Panels {
		for _, p := range append([]panel{p}, p.Panels...) {
			for _, target := range p.Targets {
				queries["panel "+p.Title+" "+target.RefID] = target.Expr
			}
		}
	}
	named := 0
	for where, query := range queries {
		for _, name := range word.FindAllString(query, -1) {
			if !regexp.MustCompile(`^(roomring_|process_|go_)|:roomring`).MatchString(name) {
				continue
			}
			named++
			if !known[name] {
				t.Errorf("%s asks for %s, which nobody shows", where, name)
			}
		}
	}
	if named < 60 {
		t.Errorf("only %d names found: is %s read?", named, filepath.Clean(grafana))
	}
}

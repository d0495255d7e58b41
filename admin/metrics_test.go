package admin

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/roomring/roomring/internal/latency"
)

// scrape asks /metrics and parses the answer as Prometheus would.
func scrape(t *testing.T, c Config) map[string]*dto.MetricFamily {
	t.Helper()
	w := ask(newTest(t, c), "GET", "/metrics")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func gauge(f *dto.MetricFamily) float64 { return f.GetMetric()[0].GetGauge().GetValue() }

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(NewCollector(func() []Sample {
		return []Sample{
			{Name: "roomring_link_up", Help: "1 while the link is up.", Gauge: true, Value: 1, Labels: prometheus.Labels{"peer": "s1"}},
			{Name: "roomring_link_up", Help: "1 while the link is up.", Gauge: true, Value: 0, Labels: prometheus.Labels{"peer": "s2"}},
			{Name: "roomring_shard_delivers_total", Help: "Messages sent to routers.", Value: 42},
		}
	}))
	families := scrape(t, Config{Registry: reg, Settled: func() (bool, int) { return true, 7 }})
	for _, name := range []string{"go_goroutines", "process_start_time_seconds"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if f := families["roomring_settled"]; f == nil || gauge(f) != 1 {
		t.Errorf("settled: %v", f)
	}
	if f := families["roomring_single_copy_partitions"]; f == nil || gauge(f) != 7 {
		t.Errorf("single copy: %v", f)
	}
	if f := families["roomring_shard_delivers_total"]; f.GetType() != dto.MetricType_COUNTER || f.GetHelp() != "Messages sent to routers." || f.GetMetric()[0].GetCounter().GetValue() != 42 {
		t.Errorf("delivers: %v", f)
	}
	if f := families["roomring_link_up"]; f.GetType() != dto.MetricType_GAUGE || len(f.GetMetric()) != 2 {
		t.Errorf("link up: %v", f)
	}

	families = scrape(t, Config{Settled: func() (bool, int) { return false, 0 }})
	if f := families["roomring_settled"]; f == nil || gauge(f) != 0 {
		t.Errorf("not settled: %v", f)
	}
	if families = scrape(t, Config{}); families["roomring_settled"] != nil {
		t.Error("settled is told although nobody knows")
	}
}

// TestSharedRegistry: two servers of one process may be given the same.
func TestSharedRegistry(t *testing.T) {
	reg := prometheus.NewRegistry()
	newTest(t, Config{Registry: reg})
	newTest(t, Config{Registry: reg})
}

func TestBrokenCollectorCostsOnlyItself(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		NewCollector(func() []Sample { panic("a broken invariant") }),
		NewCollector(func() []Sample { return []Sample{{Name: "not a name"}} }),
		NewCollector(func() []Sample { return []Sample{{Name: "roomring_fine_total", Value: 1}} }),
	)
	families := scrape(t, Config{Registry: reg})
	if families["roomring_fine_total"] == nil || families["go_goroutines"] == nil {
		t.Error("the others are missing")
	}
}

type testStats struct {
	FramesSent   uint64 `help:"Frames sent."`
	HTTPErrors   atomic.Uint64
	Members      int64         `metric:"gauge" help:"Members now."`
	Stalled      time.Duration `help:"Time without credit."`
	Conns        atomic.Int32  `metric:"gauge"`
	P99          float64       `metric:"gauge"`
	Hidden       uint64        `metric:"-"`
	Name         string
	PerRoom      map[string]int
	private      int
	Accepts2Many uint32
	BytesSent    uint64            `name:"sent_bytes" help:"Bytes sent."`
	Pause        latency.Histogram `help:"How long."`
	Refused      [3]uint64         `label:"reason" labels:"full,-,slow" help:"Refused."`
	Lag          int               `metric:"max"`
	Plain        [2]uint64
}

func TestAppendStats(t *testing.T) {
	a := &testStats{FramesSent: 40, Members: 3, Stalled: 1500 * time.Millisecond, P99: 0.25, Accepts2Many: 1, private: 1, BytesSent: 6, Lag: 5, Refused: [3]uint64{1, 2, 3}}
	a.HTTPErrors.Store(5)
	a.Conns.Store(-1)
	b := &testStats{FramesSent: 2, Lag: 7, Members: -1, Stalled: time.Second}
	b.HTTPErrors.Store(6)
	b.Refused[2] = 7
	a.Pause.Count(time.Millisecond)
	b.Pause.Count(time.Hour)
	both := a.Pause
	both.Add(&b.Pause)
	want := []Sample{
		{Name: "before"},
		{Name: "roomring_link_frames_sent_total", Help: "Frames sent.", Value: 42},
		{Name: "roomring_link_http_errors_total", Value: 11},
		{Name: "roomring_link_members", Help: "Members now.", Gauge: true, Value: 2},
		{Name: "roomring_link_stalled_seconds_total", Help: "Time without credit.", Value: 2.5},
		{Name: "roomring_link_conns", Gauge: true, Value: -1},
		{Name: "roomring_link_p99", Gauge: true, Value: 0.25},
		{Name: "roomring_link_accepts2_many_total", Value: 1},
		{Name: "roomring_link_sent_bytes_total", Help: "Bytes sent.", Value: 6},
		{Name: "roomring_link_pause_seconds", Help: "How long.", Histogram: &both},
		{Name: "roomring_link_refused_total", Help: "Refused.", Value: 1, Labels: prometheus.Labels{"reason": "full"}},
		{Name: "roomring_link_refused_total", Help: "Refused.", Value: 10, Labels: prometheus.Labels{"reason": "slow"}},
		{Name: "roomring_link_lag", Gauge: true, Value: 7},
	}
	if d := cmp.Diff(want, AppendStats([]Sample{{Name: "before"}}, "link", a, b)); d != "" {
		t.Error(d)
	}
	if have := AppendStats[testStats](nil, "link"); len(have) != 0 {
		t.Errorf("of no parts: %v", have)
	}
}

func TestHistogram(t *testing.T) {
	stats := new(struct{ Pause latency.Histogram })
	for _, d := range []time.Duration{time.Microsecond, 100 * time.Microsecond, time.Second, time.Hour} {
		stats.Pause.Count(d)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(NewCollector(func() []Sample { return AppendStats(nil, "shard", stats) }))
	f := scrape(t, Config{Registry: reg})["roomring_shard_pause_seconds"]
	if f.GetType() != dto.MetricType_HISTOGRAM {
		t.Fatalf("%v", f)
	}
	h := f.GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 4 || h.GetSampleSum() < 3601 || h.GetSampleSum() > 3601.01 || len(h.GetBucket()) != len(latency.Bounds)+1 {
		t.Errorf("%v", h)
	}
	for i, b := range h.GetBucket()[:len(latency.Bounds)] {
		want := uint64(2)
		if latency.Bounds[i] >= time.Second {
			want = 3
		}
		if b.GetUpperBound() != latency.Bounds[i].Seconds() || b.GetCumulativeCount() != want {
			t.Errorf("bucket %v, want %d up to %v", b, want, latency.Bounds[i])
		}
	}
}

// TestNoSummaries: what every node shows beside our own metrics can be summed
// over nodes.
func TestNoSummaries(t *testing.T) {
	families := scrape(t, Config{})
	for name, f := range families {
		if f.GetType() == dto.MetricType_SUMMARY {
			t.Errorf("%s is a summary", name)
		}
	}
	for _, name := range []string{"go_goroutines", "go_sched_pauses_total_gc_seconds", "go_memory_classes_heap_objects_bytes", "go_gc_heap_live_bytes"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestLabelsMustFit(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("two labels for three elements")
		}
	}()
	AppendStats(nil, "link", new(struct {
		Refused [3]uint64 `label:"reason" labels:"a,b"`
	}))
}

// TestScrapesAtOnce: atomics are read while their owner counts.
func TestScrapesAtOnce(t *testing.T) {
	stats := new(struct{ Delivers atomic.Uint64 })
	reg := prometheus.NewRegistry()
	reg.MustRegister(NewCollector(func() []Sample { return AppendStats(nil, "shard", stats) }))
	h := newTest(t, Config{Registry: reg})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			stats.Delivers.Add(1)
		}
	}()
	for range 3 {
		if w := ask(h, "GET", "/metrics"); !strings.Contains(w.Body.String(), "roomring_shard_delivers_total ") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	<-done
}

package admin

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/roomring/roomring/internal/latency"
)

// Sample is one value of one metric at the moment of a scrape.
type Sample struct {
	Name   string // the whole name: roomring_shard_delivers_total
	Help   string // must be the same in all samples of a name
	Gauge  bool   // it may go down; else it is a counter
	Labels prometheus.Labels
	Value  float64

	// Histogram, if it is set, stands for Gauge and Value.
	Histogram *latency.Histogram
}

// NewCollector renders what read returns. read is called once per scrape, from
// any goroutine, and must not block for long: it reads atomics, or posts to the
// loops that own the counters and waits for their copies. A panic in it costs
// its samples, not the node: the registry contains it.
func NewCollector(read func() []Sample) prometheus.Collector { return collector(read) }

type collector func() []Sample

// Describe tells nothing: which samples there are shows only when they are
// read. A registry takes such a collector unchecked.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads and renders the samples.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c() {
		ch <- s.metric()
	}
}

func (s *Sample) metric() prometheus.Metric {
	kind := prometheus.CounterValue
	if s.Gauge {
		kind = prometheus.GaugeValue
	}
	desc := prometheus.NewDesc(s.Name, s.Help, nil, s.Labels)
	m, err := prometheus.NewConstMetric(desc, kind, s.Value)
	if s.Histogram != nil {
		m, err = histogram(desc, s.Histogram)
	}
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}

// histogram renders buckets as Prometheus wants them: each counts all that is no
// longer than its bound.
func histogram(desc *prometheus.Desc, h *latency.Histogram) (prometheus.Metric, error) {
	buckets := make(map[float64]uint64, len(latency.Bounds))
	upTo := uint64(0)
	for i, bound := range latency.Bounds {
		upTo += h.Counts[i]
		buckets[bound.Seconds()] = upTo
	}
	return prometheus.NewConstHistogram(desc, h.Total(), h.Sum.Seconds(), buckets)
}

// register adds what every node shows to the registry.
func (s *Server) register() error {
	all := []prometheus.Collector{
		newRuntime(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	if settled := s.config.Settled; settled != nil {
		all = append(all, NewCollector(func() []Sample { return settledSamples(settled()) }))
	}
	for _, c := range all {
		// Nodes of one process may share a registry and its collectors.
		var again prometheus.AlreadyRegisteredError
		if err := s.config.Registry.Register(c); err != nil && !errors.As(err, &again) {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// runtime is what the Go runtime tells of itself, without summaries: quantiles
// of one process cannot be put together with those of another. Pauses of the
// collector are a histogram instead of go_gc_duration_seconds. What needs the
// world to stop (runtime.MemStats) is left out too; the same is told by
// runtime/metrics.
type runtime struct{ prometheus.Collector }

func newRuntime() runtime {
	return runtime{collectors.NewGoCollector(
		collectors.WithGoCollectorMemStatsMetricsDisabled(),
		collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: runtimeMetrics}),
	)}
}

var runtimeMetrics = regexp.MustCompile(`^/(sched/latencies|sched/pauses/total/gc|gc/heap/live|gc/heap/goal|memory/classes/(total|heap/objects|heap/unused|heap/released|heap/stacks)|cpu/classes/gc/total):`)

// Describe tells of all but the summary.
func (r runtime) Describe(ch chan<- *prometheus.Desc) {
	without(ch, r.Collector.Describe, func(d *prometheus.Desc) *prometheus.Desc { return d })
}

// Collect tells all but the summary.
func (r runtime) Collect(ch chan<- prometheus.Metric) {
	without(ch, r.Collector.Collect, prometheus.Metric.Desc)
}

// without passes on what tell says, but for go_gc_duration_seconds.
func without[T any](to chan<- T, tell func(chan<- T), desc func(T) *prometheus.Desc) {
	all := make(chan T)
	go func() {
		defer close(all)
		tell(all)
	}()
	for x := range all {
		if !strings.Contains(desc(x).String(), `"go_gc_duration_seconds"`) {
			to <- x
		}
	}
}

func settledSamples(settled bool, singleCopy int) []Sample {
	value := 0.0
	if settled {
		value = 1
	}
	return []Sample{
		{Name: "roomring_settled", Help: "1 when every partition is where it should be, with all the copies that it should have, and no node is suspect.", Gauge: true, Value: value},
		{Name: "roomring_single_copy_partitions", Help: "Partitions with fewer than two living copies.", Gauge: true, Value: float64(singleCopy)},
	}
}

// maxScrapes is how many scrapes run at once; a further one gets 503.
const maxScrapes = 4

// metrics shows what can be read, also when a collector fails.
func (s *Server) metrics() func(http.ResponseWriter, *http.Request) error {
	h := promhttp.HandlerFor(s.config.Registry, promhttp.HandlerOpts{
		ErrorLog:            complaints(s.log),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	})
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

package admin

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Sample is one value of one metric at the moment of a scrape.
type Sample struct {
	Name   string // the whole name: roomring_shard_delivers_total
	Help   string // must be the same in all samples of a name
	Gauge  bool   // it may go down; else it is a counter
	Labels prometheus.Labels
	Value  float64
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
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}

// AppendStats appends a sample per exported numeric field of a package's Stats
// struct, summed over its parts (its lanes): field FramesSent of package link
// is roomring_link_frames_sent_total, a time.Duration ends in _seconds_total.
// The tag metric:"gauge" makes a field a gauge, whose name has no _total;
// metric:"-" leaves it out; help:"…" is its help text.
//
// Fields are plain numbers or atomic.Int64, atomic.Uint64, atomic.Int32,
// atomic.Uint32. Parts with atomics may be the live ones; parts with plain
// numbers must be copies that nobody writes. Fields of other types are no
// metrics.
func AppendStats[S any](samples []Sample, pkg string, parts ...*S) []Sample {
	t := reflect.TypeFor[S]()
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Tag.Get("metric") == "-" {
			continue
		}
		sum, seconds, ok := 0.0, false, true
		for _, p := range parts {
			var v float64
			if v, seconds, ok = number(reflect.ValueOf(p).Elem().Field(i)); !ok {
				break
			}
			sum += v
		}
		if !ok || len(parts) == 0 {
			continue
		}
		gauge := f.Tag.Get("metric") == "gauge"
		samples = append(samples, Sample{Name: metricName(pkg, f.Name, seconds, gauge), Help: f.Tag.Get("help"), Gauge: gauge, Value: sum})
	}
	return samples
}

// number reads a field that may be written meanwhile if it is atomic.
func number(v reflect.Value) (n float64, seconds, ok bool) {
	switch x := v.Addr().Interface().(type) {
	case *atomic.Int64:
		return float64(x.Load()), false, true
	case *atomic.Uint64:
		return float64(x.Load()), false, true
	case *atomic.Int32:
		return float64(x.Load()), false, true
	case *atomic.Uint32:
		return float64(x.Load()), false, true
	case *time.Duration:
		return x.Seconds(), true, true
	}
	switch {
	case v.CanInt():
		return float64(v.Int()), false, true
	case v.CanUint():
		return float64(v.Uint()), false, true
	case v.CanFloat():
		return v.Float(), false, true
	}
	return math.NaN(), false, false
}

func metricName(pkg, field string, seconds, gauge bool) string {
	name := "roomring_" + pkg + "_" + snake(field)
	if seconds {
		name += "_seconds"
	}
	if !gauge {
		name += "_total"
	}
	return name
}

// snake writes FramesSent as frames_sent and HTTPErrors as http_errors.
func snake(s string) string {
	var b strings.Builder
	rs := []rune(s)
	for i, r := range rs {
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(rs[i-1]) || unicode.IsDigit(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// register adds what every node shows to the registry.
func (s *Server) register() error {
	all := []prometheus.Collector{
		collectors.NewGoCollector(),
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

func settledSamples(settled bool, singleCopy int) []Sample {
	value := 0.0
	if settled {
		value = 1
	}
	return []Sample{
		{Name: "roomring_settled", Help: "1 when every partition has a living owner and no node is suspect.", Gauge: true, Value: value},
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

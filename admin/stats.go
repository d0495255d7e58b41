package admin

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/roomring/roomring/internal/latency"
)

// AppendStats appends the samples of a package's Stats struct, summed over its
// parts (its lanes): field FramesSent of package link is
// roomring_link_frames_sent_total, a time.Duration ends in _seconds_total. A
// latency.Histogram is a histogram that ends in _seconds. An array of counters
// is one metric with a value per element.
//
// Tags of a field: help:"…" is its help text. metric:"gauge" makes it a gauge,
// whose name has no _total; metric:"max" makes it one that is the greatest of
// its parts, not their sum; metric:"-" leaves it out. name:"…" stands for the
// field's own name, where a metric is better called otherwise: its unit goes
// last. An array needs label:"reason" and labels:"a,b,c", the label's name and
// its value for each element; an element whose value is "-" is left out.
//
// Fields are numbers, atomic.Int64, atomic.Uint64, atomic.Int32 and
// atomic.Uint32, arrays of these, and histograms. Parts with atomics may be the
// live ones; parts with plain numbers must be copies that nobody writes. Fields
// of other types are no metrics.
func AppendStats[S any](samples []Sample, pkg string, parts ...*S) []Sample {
	if len(parts) == 0 {
		return samples
	}
	t := reflect.TypeFor[S]()
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Tag.Get("metric") == "-" {
			continue
		}
		field := statsField{f, "roomring_" + pkg + "_" + snake(f.Name), make([]reflect.Value, len(parts))}
		if name := f.Tag.Get("name"); name != "" {
			field.name = "roomring_" + pkg + "_" + name
		}
		for n, p := range parts {
			field.values[n] = reflect.ValueOf(p).Elem().Field(i)
		}
		samples = field.append(samples)
	}
	return samples
}

// statsField is one field of a Stats struct and what it holds in each part.
type statsField struct {
	reflect.StructField
	name   string // without its unit and _total
	values []reflect.Value
}

func (f *statsField) append(samples []Sample) []Sample {
	switch {
	case f.Type == reflect.TypeFor[latency.Histogram]():
		return append(samples, f.histogram())
	case f.Type.Kind() == reflect.Array:
		return f.appendArray(samples)
	}
	value, unit, ok := f.together(f.values)
	if !ok {
		return samples
	}
	return append(samples, f.sample(value, unit))
}

// sample is one of this field's.
func (f *statsField) sample(value float64, unit string) Sample {
	kind := f.Tag.Get("metric")
	s := Sample{Name: f.name + unit, Help: f.Tag.Get("help"), Gauge: kind == "gauge" || kind == "max", Value: value}
	if !s.Gauge {
		s.Name += "_total"
	}
	return s
}

func (f *statsField) histogram() Sample {
	all := new(latency.Histogram)
	for _, v := range f.values {
		all.Add(v.Addr().Interface().(*latency.Histogram))
	}
	return Sample{Name: f.name + "_seconds", Help: f.Tag.Get("help"), Histogram: all}
}

// appendArray makes one metric of an array. Labels that do not fit it are a
// mistake in the source, which any scrape shows.
func (f *statsField) appendArray(samples []Sample) []Sample {
	label, labels := f.Tag.Get("label"), strings.Split(f.Tag.Get("labels"), ",")
	if label == "" {
		return samples
	}
	if len(labels) != f.Type.Len() {
		panic(fmt.Sprintf("admin: %s has %d elements and %d labels", f.name, f.Type.Len(), len(labels)))
	}
	elements := make([]reflect.Value, len(f.values))
	for i, value := range labels {
		for n, v := range f.values {
			elements[n] = v.Index(i)
		}
		number, unit, ok := f.together(elements)
		if !ok || value == "-" {
			continue
		}
		s := f.sample(number, unit)
		s.Labels = prometheus.Labels{label: value}
		samples = append(samples, s)
	}
	return samples
}

// together makes one value of those of all parts, and says what it counts when
// its type tells that.
func (f *statsField) together(parts []reflect.Value) (value float64, unit string, ok bool) {
	most := f.Tag.Get("metric") == "max"
	for i, v := range parts {
		n, seconds, ok := number(v)
		if !ok {
			return 0, "", false
		}
		if seconds {
			unit = "_seconds"
		}
		switch {
		case !most:
			value += n
		case i == 0 || n > value:
			value = n
		}
	}
	return value, unit, true
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

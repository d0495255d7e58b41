package verify

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// plot is the timeline as lines and texts of an SVG, in its units.
type plot struct {
	Width, Height, Left, Right, Top, Bottom, Inner, TickX int

	Panels []panel
	Events []plotEvent
	Times  []tickMark
	Spots  []spot
	Step   string // how long a step of the timeline is

	begin, end float64 // seconds
}

type panel struct {
	Head          string
	HeadY, Bottom int
	Legend        []legend
	Ticks         []tickMark
	Lines         []curve
}

type legend struct{ Name, Color string }

type curve struct{ Class, D string }

type tickMark struct {
	At, TextY float64
	Text      string
}

type plotEvent struct {
	X, TextX, TextY, Y  float64
	Text, Title, Anchor string
}

// spot says what there is at a place, when the pointer is over it.
type spot struct {
	X, Width float64
	Title    string
}

const (
	plotWidth   = 1160
	plotLeft    = 64
	plotRight   = plotWidth - 16
	laneHeight  = 16
	maxLanes    = 4
	panelHeight = 150
	panelHead   = 30
	maxSpots    = 290
	labelRunes  = 24
	runeWidth   = 7.0 // of the labels' font, about
)

// plot draws the timeline; nil when there is none.
func (r *Report) plot() *plot {
	points := r.Timeline
	if len(points) < 2 {
		return nil
	}
	p := &plot{Width: plotWidth, Left: plotLeft, Right: plotRight, TickX: plotLeft - 8, begin: points[0].At,
		end: points[len(points)-1].At, Step: stepText(points)}
	lanes := p.events(r.Events)
	p.Top = 8 + lanes*laneHeight
	first := p.Top + panelHead
	second := first + panelHeight + panelHead + 6
	p.Panels = []panel{p.throughput(points, first), p.latency(points, second)}
	p.Bottom = second + panelHeight
	p.Inner = p.Bottom - p.Top
	p.Height = p.Bottom + 26
	p.times()
	p.spots(points)
	return p
}

func stepText(points []Point) string {
	d := time.Duration((points[1].At - points[0].At) * float64(time.Second)).Round(firstWidth)
	return fmt.Sprintf("%d ms", max(d, firstWidth).Milliseconds())
}

func (p *plot) x(at float64) float64 {
	return round(plotLeft + (at-p.begin)/(p.end-p.begin)*(plotRight-plotLeft))
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

// events places the events' labels in lanes, so that they do not cover each other as far as there is
// room. It returns how many lanes that takes.
func (p *plot) events(list []Event) (lanes int) {
	var free [maxLanes]float64 // from which x on
	for i := range list {
		e := &list[i]
		if i == 0 || e.At < p.begin || e.At > p.end {
			continue
		}
		x := p.x(e.At)
		text := fmt.Sprintf("%d %s", i, e.Name)
		if runes := []rune(text); len(runes) > labelRunes {
			text = string(runes[:labelRunes-1]) + "…"
		}
		width := runeWidth * float64(len([]rune(text)))
		mark := plotEvent{X: x, TextX: x + 4, Anchor: "start", Text: text, Title: fmt.Sprintf("%.1f s: %s", e.At, e.Name)}
		from := x
		if x+width > plotRight {
			mark.TextX, mark.Anchor, from = x-4, "end", x-width
		}
		lane := 0
		for lane < maxLanes-1 && free[lane] > from {
			lane++
		}
		if free[lane] > from { // no room at all: the number must do
			mark.Text = fmt.Sprint(i)
			width = runeWidth * float64(len(mark.Text))
		}
		free[lane] = max(free[lane], from+width+8)
		mark.Y = float64(6 + lane*laneHeight)
		mark.TextY = mark.Y + 12
		p.Events = append(p.Events, mark)
		lanes = max(lanes, lane+1)
	}
	return lanes
}

func (p *plot) throughput(points []Point, top int) panel {
	most := 1.0
	for _, q := range points {
		most = max(most, q.PerSecond)
	}
	unit := niceStep(most / 3)
	most = math.Ceil(most/unit) * unit
	bottom := top + panelHeight
	y := func(v float64) float64 { return round(float64(bottom) - v/most*panelHeight) }
	out := panel{Head: "deliveries per second", HeadY: top - 10, Bottom: bottom}
	for v := 0.0; v <= most; v += unit {
		out.Ticks = append(out.Ticks, tickMark{y(v), y(v) + 4, thousands(v)})
	}
	var line strings.Builder
	for i, q := range points {
		fmt.Fprintf(&line, "%c%g %g", moveOrLine(i == 0), p.x(q.At), y(q.PerSecond))
	}
	area := fmt.Sprintf("%sL%g %dL%g %dZ", line.String(), p.x(p.end), bottom, p.x(p.begin), bottom)
	out.Lines = []curve{{"area", area}, {"rate", line.String()}}
	return out
}

// latency is drawn to a logarithmic scale. Steps in which nothing came are left out: that is a pause.
func (p *plot) latency(points []Point, top int) panel {
	low, high := math.Inf(1), 0.0
	for _, q := range points {
		if q.Max > 0 {
			low, high = min(low, max(q.P50, 0.01)), max(high, q.Max)
		}
	}
	if high == 0 {
		low, high = 1, 1
	}
	from, to := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	to = max(to, from+1)
	bottom := top + panelHeight
	y := func(v float64) float64 {
		return round(float64(bottom) - (math.Log10(max(v, math.Pow(10, from)))-from)/(to-from)*panelHeight)
	}
	out := panel{Head: "latency, ms", HeadY: top - 10, Bottom: bottom,
		Legend: []legend{{"p50", "var(--blue)"}, {"p99", "var(--orange)"}, {"max", "var(--dots)"}}}
	for e := from; e <= to; e++ {
		v := math.Pow(10, e)
		out.Ticks = append(out.Ticks, tickMark{y(v), y(v) + 4, fmt.Sprintf("%g", v)})
	}
	for _, c := range []struct {
		class string
		of    func(Point) float64
	}{
		{"max", func(q Point) float64 { return q.Max }},
		{"p99", func(q Point) float64 { return q.P99 }},
		{"p50", func(q Point) float64 { return q.P50 }},
	} {
		out.Lines = append(out.Lines, curve{c.class, p.broken(points, func(q Point) float64 { return y(c.of(q)) })})
	}
	return out
}

// broken is a line that is not drawn across steps in which nothing came. A step by itself is a short dash.
func (p *plot) broken(points []Point, y func(Point) float64) string {
	var d strings.Builder
	open := false
	for _, q := range points {
		if q.Max == 0 {
			open = false
			continue
		}
		if !open {
			fmt.Fprintf(&d, "M%g %gh1", p.x(q.At), y(q))
		} else {
			fmt.Fprintf(&d, "L%g %g", p.x(q.At), y(q))
		}
		open = true
	}
	return d.String()
}

func moveOrLine(move bool) rune {
	if move {
		return 'M'
	}
	return 'L'
}

// times marks the seconds below.
func (p *plot) times() {
	unit := niceStep((p.end - p.begin) / 8)
	for at := math.Ceil(p.begin/unit) * unit; at <= p.end; at += unit {
		p.Times = append(p.Times, tickMark{p.x(at), float64(p.Bottom + 18), fmt.Sprintf("%g s", math.Round(at*1000)/1000)})
	}
}

// spots makes places to point at, of one step or of several.
func (p *plot) spots(points []Point) {
	per := (len(points) + maxSpots - 1) / maxSpots
	for i := 0; i+1 < len(points); i += per {
		last := min(i+per, len(points)-1)
		s := spot{X: p.x(points[i].At)}
		s.Width = round(p.x(points[last].At) - s.X)
		worst := Point{}
		for _, q := range points[i:last] {
			worst.PerSecond += q.PerSecond / float64(last-i)
			worst.P50, worst.P99, worst.Max = max(worst.P50, q.P50), max(worst.P99, q.P99), max(worst.Max, q.Max)
		}
		s.Title = fmt.Sprintf("%.1f s: %s deliveries/s, p50 %s, p99 %s, max %s ms", points[i].At, thousands(worst.PerSecond),
			millis(worst.P50), millis(worst.P99), millis(worst.Max))
		p.Spots = append(p.Spots, s)
	}
}

// niceStep is 1, 2 or 5 times a power of ten, v or the next above.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	ten := math.Pow(10, math.Floor(math.Log10(v)))
	for _, n := range []float64{1, 2, 5} {
		if n*ten >= v*0.999 {
			return n * ten
		}
	}
	return 10 * ten
}

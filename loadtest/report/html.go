package report

import (
	"bytes"
	_ "embed" // the page
	"fmt"
	"html/template"
	"math"
	"strings"

	"millrace/loadtest/measure"
)

//go:embed report.html
var pageText string

// HTML is the report as one page that needs nothing else: plots are drawn into
// it, and it is legible in the light and in the dark.
func (r *Result) HTML() ([]byte, error) {
	page, err := template.New("report").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = page.Execute(&b, map[string]any{
		"R": r, "Verdict": r.verdict(), "Rows": r.rows(), "More": r.more(), "Where": r.where(), "Plots": r.plots(), "Number": number,
	})
	return b.Bytes(), err
}

// plot is a drawing with a title.
type plot struct {
	Title string
	SVG   template.HTML
}

func (r *Result) plots() []plot {
	var out []plot
	f := r.Figures
	if f.LimitEventsPerSecond > 0 {
		out = append(out, plot{"Events a second, beside the limit", bars([]bar{
			{"measured", f.EventsPerSecond}, {limitBar, f.LimitEventsPerSecond},
		}, "/s")})
	}
	if t := r.Detail.Timeline; len(t) > 1 {
		out = append(out, plot{"Events done, by second", lines([]series{{"events", points(t, func(s measure.Sample) float64 { return float64(s.Events) })}}, "s", "")})
	}
	if q := r.Detail.Quantiles; len(q) > 0 {
		var b []bar
		for _, p := range q {
			b = append(b, bar{fmt.Sprintf("p%g", p.Quantile), p.Ms})
		}
		out = append(out, plot{"Times: " + r.Detail.Latency, bars(b, " ms")})
	}
	var memory, cpu []series
	for _, p := range r.Detail.Processes {
		if len(p.Series) > 1 {
			memory = append(memory, series{p.Name, points(p.Series, func(s measure.Sample) float64 { return s.RSSMB })})
			cpu = append(cpu, series{p.Name, points(p.Series, func(s measure.Sample) float64 { return s.CPUSeconds })})
		}
	}
	if len(memory) > 0 {
		out = append(out, plot{"Resident memory", lines(memory, "s", " MB")}, plot{"CPU-seconds used", lines(cpu, "s", "")})
	}
	return out
}

type bar struct {
	name  string
	value float64
}

type point struct{ x, y float64 }

type series struct {
	name   string
	points []point
}

func points(samples []measure.Sample, y func(measure.Sample) float64) []point {
	out := make([]point, len(samples))
	for i, s := range samples {
		out[i] = point{s.Seconds, y(s)}
	}
	return out
}

// limitBar is drawn in another colour.
const limitBar = "limit"

const width, height, margin = 720, 240, 70

// bars draws lying bars, the longest as wide as the drawing.
func bars(bs []bar, unit string) template.HTML {
	most := 0.0
	for _, b := range bs {
		most = math.Max(most, b.value)
	}
	var b strings.Builder
	const each = 28
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img">`, width, len(bs)*each+6)
	for i, bar := range bs {
		y, w := i*each+4, 1.0
		if most > 0 {
			w = math.Max(1, bar.value/most*(width-2*margin-110))
		}
		class := "s0"
		if bar.name == limitBar {
			class = "s1"
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" class="name">%s</text>`, margin+10, y+15, template.HTMLEscapeString(bar.name))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="20" class="%s"/>`, margin+20, y, w, class)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s%s</text>`, margin+26+w, y+15, number(bar.value), template.HTMLEscapeString(unit))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // its texts are escaped
}

// lines draws series over time, from zero up.
func lines(all []series, xUnit, yUnit string) template.HTML {
	var right, top float64
	for _, s := range all {
		for _, p := range s.points {
			right, top = math.Max(right, p.x), math.Max(top, p.y)
		}
	}
	right, top = math.Max(right, 1e-9), math.Max(top, 1e-9)
	x := func(v float64) float64 { return margin + v/right*(width-margin-90) }
	y := func(v float64) float64 { return height - 30 - v/top*(height-50) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img">`, width, height)
	for i := range 5 {
		v := top * float64(i) / 4
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="grid"/>`, margin, width-90, y(v), y(v))
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" class="name">%s%s</text>`, margin-6, y(v)+4, number(v), yUnit)
		t := right * float64(i) / 4
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" class="tick">%s%s</text>`, x(t), height-10, number(t), xUnit)
	}
	for i, s := range all {
		var path strings.Builder
		for _, p := range s.points {
			fmt.Fprintf(&path, "%.1f,%.1f ", x(p.x), y(p.y))
		}
		fmt.Fprintf(&b, `<polyline points="%s" class="l%d"/>`, strings.TrimSpace(path.String()), i%4)
		last := s.points[len(s.points)-1]
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" class="t%d">%s</text>`, x(last.x)+5, y(last.y)+4, i%4, template.HTMLEscapeString(s.name))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // its texts are escaped
}

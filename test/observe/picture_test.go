package observe_test

import (
	"context"
	"flag"
	"fmt"
	"html/template"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/test/stack"
)

var screenshots = flag.String("screenshots", "", "write a picture of the dashboard into this folder")

// TestScreenshots draws the dashboard from a real Prometheus' answers: `make screenshots`. It draws what Grafana's model
// says and is no Grafana.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("make screenshots takes them")
	}
	chromium, err := exec.LookPath("chromium")
	require.NoError(t, err, "apt-get install chromium")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	s := newScene(t, ctx)
	p := s.startPrometheus(t, ctx)
	began := time.Now()
	for round := 0; time.Since(began) < 100*time.Second; round++ {
		s.everything(t, round)
		for range 10 + 8*(round/5%3) { // an uneven load looks like one
			run := s.start(t)
			s.end(t, run, "COMPLETED")
		}
	}
	s.everything(t, 0)
	s.scraped(t, ctx, p)
	s.scraped(t, ctx, p) // the last point of a curve lies before this moment
	page := filepath.Join(s.dir, "dashboard.html")
	require.NoError(t, os.WriteFile(page, []byte(drawn(t, ctx, p, readDashboard(t), began)), 0o600))
	path, err := filepath.Abs(filepath.Join(*screenshots, "dashboard.png"))
	require.NoError(t, err)
	out, err := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
		"--user-data-dir="+t.TempDir(), fmt.Sprintf("--window-size=1440,%d", height(readDashboard(t))), "--screenshot="+path, "file://"+page).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// Of the picture, in pixels.
const (
	unit  = 58 // a column of Grafana's 24
	gridY = 30
	gap   = 8
)

func height(d dashboard) int {
	bottom := 0
	for _, p := range d.Panels {
		bottom = max(bottom, p.GridPos.Y+p.GridPos.H)
	}
	return bottom*gridY + 70
}

var palette = []string{"#7EB26D", "#EAB839", "#6ED0E0", "#EF843C", "#E24D42", "#1F78C1", "#BA43A9", "#705DA0", "#508642", "#CCA300", "#447EBC", "#C15C17"}

const style = `body{background:#111217;color:#ccccdc;font:12px "DejaVu Sans",sans-serif;margin:16px}h1{font-size:18px;font-weight:500;margin:0 0 10px}
.grid{position:relative}.p{position:absolute;background:#181b1f;border:1px solid #25272d;border-radius:2px;overflow:hidden}
.t{padding:6px 10px 0;font-weight:600}.row{background:none;border:none;font-size:14px}.row .t{padding-left:0}.v{font-size:30px;text-align:center;padding-top:14px;font-weight:600}
.l{position:absolute;left:10px;right:8px;bottom:5px;height:17px;overflow:hidden;font-size:10px;white-space:nowrap}.l i{display:inline-block;width:10px;height:3px;margin:0 4px 3px 8px}text{fill:#9a9bab;font-size:10px}`

// drawn is the dashboard as a page without a script.
func drawn(t *testing.T, ctx context.Context, p *stack.Prometheus, d dashboard, from time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<!doctype html><meta charset="utf-8"><style>%s</style><h1>%s</h1><div class="grid">`, style, d.Title)
	for _, panel := range d.Panels {
		g := panel.GridPos
		class := "p"
		if panel.Type == "row" {
			class = "p row"
		}
		w, h := g.W*unit-gap, g.H*gridY-gap
		fmt.Fprintf(&b, `<div class="%s" style="left:%dpx;top:%dpx;width:%dpx;height:%dpx"><div class="t">%s</div>`,
			class, g.X*unit, g.Y*gridY, w, h, template.HTMLEscapeString(panel.Title))
		c := chart{unit: panel.FieldConfig.Defaults.Unit, stacked: panel.FieldConfig.Defaults.Custom.Stacking.Mode == "normal", w: float64(w), h: float64(h)}
		for _, target := range panel.Targets {
			found, err := p.QueryRange(ctx, filled(target.Expr), from.Add(6*time.Second), time.Now(), 2*time.Second)
			require.NoError(t, err)
			c.add(found, target.LegendFormat)
		}
		switch panel.Type {
		case "stat":
			b.WriteString(c.stat(panel))
		case "timeseries":
			b.WriteString(c.svg())
		}
		b.WriteString("</div>")
	}
	return b.String() + "</div>"
}

// chart is one panel's curves.
type chart struct {
	unit    string
	stacked bool
	w, h    float64
	lines   []line
}

type line struct {
	name   string
	points map[int64]float64 // by Unix second
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

func (c *chart) add(found []stack.Series, legend string) {
	for _, s := range found {
		l := line{points: map[int64]float64{}, name: legendLabel.ReplaceAllStringFunc(legend, func(m string) string {
			return s.Metric[strings.Trim(m, "{}")]
		})}
		for _, v := range s.Values {
			if value, err := strconv.ParseFloat(v[1].(string), 64); err == nil && !math.IsNaN(value) && !math.IsInf(value, 0) {
				l.points[int64(v[0].(float64))] = value
			}
		}
		if len(l.points) > 0 {
			c.lines = append(c.lines, l)
		}
	}
	slices.SortStableFunc(c.lines, func(a, b line) int { return strings.Compare(a.name, b.name) })
}

func (c *chart) times() (all []int64) {
	seen := map[int64]bool{}
	for _, l := range c.lines {
		for at := range l.points {
			if !seen[at] {
				seen[at] = true
				all = append(all, at)
			}
		}
	}
	slices.Sort(all)
	return all
}

// stat is the last value, in red from the highest threshold on.
func (c *chart) stat(p panel) string {
	times := c.times()
	if len(times) == 0 {
		return `<div class="v">-</div>`
	}
	colour, value := "#73bf69", c.lines[0].points[times[len(times)-1]]
	for _, step := range p.FieldConfig.Defaults.Thresholds.Steps {
		if step.Value != nil && value >= *step.Value {
			colour = "#f2495c"
		}
	}
	return `<div class="v" style="color:` + colour + `">` + inUnit(value, c.unit) + `</div>`
}

func (c *chart) svg() string {
	const left, right, top, bottom = 52, 10, 12, 42
	times := c.times()
	if len(times) < 2 {
		return `<div class="v">no data</div>`
	}
	below := map[int64]float64{}
	tallest := 0.0
	for _, l := range c.lines {
		for at, v := range l.points {
			if c.stacked {
				below[at] += v
				v = below[at]
			}
			tallest = max(tallest, v)
		}
	}
	tallest = rounded(tallest)
	first, last := times[0], times[len(times)-1]
	h := c.h - 26
	x := func(at int64) float64 { return left + (c.w-left-right)*float64(at-first)/float64(last-first) }
	y := func(v float64) float64 { return top + (h-top-bottom)*(1-v/tallest) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg width="%.0f" height="%.0f">`, c.w, h)
	for i := range 5 {
		v := tallest * float64(i) / 4
		fmt.Fprintf(&b, `<line x1="%d" x2="%.0f" y1="%.1f" y2="%.1f" stroke="#2c3038"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
			left, c.w-right, y(v), y(v), left-6, y(v)+3, inUnit(v, c.unit))
	}
	for i := range 4 {
		at := first + (last-first)*int64(i)/4
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f">%s</text>`, x(at), h-bottom+15, time.Unix(at, 0).UTC().Format("15:04:05"))
	}
	clear(below)
	legend := strings.Builder{}
	for i, l := range c.lines {
		colour := palette[i%len(palette)]
		var upper, lower []string
		for _, at := range times {
			v, ok := l.points[at]
			if !ok && !c.stacked {
				continue
			}
			base := below[at]
			if c.stacked {
				below[at] = base + v
				v += base
			}
			upper = append(upper, fmt.Sprintf("%.1f,%.1f", x(at), y(v)))
			lower = append(lower, fmt.Sprintf("%.1f,%.1f", x(at), y(base)))
		}
		if c.stacked {
			slices.Reverse(lower)
			fmt.Fprintf(&b, `<polygon points="%s" fill="%s" fill-opacity=".45"/>`, strings.Join(append(slices.Clone(upper), lower...), " "), colour)
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.6"/>`, strings.Join(upper, " "), colour)
		fmt.Fprintf(&legend, `<i style="background:%s"></i>%s`, colour, template.HTMLEscapeString(l.name))
	}
	return b.String() + `</svg><div class="l">` + legend.String() + `</div>`
}

// rounded is the next value that an axis ends at.
func rounded(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 4, 5, 8, 10} {
		if v <= step*power {
			return step * power
		}
	}
	return 10 * power
}

func inUnit(v float64, unit string) string {
	short := func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
	switch {
	case unit == "percentunit":
		return short(v*100) + "%"
	case unit == "bytes":
		return short(v/(1<<20)) + " MiB"
	case unit == "reqps":
		return short(v) + "/s"
	case unit == "s" && v > 0 && v < 1e-3:
		return short(v*1e6) + " µs"
	case unit == "s" && v > 0 && v < 1:
		return short(v*1e3) + " ms"
	case unit == "s":
		return short(v) + " s"
	}
	return short(v)
}

package output

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Chart draws series over time with characters: a panel of bars for each, one
// below the other, all on one scale, so that nothing depends on colour.
type Chart struct {
	// Start is the time of the first value, Step the distance of neighbours.
	Start time.Time
	Step  time.Duration
	// Format prints a value for the axis. nil prints numbers.
	Format func(float64) string
	Series []ChartSeries
}

// ChartSeries is one panel. NaN is no value; all series have the same length.
type ChartSeries struct {
	Name   string
	Values []float64
}

// The layout of a Chart.
const (
	chartWidth  = 80 // columns where the width is not known
	chartPanels = 20 // series that are drawn; the others are counted
	minPlot     = 10 // columns of the narrowest plot
)

// panelRows is the height of a panel: few series get tall ones.
func panelRows(series int) int {
	switch {
	case series == 1:
		return 10
	case series <= 3:
		return 5
	case series <= 6:
		return 3
	}
	return 1
}

// glyphs are the characters of a Chart: levels fill a cell from nothing to all.
type glyphs struct {
	levels            []string
	axis, corner, dot string
}

var (
	unicodeGlyphs = glyphs{strings.Split(" ▁▂▃▄▅▆▇█", ""), "┤", "┼", "•"}
	asciiGlyphs   = glyphs{strings.Split(" .:#", ""), "|", "+", "*"}
)

func glyphsOf(t Terminal) *glyphs {
	if t.Unicode {
		return &unicodeGlyphs
	}
	return &asciiGlyphs
}

// PlotColumns is how many values side by side a Chart has room for, so that a
// caller can ask for as many.
func PlotColumns(t Terminal) int { return max(t.columns()-12, minPlot) }

func (t Terminal) columns() int {
	if t.Width > 0 {
		return t.Width
	}
	return chartWidth
}

// Draw prints the chart for a terminal. Without series it prints nothing.
func (c *Chart) Draw(w io.Writer, t Terminal) error {
	series := slices.Clone(c.Series)
	slices.SortStableFunc(series, func(x, y ChartSeries) int { return -compareSums(x.Values, y.Values) })
	more := max(len(series)-chartPanels, 0)
	series = series[:len(series)-more]
	if len(series) == 0 || len(series[0].Values) == 0 {
		return nil
	}
	p := plot{out: bufio.NewWriter(w), t: t, g: glyphsOf(t), format: c.Format, rows: panelRows(len(series))}
	if p.format == nil {
		p.format = shortNumber
	}
	p.scale(series)
	p.layout(len(series[0].Values))
	for _, s := range series {
		p.panel(s)
	}
	p.timeAxis(c.Start, c.Step)
	if more > 0 {
		fmt.Fprintf(p.out, "and %d more series with smaller sums\n", more)
	}
	return p.out.Flush()
}

func compareSums(x, y []float64) int {
	sum := func(vs []float64) (s float64) {
		for _, v := range vs {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				s += math.Abs(v)
			}
		}
		return s
	}
	switch a, b := sum(x), sum(y); {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// plot is a Chart being drawn.
type plot struct {
	out      *bufio.Writer
	t        Terminal
	g        *glyphs
	format   func(float64) string
	rows     int
	low, top float64 // values at the lower and upper edge
	labels   int     // width of the numbers at the axis
	columns  int     // width of the bars
	values   int     // of each series
}

// scale makes the axis hold zero and every finite value.
func (p *plot) scale(series []ChartSeries) {
	for _, s := range series {
		for _, v := range s.Values {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				p.low, p.top = min(p.low, v), max(p.top, v)
			}
		}
	}
	if p.top == p.low {
		p.top++
	}
}

// layout gives every value the same number of columns where there is room for
// all, else every column as many values as need be.
func (p *plot) layout(values int) {
	p.values = values
	p.labels = max(utf8.RuneCountInString(p.format(p.top)), utf8.RuneCountInString(p.format(p.low)))
	room := max(p.t.columns()-p.labels-3, minPlot)
	p.columns = room
	if values <= room {
		p.columns = values * min(room/values, 8)
	}
}

// at is the largest of the values that column i stands for: spikes stay.
func (p *plot) at(values []float64, i int) float64 {
	from, to := i*p.values/p.columns, (i+1)*p.values/p.columns
	v := math.NaN()
	for _, x := range values[from:max(to, from+1)] {
		if math.IsNaN(v) || math.Abs(x) > math.Abs(v) {
			v = x
		}
	}
	return v
}

func (p *plot) panel(s ChartSeries) {
	name := s.Name
	if n := p.t.columns(); utf8.RuneCountInString(name) > n {
		name = string([]rune(name)[:n-1]) + "~"
	}
	if name != "" {
		name = p.t.Paint(Bold, name)
		if p.rows == 1 {
			name += "  max " + p.format(largest(s.Values)) // too flat to read off
		}
		fmt.Fprintln(p.out, name)
	}
	for r := range p.rows {
		label, axis := "", p.g.axis
		switch r {
		case 0:
			label = p.format(p.top)
		case p.rows - 1:
			label, axis = p.format(p.low), p.g.corner
		}
		var line strings.Builder
		for i := range p.columns {
			line.WriteString(p.cell(p.at(s.Values, i), p.rows-1-r))
		}
		fmt.Fprintf(p.out, "%*s %s%s\n", p.labels, label, axis, p.t.Paint(Cyan, strings.TrimRight(line.String(), " ")))
	}
}

func largest(values []float64) float64 {
	m := math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) {
			m = max(m, v)
		}
	}
	return m
}

// cell is the part of a bar in one row, counted from below. Where there are
// values below zero, bars would mislead: dots stand at the values then.
func (p *plot) cell(v float64, row int) string {
	if math.IsNaN(v) {
		return " "
	}
	full := len(p.g.levels) - 1
	height := min(max((v-p.low)/(p.top-p.low), 0), 1) * float64(p.rows*full)
	if p.low < 0 {
		if min(int(height)/full, p.rows-1) == row {
			return p.g.dot
		}
		return " "
	}
	level := int(math.Round(height)) - row*full
	if row == 0 && v > 0 {
		level = max(level, 1) // little is not nothing
	}
	return p.g.levels[min(max(level, 0), full)]
}

// timeAxis prints times under the bars they belong to.
func (p *plot) timeAxis(start time.Time, step time.Duration) {
	span := time.Duration(p.values-1) * step
	layout := "15:04"
	switch {
	case span >= 7*24*time.Hour:
		layout = "2006-01-02"
	case span >= 24*time.Hour:
		layout = "01-02 15:04"
	case span < 10*time.Minute:
		layout = "15:04:05"
	}
	const gap = 6
	line := strings.Repeat(" ", p.labels+2)
	used := 0
	for next := 0; next < p.columns; {
		label := start.Add(time.Duration(next*p.values/p.columns) * step).Format(layout)
		if next > 0 && next+len(label) > p.columns {
			break
		}
		line += strings.Repeat(" ", next-used) + label
		used = next + len(label)
		// The next label stands under the first column of a value.
		next = used + gap
		if per := p.columns / p.values; per > 1 {
			next = (next + per - 1) / per * per
		}
	}
	fmt.Fprintln(p.out, p.t.Paint(Faint, line))
}

// shortNumber has four digits and a letter for thousands.
func shortNumber(v float64) string {
	units := []struct {
		of   float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}
	for _, u := range units {
		if math.Abs(v) >= 10*u.of || math.Abs(v) >= u.of && u.of > 1e3 {
			return fmt.Sprintf("%.3g%s", v/u.of, u.name)
		}
	}
	return fmt.Sprintf("%.4g", v)
}

// Sparkline is a row of bars, at most width wide, from zero to the largest value.
func Sparkline(values []float64, width int, t Terminal) string {
	if len(values) == 0 || width <= 0 {
		return ""
	}
	p := plot{t: t, g: glyphsOf(t), rows: 1, values: len(values), columns: min(width, len(values))}
	p.scale([]ChartSeries{{Values: values}})
	var b strings.Builder
	for i := range p.columns {
		b.WriteString(p.cell(p.at(values, i), 0))
	}
	return b.String()
}

// HBar is a horizontal bar of fraction (0 to 1) of width columns. What is not
// nothing shows at least a trace.
func HBar(fraction float64, width int, t Terminal) string {
	fraction = min(max(fraction, 0), 1)
	if !t.Unicode {
		n := int(math.Round(fraction * float64(width)))
		if fraction > 0 {
			n = max(n, 1)
		}
		return strings.Repeat("#", n)
	}
	eighths := int(math.Round(fraction * float64(width) * 8))
	if fraction > 0 {
		eighths = max(eighths, 1)
	}
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return bar
}

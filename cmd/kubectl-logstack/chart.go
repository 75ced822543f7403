package main

import (
	"math"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// niceSteps are lengths that people count in.
var niceSteps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour,
}

// niceStep divides a range into at most n steps.
func niceStep(d time.Duration, n int) time.Duration {
	least := d / time.Duration(max(n, 1))
	for _, s := range niceSteps {
		if s >= least {
			return s
		}
	}
	return least.Round(24*time.Hour) + 24*time.Hour
}

// maxChartPoints bounds what a chart is drawn from.
const maxChartPoints = 11_000

// drawChart lays the points of series on one grid of time and draws them. A
// place without a point stays empty.
func drawChart(a *app, series []lokiapi.Series, s span, step time.Duration, z zone, format func(float64) string) error {
	stepMillis := step.Milliseconds()
	origin := int64(math.MaxInt64)
	last := int64(math.MinInt64)
	for _, sr := range series {
		for _, p := range sr.Points {
			origin, last = min(origin, p.Time), max(last, p.Time)
		}
	}
	if last < origin {
		return nil
	}
	// The whole range is drawn, also where nothing happened.
	if before := (origin - s.start.UnixMilli()) / stepMillis; before > 0 {
		origin -= before * stepMillis
	}
	end := s.end
	if now := time.Now(); end.After(now) {
		end = now
	}
	last = max(last, end.UnixMilli())
	n := min((last-origin)/stepMillis+1, maxChartPoints)
	c := output.Chart{Start: z.time(origin * int64(time.Millisecond)), Step: step, Format: format}
	for _, sr := range series {
		values := make([]float64, n)
		for i := range values {
			values[i] = math.NaN()
		}
		for _, p := range sr.Points {
			if i := (p.Time - origin) / stepMillis; i < n {
				values[i] = p.Value
			}
		}
		name := sr.Labels.String()
		if len(series) == 1 && sr.Labels.IsEmpty() {
			name = "" // there is nothing to tell it from
		}
		c.Series = append(c.Series, output.ChartSeries{Name: name, Values: values})
	}
	return c.Draw(a.Out, a.out())
}

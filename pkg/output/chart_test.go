package output

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestChart draws charts into testdata, where they can be looked at.
func TestChart(t *testing.T) {
	wave := func(n int, f func(i int) float64) []float64 {
		vs := make([]float64, n)
		for i := range vs {
			vs[i] = f(i)
		}
		return vs
	}
	sine := wave(60, func(i int) float64 { return 50 + 50*math.Sin(float64(i)/6) })
	var many []ChartSeries
	for i := range 25 {
		many = append(many, ChartSeries{fmt.Sprintf("app-%02d", i), wave(48, func(j int) float64 { return float64((i*j)%17) * float64(i) })})
	}
	start := time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		width int
		c     Chart
	}{
		"one":      {80, Chart{Start: start, Step: time.Minute, Series: []ChartSeries{{"sum(rate)", sine}}}},
		"few":      {60, Chart{Start: start, Step: 15 * time.Second, Series: []ChartSeries{{"web", wave(12, func(i int) float64 { return float64(i * i) })}, {"db", wave(12, func(i int) float64 { return float64(i % 3) })}}}},
		"many":     {72, Chart{Start: start, Step: time.Hour, Series: many}},
		"squeezed": {40, Chart{Start: start, Step: 24 * time.Hour, Series: []ChartSeries{{"spikes", wave(300, func(i int) float64 { return map[bool]float64{true: 1234567, false: 10000}[i%97 == 50] })}}}},
		"negative": {50, Chart{Start: start, Step: time.Minute, Series: []ChartSeries{{"deriv", wave(40, func(i int) float64 { return 3 * math.Cos(float64(i)/5) })}}}},
		"gaps":     {50, Chart{Start: start, Step: time.Minute, Series: []ChartSeries{{"gaps", wave(36, func(i int) float64 { return []float64{1, math.NaN(), math.Inf(1), 2, 0}[i/4%5] })}}}},
		"zero":     {50, Chart{Start: start, Step: time.Minute, Series: []ChartSeries{{"nothing", wave(10, func(int) float64 { return 0 })}}}},
		"none":     {50, Chart{}},
	} {
		for _, unicode := range []bool{true, false} {
			var out bytes.Buffer
			if err := tc.c.Draw(&out, Terminal{Width: tc.width, Unicode: unicode}); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "chart", name+map[bool]string{true: ".unicode", false: ".ascii"}[unicode]+".txt")
			if *update {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), out.String()); d != "" {
				t.Errorf("%s: %s", file, d)
			}
		}
	}
}

func TestBars(t *testing.T) {
	u, a := Terminal{Unicode: true}, Terminal{}
	for _, tc := range []struct{ got, want string }{
		{HBar(0, 10, u), ""},
		{HBar(0.0001, 10, u), "▏"},
		{HBar(0.55, 10, u), "█████▌"},
		{HBar(1, 4, u), "████"},
		{HBar(2, 4, a), "####"},
		{HBar(0.0001, 10, a), "#"},
		{Sparkline([]float64{0, 1, 2, 4, 8}, 10, u), " ▁▂▄█"},
		{Sparkline([]float64{0, 1, 2, 4, 9, 0}, 3, u), "▁▄█"},
		{Sparkline([]float64{0, 1, 9}, 3, a), " .#"},
		{Sparkline(nil, 3, a), ""},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}

func TestUnicodeLocale(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "en_US.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LC_CTYPE": "UTF-8"}, true},
		{map[string]string{"WT_SESSION": "x"}, true},
	} {
		if got := unicodeLocale(func(k string) string { return tc.env[k] }); got != tc.want {
			t.Errorf("%v: %t", tc.env, got)
		}
	}
}

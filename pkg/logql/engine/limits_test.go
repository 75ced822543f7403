package engine

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

// TestTimeLimits checks the limits on the time of a query, with the words that
// Loki has for them.
func TestTimeLimits(t *testing.T) {
	const hour = int64(time.Hour)
	now := zero + 240*hour
	limits := Options{MaxQueryLength: 24 * time.Hour, MaxRange: 10 * time.Minute, MaxLookback: 168 * time.Hour}
	logs, metric := `{app="a"}`, `sum(rate({app="a"}[10m]))`
	for _, c := range []struct {
		name       string
		query      string
		start, end int64
		o          Options
		want       string
	}{
		{"no limits", metric, zero - 100*hour, now, Options{}, ""},
		{"longest", logs, now - 24*hour, now, limits, ""},
		{"too long", logs, now - 24*hour - 1e6, now, limits, "the query time range exceeds the limit (query length: 1d1ms, limit: 1d)"},
		{"metric too long", metric, now - 25*hour, now, limits, "the query time range exceeds the limit (query length: 1d1h, limit: 1d)"},
		{"longer than an int64", logs, math.MinInt64, math.MaxInt64, Options{MaxQueryLength: time.Hour}, "the query time range exceeds the limit (query length: 106751d23h47m16s854ms, limit: 1h)"},
		{"widest", metric, now - hour, now, limits, ""},
		{"too wide", `rate({app="a"}[11m])`, now - hour, now, limits, "[interval] value exceeds limit: [11m] > [10m]"},
		{"too wide inside", `vector(1) + max(max_over_time(rate({app="a"}[1m])[1h:]))`, now - hour, now, limits, "[interval] value exceeds limit: [1h] > [10m]"},
		{"oldest", metric, now - 169*hour, now - 168*hour, limits, ""},
		{"too old", metric, now - 170*hour, now - 169*hour, limits, "this data is no longer available, it is past now - max_query_lookback (1w)"},
		{"logs too old", logs, now - 170*hour, now - 169*hour, limits, "this data is no longer available, it is past now - max_query_lookback (1w)"},
		{"logs cut, not too long", logs, now - 300*hour, now - 160*hour, limits, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Now = func() time.Time { return time.Unix(0, now) }
			e := New(storeOf(1, 10), c.o)
			p := Params{Query: c.query, Start: c.start, End: c.end, Step: time.Hour, Limit: 10}
			_, err := e.Range(context.Background(), p)
			checkLimit(t, err, c.want)
			if c.query != logs && c.name != "metric too long" {
				_, err = e.Instant(context.Background(), p)
				checkLimit(t, err, c.want)
			}
		})
	}
}

func checkLimit(t *testing.T, err error, want string) {
	t.Helper()
	var limit *LimitError
	switch {
	case want == "" && err == nil:
	case !errors.As(err, &limit) || limit.Msg != want:
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestLookbackCutsLogs checks that a log query does not see behind MaxLookback.
func TestLookbackCutsLogs(t *testing.T) {
	e := New(storeOf(1, 60), Options{MaxLookback: 30 * time.Second, Now: func() time.Time { return time.Unix(0, zero+60e9) }})
	p := params(`{app="a"}`)
	p.End = zero + 100e9
	res, err := e.Range(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(res.Streams[0].Entries); n != 30 {
		t.Errorf("%d entries, want those of 30 seconds", n)
	}
}

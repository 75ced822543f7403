package main

import (
	"strings"
	"testing"
	"time"
)

func TestResolveTimes(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 5, 14, 30, 0, 0, berlin)
	for _, tc := range []struct {
		since, from, to string
		start, end      string // RFC 3339 UTC; "" is the zero time
		err             string
	}{
		{"1h", "", "", "2026-03-05T12:30:00Z", "", ""},
		{"1.5h", "", "", "2026-03-05T12:00:00Z", "", ""},
		{"1d", "", "", "2026-03-04T13:30:00Z", "", ""},
		{"1h", "", "12:00", "2026-03-05T10:00:00Z", "2026-03-05T11:00:00Z", ""},
		{"1h", "2026-03-04", "2026-03-05", "2026-03-03T23:00:00Z", "2026-03-04T23:00:00Z", ""},
		{"1h", "2026-03-05T09:15", "", "2026-03-05T08:15:00Z", "", ""},
		{"1h", "2026-03-05T09:15:00Z", "now", "2026-03-05T09:15:00Z", "2026-03-05T13:30:00Z", ""},
		{"1h", "2h", "30m", "2026-03-05T11:30:00Z", "2026-03-05T13:00:00Z", ""},
		{"1h", "yesterday", "today", "2026-03-03T23:00:00Z", "2026-03-04T23:00:00Z", ""},
		{"1h", "yesterday 18:30", "Now-30m", "2026-03-04T17:30:00Z", "2026-03-05T13:00:00Z", ""},
		{"1h", "2 hours ago", "90 seconds ago", "2026-03-05T11:30:00Z", "2026-03-05T13:28:30Z", ""},
		{"1h", "1772700000", "1772700001000", "2026-03-05T08:40:00Z", "2026-03-05T08:40:01Z", ""},
		{"1h", "1772700000000000000", "2026-03-05 12:00", "2026-03-05T08:40:00Z", "2026-03-05T11:00:00Z", ""},
		{"1h", "12", "", "", "", `--from "12" is not a time`},
		{"yesterday", "", "", "", "", `--since "yesterday" is not a duration`},
		{"1h", "tea time", "", "", "", `--from "tea time" is not a time`},
		{"1h", "13:00", "12:00", "", "", "ends (2026-03-05T12:00:00+01:00) before it starts"},
	} {
		f := timeFlags{since: tc.since, from: tc.from, to: tc.to}
		start, end, err := f.resolve(now)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%+v: got %v, want %q", f, err, tc.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", f, err)
			continue
		}
		if got := start.UTC().Format(time.RFC3339); got != tc.start {
			t.Errorf("%+v: start %s, want %s", f, got, tc.start)
		}
		got := ""
		if !end.IsZero() {
			got = end.UTC().Format(time.RFC3339)
		}
		if got != tc.end {
			t.Errorf("%+v: end %s, want %s", f, got, tc.end)
		}
	}
}

// A range that ends now ends with a whole step.
func TestLastStep(t *testing.T) {
	now := time.Date(2026, 3, 5, 13, 51, 20, 7, time.UTC)
	for _, tt := range []struct {
		since, step time.Duration
		want        time.Time
	}{
		{time.Hour, 5 * time.Minute, now.Truncate(time.Hour).Add(50 * time.Minute)},
		{time.Hour, 7 * time.Second, time.Unix(now.Unix()/7*7, 0)},
		{time.Minute, time.Hour, now}, // no step lies in the range
	} {
		if got := lastStep(span{start: now.Add(-tt.since), end: now}, tt.step); !got.Equal(tt.want) {
			t.Errorf("the last step of %s in %s is %s, want %s", tt.step, tt.since, got, tt.want)
		}
	}
}

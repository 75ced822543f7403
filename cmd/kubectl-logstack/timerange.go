package main

import (
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"
	"github.com/spf13/pflag"
)

// timeFlags are --since, --from and --to.
type timeFlags struct {
	since, from, to string
}

func (f *timeFlags) addFlags(fl *pflag.FlagSet, since string) {
	fl.StringVar(&f.since, "since", since, "How far back to look: 15m, 2h, 7d.")
	fl.StringVar(&f.from, "from", "", "Start of the range instead of --since: 2006-01-02, 2006-01-02T15:04, RFC 3339, 15:04 (today).")
	fl.StringVar(&f.to, "to", "", "End of the range (default: now); forms as --from, or a duration ago.")
}

// resolve returns the range; an unset end is the zero time.
func (f *timeFlags) resolve(now time.Time) (start, end time.Time, err error) {
	if f.to != "" {
		if end, err = parseTime("--to", f.to, now); err != nil {
			return start, end, err
		}
	}
	base := now
	if !end.IsZero() {
		base = end
	}
	switch {
	case f.from != "":
		start, err = parseTime("--from", f.from, now)
	default:
		var d prommodel.Duration
		d, err = parseDuration("--since", f.since)
		start = base.Add(-time.Duration(d))
	}
	if err == nil && !end.IsZero() && end.Before(start) {
		err = usagef("the range ends (%s) before it starts (%s)", end.Format(time.RFC3339), start.Format(time.RFC3339))
	}
	return start, end, err
}

func parseDuration(flag, s string) (prommodel.Duration, error) {
	d, err := prommodel.ParseDuration(s)
	if err != nil {
		// What Go and kubectl accept, too: 1.5h.
		if g, gerr := time.ParseDuration(s); gerr == nil && g >= 0 {
			return prommodel.Duration(g), nil
		}
		return 0, usagef("%s %q is not a duration such as 15m, 2h or 7d", flag, s)
	}
	return d, nil
}

// parseTime accepts what people type. Forms without a zone are local time.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	if s == "now" {
		return now, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	if d, err := prommodel.ParseDuration(strings.TrimPrefix(s, "-")); err == nil {
		return now.Add(-time.Duration(d)), nil
	}
	return time.Time{}, usagef("%s %q is not a time: write 2006-01-02T15:04, RFC 3339, 15:04, or a duration ago such as 30m", flag, s)
}

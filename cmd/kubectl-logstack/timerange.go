package main

import (
	"strconv"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"
	"github.com/spf13/pflag"
)

// timeFlags are --since, --from and --to.
type timeFlags struct {
	since, from, to string
	// set is where they were given, to tell a --since from its default.
	set *pflag.FlagSet
}

func (f *timeFlags) addFlags(fl *pflag.FlagSet, since string) {
	f.set = fl
	fl.StringVar(&f.since, "since", since, "How far back to look: 15m, 2h, 7d.")
	fl.StringVar(&f.from, "from", "", "Start of the range instead of --since: 2006-01-02, 2006-01-02T15:04, RFC 3339, 15:04 (today), yesterday, 30m (ago).")
	fl.StringVar(&f.to, "to", "", "End of the range (default: now), in the same forms.")
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
	case f.from != "" && f.set != nil && f.set.Changed("since"):
		err = usagef("--from and --since: name one of them")
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

// dayLayouts are forms of a whole time, clockLayouts those of a time of day.
// What has no zone is local time.
var (
	dayLayouts   = []string{"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}
	clockLayouts = []string{"15:04:05", "15:04"}
)

// parseTime accepts what people type.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	if t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text)); err == nil {
		return t, nil
	}
	for _, layout := range dayLayouts {
		if t, err := time.ParseInLocation(layout, strings.ToUpper(text), now.Location()); err == nil {
			return t, nil
		}
	}
	if t, ok := unixTime(text); ok {
		return t, nil
	}
	if d, ok := durationAgo(text); ok {
		return now.Add(-d), nil
	}
	if t, ok := timeOfDay(text, now); ok {
		return t, nil
	}
	return time.Time{}, usagef("%s %q is not a time: write 2006-01-02T15:04, RFC 3339, 15:04, yesterday, yesterday 15:04, or how long ago such as 30m", flag, s)
}

// unixTime reads seconds, milliseconds or nanoseconds since the epoch, as their
// number of digits tells.
func unixTime(s string) (time.Time, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, false
	}
	switch len(s) {
	case 10:
		return time.Unix(n, 0), true
	case 13:
		return time.UnixMilli(n), true
	case 19:
		return time.Unix(0, n), true
	}
	return time.Time{}, false
}

// durationAgo reads now, 30m, -30m, now-30m, 30m ago and 2 hours ago.
func durationAgo(s string) (time.Duration, bool) {
	if s == "now" {
		return 0, true
	}
	s = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, "now"), "-"), "ago"))
	if n, unit, ok := strings.Cut(s, " "); ok {
		for _, u := range []string{"second", "minute", "hour", "day", "week"} {
			if unit == u || unit == u+"s" {
				s = n + u[:1]
			}
		}
	}
	d, err := parseDuration("", s)
	return time.Duration(d), err == nil
}

// timeOfDay reads 15:04, today, yesterday and yesterday 15:04.
func timeOfDay(s string, now time.Time) (time.Time, bool) {
	day, clock := now, s
	for name, back := range map[string]int{"today": 0, "yesterday": -1} {
		if rest, ok := strings.CutPrefix(s, name); ok {
			day, clock = now.AddDate(0, 0, back), strings.TrimSpace(rest)
			if clock == "" {
				clock = "00:00"
			}
		}
	}
	for _, layout := range clockLayouts {
		if t, err := time.Parse(layout, clock); err == nil {
			y, m, d := day.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location()), true
		}
	}
	return time.Time{}, false
}

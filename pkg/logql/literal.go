package logql

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/common/model"
)

// parseDuration reads Prometheus's form (1d, 5m30s) and then Go's (1.5s, 250us).
func parseDuration(text string) (time.Duration, error) {
	d, err := model.ParseDuration(text)
	if err == nil {
		return time.Duration(d), nil
	}
	if g, errGo := time.ParseDuration(text); errGo == nil {
		return g, nil
	}
	return 0, err
}

// formatDuration prints the shortest form that parseDuration reads, with a "-"
// in front of a negative one.
func formatDuration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + formatDuration(-d)
	case d%time.Second != 0:
		return d.String()
	}
	return model.Duration(d).String()
}

// formatRangeLength prints the length of a range. Brackets take only
// Prometheus's form, in whole milliseconds.
func formatRangeLength(d time.Duration) string { return model.Duration(d).String() }

// byteUnitRunes are the letters of the byte units. "b" is none of them, which
// refuses 20kb as Loki does; nothing is above peta.
const byteUnitRunes = "BikKMGTP"

// parseBytes reads a number of bytes with a unit: 20kB, 1.5MiB, 3G.
func parseBytes(text string) (uint64, bool) {
	unit := strings.TrimLeft(text, "0123456789.")
	if unit == "" || strings.Trim(unit, byteUnitRunes) != "" {
		return 0, false
	}
	n, err := humanize.ParseBytes(text)
	return n, err == nil
}

// byteUnits are what formatBytes prints, biggest first.
var byteUnits = []struct {
	name string
	size uint64
}{
	{"PiB", 1 << 50}, {"PB", 1e15}, {"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9},
	{"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3},
}

// formatBytes prints n exactly, in the biggest unit that divides it.
func formatBytes(n uint64) string {
	for _, u := range byteUnits {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatUint(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatUint(n, 10) + "B"
}

// formatNumber prints v so that it parses to the same float.
func formatNumber(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 0):
		return strconv.FormatFloat(v, 'g', -1, 64) // +Inf, -Inf
	case a != 0 && (a < 1e-6 || a >= 1e15):
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// quote prints a string literal: in backquotes where that avoids escapes.
func quote(s string) string {
	if strings.ContainsAny(s, `"\`) && strconv.CanBackquote(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

// maxExcerptBytes is how much of a string an error message shows.
const maxExcerptBytes = 200

// excerpt quotes s for an error message, the beginning of it if it is long.
func excerpt(s string) string {
	if len(s) <= maxExcerptBytes {
		return quote(s)
	}
	return quote(strings.ToValidUTF8(s[:maxExcerptBytes], "")) + "..."
}

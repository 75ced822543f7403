package server

import (
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	commonmodel "github.com/prometheus/common/model"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Defaults and bounds of request parameters, all Loki's.
const (
	defaultSince    = time.Hour
	defaultLimit    = 100
	defaultStepPart = 250 // points that a range is divided into by default
	maxPoints       = 11000
	maxTailDelay    = 5 // seconds
)

// params reads the parameters of one request.
type params struct {
	url.Values
	now time.Time
}

func (s *Server) params(r *http.Request) params { return params{r.Form, s.opts.Now()} }

// timestamp reads a time: float seconds if there is a point, else an integer,
// of seconds with up to ten characters and of nanoseconds with more, else
// RFC 3339.
func (p params) timestamp(key string, def int64) (int64, error) {
	text := p.Get(key)
	if text == "" {
		return def, nil
	}
	if strings.Contains(text, ".") {
		if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) {
			return clampNanos(math.Round(f*1000) * 1e6), nil
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if len(text) <= 10 {
			return clampNanos(float64(n) * 1e9), nil
		}
		return n, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, badRequestf("could not parse '%s' parameter: cannot parse %q to a valid timestamp", key, text)
	}
	return t.UnixNano(), nil
}

// clampNanos rounds to whole milliseconds, which a float of this size still
// tells apart, and keeps seconds like 9999999999 inside of an int64.
func clampNanos(ns float64) int64 {
	switch {
	case ns >= math.MaxInt64-1e6:
		return math.MaxInt64
	case ns <= math.MinInt64+1e6:
		return math.MinInt64
	}
	return int64(math.Round(ns/1e6)) * 1e6
}

// bounds reads start, end and since.
func (p params) bounds() (model.TimeRange, error) {
	now := p.now.UnixNano()
	end, err := p.timestamp("end", now)
	if err != nil {
		return model.TimeRange{}, err
	}
	since := defaultSince
	if text := p.Get("since"); text != "" {
		d, err := commonmodel.ParseDuration(text)
		if err != nil {
			return model.TimeRange{}, badRequestf("could not parse 'since' parameter: %v", err)
		}
		since = time.Duration(d)
	}
	start, err := p.timestamp("start", min(end, now)-int64(since))
	if err != nil {
		return model.TimeRange{}, err
	}
	if end < start {
		return model.TimeRange{}, badRequestf("end timestamp must not be before or equal to start time")
	}
	return model.TimeRange{Start: start, End: end}, nil
}

// metadataBounds is bounds with the end included: label lists are asked for
// with the same start and end as a query, and a stream whose only entry lies
// at the end is wanted too.
func (p params) metadataBounds() (model.TimeRange, error) {
	r, err := p.bounds()
	if r.End < math.MaxInt64 {
		r.End++
	}
	return r, err
}

// duration reads float seconds, or a duration in Prometheus' form.
func (p params) duration(key string) (d time.Duration, ok bool, err error) {
	text := p.Get(key)
	if text == "" {
		return 0, false, nil
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		ns := f * float64(time.Second)
		if math.IsNaN(ns) || ns > math.MaxInt64 || ns < math.MinInt64 {
			return 0, false, badRequestf("cannot parse %q to a valid duration. It overflows int64", text)
		}
		return time.Duration(ns), true, nil
	}
	pd, err := commonmodel.ParseDuration(text)
	if err != nil {
		return 0, false, badRequestf("cannot parse %q to a valid duration", text)
	}
	return time.Duration(pd), true, nil
}

// span is the length of a range; it does not overflow.
func span(r model.TimeRange) uint64 { return uint64(r.End) - uint64(r.Start) }

// step reads the distance of points and checks it against the range.
func (p params) step(r model.TimeRange) (time.Duration, error) {
	step, ok, err := p.duration("step")
	switch {
	case err != nil:
		return 0, err
	case !ok:
		seconds := span(r) / defaultStepPart / uint64(time.Second)
		step = time.Duration(max(seconds, 1)) * time.Second
	case step <= 0:
		return 0, badRequestf("zero or negative query resolution step widths are not accepted. Try a positive integer")
	}
	if span(r)/uint64(step) > maxPoints {
		return 0, badRequestf("exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter")
	}
	return step, nil
}

func (p params) interval() (time.Duration, error) {
	d, _, err := p.duration("interval")
	if err == nil && d < 0 {
		err = badRequestf("interval must be >= 0")
	}
	return d, err
}

func (p params) limit(def int) (int, error) {
	text := p.Get("limit")
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, badRequestf("could not parse 'limit' parameter: %q is not a number", text)
	}
	return n, nil
}

// positiveLimit is the limit of a query.
func (p params) positiveLimit() (int, error) {
	n, err := p.limit(defaultLimit)
	if err == nil && n <= 0 {
		err = badRequestf("limit must be a positive value")
	}
	return n, err
}

func (p params) direction() (model.Direction, error) {
	switch text := p.Get("direction"); strings.ToLower(text) {
	case "", "backward":
		return model.Backward, nil
	case "forward":
		return model.Forward, nil
	default:
		return 0, badRequestf("invalid direction '%s'", text)
	}
}

// categorize says whether the client wants metadata and parsed labels apart.
func categorize(r *http.Request) bool {
	for _, h := range r.Header.Values(lokiapi.EncodingFlagsHeader) {
		for flag := range strings.SplitSeq(h, ",") {
			if flag == lokiapi.CategorizeLabels {
				return true
			}
		}
	}
	return false
}

// partialSources are the values of Source in X-Query-Tags with which Grafana
// marks requests whose answer a person looks at: Logs Drilldown, the histogram
// above a log panel, samples, infinite scrolling.
var partialSources = []string{"grafana-lokiexplore-app", "logvolhist", "logsample", "datasample", "infinitescroll"}

// partialSeries says whether the client takes a part of the series, with a
// warning, where there are too many. Loki grants that to Logs Drilldown only; we
// do to everything that Grafana marks as shown to a person, and to whoever asks
// with the parameter partial=true. A dashboard's panel or an alert rule, which
// look the same to us, never get a part: an alert must not be judged by one.
func partialSeries(r *http.Request) bool {
	if yes, err := strconv.ParseBool(r.Form.Get("partial")); err == nil {
		return yes
	}
	for _, h := range r.Header.Values("X-Query-Tags") {
		for tag := range strings.SplitSeq(h, ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(tag), "=")
			if strings.EqualFold(key, "source") && slices.Contains(partialSources, strings.ToLower(value)) {
				return true
			}
		}
	}
	return false
}

// noCache says whether the client wants everything evaluated anew.
func noCache(r *http.Request) bool {
	for _, h := range r.Header.Values("Cache-Control") {
		for directive := range strings.SplitSeq(h, ",") {
			switch strings.ToLower(strings.TrimSpace(directive)) {
			case "no-cache", "no-store":
				return true
			}
		}
	}
	return false
}

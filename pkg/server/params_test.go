package server

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// readEndpoints are all that answer about a range of time, and the parameters
// that each takes beside start, end and since.
var readEndpoints = []struct {
	path, query string
	params      string
}{
	{"/query_range", `{app="web"}`, "step limit direction interval"},
	{"/labels", `{app="web"}`, ""},
	{"/label", `{app="web"}`, ""},
	{"/label/app/values", `{app="web"}`, ""},
	{"/series", "", ""},
	{"/index/stats", `{app="web"}`, ""},
	{"/index/shards", `{app="web"}`, ""},
	{"/index/volume", `{app="web"}`, "limit aggregateBy"},
	{"/index/volume_range", `{app="web"}`, "limit aggregateBy step"},
	{"/detected_labels", `{app="web"}`, ""},
	{"/detected_fields", `{app="web"}`, "limit line_limit field_limit"},
	{"/detected_field/level/values", `{app="web"}`, "limit line_limit field_limit"},
	{"/patterns", `{app="web"}`, "step"},
}

// askBoth asks by GET and by a form: the answers are equal.
func askBoth(t *testing.T, s *Server, path string, v url.Values) (code int, body string) {
	t.Helper()
	hide := func(w *httptest.ResponseRecorder) string {
		return strings.TrimRight(exactTimes.ReplaceAllString(w.Body.String(), `"$1":0`), "\n")
	}
	form := httptest.NewRequest(http.MethodPost, path, strings.NewReader(v.Encode()))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	byForm := do(s, form)
	byURL := get(t, s, path, v)
	if byForm.Code != byURL.Code || hide(byForm) != hide(byURL) {
		t.Errorf("%s?%s: by GET %d %s, by POST %d %s", path, v.Encode(), byURL.Code, byURL.Body, byForm.Code, byForm.Body)
	}
	if byURL.Code != http.StatusOK {
		h := byURL.Header()
		if h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s?%s: an error with %v", path, v.Encode(), h)
		}
	}
	return byURL.Code, hide(byURL)
}

// TestParameterRules gives every endpoint every bad parameter that it takes.
func TestParameterRules(t *testing.T) {
	s, _ := newTestServer(nil)
	fill(t, s)
	bad := []struct{ param, value, want string }{
		{"start", "yesterday", `could not parse 'start' parameter: cannot parse "yesterday" to a valid timestamp`},
		{"end", "2026-11-22", `could not parse 'end' parameter: cannot parse "2026-11-22" to a valid timestamp`},
		{"since", "1.5h", `could not parse 'since' parameter: unknown unit "." in duration "1.5h"`},
		{"start", "9999999999", "end timestamp must not be before or equal to start time"},
		{"step", "0", "zero or negative query resolution step widths are not accepted. Try a positive integer"},
		{"step", "-5", "zero or negative query resolution step widths are not accepted. Try a positive integer"},
		{"step", "1.5s", `cannot parse "1.5s" to a valid duration`},
		{"step", "1ms", "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter"},
		{"limit", "-1", "limit must be a positive value"},
		{"limit", "ten", `could not parse 'limit' parameter: "ten" is not a number`},
		{"line_limit", "0", "line_limit must be a positive value"},
		{"field_limit", "1.5", `could not parse 'field_limit' parameter: "1.5" is not a number`},
		{"direction", "up", "invalid direction 'up'"},
		{"interval", "-1", "interval must be >= 0"},
		{"interval", "1.5s", `cannot parse "1.5s" to a valid duration`},
		{"aggregateBy", "pods", "invalid aggregation option"},
	}
	for _, e := range readEndpoints {
		takes := strings.Fields("start end since " + e.params)
		for _, b := range bad {
			code, body := askBoth(t, s, v1+e.path, url.Values{"query": {e.query}, b.param: {b.value}})
			if !slices.Contains(takes, b.param) {
				if code != 200 {
					t.Errorf("%s: %s, which it does not take, makes it answer %d %s", e.path, b.param, code, body)
				}
			} else if code != 400 || body != b.want {
				t.Errorf("%s: %s=%s is answered %d %s, want %s", e.path, b.param, b.value, code, body, b.want)
			}
		}
	}
}

// TestTimestampForms asks every endpoint for the same range in every spelling.
func TestTimestampForms(t *testing.T) {
	s, _ := newTestServer(nil)
	fill(t, s)
	// 1795338000 is testNow.
	forms := []url.Values{
		{"start": {"1795337975000000000"}, "end": {"1795337985000000000"}},
		{"start": {"1795337975"}, "end": {"1795337985"}},
		{"start": {"1795337975.000"}, "end": {"1795337985.0004"}},
		{"start": {"2026-11-22T08:59:35Z"}, "end": {"2026-11-22T08:59:45.000Z"}},
		{"start": {"2026-11-22T09:59:35+01:00"}, "end": {"1795337985"}},
		{"since": {"10s"}, "end": {"1795337985"}},
		{"since": {"1w"}, "start": {"1795337975"}, "end": {"1795337985"}}, // start wins
	}
	for _, e := range readEndpoints {
		first := ""
		for i, form := range forms {
			form.Set("query", e.query)
			form.Set("step", "10")
			code, body := askBoth(t, s, v1+e.path, form)
			if code != 200 {
				t.Errorf("%s?%s: %d %s", e.path, form.Encode(), code, body)
			}
			if i == 0 {
				first = body
			} else if body != first {
				t.Errorf("%s?%s: %s\nwant %s", e.path, form.Encode(), body, first)
			}
		}
		// The default is the last hour, of which that range is only a part.
		if _, body := askBoth(t, s, v1+e.path, url.Values{"query": {e.query}}); body == first && slices.Contains([]string{"/query_range", "/index/stats", "/index/volume"}, e.path) {
			t.Errorf("%s: the last hour has the same answer as a part of it: %s", e.path, body)
		}
	}
}

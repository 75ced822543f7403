package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// TestServerWarnings tells once what a server says about its answers, however
// the lines come.
func TestServerWarnings(t *testing.T) {
	const page = `200 {"status":"success","warnings":["logstack-1 is away"],"data":{"resultType":"streams","result":[]}}`
	l := &fakeLoki{t: t, maxLimit: 5000, answers: map[string]string{
		"GET /loki/api/v1/query_range": page,
		"GET /loki/api/v1/labels":      `200 {"status":"success","warnings":["logstack-1 is away"],"data":["app"]}`,
		"GET /logstack/v1/export":      "200 {\"event\":\"warning\",\"message\":\"logstack-2 is away\"}\n{\"event\":\"end\"}\n",
	}}
	r := l.start()
	var notes []string
	r.note = func(s string) { notes = append(notes, s) }
	r.Warned = func(s string) { r.warn(s) }
	req := lokiapi.RangeRequest{Query: `{app="a"}`, Start: time.Unix(1700000000, 0), End: time.Unix(1700000100, 0)}
	for _, limit := range []int{10, 10, 0} { // pages, and all of it as a stream
		req.Limit = limit
		if err := r.entries(t.Context(), req, func(row) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Labels(t.Context(), lokiapi.MetadataRequest{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"logstack-1 is away", "logstack-2 is away"}, notes); d != "" {
		t.Error(d)
	}
}

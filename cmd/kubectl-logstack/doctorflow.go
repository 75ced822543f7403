package main

import (
	"context"
	"fmt"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// flowTimeout bounds the questions about a day of lines: doctor is to answer in
// seconds, on a large store as well.
const flowTimeout = 5 * time.Second

// lookAtFlow asks the collector what it has stored lately: lines per
// namespace, gaps, and the state of its store.
func lookAtFlow(ctx context.Context, client *lokiapi.Client) *snapshot.FlowResult {
	ctx, cancel := context.WithTimeout(ctx, flowTimeout)
	defer cancel()
	const all = `{namespace=~".+"}`
	f := &snapshot.FlowResult{}
	now, err := countLines(ctx, client, all, snapshot.FlowNow)
	for _, n := range now {
		f.Now += n
	}
	if err == nil {
		f.Recent, err = countLines(ctx, client, all, snapshot.FlowRecent)
	}
	if err == nil {
		f.Long, err = countLines(ctx, client, all, snapshot.FlowLong)
	}
	if err == nil {
		var body []byte
		if body, err = client.Status(ctx); err == nil {
			err = f.ReadStatus(body)
		}
	}
	if f.Err = err; err != nil {
		return f
	}
	// The text narrows the search: the label alone stands in no index.
	f.Gaps, f.GapsErr = countLines(ctx, client, all+` |= "gap: " | `+gapLabel+`!=""`, snapshot.FlowLong)
	return f
}

// countLines counts what a selector picks, per namespace.
func countLines(ctx context.Context, client *lokiapi.Client, selector string, span time.Duration) (map[string]float64, error) {
	query := fmt.Sprintf("sum by (namespace) (count_over_time(%s[%.0fs]))", selector, span.Seconds())
	resp, err := client.Query(ctx, query, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	out := map[string]float64{}
	for _, s := range resp.Series {
		if n := len(s.Points); n > 0 {
			out[s.Labels.Get("namespace")] = s.Points[n-1].Value
		}
	}
	return out, nil
}

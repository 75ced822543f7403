package main

import (
	"context"
	"fmt"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// lookAtFlow asks the collector what it has stored lately: lines per
// namespace, gaps, and the state of its store.
func lookAtFlow(ctx context.Context, client *lokiapi.Client) *snapshot.FlowResult {
	f := &snapshot.FlowResult{}
	count := func(selector string, span string) map[string]float64 {
		if f.Err != nil {
			return nil
		}
		query := fmt.Sprintf("sum by (namespace) (count_over_time(%s[%s]))", selector, span)
		resp, err := client.Query(ctx, query, time.Time{})
		if err != nil {
			f.Err = fmt.Errorf("%s: %w", query, err)
			return nil
		}
		out := map[string]float64{}
		for _, s := range resp.Series {
			if n := len(s.Points); n > 0 {
				out[s.Labels.Get("namespace")] = s.Points[n-1].Value
			}
		}
		return out
	}
	const all = `{namespace=~".+"}`
	for _, n := range count(all, spanOf(snapshot.FlowNow.Minutes())) {
		f.Now += n
	}
	f.Recent = count(all, spanOf(snapshot.FlowRecent.Minutes()))
	f.Long = count(all, spanOf(snapshot.FlowLong.Minutes()))
	f.Gaps = count(all+` | `+gapLabel+`!=""`, spanOf(snapshot.FlowLong.Minutes()))
	if f.Err != nil {
		return f
	}
	body, err := client.Status(ctx)
	if err == nil {
		err = f.ReadStatus(body)
	}
	f.Err = err
	return f
}

func spanOf(minutes float64) string { return fmt.Sprintf("%.0fm", minutes) }

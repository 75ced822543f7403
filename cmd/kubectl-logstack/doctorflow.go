package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
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
	f.Last = lastLines(ctx, client, f)
	if ahead := time.Until(f.Newest); ahead > snapshot.FlowAhead {
		// Not known is not shown: the finding stands without the names.
		f.Ahead, _ = countAt(ctx, client, all, ahead-snapshot.FlowAhead+time.Second, f.Newest.Add(time.Second))
	}
	// The text narrows the search: the label alone stands in no index.
	f.Gaps, f.GapsErr = countLines(ctx, client, all+` |= "gap: " | `+gapLabel+`!=""`, snapshot.FlowLong)
	return f
}

// countLines counts what a selector picks of a span up to now, by the
// collector's clock, per namespace.
func countLines(ctx context.Context, client *lokiapi.Client, selector string, span time.Duration) (map[string]float64, error) {
	return countAt(ctx, client, selector, span, time.Time{})
}

func countAt(ctx context.Context, client *lokiapi.Client, selector string, span time.Duration, at time.Time) (map[string]float64, error) {
	query := fmt.Sprintf("sum by (namespace) (count_over_time(%s[%.0fs]))", selector, span.Seconds())
	resp, err := client.Query(ctx, query, at)
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

// The pauses between two looks for the line grow: a line that arrives does so
// within a second, and one that does not is not asked for hundreds of times.
const (
	echoPoll    = 100 * time.Millisecond
	echoPollMax = 3 * time.Second
)

// followALine asks the collector to write a line with a number of ours into
// its own log and queries until the line has come all the way back.
func followALine(ctx context.Context, client *lokiapi.Client, namespace string, wait time.Duration) *snapshot.ArrivalResult {
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	token := fmt.Sprintf("doctor-%016x", rand.Uint64())
	started := time.Now()
	if err := client.Echo(bounded, token); err != nil {
		return &snapshot.ArrivalResult{Err: fmt.Errorf("the collector did not write a line: %w", err)}
	}
	query := fmt.Sprintf(`{namespace=%q, pod=~"%s-.*"} |= %q`, namespace, install.Name, token)
	for pause := echoPoll; ; pause = min(pause*3/2, echoPollMax) {
		resp, err := client.QueryRange(bounded, lokiapi.RangeRequest{Query: query, Start: started.Add(-5 * time.Minute), End: time.Now().Add(5 * time.Minute), Limit: 1, Direction: model.Backward})
		if err == nil && len(resp.Streams) > 0 {
			after := time.Since(started)
			return &snapshot.ArrivalResult{After: after, Hops: hopsOf(ctx, client, token, after)}
		}
		select {
		case <-bounded.Done():
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("the collector wrote a line to its own log and it was not found within %s", wait)
			}
			return &snapshot.ArrivalResult{Err: err, Hops: hopsOf(ctx, client, token, 0)}
		case <-time.After(pause):
		}
	}
}

// hopsOf asks the collector how the line with a token came: by its own clock,
// so that only differences count. after is the time of the whole way by ours,
// 0 when the line was not found. A collector that does not know the token (an
// older one, or another replica) tells nothing.
func hopsOf(ctx context.Context, client *lokiapi.Client, token string, after time.Duration) []snapshot.ArrivalHop {
	ctx, cancel := context.WithTimeout(ctx, flowTimeout)
	defer cancel()
	t, err := client.EchoTrace(ctx, token)
	if err != nil || t == nil {
		return nil
	}
	var out []snapshot.ArrivalHop
	last := t.Asked
	for _, step := range []struct {
		name string
		at   time.Time
	}{{snapshot.HopWritten, t.Written}, {snapshot.HopRead, t.Read}, {snapshot.HopStored, t.Stored}} {
		if step.at.IsZero() {
			return out
		}
		// The runtime's clock is that of another program: a step is never negative.
		out = append(out, snapshot.ArrivalHop{Name: step.name, Took: max(step.at.Sub(last), 0)})
		last = step.at
	}
	if after > 0 {
		out = append(out, snapshot.ArrivalHop{Name: snapshot.HopQueryable, Took: max(after-t.Stored.Sub(t.Asked), 0)})
	}
	return out
}

// maxLast bounds the questions for last lines.
const maxLast = 8

// lastLines finds the last line of namespaces that have become silent.
func lastLines(ctx context.Context, client *lokiapi.Client, f *snapshot.FlowResult) map[string]time.Time {
	var silent []string
	for ns := range f.Long {
		if f.Recent[ns] == 0 {
			silent = append(silent, ns)
		}
	}
	slices.Sort(silent)
	out := map[string]time.Time{}
	now := time.Now()
	for _, ns := range silent[:min(len(silent), maxLast)] {
		resp, err := client.QueryRange(ctx, lokiapi.RangeRequest{Query: fmt.Sprintf("{namespace=%q}", ns), Start: now.Add(-snapshot.FlowLong), End: now, Limit: 1, Direction: model.Backward})
		if err == nil && len(resp.Streams) > 0 && len(resp.Streams[0].Entries) > 0 {
			out[ns] = time.Unix(0, resp.Streams[0].Entries[0].Timestamp)
		}
	}
	return out
}

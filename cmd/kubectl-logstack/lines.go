package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// clockSkew is how far into the future a range without an end reaches: clocks
// of nodes differ.
const clockSkew = time.Minute

// showLines prints up to limit lines, oldest first, and returns their number.
// All lines (limit 0) take flat memory; the newest of many have to be turned
// around.
func showLines(ctx context.Context, a *app, r *remote, query string, start, end time.Time, limit int, forward bool, p linePrinter) (int, error) {
	req := lokiapi.RangeRequest{Query: query, Start: start, End: end, Limit: limit, Direction: model.Backward}
	if end.IsZero() {
		req.End = time.Now().Add(clockSkew)
	}
	if forward || limit == 0 {
		req.Direction = model.Forward
	}
	var newestFirst []row
	x := newExport(a, req)
	var unwritten error
	err := r.entries(ctx, req, func(e row) error {
		x.count(e)
		if req.Direction == model.Backward {
			newestFirst = append(newestFirst, e)
			return nil
		}
		unwritten = p.print(e)
		return unwritten
	})
	x.bar.Clear()
	for _, e := range slices.Backward(newestFirst) {
		if unwritten == nil {
			unwritten = p.print(e)
		}
	}
	if unwritten == nil {
		unwritten = p.flush()
	}
	switch {
	case unwritten != nil:
		// Which lines got through nobody knows: they went into a buffer first.
		return x.lines, unwritten
	case err != nil:
		x.advise(a)
	}
	return x.lines, explainAnswer(err)
}

// export watches the lines of a query go by, for the progress and for advice
// when they end too early.
type export struct {
	bar         *output.Bar
	req         lokiapi.RangeRequest
	end         time.Time // of the range, or now
	lines       int
	bytes       int64
	first, last int64 // timestamps
}

// newExport has a progress bar when a person waits for a file: lines on the
// same terminal would tear it to pieces.
func newExport(a *app, req lokiapi.RangeRequest) *export {
	x := &export{req: req, end: req.End}
	if now := time.Now(); x.end.After(now) {
		x.end = now
	}
	if req.Limit == 0 || req.Limit > pageSize {
		t := a.err()
		t.Interactive = t.Interactive && !a.out().Interactive
		x.bar = output.NewBar(a.ErrOut, t)
	}
	return x
}

func (x *export) count(r row) {
	if x.lines == 0 {
		x.first = r.Timestamp
	}
	x.lines++
	x.bytes += int64(len(r.Line))
	x.last = r.Timestamp
	if x.bar.Due() {
		x.bar.Draw(x.fraction(), fmt.Sprintf("%s lines, %s, at %s",
			humanize.Comma(int64(x.lines)), humanize.IBytes(uint64(x.bytes)), time.Unix(0, x.last).Format(time.DateTime)))
	}
}

// fraction is how much of the way is done: by time, from the first line there
// was, or by number where that is nearer to its end.
func (x *export) fraction() float64 {
	whole, part := float64(x.end.UnixNano()-x.first), float64(x.last-x.first)
	if x.req.Direction == model.Backward {
		whole, part = float64(x.first-x.req.Start.UnixNano()), float64(x.first-x.last)
	}
	f := 0.0
	if whole > 0 {
		f = min(max(part/whole, 0), 1)
	}
	if x.req.Limit > 0 {
		f = max(f, float64(x.lines)/float64(x.req.Limit))
	}
	return f
}

// advise says how to go on where an export of all lines ended too early. Who
// reads along on a terminal has seen where.
func (x *export) advise(a *app) {
	if x.req.Limit != 0 || x.lines == 0 || a.out().Interactive {
		return
	}
	fmt.Fprintf(a.ErrOut, "stopped after %s lines; go on with --from %s (lines of that very moment come again)\n",
		humanize.Comma(int64(x.lines)), time.Unix(0, x.last).UTC().Format(time.RFC3339Nano))
}

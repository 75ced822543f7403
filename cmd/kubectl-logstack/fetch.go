package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// pageSize is the most lines of one answer: Loki's own limit, so that a foreign
// server accepts it.
const pageSize = 5000

// entries hands the lines of a log query to each, in the order of the request,
// as many as there are (Limit 0) or up to Limit. Memory does not grow with the
// number of lines. A connection that breaks on the way is taken up again where
// it broke. An error of each ends it and is returned as it is.
func (r *remote) entries(ctx context.Context, req lokiapi.RangeRequest, each func(row) error) error {
	var last []row // what was handed on of the last timestamp
	n := 0
	for failed := 0; ; {
		before, known := n, map[string]int{}
		for _, e := range last {
			known[identity(e)]++
		}
		err := r.read(ctx, goOn(req, last, n), func(e row) error {
			if len(known) > 0 && e.Timestamp == last[0].Timestamp {
				if id := identity(e); known[id] > 0 {
					known[id]--
					return nil
				}
			}
			if len(last) > 0 && e.Timestamp != last[0].Timestamp {
				last, known = last[:0], nil
			}
			last = append(last, e)
			n++
			if err := each(e); err != nil {
				return &finalError{err}
			}
			return nil
		})
		if n > before {
			failed = 0
		}
		var final *finalError
		switch {
		case errors.As(err, &final):
			return final.err
		case err == nil, ctx.Err() != nil, n == 0, !mayPass(err):
			return err
		}
		if failed++; failed > maxReconnects {
			return err
		}
		if serr := r.again(ctx, failed, err); serr != nil {
			return serr
		}
	}
}

// goOn is the request for what comes behind n entries; last are those of the
// last timestamp, which come again.
func goOn(req lokiapi.RangeRequest, last []row, n int) lokiapi.RangeRequest {
	if len(last) == 0 {
		return req
	}
	if req.Limit > 0 {
		req.Limit -= n - len(last)
	}
	if req.Direction == model.Forward {
		req.Start = time.Unix(0, last[0].Timestamp)
	} else {
		req.End = time.Unix(0, last[0].Timestamp+1) // the end is not part of the range
	}
	return req
}

// finalError is one that another try does not mend.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// mayPass tells failures of the way and of a server that is starting from
// answers that stay as they are.
func mayPass(err error) bool {
	if status := asStatus(err); status != nil {
		return status.Code >= 500 || status.Code == http.StatusTooManyRequests
	}
	var said *lokiapi.TailError
	var same *sameTimeError
	return !errors.As(err, &said) && !errors.As(err, &same)
}

// maxReconnects is how often in a row something is tried again in vain.
const maxReconnects = 5

func reconnectBackoff(n int) time.Duration { return time.Second << min(n, 4) }

// again says what failed and waits before the next try.
func (r *remote) again(ctx context.Context, failed int, err error) error {
	r.note("the connection broke (" + firstLineOf(explainAnswer(err)) + "); taking it up again")
	return sleep(ctx, r.backoff(failed-1))
}

// read gets the lines as a stream where the server has one and they are many,
// else page by page.
func (r *remote) read(ctx context.Context, req lokiapi.RangeRequest, each func(row) error) error {
	if req.Limit > 0 && req.Limit <= pageSize || r.stats != nil {
		return r.pages(ctx, req, each)
	}
	stream, err := r.Export(ctx, req)
	if isUnknownPath(err) {
		return r.pages(ctx, req, each)
	}
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // always nil
	for {
		ev, err := stream.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if ev.Kind == lokiapi.EventWarning {
			r.warn(ev.Message)
		}
		if ev.Kind != lokiapi.EventEntry {
			continue
		}
		if err := each(row{ev.Labels, ev.Entry}); err != nil {
			return err
		}
	}
}

// warn tells what the server says about its answers, each text once.
func (r *remote) warn(list ...string) {
	for _, text := range list {
		if !slices.Contains(r.warned, text) {
			r.warned = append(r.warned, text)
			r.note(text)
		}
	}
}

// sameTimeError says that paging cannot go on: a page has room for fewer lines
// than share one timestamp, so what comes behind them is out of reach.
type sameTimeError struct {
	at   time.Time
	page int
}

func (e *sameTimeError) Error() string {
	return fmt.Sprintf("more than %d lines have the timestamp %s, and this server gives no more in one answer\n  narrow the query by labels or a line filter, or go around with --from and --to",
		e.page, e.at.UTC().Format(time.RFC3339Nano))
}

// pages reads a log query in pages. A page begins at the last timestamp of the
// one before; what was there already is left out by comparing, because servers
// order entries of one timestamp as they like.
func (r *remote) pages(ctx context.Context, req lokiapi.RangeRequest, each func(row) error) error {
	var done overlap
	size := pageSize
	for n := 0; req.Limit == 0 || n < req.Limit; {
		page := req
		page.Limit = size
		if req.Limit > 0 {
			page.Limit = min(size, req.Limit-n+done.count())
		}
		resp, err := r.QueryRange(ctx, page)
		if most := allowedLimit(err); most > 0 && most < page.Limit {
			size = most
			continue
		}
		if err != nil {
			return err
		}
		r.stats.add(resp)
		r.warn(resp.Warnings...)
		rows := rowsOf(resp, req.Direction)
		fresh := done.fresh(rows)
		if req.Limit > 0 {
			fresh = fresh[:min(len(fresh), req.Limit-n)]
		}
		for _, f := range fresh {
			if err := each(f); err != nil {
				return err
			}
		}
		n += len(fresh)
		switch {
		case len(rows) < page.Limit:
			return nil
		case len(fresh) == 0 && page.Limit >= size:
			return &sameTimeError{at: time.Unix(0, done.at), page: size}
		}
		if req.Direction == model.Forward {
			req.Start = time.Unix(0, done.at)
		} else {
			req.End = time.Unix(0, done.at+1) // the end is not part of the range
		}
	}
	return nil
}

// limitRefusal finds the largest limit in Loki's refusal of a larger one.
var limitRefusal = regexp.MustCompile(`max entries limit per query exceeded.*\(\d+ > (\d+)\)`)

// allowedLimit is the number of lines that a server is willing to give when it
// refused more, else 0.
func allowedLimit(err error) int {
	var status *lokiapi.StatusError
	if !errors.As(err, &status) {
		return 0
	}
	m := limitRefusal.FindStringSubmatch(status.Body)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// overlap remembers the entries of the last timestamp, to leave them out when
// they come again. The zero value remembers nothing.
type overlap struct {
	at   int64
	seen map[string]int
}

// count is the number of entries that may come again.
func (o *overlap) count() int {
	n := 0
	for _, k := range o.seen {
		n += k
	}
	return n
}

// fresh returns the rows that did not come before and remembers the last ones.
func (o *overlap) fresh(rows []row) []row {
	left := make(map[string]int, len(o.seen))
	for k, n := range o.seen {
		left[k] = n
	}
	fresh := make([]row, 0, len(rows))
	for _, r := range rows {
		if r.Timestamp == o.at && len(left) > 0 {
			if k := identity(r); left[k] > 0 {
				left[k]--
				continue
			}
		}
		fresh = append(fresh, r)
	}
	if len(fresh) == 0 {
		return nil
	}
	last := fresh[len(fresh)-1].Timestamp
	if o.seen == nil || last != o.at {
		o.at, o.seen = last, map[string]int{}
	}
	for i := len(fresh) - 1; i >= 0 && fresh[i].Timestamp == last; i-- {
		o.seen[identity(fresh[i])]++
	}
	return fresh
}

// identity tells entries of one timestamp apart.
func identity(r row) string {
	return r.labels.String() + "\xff" + r.StructuredMetadata.String() + r.Parsed.String() + "\xff" + r.Line
}

// rowsOf flattens an answer into the order of the query.
func rowsOf(resp *lokiapi.QueryResponse, d model.Direction) []row {
	var rows []row
	for _, s := range resp.Streams {
		for _, e := range s.Entries {
			rows = append(rows, row{s.Labels, e})
		}
	}
	slices.SortStableFunc(rows, func(x, y row) int {
		if d == model.Forward {
			return int(min(1, max(-1, x.Timestamp-y.Timestamp)))
		}
		return int(min(1, max(-1, y.Timestamp-x.Timestamp)))
	})
	return rows
}

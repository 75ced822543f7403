package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
// as many as there are (Limit 0) or up to Limit: as a stream where the server
// has one, else page by page. Memory does not grow with the number of lines.
// An error of each ends it and is returned as it is.
func (r *remote) entries(ctx context.Context, req lokiapi.RangeRequest, each func(row) error) error {
	if req.Limit > 0 && req.Limit <= pageSize {
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
		if ev.Kind != lokiapi.EventEntry {
			continue
		}
		if err := each(row{ev.Labels, ev.Entry}); err != nil {
			return err
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
	for _, r := range fresh {
		o.add(r)
	}
	return fresh
}

// add remembers one entry that was shown.
func (o *overlap) add(r row) {
	if o.seen == nil || r.Timestamp != o.at {
		o.at, o.seen = r.Timestamp, map[string]int{}
	}
	o.seen[identity(r)]++
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

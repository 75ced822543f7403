package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// errNoTail says that a server cannot push lines to us.
var errNoTail = errors.New("no live tail")

// tail opens a live tail: our own form, which passes every proxy, else Loki's
// WebSocket. Only the former says where stored entries end and live ones begin.
func (r *remote) tail(ctx context.Context, req lokiapi.TailRequest) (stream *lokiapi.TailStream, tellsLive bool, err error) {
	stream, err = r.TailNDJSON(ctx, req)
	if !isUnknownPath(err) {
		return stream, true, err
	}
	if r.proxied {
		return nil, false, errNoTail
	}
	stream, err = r.TailWebSocket(ctx, req)
	return stream, false, err
}

// followLines prints the newest lines since start and goes on with live ones
// until the context ends. A broken connection is taken up again where it broke.
func followLines(ctx context.Context, r *remote, query string, start time.Time, limit int, p linePrinter) error {
	if limit == 0 {
		limit = pageSize
	}
	f := &follower{remote: r, query: query, out: p}
	err := f.run(ctx, start, limit)
	if ferr := p.flush(); ferr != nil && err == nil {
		err = ferr
	}
	return explainAnswer(err)
}

// follower is one follow: several tails, if need be.
type follower struct {
	remote *remote
	query  string
	out    linePrinter
	recent recent
	// again are entries that were shown and come again after a new beginning.
	again map[entryKey]int
}

// run follows until the context ends or the server cannot be reached. The
// context's end is context.Canceled.
func (f *follower) run(ctx context.Context, start time.Time, limit int) error {
	for failed := 0; ; {
		shown := f.recent.total
		err := f.stream(ctx, start, limit)
		var final *finalError
		switch {
		case ctx.Err() != nil:
			// Ctrl-C is how a follow ends.
			return context.Canceled
		case errors.As(err, &final):
			return final.err
		case f.recent.total > shown:
			failed = 0
		}
		if failed++; failed > maxReconnects {
			return err
		}
		if ferr := f.out.flush(); ferr != nil {
			return ferr
		}
		if f.remote.again(ctx, failed, err) != nil {
			return context.Canceled
		}
	}
}

// stream follows one connection to its end, which is always an error.
func (f *follower) stream(ctx context.Context, start time.Time, limit int) error {
	if f.recent.total > 0 {
		// First what came in between, however much: a tail begins with a page
		// at most.
		start, limit = f.recent.from(), pageSize
		f.again = maps.Clone(f.recent.counts)
		err := f.remote.entries(ctx, lokiapi.RangeRequest{
			Query: f.query, Start: start, End: time.Now().Add(clockSkew), Direction: model.Forward,
		}, f.show)
		if err != nil {
			return f.classify(err)
		}
		start, f.again = f.recent.from(), maps.Clone(f.recent.counts)
	}
	stream, tellsLive, err := f.remote.tail(ctx, lokiapi.TailRequest{Query: f.query, Start: start, Limit: limit})
	if errors.Is(err, errNoTail) {
		return f.poll(ctx, start, limit)
	}
	if err != nil {
		return f.classify(err)
	}
	defer stream.Close() //nolint:errcheck // always nil
	live := !tellsLive
	for {
		ev, err := stream.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the server ended it")
			}
			return err
		}
		switch ev.Kind {
		case lokiapi.EventEntry:
			err = f.show(row{ev.Labels, ev.Entry})
		case lokiapi.EventLive:
			live = true
		case lokiapi.EventDropped:
			err = f.out.print(droppedRow(ev.Dropped))
		case lokiapi.EventWarning:
			f.remote.warn(ev.Message)
		}
		if err == nil && live {
			err = f.out.flush()
		}
		if err != nil {
			return &finalError{err}
		}
	}
}

// poll follows a server that cannot push: it asks for what is new again and
// again. Lines that come later than lateness are missed.
func (f *follower) poll(ctx context.Context, start time.Time, limit int) error {
	begin := time.Now()
	if limit >= 0 {
		begin = begin.Add(-lateness)
	}
	if f.recent.total == 0 && limit > 0 {
		var newestFirst []row
		err := f.remote.entries(ctx, lokiapi.RangeRequest{
			Query: f.query, Start: start, End: time.Now().Add(clockSkew), Limit: limit, Direction: model.Backward,
		}, func(r row) error {
			newestFirst = append(newestFirst, r)
			return nil
		})
		if err != nil {
			return f.classify(err)
		}
		for _, r := range slices.Backward(newestFirst) {
			if err := f.show(r); err != nil {
				return err
			}
		}
	}
	for {
		if err := f.out.flush(); err != nil {
			return &finalError{err}
		}
		if err := sleep(ctx, f.remote.poll); err != nil {
			return err
		}
		from := begin
		if f.recent.total > 0 {
			from = f.recent.from()
		}
		f.again = maps.Clone(f.recent.counts)
		err := f.remote.entries(ctx, lokiapi.RangeRequest{
			Query: f.query, Start: from, End: time.Now().Add(clockSkew), Direction: model.Forward,
		}, f.show)
		if err != nil {
			return f.classify(err)
		}
	}
}

func droppedRow(n int) row {
	return row{
		Entry:  lokiapi.Entry{Timestamp: time.Now().UnixNano(), Line: fmt.Sprintf("%d lines were not shown: this reader was too slow for them (they are stored)", n)},
		labels: labels.FromStrings(gapLabel, "slow_reader"),
	}
}

// show prints an entry unless it comes again. Its errors are final.
func (f *follower) show(r row) error {
	k := keyOf(r)
	if f.again[k] > 0 {
		f.again[k]--
		return nil
	}
	f.recent.add(r.Timestamp, k)
	if err := f.out.print(r); err != nil {
		return &finalError{err}
	}
	return nil
}

// classify tells refusals, which stay, from failures, which may pass. A follow
// that never began is not tried again.
func (f *follower) classify(err error) error {
	var final *finalError
	if errors.As(err, &final) || f.recent.total > 0 && mayPass(err) {
		return err
	}
	return &finalError{err}
}

// lateness is how far apart in time neighbours of a live tail usually are:
// lines come in the order in which they were stored, not in that of their
// timestamps.
const lateness = 10 * time.Second

// entryKey stands for an entry; two that are equal have the same.
type entryKey struct {
	timestamp int64
	hash      uint64
}

var hashSeed = maphash.MakeSeed()

func keyOf(r row) entryKey {
	return entryKey{r.Timestamp, maphash.String(hashSeed, identity(r))}
}

// recent counts the entries of the last moments, to know them again. Its
// memory is bounded by what a tail brings in twice the lateness.
type recent struct {
	first  int64 // timestamp of the entry that came first
	newest int64
	counts map[entryKey]int
	total  int
	pruned int64 // newest at the last pruning
}

func (r *recent) add(ts int64, k entryKey) {
	if r.counts == nil {
		r.counts = map[entryKey]int{}
		r.first, r.newest, r.pruned = ts, ts, ts
	}
	r.total++
	r.newest = max(r.newest, ts)
	if ts < r.newest-int64(lateness) {
		return
	}
	r.counts[k]++
	if r.newest-r.pruned > int64(lateness) {
		oldest := r.newest - int64(lateness)
		maps.DeleteFunc(r.counts, func(k entryKey, _ int) bool { return k.timestamp < oldest })
		r.pruned = r.newest
	}
}

// from is where a new beginning starts: what was shown since is known. Nothing
// from before the first entry is wanted, the limit left it out.
func (r *recent) from() time.Time { return time.Unix(0, max(r.first, r.newest-int64(lateness))) }

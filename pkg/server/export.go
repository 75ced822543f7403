package server

import (
	"errors"
	"math"
	"net/http"
	"slices"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Sizes of the pages that an export asks the engine for. The first is the
// usual one; it shrinks when lines are too long for the engine's memory. The
// second is for a timestamp that more than a page of entries share: every page
// has to pass over those before it, so there should be few.
const (
	exportPage    = 1000
	maxExportPage = 5000
	// exportRegrow is how many pages in a row must go well before a smaller
	// page is doubled again: long lines seldom come alone.
	exportRegrow = 8
)

// export answers a log query of any size, page by page: the memory it takes
// does not depend on the number of entries. limit 0 or none means all.
func (s *Server) export(w http.ResponseWriter, r *http.Request, b *backend) error {
	p := s.params(r)
	span, err := p.bounds()
	if err != nil {
		return err
	}
	limit, err := p.limit(0)
	if err != nil {
		return err
	}
	direction, err := p.direction()
	if err != nil {
		return err
	}
	expr, err := logql.Parse(p.Get("query"))
	if err != nil {
		return err
	}
	sel, isLog := expr.(*logql.LogSelector)
	if !isLog {
		return badRequestf("only log queries can be exported, not metric queries")
	}
	if slices.ContainsFunc(sel.Stages, func(st logql.Stage) bool { _, ok := st.(*logql.DistinctLabels); return ok }) {
		return badRequestf("an export reads page by page, and distinct would begin anew with each: ask for a limited number of entries")
	}
	if limit <= 0 {
		limit = math.MaxInt
	}
	e := exporter{s: s, b: b, r: r, sink: newNDJSONSink(w, s.opts.WriteTimeout), query: p.Get("query"), span: span, direction: direction}
	defer e.sink.done()
	if err := e.run(limit); err != nil {
		if !e.started && len(e.warned) == 0 {
			return err
		}
		s.refused(r, reasonOf(s.statusOf(r, err), err))
		e.sink.end(err)
		return nil
	}
	e.sink.buf = append(e.sink.buf, `{"event":"end"}`+"\n"...)
	_ = e.sink.flush() // an error means that the client is gone
	return nil
}

// exporter walks over the entries of a query. The order of entries is the same
// in every query, so a page continues the one before at its last timestamp,
// behind as many entries as were sent of it.
type exporter struct {
	s         *Server
	b         *backend
	r         *http.Request
	sink      *ndjsonSink
	query     string
	span      model.TimeRange
	direction model.Direction

	started bool  // something was sent
	last    int64 // timestamp of the last entry
	skip    int   // entries of that timestamp that were sent
	warned  []string
}

func (e *exporter) run(limit int) error {
	page, well := exportPage, 0
	for limit > 0 {
		ask := min(page, limit)
		if page == exportPage && e.skip >= exportPage {
			ask = min(maxExportPage, limit)
		}
		res, err := e.s.evaluate(e.r.Context(), e.b.engine.Range, engine.Params{
			Query: e.query, Start: e.span.Start, End: e.span.End, Step: maxStep, Limit: ask, Skip: e.skip, Direction: e.direction,
		})
		var tooMuch *engine.LimitError
		if errors.As(err, &tooMuch) && page > 1 {
			page, well = max(min(page, limit)/2, 1), 0
			continue
		}
		if err != nil {
			return err
		}
		if well++; well == exportRegrow {
			page, well = min(2*page, exportPage), 0
		}
		entries := engine.InOrder(res.Streams)
		complete := len(entries) < ask
		limit -= len(entries)
		if err = e.warn(res.Warnings); err == nil {
			err = e.send(entries)
		}
		res.Release()
		if err != nil {
			return err
		}
		if complete {
			return nil
		}
	}
	return nil
}

// warn sends warnings that have not been sent.
func (e *exporter) warn(list []string) error {
	for _, text := range list {
		if slices.Contains(e.warned, text) {
			continue
		}
		e.warned = append(e.warned, text)
		if err := e.sink.warning(text); err != nil {
			return err
		}
	}
	return nil
}

// maxStep is a step that no range is too long for; log queries do not use it.
const maxStep = math.MaxInt64

// send writes entries and moves the range behind them.
func (e *exporter) send(entries []engine.LiveEntry) error {
	for i := range entries {
		if ts := entries[i].Timestamp; ts == e.last && e.started {
			e.skip++
		} else {
			e.last, e.skip, e.started = ts, 1, true
		}
	}
	if len(entries) > 0 {
		if e.direction == model.Forward {
			e.span.Start = e.last
		} else if e.last < math.MaxInt64 {
			e.span.End = e.last + 1
		}
	}
	for len(entries) > 0 {
		n := min(len(entries), maxFrame)
		e.sink.append(entries[:n])
		if err := e.sink.write(); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

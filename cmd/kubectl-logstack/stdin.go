package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// stdinSelector stands before a query for standard input that has none.
const stdinSelector = `{source="stdin"} `

// stdinBatch is the most lines that are filtered at once. Fewer are when no
// more are there: somebody may be watching.
const stdinBatch = 1000

// parseStdinQuery reads a query whose selector may be left out: every line of
// standard input is meant.
func parseStdinQuery(a *app, query string) (*logql.LogSelector, error) {
	if t := strings.TrimSpace(query); strings.HasPrefix(t, "|") || strings.HasPrefix(t, "!") {
		query = stdinSelector + t
	}
	expr, err := parseQuery(a, query)
	if err != nil {
		return nil, err
	}
	sel, ok := expr.(*logql.LogSelector)
	if !ok {
		return nil, usagef("--stdin filters and formats lines; a metric query needs a server")
	}
	return sel, nil
}

// queryStdin runs the stages of a log query over the lines of standard input,
// without any server. limit 0 is no limit.
func queryStdin(ctx context.Context, a *app, query string, limit int, format string, z zone) error {
	sel, err := parseStdinQuery(a, query)
	if err != nil {
		return err
	}
	p, err := newLinePrinter(format, a.Out, a.out(), z)
	if err != nil {
		return err
	}
	pipeline, budget, err := newStdinPipeline(sel)
	if err != nil {
		return &usageError{err}
	}
	in := bufio.NewReaderSize(a.In, 64<<10)
	batch := model.EntryBatch{Streams: []labels.Labels{labels.FromStrings("source", "stdin")}}
	shown := 0
	for end := false; !end && ctx.Err() == nil; {
		if end, err = readBatch(in, &batch); err != nil {
			return errors.Join(p.flush(), err)
		}
		for _, i := range pipeline.Select(&batch) {
			line, ok := pipeline.Row(&batch, i)
			if !ok {
				continue
			}
			set := pipeline.Labels()
			e := lokiapi.Entry{Timestamp: batch.Timestamps[i], Line: line, StructuredMetadata: set.Metadata, Parsed: set.Parsed}
			if err := p.print(row{set.Stream, e}); err != nil {
				return err
			}
			if shown++; shown == limit {
				return p.flush()
			}
		}
		if budget.Used() > stdinMemory && !remembers(sel) {
			// The label sets it knows are a cache: input may be endless.
			if pipeline, budget, err = newStdinPipeline(sel); err != nil {
				return err
			}
		}
		if !isWholeDocument(format) {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	if isWholeDocument(format) {
		return p.flush()
	}
	return ctx.Err()
}

// stdinMemory is how much a pipeline may hold, in bytes, before it begins anew.
const stdinMemory = 64 << 20

func newStdinPipeline(sel *logql.LogSelector) (*stage.Pipeline, *stage.Budget, error) {
	budget := new(stage.Budget)
	p, err := stage.NewPipeline(sel.Stages, stage.Config{Budget: budget, Now: time.Now})
	return p, budget, err
}

// remembers says whether what a pipeline does with a line depends on those
// before it.
func remembers(sel *logql.LogSelector) bool {
	return slices.ContainsFunc(sel.Stages, func(s logql.Stage) bool {
		_, distinct := s.(*logql.DistinctLabels)
		return distinct
	})
}

// readBatch fills a batch with the lines that are there, at least one unless
// the input ends.
func readBatch(in *bufio.Reader, b *model.EntryBatch) (end bool, err error) {
	b.StreamIndex, b.Timestamps, b.Lines = b.StreamIndex[:0], b.Timestamps[:0], b.Lines[:0]
	for len(b.Lines) == 0 || len(b.Lines) < stdinBatch && in.Buffered() > 0 {
		line, err := in.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return true, err
		}
		if line != "" {
			b.StreamIndex = append(b.StreamIndex, 0)
			b.Timestamps = append(b.Timestamps, time.Now().UnixNano())
			b.Lines = append(b.Lines, strings.TrimRight(line, "\r\n"))
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
	}
	return false, nil
}

// isWholeDocument says whether a format is printed at the end, in one piece.
func isWholeDocument(format string) bool { return format == "json" || format == "table" }

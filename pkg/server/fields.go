package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Defaults and bounds of the questions about fields.
const (
	defaultLineLimit  = 100
	defaultFieldLimit = 1000
	// maxLineLimit is where line_limit is cut: the answer is about a sample anyway.
	maxLineLimit = maxEntries
	// maxFieldBytes is how much text is looked at: a line may have thousands of keys.
	maxFieldBytes = 8 << 20
)

// fieldsParams are those of detected_fields and detected_field/{name}/values.
type fieldsParams struct {
	query     *logql.LogSelector
	span      model.TimeRange
	lineLimit int
	limit     int // of fields, or of values
}

func (p params) fields() (fieldsParams, error) {
	var f fieldsParams
	var err error
	if f.span, err = p.bounds(); err != nil {
		return f, err
	}
	if f.lineLimit, err = p.positive("line_limit", defaultLineLimit); err != nil {
		return f, err
	}
	f.lineLimit = min(f.lineLimit, maxLineLimit)
	if f.limit, err = p.positive("field_limit", defaultFieldLimit); err != nil {
		return f, err
	}
	if f.limit, err = p.positive("limit", f.limit); err != nil {
		return f, err
	}
	f.query, err = p.logQuery()
	return f, err
}

// logQuery parses the query, which must select entries.
func (p params) logQuery() (*logql.LogSelector, error) {
	expr, err := logql.Parse(p.Get("query"))
	if err != nil {
		return nil, err
	}
	sel, ok := expr.(*logql.LogSelector)
	if !ok {
		return nil, badRequestf("only log queries are supported here, not metric queries")
	}
	return sel, nil
}

// positive reads a count that must not be zero or negative.
func (p params) positive(key string, def int) (int, error) {
	text := p.Get(key)
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, badRequestf("could not parse '%s' parameter: %q is not a number", key, text)
	}
	if n <= 0 {
		return 0, badRequestf("%s must be a positive value", key)
	}
	return n, nil
}

// sample runs the query over the newest lines. Where they are so long that the
// memory of a query does not hold as many as asked for, it takes fewer. The
// caller releases the result.
func (s *Server) sample(ctx context.Context, b *backend, f *fieldsParams) (*engine.Result, error) {
	for n := f.lineLimit; ; n /= 2 {
		res, err := s.evaluate(ctx, b.engine.Range, engine.Params{
			Query: f.query.String(), Start: f.span.Start, End: f.span.End,
			Step: time.Second, Limit: n, Direction: model.Backward,
		})
		var tooMuch *engine.LimitError
		if errors.As(err, &tooMuch) && n > 1 {
			continue
		}
		return res, err
	}
}

// detect looks for the fields of the newest lines of a query, or, where wanted is
// not "", for the values of that field. limit is that of the request.
func (s *Server) detect(r *http.Request, b *backend, wanted string) (d *fieldDetector, limit int, err error) {
	f, err := s.params(r).fields()
	if err != nil {
		return nil, 0, err
	}
	if d, err = newFieldDetector(f.query, f.limit); err != nil {
		return nil, 0, err
	}
	d.wanted = wanted
	res, err := s.sample(r.Context(), b, &f)
	if err != nil {
		return nil, 0, err
	}
	defer res.Release()
	entries := engine.InOrder(res.Streams)
	read := 0
	for i := range entries {
		if err := r.Context().Err(); err != nil {
			return nil, 0, err
		}
		if err := d.add(&entries[i]); err != nil {
			return nil, 0, err
		}
		if read += len(entries[i].Line); read > maxFieldBytes {
			break
		}
	}
	return d, f.limit, nil
}

// detectedFields tells which fields the newest lines of a query have.
func (s *Server) detectedFields(w http.ResponseWriter, r *http.Request, b *backend) error {
	d, limit, err := s.detect(r, b, "")
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, lokiapi.DetectedFieldsAnswer{Fields: d.fields(), Limit: limit})
}

// detectedFieldValues lists the values that one field has in the newest lines.
func (s *Server) detectedFieldValues(w http.ResponseWriter, r *http.Request, b *backend) error {
	d, limit, err := s.detect(r, b, r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, lokiapi.DetectedFieldValuesAnswer{Values: d.wantedValues(), Limit: limit})
}

package server

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	commonmodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Deleter is the part of a store that forgets entries. A Store that has these
// methods too serves the deletion API.
type Deleter interface {
	// Delete hides the entries at once and returns the request's ID.
	Delete(ctx context.Context, req model.DeleteRequest) (id string, err error)
	// DeleteRequests lists requests in the order of their creation.
	DeleteRequests() []model.DeleteStatus
	// CancelDelete takes a request back; force, also when files have been changed.
	CancelDelete(ctx context.Context, id string, force bool) error
}

// futureSlack is how far in the future the end of a delete request may be: the
// clocks of the sender and ours differ.
const futureSlack = time.Minute

// deleteRoutes are the deletion API's.
func (s *Server) deleteRoutes(plain func(pattern, route string, h http.HandlerFunc)) {
	const path = v1 + "/delete"
	for method, h := range map[string]func(http.ResponseWriter, *http.Request, Deleter) error{
		http.MethodPost:   s.createDelete,
		http.MethodPut:    s.createDelete,
		http.MethodGet:    s.listDeletes,
		http.MethodDelete: s.cancelDelete,
	} {
		plain(method+" "+path, path, s.withForm(s.withBackend(func(w http.ResponseWriter, r *http.Request, b *backend) error {
			d, ok := b.store.(Deleter)
			if !ok {
				return statusErrorf(http.StatusNotFound, "this store cannot delete")
			}
			return h(w, r, d)
		})))
	}
}

// createDelete orders a deletion. Unlike everywhere else times are seconds.
func (s *Server) createDelete(w http.ResponseWriter, r *http.Request, d Deleter) error {
	p := s.params(r)
	req, err := deleteRequest(p.Get("query"))
	if err != nil {
		return err
	}
	now := p.now.UnixNano()
	if p.Get("start") == "" {
		return badRequestf("start time not set: give it in seconds since 1970 or as RFC 3339")
	}
	start, err := p.seconds("start", 0)
	if err != nil {
		return err
	}
	end, err := p.seconds("end", now)
	if err != nil {
		return err
	}
	if end > now+int64(futureSlack) {
		return badRequestf("deletes in the future are not allowed: end may be %s at most; entries that arrive later are not concerned by a delete request", p.now.UTC().Format(time.RFC3339))
	}
	if start > end {
		return badRequestf("start time can't be greater than end time")
	}
	// Others need it to divide their work; here it only has to be right.
	if text := p.Get("max_interval"); text != "" {
		if i, err := commonmodel.ParseDuration(text); err != nil || i == 0 {
			return badRequestf("could not parse 'max_interval' parameter: %q is not a duration above 0", text)
		}
	}
	req.Range = model.TimeRange{Start: start, End: end + 1} // both ends are included
	id, err := d.Delete(r.Context(), req)
	if err != nil {
		return err
	}
	s.log.Info("delete request", "id", id, "query", req.Query, "range", req.Range.String())
	w.Header().Set(lokiapi.DeleteIDHeader, id)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// seconds reads seconds since 1970, with decimals if need be, or RFC 3339.
func (p params) seconds(key string, def int64) (int64, error) {
	text := p.Get(key)
	if text == "" {
		return def, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		const year1678, year2262 = -9214560000, 9214646400 // what nanoseconds can hold
		if t.Unix() < year1678 || t.Unix() > year2262 {
			return 0, badRequestf("%s %q is out of range", key, text)
		}
		return t.UnixNano(), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) {
		return 0, badRequestf("could not parse '%s' parameter: %q is neither seconds since 1970 nor a time in RFC 3339", key, text)
	}
	const farthest = 9e9 // the year 2255: milliseconds and nanoseconds are beyond
	if math.Abs(f) > farthest {
		return 0, badRequestf("could not parse '%s' parameter: %s is too large: the deletion API takes seconds", key, text)
	}
	return int64(math.Round(f*1000)) * int64(time.Millisecond), nil
}

// listDeletes lists the requests that touch a range, by default all.
func (s *Server) listDeletes(w http.ResponseWriter, r *http.Request, d Deleter) error {
	p := s.params(r)
	start, err := p.seconds("start", math.MinInt64)
	if err != nil {
		return err
	}
	end, err := p.seconds("end", math.MaxInt64)
	if err != nil {
		return err
	}
	out := []lokiapi.DeleteRequest{}
	for _, x := range d.DeleteRequests() {
		last := x.Range.End - 1
		if last < start || x.Range.Start > end {
			continue
		}
		out = append(out, lokiapi.DeleteRequest{
			ID: x.ID, Query: x.Query, Status: deleteStatus(x), Created: lokiapi.UnixSeconds(x.Created),
			Start: lokiapi.UnixSeconds(time.Unix(0, x.Range.Start)), End: lokiapi.UnixSeconds(time.Unix(0, last)),
		})
	}
	return writeJSON(w, http.StatusOK, out)
}

func deleteStatus(d model.DeleteStatus) string {
	switch d.State {
	case model.DeleteReceived:
		return "received"
	case model.DeleteBegun:
		return fmt.Sprintf("%d%% Complete", d.Percent)
	default:
		return "processed"
	}
}

func (s *Server) cancelDelete(w http.ResponseWriter, r *http.Request, d Deleter) error {
	id := r.Form.Get("request_id")
	if id == "" {
		return badRequestf("request_id is not set: the list of delete requests tells it")
	}
	force := false
	if text := r.Form.Get("force"); text != "" {
		var err error
		if force, err = strconv.ParseBool(text); err != nil {
			return badRequestf("could not parse 'force' parameter: %q is neither true nor false", text)
		}
	}
	if err := d.CancelDelete(r.Context(), id, force); err != nil {
		return err
	}
	s.log.Info("delete request cancelled", "id", id, "force", force)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deleteRequest reads a query whose entries are to be deleted.
func deleteRequest(query string) (model.DeleteRequest, error) {
	sel, err := deleteSelector(query)
	if err != nil {
		return model.DeleteRequest{}, err
	}
	req := model.DeleteRequest{Matchers: sel.Matchers, Query: query}
	if len(sel.Stages) > 0 {
		req.Filter = sel.String()
	}
	return req, nil
}

// deleteSelector parses a query that delete requests may have: line filters and
// label filters, whose answer for an entry never changes.
func deleteSelector(query string) (*logql.LogSelector, error) {
	if query == "" {
		return nil, badRequestf("query is not set: name the streams, as in {app=\"shop\"}")
	}
	expr, err := logql.Parse(query)
	if err != nil {
		return nil, err
	}
	sel, ok := expr.(*logql.LogSelector)
	if !ok {
		return nil, badRequestf("a delete request needs a log query, not a metric query: %s", query)
	}
	for _, st := range sel.Stages {
		switch st.(type) {
		case *logql.LineFilter, *logql.LabelFilter:
		default:
			return nil, badRequestf("a delete request may have line filters and label filters only, not %s", st)
		}
	}
	return sel, nil
}

// noErrors keeps entries that a label filter could not judge: in a query they
// pass, but nobody wants them to be deleted.
const noErrors = `{a="b"} | __error__=""`

// CompileDeleteFilter makes the Filter of a delete request usable, for the store.
func CompileDeleteFilter(text string) (*model.EntryFilter, error) {
	sel, err := deleteSelector(text)
	if err != nil {
		return nil, err
	}
	guard, err := logql.Parse(noErrors)
	if err != nil {
		return nil, err
	}
	stages := slices.Concat(sel.Stages, guard.(*logql.LogSelector).Stages)
	// Found out now whether all stages can be compiled.
	if _, err := stage.NewPipeline(stages, stage.Config{}); err != nil {
		return nil, badRequestf("%v", err)
	}
	return &model.EntryFilter{
		Contains: sel.RequiredSubstrings(),
		Stream: func(ls labels.Labels) func(int64, string, labels.Labels) bool {
			return entryPredicate(stages, ls)
		},
	}, nil
}

// entryPredicate runs the stages over one entry after the other.
func entryPredicate(stages []logql.Stage, ls labels.Labels) func(int64, string, labels.Labels) bool {
	p, err := stage.NewPipeline(stages, stage.Config{})
	if err != nil { // it worked a moment ago, with the same stages
		return func(int64, string, labels.Labels) bool { return false }
	}
	b := &model.EntryBatch{
		Streams: []labels.Labels{ls}, StreamIndex: make([]uint32, 1), Timestamps: make([]int64, 1),
		Lines: make([]string, 1), Metadata: make([]labels.Labels, 1),
	}
	return func(ts int64, line string, metadata labels.Labels) bool {
		b.Timestamps[0], b.Lines[0], b.Metadata[0] = ts, line, metadata
		for _, row := range p.Select(b) {
			if _, ok := p.Row(b, row); ok {
				return true
			}
		}
		return false
	}
}

package server

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, code int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // an error means that the client is gone
	return nil
}

// dataAnswer is the envelope of lists. Loki leaves out empty data; we send it,
// which every client reads too.
type dataAnswer struct {
	Status   string   `json:"status"`
	Warnings []string `json:"warnings,omitempty"`
	Data     any      `json:"data"`
}

func writeData[T any](w http.ResponseWriter, r *http.Request, list []T) error {
	return writeJSON(w, http.StatusOK, dataAnswer{"success", warningsOf(r), orEmpty(list)})
}

// warningsOf returns what a lookup noted about its answer.
func warningsOf(r *http.Request) []string { return model.WarningsOf(r.Context()).List() }

// orEmpty makes nil, which JSON would have as null, an empty list.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// selection is what a question about streams looks at.
type selection struct {
	span     model.TimeRange
	matchers []*labels.Matcher
}

// selection reads a range by bounds, and a selector; without one every stream
// matches. An option lets {} stand for all streams too.
func (p params) selection(bounds func() (model.TimeRange, error), opts ...logql.Option) (selection, error) {
	span, err := bounds()
	if err != nil {
		return selection{}, err
	}
	text := p.Get("query")
	if strings.TrimSpace(text) == "" {
		return selection{span: span}, nil
	}
	ms, err := logql.ParseSelector(text, opts...)
	return selection{span, ms}, selectorError(text, err)
}

// selectorError is err in the words that Loki has for a query, where a selector
// is wanted.
func selectorError(text string, err error) error {
	if err == nil {
		return nil
	}
	expr, other := logql.Parse(text)
	if sel, ok := expr.(*logql.LogSelector); other != nil || ok && len(sel.Stages) == 0 {
		return err
	}
	return badRequestf("only label matchers are supported")
}

// findNames lists the names of labels, findValues the values of the one that
// the path names.
func (s *Server) findNames(r *http.Request, b *backend) ([]string, error) {
	p := s.params(r)
	sel, err := p.selection(p.metadataBounds)
	if err != nil {
		return nil, err
	}
	return b.store.LabelNames(r.Context(), sel.span, sel.matchers)
}

func (s *Server) findValues(r *http.Request, b *backend) ([]string, error) {
	p := s.params(r)
	sel, err := p.selection(p.metadataBounds)
	if err != nil {
		return nil, err
	}
	return b.store.LabelValues(r.Context(), r.PathValue("name"), sel.span, sel.matchers)
}

func (s *Server) labelNames(w http.ResponseWriter, r *http.Request, b *backend) error {
	names, err := s.findNames(r, b)
	if err != nil {
		return err
	}
	return writeData(w, r, names)
}

func (s *Server) labelValues(w http.ResponseWriter, r *http.Request, b *backend) error {
	values, err := s.findValues(r, b)
	if err != nil {
		return err
	}
	return writeData(w, r, values)
}

// legacyAnswer is the body of label lists before Loki 1.0.
type legacyAnswer struct {
	Values []string `json:"values"`
}

func (s *Server) legacyLabelNames(w http.ResponseWriter, r *http.Request, b *backend) error {
	names, err := s.findNames(r, b)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, legacyAnswer{orEmpty(names)})
}

func (s *Server) legacyLabelValues(w http.ResponseWriter, r *http.Request, b *backend) error {
	values, err := s.findValues(r, b)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, legacyAnswer{orEmpty(values)})
}

// series lists the streams that any of several selectors matches; none, or a
// single {}, stands for all.
func (s *Server) series(w http.ResponseWriter, r *http.Request, b *backend) error {
	p := s.params(r)
	span, err := p.metadataBounds()
	if err != nil {
		return err
	}
	groups := slices.Concat(p.Values["match[]"], p.Values["match"])
	if len(groups) == 0 {
		groups = []string{"{}"}
	}
	sets, err := logql.ParseMatchers(groups, logql.AllowEmptyMatchers())
	for _, text := range groups {
		err = selectorError(text, err)
	}
	if err != nil {
		return err
	}
	var all []labels.Labels
	for i, ms := range sets {
		if len(ms) == 0 && len(groups) > 1 {
			return badRequestf("0 matchers in group: %s", groups[i])
		}
		found, err := b.store.Series(r.Context(), span, ms)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	if len(groups) > 1 {
		slices.SortFunc(all, labels.Compare)
		all = slices.CompactFunc(all, labels.Equal)
	}
	buf := []byte(`{"status":"success",`)
	if list := warningsOf(r); len(list) > 0 {
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		buf = append(append(append(buf, `"warnings":`...), text...), ',')
	}
	buf = append(buf, `"data":[`...)
	for i, ls := range all {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = lokiapi.AppendLabels(buf, ls)
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(append(buf, "]}\n"...))
	return nil
}

// indexStats sums up what a selector would read.
func (s *Server) indexStats(w http.ResponseWriter, r *http.Request, b *backend) error {
	out, err := s.statsOf(r, b)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, out)
}

// statsOf counts every stream, chunk block and entry once, those in memory too.
func (s *Server) statsOf(r *http.Request, b *backend) (lokiapi.IndexStats, error) {
	var out lokiapi.IndexStats
	p := s.params(r)
	sel, err := p.selection(p.bounds)
	if err != nil {
		return out, err
	}
	volumes, err := b.store.Volume(r.Context(), sel.span, sel.matchers)
	for _, v := range volumes {
		if v.Entries > 0 {
			out.Streams++
		}
		out.Chunks += v.Chunks
		out.Bytes += v.Bytes
		out.Entries += v.Entries
	}
	return out, err
}

// indexShards answers with one shard that holds everything: queries here are
// not divided by fingerprints.
func (s *Server) indexShards(w http.ResponseWriter, r *http.Request, b *backend) error {
	stats, err := s.statsOf(r, b)
	if err != nil {
		return err
	}
	type bounds struct {
		Min uint64 `json:"min"`
		Max uint64 `json:"max"`
	}
	type shard struct {
		Bounds bounds             `json:"bounds"`
		Stats  lokiapi.IndexStats `json:"stats"`
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"shards":     []shard{{bounds{0, math.MaxUint64}, stats}},
		"statistics": struct{}{},
	})
}

// detectedLabels lists the labels that are worth grouping by: those whose
// values are not all numbers or UUIDs.
func (s *Server) detectedLabels(w http.ResponseWriter, r *http.Request, b *backend) error {
	p := s.params(r)
	sel, err := p.selection(p.metadataBounds, logql.AllowEmptyMatchers())
	if err != nil {
		return err
	}
	series, err := b.store.Series(r.Context(), sel.span, sel.matchers)
	if err != nil {
		return err
	}
	values := map[string]map[string]struct{}{}
	for _, ls := range series {
		ls.Range(func(l labels.Label) {
			if values[l.Name] == nil {
				values[l.Name] = map[string]struct{}{}
			}
			values[l.Name][l.Value] = struct{}{}
		})
	}
	out := lokiapi.DetectedLabelsAnswer{DetectedLabels: []lokiapi.DetectedLabel{}}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if alwaysDetected(name) || !allIDs(values[name]) {
			out.DetectedLabels = append(out.DetectedLabels, lokiapi.DetectedLabel{Label: name, Cardinality: len(values[name])})
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func alwaysDetected(name string) bool {
	return name == "cluster" || name == "namespace" || name == "instance" || name == "pod"
}

// allIDs says whether every value is a number or a UUID, flags of 0 and 1 aside.
func allIDs(values map[string]struct{}) bool {
	flags := true
	for v := range values {
		if v != "0" && v != "1" {
			flags = false
		}
		if _, err := strconv.ParseFloat(v, 64); err != nil && !isUUID(v) {
			return false
		}
	}
	return !flags || len(values) == 0
}

// isUUID recognises the usual form of 8-4-4-4-12 hexadecimal digits.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return false
			}
		}
	}
	return true
}

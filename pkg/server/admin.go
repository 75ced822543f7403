package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	commonmodel "github.com/prometheus/common/model"
	"golang.org/x/sync/semaphore"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// ready answers 200 when data can be pushed and queried.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.drain.Err() != nil:
		s.writeError(w, r, &errNotReady{"shutting down"})
	case s.backend.Load() == nil:
		s.writeError(w, r, &errNotReady{*s.reason.Load()})
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ready\n"))
	}
}

// buildInfo is a bare object, unlike Prometheus'.
func (s *Server) buildInfo(w http.ResponseWriter, r *http.Request) {
	s.orError(w, r, writeJSON(w, http.StatusOK, lokiapi.BuildInfo{
		Version: version.Version, Revision: version.Commit, GoVersion: runtime.Version(),
	}))
}

func (s *Server) orError(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		s.writeError(w, r, err)
	}
}

// limit is one of Loki's limits as it is in force here.
type limit struct {
	name  string
	value any
}

// limits are those that clients look at, under Loki's names. 0 is no limit.
func (s *Server) limits() []limit {
	l := s.decoder.Limits()
	age := func(d time.Duration) string { return commonmodel.Duration(max(d, 0)).String() }
	return []limit{
		{"allow_structured_metadata", true},
		{"creation_grace_period", age(l.MaxFuture)},
		{"deletion_mode", "filter-and-delete"},
		{"discover_log_levels", !l.NoLevels},
		{"discover_service_name", l.ServiceNameLabels},
		{"max_entries_limit_per_query", maxEntries},
		{"max_label_name_length", l.MaxLabelName},
		{"max_label_names_per_series", l.MaxLabelNames},
		{"max_label_value_length", l.MaxLabelValue},
		{"max_line_size", l.MaxLine},
		{"max_query_bytes_read", "0B"},
		{"max_query_length", "0s"},
		{"max_query_lookback", "0s"},
		{"max_query_range", "0s"},
		{"max_structured_metadata_entries_count", l.MaxMetadataPairs},
		{"max_structured_metadata_size", l.MaxMetadataBytes},
		{"metric_aggregation_enabled", false},
		{"reject_old_samples", l.MaxAge > 0},
		{"reject_old_samples_max_age", age(l.MaxAge)},
		{"retention_period", age(s.opts.Retention)},
		{"volume_enabled", true},
		{"volume_max_series", maxVolumeSeries},
	}
}

// maxEntries is the largest number of entries that a log query returns.
const maxEntries = 5000

// drilldownLimits tells Grafana's log app what it may ask for.
func (s *Server) drilldownLimits(w http.ResponseWriter, r *http.Request) {
	limits := map[string]any{}
	for _, l := range s.limits() {
		limits[l.name] = l.value
	}
	s.orError(w, r, writeJSON(w, http.StatusOK, map[string]any{
		"limits":                   limits,
		"pattern_ingester_enabled": true,
		"version":                  version.Version,
	}))
}

// tenantLimits lists the limits as YAML, of which JSON values are a part.
func (s *Server) tenantLimits(w http.ResponseWriter, r *http.Request) {
	var buf []byte
	for _, l := range s.limits() {
		value, err := json.Marshal(l.value)
		if err != nil {
			s.writeError(w, r, err)
			return
		}
		buf = fmt.Appendf(buf, "%s: %s\n", l.name, value)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(buf)
}

// logLevelAnswer is what /log_level answers.
type logLevelAnswer struct {
	Message string `json:"message"`
	Status  string `json:"status,omitempty"`
}

func (s *Server) logLevel(w http.ResponseWriter, r *http.Request) {
	s.orError(w, r, writeJSON(w, http.StatusOK, logLevelAnswer{
		Message: "Current log level is " + strings.ToLower(s.opts.LogLevel.Level().String()),
	}))
}

// setLogLevel changes what the process logs until it ends.
func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request) {
	var level slog.Level
	text := r.Form.Get("log_level")
	if err := level.UnmarshalText([]byte(text)); err != nil {
		s.refused(r, reasonParameter)
		s.orError(w, r, writeJSON(w, http.StatusBadRequest, logLevelAnswer{
			Message: fmt.Sprintf("unrecognized log level %q: use debug, info, warn or error", cut(text, 100)), Status: "failed",
		}))
		return
	}
	s.opts.LogLevel.Set(level)
	s.orError(w, r, writeJSON(w, http.StatusOK, logLevelAnswer{
		Message: "Log level set to " + strings.ToLower(level.String()), Status: "success",
	}))
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(s.opts.Config())
}

func (s *Server) services(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, svc := range s.opts.Services() {
		_, _ = fmt.Fprintf(w, "%s => %s\n", svc.Name, svc.State)
	}
}

// status answers what the parts of the process say about themselves.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	out := s.opts.Status()
	if out == nil {
		out = map[string]any{}
	}
	out["version"] = version.Version
	out["ready"] = s.backend.Load() != nil
	if s.backend.Load() == nil {
		out["reason"] = *s.reason.Load()
	}
	out["services"] = s.opts.Services()
	s.orError(w, r, writeJSON(w, http.StatusOK, out))
}

// echo writes one line to our own log, which is collected like every other:
// doctor waits for it at the far end of the whole way.
func (s *Server) echo(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("token")
	if !lokiapi.ValidEchoToken(token) {
		s.writeError(w, r, badRequestf("token %q: 1 to 64 characters of a-z, 0-9 and -", token))
		return
	}
	s.log.Info("echo", "token", token)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) flush(w http.ResponseWriter, r *http.Request, b *backend) error {
	if err := s.flusher.flush(r.Context(), b.store); err != nil {
		return fmt.Errorf("flushing the store: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// flushInterval is the least time between two flushes. Each makes a block:
// a client that flushes after every line would make one for every line.
const flushInterval = 5 * time.Second

// flusher merges flushes that are asked for in quick succession.
type flusher struct {
	begun atomic.Uint64       // flushes that have begun
	turn  *semaphore.Weighted // of 1: for the call that flushes or waits to
	done  uint64              // the last flush that succeeded; turn guards this and what follows
	ended time.Time           // when the last flush ended
}

// flush returns when a flush that began after the call has ended. Calls that
// wait at the same time share one.
func (f *flusher) flush(ctx context.Context, st Store) error {
	want := f.begun.Load() + 1
	if err := f.turn.Acquire(ctx, 1); err != nil {
		return err
	}
	defer f.turn.Release(1)
	if f.done >= want {
		return nil
	}
	if !f.ended.IsZero() {
		timer := time.NewTimer(flushInterval - time.Since(f.ended))
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n := f.begun.Add(1)
	err := st.Flush(ctx)
	f.ended = time.Now()
	if err == nil {
		f.done = n
	}
	return err
}

// prettyWidth is where format_query breaks lines.
const prettyWidth = 100

// formatQuery pretty-prints a query. Its errors are JSON, unlike all others'.
func (s *Server) formatQuery(w http.ResponseWriter, r *http.Request, _ *backend) error {
	expr, err := logql.Parse(r.Form.Get("query"))
	if err != nil {
		var parse *logql.ParseError
		if !errors.As(err, &parse) {
			return err
		}
		s.refused(r, reasonQuery)
		return writeJSON(w, http.StatusBadRequest, map[string]string{"status": "invalid-query", "error": err.Error()})
	}
	return writeJSON(w, http.StatusOK, dataAnswer{Status: "success", Data: logql.Pretty(expr, prettyWidth)})
}

package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// statusCanceled is what Loki (and nginx) answer to a client that hung up. The
// client never sees it; logs and metrics do.
const statusCanceled = 499

// httpError is an error with the status that it is answered with.
type httpError struct {
	code int
	msg  string
}

func (e *httpError) Error() string { return e.msg }

func statusErrorf(code int, format string, args ...any) error {
	return &httpError{code: code, msg: fmt.Sprintf(format, args...)}
}

func badRequestf(format string, args ...any) error {
	return statusErrorf(http.StatusBadRequest, format, args...)
}

// statusOf finds the status for an error.
func (s *Server) statusOf(r *http.Request, err error) int {
	var (
		withCode *httpError
		parse    *logql.ParseError
		query    *engine.QueryError
		limit    *engine.LimitError
		pipeline *engine.PipelineError
		labels   *lokiapi.LabelsError
		syntax   *lokiapi.SyntaxError
		proto    *lokiapi.ProtoError
		tooLarge *lokiapi.TooLargeError
		notReady *errNotReady
	)
	switch {
	case errors.As(err, &withCode):
		return withCode.code
	case r.Context().Err() != nil:
		return statusCanceled
	case errors.As(err, &notReady):
		return http.StatusServiceUnavailable
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, lokiapi.ErrNoStreams):
		return http.StatusUnprocessableEntity
	case errors.As(err, &parse), errors.As(err, &query), errors.As(err, &limit), errors.As(err, &pipeline),
		errors.As(err, &labels), errors.As(err, &syntax), errors.As(err, &proto):
		return http.StatusBadRequest
	case errors.Is(err, engine.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled):
		return statusCanceled
	}
	if code := s.opts.StatusCode(err); code != 0 {
		return code
	}
	return http.StatusInternalServerError
}

// Reasons for which requests are refused: values of a metric's label.
const (
	reasonQuery     = "bad_query"      // it cannot be read or evaluated
	reasonPipeline  = "pipeline_error" // a line that a metric query cannot use
	reasonLimit     = "limit"          // of entries, series, memory, tails, …
	reasonParameter = "bad_parameter"
	reasonTooLarge  = "too_large"
	reasonNotReady  = "not_ready"
	reasonTimeout   = "timeout"
	reasonCancelled = "cancelled" // the client left, or does not read
	// reasonCredentials has no route: nothing has looked at the path yet.
	reasonCredentials = "bad_credentials"
	reasonOther       = "other"    // 4xx without a reason of their own
	reasonInternal    = "internal" // 5xx
)

// reasonOf says why a request with this error and status is refused.
func reasonOf(code int, err error) string {
	var (
		parse    *logql.ParseError
		query    *engine.QueryError
		limit    *engine.LimitError
		pipeline *engine.PipelineError
	)
	switch {
	case code == statusCanceled, errors.Is(err, os.ErrDeadlineExceeded): // the latter does not read
		return reasonCancelled
	case code == http.StatusGatewayTimeout:
		return reasonTimeout
	case code == http.StatusServiceUnavailable:
		return reasonNotReady
	case code >= 500:
		return reasonInternal
	case code == http.StatusRequestEntityTooLarge:
		return reasonTooLarge
	case errors.As(err, &limit):
		return reasonLimit
	case errors.As(err, &parse), errors.As(err, &query):
		return reasonQuery
	case errors.As(err, &pipeline):
		return reasonPipeline
	case code == http.StatusBadRequest:
		return reasonParameter
	}
	return reasonOther
}

// refused counts a request that was not answered as asked.
func (s *Server) refused(r *http.Request, reason string) {
	// The pattern of the route, not the path: that holds names of labels.
	_, route, _ := strings.Cut(r.Pattern, " ")
	s.metrics.refused.WithLabelValues(route, reason).Inc()
}

// writeError answers with plain text, as Loki does.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	code := s.statusOf(r, err)
	s.refused(r, reasonOf(code, err))
	text := err.Error()
	switch {
	case code == statusCanceled:
		text = "the request was cancelled by the client"
	case code >= 500 && code != http.StatusServiceUnavailable:
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "status", code, "error", err)
	}
	http.Error(w, text, code)
}

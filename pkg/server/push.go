package server

import (
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// push stores entries: 204 when all of them are durable, 400 with the reasons
// when some were refused (the others are stored), as Loki does.
func (s *Server) push(w http.ResponseWriter, r *http.Request, b *backend) error {
	refused, err := s.pushBody(w, r, b)
	switch {
	case err != nil:
		s.countBadPush(r, err)
		return err
	case refused != "":
		return badRequestf("%s", refused)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// countBadPush counts requests that could not be read at all. Failures of ours
// are not counted: clients send again.
func (s *Server) countBadPush(r *http.Request, err error) {
	var labels *lokiapi.LabelsError
	reason := lokiapi.ReasonMalformed
	switch code := s.statusOf(r, err); {
	case errors.As(err, &labels):
		reason = lokiapi.ReasonInvalidLabels
	case errors.Is(err, lokiapi.ErrNoStreams):
		reason = lokiapi.ReasonNoStreams
	case code == http.StatusRequestEntityTooLarge:
		reason = lokiapi.ReasonBodyTooLarge
	case code == http.StatusRequestTimeout:
		reason = lokiapi.ReasonTimeout
	case code != http.StatusBadRequest:
		return
	}
	s.metrics.refuse(string(reason), 1, 0)
}

// pushBody reads, decodes and stores one request. It returns the reasons for
// what was refused.
func (s *Server) pushBody(w http.ResponseWriter, r *http.Request, b *backend) (refused string, err error) {
	// Everything that is not JSON is protobuf, but there must be a type.
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return "", badRequestf("bad Content-Type %q: %v", cut(r.Header.Get("Content-Type"), 100), err)
	}
	isJSON := mediaType == typeJSON
	body, err := s.readBody(w, r)
	if err != nil {
		return "", err
	}
	defer body.release()
	text, err := s.decompress(r, body, isJSON)
	if err != nil {
		return "", err
	}
	decode := s.decoder.Proto
	if isJSON {
		decode = s.decoder.JSON
	}
	p, err := decode(text)
	if err != nil {
		return "", err
	}
	defer p.Release()
	if p.Entries > 0 {
		if err := b.store.Append(r.Context(), &p.Batch); err != nil {
			return "", fmt.Errorf("storing a push: %w", err)
		}
	}
	return s.countPush(r, p), nil
}

// countPush counts what became of a request and returns the reasons for what
// was refused.
func (s *Server) countPush(r *http.Request, p *lokiapi.Push) (refused string) {
	s.metrics.pushedEntries.Add(float64(p.Entries))
	s.metrics.pushedBytes.Add(float64(p.Bytes))
	s.metrics.truncatedLines.Add(float64(p.Truncated))
	for _, f := range p.Refused {
		s.metrics.refuse(string(f.Reason), f.Entries, f.Bytes)
	}
	if refused = p.RefusedMessage(); refused != "" {
		s.log.Debug("push partly refused", "from", r.RemoteAddr, "stored", p.Entries, "reasons", refused)
	}
	return refused
}

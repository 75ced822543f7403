package server

import (
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// otlpPath takes logs in OpenTelemetry's protocol; exporters are told the URL
// up to /otlp.
const otlpPath = "/otlp/v1/logs"

const (
	typeProtobuf = "application/x-protobuf"
	typeJSON     = "application/json"
)

// otlpLogs stores the records of an export request: 204 when all of them are
// durable, 200 with a partial success when some were refused, 400 when all
// were. Errors are a google.rpc.Status in protobuf, as in Loki, and a failure
// of ours is one after which exporters try again.
func (s *Server) otlpLogs(w http.ResponseWriter, r *http.Request) {
	isJSON, push, err := s.otlpBody(w, r)
	if err != nil {
		s.countBadPush(r, err)
		s.writeOTLPError(w, r, err)
		return
	}
	defer push.Release()
	refused := s.countPush(r, push)
	switch {
	case refused == "":
		w.WriteHeader(http.StatusNoContent)
		return
	case push.Entries == 0:
		s.writeOTLPError(w, r, badRequestf("%s", refused))
		return
	}
	count := 0
	for _, f := range push.Refused {
		count += f.Entries
	}
	body, mediaType := lokiapi.OTLPPartialSuccess(count, refused), typeProtobuf
	if isJSON {
		body, mediaType = lokiapi.OTLPPartialSuccessJSON(count, refused), typeJSON
	}
	w.Header().Set("Content-Type", mediaType)
	_, _ = w.Write(body) // whoever left does not need it
}

// otlpBody reads, decodes and stores one request.
func (s *Server) otlpBody(w http.ResponseWriter, r *http.Request) (isJSON bool, push *lokiapi.Push, err error) {
	b := s.backend.Load()
	if b == nil {
		return false, nil, &errNotReady{*s.reason.Load()}
	}
	contentType := r.Header.Get("Content-Type")
	switch mediaType, _, err := mime.ParseMediaType(contentType); {
	case err == nil && mediaType == typeJSON:
		isJSON = true
	case err != nil || mediaType != typeProtobuf:
		return false, nil, badRequestf("content type %q is not supported: send %s or %s", cut(contentType, 100), typeProtobuf, typeJSON)
	}
	body, err := s.readBody(w, r)
	if err != nil {
		return isJSON, nil, err
	}
	defer body.release()
	text, err := s.otlpText(r, body, isJSON)
	if err != nil {
		return isJSON, nil, err
	}
	decode := s.decoder.OTLP
	if isJSON {
		decode = s.decoder.OTLPJSON
	}
	push, err = decode(text, func(batch *model.Batch) error {
		if err := b.store.Append(r.Context(), batch); err != nil {
			return fmt.Errorf("storing records: %w", err)
		}
		return nil
	})
	return isJSON, push, err
}

// otlpText undoes Content-Encoding and claims the memory that decoding takes.
func (s *Server) otlpText(r *http.Request, p *pushBuffers, isJSON bool) ([]byte, error) {
	limit := s.decoder.Limits().MaxDecoded
	enc := r.Header.Get("Content-Encoding")
	switch enc {
	case "":
		text := p.sent.Bytes()
		if len(text) > limit {
			return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
		}
		cost, err := s.otlpCost(text, isJSON)
		if err != nil {
			return nil, err
		}
		return text, p.claimText(r.Context(), cost)
	case "gzip", "zstd", "lz4":
	default:
		return nil, badRequestf("Content-Encoding %q not supported: use gzip, zstd, lz4 or none", cut(enc, 100))
	}
	// How much it will be is unknown: claim the most, give back soon.
	most := min(limit+lokiapi.OTLPPart, int(s.opts.PushMemory))
	if isJSON {
		most = int(s.opts.PushMemory)
	}
	if err := p.claimText(r.Context(), most); err != nil {
		return nil, err
	}
	text, err := p.inflate(enc, limit)
	if err != nil {
		return nil, err
	}
	cost, err := s.otlpCost(text, isJSON)
	if err != nil {
		return nil, err
	}
	p.giveBack(len(text) + cost)
	return text, nil
}

// otlpCost is how much memory the decoding takes beside the text.
func (s *Server) otlpCost(text []byte, isJSON bool) (int, error) {
	if !isJSON {
		return min(lokiapi.OTLPPart, int(s.opts.PushMemory)), nil
	}
	cost, err := lokiapi.OTLPJSONCost(text)
	if err == nil && int64(cost) > s.opts.PushMemory {
		err = &lokiapi.TooLargeError{What: "bytes once it is decoded", Limit: int(s.opts.PushMemory)}
	}
	return cost, err
}

// writeOTLPError answers with a google.rpc.Status. Exporters only try again
// after 429, 502, 503 and 504.
func (s *Server) writeOTLPError(w http.ResponseWriter, r *http.Request, err error) {
	code := s.statusOf(r, err)
	if code >= 500 && code != http.StatusBadGateway && code != http.StatusGatewayTimeout {
		if code != http.StatusServiceUnavailable {
			s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "status", code, "error", err)
		}
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", typeProtobuf)
	w.WriteHeader(code)
	_, _ = w.Write(lokiapi.OTLPStatus(code, strings.ToValidUTF8(err.Error(), "\uFFFD"))) // as above
}

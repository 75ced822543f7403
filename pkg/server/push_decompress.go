package server

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// decompress undoes Content-Encoding and, for protobuf, the snappy block inside.
func (s *Server) decompress(r *http.Request, p *pushBuffers, isJSON bool) ([]byte, error) {
	limit := s.decoder.Limits().MaxDecoded
	text := p.sent.Bytes()
	inflated := false
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "snappy": // a hint: protobuf is always snappy inside
	case "gzip", "deflate":
		// How much it will be is unknown: claim the most, give back soon.
		err := p.claimText(r.Context(), limit)
		if err == nil {
			text, err = p.inflate(enc, limit)
		}
		if err != nil {
			return nil, err
		}
		inflated = true
	default:
		return nil, badRequestf("Content-Encoding %q not supported", cut(enc, 100))
	}
	if isJSON {
		if len(text) > limit {
			return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
		}
		p.giveBack(len(text))
		return text, nil
	}
	size, err := snappy.DecodedLen(text)
	if err != nil {
		return nil, badRequestf("the body is not a snappy block: %v", err)
	}
	// A snappy block of n bytes cannot stand for more than 22 n or so: a
	// larger claim is a lie, and would cost memory before it is found out.
	if size > limit || size > 64*len(text)+64 {
		return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
	}
	if inflated {
		if p.giveBack(len(text) + size); len(text)+size > limit {
			return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
		}
		out, err := snappy.Decode(nil, text)
		if err != nil {
			return nil, badRequestf("the body is not a snappy block: %v", err)
		}
		return out, nil
	}
	if err := p.claimText(r.Context(), size); err != nil {
		return nil, err
	}
	p.text.Grow(size)
	out, err := snappy.Decode(p.text.AvailableBuffer()[:size], text)
	if err != nil {
		return nil, badRequestf("the body is not a snappy block: %v", err)
	}
	return out, nil
}

// giveBack shrinks the claim to n bytes.
func (p *pushBuffers) giveBack(n int) {
	if extra := p.textClaim - int64(n); extra > 0 {
		p.s.decoded.Release(extra)
		p.textClaim -= extra
	}
}

// inflate decompresses the body as it was sent into p.text, limit bytes at
// most; they have been claimed.
func (p *pushBuffers) inflate(encoding string, limit int) ([]byte, error) {
	var from io.Reader
	sent := bytes.NewReader(p.sent.Bytes())
	switch encoding {
	case "gzip":
		z, err := gzip.NewReader(sent)
		if err != nil {
			return nil, badRequestf("the body is not gzip: %v", err)
		}
		from = z
	case "deflate": // without a header, as Loki has it
		from = flate.NewReader(sent)
	case "lz4":
		from = lz4.NewReader(sent)
	case "zstd":
		return p.unzstd(limit)
	}
	n, err := p.text.ReadFrom(io.LimitReader(from, int64(limit)+1))
	switch {
	case err != nil:
		return nil, badRequestf("the %s body is broken: %v", encoding, err)
	case n > int64(limit):
		return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
	}
	return p.text.Bytes(), nil
}

// unzstd is inflate for zstd. Its decoder needs no window of its own when it
// writes into one buffer.
func (p *pushBuffers) unzstd(limit int) ([]byte, error) {
	p.text.Grow(min(4*p.sent.Len(), limit))
	text, err := p.s.zstd.DecodeAll(p.sent.Bytes(), p.text.AvailableBuffer())
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), len(text) > limit:
		return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
	case err != nil:
		return nil, badRequestf("the zstd body is broken: %v", err)
	}
	return text, nil
}

// newZstd makes the decoder that all bodies share.
func newZstd(limit int) *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(uint64(limit)))
	if err != nil {
		panic(err) // the options are in range
	}
	return d
}

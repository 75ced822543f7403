package lokiapi

import (
	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// EncodePush returns the body of a protobuf push, one snappy block. Marks are
// not part of the protocol and are ignored.
func EncodePush(streams []model.StreamEntries) []byte {
	return snappy.Encode(nil, AppendPushRequest(nil, streams))
}

// AppendPushRequest appends the uncompressed PushRequest to dst.
func AppendPushRequest(dst []byte, streams []model.StreamEntries) []byte {
	var stream, entry []byte
	for i := range streams {
		s := &streams[i]
		stream = protowire.AppendTag(stream[:0], 1, protowire.BytesType)
		stream = protowire.AppendString(stream, s.Labels.String())
		for j := range s.Entries {
			entry = appendProtoEntry(entry[:0], &s.Entries[j])
			stream = protowire.AppendTag(stream, 2, protowire.BytesType)
			stream = protowire.AppendBytes(stream, entry)
		}
		dst = protowire.AppendTag(dst, 1, protowire.BytesType)
		dst = protowire.AppendBytes(dst, stream)
	}
	return dst
}

func appendProtoEntry(dst []byte, e *model.Entry) []byte {
	seconds, nanos := e.Timestamp/1_000_000_000, e.Timestamp%1_000_000_000
	if nanos < 0 { // a Timestamp counts nanos forward
		seconds, nanos = seconds-1, nanos+1_000_000_000
	}
	var ts []byte
	ts = protowire.AppendTag(ts, 1, protowire.VarintType)
	ts = protowire.AppendVarint(ts, uint64(seconds))
	ts = protowire.AppendTag(ts, 2, protowire.VarintType)
	ts = protowire.AppendVarint(ts, uint64(nanos))
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendBytes(dst, ts)
	dst = protowire.AppendTag(dst, 2, protowire.BytesType)
	dst = protowire.AppendString(dst, e.Line)
	e.Metadata.Range(func(l labels.Label) {
		var pair []byte
		pair = protowire.AppendTag(pair, 1, protowire.BytesType)
		pair = protowire.AppendString(pair, l.Name)
		pair = protowire.AppendTag(pair, 2, protowire.BytesType)
		pair = protowire.AppendString(pair, l.Value)
		dst = protowire.AppendTag(dst, 3, protowire.BytesType)
		dst = protowire.AppendBytes(dst, pair)
	})
	return dst
}

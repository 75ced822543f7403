package server

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// flatten joins the three parts of a label set into the one that clients
// without categorize-labels see.
func flatten(e *engine.LiveEntry) labels.Labels {
	s := engine.StreamResult{Labels: e.Labels, StructuredMetadata: e.StructuredMetadata, Parsed: e.Parsed}
	return s.Flat()
}

// writeStreams encodes a log result.
func writeStreams(e *lokiapi.Encoder, res *engine.Result, categorize bool) {
	streams := engine.MergeFlat
	if categorize {
		streams = engine.MergeByStream
	}
	for _, st := range streams(res.Streams) {
		e.Stream(st.Labels)
		for i := range st.Entries {
			entry := &st.Entries[i]
			e.Entry(entry.Timestamp, entry.Line, entry.StructuredMetadata, entry.Parsed)
		}
	}
}

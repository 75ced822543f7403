package main

import (
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/server"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

// BenchmarkExplore asks what Explore and Logs Drilldown ask of a namespace with
// 30 pods and LOGSTACK_BENCH_LINES lines in one hour, a million by default, all
// in blocks.
func BenchmarkExplore(b *testing.B) {
	lines := 1_000_000
	if text := os.Getenv("LOGSTACK_BENCH_LINES"); text != "" {
		var err error
		if lines, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	db, err := store.Open(b.TempDir(), store.DefaultOptions())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // thrown away
	fillHour(b, db, lines)
	end := time.Unix(0, corpus.Start).Add(time.Hour)
	clock := func() time.Time { return end }
	s := server.New(server.Options{Now: clock})
	s.SetBackend(db, engine.New(db, engine.Options{Now: clock}))
	for _, q := range []struct {
		path   string
		params url.Values
	}{
		{"patterns", url.Values{"query": {`{namespace=~".+"}`}, "step": {"10s"}}},
		{"patterns", url.Values{"query": {`{namespace=~".+"} |= "timed out"`}, "step": {"10s"}}},
		{"detected_fields", url.Values{"query": {`{namespace=~".+"}`}, "line_limit": {"1000"}}},
		{"detected_labels", nil},
		{"labels", nil},
		{"index/stats", url.Values{"query": {`{namespace=~".+"}`}}},
		{"index/volume", url.Values{"query": {`{pod=~".+"}`}}},
		{"index/volume_range", url.Values{"query": {`{pod=~".+"}`}, "step": {"30s"}}},
	} {
		b.Run(q.path+" "+q.params.Get("query"), func(b *testing.B) {
			for b.Loop() {
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/loki/api/v1/"+q.path+"?"+q.params.Encode(), nil))
				if w.Code != 200 {
					b.Fatalf("answered %d %s", w.Code, w.Body)
				}
			}
		})
	}
}

// fillHour appends lines of the hour since corpus.Start, evenly spread, in
// batches that a shipper would send.
func fillHour(b *testing.B, db *store.DB, lines int) {
	b.Helper()
	g := corpus.New(1)
	streams := corpus.Mix(30)
	const batch = 50 // lines of each stream
	var buf []byte
	for n := 0; n < lines; {
		var out model.Batch
		for _, st := range streams {
			entries := make([]model.Entry, batch)
			for i := range entries {
				ts := corpus.Start + int64(float64(n)/float64(lines)*float64(time.Hour))
				buf = g.AppendLine(buf[:0], st.Kind, ts)
				entries[i] = model.Entry{Timestamp: ts, Line: string(buf)}
				n++
			}
			out.Streams = append(out.Streams, model.StreamEntries{Labels: st.Labels, Entries: entries})
		}
		if err := db.Append(b.Context(), &out); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

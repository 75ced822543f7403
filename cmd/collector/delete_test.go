package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/server"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

// TestDeleteRestart deletes lines over HTTP, asks for them before and after a
// restart, and takes the request back.
func TestDeleteRestart(t *testing.T) {
	dir := t.TempDir()
	open := func() (*store.DB, *server.Server) {
		o := store.DefaultOptions()
		o.DeleteDelay = deleteDelay
		o.CompileFilter = server.CompileDeleteFilter
		db, err := store.Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		s := server.New(server.Options{StatusCode: statusCode})
		s.SetBackend(db, engine.New(db, engine.Options{}))
		return db, s
	}
	db, s := open()
	c := serveHTTP(t, s)
	start := time.Now().Add(-time.Minute)
	entries := make([]model.Entry, 20)
	for i := range entries {
		entries[i] = model.Entry{Timestamp: start.UnixNano() + int64(i), Line: fmt.Sprintf("line %d", i)}
	}
	if err := c.Push(t.Context(), []model.StreamEntries{{Labels: labels.FromStrings("app", "web"), Entries: entries}}); err != nil {
		t.Fatal(err)
	}
	lines := func() int {
		t.Helper()
		res, err := c.QueryRange(t.Context(), lokiapi.RangeRequest{Query: `{app="web"}`, Start: start.Add(-time.Hour), End: time.Now(), Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, st := range res.Streams {
			n += len(st.Entries)
		}
		return n
	}
	id, err := c.CreateDelete(t.Context(), `{app="web"} |= "line 1"`, start.Add(-time.Hour), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if n := lines(); n != 9 {
		t.Errorf("%d lines are left, want 9", n)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, s = open()
	defer db.Close() //nolint:errcheck // checked above
	c = serveHTTP(t, s)
	if n := lines(); n != 9 {
		t.Errorf("%d lines are left after a restart, want 9", n)
	}
	list, err := c.Deletes(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].Status != "received" {
		t.Fatalf("list is %+v, %v", list, err)
	}
	if err := c.CancelDelete(t.Context(), id, false); err != nil {
		t.Fatal(err)
	}
	if n := lines(); n != 20 {
		t.Errorf("%d lines after the request was taken back, want 20", n)
	}
}

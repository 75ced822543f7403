package peers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// nextLines reads a tail until it has n lines.
func nextLines(t *testing.T, it model.BatchIterator, n int) []string {
	t.Helper()
	var out []string
	for len(out) < n {
		b, err := it.Next(t.Context())
		if err != nil {
			t.Fatal(err, out)
		}
		for i := range b.Timestamps {
			out = append(out, b.Streams[b.StreamIndex[i]].Get("app")+" "+strings.Clone(b.Lines[i]))
		}
	}
	slices.Sort(out)
	return out
}

var web = labels.FromStrings("app", "web")

// TestTail follows three replicas at one of them: each line comes once, also one
// that two replicas store, and as often as one of them has it.
func TestTail(t *testing.T) {
	c := newCluster(t, 3, nil)
	it, err := c[1].peers.Tail(t.Context(), model.TailRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close() //nolint:errcheck // always nil
	for i, r := range c {
		push(t, r.db, web, model.Entry{Timestamp: 1, Line: "all"}, model.Entry{Timestamp: int64(2 + i), Line: fmt.Sprint("own ", i)})
	}
	push(t, c[0].db, web, model.Entry{Timestamp: 9, Line: "twice"}, model.Entry{Timestamp: 9, Line: "twice"})
	push(t, c[2].db, web, model.Entry{Timestamp: 9, Line: "twice"}, model.Entry{Timestamp: 9, Line: "twice"})
	want := []string{"web all", "web own 0", "web own 1", "web own 2", "web twice", "web twice"}
	if d := cmp.Diff(want, nextLines(t, it, len(want))); d != "" {
		t.Error(d)
	}
	// What was handed over is not new.
	if err := c[0].db.Append(t.Context(), &model.Batch{Moved: true, Streams: []model.StreamEntries{{Labels: web, Entries: []model.Entry{{Timestamp: 3, Line: "moved"}}}}}); err != nil {
		t.Fatal(err)
	}
	push(t, c[0].db, web, model.Entry{Timestamp: 10, Line: "last"})
	if got := nextLines(t, it, 1); got[0] != "web last" {
		t.Error(got)
	}
}

// TestTailReconnects breaks the connection to a peer: what it stores meanwhile is
// read when it is back, and the reader is told.
func TestTailReconnects(t *testing.T) {
	c := newCluster(t, 2, nil)
	ctx, warnings := model.WithWarnings(t.Context())
	it, err := c[0].peers.Tail(ctx, model.TailRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close() //nolint:errcheck // always nil
	now := c[0].peers.opts.Now().UnixNano()
	push(t, c[1].db, web, model.Entry{Timestamp: now, Line: "before"})
	if got := nextLines(t, it, 1); got[0] != "web before" {
		t.Fatal(got)
	}
	refuse := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not now", http.StatusServiceUnavailable) })
	}
	c[1].setWrap(refuse)
	c[1].srv.CloseClientConnections()
	push(t, c[1].db, web, model.Entry{Timestamp: now + 1, Line: "meanwhile"})
	push(t, c[0].db, web, model.Entry{Timestamp: now + 2, Line: "local"})
	if got := nextLines(t, it, 1); got[0] != "web local" {
		t.Fatal(got)
	}
	c[1].setWrap(nil)
	if got := nextLines(t, it, 1); got[0] != "web meanwhile" {
		t.Fatal(got)
	}
	if list := warnings.List(); len(list) == 0 || !strings.Contains(list[0], "logstack-1") {
		t.Errorf("warnings: %q", list)
	}
	// A replica that joins later is followed, too: the directory is looked at again.
	if err := it.Close(); err != nil {
		t.Error(err)
	}
	if _, err := it.Next(context.Background()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("after Close: %v", err)
	}
}

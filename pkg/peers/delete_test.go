package peers

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

func lines(rows []row) []string {
	out := []string{}
	for _, r := range rows {
		out = append(out, r.line)
	}
	return out
}

func allLines(t *testing.T, r *replica) []string {
	t.Helper()
	it, err := r.peers.Select(t.Context(), model.SelectRequest{Range: model.AllTime(), Direction: model.Forward})
	return lines(readAll(t, it, err))
}

// TestDelete deletes at all replicas from one, lists it at another and cancels it
// at a third.
func TestDelete(t *testing.T) {
	c := newCluster(t, 3, nil)
	for i, r := range c {
		push(t, r.db, web, model.Entry{Timestamp: 1, Line: "everywhere"}, model.Entry{Timestamp: int64(10 + i), Line: fmt.Sprint("at ", i)})
	}
	req := model.DeleteRequest{
		Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "web")},
		Range:    model.TimeRange{Start: 0, End: 12}, Query: `{app="web"}`,
	}
	id, err := c[0].peers.Delete(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"at 2"}, allLines(t, c[1])); d != "" {
		t.Error(d)
	}
	// One that was made before there were others has a name of its own.
	if _, err := c[2].db.Delete(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	list := c[1].peers.DeleteRequests()
	if len(list) != 2 || list[0].ID != id || list[0].Query != req.Query || list[0].Range != req.Range || list[1].ID != "logstack-2.00000002" {
		t.Errorf("list: %+v", list)
	}
	for _, d := range list {
		if err := c[2].peers.CancelDelete(t.Context(), d.ID, false); err != nil {
			t.Errorf("%s: %v", d.ID, err)
		}
	}
	if d := cmp.Diff([]string{"everywhere", "at 0", "at 1", "at 2"}, allLines(t, c[0])); d != "" {
		t.Error(d)
	}
	if err := c[0].peers.CancelDelete(t.Context(), "0badcafe", false); !errors.Is(err, store.ErrNoDelete) {
		t.Errorf("a request that does not exist: %v", err)
	}
	if list := c[0].peers.DeleteRequests(); len(list) != 0 {
		t.Errorf("list: %+v", list)
	}
}

// TestDeleteNeedsAll refuses a request while a replica is away, and does nothing.
func TestDeleteNeedsAll(t *testing.T) {
	c := newCluster(t, 3, nil)
	for i, r := range c {
		push(t, r.db, web, model.Entry{Timestamp: int64(i), Line: fmt.Sprint("at ", i)})
	}
	c[2].setWrap(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "starting", http.StatusServiceUnavailable) })
	})
	_, err := c[0].peers.Delete(t.Context(), model.DeleteRequest{
		Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "web")}, Range: model.AllTime(),
	})
	var away *AwayError
	if !errors.As(err, &away) || away.Replica != "logstack-2" {
		t.Fatalf("%v", err)
	}
	if d := cmp.Diff([]string{"at 0", "at 1"}, allLines(t, c[1])); d != "" {
		t.Error(d)
	}
}

// TestOthersUnknown has a directory that does not know who the others are: answers
// say so and are not kept, delete requests are refused, until it does.
func TestOthersUnknown(t *testing.T) {
	c := newCluster(t, 2, nil)
	for i, r := range c {
		push(t, r.db, web, model.Entry{Timestamp: int64(i), Line: fmt.Sprint("at ", i)})
	}
	s, dir := c[0].peers, c[0].dir
	others := dir.Peers()
	dir.set(Peer{Name: "(unknown)", Unknown: "the list has not been read"})
	ask := func() (lines, warnings []string, kept bool) {
		s.Refresh(t.Context())
		before := s.Clock()
		ctx, w := model.WithWarnings(t.Context())
		it, err := s.Select(ctx, model.SelectRequest{Range: model.AllTime()})
		for _, r := range readAll(t, it, err) {
			lines = append(lines, r.line)
		}
		s.Refresh(t.Context())
		slices.Sort(lines)
		return lines, w.List(), !s.ChangedSince(before, model.AllTime())
	}
	lines, warnings, kept := ask()
	if d := cmp.Diff([]string{"at 0"}, lines); d != "" {
		t.Error(d)
	}
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "it is not known which other replicas there are (the list has not been read)") || kept {
		t.Errorf("kept: %v, warnings: %q", kept, warnings)
	}
	var away *AwayError
	if _, err := s.Delete(t.Context(), model.DeleteRequest{
		Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "web")}, Range: model.AllTime(),
	}); !errors.As(err, &away) {
		t.Errorf("delete: %v", err)
	}
	if m := s.Members(); len(m) != 2 || m[0].Error != "the list has not been read" || m[0].Answers || m[0].Live {
		t.Errorf("members: %+v", m)
	}
	dir.set(others...)
	ask() // what it does not know yet it has to learn first
	lines, warnings, kept = ask()
	if d := cmp.Diff([]string{"at 0", "at 1"}, lines); d != "" {
		t.Error(d)
	}
	if len(warnings) > 0 || !kept {
		t.Errorf("kept: %v, warnings: %q", kept, warnings)
	}
	if m := s.Members(); len(m) != 2 || m[1].Name != c[1].name {
		t.Errorf("members: %+v", m)
	}
}

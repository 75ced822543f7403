package server

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestWarnings looks for what the store notes in every kind of answer.
func TestWarnings(t *testing.T) {
	const warning = "replica logstack-1 does not answer"
	s, st := newTestServer(nil)
	st.onSelect = func(ctx context.Context) { model.Warn(ctx, warning) }
	st.onLookup = func(ctx context.Context) error {
		model.Warn(ctx, warning)
		return nil
	}
	for path, v := range map[string]url.Values{
		v1 + "/query_range":         {"query": {`{app="web"}`}},
		v1 + "/query":               {"query": {`sum(count_over_time({app="web"}[1m]))`}},
		v1 + "/labels":              {},
		v1 + "/label/app/values":    {},
		v1 + "/series":              {},
		v1 + "/index/volume":        {"query": {`{app="web"}`}},
		v1 + "/index/volume_range":  {"query": {`{app="web"}`}},
		lokiapi.ExportPath + "#ndj": {"query": {`{app="web"}`}},
	} {
		path, stream := strings.CutSuffix(path, "#ndj")
		w := get(t, s, path, v)
		if w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
			continue
		}
		if stream {
			if n := strings.Count(w.Body.String(), `{"event":"warning","message":"`+warning+`"}`); n != 1 {
				t.Errorf("%s: %d warnings: %s", path, n, w.Body)
			}
			continue
		}
		var answer struct{ Warnings []string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if len(answer.Warnings) != 1 || answer.Warnings[0] != warning {
			t.Errorf("%s: warnings %q: %s", path, answer.Warnings, w.Body)
		}
	}
}

// TestTailWarns has a tail tell what its source notes, before and while it runs.
func TestTailWarns(t *testing.T) {
	const warning = "replica logstack-1 does not answer"
	s, st := newTestServer(nil)
	st.onSelect = func(ctx context.Context) { model.Warn(ctx, warning) }
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	c := &lokiapi.Client{HTTP: srv.Client(), BaseURL: srv.URL}
	tail, err := c.TailNDJSON(t.Context(), lokiapi.TailRequest{Query: `{app="web"}`})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close() //nolint:errcheck // always nil
	ev, err := tail.Next()
	if err != nil || ev.Kind != lokiapi.EventWarning || ev.Message != warning {
		t.Fatalf("%+v, %v", ev, err)
	}
	if ev, err = tail.Next(); err != nil || ev.Kind != lokiapi.EventLive {
		t.Fatalf("%+v, %v", ev, err)
	}
}

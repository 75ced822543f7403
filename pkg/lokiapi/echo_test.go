package lokiapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestEchoTrace finds a token in the status; another collector knows nothing.
func TestEchoTrace(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"ready":true,"echoes":[{"token":"a","asked":"2026-03-05T12:00:00Z"},{"token":"b","asked":"2026-03-05T12:00:01Z","written":"2026-03-05T12:00:02Z"}]}`))
	}))
	defer s.Close()
	c := &Client{BaseURL: s.URL}
	got, err := c.EchoTrace(t.Context(), "b")
	if err != nil || got == nil || got.Written.Sub(got.Asked) != time.Second || !got.Read.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := c.EchoTrace(t.Context(), "c"); err != nil || got != nil {
		t.Errorf("%+v %v", got, err)
	}
}

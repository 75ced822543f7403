package server

import (
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// TestExportRefuses checks what cannot be exported: a metric query, and distinct,
// which would begin anew with each page.
func TestExportRefuses(t *testing.T) {
	s, _ := newTestServer(nil)
	c := listen(t, s)
	for query, want := range map[string]string{
		`rate({app="web"}[1m])`:              "only log queries",
		`{app="web"} | json | distinct user`: "distinct",
	} {
		tail, err := c.Export(t.Context(), lokiapi.RangeRequest{Query: query, Start: testNow.Add(-time.Hour), End: testNow})
		if err == nil {
			tail.Close() //nolint:errcheck // always nil
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}

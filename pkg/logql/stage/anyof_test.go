package stage

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestAnyOf checks which texts a pipeline asks a store for, and that every line
// which it lets pass has one of them.
func TestAnyOf(t *testing.T) {
	lines := []string{
		"", "GET /a timed out", "TIMED OUT", "Timedout", "connection refused", "Connection Refused by 10.0.0.1", "error: x", "ERROR", "err",
		"bro\u212aen", "clo\u017fed", "x\xffy error", "a\nerror", "info", `{"level":"Error"}`, "warn 42", "WARN",
	}
	for _, tt := range []struct{ stages, want string }{
		{`|= "error"`, "[] false"},
		{`|= "error" or "warn"`, "[error warn] false"},
		{`|= "error" or ""`, "[] false"},
		{`!= "error" or "warn"`, "[] false"},
		{`|~ "error"`, "[] false"},
		{`|~ "error|warn"`, "[error warn] false"},
		{`|~ "(?i)error"`, "[error] true"},
		{`|~ "(?i)timed out|REFUSED"`, "[timed out refused] true"},
		{`|~ "(?i)tim(e|)d ?out"`, "[timed out timedout timd out timdout] true"},
		{`!~ "(?i)error"`, "[] false"},
		{`|~ "(?i)broken" or "(?i)closed"`, "[broken closed] true"},
		{`|~ "(?i)error" or "warn"`, "[] false"},
		{`|~ "warn [0-9]+" or "refused.*by"`, "[warn  refused] false"},
		{`|~ "err[a-z]+"`, "[] false"},
		{`|= "e" |~ "(?i)ERROR"`, "[error] true"},
		{`| json |~ "(?i)error"`, "[error] true"},
		{`| line_format "x" |~ "(?i)error"`, "[] false"},
		{`|> "<_>error<_>"`, "[] false"},
		{`|= ip("10.0.0.1")`, "[] false"},
	} {
		expr, err := logql.Parse(`{a="b"} ` + tt.stages)
		if err != nil {
			t.Fatalf("%s: %v", tt.stages, err)
		}
		p, err := NewPipeline(expr.(*logql.LogSelector).Stages, Config{})
		if err != nil {
			t.Fatalf("%s: %v", tt.stages, err)
		}
		texts, fold := p.AnyOf()
		if got := fmt.Sprint(texts, fold); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.stages, got, tt.want)
		}
		if len(texts) == 0 {
			continue
		}
		batch := &model.EntryBatch{Lines: lines, Timestamps: make([]int64, len(lines)), StreamIndex: make([]uint32, len(lines))}
		for _, row := range p.Select(batch) {
			if !slices.ContainsFunc(texts, func(s string) bool {
				if fold {
					return regexp.MustCompile("(?i)" + regexp.QuoteMeta(s)).MatchString(lines[row])
				}
				return strings.Contains(lines[row], s)
			}) {
				t.Errorf("%s lets %q pass, which has none of %q", tt.stages, lines[row], texts)
			}
		}
	}
}

package stage

import (
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestDoublingStages chains stages that each double what the one before made:
// the text and the memory of a line are bounded, and the line is marked.
func TestDoublingStages(t *testing.T) {
	for name, text := range map[string]string{
		"lines":                   strings.Repeat(`| line_format "{{__line__}}{{__line__}}"`, 60),
		"labels":                  `| label_format a="0123456789"` + strings.Repeat(`| label_format a="{{.a}}{{.a}}"`, 60),
		"labels, by a function":   `| label_format a="0123456789"` + strings.Repeat(`| label_format a="{{.a | printf \"%s\"}}{{.a}}"`, 60),
		"long lines of many":      strings.Repeat(`| line_format "{{__line__}}{{__line__}}"`, 10) + strings.Repeat(`| line_format "{{__line__}}"`, 1000),
		"templates of themselves": `| line_format "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}"`,
		"many labels from a line": strings.Repeat(`| line_format "{{__line__}}{{__line__}}"`, 10) + strings.Repeat(`| label_format a="{{__line__}}"`, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := compile(text)
			if err != nil {
				t.Fatal(err)
			}
			got := runLine(p, strings.Repeat("x", 1000), labels.FromStrings("app", "a"), labels.EmptyLabels())
			if !strings.Contains(got, ErrTemplateFormat) || len(got) > 3*maxTemplateText {
				t.Errorf("%d bytes: %.200s…", len(got), got)
			}
			if n := cap(p.b.scratch); n > 4*maxTemplateScratch {
				t.Errorf("the line took %d bytes", n)
			}
		})
	}
}

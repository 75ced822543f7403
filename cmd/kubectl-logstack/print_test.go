package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

var testRows = []row{
	{labels.FromStrings("namespace", "shop", "pod", "web-0", "container", "app"), lokiapi.Entry{Timestamp: 1700000000123456789, Line: "GET /"}},
	{labels.FromStrings("job", "push"), lokiapi.Entry{Timestamp: 1700000001000000000, Line: "no pod\n\ttrace", StructuredMetadata: labels.FromStrings("level", "warn")}},
	{labels.FromStrings("namespace", "shop", "pod", "web-0", "container", "app"), lokiapi.Entry{Timestamp: 1700000002000000000, Line: "gap: 12s, rotated_away", StructuredMetadata: labels.FromStrings(gapLabel, "rotated_away")}},
}

func TestLineFormats(t *testing.T) {
	for format, want := range map[string]string{
		"text": "2023-11-14T22:13:20.123Z shop/web-0 app GET /\n" +
			"2023-11-14T22:13:21.000Z {job=\"push\"} no pod\n\ttrace\n" +
			"2023-11-14T22:13:22.000Z shop/web-0 app --- gap: 12s, rotated_away ---\n",
		"raw": "GET /\nno pod\n\ttrace\ngap: 12s, rotated_away\n",
		"jsonl": `{"labels":{"container":"app","namespace":"shop","pod":"web-0"},"line":"GET /","timestamp":"2023-11-14T22:13:20.123456789Z"}
{"labels":{"job":"push"},"line":"no pod\n\ttrace","metadata":{"level":"warn"},"timestamp":"2023-11-14T22:13:21Z"}
{"labels":{"container":"app","namespace":"shop","pod":"web-0"},"line":"gap: 12s, rotated_away","metadata":{"__logstack_gap__":"rotated_away"},"timestamp":"2023-11-14T22:13:22Z"}
`,
		"table": "TIME                      NAMESPACE  POD    CONTAINER  LINE\n" +
			"2023-11-14T22:13:20.123Z  shop       web-0  app        GET /\n" +
			"2023-11-14T22:13:21.000Z                               no pod\\n    trace\n" +
			"2023-11-14T22:13:22.000Z  shop       web-0  app        gap: 12s, rotated_away\n",
	} {
		t.Run(format, func(t *testing.T) {
			var buf bytes.Buffer
			p, err := newLinePrinter(format, &buf, output.Terminal{}, zone{utc: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range testRows {
				if err := p.print(r); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.flush(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, buf.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

// An empty JSON answer is still JSON.
func TestJSONEmpty(t *testing.T) {
	var buf bytes.Buffer
	p, _ := newLinePrinter("json", &buf, output.Terminal{}, zone{})
	if err := p.flush(); err != nil || buf.String() != "[]\n" {
		t.Errorf("%q, %v", buf.String(), err)
	}
}

// Neither a line nor what says where it came from can steer the terminal.
func TestHostileRows(t *testing.T) {
	ls := labels.FromStrings("namespace", "a\x1b[2J", "pod", "p\u009b31m", "container", "c\rx")
	gap := lokiapi.Entry{Line: "gap \x1b[2J\n", StructuredMetadata: labels.FromStrings(gapLabel, "x")}
	for _, format := range []string{"text", "wide", "table"} {
		var buf bytes.Buffer
		p, err := newLinePrinter(format, &buf, output.Terminal{Interactive: true}, zone{utc: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []lokiapi.Entry{{Line: "line \x1b]0;title\a"}, gap} {
			if err := p.print(row{ls, e}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		if i := strings.IndexAny(buf.String(), "\x1b\u009b\r\a"); i >= 0 {
			t.Errorf("%s: a control character gets through: %q", format, buf.String())
		}
	}
}

package main

import (
	"bytes"
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

// A hostile line cannot steer the terminal.
func TestPrintable(t *testing.T) {
	tty := output.Terminal{Interactive: true}
	for in, want := range map[string]string{
		"plain\ttab":               "plain\ttab",
		"\x1b[31mred\x1b[0m":       "\x1b[31mred\x1b[0m",
		"\x1b]0;title\x07":         `\x1b]0;title\x07`,
		"\x1b[2J":                  `\x1b[2J`,
		"over\rwritten":            `over\x0dwritten`,
		"bad \x00 nul":             `bad \x00 nul`,
		"trace\n\tat x":            "trace\n\tat x",
		"invalid \xff stays lossy": "invalid \xff stays lossy",
	} {
		if got := printable(in, tty); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if got := printable(in, output.Terminal{}); got != in {
			t.Errorf("%q was changed for a pipe: %q", in, got)
		}
	}
}

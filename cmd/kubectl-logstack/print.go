package main

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// row is one line on its way to the screen.
type row struct {
	labels labels.Labels
	lokiapi.Entry
}

// gapLabel marks an entry that stands for lines that may be missing.
const gapLabel = "__logstack_gap__"

// linePrinter writes rows in one of the line formats.
type linePrinter interface {
	print(row) error
	flush() error
}

// lineFormats are the values of -o for log lines, the default first.
var lineFormats = []string{"text", "wide", "raw", "jsonl", "json", "table"}

func newLinePrinter(format string, w io.Writer, t output.Terminal, z zone) (linePrinter, error) {
	buf := bufio.NewWriterSize(w, 64<<10)
	switch format {
	case "text":
		return &textPrinter{w: buf, t: t, zone: z}, nil
	case "wide":
		return &textPrinter{w: buf, t: t, zone: z, wide: true}, nil
	case "raw":
		return &rawPrinter{w: buf}, nil
	case "jsonl":
		return &jsonlPrinter{w: buf}, nil
	case "json":
		return &jsonPrinter{jsonlPrinter: jsonlPrinter{w: buf}}, nil
	case "table":
		return &tablePrinter{w: buf, t: t, zone: z}, nil
	}
	if format == "chart" {
		return nil, usagef("-o chart is for metric queries; this one selects log lines\n  count them: 'sum(count_over_time({…} [1m]))'")
	}
	return nil, checkFormat(format, lineFormats)
}

// zone prints timestamps; the zero value is the local time zone.
type zone struct{ utc bool }

func (z zone) time(ns int64) time.Time {
	t := time.Unix(0, ns)
	if z.utc {
		return t.UTC()
	}
	return t.Local()
}

// stamp has a fixed width, so that lines stay aligned.
func (z zone) stamp(ns int64) string { return z.time(ns).Format("2006-01-02T15:04:05.000Z07:00") }

// source names where a line came from: namespace/pod container where the
// stream has them, else its labels.
func source(ls labels.Labels) string {
	pod := ls.Get("pod")
	if pod == "" {
		return ls.String()
	}
	s := pod
	if ns := ls.Get("namespace"); ns != "" {
		s = ns + "/" + pod
	}
	if c := ls.Get("container"); c != "" {
		s += " " + c
	}
	return s
}

// palette are the colours of sources: all readable on dark and light.
var palette = []output.Style{output.Cyan, output.Green, output.Yellow, output.Purple, output.Blue, output.Red}

func colourOf(s string) output.Style {
	h := fnv.New32a()
	_, _ = io.WriteString(h, s)
	return palette[h.Sum32()%uint32(len(palette))]
}

type textPrinter struct {
	w    *bufio.Writer
	t    output.Terminal
	zone zone
	// wide shows all labels instead of those that name the container.
	wide bool
}

// source names where a line came from.
func (p *textPrinter) source(r row) string {
	if !p.wide {
		return source(r.labels)
	}
	b := labels.NewBuilder(r.labels)
	for _, more := range []labels.Labels{r.StructuredMetadata, r.Parsed} {
		more.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
	}
	return b.Labels().String()
}

func (p *textPrinter) print(r row) error {
	src := p.t.Cell(p.source(r))
	if reason := gapOf(r); reason != "" {
		_, err := fmt.Fprintf(p.w, "%s %s %s\n", p.zone.stamp(r.Timestamp), src, p.t.Paint(output.Yellow, "--- "+p.t.Cell(r.Line)+" ---"))
		return err
	}
	_, err := fmt.Fprintf(p.w, "%s %s %s\n", p.t.Paint(output.Faint, p.zone.stamp(r.Timestamp)), p.t.Paint(colourOf(src), src), p.t.Line(strings.TrimSuffix(r.Line, "\n")))
	return err
}

func (p *textPrinter) flush() error { return p.w.Flush() }

// gapOf returns the reason when the row marks a gap.
func gapOf(r row) string {
	if v := r.StructuredMetadata.Get(gapLabel); v != "" {
		return v
	}
	return r.labels.Get(gapLabel)
}

type rawPrinter struct{ w *bufio.Writer }

func (p *rawPrinter) print(r row) error {
	_, err := p.w.WriteString(strings.TrimSuffix(r.Line, "\n") + "\n")
	return err
}

func (p *rawPrinter) flush() error { return p.w.Flush() }

// jsonlPrinter writes logcli's form: labels, line, timestamp.
type jsonlPrinter struct {
	w   *bufio.Writer
	buf []byte
}

func (p *jsonlPrinter) print(r row) error {
	p.buf = appendRow(p.buf[:0], r)
	p.buf = append(p.buf, '\n')
	_, err := p.w.Write(p.buf)
	return err
}

func (p *jsonlPrinter) flush() error { return p.w.Flush() }

func appendRow(dst []byte, r row) []byte {
	dst = append(dst, `{"labels":`...)
	dst = lokiapi.AppendLabels(dst, r.labels)
	dst = append(dst, `,"line":`...)
	dst = lokiapi.AppendString(dst, r.Line)
	if !r.StructuredMetadata.IsEmpty() {
		dst = append(dst, `,"metadata":`...)
		dst = lokiapi.AppendLabels(dst, r.StructuredMetadata)
	}
	if !r.Parsed.IsEmpty() {
		dst = append(dst, `,"parsed":`...)
		dst = lokiapi.AppendLabels(dst, r.Parsed)
	}
	dst = append(dst, `,"timestamp":"`...)
	dst = time.Unix(0, r.Timestamp).UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, `"}`...)
}

// jsonPrinter writes one JSON array, complete even when it is empty.
type jsonPrinter struct {
	jsonlPrinter
	n int
}

func (p *jsonPrinter) print(r row) error {
	p.buf = append(p.buf[:0], ",\n "...)
	if p.n == 0 {
		p.buf = append(p.buf[:0], "[\n "...)
	}
	p.n++
	p.buf = appendRow(p.buf, r)
	_, err := p.w.Write(p.buf)
	return err
}

func (p *jsonPrinter) flush() error {
	end := "\n]\n"
	if p.n == 0 {
		end = "[]\n"
	}
	if _, err := p.w.WriteString(end); err != nil {
		return err
	}
	return p.w.Flush()
}

type tablePrinter struct {
	w    *bufio.Writer
	t    output.Terminal
	zone zone
	rows [][]string
}

func (p *tablePrinter) print(r row) error {
	cells := []string{p.zone.stamp(r.Timestamp)}
	for _, name := range []string{"namespace", "pod", "container"} {
		cells = append(cells, p.t.Cell(r.labels.Get(name)))
	}
	line := strings.ReplaceAll(strings.TrimSuffix(r.Line, "\n"), "\n", "\\n")
	p.rows = append(p.rows, append(cells, p.t.Line(line)))
	return nil
}

func (p *tablePrinter) flush() error {
	if err := output.Table(p.w, []string{"TIME", "NAMESPACE", "POD", "CONTAINER", "LINE"}, p.rows); err != nil {
		return err
	}
	return p.w.Flush()
}

// printEntry writes one row as text.
func printEntry(w io.Writer, t output.Terminal, r row) {
	p := &textPrinter{w: bufio.NewWriter(w), t: t}
	_ = p.print(r)
	_ = p.flush()
}

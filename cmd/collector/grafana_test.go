package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/server"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

// grafanaNow is the clock of the replay: 1795338000 seconds since the epoch.
var grafanaNow = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// grafanaEntries is what the replayed requests ask about, all of the last half
// hour: 30 logfmt lines of web, every minute, each fifth an error; 15 JSON lines
// of api, every other minute, with a trace; and 5 lines of dns, three of them at
// one time.
func grafanaEntries() []model.StreamEntries {
	at := func(minute, second int) int64 {
		return grafanaNow.Add(time.Duration(minute-30)*time.Minute + time.Duration(second)*time.Second).UnixNano()
	}
	pod := func(namespace, app, pod string) labels.Labels {
		return labels.FromStrings("namespace", namespace, "app", app, "pod", pod, "container", app)
	}
	web := model.StreamEntries{Labels: pod("shop", "web", "web-0")}
	api := model.StreamEntries{Labels: pod("shop", "api", "api-7")}
	dns := model.StreamEntries{Labels: pod("kube-system", "dns", "dns-1")}
	for i := range 30 {
		line := fmt.Sprintf(`level=info msg="GET /cart/%d" status=200 took=%dms`, i, 10+i)
		if i%5 == 4 {
			line = fmt.Sprintf(`level=error msg="upstream timed out" status=500 took=%ds`, i)
		}
		web.Entries = append(web.Entries, model.Entry{Timestamp: at(i, 0), Line: line})
		if i%2 == 1 {
			api.Entries = append(api.Entries, model.Entry{
				Timestamp: at(i, 30),
				Line:      fmt.Sprintf(`{"level":"warn","msg":"order placed","order":{"id":%d,"size":"%dkB"},"app":"inner"}`, i, i),
				Metadata:  labels.FromStrings("trace_id", fmt.Sprintf("%04x", i*257)),
			})
		}
	}
	for i, line := range []string{"[INFO] SHA512 = 1a2b", "[ERROR] <b>no</b> such & host", "first", "second", "third"} {
		dns.Entries = append(dns.Entries, model.Entry{Timestamp: at(20+min(i, 2), 0), Line: line})
	}
	return []model.StreamEntries{web, api, dns}
}

// TestGrafanaRequests replays what Grafana and logcli ask, as testdata/grafana
// has it, against a store that has the entries in memory, one that has them in
// blocks, and one that has some here and some there. All answer the same.
func TestGrafanaRequests(t *testing.T) {
	files, err := filepath.Glob("testdata/grafana/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no files: ", err)
	}
	for _, where := range []string{"head", "blocks", "both"} {
		t.Run(where, func(t *testing.T) {
			c := grafanaServer(t, where)
			for _, file := range files {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
					want, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					got := replay(t, c, string(want))
					if *update {
						if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
							t.Fatal(err)
						}
						return
					}
					if diff := gocmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
						t.Errorf("%s differs (-want +got):\n%s", file, diff)
					}
				})
			}
		})
	}
}

// grafanaServer pushes the entries to a server with a store of its own.
func grafanaServer(t *testing.T, where string) *lokiapi.Client {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return grafanaNow }
	s := server.New(server.Options{StatusCode: statusCode, Now: clock})
	s.SetBackend(db, engine.New(db, engine.Options{Now: clock}))
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	c := serveHTTP(t, s)
	// Two pushes; the second is older where the streams are cut.
	first, second := grafanaEntries(), grafanaEntries()
	for i := range first {
		half := len(first[i].Entries) / 2
		first[i].Entries, second[i].Entries = first[i].Entries[half:], second[i].Entries[:half]
	}
	for _, part := range [][]model.StreamEntries{first, second} {
		if err := c.Push(t.Context(), part); err != nil {
			t.Fatal(err)
		}
		if where == "blocks" || where == "both" && &part[0] == &first[0] {
			if err := db.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

// replay asks the requests of a script again and returns it with the answers
// that came:
//
//	== title
//	GET /path          or POST, with the parameters as a form, or WS for a tail
//	name=value         parameters, one a line
//	> Name: value      headers
//	--
//	200 content type
//	the body, JSON indented; what differs from run to run or from one store to
//	another is checked and hidden
//
// Lines before the first title are comments.
func replay(t *testing.T, c *lokiapi.Client, script string) string {
	t.Helper()
	comment, rest, _ := strings.Cut(script, "== ")
	var out strings.Builder
	out.WriteString(comment)
	for section := range strings.SplitSeq(rest, "\n== ") {
		request, _, _ := strings.Cut(section, "\n--")
		request = strings.TrimRight(request, "\n")
		lines := strings.Split(request, "\n")
		fmt.Fprintf(&out, "== %s\n--\n%s\n\n", request, ask(t, c, lines[0], lines[1:]))
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// ask sends one request and renders its answer.
func ask(t *testing.T, c *lokiapi.Client, title string, lines []string) string {
	t.Helper()
	method, path, _ := strings.Cut(lines[0], " ")
	params, header := url.Values{}, http.Header{}
	for _, line := range lines[1:] {
		if h, ok := strings.CutPrefix(line, "> "); ok {
			name, value, _ := strings.Cut(h, ": ")
			header.Add(name, value)
		} else if name, value, ok := strings.Cut(line, "="); ok {
			params.Add(name, value)
		} else {
			t.Fatalf("%s: what is %q?", title, line)
		}
	}
	target := c.BaseURL + path
	var body io.Reader
	if method == http.MethodPost {
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		body = strings.NewReader(params.Encode())
	} else if len(params) > 0 {
		target += "?" + params.Encode()
	}
	if method == "WS" {
		return firstFrame(t, title, target, header)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", title, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", title, err)
	}
	status := strings.TrimRight(fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type")), " ")
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return strings.TrimRight(status+"\n"+string(text), "\n")
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		t.Errorf("%s: the body does not end in a newline", title)
	}
	return status + "\n" + render(t, title, text)
}

// firstFrame opens a tail as the browser does and renders the first frame.
func firstFrame(t *testing.T, title, target string, header http.Header) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(target, "http"), &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		if resp == nil || resp.Body == nil {
			t.Fatalf("%s: %v", title, err)
		}
		text, _ := io.ReadAll(resp.Body)
		return strings.TrimRight(fmt.Sprintf("%d %s\n%s", resp.StatusCode, resp.Header.Get("Content-Type"), text), "\n")
	}
	defer conn.CloseNow() //nolint:errcheck // nothing more is expected
	_, text, err := conn.Read(ctx)
	if err != nil {
		t.Fatalf("%s: %v", title, err)
	}
	return "101\n" + render(t, title, text)
}

// render indents JSON, with what fits on one line on one line.
func render(t *testing.T, title string, text []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v in %s", title, err, text)
	}
	if m, ok := v.(map[string]any); ok {
		hide(t, title, m)
	}
	var b strings.Builder
	indent(&b, v, "")
	return b.String()
}

// hide checks the parts of an answer that depend on the time it took or on the
// blocks of the store, and replaces them.
func hide(t *testing.T, title string, m map[string]any) {
	t.Helper()
	if data, ok := m["data"].(map[string]any); ok {
		if stats, ok := data["stats"].(map[string]any); ok && len(stats) > 0 {
			checkStats(t, title, data, stats)
			data["stats"] = "checked"
		}
	}
	shards, _ := m["shards"].([]any)
	for _, s := range append(shards, any(map[string]any{"stats": m})) {
		stats, _ := s.(map[string]any)["stats"].(map[string]any)
		if n, ok := stats["chunks"].(json.Number); ok {
			if v, err := n.Int64(); err != nil || v < 0 || v > 100 {
				t.Errorf("%s: %s chunks", title, n)
			}
			stats["chunks"] = "hidden"
		}
	}
}

// checkStats wants what Grafana's query inspector and logcli read.
func checkStats(t *testing.T, title string, data, stats map[string]any) {
	t.Helper()
	summary, _ := stats["summary"].(map[string]any)
	number := func(key string) float64 {
		n, ok := summary[key].(json.Number)
		v, err := n.Float64()
		if !ok || err != nil || v < 0 {
			t.Errorf("%s: stats.summary.%s is %v", title, key, summary[key])
		}
		return v
	}
	for _, key := range []string{"bytesProcessedPerSecond", "linesProcessedPerSecond", "totalBytesProcessed", "totalLinesProcessed", "execTime", "queueTime"} {
		number(key)
	}
	entries := 0
	if data["resultType"] == "streams" {
		for _, s := range data["result"].([]any) {
			entries += len(s.(map[string]any)["values"].([]any))
		}
	}
	if n := number("totalEntriesReturned"); n != float64(entries) {
		t.Errorf("%s: totalEntriesReturned is %v, but there are %d", title, n, entries)
	}
	if n := number("totalLinesProcessed"); n < float64(entries) {
		t.Errorf("%s: totalLinesProcessed is %v, but %d entries came", title, n, entries)
	}
}

// indent writes v.
func indent(b *strings.Builder, v any, prefix string) {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // it was decoded
	}
	one := strings.TrimRight(line.String(), "\n")
	const width = 150
	more := prefix + "  "
	switch v := v.(type) {
	case map[string]any:
		if len(one) > width {
			b.WriteString("{")
			keys := slices.SortedFunc(maps.Keys(v), func(x, y string) int {
				// The labels of a stream or series before its values.
				return cmp.Or(cmp.Compare(keyRank(x), keyRank(y)), strings.Compare(x, y))
			})
			for i, k := range keys {
				fmt.Fprintf(b, "\n%s%q: ", more, k)
				indent(b, v[k], more)
				if i < len(keys)-1 {
					b.WriteString(",")
				}
			}
			b.WriteString("\n" + prefix + "}")
			return
		}
	case []any:
		if len(one) > width {
			b.WriteString("[")
			for i, x := range v {
				b.WriteString("\n" + more)
				indent(b, x, more)
				if i < len(v)-1 {
					b.WriteString(",")
				}
			}
			b.WriteString("\n" + prefix + "]")
			return
		}
	}
	b.WriteString(one)
}

func keyRank(key string) int {
	return slices.Index([]string{"values", "result", "stats"}, key)
}

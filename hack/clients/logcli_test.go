package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// logcli is one logcli that asks one collector.
type logcli struct {
	t    *testing.T
	path string
	url  string
}

// startLogcli starts a collector for a logcli, or skips the test.
func startLogcli(t *testing.T) (*collector, *logcli) {
	t.Helper()
	path := os.Getenv("LOGSTACK_LOGCLI")
	if path == "" {
		var err error
		if path, err = exec.LookPath("logcli"); err != nil {
			t.Skip("no logcli in PATH, and LOGSTACK_LOGCLI names none: its tests do not run")
		}
	}
	c := start(t)
	return c, &logcli{t, path, c.url}
}

func (l *logcli) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, l.path, append(args, "--timezone", "UTC", "--retries", "0")...)
	// Nothing of the caller's own Loki reaches it.
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "LOKI_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LOKI_ADDR="+l.url)
	return cmd
}

// run returns what logcli wrote.
func (l *logcli) run(args ...string) (stdout, stderr string) {
	l.t.Helper()
	stdout, stderr, err := l.try(args...)
	if err != nil {
		l.t.Fatalf("logcli %q: %v\n%s%s", args, err, stdout, stderr)
	}
	return stdout, stderr
}

func (l *logcli) try(args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := l.command(ctx, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// want runs logcli and compares its lines.
func (l *logcli) want(want string, args ...string) {
	l.t.Helper()
	got, stderr := l.run(args...)
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		l.t.Errorf("logcli %q:\n%s\nwant:\n%s\nstderr: %s", args, got, want, stderr)
	}
}

// wantJSON runs logcli and compares its JSON.
func (l *logcli) wantJSON(want string, args ...string) {
	l.t.Helper()
	got, _ := l.run(args...)
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		l.t.Fatalf("logcli %q: %v in %s", args, err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		l.t.Fatal(err)
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if !bytes.Equal(x, y) {
		l.t.Errorf("logcli %q:\n%s\nwant:\n%s", args, x, y)
	}
}

// loaded pushes five streams' entries and returns their time and the flags of
// the range that holds them.
func (c *collector) loaded() (time.Time, []string) {
	c.t.Helper()
	at := time.Now().Add(-10 * time.Minute).Truncate(time.Minute)
	c.pushJSON(map[string]string{"app": "web", "pod": "w1"}, at.Add(time.Second), "level=info ms=10", "level=error ms=30")
	c.pushJSON(map[string]string{"app": "web", "pod": "w2"}, at.Add(2*time.Second), "level=info ms=20")
	c.pushJSON(map[string]string{"app": "db", "pod": "d1"}, at.Add(3*time.Second), "level=warn ms=5")
	return at, []string{"--from", at.Format(time.RFC3339), "--to", at.Add(5 * time.Minute).Format(time.RFC3339)}
}

func TestLogcliQuery(t *testing.T) {
	c, l := startLogcli(t)
	at, span := c.loaded()
	query := func(args ...string) []string { return append(append([]string{"query"}, args...), span...) }
	stamp := func(s int) string { return at.Add(time.Duration(s) * time.Second).Format(time.RFC3339) }

	l.want(stamp(2)+` {detected_level="info", pod="w2"}  level=info ms=20
`+stamp(1)+` {detected_level="error", pod="w1"} level=error ms=30
`+stamp(1)+` {detected_level="info", pod="w1"}  level=info ms=10`, query(`{app="web"}`)...)
	l.want("level=info ms=10\nlevel=error ms=30\nlevel=info ms=20\nlevel=warn ms=5",
		query(`{app=~".+"}`, "--forward", "-o", "raw", "-q")...)
	l.want("level=warn ms=5\nlevel=info ms=20", query(`{app=~".+"}`, "--limit", "2", "-o", "raw", "-q")...)
	l.want("10\n30\n20", query(`{app="web"} | logfmt | line_format "{{.ms}}"`, "--forward", "-o", "raw", "-q")...)

	out, _ := l.run(query(`{app="db"}`, "-o", "jsonl", "-q", "--output-timestamp-format", "rfc3339nano")...)
	var row struct {
		Labels    map[string]string
		Line      string
		Timestamp time.Time
	}
	if err := json.Unmarshal([]byte(out), &row); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if !row.Timestamp.Equal(at.Add(3*time.Second)) || row.Line != "level=warn ms=5" {
		t.Errorf("jsonl: %s", out)
	}

	_, errOut := l.run(query(`{app="web"}`)...)
	if !strings.Contains(errOut, `Common labels: {app="web", service_name="web"}`) {
		t.Errorf("common labels: %s", errOut)
	}
	_, errOut = l.run(query(`{app="web"}`, "--stats", "-q")...)
	if !strings.Contains(errOut, "Summary.TotalLinesProcessed") {
		t.Errorf("stats: %s", errOut)
	}
	_, errOut, err := l.try(query(`{app="web"} | logfmt | nope >`)...)
	if err == nil || !strings.Contains(errOut, "parse error at line 1, col ") {
		t.Errorf("a bad query: %v, %s", err, errOut)
	}
}

// TestLogcliBatches reads many entries in small requests: logcli goes on from
// the last timestamp and drops what it has already, so that entries of one
// timestamp must come in the same order each time.
func TestLogcliBatches(t *testing.T) {
	c, l := startLogcli(t)
	at := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	var want []string
	for i := range 40 { // three lines of each of 40 instants
		lines := make([][]string, 3)
		for j := range lines {
			line := fmt.Sprintf("line %02d %d", i, j)
			c.pushJSON(map[string]string{"app": "web", "pod": fmt.Sprintf("p%d", (i+j)%3)}, at.Add(time.Duration(i)*time.Second), line)
			want = append(want, line)
		}
	}
	span := []string{"--from", at.Format(time.RFC3339), "--to", at.Add(5 * time.Minute).Format(time.RFC3339), "-q"}
	for _, format := range []string{"raw", "jsonl"} {
		for _, direction := range []string{"--forward", "--no-forward"} {
			out, errOut := l.run(append([]string{"query", `{app="web"}`, "--limit", "0", "--batch", "7", "-o", format, direction}, span...)...)
			var got []string
			for line := range strings.Lines(out) {
				line = strings.TrimSpace(line)
				if format == "jsonl" {
					var row struct{ Line string }
					if err := json.Unmarshal([]byte(line), &row); err != nil {
						t.Fatalf("%v in %s", err, line)
					}
					line = row.Line
				}
				got = append(got, line)
			}
			// The order among the streams of one instant is free.
			for i := 1; i < len(got); i++ {
				a, b := got[i-1][:7], got[i][:7]
				if direction == "--forward" && a > b || direction == "--no-forward" && a < b {
					t.Fatalf("%s: %q before %q", direction, a, b)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: %d lines, want %d: %q\n%s", format, direction, len(got), len(want), got, errOut)
			}
		}
	}
}

func TestLogcliMetrics(t *testing.T) {
	c, l := startLogcli(t)
	at, span := c.loaded()
	end := at.Add(5 * time.Minute).Unix()
	l.wantJSON(fmt.Sprintf(`[{"metric":{"app":"db"},"value":[%d,"1"]},{"metric":{"app":"web"},"value":[%d,"3"]}]`, end, end),
		"instant-query", `sum by (app) (count_over_time({app=~".+"}[5m]))`, "--now", at.Add(5*time.Minute).Format(time.RFC3339), "-q")
	l.wantJSON(fmt.Sprintf(`[{"metric":{},"values":[[%d,"65"],[%d,"65"]]}]`, at.Unix()+60, at.Unix()+120),
		append([]string{"query", `sum(sum_over_time({app=~".+"} | logfmt | unwrap ms [2m]))`, "--step", "1m", "-q"}, span...)...)
}

func TestLogcliMetadata(t *testing.T) {
	c, l := startLogcli(t)
	at, span := c.loaded()
	end := at.Add(5 * time.Minute).Unix()
	with := func(args ...string) []string { return append(append(args, "-q"), span...) }
	l.want("app\npod\nservice_name", with("labels")...)
	l.want("d1\nw1\nw2", with("labels", "pod")...)
	l.want("{app=\"web\", pod=\"w1\", service_name=\"web\"}\n{app=\"web\", pod=\"w2\", service_name=\"web\"}", with("series", `{app="web"}`)...)

	out, _ := l.run(with("series", "{}", "--analyze-labels")...)
	for _, want := range []string{"Total Streams:  3", "Unique Labels:  3", "pod           3              3", "app           2              3"} {
		if !strings.Contains(out, want) {
			t.Errorf("series --analyze-labels lacks %q:\n%s", want, out)
		}
	}
	out, _ = l.run(with("stats", `{app="web"}`)...)
	for _, want := range []string{"streams: 2", "entries: 3"} {
		if !strings.Contains(out, want) {
			t.Errorf("stats lacks %q:\n%s", want, out)
		}
	}
	for _, tc := range []struct {
		name, want string
		args       []string
	}{
		{"by series", `{"app":"web"} {"app":"db"}`, []string{"volume", `{app=~".+"}`}},
		{"by target label", `{"pod":"w1"} {"pod":"w2"} {"pod":"d1"}`, []string{"volume", `{app=~".+"}`, "--targetLabels", "pod"}},
		{"by label", `{"app":""} {"pod":""} {"service_name":""}`, []string{"volume", "{}", "--aggregateByLabels"}},
		{"over time", `{"app":"web"} {"app":"db"}`, []string{"volume_range", `{app=~".+"}`, "--step", "1m"}},
	} {
		out, _ := l.run(with(tc.args...)...)
		var rows []struct {
			Metric json.RawMessage
			Value  [2]json.RawMessage
		}
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatalf("%s: %v in %s", tc.name, err, out)
		}
		var got []string
		for _, r := range rows {
			var metric bytes.Buffer
			if err := json.Compact(&metric, r.Metric); err != nil {
				t.Fatal(err)
			}
			got = append(got, metric.String())
			if tc.args[0] == "volume" && string(r.Value[0]) != fmt.Sprint(end) {
				t.Errorf("%s: time %s, want %d", tc.name, r.Value[0], end)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestLogcliTail reads what comes while it comes.
func TestLogcliTail(t *testing.T) {
	c, l := startLogcli(t)
	web := map[string]string{"app": "web"}
	c.pushJSON(web, time.Now().Add(-time.Second), "past")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := l.command(ctx, "query", `{app="web"} != "not"`, "--tail", "-o", "raw", "-q")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i, want := range []string{"past", "first", "second"} {
		if i > 0 {
			c.pushJSON(web, time.Now(), "not this", want)
		}
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("line %d: %q, want %q (%v); %s", i, lines.Text(), want, lines.Err(), errOut.Bytes())
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // its exit code after an interrupt is its own affair
}

func TestLogcliDetectedFields(t *testing.T) {
	c, l := startLogcli(t)
	_, span := c.loaded()
	with := func(args ...string) []string {
		return append(append([]string{"detected-fields"}, args...), append(span, "-q")...)
	}
	out, _ := l.run(with(`{app=~".+"}`)...)
	var got []string
	for line := range strings.Lines(out) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"label: detected_level type: string cardinality: 3",
		"label: level type: string cardinality: 3",
		"label: ms type: int cardinality: 4",
	}
	if !slices.Equal(got, want) {
		t.Errorf("fields: %q, want %q", got, want)
	}
	out, _ = l.run(with(`{app=~".+"}`, "level")...)
	if got := strings.Fields(out); !slices.Equal(got, []string{"error", "info", "warn"}) {
		t.Errorf("values of level: %q", got)
	}
}

// TestLogcliDelete asks for the deletion of some lines, sees that they are gone
// at once, and takes the request back.
func TestLogcliDelete(t *testing.T) {
	c, l := startLogcli(t)
	at, span := c.loaded()
	rows := func() string {
		out, _ := l.run(append([]string{"query", `{app="web"}`, "--forward", "-o", "raw", "-q"}, span...)...)
		return strings.Join(strings.Split(strings.TrimSpace(out), "\n"), ",")
	}
	const all = "level=info ms=10,level=error ms=30,level=info ms=20"
	if got := rows(); got != all {
		t.Fatalf("before: %s", got)
	}
	l.run(append([]string{"delete", "create", `{app="web"} |= "level=info"`, "-q"}, span...)...)
	if got := rows(); got != "level=error ms=30" {
		t.Errorf("after: %s", got)
	}
	l.wantJSON(fmt.Sprintf(`[{"start_time":%d,"end_time":%d,"query":"{app=\"web\"} |= \"level=info\"","status":"received"}]`,
		at.Unix(), at.Add(5*time.Minute).Unix()), "delete", "list", "--output", "jsonl", "-q")
	var list []struct { // logcli lists no ids
		RequestID string `json:"request_id"`
	}
	c.get("/loki/api/v1/delete", nil, &list)
	if len(list) != 1 {
		t.Fatalf("%d requests", len(list))
	}
	l.run("delete", "cancel", "--request-id", list[0].RequestID, "-q")
	if got := rows(); got != all {
		t.Errorf("after the cancellation: %s", got)
	}
}

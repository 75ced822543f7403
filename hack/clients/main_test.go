package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long anything may take before it counts as stuck.
const patience = 20 * time.Second

// binary is the collector, built by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "logstack-clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // temporary
	binary = filepath.Join(dir, "collector")
	build := exec.Command("go", "build", "-o", binary, "./cmd/collector")
	build.Dir = filepath.Join("..", "..")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot build the collector:", err)
		return 1
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// collector is one running collector process.
type collector struct {
	t   *testing.T
	url string // http://127.0.0.1:PORT
}

// start runs a collector with an empty data directory until the test ends, and
// the test beside others: much of it is waiting.
func start(t *testing.T) *collector {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	address := filepath.Join(dir, "address")
	var log bytes.Buffer
	cmd := exec.Command(binary, "--no-kubernetes", "--listen-address", "127.0.0.1:0",
		"--address-file", address, "--data-dir", filepath.Join(dir, "data"))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the collector ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the collector does not stop")
			_ = cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Logf("collector:\n%s", log.Bytes())
		}
	})
	c := &collector{t: t}
	eventually(t, "the collector's address", func() error {
		select {
		case err := <-done:
			done <- err
			t.Fatalf("the collector ended: %v\n%s", err, log.Bytes())
		default:
		}
		text, err := os.ReadFile(address)
		if err == nil && len(text) == 0 {
			err = errors.New("empty")
		}
		c.url = "http://" + strings.TrimSpace(string(text))
		return err
	})
	return c
}

// eventually polls until f has no more objections.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// post sends a body and wants a status.
func (c *collector) post(path, contentType string, body []byte, header map[string]string, want int) string {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodPost, c.url+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	return c.do(req, want)
}

func (c *collector) do(req *http.Request, want int) string {
	c.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		c.t.Fatalf("%s %s: %s, want %d: %s (%v)", req.Method, req.URL.Path, resp.Status, want, body, err)
	}
	return string(body)
}

// get asks path with params and decodes the JSON answer.
func (c *collector) get(path string, params map[string]string, into any) {
	c.t.Helper()
	q := url.Values{}
	for k, v := range params {
		q.Set(k, v)
	}
	req, err := http.NewRequest(http.MethodGet, c.url+path+"?"+q.Encode(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")
	body := c.do(req, http.StatusOK)
	if err := json.Unmarshal([]byte(body), into); err != nil {
		c.t.Fatalf("%s: %v in %s", path, err, body)
	}
}

// pushJSON stores lines, one nanosecond apart from at on, in the stream.
func (c *collector) pushJSON(stream map[string]string, at time.Time, lines ...string) {
	c.t.Helper()
	values := make([][]any, len(lines))
	for i, line := range lines {
		values[i] = []any{strconv.FormatInt(at.UnixNano()+int64(i), 10), line}
	}
	body, err := json.Marshal(map[string]any{"streams": []any{map[string]any{"stream": stream, "values": values}}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.post("/loki/api/v1/push", "application/json", body, nil, http.StatusNoContent)
}

// entry is one entry of an answer.
type entry struct {
	stream   map[string]string
	at       int64 // ns
	line     string
	metadata map[string]string
	parsed   map[string]string
}

// value is [timestamp, line, {categories}].
type value struct {
	entry
}

func (v *value) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 3 {
		return fmt.Errorf("%s has %d parts, want 3", b, len(parts))
	}
	var ts string
	var cats struct{ StructuredMetadata, Parsed map[string]string }
	err := errors.Join(json.Unmarshal(parts[0], &ts), json.Unmarshal(parts[1], &v.line), json.Unmarshal(parts[2], &cats))
	if err != nil {
		return fmt.Errorf("%s: %w", b, err)
	}
	v.metadata, v.parsed = cats.StructuredMetadata, cats.Parsed
	v.at, err = strconv.ParseInt(ts, 10, 64)
	return err
}

// streams is a result of type streams.
type streams []struct {
	Stream map[string]string
	Values []value
}

// entries lists them in their order within each stream.
func (s streams) entries() []entry {
	var out []entry
	for _, st := range s {
		for _, v := range st.Values {
			v.stream = st.Stream
			out = append(out, v.entry)
		}
	}
	return out
}

// query returns the entries of a log query, oldest first.
func (c *collector) query(q string, from, to time.Time) []entry {
	c.t.Helper()
	var answer struct {
		Data struct {
			ResultType string
			Result     streams
		}
	}
	c.get("/loki/api/v1/query_range", map[string]string{
		"query": q, "direction": "forward", "limit": "5000",
		"start": strconv.FormatInt(from.UnixNano(), 10), "end": strconv.FormatInt(to.UnixNano(), 10),
	}, &answer)
	if answer.Data.ResultType != "streams" {
		c.t.Fatalf("%s: result type %q", q, answer.Data.ResultType)
	}
	out := answer.Data.Result.entries()
	slices.SortStableFunc(out, func(a, b entry) int { return int(a.at - b.at) })
	return out
}

// sameLabels compares two label sets; the collector's own additions that the
// test does not name are left out.
func sameLabels(t *testing.T, what string, got, want map[string]string, added ...string) {
	t.Helper()
	got = maps.Clone(got)
	for _, name := range added {
		if _, ok := want[name]; !ok {
			delete(got, name)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

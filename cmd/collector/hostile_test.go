package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/emulate"
)

// hostileMemory is the limit that the collector is started with, and
// hostilePeak what its resident memory may come to: the limit, and the pages of
// the program's file, which count for no container.
const (
	hostileMemory = 128 << 20
	hostilePeak   = hostileMemory + 32<<20
)

// hostile is one request and what it must be answered with.
type hostile struct {
	name   string
	method string // "" is GET, or POST with a body
	path   string // with its parameters
	header []string
	body   func() []byte
	raw    func() []byte // instead of all that, what is sent as it is
	hangUp bool          // whether nothing more can come after raw
	slow   bool          // whether the answer comes after seconds
	code   int
	text   string // a part of the answer
}

// TestHostileRequests sends every request of the tables to a collector with a
// store: each gets its 4xx, the process stays small, and it still takes and
// finds an entry afterwards.
func TestHostileRequests(t *testing.T) {
	if testing.Short() {
		t.Skip("sends some hundred megabytes")
	}
	c := startCollector(t)
	c.pushGood(t, "before")
	c.pushBait(t)
	rows := hostileRows()
	if len(rows) < 100 {
		t.Fatalf("%d requests only", len(rows))
	}
	t.Logf("%d requests", len(rows))
	seen := map[string]bool{}
	for _, h := range rows {
		if seen[h.name] {
			t.Errorf("two requests are called %q", h.name)
		}
		seen[h.name] = true
		t.Run(h.name, func(t *testing.T) { c.check(t, h) })
	}
	t.Run("all at once", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := i; j < len(rows); j += 8 {
					if !rows[j].slow {
						c.check(t, rows[j])
					}
				}
			})
		}
		wg.Wait()
	})
	t.Run("long lines", c.readLong)
	c.pushGood(t, "after")
	if n := c.metric(t, `logstack_http_panics_total`); n != 0 {
		t.Errorf("%v handlers panicked", n)
	}
	for _, reason := range []string{
		"line_too_long", "invalid_labels", "too_far_in_future", "greater_than_max_sample_age", "max_label_names_per_series",
		"label_name_too_long", "label_value_too_long", "duplicate_label_names", "structured_metadata_too_large",
		"structured_metadata_too_many", "request_body_too_large", "malformed_request", "request_timeout", "no_streams",
	} {
		for _, name := range []string{`logstack_push_refused_entries_total{reason=%q}`, `loki_discarded_samples_total{reason=%q,tenant="fake"}`} {
			if n := c.metric(t, fmt.Sprintf(name, reason)); n == 0 {
				t.Errorf(name+" is 0", reason)
			}
		}
	}
	t.Logf("heap in use %.0f MiB, resident %.0f MiB", c.metric(t, "go_memstats_heap_inuse_bytes")/(1<<20), c.metric(t, "process_resident_memory_bytes")/(1<<20))
	if peak := c.peak(t); peak > hostilePeak {
		t.Errorf("the collector came to %d MiB", peak>>20)
	} else {
		t.Logf("peak %d MiB", peak>>20)
	}
}

// TestHostileFrames sends what no WebSocket client may send on an open tail:
// each connection is closed, and the others do not notice.
func TestHostileFrames(t *testing.T) {
	c := startCollector(t)
	c.pushGood(t, "before")
	t.Run("frames", func(t *testing.T) { sendFrames(t, c) })
	c.pushGood(t, "after")
	if n := c.metric(t, `logstack_http_panics_total`); n != 0 {
		t.Errorf("%v handlers panicked", n)
	}
}

func sendFrames(t *testing.T, c *collector) {
	for name, frames := range map[string][]byte{
		"no mask":                                {0x81, 0x01, 'x'},
		"a length of 2^63":                       {0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"a reserved bit":                         {0xf1, 0x80, 0, 0, 0, 0},
		"an unknown kind":                        {0x8f, 0x80, 0, 0, 0, 0},
		"a long ping":                            append([]byte{0x89, 0xfe, 0x01, 0x00, 0, 0, 0, 0}, make([]byte, 256)...),
		"a ping in pieces":                       {0x09, 0x80, 0, 0, 0, 0},
		"a piece of nothing":                     {0x80, 0x80, 0, 0, 0, 0},
		"text that is ignored, then a bad frame": {0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe, 0x8f, 0x80, 0, 0, 0, 0},
		"a megabyte":                             append([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0}, make([]byte, 1<<20)...),
		"no WebSocket at all":                    []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", c.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // a test
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, err = io.WriteString(conn, "GET /loki/api/v1/tail?query=%7Bapp%3D%22good%22%7D HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"+
				"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			if err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(conn)
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("answered %v, %v", res, err)
			}
			_, _ = conn.Write(frames) // the server may close before all is written
			if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the connection was not closed: %v", err)
			}
		})
	}
}

// collector is a running one, a process of its own.
type collector struct {
	address string
	cmd     *exec.Cmd
	client  *http.Client
}

// startCollector starts this test binary as the collector. Go's own memory limit is off: what
// the test measures is what the collector bounds by itself.
func startCollector(t *testing.T, flags ...string) *collector {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addressFile := filepath.Join(dir, "address")
	var stderr bytes.Buffer
	cmd := emulate.Command("collector", exe, append([]string{"--no-kubernetes", "--data-dir", filepath.Join(dir, "data"), "--listen-address", "127.0.0.1:0",
		"--address-file", addressFile, "--memory-limit", strconv.Itoa(hostileMemory)}, flags...)...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &collector{cmd: cmd, client: &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		c.client.CloseIdleConnections()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-exited; err != nil {
			t.Errorf("the collector ended with %v: %s", err, stderr.String())
		}
	})
	for range 3000 {
		if text, err := os.ReadFile(addressFile); err == nil {
			c.address = strings.TrimSpace(string(text))
			return c
		}
		<-time.After(10 * time.Millisecond) // another process: nothing to wait on
	}
	t.Fatal("the collector did not start")
	return nil
}

// metric reads one sample of /metrics.
func (c *collector) metric(t *testing.T, series string) float64 {
	t.Helper()
	_, text := c.get(t, "/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Error(err)
			}
			return v
		}
	}
	return 0
}

// peak is the most memory that was resident at a time, in bytes: by the kernel
// where it says so, else what is resident now.
func (c *collector) peak(t *testing.T) int64 {
	t.Helper()
	if runtime.GOOS == "linux" {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
		kib, err := strconv.ParseInt(string(m[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kib << 10
	}
	return int64(c.metric(t, "process_resident_memory_bytes"))
}

func (c *collector) get(t *testing.T, path string) (int, string) {
	t.Helper()
	res, err := c.client.Get("http://" + c.address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // a test
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// pushGood stores an entry and finds it.
func (c *collector) pushGood(t *testing.T, line string) {
	t.Helper()
	ts := strconv.FormatInt(time.Now().UnixNano(), 10)
	res, err := c.client.Post("http://"+c.address+"/loki/api/v1/push", "application/json",
		strings.NewReader(`{"streams":[{"stream":{"app":"good"},"values":[["`+ts+`","`+line+`"]]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close() //nolint:errcheck // a test
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("a good push was answered %s", res.Status)
	}
	code, text := c.get(t, "/loki/api/v1/query_range?query="+url.QueryEscape(`{app="good"} |= "`+line+`"`))
	if code != 200 || !strings.Contains(text, `"`+line+`"`) {
		t.Fatalf("a good query was answered %d %s", code, text)
	}
}

// pushBait stores six hundred lines for queries to work on.
func (c *collector) pushBait(t *testing.T) {
	t.Helper()
	s := model.StreamEntries{Labels: labels.FromStrings("app", "bait")}
	for i := range 600 {
		s.Entries = append(s.Entries, model.Entry{Timestamp: time.Now().UnixNano() + int64(i), Line: fmt.Sprintf("line number %d id=%d", i, i)})
	}
	s.Entries[0].Line = strings.Repeat("k=v ", 60000)
	s.Entries[1].Line = strings.Repeat(`{"a":`, 40000)
	client := &lokiapi.Client{HTTP: c.client, BaseURL: "http://" + c.address}
	if err := client.Push(t.Context(), []model.StreamEntries{s}); err != nil {
		t.Fatal(err)
	}
}

// readLong stores long lines that hardly compress, more than the
// memory limit, and reads them in all the ways that hold lines.
func (c *collector) readLong(t *testing.T) {
	const lines, size, perPush = 800, 240 << 10, 20
	client := &lokiapi.Client{HTTP: c.client, BaseURL: "http://" + c.address}
	rnd := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	letters := make([]byte, size)
	for i := 0; i < lines; i += perPush {
		s := model.StreamEntries{Labels: labels.FromStrings("app", "long")}
		for j := range perPush {
			for k := range letters {
				letters[k] = "abcdefghijklmnopqrstuvwxyz ABCDEF"[rnd.IntN(33)]
			}
			s.Entries = append(s.Entries, model.Entry{Timestamp: now.UnixNano() + int64(i+j), Line: string(letters)})
		}
		if err := client.Push(t.Context(), []model.StreamEntries{s}); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []struct{ query, want string }{
		{`{app="long"} | line_format "x"`, `"x"`},
		{`{app="long"} !~ "a.*b.*c"`, `"result":[]`},
		{`{app="long"} | regexp "(?P<first>.)" | line_format "{{.first}}"`, `"result":[{`},
		{`sum(count_over_time({app="long"} |~ "a.*b" [1h]))`, `"800"`},
	} {
		for _, direction := range []string{"forward", "backward"} {
			path := "/loki/api/v1/query_range?limit=5000&since=1h&direction=" + direction + "&query=" + url.QueryEscape(q.query)
			if code, body := c.get(t, path); code != 200 || !strings.Contains(body, q.want) {
				t.Errorf("%s: %d %.300s", q.query, code, body)
			}
		}
	}
}

// check sends one request and looks at the answer.
func (c *collector) check(t *testing.T, h hostile) {
	t.Helper()
	var body []byte
	switch {
	case h.raw != nil:
		body = h.raw()
	case h.body != nil:
		body = h.body()
	}
	start := time.Now()
	code, text, err := c.send(h, body)
	if took := time.Since(start); took > time.Second {
		t.Logf("%s: took %s", h.name, took)
	}
	if err != nil {
		t.Errorf("%s: %v", h.name, err)
	} else if code != h.code || !strings.Contains(text, h.text) {
		t.Errorf("%s: answered %d %.300q, want %d %q", h.name, code, text, h.code, h.text)
	}
}

func (c *collector) send(h hostile, body []byte) (code int, text string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if h.raw != nil {
		return c.sendRaw(ctx, body, h.hangUp)
	}
	method := h.method
	var from io.Reader
	if h.body != nil {
		from = bytes.NewReader(body)
		if method == "" {
			method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+h.path, from)
	if err != nil {
		return 0, "", err
	}
	for i := 0; i < len(h.header); i += 2 {
		req.Header.Add(h.header[i], h.header[i+1])
	}
	res, err := c.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close() //nolint:errcheck // a test
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, string(answer), err
}

// sendRaw writes bytes to a connection of their own and reads one answer. The
// server may stop to listen before all is written.
func (c *collector) sendRaw(ctx context.Context, raw []byte, hangUp bool) (code int, text string, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close() //nolint:errcheck // a test
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, "", err
	}
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(raw)
		if tcp, ok := conn.(*net.TCPConn); ok && hangUp && err == nil {
			err = tcp.CloseWrite()
		}
		written <- err
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", errors.Join(err, conn.Close(), <-written)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	conn.Close() //nolint:errcheck // ends the writing
	<-written
	if errors.Is(err, syscall.ECONNRESET) {
		err = nil // the status came, the rest of the text did not
	}
	return res.StatusCode, string(answer), err
}

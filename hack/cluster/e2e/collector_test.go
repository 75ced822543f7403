package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
)

// patience bounds every wait for something that ought to happen.
const patience = 60 * time.Second

// collector is the process under test with its data directory, which outlives
// the process.
type collector struct {
	t          testing.TB
	dir        string
	kubeconfig string
	args       []string
	cmd        *exec.Cmd
	exited     chan error
	address    string
	started    time.Time
	log        *os.File
}

// newCollector prepares a collector that reaches the API server at the given
// URL ("" for the server itself) and starts it.
func newCollector(t testing.TB, server string, args ...string) *collector {
	t.Helper()
	return newCollectorAs(t, rig.ServiceAccount{Server: server}, args...)
}

// newCollectorAs is newCollector with other rights than those of the manifests.
func newCollectorAs(t testing.TB, sa rig.ServiceAccount, args ...string) *collector {
	t.Helper()
	sa.Name = "e2e-" + namespaceOf(t)
	kubeconfig, err := shared.ServiceAccount(t.Context(), sa)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "collector.log"))
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{t: t, dir: dir, kubeconfig: kubeconfig, args: args, log: log}
	t.Cleanup(c.cleanup)
	c.start()
	return c
}

func (c *collector) cleanup() {
	if c.cmd != nil {
		c.stop()
	}
	c.log.Close()
	b, err := os.ReadFile(c.log.Name())
	if err != nil {
		c.t.Error(err)
	}
	if dir := os.Getenv("E2E_LOG_DIR"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, namespaceOf(c.t)+".log"), b, 0o644); err != nil {
			c.t.Error(err)
		}
	}
	if !c.t.Failed() {
		return
	}
	var shown []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "level=DEBUG") {
			shown = append(shown, line)
		}
	}
	const limit = 100
	c.t.Logf("the end of the collector's log (E2E_LOG_DIR keeps all of it):\n%s", strings.Join(shown[max(0, len(shown)-limit):], ""))
}

// start starts the process and waits until it is ready.
func (c *collector) start() {
	c.t.Helper()
	addressFile := filepath.Join(c.dir, "address")
	if err := os.Remove(addressFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	args := append([]string{
		"--data-dir", filepath.Join(c.dir, "data"), "--listen-address", "127.0.0.1:0",
		"--address-file", addressFile, "--kubeconfig", c.kubeconfig, "--log-level", "debug",
	}, c.args...)
	c.cmd = exec.Command(collectorBinary, args...)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.started = time.Now()
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait() }(c.cmd, c.exited)
	c.await("the collector to be ready", func() error {
		select {
		case err := <-c.exited:
			c.exited <- err
			return &fatalError{fmt.Errorf("it has exited: %w", err)}
		default:
		}
		b, err := os.ReadFile(addressFile)
		if err != nil {
			return err
		}
		c.address = strings.TrimSpace(string(b))
		resp, err := http.Get("http://" + c.address + "/ready")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// kill ends the process with SIGKILL.
func (c *collector) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	<-c.exited
	c.cmd = nil
}

// stop ends the process with SIGTERM, which must succeed.
func (c *collector) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Error(err)
	}
	select {
	case err := <-c.exited:
		if err != nil {
			c.t.Errorf("the collector did not stop cleanly: %v", err)
		}
	case <-time.After(patience):
		c.t.Errorf("the collector does not stop within %s of SIGTERM", patience)
		c.cmd.Process.Kill()
		<-c.exited
	}
	c.cmd = nil
}

// fatalError ends an await at once.
type fatalError struct{ error }

// await repeats f until it returns nil.
func (c *collector) await(what string, f func() error) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		var fatal *fatalError
		if errors.As(err, &fatal) || time.Now().After(deadline) {
			c.t.Fatalf("waiting for %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// entry is one line of an answer.
type entry struct {
	at     time.Time
	line   string
	labels map[string]string // of the stream, structured metadata included
}

// queryLimit is the most entries that one request may return.
const queryLimit = 5000

// queryAll returns all entries of a selector by time, equal times in the order
// of their stream. Windows that hold too many entries are halved, so that
// nothing depends on paging.
func (c *collector) queryAll(selector string) ([]entry, error) {
	end := time.Now().Add(2 * time.Hour)
	return c.queryWindow(selector, end.Add(-6*time.Hour), end)
}

func (c *collector) queryWindow(selector string, start, end time.Time) ([]entry, error) {
	got, err := c.queryOnce(selector, start, end)
	if err != nil || len(got) < queryLimit {
		return got, err
	}
	if end.Sub(start) < 2 {
		return nil, fmt.Errorf("more than %d entries in the nanosecond %s", queryLimit, start)
	}
	middle := start.Add(end.Sub(start) / 2)
	first, err := c.queryWindow(selector, start, middle)
	if err != nil {
		return nil, err
	}
	second, err := c.queryWindow(selector, middle, end)
	return append(first, second...), err
}

// queryOnce asks for [start, end).
func (c *collector) queryOnce(selector string, start, end time.Time) ([]entry, error) {
	q := url.Values{
		"query": {selector}, "direction": {"forward"}, "limit": {strconv.Itoa(queryLimit)},
		"start": {strconv.FormatInt(start.UnixNano(), 10)}, "end": {strconv.FormatInt(end.UnixNano(), 10)},
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+"/loki/api/v1/query_range?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("query %s: %s: %.300s", selector, resp.Status, body)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Stream map[string]string
				Values [][]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("query %s: %w", selector, err)
	}
	var out []entry
	for _, s := range answer.Data.Result {
		var last time.Time
		for _, v := range s.Values {
			e, err := decodeValue(v)
			if err != nil {
				return nil, fmt.Errorf("query %s: %w", selector, err)
			}
			if e.at.Before(last) {
				return nil, fmt.Errorf("query %s: an entry of %s follows one of %s", selector, e.at, last)
			}
			last = e.at
			e.labels = s.Stream
			out = append(out, e)
		}
	}
	// Entries with other structured metadata (detected_level) come as a stream
	// of their own.
	slices.SortStableFunc(out, func(a, b entry) int { return a.at.Compare(b.at) })
	return out, nil
}

func decodeValue(v []json.RawMessage) (entry, error) {
	if len(v) < 2 {
		return entry{}, fmt.Errorf("a value of %d elements", len(v))
	}
	var ts, line string
	if err := errors.Join(json.Unmarshal(v[0], &ts), json.Unmarshal(v[1], &line)); err != nil {
		return entry{}, err
	}
	ns, err := strconv.ParseInt(ts, 10, 64)
	return entry{at: time.Unix(0, ns), line: line}, err
}

package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

func TestResourceOf(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/pods": "pods", "/api/v1/namespaces/x/pods": "pods", "/api/v1/namespaces/x/pods/y": "pods",
		"/api/v1/namespaces/x/pods/y/log": "pods/log", "/api/v1/namespaces": "namespaces", "/api/v1/namespaces/x": "namespaces",
		"/api/v1/namespaces/x/events": "events", "/apis/coordination.k8s.io/v1/namespaces/x/leases/y": "leases",
		"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": "selfsubjectaccessreviews",
		"/api/v1/namespaces/x/serviceaccounts/y/token":           "serviceaccounts/token",
		"/version": "other", "/": "other", "": "other", "/api/v1": "other", "/apis/a/b": "other",
	} {
		if got := resourceOf(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestRequestCounter(t *testing.T) {
	c := newRequestCounter()
	rc := &rest.Config{}
	c.watch(rc)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/pods" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	client := &http.Client{Transport: rc.WrapTransport(s.Client().Transport)}
	for _, path := range []string{"/api/v1/pods", "/api/v1/events", "/api/v1/events"} {
		resp, err := client.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close() //nolint:errcheck // a test
	}
	s.Close()
	if resp, err := client.Get(s.URL + "/api/v1/events"); err == nil {
		resp.Body.Close() //nolint:errcheck // a test
		t.Error("the server answers after its end")
	}
	for _, want := range []struct {
		resource, code string
		n              float64
	}{{"pods", "403", 1}, {"events", "200", 2}, {"events", "error", 1}} {
		if got := testutil.ToFloat64(c.total.WithLabelValues(want.resource, want.code)); got != want.n {
			t.Errorf("%+v: %v", want, got)
		}
	}

	c = &requestCounter{at: 1000, since: 1000}
	for range 5 {
		c.count(1000)
	}
	if got := c.rate(1000); got != 5 {
		t.Errorf("in the first second: %v", got)
	}
	c.count(1009)
	if got := c.rate(1009); got != 0.6 {
		t.Errorf("after ten seconds: %v", got)
	}
	if got := c.rate(1060); got != 1.0/60 {
		t.Errorf("after a minute: %v", got)
	}
	if got := c.rate(5000); got != 0 {
		t.Errorf("much later: %v", got)
	}
}

func TestGapLog(t *testing.T) {
	db, err := store.Open(t.TempDir(), store.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // a test
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	g := newGapLog(clock)
	g.add("shop", "rotated_away")
	g.add("shop", "rotated_away")
	g.add("bank", "evicted")
	now = now.Add(3 * time.Hour)
	g.add("bank", "evicted")
	want := []lokiapi.GapCount{{Namespace: "bank", Reason: "evicted", Count: 2}, {Namespace: "shop", Reason: "rotated_away", Count: 2}}
	if d := cmp.Diff(want, g.lastDay()); d != "" {
		t.Error(d)
	}
	if err := g.save(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	g = newGapLog(clock)
	g.load(db.Marks(gapsMark)[gapsMark])
	if d := cmp.Diff(want, g.lastDay()); d != "" {
		t.Errorf("after a restart: %s", d)
	}
	if n := testutil.CollectAndCount(gapsLastDay{g}); n != 2 {
		t.Errorf("%d metrics", n)
	}
	now = now.Add(22 * time.Hour)
	if d := cmp.Diff([]lokiapi.GapCount{{Namespace: "bank", Reason: "evicted", Count: 1}}, g.lastDay()); d != "" {
		t.Errorf("a day later: %s", d)
	}
	for i := range 2 * maxGapKinds {
		g.add(string(rune('a'+i%26))+time.Duration(i).String(), "x")
	}
	if n := len(g.lastDay()); n > maxGapKinds+2 {
		t.Errorf("%d kinds are kept", n)
	}
	g.load([]byte("no JSON"))
}

func TestDiskStatus(t *testing.T) {
	const gib, day = 1 << 30, 24 * time.Hour
	begin := int64(1_800_000_000) * 1e9
	of := func(used int64, span time.Duration) store.Status {
		return store.Status{BlockBytes: used, OldestTime: begin, NewestTime: begin + int64(span)}
	}
	days := func(d lokiapi.DiskStatus) float64 {
		if d.DaysLeft == nil {
			return -1
		}
		return *d.DaysLeft
	}
	for _, tc := range []struct {
		name          string
		s             store.Status
		maxDisk, free int64
		retention     time.Duration
		limit, perDay int64
		left          float64
	}{
		{"grows to its limit", of(2*gib, 4*day), 8 * gib, 100 * gib, 30 * day, 8 * gib, gib / 2, 12},
		{"the volume is smaller", of(2*gib, 4*day), 8 * gib, 2 * gib, 30 * day, 4 * gib, gib / 2, 4},
		{"retention comes first", of(2*gib, 4*day), 8 * gib, 100 * gib, 7 * day, 8 * gib, gib / 2, -1},
		{"without any limit", of(2*gib, 4*day), 0, -1, 0, 0, gib / 2, -1},
		{"kept for ever", of(2*gib, 4*day), 3 * gib, -1, 0, 3 * gib, gib / 2, 2},
		{"just begun", of(gib, time.Minute), 8 * gib, -1, 0, 8 * gib, 0, -1},
		{"full", of(9*gib, 9*day), 8 * gib, -1, 30 * day, 8 * gib, gib, 0},
		{"an entry of 1970", of(2*gib, 20_000*day), 8 * gib, -1, 4 * day, 8 * gib, gib / 2, -1},
		{"nothing", store.Status{}, 8 * gib, -1, 0, 8 * gib, 0, -1},
	} {
		d := diskStatus(tc.s, tc.maxDisk, tc.free, tc.retention)
		if d.Limit != tc.limit || d.PerDay != tc.perDay || days(d) != tc.left {
			t.Errorf("%s: %+v, %v days", tc.name, d, days(d))
		}
	}
}

// startParts is a collector whose cluster does not answer, without its HTTP
// listener.
func startParts(t *testing.T, args ...string) *parts {
	t.Helper()
	cfg, err := parseConfig(append([]string{"--data-dir", t.TempDir(), "--log-level", "error", "--memory-limit", "256MiB"}, args...),
		func(string) (string, bool) { return "", false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	secure, err := cfg.secure.open(cfg.logger)
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{cfg: cfg, log: cfg.logger, plan: planMemory(cfg.memoryLimit, cfg.logger), registry: newRegistry(), echoes: newEchoes(), secure: secure}
	p.operator = newOperator(p)
	p.server = p.newServer()
	p.mountPeers()
	p.mountOperator()
	if err := p.openStore(); err != nil {
		t.Fatal(err)
	}
	rc := &rest.Config{Host: "http://127.0.0.1:1"}
	p.operator.requests.watch(rc)
	stop, err := p.collect(rc, make(chan error, 2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		p.closePeers()
		if err := p.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func askParts(t *testing.T, p *parts, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	p.server.Handler().ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestOperatorPages(t *testing.T) {
	p := startParts(t)
	code, body := askParts(t, p, lokiapi.StatusPath)
	var st struct{ Operator lokiapi.OperatorStatus }
	if err := json.Unmarshal([]byte(body), &st); err != nil || code != http.StatusOK {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if o := st.Operator; o.Lag == nil || o.Memory.Limit != 256<<20 || o.Memory.Used < 1<<20 || o.Disk.Limit == 0 || o.Gaps == nil {
		t.Errorf("%+v", o)
	}
	for path, want := range map[string]int{
		lokiapi.TargetsPath: http.StatusOK,
		lokiapi.TargetsPath + "?namespace=x&state=retrying&limit=10000": http.StatusOK,
		lokiapi.TargetsPath + "?state=asleep":                           http.StatusBadRequest,
		lokiapi.TargetsPath + "?limit=0":                                http.StatusBadRequest,
		lokiapi.TargetsPath + "?limit=10001":                            http.StatusBadRequest,
		lokiapi.ReplicasPath:                                            http.StatusOK,
	} {
		if code, body := askParts(t, p, path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	_, body = askParts(t, p, lokiapi.ReplicasPath)
	var replicas []lokiapi.Replica
	if err := json.Unmarshal([]byte(body), &replicas); err != nil || len(replicas) != 1 || !replicas[0].Self || len(replicas[0].Status) == 0 {
		t.Errorf("%v %s", err, body)
	}
	if _, err := testutil.GatherAndLint(p.registry); err != nil {
		t.Error(err)
	}
	if _, err := p.registry.Gather(); err != nil {
		t.Error(err)
	}
}

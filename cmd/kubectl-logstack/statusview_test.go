package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

const statusSample = `{
  "version": "v1.2.3",
  "podlogs": {"synced": true, "targets": {"following": 80, "polling": 38, "retrying": 2, "waiting": 5, "catching_up": 1}, "problems": ["the collector may not get pods/log in namespace \"bank\": add this to the Role of its service account"]},
  "events": {"owner": true, "synced": true, "contact": "2026-03-05T11:59:48Z", "problems": []},
  "operator": {
    "lag": {"p50": 0.213, "p99": 1.4567, "lines": 123456, "window": 300},
    "gaps": [{"namespace": "shop", "reason": "rotated_away", "count": 3}, {"namespace": "bank", "reason": "evicted", "count": 1}, {"namespace": "dev", "reason": "rotated_away", "count": 1}],
    "requestsPerSecond": 4.25,
    "memory": {"used": 95420416, "limit": 268435456},
    "disk": {"used": 1288490188, "limit": 8589934592, "perDay": 419430400, "daysLeft": 17.4}
  },
  "store": {"entries": 12345678, "diskBytes": 1288490188, "oldest": "2026-03-02T12:00:00Z", "newest": "2026-03-05T11:59:59Z", "errors": []},
  "members": []
}`

// TestStatusTables renders what a collector and its replicas say.
func TestStatusTables(t *testing.T) {
	now := time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)
	line := now.Add(-3 * time.Second)
	troubled := []lokiapi.Target{
		{State: "retrying", Reason: "dial tcp 10.0.0.7:10250: i/o timeout"}, {State: "retrying", Reason: "dial tcp 10.0.0.7:10250: i/o timeout"},
		{State: "waiting", Reason: "CrashLoopBackOff"}, {State: "waiting", Reason: "ImagePullBackOff"}, {State: "waiting", Reason: "ImagePullBackOff"},
		{State: "waiting", Reason: "a"}, {State: "waiting", Reason: "b"}, {State: "waiting"},
	}
	var buf bytes.Buffer
	table := func(header []string, rows [][]string) {
		if err := output.Table(&buf, header, rows); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&buf)
	}
	plain := output.Terminal{}
	table([]string{"STATUS", ""}, collectorRows([]byte(statusSample), troubled, plain, now))
	quiet := strings.NewReplacer(`"lines": 123456`, `"lines": 0`, `"daysLeft": 17.4`, `"x": 0`, `"owner": true`, `"owner": false`).Replace(statusSample)
	var v map[string]any
	if err := json.Unmarshal([]byte(quiet), &v); err != nil {
		t.Fatal(err)
	}
	v["operator"].(map[string]any)["gaps"] = []any{}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	table([]string{"STATUS", ""}, collectorRows(b, nil, plain, now))
	table([]string{"STATUS", ""}, collectorRows([]byte(`{"version":"v0.1.0","store":{"entries":5}}`), nil, plain, now))
	table(replicaTable([]lokiapi.Replica{
		{Name: "logstack-0", Self: true, Status: []byte(statusSample)}, {Name: "logstack-1", Status: b},
		{Name: "logstack-2", Error: "connection refused"}, {Name: "logstack-3", Status: []byte(`[`)},
	}, plain))
	targets := lokiapi.Targets{Targets: []lokiapi.Target{
		{Namespace: "shop", Pod: "web-0", Container: "app", Node: "n1", State: "following", LastLine: &line},
		{Namespace: "shop", Pod: "web-1", Container: "app", Node: "n2", State: "retrying", Reason: "timeout"},
	}}
	table(targetTable(targets, plain, now))
	targets.Targets[0].Replica, targets.Targets[1].Replica = "logstack-0", "logstack-1"
	table(targetTable(targets, plain, now))

	const file = "testdata/status_tables.txt"
	got := strings.TrimRight(buf.String(), "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Error(d)
	}
}

func TestStatusFlags(t *testing.T) {
	for want, f := range map[string]statusFlags{
		"-o":      {format: "yaml", request: lokiapi.TargetsRequest{Limit: 1}},
		"--of":    {format: "table", request: lokiapi.TargetsRequest{Limit: 1, Namespace: "x"}},
		"--state": {format: "table", targets: true, request: lokiapi.TargetsRequest{Limit: 1, State: "asleep"}},
		"--limit": {format: "json", targets: true},
	} {
		var usage *usageError
		if err := f.check(); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if err := (&statusFlags{format: "json", targets: true, request: lokiapi.TargetsRequest{Limit: 5, State: "done"}}).check(); err != nil {
		t.Error(err)
	}
}

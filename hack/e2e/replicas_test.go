package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	replicasNamespace = "e2e-replicas"
	replicasWriters   = 6
)

// replicaWriters are pods that write numbered lines until they are deleted.
func replicaWriters() string {
	var b strings.Builder
	for i := range replicasWriters {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata: {name: numbered-%d, namespace: %s}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: app, image: %q, imagePullPolicy: IfNotPresent, args: ["-format=text", "-rate=10"], resources: {requests: {cpu: 1m, memory: 4Mi}}}
`, i, replicasNamespace, loggenImage)
	}
	return b.String()
}

// askReplica returns the numbers of a writer's lines as one replica answers, the
// number of marked gaps, and its warnings.
func askReplica(t *testing.T, replica, writer string) (seqs []int, gaps int, warnings []string, err error) {
	t.Helper()
	q := url.Values{
		"query": {fmt.Sprintf(`{job="kubernetes-pods", namespace=%q, pod=%q}`, replicasNamespace, writer)},
		"limit": {"5000"}, "direction": {"forward"}, "start": {strconv.FormatInt(time.Now().Add(-time.Hour).UnixNano(), 10)},
	}
	path := "/api/v1/namespaces/" + replicasNamespace + "/pods/" + replica + ":3100/proxy/loki/api/v1/query_range?" + q.Encode()
	r := kubectlResult(t, "get", "--raw", path)
	if r.code != 0 {
		return nil, 0, nil, fmt.Errorf("%s: %s", replica, r.stderr)
	}
	var answer struct {
		Warnings []string
		Data     struct {
			Result []struct {
				Stream map[string]string
				Values [][]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &answer); err != nil {
		return nil, 0, nil, err
	}
	for _, s := range answer.Data.Result {
		for _, v := range s.Values {
			m := seqPattern.FindSubmatch(v[1])
			if m == nil {
				gaps++
				continue
			}
			n, err := strconv.Atoi(string(m[1]))
			if err != nil {
				return nil, 0, nil, err
			}
			seqs = append(seqs, n)
		}
	}
	slices.Sort(seqs)
	return seqs, gaps, answer.Warnings, nil
}

// everyNumberOnce demands of every replica that each number up to the newest is
// there once, and that all of them came as far as least. It returns the least of
// the newest.
func everyNumberOnce(t *testing.T, replicas []string, least int) (newest int) {
	t.Helper()
	eventually(t, 90*time.Second, func() string {
		newest = 1 << 30
		for _, replica := range replicas {
			for i := range replicasWriters {
				writer := fmt.Sprint("numbered-", i)
				seqs, gaps, warnings, err := askReplica(t, replica, writer)
				switch {
				case err != nil:
					return err.Error()
				case len(warnings) > 0:
					return fmt.Sprintf("%s warns: %q", replica, warnings)
				case gaps > 0:
					t.Fatalf("%s, %s: %d gaps", replica, writer, gaps)
				case len(seqs) < least || len(seqs) == 0:
					return fmt.Sprintf("%s, %s: %d lines, want %d", replica, writer, len(seqs), least)
				}
				for k, n := range seqs {
					if n != k+1 {
						return fmt.Sprintf("%s, %s: %d stands at place %d of %d", replica, writer, n, k+1, len(seqs))
					}
				}
				newest = min(newest, len(seqs))
			}
		}
		return ""
	})
	return newest
}

// TestReplicasOnNode has three replicas lose a pod by force, be rolled out and
// scaled down, while numbered lines are written: each number is there once,
// whoever is asked.
func TestReplicasOnNode(t *testing.T) {
	in := func(args ...string) result {
		t.Helper()
		return plugin(t, append(args, "-n", replicasNamespace)...)
	}
	in("uninstall", "--purge")
	t.Cleanup(func() {
		in("uninstall", "--purge")
		mustKubectl(t, "", "delete", "namespace", replicasNamespace, "--ignore-not-found", "--wait=true")
	})
	mustKubectl(t, "", "create", "namespace", replicasNamespace)
	mustKubectl(t, replicaWriters(), "apply", "-f", "-")
	in("install", "--image", collectorImage, "--set", "replicas=3", "--storage-size", "1Gi").must(t, 0, "pod/logstack-2: ready")
	all := []string{"logstack-0", "logstack-1", "logstack-2"}
	begun := time.Now()
	step := func(what string, newest int) {
		t.Helper()
		t.Logf("%5.1f s: %s; every number up to %d at least is there once, at every replica", time.Since(begun).Seconds(), what, newest)
	}
	n := everyNumberOnce(t, all, 20)
	step("installed", n)
	r := in("status")
	r.must(t, 0, all...)
	t.Log(r.stdout)
	mustKubectl(t, "", "delete", "pod", "logstack-1", "-n", replicasNamespace, "--force", "--grace-period=0")
	mustKubectl(t, "", "rollout", "status", "statefulset/logstack", "-n", replicasNamespace, "--timeout=90s")
	n = everyNumberOnce(t, all, n+50)
	step("one was killed", n)
	mustKubectl(t, "", "rollout", "restart", "statefulset/logstack", "-n", replicasNamespace)
	mustKubectl(t, "", "rollout", "status", "statefulset/logstack", "-n", replicasNamespace, "--timeout=150s")
	n = everyNumberOnce(t, all, n+50)
	step("all were restarted", n)
	in("install", "--set", "replicas=2", "--timeout", "3m").must(t, 0, "pod/logstack-2: has handed everything over")
	n = everyNumberOnce(t, all[:2], n+50)
	step("scaled down", n)
}

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestNodeFiles reads log files through the real kubelet's /logs/: the log
// rotates while the collector is away, and no number is missing and no gap is
// marked. 16 kB a line and 3 lines a second are a rotation every 20 seconds
// (containerLogMaxSize 1Mi); the kubelet keeps 3 files.
func TestNodeFiles(t *testing.T) {
	linkPodLogs(t)
	deleteNamespace(t)
	t.Cleanup(func() { deleteNamespace(t) })
	modes := []string{"backfill"}
	if os.Getenv("LOGSTACK_E2E_SOAK") != "" {
		modes = append(modes, "all")
	}
	for _, mode := range modes {
		pod := "files-" + mode // lines of other tests are kept
		t.Run(mode, func(t *testing.T) {
			values := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(values, []byte("nodeFiles: "+mode+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			mustPlugin(t, "install", "--image", collectorImage, "--values", values)
			const count = 200
			mustKubectl(t, writer(pod, count), "apply", "-f", "-")
			mustKubectl(t, "", "-n", soakNamespace, "wait", "--for=condition=Ready", "pod", pod, "--timeout=120s")
			eventually(t, time.Minute, func() string {
				if seqs, _ := sequences(t, pod); len(seqs) < 5 {
					return fmt.Sprintf("%d lines", len(seqs))
				}
				return ""
			})
			scale(t, 0)
			before := rotations(pod)
			eventually(t, time.Minute, func() string {
				if rotations(pod) == before {
					return "no rotation on the node"
				}
				return ""
			})
			scale(t, 1)
			eventually(t, 3*time.Minute, func() string {
				if seqs, _ := sequences(t, pod); len(seqs) == 0 || seqs[len(seqs)-1] != count {
					return fmt.Sprintf("%d lines, want the last to be %d", len(seqs), count)
				}
				return ""
			})
			lines, gaps := checkPod(t, pod)
			if lines != count || gaps != 0 {
				t.Errorf("%d lines, %d gaps; want %d and none", lines, gaps, count)
			}
			got := metrics(t)
			name := map[string]string{
				"backfill": `logstack_podlogs_backfilled_lines_total`,
				"all":      `logstack_podlogs_node_files_nodes{state="readable"}`,
			}[mode]
			t.Logf("%d lines, none missing; %s %g, rotated files %d", lines, name, got[name], rotations(pod))
			if got[name] == 0 {
				t.Errorf("%s is 0: nothing was read from files", name)
			}
		})
	}
}

// linkPodLogs lets the kubelet's /logs/ show the log files: the test cluster
// keeps them outside of the host's /var/log.
func linkPodLogs(t *testing.T) {
	const usual = "/var/log/pods"
	if _, err := os.Lstat(usual); err == nil {
		return
	}
	if err := os.Symlink(filepath.Join(filepath.Dir(os.Getenv("KUBECONFIG")), "pod-logs"), usual); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(usual); err != nil {
			t.Error(err)
		}
	})
}

func writer(name string, count int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Namespace
metadata: {name: %[1]s}
---
apiVersion: v1
kind: Pod
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: %[3]s
      imagePullPolicy: IfNotPresent
      args: ["-format=text", "-rate=3", "-count=%[4]d", "-pad=16000", "-hold"]
`, soakNamespace, name, loggenImage, count)
}

// scale stops or starts the collector.
func scale(t *testing.T, replicas int) {
	mustKubectl(t, "", "-n", "logstack", "scale", "statefulset/logstack", fmt.Sprintf("--replicas=%d", replicas))
	if replicas == 0 {
		mustKubectl(t, "", "-n", "logstack", "wait", "--for=delete", "pod/logstack-0", "--timeout=120s")
		return
	}
	mustKubectl(t, "", "-n", "logstack", "rollout", "status", "statefulset/logstack", "--timeout=120s")
}

var sample = regexp.MustCompile(`(?m)^(logstack_\S+) (\S+)$`)

// metrics are the collector's.
func metrics(t *testing.T) map[string]float64 {
	out := map[string]float64{}
	text := mustKubectl(t, "", "get", "--raw", "/api/v1/namespaces/logstack/services/http:logstack:http/proxy/metrics")
	for _, m := range sample.FindAllStringSubmatch(strings.ReplaceAll(text, "\r", ""), -1) {
		if v, err := strconv.ParseFloat(m[2], 64); err == nil {
			out[m[1]] = v
		}
	}
	return out
}

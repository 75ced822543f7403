package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMainJob is the story of the README: install, look, query, doctor, again.
func TestMainJob(t *testing.T) {
	plugin(t, "uninstall", "--purge")
	started := time.Now()
	r := mustPlugin(t, "install", "--image", collectorImage)
	t.Logf("install to the first queryable line: %.1f s", time.Since(started).Seconds())
	if strings.Count(r.stdout, "\n") != 1 {
		t.Errorf("stdout is not the one newest line:\n%s", r.stdout)
	}
	t.Run("a second install changes nothing", func(t *testing.T) {
		r := mustPlugin(t, "install", "--image", collectorImage)
		for line := range strings.Lines(r.stderr) {
			if strings.Contains(line, " created") || strings.Contains(line, " configured") {
				t.Errorf("changed: %s", line)
			}
		}
	})
	t.Run("status", func(t *testing.T) {
		var s struct{ Installed, Ready bool }
		if err := json.Unmarshal([]byte(mustPlugin(t, "status", "-o", "json").stdout), &s); err != nil || !s.Installed || !s.Ready {
			t.Errorf("%+v, %v", s, err)
		}
	})
	t.Run("the namespace is restricted", func(t *testing.T) {
		if got := mustKubectl(t, "", "get", "ns", "logstack", "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`); got != "restricted" {
			t.Errorf("enforce=%q", got)
		}
	})
	t.Run("labels", func(t *testing.T) {
		got := strings.Fields(mustPlugin(t, "labels", "-o", "name").stdout)
		got = slices.DeleteFunc(got, func(name string) bool { return name == "type" }) // of events, which come a second later
		want := "app container instance job namespace node pod service_name"
		if strings.Join(got, " ") != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("events and lives of containers", func(t *testing.T) {
		for query, want := range map[string]string{
			`{job="kubernetes-events", namespace="logstack", pod="logstack-0", container="collector"} | reason="Started"`:   "kind=Pod",
			`{job="kubernetes-lifecycle", namespace="logstack", pod="logstack-0", container="collector"} | event="started"`: "event=started restart=0",
		} {
			eventually(t, time.Minute, func() string {
				if out := plugin(t, "query", query, "--since", "1h", "-o", "raw").stdout; !strings.Contains(out, want) {
					return fmt.Sprintf("%q in the answer to %s: %s", want, query, out)
				}
				return ""
			})
		}
	})
	t.Run("doctor", func(t *testing.T) {
		r := mustPlugin(t, "doctor", "-o", "short")
		t.Log(r.stdout)
		if strings.Contains(r.stdout, "skip") {
			t.Error("an admin skips nothing")
		}
	})
	t.Run("mistakes are explained", func(t *testing.T) {
		for _, tc := range []struct {
			args []string
			code int
			want string
		}{
			{[]string{"query", `{namespace="x"} |= `}, 2, "^"},
			{[]string{"query", `{namespace="x"}`, "--since", "yesterday"}, 2, "--since"},
			{[]string{"query", `{namespace="x"}`, "-o", "xml"}, 2, "raw, jsonl"},
			{[]string{"query", `{namespace="x"}`, "--service", "nowhere/nothing"}, 3, "no Service nothing"},
			{[]string{"query", `{namespace="x"}`, "--context", "nope"}, 3, "nope"},
			{[]string{"logs", "svc/x"}, 2, "deploy"},
			{[]string{"install", "--storage-size", "lots"}, 2, "10Gi"},
			{[]string{"install", "--nonsense"}, 2, "--help"},
		} {
			if r := plugin(t, tc.args...); r.code != tc.code || !strings.Contains(r.stderr, tc.want) || r.stdout != "" {
				t.Errorf("%q: code %d (want %d), stdout %q, stderr:\n%s", tc.args, r.code, tc.code, r.stdout, r.stderr)
			}
		}
	})
	t.Run("idle memory", func(t *testing.T) {
		for _, p := range collectors(t) {
			t.Logf("collector pid %d: RSS %.1f MiB", p, float64(rss(t, p))/(1<<20))
		}
	})
}

// soakSpec is the load of TestEverySequenceNumberOnce.
const (
	soakNamespace = "e2e-soak"
	soakPods      = 50
	soakDeleted   = 10
	soakRate      = 4 // lines per second and pod
)

// TestEverySequenceNumberOnce: pods log numbered lines while the collector is
// killed twice, log files rotate and pods are deleted. Afterwards every number
// of every pod is there exactly once, or a gap entry names the place.
func TestEverySequenceNumberOnce(t *testing.T) {
	duration := 60 * time.Second
	if s := os.Getenv("LOGSTACK_E2E_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		duration = d
	}
	mustPlugin(t, "install", "--image", collectorImage)
	deleteNamespace(t)
	t.Cleanup(func() { deleteNamespace(t) })
	mustKubectl(t, soakManifests(int(duration.Seconds())*soakRate), "apply", "-f", "-")
	mustKubectl(t, "", "-n", soakNamespace, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
	step := func(part string) {
		<-time.After(duration / 4)
		t.Log(part)
	}
	step("kill the collector")
	killCollector(t)
	step("delete pods")
	var doomed []string
	for i := range soakDeleted {
		doomed = append(doomed, podName(i))
	}
	mustKubectl(t, "", append([]string{"-n", soakNamespace, "delete", "pod", "--wait=true"}, doomed...)...)
	step("kill the collector again")
	killCollector(t)
	<-time.After(duration / 4)
	// The survivors say their last number and then stay.
	last := int(duration.Seconds()) * soakRate
	for i := soakDeleted; i < soakPods; i++ {
		eventually(t, 2*time.Minute, func() string {
			seqs, _ := sequences(t, podName(i))
			if len(seqs) == 0 || seqs[len(seqs)-1] != last {
				return fmt.Sprintf("%s: %d lines, want the last to be %d", podName(i), len(seqs), last)
			}
			return ""
		})
	}
	lines, gaps, rotated := 0, 0, 0
	for i := range soakPods {
		l, g := checkPod(t, podName(i))
		lines, gaps = lines+l, gaps+g
		rotated += rotations(podName(i))
	}
	t.Logf("%d pods, %d lines, each number once; %d gaps named; %d rotated log files seen on the node", soakPods, lines, gaps, rotated)
}

func podName(i int) string { return fmt.Sprintf("writer-%02d", i) }

func soakManifests(count int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", soakNamespace)
	for i := range soakPods {
		// Every fifth pod writes long lines, so that its log file rotates.
		pad := 80
		if i%5 == 0 {
			pad = 16000
		}
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata:
  name: %s
  namespace: %s
spec:
  terminationGracePeriodSeconds: 5
  containers:
    - name: app
      image: %s
      imagePullPolicy: IfNotPresent
      args: ["-format=text", "-rate=%d", "-count=%d", "-pad=%d", "-hold"]
      resources: {requests: {cpu: 1m, memory: 4Mi}}
`, podName(i), soakNamespace, loggenImage, soakRate, count, pad)
	}
	return b.String()
}

func deleteNamespace(t *testing.T) {
	mustKubectl(t, "", "delete", "namespace", soakNamespace, "--ignore-not-found", "--wait=true")
}

var seqPattern = regexp.MustCompile(`seq=(\d+)`)

// gap is a marked place where numbers may be missing: after the number before it.
type gap struct{ after int }

// sequences returns the numbers of a pod in the order of the query, and the gaps.
func sequences(t *testing.T, pod string) (seqs []int, gaps []gap) {
	r := plugin(t, "query", fmt.Sprintf(`{job="kubernetes-pods", namespace=%q, pod=%q}`, soakNamespace, pod), "--since", "2h", "--limit", "0", "-o", "jsonl")
	if r.code != 0 {
		// The collector is being restarted: the caller asks again.
		return nil, nil
	}
	for line := range strings.Lines(r.stdout) {
		var e struct {
			Line     string
			Metadata map[string]string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v in %q", pod, err, line)
		}
		if e.Metadata["__logstack_gap__"] != "" {
			g := gap{}
			if len(seqs) > 0 {
				g.after = seqs[len(seqs)-1]
			}
			gaps = append(gaps, g)
			continue
		}
		m := seqPattern.FindStringSubmatch(e.Line)
		if m == nil {
			t.Errorf("%s: a line that nobody wrote: %.200q", pod, e.Line)
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, n)
	}
	return seqs, gaps
}

// checkPod demands every number from the first on exactly once and in order,
// except where a gap is marked.
func checkPod(t *testing.T, pod string) (lines, gaps int) {
	t.Helper()
	seqs, marks := sequences(t, pod)
	if len(seqs) == 0 {
		t.Errorf("%s: nothing collected", pod)
		return 0, 0
	}
	marked := map[int]bool{}
	for _, g := range marks {
		marked[g.after] = true
	}
	prev := 0
	for _, n := range seqs {
		switch {
		case n <= prev:
			t.Errorf("%s: %d comes after %d: shown twice or out of order", pod, n, prev)
		case n > prev+1 && !marked[prev]:
			t.Errorf("%s: %d to %d are missing and no gap names the place", pod, prev+1, n-1)
		}
		prev = n
	}
	return len(seqs), len(marks)
}

// collectors finds the collector's processes on this node.
func collectors(t *testing.T) []int {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		args := strings.Split(string(b), "\x00")
		if strings.HasSuffix(args[0], "collector") && strings.Contains(string(b), "--data-dir=/data\x00") {
			if pid, err := strconv.Atoi(strings.Split(f, "/")[2]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// killCollector kills it as hard as a node can and waits until another runs.
func killCollector(t *testing.T) {
	pids := collectors(t)
	if len(pids) != 1 {
		t.Fatalf("%d collectors run on this node", len(pids))
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, func() string {
		if now := collectors(t); len(now) != 1 || now[0] == pids[0] {
			return "the collector was not restarted"
		}
		return ""
	})
}

func rss(t *testing.T, pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// rotations counts the rotated log files of a pod on this node: the kubelet keeps
// few, so it is the least number of rotations.
func rotations(pod string) int {
	n := 0
	for _, dir := range []string{"/var/log/pods", filepath.Join(filepath.Dir(os.Getenv("KUBECONFIG")), "pod-logs")} {
		files, _ := filepath.Glob(fmt.Sprintf("%s/%s_%s_*/app/0.log.*", dir, soakNamespace, pod))
		n += len(files)
	}
	return n
}

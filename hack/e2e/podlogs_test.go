package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The faults that only a real kubelet and a real runtime can show; the others are
// tested on the API rig. docs/podlogs.md lists all of them.

const faultNamespace = "e2e-faults"

// inotifySysctl is the number of follows that all kubelets of this machine's root
// can serve.
const inotifySysctl = "/proc/sys/fs/inotify/max_user_instances"

// line is one entry of a container's stream.
type line struct {
	seq int    // 0 for a gap
	id  string // of the writer
	gap string
}

// stream returns the lines of a container, oldest first.
func stream(t *testing.T, selector string) []line {
	t.Helper()
	r := plugin(t, "query", `{namespace="`+faultNamespace+`", job="kubernetes-pods", `+selector+`}`, "--since", "1h", "--limit", "0", "-o", "jsonl")
	if r.code != 0 {
		return nil
	}
	var out []line
	for text := range strings.Lines(r.stdout) {
		var e struct {
			Line     string
			Metadata map[string]string
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		if gap := e.Metadata["__logstack_gap__"]; gap != "" {
			out = append(out, line{gap: gap})
			continue
		}
		m := seqPattern.FindStringSubmatch(e.Line)
		if m == nil {
			t.Errorf("%s: a line that nobody wrote: %.200q", selector, e.Line)
			continue
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		_, id, _ := strings.Cut(e.Line, "id=")
		id, _, _ = strings.Cut(id, " ")
		out = append(out, line{seq: n, id: id})
	}
	return out
}

// judge demands that every run of a container is there from 1 to count, once and
// in order, except where a gap is marked. It returns the numbers of runs and gaps,
// or what is wrong.
func judge(lines []line, count int) (runs, gaps int, wrong string) {
	prev, open := 0, false // open: a gap came before, anything may follow
	for _, l := range lines {
		switch {
		case l.gap != "":
			gaps++
			open = true
			continue
		case l.seq == 1 && (prev == 0 || prev == count || open):
			runs++
		case l.seq <= prev && !open:
			return runs, gaps, fmt.Sprintf("%d comes after %d: twice, or out of order", l.seq, prev)
		case l.seq != prev+1 && !open:
			return runs, gaps, fmt.Sprintf("%d comes after %d, and no gap is marked", l.seq, prev)
		}
		prev, open = l.seq, false
	}
	if prev != count && !open {
		return runs, gaps, fmt.Sprintf("the last is %d of %d, and no gap is marked", prev, count)
	}
	return runs, gaps, ""
}

// settled waits until a container's stream is right, with at least the given
// number of runs. With none, the beginning of the first run may be missing.
func settled(t *testing.T, selector string, count, runs int) (gaps int) {
	t.Helper()
	eventually(t, 90*time.Second, func() string {
		lines := stream(t, selector)
		if runs == 0 {
			lines = append([]line{{gap: "before the first reading"}}, lines...)
		}
		got, g, wrong := judge(lines, count)
		gaps = g
		if runs == 0 {
			gaps--
		}
		if wrong == "" && got+g < runs {
			wrong = fmt.Sprintf("%d runs and %d gaps, want %d", got, g, runs)
		}
		if wrong != "" {
			return fmt.Sprintf("{%s}: %s (%d entries)", selector, wrong, len(lines))
		}
		return ""
	})
	return gaps
}

// faultPod is a pod of one container that runs loggen.
func faultPod(name, restart string, args ...string) string {
	quoted, err := json.Marshal(args)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
  restartPolicy: %s
  terminationGracePeriodSeconds: 2
  containers:
    - {name: app, image: %q, imagePullPolicy: IfNotPresent, args: %s, resources: {requests: {cpu: 1m, memory: 4Mi}}}
`, name, faultNamespace, restart, loggenImage, quoted)
}

// TestNodeFaults runs F6, F10 to F13 and F21 on the real node, side by side where
// they do not disturb each other.
func TestNodeFaults(t *testing.T) {
	mustPlugin(t, "install", "--image", collectorImage)
	drop := func() {
		mustKubectl(t, "", "delete", "namespace", faultNamespace, "--ignore-not-found", "--wait=true")
	}
	drop()
	t.Cleanup(drop)
	soak := 1
	if os.Getenv("LOGSTACK_SOAK") != "" {
		soak = 5
	}
	medium, fast := 10_000*soak, 20_000*soak
	var jobs []string
	manifest := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + faultNamespace + "}\n" +
		faultPod("rotate-slow", "Always", "-rate=5", "-count=100", "-pad=100", "-hold") +
		faultPod("rotate-medium", "Always", "-rate=500", "-pad=500", "-hold", fmt.Sprint("-count=", medium)) +
		faultPod("rotate-fast", "Always", "-rate=5000", "-pad=400", "-hold", fmt.Sprint("-count=", fast)) +
		faultPod("crash", "Always", "-rate=1000", "-count=100", "-exit=1") +
		faultPod("same-name", "Always", "-rate=20", "-count=60", "-hold", "-id=first") +
		faultPod("forced", "Always", "-rate=20", "-count=100000") +
		kindsPod
	for i := range 8 {
		jobs = append(jobs, fmt.Sprint("job-", i))
		manifest += fmt.Sprintf(`---
apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: %s}
spec:
  ttlSecondsAfterFinished: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: app, image: %q, imagePullPolicy: IfNotPresent, args: ["-rate=0", "-count=1"], resources: {requests: {cpu: 1m, memory: 4Mi}}}
`, jobs[i], faultNamespace, loggenImage)
	}
	mustKubectl(t, manifest, "apply", "-f", "-")

	t.Run("F12", func(t *testing.T) {
		mustKubectl(t, "", "-n", faultNamespace, "wait", "--for=condition=Ready", "pod/same-name", "pod/forced", "--timeout=60s")
		eventually(t, time.Minute, func() string {
			if n := len(stream(t, `pod="same-name"`)); n < 60 {
				return fmt.Sprintf("%d lines of the first pod", n)
			}
			return ""
		})
		mustKubectl(t, "", "-n", faultNamespace, "delete", "pod", "same-name", "--wait=true")
		mustKubectl(t, "", "-n", faultNamespace, "delete", "pod", "forced", "--force", "--grace-period=0")
		mustKubectl(t, faultPod("same-name", "Always", "-rate=20", "-count=60", "-hold", "-id=second"), "apply", "-f", "-")
		eventually(t, time.Minute, func() string {
			ids, gaps, reason := map[string]int{}, 0, ""
			for _, l := range stream(t, `pod="same-name"`) {
				if l.gap != "" {
					gaps, reason = gaps+1, l.gap
					continue
				}
				ids[l.id]++
			}
			if ids["first"] != 60 || ids["second"] != 60 || gaps > 1 {
				return fmt.Sprintf("lines by pod %v, %d gaps, want 60 of each and one gap at most", ids, gaps)
			}
			if gaps > 0 {
				// The API server answered no more before the end was certain.
				t.Logf("the end of the first pod is marked: %s", reason)
			}
			return ""
		})
		eventually(t, time.Minute, func() string {
			lines := stream(t, `pod="forced"`)
			if len(lines) == 0 {
				return "nothing of the pod that was deleted at once"
			}
			last := 0
			for _, l := range lines {
				last = max(last, l.seq)
			}
			_, _, wrong := judge(lines, last)
			return wrong
		})
	})
	t.Run("F13", func(t *testing.T) {
		mustKubectl(t, "", "-n", faultNamespace, "wait", "--for=condition=Ready", "pod/kinds", "--timeout=60s")
		mustKubectl(t, "", "-n", faultNamespace, "debug", "kinds", "--image="+loggenImage, "--image-pull-policy=IfNotPresent",
			"--container=debug", "--arguments-only", "--profile=general", "--", "-rate=50", "-count=20")
		for _, c := range []string{"init", "sidecar", "app", "helper", "debug"} {
			settled(t, `pod="kinds", container="`+c+`"`, 20, 1)
		}
	})
	t.Run("F11", func(t *testing.T) {
		read := 0
		for _, j := range jobs {
			eventually(t, time.Minute, func() string {
				lines := stream(t, `app="`+j+`"`)
				if len(lines) == 0 {
					return j + ": neither its line nor a gap"
				}
				if len(lines) > 1 {
					return fmt.Sprintf("%s: %v", j, lines)
				}
				return ""
			})
			if stream(t, `app="`+j+`"`)[0].gap == "" {
				read++
			}
		}
		t.Logf("%d of %d jobs were read, the others are marked", read, len(jobs))
	})
	t.Run("F10", func(t *testing.T) {
		gaps := settled(t, `pod="crash"`, 100, 2+soak)
		t.Logf("%d gaps", gaps)
	})
	t.Run("F06", func(t *testing.T) {
		for pod, n := range map[string]int{"rotate-slow": 100, "rotate-medium": medium, "rotate-fast": fast} {
			runs := 1
			if pod == "rotate-fast" {
				// It fills a file in a moment: what was rotated away before the
				// container was first read is not marked.
				runs = 0
			}
			gaps := settled(t, `pod="`+pod+`"`, n, runs)
			t.Logf("%s: %d lines, %d gaps", pod, n, gaps)
			// A rotation between the first reading and the follow cannot be told
			// from a loss; files rotate every three seconds here.
			if gaps > 0 && pod == "rotate-slow" || gaps > 1 && pod == "rotate-medium" {
				t.Errorf("%s: %d gaps at a rate that can be followed", pod, gaps)
			}
		}
	})
	t.Run("F21", func(t *testing.T) { nodeWithoutInotify(t) })
}

// nodeWithoutInotify lets new containers start while root's inotify instances are
// used up: they are polled, and no line is missing.
func nodeWithoutInotify(t *testing.T) {
	before, err := os.ReadFile(inotifySysctl)
	if err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := os.WriteFile(inotifySysctl, before, 0o644); err != nil {
			t.Error(err)
		}
	}
	const pods, count = 10, 60
	var manifest string
	var names []string
	for i := range pods {
		names = append(names, fmt.Sprint("pod/polled-", i))
		manifest += faultPod(fmt.Sprint("polled-", i), "Always", "-rate=4", fmt.Sprint("-count=", count), "-hold")
	}
	mustKubectl(t, manifest, "apply", "-f", "-")
	mustKubectl(t, "", append([]string{"-n", faultNamespace, "wait", "--for=condition=Ready", "--timeout=60s"}, names...)...)
	defer restore()
	if err := os.WriteFile(inotifySysctl, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	killCollector(t) // all follows are opened anew, and refused
	for i := range pods {
		if gaps := settled(t, fmt.Sprintf(`pod="polled-%d"`, i), count, 1); gaps > 0 {
			t.Errorf("polled-%d: %d gaps", i, gaps)
		}
	}
	restore()
}

// kindsPod has a container of every kind that a manifest can have.
var kindsPod = fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: kinds, namespace: %[1]s}
spec:
  terminationGracePeriodSeconds: 2
  initContainers:
    - {name: init, image: %[2]q, imagePullPolicy: IfNotPresent, args: ["-rate=50", "-count=20"]}
    - {name: sidecar, image: %[2]q, imagePullPolicy: IfNotPresent, restartPolicy: Always, args: ["-rate=50", "-count=20", "-hold"]}
  containers:
    - {name: app, image: %[2]q, imagePullPolicy: IfNotPresent, args: ["-rate=50", "-count=20", "-hold"]}
    - {name: helper, image: %[2]q, imagePullPolicy: IfNotPresent, args: ["-rate=50", "-count=20", "-hold"]}
`, faultNamespace, loggenImage)

func TestJudge(t *testing.T) {
	l := func(seqs ...int) (out []line) {
		for _, s := range seqs {
			if s == 0 {
				out = append(out, line{gap: "instance_lost"})
			} else {
				out = append(out, line{seq: s})
			}
		}
		return out
	}
	for _, c := range []struct {
		in         []line
		runs, gaps int
		wrong      bool
	}{
		{l(1, 2, 3), 1, 0, false},
		{l(1, 2, 3, 1, 2, 3), 2, 0, false},
		{l(1, 2, 0, 1, 2, 3), 2, 1, false},
		{l(1, 2, 0), 1, 1, false},
		{l(1, 2), 1, 0, true},
		{l(1, 2, 2, 3), 1, 0, true},
		{l(1, 3), 1, 0, true},
		{l(1, 2, 1, 2, 3), 1, 0, true},
		{l(2, 3), 0, 0, true},
		{l(0, 2, 3), 0, 1, false},
		{l(), 0, 0, true},
	} {
		runs, gaps, wrong := judge(c.in, 3)
		if runs != c.runs || gaps != c.gaps || (wrong != "") != c.wrong {
			t.Errorf("%v: %d runs, %d gaps, %q", c.in, runs, gaps, wrong)
		}
	}
}

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// occur makes the n-th event about a pod occur, as a recorder does: it is
// created once, and then patched.
func occur(t *testing.T, namespace, pod string, n int) {
	t.Helper()
	must(t, occurNow(t.Context(), namespace, pod, n))
}

func occurNow(ctx context.Context, namespace, pod string, n int) error {
	events := shared.Client().CoreV1().Events(namespace)
	name := fmt.Sprintf("%s.%d", pod, n)
	now := metav1.Now()
	old, err := events.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		patch := fmt.Sprintf(`{"count":%d,"lastTimestamp":%q}`, old.Count+1, now.UTC().Format(time.RFC3339))
		_, err = events.Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		return err
	}
	_, err = events.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: namespace},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: pod, FieldPath: "spec.containers{app}"},
		Reason:         "Tested", Type: corev1.EventTypeNormal, Message: fmt.Sprintf("number %d", n), Count: 1,
		FirstTimestamp: now, LastTimestamp: now, Source: corev1.EventSource{Component: "e2e"},
	}, metav1.CreateOptions{})
	return err
}

// events returns the occurrences stored of a namespace, as "message#count", with
// how often each is stored.
func (c *collector) events(namespace string) (map[string]int, error) {
	got, err := c.queryAll(fmt.Sprintf(`{job="kubernetes-events", namespace=%q}`, namespace))
	out := make(map[string]int)
	for _, e := range got {
		_, msg, _ := strings.Cut(e.line, "msg=")
		out[strings.Trim(msg, `"`)+"#"+e.labels["count"]]++
	}
	return out, err
}

func (c *collector) awaitEvents(namespace string, n int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%d events", n), func() error {
		got, err := c.events(namespace)
		if err == nil && len(got) < n {
			err = fmt.Errorf("there are %v", got)
		}
		return err
	})
}

// Events occur all the time while the collector is killed again and again and
// the API server restarts: each occurrence is stored once.
func TestEvents(t *testing.T) {
	pod := addPod(t, newNode(t), rig.PodSpec{Name: "web"})
	c := newCollector(t, "")
	want := make(map[string]int)
	next := func(ns string, n int) {
		must(t, occurNow(t.Context(), ns, "web", n%7))
		want[fmt.Sprintf("number %d#%d", n%7, n/7+1)] = 1
	}
	ns := pod.Namespace
	down := false
	for n := range times(80, 40) {
		next(ns, n)
		if !down {
			pause(100 * time.Millisecond)
		}
		switch n % 10 {
		case 4:
			c.kill()
			down = true
		case 6:
			c.start()
			down = false
		case 9:
			if n == 19 {
				must(t, shared.RestartAPIServer(t.Context(), true))
			}
		}
	}
	c.await("all occurrences", func() error {
		got, err := c.events(ns)
		if err == nil && !maps.Equal(got, want) {
			missing := slices.DeleteFunc(slices.Sorted(maps.Keys(want)), func(k string) bool { return got[k] == 1 })
			err = fmt.Errorf("missing or double: %v; there are %v", missing, got)
		}
		return err
	})
	got, err := c.queryAll(fmt.Sprintf(`{job="kubernetes-events", namespace=%q}`, ns))
	must(t, err)
	for name, value := range map[string]string{"pod": "web", "container": "app", "type": "Normal", "reason": "Tested", "kind": "Pod", "app": "web", "detected_level": "info"} {
		if got[0].labels[name] != value {
			t.Errorf("%s is %q, want %q: %v", name, got[0].labels[name], value, got[0].labels)
		}
	}
}

// What the status of a pod says of its containers is stored once, whatever
// happens to the collector, and beside the container's log.
func TestLifecycleEntries(t *testing.T) {
	pod := addPod(t, newNode(t), rig.PodSpec{Name: "web"})
	l := newLogger(t, pod, "app", lines.Plain)
	c := newCollector(t, "")
	want := []string{"started 0"}
	for n := range 6 {
		l.write(3)
		c.awaitLines(l)
		if n%2 == 1 {
			c.kill()
		}
		l.restart()
		if n%2 == 1 {
			c.start()
		}
		want = append(want, fmt.Sprintf("exited %d", n), fmt.Sprintf("started %d", n+1))
		l.write(1)
		c.awaitLines(l)
	}
	must(t, l.pod.BackOff(t.Context(), "app", 137))
	want = append(want, "exited 6", "waiting 6")
	var got []string
	c.await("all of the container's life", func() error {
		entries, err := c.queryAll(fmt.Sprintf(`{job="kubernetes-lifecycle", namespace=%q, pod="web", container="app"}`, pod.Namespace))
		got = nil
		for _, e := range entries {
			got = append(got, e.labels["event"]+" "+e.labels["restart"])
		}
		if err == nil && len(got) < len(want) {
			err = fmt.Errorf("there are %q", got)
		}
		return err
	})
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
	both, err := c.queryAll(fmt.Sprintf(`{namespace=%q, pod="web"}`, pod.Namespace))
	must(t, err)
	logged := 0
	for _, run := range l.expect() {
		logged += int(run.Lines)
	}
	if n := logged + len(want); len(both) != n {
		t.Errorf("a selector by pod finds %d entries, want %d", len(both), n)
	}
}

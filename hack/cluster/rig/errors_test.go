package rig

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var listAll = metav1.ListOptions{}

// TestErrorShapes walks through what a client gets when logs cannot be read.
func TestErrorShapes(t *testing.T) {
	node, pod := setup(t, PodSpec{Waiting: "ContainerCreating"})
	ctx := t.Context()
	wantError := func(name string, opts corev1.PodLogOptions, code int, text string) {
		t.Helper()
		body, err := read(t, pod, opts)
		var st apierrors.APIStatus
		if !errors.As(err, &st) || int(st.Status().Code) != code || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: body %q, error %v; want %d and %q", name, body, err, code, text)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	plain := corev1.PodLogOptions{}
	wantError("waiting", plain, 400, `container "app" in pod "web" is waiting to start: ContainerCreating`)
	wantError("unknown container", corev1.PodLogOptions{Container: "nope"}, 400, "container nope is not valid for pod web")
	wantError("stream", corev1.PodLogOptions{Stream: ptr(corev1.LogStreamStdout)}, 422, "may not be specified")

	must(pod.Start(ctx, "app"))
	must(pod.Write("app", Stdout, "first run"))
	wantError("no previous", corev1.PodLogOptions{Previous: true}, 400, `previous terminated container "app" in pod "web" not found`)

	node.Kubelet.SetAmnesia(true)
	// The API server drops the kubelet's text here; the kind in the details is
	// what tells this 404 from the one of a pod that is gone.
	wantError("kubelet forgot", plain, 404, "the server could not find the requested resource ( pods/log web)")
	node.Kubelet.Heal()

	for _, code := range []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		node.Kubelet.Fail(1, code, "injected")
		wantError(fmt.Sprint("status ", code), plain, code, "")
		if got := mustRead(t, pod, plain); got != "first run\n" {
			t.Errorf("after one %d: %q", code, got)
		}
	}

	node.Kubelet.SetUntrustedCertificate(true)
	// The API server may try a connection that was just cut.
	waitFor(t, "the connections to be gone", func() bool {
		_, err := read(t, pod, plain)
		return err != nil && !strings.Contains(err.Error(), "EOF")
	})
	wantError("x509", plain, 500, "x509: certificate signed by unknown authority")
	if got, err := read(t, pod, corev1.PodLogOptions{InsecureSkipTLSVerifyBackend: true}); err != nil || got != "first run\n" {
		t.Errorf("without verification: %q, %v", got, err)
	}
	node.Kubelet.Heal()

	must(node.Kubelet.Stop())
	wantError("kubelet down", plain, 500, "")
	must(node.Kubelet.Start())

	must(pod.ForceDelete(ctx))
	wantError("pod gone", plain, 404, `pods "web" not found`)
	must(pod.Collect())
}

// TestErrorsInsideAGoodAnswer are the texts that look like a log line: status
// 200, no timestamp, no newline.
func TestErrorsInsideAGoodAnswer(t *testing.T) {
	node, pod := setup(t, PodSpec{})
	ts := corev1.PodLogOptions{Timestamps: true}
	if err := pod.Write("app", Stdout, "one"); err != nil {
		t.Fatal(err)
	}
	good := mustRead(t, pod, ts)

	node.Kubelet.SetRuntimeDown(true)
	want := "unable to retrieve container logs for " + pod.Container("app").Instance().ID()
	if got := mustRead(t, pod, ts); got != want {
		t.Errorf("runtime down: %q, want %q", got, want)
	}
	node.Kubelet.Heal()

	const text = "failed to create fsnotify watcher: too many open files"
	for _, after := range []int64{0, 7, int64(len(good)) - 1} {
		node.Kubelet.InjectInBand(InBand{Text: text, AfterBytes: after, Times: 1})
		if got := mustRead(t, pod, ts); got != good[:after]+text {
			t.Errorf("after %d bytes: %q", after, got)
		}
	}
	node.Kubelet.InjectInBand(InBand{Text: text, Container: "other"})
	node.Kubelet.InjectInBand(InBand{Text: text, AfterBytes: int64(len(good))})
	if got := mustRead(t, pod, ts); got != good {
		t.Errorf("an answer without a fault: %q", got)
	}
	if n := node.Kubelet.Injected(); n != 3 {
		t.Errorf("%d texts injected, want 3", n)
	}
}

func TestOptions(t *testing.T) {
	_, pod := setup(t, PodSpec{})
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 500_000_000, time.FixedZone("IST", 5*3600+1800))
	for i := range 4 {
		err := pod.Container("app").WriteAt(t0.Add(time.Duration(i)*250*time.Millisecond), Stdout, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
	}
	since := metav1.NewTime(t0.Add(500 * time.Millisecond)) // 12:00:01.0
	late := metav1.NewTime(t0.Add(750 * time.Millisecond))  // 12:00:01.25, floored to the second
	tests := []struct {
		name string
		opts corev1.PodLogOptions
		want string
	}{
		{"sinceTime is inclusive", corev1.PodLogOptions{SinceTime: &since}, "2\n3\n"},
		{"sinceTime loses its fraction", corev1.PodLogOptions{SinceTime: &late}, "2\n3\n"},
		{"tailLines", corev1.PodLogOptions{TailLines: ptr(int64(1))}, "3\n"},
		{"limitBytes cuts a line", corev1.PodLogOptions{LimitBytes: ptr(int64(3))}, "0\n1"},
		{"zone is kept", corev1.PodLogOptions{Timestamps: true, TailLines: ptr(int64(1))}, "2026-03-01T12:00:01.250000000+05:30 3\n"},
	}
	for _, tt := range tests {
		if got := mustRead(t, pod, tt.opts); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestInstances(t *testing.T) {
	_, pod := setup(t, PodSpec{Init: []string{"init"}, Sidecars: []string{"side"}, Ephemeral: []string{"debug"}})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	status := func() corev1.PodStatus {
		t.Helper()
		p, err := shared.Client().CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		must(err)
		return p.Status
	}
	app := corev1.PodLogOptions{Container: "app"}
	prev := corev1.PodLogOptions{Container: "app", Previous: true}

	st := status()
	if st.Phase != corev1.PodRunning || st.InitContainerStatuses[0].State.Terminated == nil ||
		st.InitContainerStatuses[1].State.Running == nil || st.EphemeralContainerStatuses[0].State.Running == nil {
		t.Errorf("status after the start: %+v", st)
	}
	must(pod.Write("side", Stderr, "from the sidecar"))
	must(pod.Write("debug", Stdout, "from the debugger"))
	if got := mustRead(t, pod, corev1.PodLogOptions{Container: "side"}); got != "from the sidecar\n" {
		t.Errorf("sidecar: %q", got)
	}
	if got := mustRead(t, pod, corev1.PodLogOptions{Container: "debug"}); got != "from the debugger\n" {
		t.Errorf("ephemeral container: %q", got)
	}

	must(pod.Write("app", Stdout, "run 0"))
	must(pod.BackOff(ctx, "app", 1))
	if got := mustRead(t, pod, app); got != "run 0\n" {
		t.Errorf("in back-off the dead instance is the current one: %q", got)
	}
	must(pod.Start(ctx, "app"))
	must(pod.Write("app", Stdout, "run 1"))
	if a, p := mustRead(t, pod, app), mustRead(t, pod, prev); a != "run 1\n" || p != "run 0\n" {
		t.Errorf("current %q, previous %q", a, p)
	}
	must(pod.Restart(ctx, "app", 2))
	must(pod.Write("app", Stdout, "run 2"))
	if a, p := mustRead(t, pod, app), mustRead(t, pod, prev); a != "run 2\n" || p != "run 1\n" {
		t.Errorf("current %q, previous %q", a, p)
	}
	cs := status().ContainerStatuses[0]
	all := pod.Container("app").Instances()
	if cs.RestartCount != 2 || cs.ContainerID != all[2].ID() || cs.LastTerminationState.Terminated.ContainerID != all[1].ID() {
		t.Errorf("container status %+v", cs)
	}
	if w := all[1].Written(); len(w) != 1 || w[0].Text != "run 1" {
		t.Errorf("book of run 1: %+v", w)
	}

	must(pod.WritePartial("app", Stdout, "be"))
	must(pod.Write("app", Stdout, "gun"))
	if w := all[2].Written(); len(w) != 2 || w[1].Text != "begun" {
		t.Errorf("book of run 2: %+v", w)
	}

	f := startFollow(t, shared.Client(), pod, app)
	f.next(t, 2)
	must(pod.BeginDelete(ctx))
	must(pod.Write("app", Stdout, "terminating"))
	must(pod.Delete(ctx))
	if rest := f.end(t); len(rest) != 1 || rest[0] != "terminating" {
		t.Errorf("an open follow got %q", rest)
	}
	if _, err := read(t, pod, app); !apierrors.IsNotFound(err) {
		t.Errorf("after deletion: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"
)

// shared is one rig for all tests of the package: they use namespaces and nodes
// of their own.
var shared *Rig

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rig")
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	shared, err = Start(ctx, Options{Dir: dir, Log: os.Stderr})
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "rig up in %s\n", shared.StartupTime().Round(time.Millisecond))
	code := m.Run()
	if err := errors.Join(shared.Stop(), os.RemoveAll(dir), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func setup(t *testing.T, spec PodSpec) (*Node, *Pod) {
	t.Helper()
	ns := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	if len(ns) > 50 {
		ns = ns[:50]
	}
	node, err := shared.AddNode(t.Context(), ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	spec.Namespace = ns
	if spec.Name == "" {
		spec.Name = "web"
	}
	pod, err := shared.AddPod(t.Context(), node, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(pod.ForceDelete(context.Background()), pod.Collect()); err != nil {
			t.Error(err)
		}
	})
	return node, pod
}

// read returns the whole answer of a request without follow.
func read(t *testing.T, pod *Pod, opts corev1.PodLogOptions) (string, error) {
	t.Helper()
	rc, err := shared.Client().CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &opts).Stream(t.Context())
	if err != nil {
		return "", err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	return string(b), err
}

func mustRead(t *testing.T, pod *Pod, opts corev1.PodLogOptions) string {
	t.Helper()
	s, err := read(t, pod, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWrittenLinesComeBack(t *testing.T) {
	_, pod := setup(t, PodSpec{})
	long := strings.Repeat("x", 3*DefaultMaxRecord+5)
	var want bytes.Buffer
	for i, line := range []string{"one", "", "zwei \u00e4\u00f6\u00fc", "\xff\xfe", long, "last"} {
		stream := Stdout
		if i%2 == 1 {
			stream = Stderr
		}
		if err := pod.Write("app", stream, line); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%s\n", line)
	}
	if got := mustRead(t, pod, corev1.PodLogOptions{}); got != want.String() {
		t.Errorf("got %q", got)
	}
	want.Reset()
	for _, l := range pod.Container("app").Instance().Written() {
		fmt.Fprintf(&want, "%s %s\n", l.Time.Format("2006-01-02T15:04:05.000000000Z07:00"), l.Text)
	}
	if got := mustRead(t, pod, corev1.PodLogOptions{Timestamps: true}); got != want.String() {
		t.Errorf("with timestamps: got %.200q, want %.200q", got, want.String())
	}
}

func TestUnscheduledIsEmpty(t *testing.T) {
	pod, err := shared.AddPod(t.Context(), nil, PodSpec{Namespace: "unscheduled", Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pod.ForceDelete(context.Background()); err != nil {
			t.Error(err)
		}
	})
	res := shared.Client().CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Do(t.Context())
	var code int
	res.StatusCode(&code)
	if code != 204 || res.Error() != nil {
		t.Errorf("status %d, error %v", code, res.Error())
	}
	if _, err := read(t, &Pod{Namespace: "unscheduled", Name: "gone"}, corev1.PodLogOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("pod that is not there: %v", err)
	}
}

// TestCollectorRules compares the rights that tests give the collector with
// those that the installed one gets.
func TestCollectorRules(t *testing.T) {
	data, err := os.ReadFile("../../../manifests/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range strings.Split(string(data), "\n---\n") {
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal([]byte(doc), &role); err != nil {
			t.Fatal(err)
		}
		if role.Kind == "ClusterRole" && role.Name == "logstack-collector" {
			if !reflect.DeepEqual(role.Rules, CollectorRules()) {
				t.Errorf("the manifest grants %+v, the rig %+v", role.Rules, CollectorRules())
			}
			return
		}
	}
	t.Error("no ClusterRole logstack-collector in the manifests")
}

func TestFleet(t *testing.T) {
	f, err := shared.AddFleet(t.Context(), FleetSpec{Name: "fleet", Nodes: 3, PodsPerNode: 4, ContainersPerPod: 5})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if f.Targets() != 60 {
		t.Errorf("%d targets", f.Targets())
	}
	for i, p := range f.Pods {
		for _, c := range p.Containers() {
			if err := c.Write(Stdout, fmt.Sprint(i, c.Name())); err != nil {
				t.Fatal(err)
			}
			if err := c.Rotate(); err != nil {
				t.Fatal(err)
			}
			if err := c.Write(Stdout, fmt.Sprint(i, c.Name(), " again")); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprint(i, c.Name(), " again\n")
			if got := mustRead(t, p, corev1.PodLogOptions{Container: c.Name()}); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

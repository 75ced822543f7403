package podlogs

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
)

var podsResource = schema.GroupResource{Resource: "pods"}

func TestLabels(t *testing.T) {
	yes := true
	owner := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}
	}
	for want, pod := range map[string]*corev1.Pod{
		"by-name":    {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/name": "by-name", "app": "x"}}},
		"by-app":     {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "by-app", "k8s-app": "x"}}},
		"kube-dns":   {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"k8s-app": "kube-dns"}}},
		"web":        {ObjectMeta: metav1.ObjectMeta{OwnerReferences: owner("ReplicaSet", "web-6d5f"), Labels: map[string]string{"pod-template-hash": "6d5f"}}},
		"nightly":    {ObjectMeta: metav1.ObjectMeta{OwnerReferences: owner("Job", "nightly-29012345")}},
		"migrate-v2": {ObjectMeta: metav1.ObjectMeta{OwnerReferences: owner("Job", "migrate-v2")}},
		"etcd":       {ObjectMeta: metav1.ObjectMeta{Name: "etcd-node-1", OwnerReferences: owner("Node", "node-1")}},
		"alone":      {ObjectMeta: metav1.ObjectMeta{Name: "alone"}},
	} {
		if got := appName(pod); got != want {
			t.Errorf("app is %q, want %q", got, want)
		}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns"}, Spec: corev1.PodSpec{NodeName: "n"}}
	const want = `{app="p", container="c", instance="ns/p:c", job="kubernetes-pods", namespace="ns", node="n", pod="p", service_name="p"}`
	if got := streamLabels(pod, "c").String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOptOut(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		if _, err := k.client.CoreV1().Namespaces().Create(context.Background(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		p := k.addPod("web", "main", "proxy")
		k.change(p, func() { p.pod.Annotations = map[string]string{AnnotationExcludeContainers: "other, proxy"} })
		quiet := k.addPod("quiet", "main")
		k.change(quiet, func() { quiet.pod.Annotations = map[string]string{AnnotationCollect: "false"} })
		c := startCollector(t, k, m)
		k.number(p, "main", 1)
		k.number(p, "proxy", 1)
		k.number(quiet, "main", 1)
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "0/0")
		wantLines(t, m, "web:proxy")
		wantLines(t, m, "quiet:main")

		ns.Annotations = map[string]string{AnnotationCollect: "false"}
		update(t, k, ns)
		pass(time.Second)
		if n := len(c.Targets()); n != 0 {
			t.Errorf("%d targets in a namespace that opted out", n)
		}
		k.number(p, "main", 1)
		ns.Annotations = nil
		update(t, k, ns)
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1")
		c.stop()
	})
}

func update(t *testing.T, k *cluster, ns *corev1.Namespace) {
	t.Helper()
	if _, err := k.client.CoreV1().Namespaces().Update(context.Background(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestMissingPermissionsAreNamed(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		k.client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
			r := a.(clienttesting.CreateAction).GetObject().(*authv1.SelfSubjectAccessReview)
			return true, &authv1.SelfSubjectAccessReview{Status: authv1.SubjectAccessReviewStatus{Allowed: r.Spec.ResourceAttributes.Subresource != "log"}}, nil
		})
		c := startCollector(t, k, m)
		pass(time.Second)
		problems := c.Status().Problems
		if len(problems) != 1 || !strings.Contains(problems[0], "get pods/log in all namespaces") {
			t.Errorf("problems are %q", problems)
		}
		c.stop()
	})
}

// TestTransport sends one request through the client that is made for streams.
func TestTransport(t *testing.T) {
	var asked string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		_, _ = io.WriteString(w, stamp+"hello\n")
	}))
	defer srv.Close()
	o, err := newAPIOpener(&rest.Config{Host: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	since := metav1.NewTime(time.Unix(1_700_000_000, 0))
	body, err := o.open(t.Context(), "ns", "web", &corev1.PodLogOptions{Container: "main", Timestamps: true, SinceTime: &since})
	if err != nil {
		t.Fatal(err)
	}
	lines := readAll(t, body, 1024)
	body.Close()
	if len(lines) != 1 || lines[0].text != "hello" {
		t.Errorf("got %v", lines)
	}
	if want := "/api/v1/namespaces/ns/pods/web/log?container=main&sinceTime=2023-11-14T22%3A13%3A20Z&timestamps=true"; asked != want {
		t.Errorf("asked for %s, want %s", asked, want)
	}
	srv.Client().CloseIdleConnections()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestOptionsReportEverything(t *testing.T) {
	_, err := New(Options{MaxLineBytes: 1, FlushBytes: 1})
	for _, want := range []string{"RESTConfig", "Sink", "Marks", "MaxLineBytes", "FlushBytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

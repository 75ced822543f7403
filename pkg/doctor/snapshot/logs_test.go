package snapshot

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// logServer is an API server that allows everything but the logs of namespace
// secret, and has a log for each container.
func logServer(t *testing.T, asked *[]string) *kube.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "selfsubjectaccessreviews") {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":%t}}`, !strings.Contains(string(body), "secret"))
			return
		}
		q := r.URL.Query()
		*asked = append(*asked, fmt.Sprintf("%s %s previous=%s tail=%s", strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), q.Get("container"), q.Get("previous"), q.Get("tailLines")))
		if q.Get("timestamps") == "true" {
			_, _ = fmt.Fprintf(w, "%s old line\n%s new line\nno time\n", time.Now().Add(-5*time.Minute).Format(time.RFC3339Nano), time.Now().Format(time.RFC3339Nano))
			return
		}
		_, _ = io.WriteString(w, "one\ntwo\n")
	}))
	t.Cleanup(s.Close)
	config := &rest.Config{Host: s.URL, QPS: 100, Burst: 100}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &kube.Client{Config: config, Kube: c}
}

// TestReadLogs: the last run of what crashes, one pod of each collector, the two
// containers of Grafana, and a pod of each silent namespace; a namespace whose
// logs may not be read says which right lacks.
func TestReadLogs(t *testing.T) {
	var asked []string
	c := logServer(t, &asked)
	s := New(time.Now(), "logstack", "logstack")
	started := metav1.NewTime(time.Now().Add(-time.Hour))
	pod := func(ns, name, owner string, phase corev1.PodPhase, containers ...corev1.Container) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.PodSpec{Containers: containers}, Status: corev1.PodStatus{Phase: phase, StartTime: &started}}
		if owner != "" {
			p.OwnerReferences = []metav1.OwnerReference{{Name: owner}}
		}
		s.Add(Pods, p)
		return p
	}
	alloy := corev1.Container{Name: "alloy", Image: "grafana/alloy:v1"}
	reloader := corev1.Container{Name: "config-reloader", Image: "x/reloader"}
	pod("monitoring", "alloy-1", "alloy", corev1.PodRunning, alloy, reloader)
	pod("monitoring", "alloy-2", "alloy", corev1.PodRunning, alloy, reloader)
	loki := pod("monitoring", "loki-0", "loki", corev1.PodPending, corev1.Container{Name: "loki", Image: "grafana/loki:3"})
	loki.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "loki", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	pod("grafana", "grafana-1", "", corev1.PodRunning, corev1.Container{Name: "grafana", Image: "grafana/grafana:12"}, corev1.Container{Name: "grafana-sc-datasources", Image: "kiwigrid/k8s-sidecar"}, corev1.Container{Name: "other", Image: "x"})
	app := corev1.Container{Name: "app", Image: "x/app"}
	pod("shop", "web-1", "", corev1.PodRunning, app)
	pod("talks", "web-1", "", corev1.PodRunning, app)
	pod("secret", "web-1", "", corev1.PodRunning, app)
	pod("not-asked", "web-1", "", corev1.PodRunning, app).Annotations = map[string]string{"logstack.dev/collect": "false"}
	s.SetFlow(&FlowResult{Oldest: time.Now().Add(-time.Hour), Recent: map[string]float64{"talks": 5, "monitoring": 5, "grafana": 5}})
	s.readLogs(t.Context(), c)

	slices.Sort(asked)
	want := []string{
		"grafana/pods/grafana-1/log grafana previous= tail=400", "grafana/pods/grafana-1/log grafana-sc-datasources previous= tail=400",
		"monitoring/pods/alloy-1/log alloy previous= tail=400", "monitoring/pods/loki-0/log loki previous=true tail=20", "shop/pods/web-1/log app previous= tail=20",
	}
	if !slices.Equal(asked, want) {
		t.Errorf("%q\nwant %q", asked, want)
	}
	if l := s.Logs(CrashLog); len(l) != 1 || !slices.Equal(l[0].Lines, []string{"one", "two"}) {
		t.Errorf("%+v", l)
	}
	silent := map[string]*LogExcerpt{}
	for _, e := range s.Logs(SilentLog) {
		silent[e.Pod.Namespace] = e
	}
	if e := silent["shop"]; e == nil || !slices.Equal(e.Lines, []string{"old line"}) {
		t.Errorf("shop: %+v: a line of this moment may be on its way", e)
	}
	if e := silent["secret"]; e == nil || e.Right == nil || e.Right.String() != "get pods/log in namespace secret" || len(silent) != 2 {
		t.Errorf("secret: %+v", silent)
	}
}

// TestSilent: nobody is silent before there is something to compare with, nor
// where the collector is told not to read.
func TestSilent(t *testing.T) {
	started := metav1.NewTime(now.Add(-time.Hour))
	build := func(oldest time.Duration, args ...string) *Snapshot {
		s := New(now, "logstack", "logstack")
		s.Add(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started}})
		s.Add(StatefulSets, &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack"}, Spec: appsv1.StatefulSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: args}}}}}})
		s.SetFlow(&FlowResult{Oldest: now.Add(-oldest)})
		return s
	}
	for name, tc := range map[string]struct {
		s    *Snapshot
		want int
	}{
		"silent":        {build(time.Hour), 1},
		"just begun":    {build(time.Minute), 0},
		"not collected": {build(time.Hour, "--namespace=a,b"), 0},
		"collected":     {build(time.Hour, "--namespace=a,shop"), 1},
	} {
		if got := len(tc.s.Silent()); got != tc.want {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// TestReadVolumes: the kubelets of nodes with a Loki's claim are asked; without
// the right, nobody is.
func TestReadVolumes(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		var asked []string
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if strings.HasSuffix(r.URL.Path, "selfsubjectaccessreviews") {
				_, _ = fmt.Fprintf(w, `{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":%t}}`, allowed)
				return
			}
			asked = append(asked, r.URL.Path)
			_, _ = io.WriteString(w, `{"pods":[{"volume":[{"name":"tmp","usedBytes":1,"capacityBytes":2},{"usedBytes":70,"capacityBytes":100,"pvcRef":{"name":"data-loki-0","namespace":"monitoring"}},{"usedBytes":1,"capacityBytes":1,"pvcRef":{"name":"db","namespace":"shop"}}]}]}`)
		}))
		config := &rest.Config{Host: api.URL}
		c, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		s := New(now, "logstack", "logstack")
		s.Add(Pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "loki-0"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Image: "grafana/loki:3"}},
			Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-loki-0"}}}}}})
		s.readVolumes(t.Context(), &kube.Client{Config: config, Kube: c})
		api.Close()
		if allowed && (!slices.Equal(asked, []string{"/api/v1/nodes/n1/proxy/stats/summary"}) || len(s.Volumes()) != 1 || s.Volumes()[0].Used != 70 || s.Volumes()[0].Claim != "data-loki-0") {
			t.Errorf("%v %+v", asked, s.Volumes())
		}
		if m := s.Missing(Volumes); !allowed && (len(asked) > 0 || m == nil || m.Error() != "need get nodes/proxy") {
			t.Errorf("%v %v", asked, m)
		}
	}
}

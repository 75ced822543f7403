package snapshot

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// fakeAPI answers what clocks and metrics ask for: the version with a Date, the
// question after a right, and /metrics of Services through the proxy.
func fakeAPI(t *testing.T, date time.Time, may func(body string) bool) *kube.Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/version":
			fmt.Fprint(w, `{"major":"1","minor":"36"}`)
		case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","status":{"allowed":%t}}`, may(string(body)))
		case r.URL.Path == "/api/v1/namespaces/monitoring/services/http:loki:http-metrics/proxy/metrics":
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "# TYPE loki_discarded_samples_total counter\nloki_discarded_samples_total{reason=\"a\",tenant=\"x\"} 2\nloki_discarded_samples_total{reason=\"b\",tenant=\"x\"} 3\nunwanted 7\n")
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(srv.Close)
	cfg := &rest.Config{Host: srv.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"}}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &kube.Client{Config: cfg, Kube: cs}
}

func lokiService(name string, component string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: name, Labels: map[string]string{"app.kubernetes.io/name": "loki", "app.kubernetes.io/component": component}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "loki"}, Ports: []corev1.ServicePort{{Name: "grpc", Port: 9095}, {Name: "http-metrics", Port: 3100}}},
	}
}

func TestReadMetrics(t *testing.T) {
	c := fakeAPI(t, time.Now(), func(body string) bool { return !strings.Contains(body, "secret-loki") })
	s := New(time.Now(), "logstack", "logstack")
	for _, svc := range []*corev1.Service{lokiService("loki", ""), lokiService("down", ""), lokiService("secret-loki", ""), lokiService("loki-gateway", "gateway")} {
		s.Add(Services, svc)
	}
	s.readMetrics(context.Background(), c)
	m := s.Metrics()
	if len(m) != 3 || s.Missing(StackMetrics) != nil {
		t.Fatalf("%d Services were asked, missing %v", len(m), s.Missing(StackMetrics))
	}
	if sum, ok := m[0].Sum("loki_discarded_samples_total"); m[0].Err != nil || !ok || sum != 5 || m[0].By("loki_discarded_samples_total", "reason")["b"] != 3 || len(m[0].Samples) != 2 {
		t.Errorf("loki: %+v", m[0])
	}
	if m[1].Err == nil || m[1].Right != nil {
		t.Errorf("a Service that does not answer: %+v", m[1])
	}
	if m[2].Right == nil || !strings.Contains(m[2].Err.Error(), "get services/proxy in namespace monitoring") {
		t.Errorf("a Service without a right: %+v", m[2])
	}
}

func TestReadMetricsForbidden(t *testing.T) {
	c := fakeAPI(t, time.Now(), func(string) bool { return false })
	s := New(time.Now(), "logstack", "logstack")
	s.Add(Services, lokiService("loki", ""))
	s.readMetrics(context.Background(), c)
	if missing := s.Missing(StackMetrics); missing == nil || missing.Right == nil {
		t.Errorf("missing %v, want the right", missing)
	}
}

func TestReadClocks(t *testing.T) {
	date := time.Now().Add(-time.Hour).Truncate(time.Second)
	s := New(time.Now(), "logstack", "logstack")
	s.readClocks(context.Background(), fakeAPI(t, date, nil))
	c := s.Clocks()
	if d := c.Server.Sub(date); d < 0 || d > time.Second {
		t.Errorf("the server's clock is %s, want about %s", c.Server, date)
	}
	if d := c.Local.Sub(c.Server); d < 59*time.Minute {
		t.Errorf("the local clock is %s ahead, want about an hour", d)
	}
}

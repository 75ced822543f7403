package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
)

var testService = Service{Namespace: "logstack", Name: "logstack", Port: "http"}

const proxyPath = "/api/v1/namespaces/logstack/services/http:logstack:http/proxy"

func status(code int, message string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"code":%d}`, message, code)
}

func TestConnectThroughProxy(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case proxyPath + "/ready":
			io.WriteString(w, "ready")
		case proxyPath + "/loki/api/v1/labels":
			io.WriteString(w, "labels")
		default:
			t.Errorf("unexpected path %s", r.URL.Path)
		}
	}))
	defer srv.Close()
	c := &Client{Config: &rest.Config{Host: srv.URL}, Kube: fake.NewClientset()}
	conn, err := c.Connect(context.Background(), testService, "/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.Via != ViaServiceProxy || conn.Note != "" {
		t.Errorf("via %q, note %q", conn.Via, conn.Note)
	}
	resp, err := conn.HTTP.Get(conn.BaseURL + "/loki/api/v1/labels")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "labels" {
		t.Errorf("got %q", b)
	}
}

// A service that speaks TLS is asked again in its own way.
func TestConnectToTLS(t *testing.T) {
	const tlsPath = "/api/v1/namespaces/logstack/services/https:logstack:http/proxy"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case proxyPath + "/ready":
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, "Client sent an HTTP request to an HTTPS server.\n")
		case tlsPath + "/ready":
			io.WriteString(w, "ready")
		default:
			t.Errorf("unexpected path %s", r.URL.Path)
		}
	}))
	defer srv.Close()
	c := &Client{Config: &rest.Config{Host: srv.URL}, Kube: fake.NewClientset()}
	conn, err := c.Connect(context.Background(), testService, "/ready")
	if err != nil || conn.BaseURL != srv.URL+tlsPath {
		t.Fatalf("%+v, %v", conn, err)
	}
}

// So is one at the end of a port-forward.
func TestForwardClient(t *testing.T) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	secure := httptest.NewUnstartedServer(hello)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	plain := httptest.NewServer(hello)
	for _, srv := range []*httptest.Server{secure, plain} {
		defer srv.Close()
		hc, base := forwardClient(context.Background(), srv.Listener.Addr().String(), "/ready")
		resp, err := hc.Get(base)
		if err != nil || base != srv.URL {
			t.Errorf("%s: base %s, %v", srv.URL, base, err)
			continue
		}
		resp.Body.Close()
	}
}

// What the API server answers decides whether another way is tried.
func TestClassifyProxyAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		code      int
		body      string
		want      string // part of the error, "" for none
		otherWay  bool
		noService bool
	}{
		"the service answers":            {200, "ready", "", false, false},
		"the service itself is starting": {503, "replaying the WAL", "", false, false},
		"the service says not found":     {404, "404 page not found", "", false, false},
		"not allowed":                    {403, status(403, `services "http:logstack:http" is forbidden`), "services/proxy", true, false},
		"no such service":                {404, status(404, `services "logstack" not found`), "no Service logstack", false, true},
		"no endpoints":                   {503, status(503, `no endpoints available for service "logstack"`), "no ready pod", false, false},
		"pod network not reachable":      {502, "error trying to reach service: dial tcp 10.1.2.3:3100: i/o timeout", "cannot reach the pod", true, false},
		"bad credentials":                {401, status(401, "Unauthorized"), "credentials", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := classifyProxyAnswer(&http.Response{StatusCode: tc.code}, tc.body, testService)
			if tc.want == "" {
				if err != nil {
					t.Fatalf("unexpected error %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q in it", err, tc.want)
			}
			var w *wayError
			if errors.As(err, &w) != tc.otherWay {
				t.Errorf("another way tried: %v, want %v", !tc.otherWay, tc.otherWay)
			}
			var n *NoServiceError
			if errors.As(err, &n) != tc.noService {
				t.Errorf("NoServiceError: %v", err)
			}
		})
	}
}

// When no way works, the error tells about each.
func TestConnectNoWay(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, status(403, "forbidden"))
	}))
	defer srv.Close()
	c := &Client{Config: &rest.Config{Host: srv.URL}, Kube: fake.NewClientset(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logstack"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Name: "http", Port: 3100, TargetPort: intstr.FromString("http")}}},
	})}
	_, err := c.Connect(context.Background(), testService, "/ready")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"service proxy", "services/proxy", "port-forward", "no ready pod"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestExplain(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, tc := range map[string]struct{ url, want string }{
		"refused":               {closed.URL, "cannot reach the API server"},
		"unknown authority":     {srv.URL, "certificate is not trusted"},
		"name does not resolve": {"http://no-such-host.invalid", "does not resolve"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := http.Get(tc.url)
			var ce *ClusterError
			if got := Explain(err); !errors.As(got, &ce) || !strings.Contains(ce.Cause, tc.want) || ce.Fix == "" {
				t.Errorf("got %v", got)
			}
		})
	}
	if err := errors.New("something else"); !errors.Is(Explain(err), err) {
		t.Error("an unknown error was changed")
	}
}

package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/server"
)

const secretToken = "0123456789abcdef"

// guarded is a collector with credentials behind an API server's service proxy,
// which takes Authorization off.
func guarded(t *testing.T) (proxy string, asked func() int) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(secretToken), 0o600); err != nil {
		t.Fatal(err)
	}
	credentials, err := server.OpenCredentials(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{Credentials: credentials, CredentialsSecret: "logs-auth"})
	requests := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		r.Header.Del("Authorization")
		_, path, _ := strings.Cut(r.URL.Path, "/proxy")
		r.URL.Path = path
		s.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() int { return requests }
}

func TestCredentialsOfTheCollector(t *testing.T) {
	secret := func(data map[string]string) *corev1.Secret {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "logstack", Name: "logs-auth"}, Data: map[string][]byte{}}
		for k, v := range data {
			s.Data[k] = []byte(v)
		}
		return s
	}
	serviceAccount := secret(map[string]string{"token": secretToken})
	serviceAccount.Type = corev1.SecretTypeServiceAccountToken
	for name, tt := range map[string]struct {
		objects   []runtime.Object
		forbidden bool
		env       map[string]string
		code      int
		want      string // in the body
	}{
		"from the Secret":      {objects: []runtime.Object{secret(map[string]string{"token": "# Grafana\n" + secretToken + "\n"})}, code: 200},
		"from the environment": {forbidden: true, env: map[string]string{"LOGSTACK_TOKEN": secretToken}, code: 200},
		"from logcli's":        {forbidden: true, env: map[string]string{"LOKI_BEARER_TOKEN": secretToken}, code: 200},
		"as a password":        {forbidden: true, env: map[string]string{"LOKI_USERNAME": "any", "LOKI_PASSWORD": secretToken}, code: 200},
		"a wrong one":          {env: map[string]string{"LOGSTACK_TOKEN": "wrong"}, code: 401, want: "credentials are missing or wrong"},
		"may not be read":      {forbidden: true, code: 401, want: "you may not read Secret logstack/logs-auth: ask for a token and set LOGSTACK_TOKEN"},
		"is not there":         {code: 401, want: "Secret logstack/logs-auth: "},
		"not of that kind":     {objects: []runtime.Object{serviceAccount}, code: 401, want: "is of type kubernetes.io/service-account-token"},
		"has hashes only":      {objects: []runtime.Object{secret(map[string]string{"htpasswd": "x:y"})}, code: 401, want: "hashes of passwords only: set LOKI_USERNAME"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"LOGSTACK_TOKEN", "LOKI_BEARER_TOKEN", "LOKI_BEARER_TOKEN_FILE", "LOKI_USERNAME", "LOKI_PASSWORD"} {
				t.Setenv(v, tt.env[v])
			}
			url, asked := guarded(t)
			client := fake.NewClientset(tt.objects...)
			if tt.forbidden {
				client.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
					return true, nil, apierrors.NewForbidden(corev1.Resource("secrets"), "logs-auth", nil)
				})
			}
			conn, err := connectOurs(context.Background(), &kube.Client{Config: &rest.Config{Host: url}, Kube: client}, "logstack")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for range 2 {
				resp, err := conn.HTTP.Get(conn.BaseURL + "/services")
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != tt.code || !strings.Contains(string(body), tt.want) {
					t.Errorf("%d %s, %v", resp.StatusCode, body, err)
				}
			}
			// /ready, the first try, the second with what was found; from then on at once.
			if tt.code == 200 && asked() != 4 {
				t.Errorf("asked %d times", asked())
			}
		})
	}
}

// TestCredentialsElsewhere: a collector in another namespace is given the Secret
// there; what the environment has only goes to one that was named.
func TestCredentialsElsewhere(t *testing.T) {
	for name, tt := range map[string]struct {
		target  target
		env     string
		objects []runtime.Object
		code    int
	}{
		"found":                       {objects: []runtime.Object{&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "tools", Name: "logs-auth"}, Data: map[string][]byte{"token": []byte(secretToken)}}}, code: 200},
		"found, with the environment": {env: secretToken, code: 401},
		"named, with the environment": {target: target{service: "tools/logs"}, env: secretToken, code: 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(tokenVariable, tt.env)
			collector, _ := guarded(t)
			u, err := url.Parse(collector)
			if err != nil {
				t.Fatal(err)
			}
			forward := httputil.NewSingleHostReverseProxy(u)
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "http:logstack:") {
					w.WriteHeader(http.StatusNotFound)
					_, _ = w.Write([]byte(`{"kind":"Status","code":404,"message":"services \"logstack\" not found"}`))
					return
				}
				forward.ServeHTTP(w, r)
			}))
			defer api.Close()
			streams, _, _, _ := genericiooptions.NewTestIOStreams()
			c := &kube.Client{Config: &rest.Config{Host: api.URL}, Kube: fake.NewClientset(append(tt.objects, service("tools/logs http:3100 part-of=logstack"))...)}
			conn, err := (&app{IOStreams: streams}).connectService(t.Context(), c, tt.target)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			resp, err := conn.HTTP.Get(conn.BaseURL + "/services")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close() //nolint:errcheck // only the code counts
			if resp.StatusCode != tt.code {
				t.Errorf("%d, want %d", resp.StatusCode, tt.code)
			}
		})
	}
}

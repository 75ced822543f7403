package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// service builds one from "namespace/name port-name:port,… label=value …".
// "headless" has no address of its own.
func service(text string) *corev1.Service {
	words := strings.Fields(text)
	ns, name, _ := strings.Cut(words[0], "/")
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{}}}
	s.Spec.ClusterIP = "10.0.0.1"
	for p := range strings.SplitSeq(words[1], ",") {
		portName, number, _ := strings.Cut(p, ":")
		var n int32
		_, _ = fmt.Sscan(number, &n)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: portName, Port: n})
	}
	for _, w := range words[2:] {
		if w == "headless" {
			s.Spec.ClusterIP = corev1.ClusterIPNone
			continue
		}
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "name", "instance", "component", "part-of":
			k = "app.kubernetes.io/" + k
		}
		s.Labels[k] = v
	}
	return s
}

// TestFindServices finds the one Service to ask among those that Loki's charts
// make in their modes.
func TestFindServices(t *testing.T) {
	const loki = " name=loki instance=monitoring"
	single := []string{
		"monitoring/loki-canary http-metrics:3500 component=canary" + loki,
		"monitoring/loki-headless http-metrics:3100 headless" + loki,
		"monitoring/monitoring-loki http-metrics:3100,grpc:9095" + loki,
		"monitoring/monitoring-loki-chunks-cache memcached-client:11211 headless component=memcached-chunks-cache" + loki,
		"monitoring/monitoring-loki-gateway http-metrics:80 component=gateway" + loki,
		"monitoring/monitoring-loki-memberlist tcp:7946 headless" + loki,
		"monitoring/monitoring-grafana http-web:80 name=grafana instance=monitoring",
	}
	for name, tc := range map[string]struct {
		services []string
		want     []string
	}{
		"nothing":       {nil, nil},
		"single binary": {single, []string{"Loki at Service monitoring/monitoring-loki:3100"}},
		"scalable": {[]string{
			"l/loki-backend http-metrics:3100 component=backend" + loki,
			"l/loki-gateway http-metrics:80 component=gateway" + loki,
			"l/loki-read http-metrics:3100 component=read" + loki,
			"l/loki-read-headless http-metrics:3100 headless component=read" + loki,
			"l/loki-write http-metrics:3100 component=write" + loki,
		}, []string{"Loki at Service l/loki-read:3100"}},
		"distributed": {[]string{
			"l/loki-compactor http-metrics:3100 component=compactor" + loki,
			"l/loki-distributor http-metrics:3100 component=distributor" + loki,
			"l/loki-gateway http-metrics:80 component=gateway" + loki,
			"l/loki-gateway-exporter http-metrics:4040 component=gateway-exporter" + loki,
			"l/loki-querier http-metrics:3100 component=querier" + loki,
			"l/loki-query-frontend http-metrics:3100,grpc:9095 component=query-frontend" + loki,
			"l/loki-ruler http-metrics:3100 component=ruler" + loki,
		}, []string{"Loki at Service l/loki-query-frontend:3100"}},
		"only the gateway":  {[]string{"l/loki-gateway http:80 component=gateway" + loki}, []string{"Loki at Service l/loki-gateway:80"}},
		"an old loki-stack": {[]string{"logs/loki http-metrics:3100 app=loki", "logs/loki-memberlist http:7946 app=loki", "logs/loki-headless http-metrics:3100 headless app=loki"}, []string{"Loki at Service logs/loki:3100"}},
		"two":               {append([]string{"dev/loki http-metrics:3100 name=loki instance=loki"}, single...), []string{"Loki at Service dev/loki:3100", "Loki at Service monitoring/monitoring-loki:3100"}},
		"ours":              {[]string{"tools/logstack http:3100 part-of=logstack"}, []string{"the collector at Service tools/logstack:3100"}},
		"not one of its parts": {[]string{
			"a/loki-ingester http-metrics:3100 component=ingester" + loki,
			"a/my-loki-index-gateway http-metrics:3100" + loki,
			"a/lokios http:3100 name=other",
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var objs []runtime.Object
			for _, s := range tc.services {
				objs = append(objs, service(s))
			}
			var got []string
			for _, f := range findServices(t.Context(), &kube.Client{Kube: fake.NewClientset(objs...)}) {
				got = append(got, f.String())
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestConnectService says on stderr whom it asks when that is not ours, and
// lists what to choose from.
func TestConnectService(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "http:logstack:") {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"kind":"Status","code":404,"message":"services \"logstack\" not found"}`))
			return
		}
		_, _ = w.Write([]byte("ready"))
	}))
	defer api.Close()
	one := service("monitoring/loki http-metrics:3100 name=loki")
	two := service("dev/loki-gateway http:80 name=loki component=gateway")
	for name, tc := range map[string]struct {
		target   target
		services []runtime.Object
		base     string // end of the URL
		note     string
		err      string
	}{
		"the only one":      {target{}, []runtime.Object{one}, "/services/http:loki:3100/proxy", "note: nothing is installed in namespace logstack; asking Loki at Service monitoring/loki:3100\n", ""},
		"several":           {target{}, []runtime.Object{one, two}, "", "", "choose one:\n  --service dev/loki-gateway\n  --service monitoring/loki"},
		"ours elsewhere":    {target{}, []runtime.Object{one, service("tools/logs http:3100 part-of=logstack")}, "/services/http:logs:3100/proxy", "note: nothing is installed in namespace logstack; asking the collector at Service tools/logs:3100\n", ""},
		"none":              {target{}, nil, "", "", "there is no Service logstack in namespace logstack"},
		"named, not there":  {target{service: "dev/logstack"}, nil, "", "", "kubectl get services -A"},
		"named":             {target{service: "dev/loki-gateway"}, []runtime.Object{one, two}, "/namespaces/dev/services/http:loki-gateway:80/proxy", "", ""},
		"named with a port": {target{service: "dev/loki-gateway:8080"}, nil, "/namespaces/dev/services/http:loki-gateway:8080/proxy", "", ""},
		"not to be seen":    {target{service: "dev/hidden"}, nil, "http:hidden:3100/proxy", "", ""},
		"badly named":       {target{service: "dev"}, nil, "", "", "NAMESPACE/NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			streams, _, _, errOut := genericiooptions.NewTestIOStreams()
			a := &app{IOStreams: streams}
			c := &kube.Client{Config: &rest.Config{Host: api.URL}, Kube: fake.NewClientset(tc.services...)}
			conn, err := a.connectService(t.Context(), c, tc.target)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if !strings.HasSuffix(conn.BaseURL, tc.base) || errOut.String() != tc.note {
				t.Errorf("base %s, stderr %q", conn.BaseURL, errOut)
			}
		})
	}
}

// TestLokiEnv sends what logcli's environment variables say, and shows none of
// the secrets when something fails.
func TestLokiEnv(t *testing.T) {
	dir := t.TempDir()
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte("hunter2-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		env    []string
		user   string // in the URL
		header string // Name: value …
		err    string
	}{
		"nothing":        {nil, "", "", ""},
		"basic":          {[]string{"LOKI_USERNAME=u", "LOKI_PASSWORD=hunter2"}, "", "Authorization: Basic dTpodW50ZXIy", ""},
		"in the URL":     {nil, "u:hunter2@", "Authorization: Basic dTpodW50ZXIy", ""},
		"bearer":         {[]string{"LOKI_BEARER_TOKEN=hunter2"}, "", "Authorization: Bearer hunter2", ""},
		"bearer file":    {[]string{"LOKI_BEARER_TOKEN_FILE=" + tokenFile}, "", "Authorization: Bearer hunter2-file", ""},
		"other header":   {[]string{"LOKI_BEARER_TOKEN=hunter2", "LOKI_AUTH_HEADER=X-Auth"}, "", "X-Auth: Bearer hunter2", ""},
		"tenant":         {[]string{"LOKI_ORG_ID=team-a", "LOKI_QUERY_TAGS=Source=x", "LOKI_NO_CACHE=true"}, "", "X-Scope-Orgid: team-a, X-Query-Tags: Source=x, Cache-Control: no-cache", ""},
		"two ways":       {[]string{"LOKI_USERNAME=u", "LOKI_BEARER_TOKEN=hunter2"}, "", "", "set only one of"},
		"no file":        {[]string{"LOKI_BEARER_TOKEN_FILE=" + dir + "/none"}, "", "", "LOKI_BEARER_TOKEN_FILE"},
		"half a pair":    {[]string{"LOKI_CLIENT_CERT_PATH=x"}, "", "", "go together"},
		"not a bool":     {[]string{"LOKI_TLS_SKIP_VERIFY=perhaps"}, "", "", "LOKI_TLS_SKIP_VERIFY"},
		"not a number":   {[]string{"LOKI_CLIENT_RETRIES=-1"}, "", "", "LOKI_CLIENT_RETRIES"},
		"two lines":      {[]string{"LOKI_BEARER_TOKEN=hunter2\n"}, "", "", "LOKI_BEARER_TOKEN has a line break"},
		"no header":      {[]string{"LOKI_AUTH_HEADER=X Auth"}, "", "", "LOKI_AUTH_HEADER"},
		"no certificate": {[]string{"LOKI_CA_CERT_PATH=" + tokenFile}, "", "", "there is no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			var got http.Header
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Header
				http.Error(w, "no", http.StatusTeapot)
			}))
			defer srv.Close()
			env, err := readLokiEnv(func(key string) string {
				for _, e := range tc.env {
					if k, v, _ := strings.Cut(e, "="); k == key {
						return v
					}
				}
				return ""
			})
			var r *lokiapi.Client
			if err == nil {
				r, err = env.connect(strings.Replace(srv.URL, "http://", "http://"+tc.user, 1))
			}
			if tc.err != "" {
				var usage *usageError
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("got %v, want a usage error with %q and without secrets", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Labels(t.Context(), lokiapi.MetadataRequest{})
			if err == nil || strings.Contains(explainAnswer(err).Error(), "hunter2") {
				t.Errorf("%v", err)
			}
			for want := range strings.SplitSeq(tc.header, ", ") {
				if k, v, _ := strings.Cut(want, ": "); want != "" && got.Get(k) != v {
					t.Errorf("%s is %q, want %q", k, got.Get(k), v)
				}
			}
			if tc.header == "" && got.Get("Authorization") != "" {
				t.Error("there are credentials out of nowhere")
			}
			srv.Close()
			if _, err = r.Labels(t.Context(), lokiapi.MetadataRequest{}); err == nil || strings.Contains(explainAnswer(err).Error(), "hunter2") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestRetries repeats a read that failed for a reason that may pass, and
// nothing else.
func TestRetries(t *testing.T) {
	for name, tc := range map[string]struct {
		codes []int
		want  int // requests
		ok    bool
	}{
		"comes back": {[]int{503, 429, 200}, 3, true},
		"stays away": {[]int{503, 503, 503, 503, 503}, 4, false},
		"refused":    {[]int{400, 200}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.codes[n])
				n++
				_, _ = w.Write([]byte(`{"status":"success"}`))
			}))
			defer srv.Close()
			env := lokiEnv{retries: 3, minBackoff: time.Nanosecond, maxBackoff: time.Nanosecond}
			r, err := env.connect(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = r.Labels(t.Context(), lokiapi.MetadataRequest{}); (err == nil) != tc.ok || n != tc.want {
				t.Errorf("%d requests, %v", n, err)
			}
		})
	}
}

// TestRedirects does not carry credentials to another host.
func TestRedirects(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") }))
	defer other.Close()
	srv := httptest.NewServer(http.RedirectHandler(strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound))
	defer srv.Close()
	env := lokiEnv{authHeader: "X-Auth", authorization: "Bearer x"}
	r, err := env.connect(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Labels(context.Background(), lokiapi.MetadataRequest{})
	if err == nil || !strings.Contains(explainAnswer(err).Error(), "sends the request on to http://localhost") {
		t.Errorf("%v", err)
	}
}

// TestAddrFromEnvironment says that it does not ask the cluster.
func TestAddrFromEnvironment(t *testing.T) {
	addr := startCollector(t)
	t.Setenv("LOKI_ADDR", strings.Replace(addr, "http://", "http://u:hunter2@", 1))
	var out, errOut bytes.Buffer
	code := run([]string{"labels", "-o", "name", "--from", "2026-03-05"}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
	if code != 0 || !slices.Contains(strings.Fields(out.String()), "app") {
		t.Errorf("code %d, %s%s", code, &out, &errOut)
	}
	if !strings.Contains(errOut.String(), "(LOKI_ADDR)") || strings.Contains(errOut.String(), "hunter2") {
		t.Errorf("stderr: %s", &errOut)
	}
	// Who names a cluster means it.
	errOut.Reset()
	code = run([]string{"labels", "--context", "dev", "--kubeconfig", filepath.Join(t.TempDir(), "none")}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
	if code != exitNoConnect || strings.Contains(errOut.String(), "LOKI_ADDR") {
		t.Errorf("code %d, stderr: %s", code, &errOut)
	}
}

// TestTailThroughServiceProxy follows a foreign Loki through an API server. That
// opens WebSockets, but forgets their parameters on the way: lines have to be
// asked for.
func TestTailThroughServiceProxy(t *testing.T) {
	base := time.Unix(1700000000, 0)
	l := &fakeLoki{t: t, maxLimit: 5000, entries: times("a", base, time.Second, 4), answers: map[string]string{"GET /ready": "ready"}}
	loki := httptest.NewServer(l)
	defer loki.Close()
	upstream, err := url.Parse(loki.URL)
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "/api/v1/namespaces/monitoring/services/http:loki:3100/proxy"
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			r.URL.RawQuery = ""
		}
		if r.Header.Get("Authorization") != "Bearer of the kubeconfig" {
			t.Errorf("%s: credentials %q", r.URL.Path, r.Header.Get("Authorization"))
		}
		http.StripPrefix(prefix, proxy).ServeHTTP(w, r)
	}))
	api.EnableHTTP2 = true
	api.StartTLS()
	defer api.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	c := &kube.Client{
		Config: &rest.Config{Host: api.URL, BearerToken: "of the kubeconfig", TLSClientConfig: rest.TLSClientConfig{CAData: ca}},
		Kube:   fake.NewClientset(service("monitoring/loki http-metrics:3100 name=loki")),
	}
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	conn, err := (&app{IOStreams: streams}).connectService(t.Context(), c, target{service: "monitoring/loki"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, stop := context.WithCancel(t.Context())
	p := &memoryPrinter{limit: 7, stop: stop}
	p.after = func(n int) {
		if n == 2 { // the stored ones are shown: now more come
			l.mu.Lock()
			defer l.mu.Unlock()
			l.entries = append(l.entries, fakeEntry{"a", l.entries[3].ts, "twin"})
			l.entries = append(l.entries, times("b", base.Add(time.Minute), 0, 4)...)
		}
	}
	r := testRemote(t, conn.BaseURL)
	r.Client = &lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}
	r.proxied = conn.Via == kube.ViaServiceProxy
	f := &follower{remote: r, query: `{app="a"}`, out: p}
	if err := f.run(ctx, base, 2); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a 2", "a 3", "twin", "b 0", "b 1", "b 2", "b 3"}, p.lines); d != "" {
		t.Error(d)
	}
}

package rig

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// tokenOf returns a token of a new service account with the rules.
func tokenOf(t *testing.T, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	path, err := shared.ServiceAccount(t.Context(), ServiceAccount{Name: name, Rules: append([]rbacv1.PolicyRule{}, rules...)})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.BearerToken
}

func TestNodeLogs(t *testing.T) {
	node, pod := setup(t, PodSpec{})
	if err := pod.Write("app", Stdout, "hello"); err != nil {
		t.Fatal(err)
	}
	good := tokenOf(t, "node-logs", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes/log"}, Verbs: []string{"get"}})
	poor := tokenOf(t, "no-node-logs")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: shared.ca.Pool()}, DisableKeepAlives: true}
	get := func(path, token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d%s", node.Kubelet.Port(), path), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	file := "/logs/pods/" + pod.Namespace + "_" + pod.Name + "_" + string(pod.UID) + "/app/"
	for _, tt := range []struct {
		path, token string
		status      int
		text        string
	}{
		{file, good, 200, `<a href="0.log">`},
		{file + "0.log", good, 200, " stdout F hello\n"},
		{file + "1.log", good, 404, ""},
		{"/logs/pki/ca.key", good, 404, ""},
		{file, poor, 403, "subresource=log"},
		{file, "nonsense", 401, ""},
		{file, "", 401, ""},
		{"/containerLogs/" + pod.Namespace + "/web/app", good, 401, ""}, // nodes/proxy
	} {
		if status, text := get(tt.path, tt.token); status != tt.status || !strings.Contains(text, tt.text) {
			t.Errorf("%s: %d %q, want %d", tt.path, status, text, tt.status)
		}
	}
	node.Kubelet.SetLogsDisabled(true)
	if status, text := get(file, good); status != http.StatusMethodNotAllowed {
		t.Errorf("disabled: %d %q", status, text)
	}
}

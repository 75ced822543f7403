package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// installNamespace is where the tests below install beside TestMainJob's.
const installNamespace = "e2e-install"

// within runs the plugin on the installation of these tests.
func within(t *testing.T, args ...string) result {
	t.Helper()
	return plugin(t, append(args, "-n", installNamespace)...)
}

func (r result) must(t *testing.T, code int, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("%q is missing", text)
		}
	}
	if r.code != code || t.Failed() {
		t.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", r.code, code, r.stdout, r.stderr)
	}
}

// kubectlResult is kubectl for what may fail.
func kubectlResult(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return execute(ctx, t, "", os.Getenv("LOGSTACK_E2E_KUBECTL"), args...)
}

// selfSigned makes a certificate that nobody trusts.
func selfSigned(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// firstLine is a query for one line of anything.
func firstLine(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, func() string {
		r := within(t, "query", `{namespace=~".+"}`, "--limit", "1", "--since", "1h", "-o", "raw")
		if r.code != 0 || strings.TrimSpace(r.stdout) == "" {
			return "no line: " + r.stderr
		}
		return ""
	})
}

// TestSecuredReplicas installs two replicas with a certificate and a token, looks
// at what the plugin and strangers get, fails an upgrade and finds the former state
// back, and scales down with all lines kept.
func TestSecuredReplicas(t *testing.T) {
	within(t, "uninstall", "--purge")
	t.Cleanup(func() { within(t, "uninstall", "--purge") })
	mustKubectl(t, "", "create", "namespace", installNamespace)
	t.Cleanup(func() {
		mustKubectl(t, "", "delete", "namespace", installNamespace, "--ignore-not-found", "--wait=true")
	})
	mustKubectl(t, "", "label", "namespace", installNamespace, "pod-security.kubernetes.io/enforce=restricted")
	secured := []string{"install", "--image", collectorImage, "--set", "replicas=2", "--set", "tls.secretName=api-tls", "--set", "auth.secretName=api-auth", "--storage-size", "1Gi"}
	within(t, secured...).must(t, 1, "secret/api-tls: does not exist in namespace "+installNamespace, "secret/api-auth: does not exist", "nothing was changed")
	cert, key := selfSigned(t, "logstack."+installNamespace+".svc")
	mustKubectl(t, "", "create", "secret", "tls", "api-tls", "-n", installNamespace, "--cert="+cert, "--key="+key)
	mustKubectl(t, "", "create", "secret", "generic", "api-auth", "-n", installNamespace, "--from-literal=token=0123456789abcdef0123456789abcdef")
	within(t, secured...).must(t, 0, "pod/logstack-0: ready", "pod/logstack-1: ready", "the newest collected line")
	t.Run("who has no token gets none", func(t *testing.T) {
		path := "/api/v1/namespaces/" + installNamespace + "/services/https:logstack:http/proxy"
		if got := mustKubectl(t, "", "get", "--raw", path+"/ready"); !strings.Contains(got, "ready") {
			t.Errorf("/ready: %s", got)
		}
		r := kubectlResult(t, "get", "--raw", path+"/loki/api/v1/labels")
		if r.code == 0 || !strings.Contains(strings.ToLower(r.stderr), "unauthorized") && !strings.Contains(r.stderr, "logged in") {
			t.Errorf("labels without a token: %d %s%s", r.code, r.stdout, r.stderr)
		}
		if got := mustKubectl(t, "", "get", "pods", "-n", installNamespace, "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}"); strings.Trim(got, "0 ") != "" {
			t.Errorf("restarts: %s", got)
		}
	})
	firstLine(t)
	t.Run("a failed upgrade is rolled back", func(t *testing.T) {
		within(t, "upgrade", "--image", "logstack.dev/not-there:v1", "--rollback-on-failure", "--timeout", "90s").must(t, 1,
			"image logstack.dev/not-there:v1 cannot be pulled", "rolling back: ", "rolled back: what was ready before")
		firstLine(t)
		within(t, "diff", "--image", collectorImage).must(t, 0, "nothing would change")
	})
	t.Run("scaled down", func(t *testing.T) {
		within(t, "install", "--set", "replicas=1", "--timeout", "3m").must(t, 0, "pod/logstack-1: has handed everything over", "poddisruptionbudget/logstack deleted")
		firstLine(t)
		var s struct{ Ready bool }
		r := within(t, "status", "-o", "json")
		if err := json.Unmarshal([]byte(r.stdout), &s); err != nil || !s.Ready {
			t.Errorf("%v\n%s%s", err, r.stdout, r.stderr)
		}
	})
	within(t, "uninstall", "--purge").must(t, 0, "persistentvolumeclaim/data-logstack-0 deleted", "persistentvolumeclaim/data-logstack-1 deleted", "namespace/"+installNamespace+" (not made by kubectl logstack)")
	if left := mustKubectl(t, "", "get", "all,cm,pvc,secret,role,rolebinding,networkpolicy,lease,pdb", "-n", installNamespace, "-l", "app.kubernetes.io/part-of=logstack", "-o", "name"); left != "" {
		t.Errorf("left over:\n%s", left)
	}
}

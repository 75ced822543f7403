package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestReopenKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	issue := func() map[string]string {
		t.Helper()
		a, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Server("apiserver", "127.0.0.1", "kubernetes.default.svc"); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Client("admin", "admin", "system:masters"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.SigningKey("sa"); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			files[e.Name()] = string(data)
		}
		return files
	}
	first, second := issue(), issue()
	if len(first) != 8 {
		t.Errorf("got %d files, want ca, apiserver, admin and sa with two each", len(first))
	}
	for name := range first {
		if first[name] != second[name] {
			t.Errorf("%s changed on reopening", name)
		}
	}
	for _, name := range []string{"ca.key", "apiserver.key", "admin.key", "sa.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode().Perm())
		}
	}
}

func TestServerReissuedWhenHostsChange(t *testing.T) {
	a, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.Server("x", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Server("x", "127.0.0.1", "10.96.0.1"); err != nil {
		t.Fatal(err)
	}
	cert, _, err := load(pair)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.VerifyHostname("10.96.0.1"); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesForeignKey(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, other} {
		if _, err := Open(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(other, "ca.key"), filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Fatal("a key of another authority was accepted")
	}
}

// The certificates must be good enough for a real TLS handshake in both
// directions, and the kubeconfig for client-go.
func TestHandshakeThroughKubeconfig(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(filepath.Join(dir, "pki"))
	if err != nil {
		t.Fatal(err)
	}
	serverPair, err := a.Server("apiserver", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	clientPair, err := a.Client("admin", "admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(serverPair.CertFile, serverPair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	var user string
	var groups []string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		peer := r.TLS.PeerCertificates[0]
		user, groups = peer.Subject.CommonName, peer.Subject.Organization
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: a.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	srv.StartTLS()
	defer srv.Close()
	path := filepath.Join(dir, "kubeconfig")
	if err := a.WriteKubeconfig(path, "logstack", srv.URL, clientPair); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cfg.CAData)
	clientCert, err := tls.X509KeyPair(cfg.CertData, cfg.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{clientCert}}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if user != "admin" || len(groups) != 1 || groups[0] != "system:masters" {
		t.Errorf("server saw %q in %q", user, groups)
	}
	if host, _, _ := net.SplitHostPort(srv.Listener.Addr().String()); host != "127.0.0.1" {
		t.Fatalf("test server on %s", host)
	}
}

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate makes a self-signed pair for a name in dir.
func writeCertificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// serveSecure serves a handler that says who it is until the test ends.
func serveSecure(t *testing.T, s *secure) (url string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Header.Get("Authorization"))) }),
		ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.serve(h, l)
	}()
	t.Cleanup(func() {
		_ = h.Close()
		<-done
	})
	return "https://" + l.Addr().String()
}

func openSecure(t *testing.T, f secureFlags) *secure {
	t.Helper()
	s, err := f.open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCertificateRotation: a renewed certificate is served without a restart; one
// that does not fit its key leaves the former in use.
func TestCertificateRotation(t *testing.T) {
	dir := t.TempDir()
	f := secureFlags{}
	f.certFile, f.keyFile = writeCertificate(t, dir, "first")
	s := openSecure(t, f)
	url := serveSecure(t, s)
	served := func() string {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(context.Background(), "tcp", strings.TrimPrefix(url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	look := func() { // as if certificateAge had passed
		s.certificate.mu.Lock()
		defer s.certificate.mu.Unlock()
		s.certificate.read = time.Time{}
	}
	if got := served(); got != "first" {
		t.Errorf("served %s", got)
	}
	writeCertificate(t, dir, "second")
	if got := served(); got != "first" {
		t.Errorf("looked at before its time: %s", got)
	}
	if look(); served() != "second" {
		t.Error("the renewed certificate is not served")
	}
	if err := os.WriteFile(f.certFile, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if look(); served() != "second" || s.certificate.failure == "" {
		t.Error("a damaged certificate replaced a good one, or nobody was told")
	}
}

// TestPeerClient: replicas that share a Secret know each other, others do not.
func TestPeerClient(t *testing.T) {
	auth := t.TempDir()
	if err := os.WriteFile(filepath.Join(auth, "token"), []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := secureFlags{authDir: auth}
	f.certFile, f.keyFile = writeCertificate(t, t.TempDir(), "ours")
	other := secureFlags{}
	other.certFile, other.keyFile = writeCertificate(t, t.TempDir(), "ours")
	ours, stranger := openSecure(t, f), openSecure(t, other)
	ask := func(s *secure, url string) (string, error) {
		c := s.peerClient()
		defer c.CloseIdleConnections()
		resp, err := c.Get(url)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		var b [200]byte
		n, _ := resp.Body.Read(b[:])
		return string(b[:n]), nil
	}
	got, err := ask(ours, serveSecure(t, openSecure(t, f)))
	if err != nil || got != "Bearer "+ours.credentials.PeerToken() {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := ask(ours, serveSecure(t, stranger)); err == nil || !strings.Contains(err.Error(), "not the one that this replica serves") {
		t.Errorf("a stranger got the token: %v", err)
	}
	plain := openSecure(t, secureFlags{})
	if plain.certificate != nil || plain.credentials != nil {
		t.Error("nothing was asked for")
	}
}

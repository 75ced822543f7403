package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/logstack-dev/kubectl-logstack/pkg/server"
)

// secureFlags are the certificate of the API and the credentials that it asks for.
type secureFlags struct {
	certFile, keyFile string
	authDir           string
	authSecret        string
}

func (f *secureFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.certFile, "tls-cert-file", "", "serve HTTPS with the certificate (and chain) in this PEM `FILE`; read again when it changes")
	fs.StringVar(&f.keyFile, "tls-key-file", "", "PEM `FILE` with the key of --tls-cert-file")
	fs.StringVar(&f.authDir, "auth-dir", "", "ask for credentials: `DIR` with the files token (one per line), htpasswd (bcrypt), or username and password; read again when they change. /ready and /metrics stay open")
	fs.StringVar(&f.authSecret, "auth-secret-name", "", "`NAME` of the Secret that --auth-dir shows, named in answers 401 for kubectl logstack to find it")
}

func (f *secureFlags) check() error {
	switch {
	case (f.certFile == "") != (f.keyFile == ""):
		return errors.New("--tls-cert-file and --tls-key-file go together")
	case f.authSecret != "" && f.authDir == "":
		return errors.New("--auth-secret-name needs --auth-dir")
	}
	return nil
}

// secure is the certificate and the credentials in force. Its fields are nil
// where none are asked for.
type secure struct {
	certificate *certificate
	credentials *server.Credentials
}

func (f *secureFlags) open(log *slog.Logger) (*secure, error) {
	s := &secure{}
	var err error
	if f.certFile != "" {
		if s.certificate, err = openCertificate(f.certFile, f.keyFile, log); err != nil {
			return nil, fmt.Errorf("--tls-cert-file, --tls-key-file: %w", err)
		}
	}
	if f.authDir != "" {
		if s.credentials, err = server.OpenCredentials(f.authDir, log); err != nil {
			return nil, fmt.Errorf("--auth-dir: %w", err)
		}
	}
	return s, nil
}

// serve is [http.Server.Serve], or ServeTLS with the certificate.
func (s *secure) serve(h *http.Server, l net.Listener) error {
	if s.certificate == nil {
		return h.Serve(l)
	}
	h.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.get(), nil },
	}
	return h.ServeTLS(l, "", "")
}

// peerClient asks other replicas. It shows them the credential that follows from
// the Secret that all have mounted, and trusts the certificate that they share,
// whatever names it has: they are reached by their addresses.
func (s *secure) peerClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // pods reach each other directly
	if s.certificate != nil {
		transport.TLSClientConfig = &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it
			VerifyConnection: func(cs tls.ConnectionState) error {
				if !s.certificate.knows(cs.PeerCertificates[0].Raw) {
					return errors.New("the replica's certificate is not the one that this replica serves")
				}
				return nil
			},
		}
	}
	if s.credentials == nil {
		return &http.Client{Transport: transport}
	}
	return &http.Client{Transport: &tokenTransport{next: transport, token: s.credentials.PeerToken}}
}

// tokenTransport adds the replicas' token to each request.
type tokenTransport struct {
	next  http.RoundTripper
	token func() string
}

func (t *tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token())
	return t.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client reach the transport below.
func (t *tokenTransport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// certificateAge is how long a certificate is used before its files are looked
// at again. Renewals come days before the old one ends.
const certificateAge = 10 * time.Second

// certificate is a key pair in two files that may be replaced at any time, as
// the kubelet does with a mounted Secret. A pair that cannot be used is logged,
// and the former stays.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu        sync.Mutex // guards what follows
	read      time.Time
	cert, key []byte
	current   *tls.Certificate
	former    *tls.Certificate // replicas may serve it a little longer
	failure   string           // of the last look, told once
}

func openCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	c.read = time.Now()
	return c, nil
}

// load reads the files; without a change it does nothing.
func (c *certificate) load() error {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		return err
	}
	if bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.certFile, c.keyFile, err)
	}
	c.former, c.current, c.cert, c.key = c.current, &pair, cert, key
	if c.former != nil {
		c.log.Info("certificate changed", "subject", pair.Leaf.Subject.String(), "until", pair.Leaf.NotAfter)
	}
	return nil
}

func (c *certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c.current
}

func (c *certificate) refresh() {
	if time.Since(c.read) < certificateAge {
		return
	}
	c.read = time.Now()
	err := c.load()
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	// Cert and key are replaced one after the other where no symbolic link is
	// switched: the same failure is told once.
	if failure != c.failure && failure != "" {
		c.log.Error("the certificate cannot be read again; the former one stays in use", "error", err)
	}
	c.failure = failure
}

// knows says whether a certificate is the present one or the one before it.
func (c *certificate) knows(leaf []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	for _, pair := range []*tls.Certificate{c.current, c.former} {
		if pair != nil && bytes.Equal(pair.Certificate[0], leaf) {
			return true
		}
	}
	return false
}

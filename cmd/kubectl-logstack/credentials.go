package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// connectOurs reaches the collector of an installation. Credentials are looked
// for when it asks for some.
func connectOurs(ctx context.Context, c *kube.Client, namespace string) (*kube.Connection, error) {
	conn, err := c.Connect(ctx, serviceIn(namespace), "/ready")
	if err != nil {
		return nil, err
	}
	withCredentials(conn, c, namespace, os.Getenv)
	return conn, nil
}

// withCredentials makes a connection answer a collector that asks for
// credentials: with those of the environment that get reads, or of a Secret in
// the collector's namespace.
func withCredentials(conn *kube.Connection, c *kube.Client, namespace string, get func(string) string) {
	next := conn.HTTP.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	hc := *conn.HTTP // may be the one of net/http that all share
	hc.Transport = &credentialTransport{next: next, find: func(ctx context.Context, secret string) (string, error) {
		return findCredential(ctx, c, namespace, secret, get)
	}}
	conn.HTTP = &hc
}

// credentialTransport sends a request again, with a credential, when a collector
// of ours has answered 401. What was found once is sent from then on.
type credentialTransport struct {
	next http.RoundTripper
	// find is given the name of the Secret that the answer named.
	find func(ctx context.Context, secret string) (string, error)

	mu    sync.Mutex // guards what follows
	value string
}

// RoundTrip implements [http.RoundTripper].
func (t *credentialTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	value := t.value
	t.mu.Unlock()
	resp, err := t.send(r, value)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || value != "" {
		return resp, err
	}
	secret := resp.Header.Get(lokiapi.SecretHeader)
	if secret == "" {
		return resp, nil // the API server's own answer, or somebody else's
	}
	body, err := repeatBody(r)
	if err != nil {
		return resp, nil //nolint:nilerr // it cannot be sent again: the answer stands
	}
	value, err = t.find(r.Context(), secret)
	if err != nil {
		// The answer says what is wrong; here is why nothing was done about it.
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		resp.Body.Close() //nolint:errcheck // read to its end
		resp.Body = io.NopCloser(bytes.NewReader(fmt.Appendf(bytes.TrimSpace(text), "\n  %v", err)))
		resp.ContentLength = -1
		return resp, nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close() //nolint:errcheck // given up
	t.mu.Lock()
	t.value = value
	t.mu.Unlock()
	r = r.Clone(r.Context())
	r.Body = body
	return t.send(r, value)
}

func (t *credentialTransport) send(r *http.Request, value string) (*http.Response, error) {
	if value != "" {
		r = r.Clone(r.Context())
		// Authorization is for the API server, which takes it off.
		r.Header.Set(lokiapi.TokenHeader, value)
	}
	return t.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client reach the transport below.
func (t *credentialTransport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// forCredentials says whether a Secret may be one of the collector's. Its name
// comes from who answered: whoever is in the collector's place must not be given
// the token of a service account.
func forCredentials(t corev1.SecretType) bool {
	return t == "" || t == corev1.SecretTypeOpaque || t == corev1.SecretTypeBasicAuth
}

func repeatBody(r *http.Request) (io.ReadCloser, error) {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return r.Body, nil
	case r.GetBody == nil:
		return nil, http.ErrBodyReadAfterClose
	}
	return r.GetBody()
}

// tokenVariable wins over the Secret and over logcli's variables.
const tokenVariable = "LOGSTACK_TOKEN" //nolint:gosec // the name of a variable

// findCredential is the value for the collector's header: the environment's, or
// what the Secret has, if it may be read.
func findCredential(ctx context.Context, c *kube.Client, namespace, name string, get func(string) string) (string, error) {
	if token := get(tokenVariable); token != "" {
		return token, nil
	}
	value, err := readAuthorization(get)
	if value != "" || err != nil {
		return value, err
	}
	s, err := c.Kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return "", fmt.Errorf("you may not read Secret %s/%s: ask for a token and set %s, or for the role logstack-query in namespace %s", namespace, name, tokenVariable, namespace)
	case err != nil:
		return "", fmt.Errorf("Secret %s/%s: %w", namespace, name, kube.Explain(err))
	case !forCredentials(s.Type):
		return "", fmt.Errorf("Secret %s/%s is of type %s: what it holds is not sent to the collector; set %s", namespace, name, s.Type, tokenVariable)
	}
	for line := range strings.Lines(string(s.Data["token"])) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line, nil
		}
	}
	if user := s.Data["username"]; len(user) > 0 {
		pair := append(append(user, ':'), bytes.TrimRight(s.Data["password"], "\r\n")...)
		return "Basic " + base64.StdEncoding.EncodeToString(pair), nil
	}
	return "", fmt.Errorf("Secret %s/%s has hashes of passwords only: set LOKI_USERNAME and LOKI_PASSWORD, or %s", namespace, name, tokenVariable)
}

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// lokiEnv holds logcli's environment variables. Credentials come from here
// alone: what stands on a command line is seen by every user of the machine.
type lokiEnv struct {
	orgID, queryTags string
	noCache          bool

	// What follows is for URLs only: through the API server the kubeconfig's
	// own credentials speak.
	authHeader, authorization string
	caFile, certFile, keyFile string
	skipVerify                bool
	proxy                     *url.URL
	retries                   int
	minBackoff, maxBackoff    time.Duration
}

// readLokiEnv reads and checks the variables.
func readLokiEnv(get func(string) string) (lokiEnv, error) {
	e := lokiEnv{
		orgID: get("LOKI_ORG_ID"), queryTags: get("LOKI_QUERY_TAGS"),
		caFile: get("LOKI_CA_CERT_PATH"), certFile: get("LOKI_CLIENT_CERT_PATH"), keyFile: get("LOKI_CLIENT_KEY_PATH"),
		authHeader: get("LOKI_AUTH_HEADER"),
	}
	if e.authHeader == "" {
		e.authHeader = "Authorization"
	}
	var errs []error
	boolean := func(name string) bool {
		v := get(name)
		if v == "" {
			return false
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: true or false", name, v))
		}
		return b
	}
	number := func(name string) int {
		v := get(name)
		if v == "" {
			return 0
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("%s=%q is not a number", name, v))
			return 0
		}
		return n
	}
	e.noCache, e.skipVerify = boolean("LOKI_NO_CACHE"), boolean("LOKI_TLS_SKIP_VERIFY")
	e.retries = min(number("LOKI_CLIENT_RETRIES"), 100)
	e.minBackoff = time.Duration(number("LOKI_CLIENT_MIN_BACKOFF")) * time.Second
	e.maxBackoff = time.Duration(number("LOKI_CLIENT_MAX_BACKOFF")) * time.Second
	if p := get("LOKI_HTTP_PROXY_URL"); p != "" {
		u, err := url.Parse(p)
		if err != nil || u.Host == "" {
			errs = append(errs, errors.New("LOKI_HTTP_PROXY_URL is not a URL"))
		}
		e.proxy = u
	}
	if (e.certFile == "") != (e.keyFile == "") {
		errs = append(errs, errors.New("LOKI_CLIENT_CERT_PATH and LOKI_CLIENT_KEY_PATH go together"))
	}
	var err error
	if e.authorization, err = readAuthorization(get); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, e.checkHeaders()...)
	if err := errors.Join(errs...); err != nil {
		return e, &usageError{fmt.Errorf("environment: %w", err)}
	}
	return e, nil
}

// checkHeaders says it better than net/http, which would call it a failure to
// reach the server. A value with the newline of a file is the usual mistake.
func (e *lokiEnv) checkHeaders() (errs []error) {
	for _, v := range []struct{ name, value string }{
		{"LOKI_ORG_ID", e.orgID}, {"LOKI_QUERY_TAGS", e.queryTags}, {"LOKI_BEARER_TOKEN", e.authorization},
	} {
		if strings.ContainsFunc(v.value, unicode.IsControl) {
			errs = append(errs, fmt.Errorf("%s has a line break or another control character in it", v.name))
		}
	}
	if strings.ContainsFunc(e.authHeader, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) {
		errs = append(errs, fmt.Errorf("LOKI_AUTH_HEADER=%q is not the name of a header", e.authHeader))
	}
	return errs
}

// readAuthorization makes the header's value of the one way that is set.
func readAuthorization(get func(string) string) (string, error) {
	user, password := get("LOKI_USERNAME"), get("LOKI_PASSWORD")
	token, file := get("LOKI_BEARER_TOKEN"), get("LOKI_BEARER_TOKEN_FILE")
	var set []string
	if user != "" || password != "" {
		set = append(set, "LOKI_USERNAME and LOKI_PASSWORD")
	}
	if token != "" {
		set = append(set, "LOKI_BEARER_TOKEN")
	}
	if file != "" {
		set = append(set, "LOKI_BEARER_TOKEN_FILE")
	}
	if len(set) > 1 {
		return "", fmt.Errorf("set only one of %s", strings.Join(set, ", "))
	}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("LOKI_BEARER_TOKEN_FILE: %w", err)
		}
		if token = strings.TrimSpace(string(text)); token == "" {
			return "", fmt.Errorf("LOKI_BEARER_TOKEN_FILE: %s is empty", file)
		}
	}
	switch {
	case token != "":
		return "Bearer " + token, nil
	case user != "" || password != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
	}
	return "", nil
}

// header has what every request carries, in the cluster and outside of it.
func (e *lokiEnv) header() http.Header {
	h := http.Header{}
	if e.orgID != "" {
		h.Set("X-Scope-OrgID", e.orgID)
	}
	if e.queryTags != "" {
		h.Set("X-Query-Tags", e.queryTags)
	}
	if e.noCache {
		h.Set("Cache-Control", "no-cache")
	}
	return h
}

// connect makes a client for a URL. Nothing is sent.
func (e *lokiEnv) connect(addr string) (*lokiapi.Client, error) {
	u, err := url.Parse(addr)
	if err != nil {
		return nil, usagef("the text of --addr is not a URL such as http://localhost:3100") // it may hold a password
	}
	if u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usagef("--addr %q is not a URL such as http://localhost:3100", redacted(addr))
	}
	tlsConfig, err := e.tls()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tlsConfig
	if e.proxy != nil {
		transport.Proxy = http.ProxyURL(e.proxy)
	}
	h := e.header()
	switch {
	case e.authorization != "":
		h.Set(e.authHeader, e.authorization)
	case u.User != nil:
		password, _ := u.User.Password()
		h.Set(e.authHeader, "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	u.User = nil
	var rt http.RoundTripper = transport
	if e.retries > 0 {
		rt = &retrier{next: transport, retries: e.retries, min: e.minBackoff, max: e.maxBackoff}
	}
	return &lokiapi.Client{
		HTTP:    &http.Client{Transport: rt, CheckRedirect: sameHost},
		BaseURL: strings.TrimSuffix(u.String(), "/"),
		Header:  h,
	}, nil
}

func (e *lokiEnv) tls() (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: e.skipVerify} //nolint:gosec // LOKI_TLS_SKIP_VERIFY asks for it
	if e.caFile != "" {
		text, err := os.ReadFile(e.caFile)
		if err != nil {
			return nil, usagef("LOKI_CA_CERT_PATH: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, usagef("LOKI_CA_CERT_PATH: there is no certificate in %s", e.caFile)
		}
	}
	if e.certFile != "" {
		cert, err := tls.LoadX509KeyPair(e.certFile, e.keyFile)
		if err != nil {
			return nil, usagef("LOKI_CLIENT_CERT_PATH, LOKI_CLIENT_KEY_PATH: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// sameHost refuses redirects that would carry the credentials elsewhere; what
// they lead to is a login page anyway.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) >= 10:
		return errors.New("too many redirects")
	case req.URL.Hostname() != first.Hostname(), first.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("the server sends the request on to %s://%s; if that is right, give it as --addr", req.URL.Scheme, req.URL.Host)
	}
	return nil
}

// retrier repeats reads that failed for a reason that may pass.
type retrier struct {
	next     http.RoundTripper
	retries  int
	min, max time.Duration
}

// The backoff when the environment says nothing, doubled at each try.
const (
	defaultMinBackoff = 500 * time.Millisecond
	defaultMaxBackoff = 10 * time.Second
)

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	wait, most := r.min, r.max
	if wait <= 0 {
		wait = defaultMinBackoff
	}
	if most <= 0 {
		most = max(defaultMaxBackoff, wait)
	}
	for try := 0; ; try++ {
		resp, err := r.next.RoundTrip(req)
		passing := err != nil || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500
		if !passing || try == r.retries || req.Method != http.MethodGet || req.Context().Err() != nil {
			return resp, err
		}
		if resp != nil {
			_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
			resp.Body.Close() //nolint:errcheck // given up
		}
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
		wait = min(2*wait, most)
	}
}

// sleep waits, or returns the error of a context that ended before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

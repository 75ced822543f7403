package reach

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// Hop is a step of the way.
type Hop string

// The steps, in their order.
const (
	URL     Hop = "url"
	DNS     Hop = "dns"
	Connect Hop = "connect"
	TLS     Hop = "tls"
	HTTP    Hop = "http"
)

// Answer is what became of one target.
type Answer struct {
	// Failed is the step that failed; empty when all went well.
	Failed Hop `json:"f,omitempty"`
	// Error is why, in a few words of the system.
	Error string `json:"e,omitempty"`
	// Status is HTTP's; 0 for tcp:// and without an answer.
	Status int `json:"s,omitempty"`
	// Millis is the time of the whole look, in milliseconds.
	Millis int64 `json:"m,omitempty"`
}

// Limits.
const (
	// MaxReport is the size of a container's termination message.
	MaxReport = 4096
	// maxError is how much is kept of an error; less when there are many.
	maxError = 120
	// together is how many targets are looked at at a time.
	together = 8
)

// LookAll looks at targets (http://, https:// and tcp://HOST:PORT), a few at a
// time, each for at most timeout. Answers are in the order of the targets.
func LookAll(ctx context.Context, targets []string, timeout time.Duration) []Answer {
	out := make([]Answer, len(targets))
	var wg sync.WaitGroup
	turn := make(chan struct{}, together)
	for i, t := range targets {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			bounded, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			started := time.Now()
			out[i] = look(bounded, t)
			out[i].Millis = time.Since(started).Milliseconds()
		})
	}
	wg.Wait()
	return out
}

// look goes as far as it gets.
func look(ctx context.Context, target string) Answer {
	u, err := url.Parse(target)
	if err != nil || u.Hostname() == "" {
		return Answer{Failed: URL, Error: "no URL with a host"}
	}
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	case u.Scheme == "https":
		port = "443"
	default:
		return Answer{Failed: URL, Error: "no port"}
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		return failed(DNS, err)
	}
	conn, err := dial(ctx, addresses, port)
	if err != nil {
		return failed(Connect, err)
	}
	defer conn.Close()
	if u.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return failed(TLS, err)
		}
		conn = secure
	}
	if u.Scheme == "tcp" {
		return Answer{}
	}
	return ask(ctx, conn, u)
}

// dial tries the addresses one after the other, as clients do.
func dial(ctx context.Context, addresses []string, port string) (net.Conn, error) {
	var first error
	for _, a := range addresses {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(a, port))
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// ask sends one GET over a connection.
func ask(ctx context.Context, conn net.Conn, u *url.URL) Answer {
	use := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	client := &http.Client{
		Transport:     &http.Transport{DialContext: use, DialTLSContext: use, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, clean.String(), nil)
	if err != nil {
		return failed(URL, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return failed(HTTP, err)
	}
	resp.Body.Close()
	return Answer{Status: resp.StatusCode}
}

// failed says why in the fewest words.
func failed(hop Hop, err error) Answer {
	var dns *net.DNSError
	var errno syscall.Errno
	a := Answer{Failed: hop, Error: err.Error()}
	switch {
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		a.Error = "timeout"
	case errors.As(err, &dns):
		a.Error = dns.Err
	case errors.As(err, &errno):
		a.Error = errno.Error()
	default:
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			a.Error = wrapped.Err.Error()
		}
	}
	a.Error = cut(a.Error, maxError)
	return a
}

// cut shortens a text to n bytes, at the end of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Encode writes answers so that they fit into [MaxReport] bytes: when there are
// many, their errors become shorter.
func Encode(answers []Answer) ([]byte, error) {
	short := append([]Answer(nil), answers...)
	for n := maxError; n >= 0; n -= 10 {
		for i := range short {
			short[i].Error = cut(short[i].Error, n)
		}
		out, err := json.Marshal(short)
		if err != nil || len(out) <= MaxReport {
			return out, err
		}
	}
	return nil, fmt.Errorf("%d answers do not fit into %d bytes", len(answers), MaxReport)
}

// Decode reads what Encode wrote. There must be n answers.
func Decode(report []byte, n int) ([]Answer, error) {
	var out []Answer
	if err := json.Unmarshal(report, &out); err != nil {
		return nil, fmt.Errorf("the report of the probe is not readable: %w", err)
	}
	if len(out) != n {
		return nil, fmt.Errorf("the probe was asked for %d targets and answered %d", n, len(out))
	}
	return out, nil
}
